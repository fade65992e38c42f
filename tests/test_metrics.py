"""Figures by hand, against scikit-learn and scipy, and intervals against what sampling theory says."""

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from fer_lib.metrics import (
    TEMPERATURES,
    accuracy,
    apply_temperature,
    bootstrap_interval,
    calibration_bins,
    ccc,
    classification,
    coverage_curve,
    expected_calibration_error,
    macro_f1,
    paired_bootstrap,
    recall_intervals,
    regression,
    temperature,
    uncertain_threshold,
    wilson_interval,
)

LABELS = ("a", "b", "c")


def one_hot(rows, confidence=1.0):
    p = np.full((len(rows), 3), (1 - confidence) / 2)
    p[np.arange(len(rows)), rows] = confidence
    return p


def random_answers(n, classes, seed=0):
    """(truth (n,), probability (n, classes)): right more often than not, true class drawn from the probability."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(classes, 0.3), n)
    return (probability.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1), probability


def test_classification_by_hand():
    """Truth a a a b b; predicted a a b b a: recall a 2/3, b 1/2; precision a 2/3, b 1/2; c never occurs."""
    figures = classification([0, 0, 0, 1, 1], one_hot([0, 0, 1, 1, 0]), LABELS)
    assert figures["n"] == 5 and figures["accuracy"] == pytest.approx(0.6)
    assert figures["recall"] == {"a": pytest.approx(2 / 3), "b": 0.5, "c": None}
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert figures["weighted_precision"] == pytest.approx((3 * 2 / 3 + 2 * 0.5) / 5)
    assert figures["weighted_recall"] == pytest.approx(0.6)
    assert figures["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert figures["ece"] == pytest.approx(0.4)  # sure of all, right in 3 of 5


def test_macro_f1_by_hand():
    """Answers a label (c) that never occurs: F1 of a 2/3 (1 right, 0 false, 1 missed), of b 1; c has no say."""
    assert macro_f1([0, 0, 1], [0, 2, 1]) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1([2, 2], [0, 0]) == 0 and accuracy([0, 0, 1], [0, 2, 1]) == pytest.approx(2 / 3)


def test_classification_as_scikit_learn_has_it():
    truth, probability = random_answers(500, 7)
    predicted = probability.argmax(axis=1)
    figures = classification(truth, probability, "abcdefg")
    assert 0.3 < figures["accuracy"] < 0.9  # neither trivial end
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted))
    assert figures["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(truth, predicted, average="macro"))
    for key, score in (("precision", sklearn_metrics.precision_score), ("recall", sklearn_metrics.recall_score)):
        assert figures[f"weighted_{key}"] == pytest.approx(score(truth, predicted, average="weighted"))
    each = sklearn_metrics.recall_score(truth, predicted, average=None)
    assert list(figures["recall"].values()) == pytest.approx(each.tolist())


def test_recall_intervals_by_hand():
    intervals = recall_intervals([0] * 10 + [1] * 3, [0] * 8 + [1] * 2 + [1] * 3, LABELS)
    assert list(intervals) == ["a", "b", "c"] and intervals["a"] == pytest.approx(eight_of_ten(1.959964))
    assert intervals["b"][1] == 1 and 0.3 < intervals["b"][0] < 0.5  # three of three is no certainty
    assert intervals["c"] is None
    assert wilson_interval(8, 10, level=0.5) == pytest.approx(eight_of_ten(0.67449))


def eight_of_ten(z):
    """Wilson: (0.8 + z²/20 -+ z √(0.16/10 + z²/400)) / (1 + z²/10)."""
    middle, half = 0.8 + z**2 / 20, z * np.sqrt(0.016 + z**2 / 400)
    return (middle - half) / (1 + z**2 / 10), (middle + half) / (1 + z**2 / 10)


# ------------------------------------------------------------------------------------------------------- concordance


def test_ccc_by_hand():
    """Means 2 and 3, variances and covariance 2/3: 2 (2/3) / (2/3 + 2/3 + 1) = 4/7; sample moments would say 2/3."""
    assert ccc([1, 2, 3], [2, 3, 4]) == pytest.approx(4 / 7)
    assert ccc([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert ccc([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert ccc([0, 2], [0, 4]) == pytest.approx(2 * 2 / (1 + 4 + 1))
    assert ccc([1, 2, 3], [5, 5, 5]) == 0  # one of them constant


def test_constants_have_no_concordance():
    assert np.isnan(ccc([0.1] * 10, [0.1] * 10)) and np.isnan(ccc([1, 1], [2, 2])) and np.isnan(ccc([1], [1]))


def test_regression_by_hand():
    """Covariance 1/4, variances 1/4 and 1/2, means half a unit apart: CCC (2/4) / (1/4 + 1/2 + 1/4)."""
    truth, predicted = np.tile([0, 0, 1, 1], 25), np.tile([0, 1, 1, 2], 25)
    found = regression(truth, predicted)
    low, high = found.pop("ccc_interval")
    expected = {"n": 100, "ccc": 0.5, "rmse": np.sqrt(0.5), "mae": 0.5, "pearson": 0.25 / np.sqrt(0.125)}
    assert found == pytest.approx(expected) and list(found) == list(expected)
    assert 0.3 < low < 0.5 < high < 0.7
    groups = np.arange(100) // 20  # each is the whole again
    assert regression(truth, predicted, groups)["ccc_interval"] == pytest.approx((0.5, 0.5))


def test_regression_of_constants():
    """No concordance with a constant, and no correlation; of two constants not even that."""
    truth, constant = np.tile([0.0, 1], 20), np.full(40, 0.25)
    with warnings.catch_warnings(action="error"):
        for one, two in ((truth, constant), (constant, truth)):
            found = regression(one, two)
            assert found["ccc"] == 0 and np.isnan(found["pearson"]) and found["mae"] == 0.5
            assert found["rmse"] == pytest.approx(np.sqrt((0.25**2 + 0.75**2) / 2))
        found = regression(constant, constant + 1)
    assert np.isnan([found["ccc"], *found["ccc_interval"], found["pearson"]]).all() and found["mae"] == 1


# ------------------------------------------------------------------------------------------------------- calibration


def test_calibration_by_hand():
    """Confidence 0.9, right in half of 4: gap 0.4; confidence 0.5, right in all of 2: gap 0.5."""
    p = np.concatenate([one_hot([0, 0, 0, 0], 0.9), one_hot([1, 1], 0.5)])
    assert expected_calibration_error([0, 0, 1, 1, 1, 1], p) == pytest.approx((4 * 0.4 + 2 * 0.5) / 6)
    assert expected_calibration_error([0, 1], one_hot([0, 1])) == 0


def test_calibration_bins_by_hand():
    """Four bins: confidences 0.5 (an upper edge) and 0.4 in the second, 0.9 and 1 in the fourth."""
    p = np.concatenate([one_hot([0, 0], 0.5), one_hot([1], 0.4), one_hot([2], 0.9), one_hot([2], 1.0)])
    with warnings.catch_warnings(action="error"):
        confidence, right, rows = calibration_bins([0, 1, 1, 2, 2], p, bins=4)
    assert rows.tolist() == [0, 3, 0, 2]
    np.testing.assert_allclose(confidence, [np.nan, 1.4 / 3, np.nan, 0.95])
    np.testing.assert_allclose(right, [np.nan, 2 / 3, np.nan, 1])
    assert expected_calibration_error([0, 1, 1, 2, 2], p, bins=4) == pytest.approx((3 * 0.2 + 2 * 0.05) / 5)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_again(sharpened):
    """Truth drawn from probabilities, which are then raised to a power: the power is the temperature that undoes it."""
    truth, honest = random_answers(20000, 5)
    given = honest**sharpened / (honest**sharpened).sum(axis=1, keepdims=True)
    t = temperature(truth, given)
    assert t == pytest.approx(sharpened, rel=0.03)  # 20,000 rows leave about one per cent
    np.testing.assert_allclose(apply_temperature(given, sharpened), honest, atol=1e-6)
    assert expected_calibration_error(truth, apply_temperature(given, t)) < 0.015


def test_temperature_by_hand():
    """Sure at 0.9 but right in 6 of 10, two classes: 0.6/0.4 is 0.9/0.1 to the power ln 1.5 / ln 9."""
    probability = np.tile([0.9, 0.1], (10, 1))
    t = temperature([0] * 6 + [1] * 4, probability)
    assert t == pytest.approx(np.log(9) / np.log(1.5), rel=1e-3)
    np.testing.assert_allclose(apply_temperature(probability, t), np.tile([0.6, 0.4], (10, 1)), atol=1e-4)


def test_temperature_at_its_ends():
    with warnings.catch_warnings(action="error"):
        assert temperature([0, 1], one_hot([0, 1], 0.8)) == pytest.approx(TEMPERATURES[0], rel=0.1)
        assert temperature([1, 2], one_hot([0, 1], 0.8)) == pytest.approx(
            TEMPERATURES[1], rel=0.1
        )  # the loss is flat there
        certain = np.eye(3, dtype=np.float32)  # zeros have no logarithm
        assert np.isfinite(temperature([0, 1, 0], certain))
        np.testing.assert_array_equal(apply_temperature(certain, 1.0).round(6), certain)


def test_coverage_by_hand():
    """Sorted by confidence: 0.9 right, 0.8 wrong and right together, 0.5 wrong."""
    threshold, coverage, right = coverage_curve([0.5, 0.8, 0.9, 0.8], [False, True, True, False])
    assert threshold.tolist() == [0.9, 0.8, 0.5] and coverage.tolist() == [0.25, 0.75, 1]
    assert right.tolist() == pytest.approx([1, 2 / 3, 1 / 2])


def test_uncertain_threshold_by_hand():
    """Below 0.6 one of two is right, below 0.8 two of three; equal confidences lie below a threshold together."""
    confidence, right = [0.8, 0.2, 0.6, 0.4], [True, False, True, True]
    assert uncertain_threshold(confidence, right) == 0.6
    assert uncertain_threshold(confidence, right, share=2 / 3) == 0.8
    assert uncertain_threshold(confidence, right, share=0.4) == 0.4
    assert uncertain_threshold([0.5, 0.2, 0.2, 0.2, 0.5], [True, True, True, False, False]) == 0  # not between equals
    assert uncertain_threshold([0.5, 0.2, 0.2, 0.7], [True, True, False, True]) == 0.5


def test_uncertain_threshold_at_its_ends():
    confidence = [0.3, 0.5, 0.9]
    assert uncertain_threshold(confidence, [True] * 3) == 0  # nothing to be uncertain of
    assert uncertain_threshold(confidence, [True, False, False]) == 0.9  # an earlier good one need not be the highest
    assert uncertain_threshold(confidence, [False] * 3) == 0.9  # never above the surest row
    assert uncertain_threshold([0.5], [False]) == uncertain_threshold([0.5] * 4, [False] * 4) == 0


def test_uncertain_threshold_as_counted():
    """Where exactly the share is right, no rounding decides: held to counts in whole numbers."""
    rng = np.random.default_rng(0)
    for n in range(1, 40):
        confidence, right = rng.integers(1, 12, n) / 16, rng.random(n) < 0.4
        below = {t: right[confidence < t] for t in confidence}
        for part, whole in ((1, 2), (1, 3), (3, 10)):
            good = [t for t, rows in below.items() if len(rows) and whole * int(rows.sum()) <= part * len(rows)]
            assert uncertain_threshold(confidence, right, part / whole) == max(good, default=0)


# --------------------------------------------------------------------------------------------------------- intervals


def test_interval_of_an_accuracy():
    """The normal approximation for 70 % of 1000 is +-2.84 points; the bootstrap agrees within a few tenths."""
    low, high = bootstrap_interval(np.arange(1000) < 700)
    assert low == pytest.approx(0.7 - 0.0284, abs=0.004) and high == pytest.approx(0.7 + 0.0284, abs=0.004)
    assert bootstrap_interval(np.ones(10)) == (1.0, 1.0)
    low, high = bootstrap_interval(np.arange(1000) < 700, level=0.5)  # the normal quantile is 0.674, not 1.96
    assert high - low == pytest.approx(2 * 0.0284 * 0.674 / 1.96, abs=0.003)


def test_the_seed_fixes_an_interval():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval(values) == bootstrap_interval(values, seed=0) != bootstrap_interval(values, seed=1)


def test_intervals_of_other_figures():
    """Rows are drawn together: each interval is about its figure, and of the width of repeated samples of that size."""
    truth, probability = random_answers(400, 4)
    predicted = probability.argmax(axis=1)
    more = [random_answers(400, 4, seed) for seed in range(1, 101)]
    for figure, rows, others in (
        (macro_f1, (truth, predicted), [(t, p.argmax(axis=1)) for t, p in more]),
        (ccc, (probability[:, 0], probability[:, 1]), [(p[:, 0], p[:, 1]) for _, p in more]),
    ):
        low, high = bootstrap_interval(*rows, figure=figure, draws=500)
        assert low < figure(*rows) < high
        spread = np.std([figure(*other) for other in others])
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.3)  # 100 samples know it to 7 %, one sample less
    low, high = bootstrap_interval(truth, probability, figure=expected_calibration_error, draws=200)
    assert 0 < low < high < 0.15


def test_intervals_cover():
    """Of 200 samples of 60 throws of a coin of 0.7, about 95 % have 0.7 in their interval, a little fewer."""
    samples = np.random.default_rng(0).random((200, 60)) < 0.7
    intervals = np.array([bootstrap_interval(sample, draws=200) for sample in samples])
    assert 0.89 <= np.mean((intervals[:, 0] <= 0.7) & (intervals[:, 1] >= 0.7)) <= 0.98


def test_groups_are_drawn_whole():
    """40 subjects, each right in all of 9 frames or in none: as wide as 40 rows make it, three times 360 rows."""
    right = np.repeat(np.arange(40) < 24, 9)
    subject = [("s", i) for i in np.repeat(np.arange(40), 9)]
    shuffled = np.random.default_rng(0).permutation(360)
    low, high = bootstrap_interval(right[shuffled], groups=[subject[i] for i in shuffled])
    by_row = bootstrap_interval(right)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 40), rel=0.08)
    assert by_row[1] - by_row[0] == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 360), rel=0.08)


def test_paired_difference():
    """1000 rows: 40 only a has right, 20 only b. Variance of a row's difference: 0.06 - 0.02². p is near McNemar's."""
    truth = np.zeros(1000, int)
    a, b = np.ones((2, 1000), int)
    a[:600], b[40:620] = 0, 0
    found = paired_bootstrap(truth, a, b)
    assert found["difference"] == pytest.approx(0.02)
    half = 1.96 * np.sqrt((0.06 - 0.02**2) / 1000)
    assert found["interval"] == pytest.approx((0.02 - half, 0.02 + half), abs=0.002)
    assert found["p"] == pytest.approx(binomtest(20, 60).pvalue, abs=0.008)  # 0.013
    reverse = paired_bootstrap(truth, b, a)
    assert reverse["difference"] == pytest.approx(-0.02) and reverse["p"] == found["p"]
    assert reverse["interval"] == pytest.approx((-found["interval"][1], -found["interval"][0]))


def test_paired_difference_of_other_figures():
    truth, probability = random_answers(300, 4)
    predicted = probability.argmax(axis=1)
    worse = np.where(np.arange(300) % 3, predicted, 0)
    found = paired_bootstrap(truth, predicted, worse, figure=macro_f1, draws=300)
    assert found["difference"] == pytest.approx(macro_f1(truth, predicted) - macro_f1(truth, worse))
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1] and found["p"] == pytest.approx(
        2 / 301
    )


def test_a_figure_that_some_draws_lack():
    """Two rows: half of the draws hold one of them twice, which has no concordance. That proves nothing."""
    assert np.isnan(bootstrap_interval([1, 2], [1, 2], figure=ccc)).all()
    found = paired_bootstrap([1, 2], [1, 2], [2, 1], figure=ccc)
    assert found["difference"] == pytest.approx(2) and np.isnan(found["interval"]).all() and found["p"] > 0.5


def test_equal_models_do_not_differ():
    assert paired_bootstrap([0, 1], [0, 0], [0, 0]) == {"difference": 0.0, "interval": (0.0, 0.0), "p": 1.0}


def test_pairs_by_subject():
    """Ten subjects of 20 frames; a is better in all frames of 7 of them, b in those of 3: that is no proof."""
    subject = np.repeat(np.arange(10), 20)
    a, b = (subject < 7).astype(int), (subject >= 7).astype(int)
    assert paired_bootstrap(np.ones(200, int), a, b)["p"] < 0.01
    assert paired_bootstrap(np.ones(200, int), a, b, groups=subject)["p"] > 0.1


# --------------------------------------------------------------------------------------------------- no rows, odd rows


def test_no_rows_have_no_figure():
    nothing, no_answers = np.array([], int), np.zeros((0, 3))
    for figure in (accuracy, macro_f1, ccc, coverage_curve, uncertain_threshold):
        with pytest.raises(ValueError, match="no rows"):
            figure(nothing, nothing)
    for figure in (expected_calibration_error, temperature, lambda *rows: classification(*rows, LABELS)):
        with pytest.raises(ValueError, match="no rows"):
            figure(nothing, no_answers)
    for ask in (lambda: bootstrap_interval([]), lambda: paired_bootstrap(nothing, nothing, nothing)):
        with pytest.raises(ValueError, match="no rows"):
            ask()


def test_rows_that_do_not_go_together():
    with pytest.raises(ValueError, match="arrays of 2, 1 rows"):
        accuracy([0, 1], [0])  # numpy alone would repeat the one
    with pytest.raises(ValueError, match="arrays of 2, 2, 3 rows"):
        paired_bootstrap([0, 1], [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="3 groups for 2 rows"):
        bootstrap_interval([0, 1], groups=[0, 1, 2])


@pytest.mark.parametrize("figure", [lambda t, p: classification(t, p, LABELS), expected_calibration_error, temperature])
def test_what_is_no_answer_has_no_figure(figure):
    """A model that has diverged must not come out well."""
    for probability in (np.full((2, 3), np.nan), [[0.5, 0.5, 0.5]] * 2, [0.5, 0.5]):
        with pytest.raises(ValueError, match="each row must sum to 1"):
            figure([0, 1], probability)
    for truth in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="outside 0 to 2"):
            figure(truth, one_hot([0, 1]))
