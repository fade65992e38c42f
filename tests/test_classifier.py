"""What classifiers share: targets and scores by hand, hints, calibration that changes no answer, reports, cards."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from fer_lib import classifier
from fer_lib.classifier import HEADS, by_head, calibrate, public_score, two_head_targets
from fer_lib.datasets.fer2013 import VOTE_NAMES, Fer2013
from fer_lib.errors import InputError
from fer_lib.evaluate import figures, intervals
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.metrics import apply_temperature, expected_calibration_error
from fer_lib.models import grey_preprocessing, two_heads
from fer_lib.weights import DEFAULT_MODEL, KERAS_FILE, Card, load_card

CONTEMPT, FEAR, HAPPY, NEUTRAL, SAD, UNCERTAIN = (
    EMOTIONS.index(name) for name in ("contempt", "fear", "happy", "neutral", "sad", "uncertain")
)


def votes(*rows: dict[str, int]) -> np.ndarray:
    return np.array([[row.get(name, 0) for name in VOTE_NAMES] for row in rows])


def table(labels, plus=None, usage: str = "PublicTest", seed: int = 0) -> Fer2013:
    """Rows of random pictures of 8 by 8 squares, which 8 pixels hold exactly; a label is a name, None for none."""
    squares = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    pixels = squares.repeat(6, axis=1).repeat(6, axis=2)
    ids = np.array([-1 if name is None else FER2013_EMOTIONS.index(name) for name in labels])
    return Fer2013(pixels, ids, np.full(len(labels), usage), plus)


def answers(emotion, fer2013) -> dict[str, np.ndarray]:
    """One-hot answers by name."""
    return {
        "emotion": np.eye(9)[[EMOTIONS.index(name) for name in emotion]],
        "fer2013": np.eye(7)[[FER2013_EMOTIONS.index(name) for name in fer2013]],
    }


@pytest.fixture
def network() -> keras.Model:
    """8 pixels in, a layer "features" of 6, two heads that are sure of what they say, however wrong."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), dtype="uint8", name="pixels")
    x = keras.layers.Flatten()(grey_preprocessing(pixels, 8))
    model = keras.Model(pixels, two_heads(keras.layers.Dense(6, "relu", name="features")(x), 0.0), name="tiny")
    for head in HEADS:
        layer = model.get_layer(head)
        layer.set_weights([weight * 4 for weight in layer.get_weights()])
    return model


# ------------------------------------------------------------------------------------------------ targets


def test_targets_by_hand():
    """Votes as they are, without those for not a face; the label smoothed; a row without one says nothing."""
    rows = table(["happy", None], votes({"happy": 6, "neutral": 2, "NF": 2}, {"contempt": 10}))
    targets = two_head_targets(rows, smoothing=0.14)
    assert list(targets) == ["emotion", "fer2013"] and {array.dtype for array in targets.values()} == {np.dtype("f4")}
    emotion = np.zeros((2, 9))
    emotion[0, HAPPY], emotion[0, NEUTRAL], emotion[1, CONTEMPT] = 0.75, 0.25, 1
    np.testing.assert_allclose(targets["emotion"], emotion, atol=1e-7)
    np.testing.assert_allclose(targets["fer2013"], [[0.02] * 3 + [0.88] + [0.02] * 3, [1 / 7] * 7], rtol=1e-6)


def test_a_teacher_makes_up_its_share():
    rows = table(["sad", None], votes({"sad": 10}, {"contempt": 10}))
    taught = answers(["happy", "fear"], ["fear", "sad"])
    targets = two_head_targets(rows, 0.0, taught, share=0.25)
    emotion = np.zeros((2, 9))
    emotion[0, SAD], emotion[0, HAPPY], emotion[1, CONTEMPT], emotion[1, FEAR] = 0.75, 0.25, 0.75, 0.25
    np.testing.assert_allclose(targets["emotion"], emotion, atol=1e-7)
    second = np.full(7, 0.75 / 7) + 0.25 * np.eye(7)[FER2013_EMOTIONS.index("sad")]
    first = 0.75 * np.eye(7)[FER2013_EMOTIONS.index("sad")] + 0.25 * np.eye(7)[FER2013_EMOTIONS.index("fear")]
    np.testing.assert_allclose(targets["fer2013"], [first, second], rtol=1e-6)


