"""Every figure of the project: of classifiers, of their calibration, of valence and arousal, each with its interval.

Rows are one sample each. A figure of no rows does not exist: ValueError, as for arrays of unequal length, for
probabilities that do not sum to 1, nan among them, and for a true class that they do not hold. Intervals are
percentile bootstrap intervals (Efron & Tibshirani 1993), except for the recall of one class, where rows can be few:
there it is Wilson's (1927). `groups` names what was sampled when rows hang together, such as the subject of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

SMALLEST = float(np.finfo(np.float32).tiny)  # a float32 softmax answers 0 below this; its logarithm is -87
TEMPERATURES = (0.05, 20.0)  # where a temperature is sought


def classification(truth, probability, labels) -> dict:
    """The figures of a classifier: n, accuracy, macro_f1, weighted_precision, weighted_recall, recall, confusion, ece.

    truth: (n,) int index into labels; probability: (n, C) rows that sum to 1. recall is keyed by label; confusion has
    rows the truth. Macro figures run over the labels that occur in the truth; recall of an absent label is None.
    """
    truth, probability = _answers(truth, probability)
    predicted = probability.argmax(axis=1)
    everything = np.arange(len(labels))
    precision, recall, _, support = precision_recall_fscore_support(
        truth, predicted, labels=everything, zero_division=0.0
    )
    return {
        "n": len(truth),
        "accuracy": accuracy(truth, predicted),
        "macro_f1": macro_f1(truth, predicted),
        "weighted_precision": float(np.average(precision, weights=support)),
        "weighted_recall": float(np.average(recall, weights=support)),
        "recall": {name: float(r) if n else None for name, r, n in zip(labels, recall, support, strict=True)},
        "confusion": confusion_matrix(truth, predicted, labels=everything).tolist(),
        "ece": expected_calibration_error(truth, probability),
    }


def accuracy(truth, predicted) -> float:
    """Share of the (n,) int rows that agree."""
    truth, predicted = _rows(truth, predicted)
    return float(np.mean(truth == predicted))


def macro_f1(truth, predicted) -> float:
    """Mean F1 of the labels that occur in the truth; truth and predicted: (n,) int from 0.

    Counted here, as scikit-learn's takes some milliseconds and a bootstrap asks 2000 times.
    """
    truth, predicted = _rows(truth, predicted)
    size = int(max(truth.max(), predicted.max())) + 1
    right = np.bincount(truth[truth == predicted], minlength=size)
    support, answered = np.bincount(truth, minlength=size), np.bincount(predicted, minlength=size)
    present = support > 0
    return float(np.mean(2 * right[present] / (support + answered)[present]))


def recall_intervals(truth, predicted, labels, level: float = 0.95) -> dict[str, tuple[float, float] | None]:
    """Wilson's interval of each label's recall; None for a label that is absent from the truth.

    truth, predicted: (n,) int index into labels.
    """
    truth, predicted = _rows(truth, predicted)
    intervals = {}
    for i, name in enumerate(labels):
        own = predicted[truth == i] == i
        intervals[name] = wilson_interval(int(own.sum()), len(own), level) if len(own) else None
    return intervals


def wilson_interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the share right / n, n at least 1; sensible with few rows and at 0 and 1."""
    interval = binomtest(right, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def ccc(truth, predicted) -> float:
    """Lin's concordance correlation coefficient of two (n,) arrays, in [-1, 1].

    2 cov / (var_t + var_p + (mean_t - mean_p)^2), population moments (Lin 1989).
    Two constant arrays have no concordance: nan, not 0.
    """
    truth, predicted = (array.astype(np.float64) for array in _rows(truth, predicted))
    if np.ptp(truth) == 0 and np.ptp(predicted) == 0:
        return float("nan")
    gap = truth.mean() - predicted.mean()
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    return float(2 * covariance / (truth.var() + predicted.var() + gap**2))


def regression(truth, predicted, groups=None) -> dict[str, float | tuple[float, float]]:
    """n, CCC with its interval, RMSE, MAE and Pearson's r of two (n,) arrays. groups: as in bootstrap_interval.

    Pearson's r is nan where either is constant.
    """
    truth, predicted = (array.astype(np.float64) for array in _rows(truth, predicted))
    difference = predicted - truth
    varied = np.ptp(truth) > 0 and np.ptp(predicted) > 0
    return {
        "n": len(truth),
        "ccc": ccc(truth, predicted),
        "ccc_interval": bootstrap_interval(truth, predicted, figure=ccc, groups=groups, draws=500),
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "mae": float(np.abs(difference).mean()),
        "pearson": float(np.corrcoef(truth, predicted)[0, 1]) if varied else float("nan"),
    }


# ---------------------------------------------------------------------------------------------------- calibration


def calibration_bins(truth, probability, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean confidence, accuracy, number of rows), each (bins,), of the rows whose confidence lies in each bin.

    truth: (n,) int; probability: (n, C). Confidence is the highest probability of a row. Bin i of the equally wide bins
    holds the confidences above i / bins up to and with (i + 1) / bins. The first two are nan where a bin is empty.
    """
    truth, probability = _answers(truth, probability)
    confidence = probability.max(axis=1)
    right = probability.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = np.bincount(which, minlength=bins)
    divisor = np.where(rows, rows, np.nan)
    sums = (np.bincount(which, weights=values, minlength=bins) for values in (confidence, right))
    return *(total / divisor for total in sums), rows


def expected_calibration_error(truth, probability, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over calibration_bins, weighted by their rows (Guo et al. 2017)."""
    confidence, right, rows = calibration_bins(truth, probability, bins)
    return float(np.nansum(rows * np.abs(right - confidence)) / rows.sum())


def temperature(truth, probability) -> float:
    """The temperature at which the true classes are most likely (Guo et al. 2017), above 1 for an overconfident model.

    truth: (n,) int; probability: (n, C) rows that sum to 1; their logarithms stand for the logits. Fit it on the rows
    that choose, never on those that report. It is sought in TEMPERATURES and lies at their lower end when every row is
    right, at their upper end when the answers are no better than equal chances.
    """
    truth, probability = _answers(truth, probability)
    logits = _logarithm(probability)

    def loss(log_t: float) -> float:
        return -float(np.mean(log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(truth)), truth]))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def apply_temperature(probability, t: float) -> np.ndarray:
    """(n, C) float64 probabilities, p^(1/t) scaled to sum to 1 in each row; the order within a row stays."""
    return softmax(_logarithm(probability) / t, axis=1)


