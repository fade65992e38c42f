"""Figures by hand."""

import numpy as np
import pytest

from fer_lib.metrics import bootstrap_interval, classification, expected_calibration_error

LABELS = ("a", "b", "c")


def one_hot(rows, confidence=1.0):
    p = np.full((len(rows), 3), (1 - confidence) / 2)
    p[np.arange(len(rows)), rows] = confidence
    return p


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


def test_calibration_by_hand():
    """Confidence 0.9, right in half of 4: gap 0.4; confidence 0.5, right in all of 2: gap 0.5."""
    p = np.concatenate([one_hot([0, 0, 0, 0], 0.9), one_hot([1, 1], 0.5)])
    assert expected_calibration_error([0, 0, 1, 1, 1, 1], p) == pytest.approx((4 * 0.4 + 2 * 0.5) / 6)
    assert expected_calibration_error([0, 1], one_hot([0, 1])) == 0


def test_interval_of_an_accuracy():
    """The normal approximation for 70 % of 1000 is +-2.84 points; the bootstrap agrees within a few tenths."""
    low, high = bootstrap_interval(np.arange(1000) < 700)
    assert low == pytest.approx(0.7 - 0.0284, abs=0.004) and high == pytest.approx(0.7 + 0.0284, abs=0.004)
    assert bootstrap_interval(np.ones(10)) == (1.0, 1.0)