def test_targets_of_what_has_none():
    with pytest.raises(InputError, match="^2 rows are not faces; leave them out of training$"):
        two_head_targets(table(["sad"] * 3, votes({"NF": 8, "sad": 2}, {"sad": 10}, {})))
    with pytest.raises(InputError, match="no FER. votes"):
        two_head_targets(table(["sad"]))
    with pytest.raises(InputError, match="share of 1.5: give 0 to 1"):
        two_head_targets(table(["sad"], votes({"sad": 10})), 0.0, answers(["sad"], ["sad"]), share=1.5)


# ------------------------------------------------------------------------------------------------ hints


def test_a_hint_is_trained_with_and_dropped(network):
    """Hinted, plain and original network are one: a step of the first moves the features and answers of all."""
    rows = table(["sad"] * 4)
    hinted = classifier.with_hint(network, 5)
    plain = classifier.without_hint(hinted)
    widths = {name: output.shape[1] for name, output in hinted.output.items()}
    assert widths == {"emotion": 9, "fer2013": 7, "hint": 5}
    assert set(plain.output) == set(HEADS) and not any(layer.name == "hint" for layer in plain.layers)
    assert plain.count_params() == network.count_params() == hinted.count_params() - 7 * 5
    before = classifier.network_answers(network, rows.pixels)
    losses = {"emotion": "categorical_crossentropy", "fer2013": "categorical_crossentropy", "hint": "mse"}
    hinted.compile(keras.optimizers.SGD(0.1), losses, [0.0, 0.0, 1.0], jit_compile=False)
    crops = np.repeat(rows.pixels[:, ::6, ::6, None], 3, axis=-1)
    hinted.train_on_batch(crops, {**answers(["sad"] * 4, ["sad"] * 4), "hint": np.full((4, 5), 3.0)})
    after = classifier.network_answers(network, rows.pixels)
    again = classifier.network_answers(plain, rows.pixels)
    for head in HEADS:
        assert np.abs(after[head] - before[head]).max() > 0.01
        np.testing.assert_allclose(again[head], after[head], atol=1e-6)  # float32


def test_hint_targets_by_hand():
    """Spread 1 and 10 about means of 2 and 30; a constant column is 0. Features may be kept in half precision."""
    features = np.array([[1, 7, 20], [3, 7, 40]], np.float16)
    targets = classifier.hint_targets(features)
    assert targets.dtype == np.float32 and features.dtype == np.float16
    np.testing.assert_array_equal(targets, [[-1, 0, -1], [1, 0, 1]])


# ------------------------------------------------------------------------------------------------ scores


def test_network_answers_for_any_picture_size(network):
    rows = table(["sad"] * 70).pixels  # more than a batch
    found = classifier.network_answers(network, rows)
    assert {head: array.shape for head, array in found.items()} == {"emotion": (70, 9), "fer2013": (70, 7)}
    crops = np.repeat(rows[:, ::6, ::6, None], 3, axis=-1)
    for head, expected in network.predict(crops, verbose=0).items():
        np.testing.assert_allclose(found[head], expected, atol=1e-6)  # batches of another size
        assert np.ptp(expected, axis=0).max() > 0.1


def test_rows_without_a_label_are_left_out():
    plus = votes({"happy": 9, "sad": 1}, {"contempt": 10}, {"happy": 5, "sad": 5}, {"uncertain": 10})
    found = answers(["happy", "sad", "sad", "sad"], ["happy", "fear", "neutral", "sad"])
    pairs = by_head(found, table(["happy", None, "neutral", "sad"], plus))
    truth, probability = pairs["fer2013"]
    assert truth.tolist() == [3, 6, 4] and probability.argmax(axis=1).tolist() == [3, 6, 4]
    truth, probability = pairs["emotion"]
    assert truth.tolist() == [HAPPY, CONTEMPT] and probability.argmax(axis=1).tolist() == [HAPPY, SAD]
    assert probability.shape == (2, 8)  # uncertain is masked