def _logarithm(probability) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probability, np.float64), SMALLEST))


def coverage_curve(confidence, right) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(threshold, coverage, accuracy): the share of rows at or above each threshold, and how many of them are right.

    confidence: (n,); right: (n,) bool. One entry for each different confidence, the highest first.
    """
    confidence, right = _rows(confidence, right)
    order = np.argsort(-confidence)
    confidence, right = confidence[order], right[order]
    last = np.flatnonzero(np.append(np.diff(confidence) != 0, True))  # equal confidences are answered together
    return confidence[last], (last + 1) / len(right), np.cumsum(right)[last] / (last + 1)


def uncertain_threshold(confidence, right, share: float = 0.5) -> float:
    """The highest threshold such that of the rows with less confidence at most `share` are right; 0 when there is none.

    confidence: (n,); right: (n,) bool. Fit it on the rows that choose, never on those that report.
    """
    confidence, right = _rows(confidence, right)
    thresholds = np.unique(confidence)[1:]  # under the first there is no row
    return float(max((t for t in thresholds if right[confidence < t].mean() <= share), default=0))


# -------------------------------------------------------------------------------------------------------- bootstrap


def bootstrap_interval(
    *rows, figure=np.mean, groups=None, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """(low, high): percentile bootstrap interval of figure(*rows), by default the mean of (n,) values.

    rows: arrays of n rows that are drawn together, such as truth and predicted for macro_f1 or ccc, truth and
    probability for expected_calibration_error; for accuracy alone, right is enough. groups: (n,) hashable; groups are
    drawn with all their rows, not single rows. nan when the figure is nan in any draw.
    """
    rows = _rows(*rows)
    figures = [figure(*(array[draw] for array in rows)) for draw in _draws(len(rows[0]), groups, seed, draws)]
    return _quantiles(figures, level)


def paired_bootstrap(
    truth, a, b, figure=accuracy, groups=None, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> dict:
    """The difference figure(truth, a) - figure(truth, b) of two models on the same n rows: difference, interval, p.

    a, b: what the figure takes beside truth, (n,) predicted or (n, C) probability. groups: as in bootstrap_interval.
    p is two-sided: twice the share of draws on the rarer side of no difference, the observed sample counted as one
    (Davison & Hinkley 1997).
    """
    truth, a, b = _rows(truth, a, b)
    drawn = _draws(len(truth), groups, seed, draws)
    differences = np.array([figure(truth[draw], a[draw]) - figure(truth[draw], b[draw]) for draw in drawn])
    rarer = draws - max((differences > 0).sum(), (differences < 0).sum())
    return {
        "difference": float(figure(truth, a) - figure(truth, b)),
        "interval": _quantiles(differences, level),
        "p": float(min(1.0, 2 * (rarer + 1) / (draws + 1))),
    }


def _draws(n: int, groups, seed: int, draws: int) -> Iterator[np.ndarray]:
    """Row numbers of each draw: as many groups as there are, with replacement, each with all its rows."""
    groups = range(n) if groups is None else list(groups)
    if len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} rows")
    number: dict = {}
    group = np.array([number.setdefault(name, len(number)) for name in groups])
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        times = np.bincount(rng.integers(0, len(number), len(number)), minlength=len(number))
        yield np.repeat(np.arange(n), times[group])


def _quantiles(figures, level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _answers(truth, probability) -> tuple[np.ndarray, np.ndarray]:
    """truth (n,) and probability (n, C), once they are known to be that: a model that has diverged answers nan."""
    truth, probability = _rows(truth, probability)
    if probability.ndim != 2 or not np.allclose(probability.sum(axis=1), 1, atol=1e-2):
        raise ValueError("the answers are no probabilities: each row must sum to 1")
    if not ((truth >= 0) & (truth < probability.shape[1])).all():
        raise ValueError(f"a true class lies outside 0 to {probability.shape[1] - 1}")
    return truth, probability


def _rows(*arrays) -> list[np.ndarray]:
    """The arrays, once they are known to have the same rows, and at least one."""
    arrays = [np.asarray(array) for array in arrays]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"arrays of {', '.join(map(str, lengths))} rows do not go together")
    if lengths[0] == 0:
        raise ValueError("no rows: there is nothing to score")
    return arrays