def test_a_head_without_rows_is_left_out():
    one = answers(["happy"], ["happy"])
    assert list(by_head(one, table(["happy"]))) == ["fer2013"]
    assert list(by_head(one, table(["happy"], votes({"NF": 10})))) == ["fer2013"]
    assert list(by_head(one, table([None], votes({"contempt": 10})))) == ["emotion"]
    assert by_head(one, table([None], votes({"uncertain": 10}))) == {}


def test_public_score_by_hand():
    """Two of three and one of two; the mean of both chooses."""
    plus = votes({"happy": 9, "sad": 1}, {"contempt": 10}, {"happy": 5, "sad": 5}, {"uncertain": 10})
    found = answers(["happy", "sad", "sad", "sad"], ["happy", "fear", "neutral", "fear"])
    score = public_score(found, table(["happy", None, "neutral", "sad"], plus))
    assert score == pytest.approx({"public_fer2013": 2 / 3, "public_ferplus": 1 / 2, "score": 7 / 12})
    assert public_score(found, table(["happy", "happy", None, None])) == {"public_fer2013": 0.5, "score": 0.5}
    with pytest.raises(InputError, match="no PublicTest row has a label"):
        public_score(found, table([None] * 4))


# ------------------------------------------------------------------------------------------------ the teacher


@pytest.fixture
def teacher(network, tmp_path) -> Card:
    """The network in a model folder of its own."""
    network.save(tmp_path / KERAS_FILE)
    heads = {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)}
    replace(load_card(), folder=tmp_path, input_size=8, heads=heads, scores={}).write(tmp_path)
    return load_card(str(tmp_path))


def test_a_teacher_is_asked_once(network, teacher, tmp_path):
    """Its answers are kept under a name made from its weights and the rows, and read from there."""
    rows = table(["sad", "happy", None])
    first = classifier.teacher_answers(rows, teacher, tmp_path / "kept")
    shapes = {name: array.shape for name, array in first.items()}
    assert shapes == {"emotion": (3, 9), "fer2013": (3, 7), "features": (3, 6)}
    straight = classifier.network_answers(network, rows.pixels)
    for head in HEADS:
        np.testing.assert_allclose(first[head], straight[head], atol=1e-5)
    kept = list((tmp_path / "kept").iterdir())
    assert [path.name.startswith(f"taught-{teacher.sha256[KERAS_FILE][:8]}-") for path in kept] == [True]
    np.savez(kept[0], fer2013=np.ones(1))
    assert list(classifier.teacher_answers(rows, teacher, tmp_path / "kept")) == ["fer2013"]
    assert "features" in classifier.teacher_answers(rows[1:], teacher, tmp_path / "kept")  # other rows


def test_a_teachers_answers_alone_come_from_its_fast_form(network, teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))  # the fast form is made there
    rows = table(["sad", "happy"])
    found = classifier.teacher_answers(rows, teacher, tmp_path / "kept", features=False)
    straight = classifier.network_answers(network, rows.pixels)
    assert list(found) == ["emotion", "fer2013"]
    for head in HEADS:
        np.testing.assert_allclose(found[head], straight[head], atol=0.01)


# ------------------------------------------------------------------------------------------------ calibration


@pytest.fixture
def public() -> Fer2013:
    """Labels that have nothing to do with the pictures; some rows lack one."""
    rng = np.random.default_rng(1)
    labels = [None, None, *rng.choice(FER2013_EMOTIONS, 58)]
    return table(labels, votes(*({name: 10} for name in rng.choice(EMOTIONS, 60))))


def test_calibration_changes_no_answer(network, public):
    before = classifier.network_answers(network, public.pixels)
    found = calibrate(network, public, np.eye(9))
    after = classifier.network_answers(network, public.pixels)
    assert set(found.temperatures) == set(HEADS)
    for head, t in found.temperatures.items():
        assert t > 2  # it was surer than it was right, which was by chance
        assert (after[head].argmax(axis=1) == before[head].argmax(axis=1)).all()
        np.testing.assert_allclose(after[head], apply_temperature(before[head], t), atol=1e-5)  # float32


def test_a_calibrated_network_is_calibrated(network):
    """Its own answers, blurred, are the truth, so that a temperature fits; found once, a second search finds 1."""
    sure = classifier.network_answers(network, table(["sad"] * 300).pixels)
    rng = np.random.default_rng(2)
    drawn = {head: [rng.choice(p.shape[1], p=row) for row in apply_temperature(p, 3.0)] for head, p in sure.items()}
    labels = [FER2013_EMOTIONS[i] for i in drawn["fer2013"]]
    public = table(labels, votes(*({EMOTIONS[i]: 10} for i in drawn["emotion"])))
    first = calibrate(network, public, np.eye(9)).temperatures
    second = calibrate(network, public, np.eye(9)).temperatures
    assert all(2 < t < 4 for t in first.values()), first  # 3, as well as 300 rows tell
    assert second == pytest.approx(dict.fromkeys(HEADS, 1.0), abs=0.01)


def test_uncertain_where_at_most_half_are_right(network, public):
    found = calibrate(network, public, np.eye(9))
    emotion, truth = classifier.network_answers(network, public.pixels)["emotion"], public.ferplus_majority()
    confidence, right = emotion.max(axis=1)[truth >= 0], (emotion.argmax(axis=1) == truth)[truth >= 0]
    assert right.mean() < 0.5
    assert found.uncertain_below == pytest.approx(confidence.max(), rel=1e-6)  # so that nearly all are uncertain


def test_the_prior_is_as_sharp_as_the_answers(network, public):
    training = np.full((4, 9), 0.05)
    training[:, HAPPY] = 0.6
    found = calibrate(network, public, training)
    ratio = found.prior["happy"] / found.prior["fear"]
    assert ratio == pytest.approx(12 ** (1 / found.temperatures["emotion"]), rel=1e-6)
    assert list(found.prior) == list(EMOTIONS) and sum(found.prior.values()) == pytest.approx(1)


def test_a_network_that_knows_the_seven_classes_alone(network, public):
    """It is calibrated, and reported on, by the head it has."""
    seven = keras.Model(network.input, {"fer2013": network.output["fer2013"]})
    before = classifier.network_answers(seven, public.pixels)["fer2013"]
    found = calibrate(seven, public, np.eye(7))
    after = classifier.network_answers(seven, public.pixels)
    assert list(found.temperatures) == ["fer2013"] and list(found.prior) == list(FER2013_EMOTIONS)
    np.testing.assert_allclose(after["fer2013"], apply_temperature(before, found.temperatures["fer2013"]), atol=1e-5)
    known = public.label >= 0
    assert found.uncertain_below == 0.5  # not, as half of its answers are wrong by chance alone, nearly all of them
    scores = classifier.calibration({"fer2013": before}, public)  # as of a model that learned no shares
    assert list(scores.prior.values()) == pytest.approx(after["fer2013"].mean(axis=0), abs=1e-5)
    report = classifier.split_report(after, public, "PublicTest")
    assert report["accuracy"] == (before.argmax(axis=1) == public.label)[known].mean()
    assert report["ferplus_accuracy"] is None and report["intervals"]["ferplus_accuracy"] is None


def test_uncertain_figures_by_hand():
    probability = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.2, 0.8]])
    found = classifier.uncertain_figures(np.array([0, 1, 0, 0]), probability, 0.7)
    assert found == {"share": 0.5, "right": 0.5, "right_others": 0.5}
    none = classifier.uncertain_figures(np.array([0, 1, 0, 0]), probability, 0.5)
    assert none == {"share": 0.0, "right": None, "right_others": 0.5}


def test_a_card_says_what_was_found(tmp_path):
    """Margins are those found, or the default model's; a written card can be read again."""
    calibration = classifier.Calibration({"fer2013": 1.1}, 0.4, dict.fromkeys(FER2013_EMOTIONS, 1 / 7))
    facts = {"commit": "abc", "seed": 3, "versions": {"keras": "3"}, "parameters": 5}
    keys = ("preprocessing", "data", "data_terms", "label_source")
    texts = dict.fromkeys(keys, "said") | {"limits": ["one"], "not_for": ["two"]}
    heads = {"fer2013": list(FER2013_EMOTIONS)}
    made = {}
    for name, framing in {"framed": {"haar": {"margin": 0.25}}, "unframed": {}}.items():
        card = classifier.make_card(name, heads, 48, framing, calibration, facts, texts, "04_some")
        card.write(tmp_path / name)
        made[name] = load_card(str(tmp_path / name))
        assert made[name] == replace(card, folder=tmp_path / name)
    assert made["framed"].crop_margin == {"haar": 0.25}
    assert made["unframed"].crop_margin == load_card(DEFAULT_MODEL).crop_margin
    card = made["framed"]
    assert (card.labels, card.input_size, card.notebook) == (FER2013_EMOTIONS, 48, "notebooks/04_some.ipynb")
    assert (card.uncertain_below, card.prior, card.seed, card.commit) == (0.4, calibration.prior, 3, "abc")


# ------------------------------------------------------------------------------------------------ reports


@pytest.fixture
def reported() -> tuple[dict[str, np.ndarray], Fer2013]:
    """(random answers, PrivateTest rows, each with a label and a majority)"""
    rng = np.random.default_rng(3)
    plus = votes(*({name: 10} for name in rng.choice(EMOTIONS[:-1], 40)))
    rows = table(rng.choice(FER2013_EMOTIONS, 40), plus, "PrivateTest")
    return {"emotion": rng.dirichlet(np.ones(9), 40), "fer2013": rng.dirichlet(np.ones(7), 40)}, rows


def test_a_split_is_reported_with_its_intervals(reported):
    outputs, rows = reported
    report = classifier.split_report(outputs, rows, "PrivateTest")
    assert report.pop("intervals") == intervals(outputs, rows, "PrivateTest", HEADS)
    assert report == figures(outputs, rows, "PrivateTest", HEADS) and report["ferplus_n"] == 40


def test_each_head_has_its_figures_and_plots(reported, tmp_path):
    """What was divided by the temperature is multiplied by it again for the error before."""
    outputs, rows = reported
    temperatures = {"emotion": 2.0, "fer2013": 0.5}
    found = classifier.head_reports(outputs, rows, temperatures, tmp_path, "drawn numbers")
    names = [f"{plot}_{head}.png" for plot in ("confusion", "recall", "reliability") for head in HEADS]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)
    for head, (truth, probability) in by_head(outputs, rows).items():
        report, labels = found[head], EMOTIONS[:-1] if head == "emotion" else FER2013_EMOTIONS
        assert (report["n"], list(report["recall"]), report["temperature"]) == (40, list(labels), temperatures[head])
        assert report["accuracy"] == (probability.argmax(axis=1) == truth).mean()
        before = probability ** temperatures[head]
        before = expected_calibration_error(truth, before / before.sum(axis=1, keepdims=True))
        assert report["ece_before"] == pytest.approx(before) != pytest.approx(report["ece"])
        assert report["ece_interval"][0] < report["ece_interval"][1]
        low, high = report["recall_intervals"][labels[0]]
        assert 0 <= low < report["recall"][labels[0]] + 1e-9 and report["recall"][labels[0]] < high + 1e-9


def test_a_head_without_rows_has_no_plots(reported, tmp_path):
    outputs, rows = reported
    rows = Fer2013(rows.pixels, rows.label, rows.usage)
    assert list(classifier.head_reports(outputs, rows, {"fer2013": 1.0}, tmp_path, "drawn numbers")) == ["fer2013"]
    assert len(list(tmp_path.glob("*_fer2013.png"))) == len(list(tmp_path.iterdir())) == 3
