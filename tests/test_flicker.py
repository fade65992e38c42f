"""Label changes and delays by hand; smoothing trades one for the other."""

import numpy as np
import pytest

from fer_lib.faces import EMOTIONS
from fer_lib.flicker import TIME_CONSTANTS, delays, label_changes, made_answers, smoothed_labels, smoothing_table


def test_label_changes_by_hand():
    assert label_changes([0, 1, 2, 4], ["a", "b", "b", "a"]) == {"changes": 2, "seconds": 4, "per_second": 0.5}
    gap = label_changes([0, 1, 2, 3, 4], ["a", "b", None, "a", "a"])
    assert gap == {"changes": 1, "seconds": 2, "per_second": 0.5}, "b and a are two seconds apart, and nothing between"
    for times, labels in (([], []), ([3], ["a"]), ([0, 1], [None, "a"])):
        assert label_changes(times, labels) == {"changes": 0, "seconds": 0, "per_second": 0}
    with pytest.raises(ValueError, match="2 times but 1 labels"):
        label_changes([0, 1], ["a"])


def test_delays_by_hand():
    times = [0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    truth = ["a", "a", "b", "b", "b", "c", "a"]
    assert delays(times, truth, ["a", "b", "d", "b", "a", "b", "a"]) == ([0.5, 0.0], 1), "c is over before it is told"
    assert delays(times, truth, truth) == ([0, 0, 0], 0)
    assert delays([], [], []) == delays([0, 1], ["a", "a"], ["a", "b"]) == ([], 0)


def step(times, at_s):
    """Certain of anger until at_s, of happy from then on."""
    return np.eye(9, dtype=np.float32)[[EMOTIONS.index("happy" if t >= at_s else "anger") for t in times]]


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_a_certain_change_is_late_by_the_half_life(rate):
    """0.69 time constants at all frame rates; the held value counts from the frame before the change."""
    times = np.arange(3 * rate) / rate
    truth = ["happy" if t >= 1 else "anger" for t in times]
    (late,), missed = delays(times, truth, smoothed_labels(times, step(times, 1.0), 0.6))
    assert not missed and np.log(2) * 0.6 - 1 / rate - 1e-9 <= late <= np.log(2) * 0.6 + 1e-9


def test_the_made_film():
    times = np.arange(0, 60, 1 / 25)
    truth, probability = made_answers(times)
    assert probability.shape == (1500, 9) and probability.dtype == np.float32
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert set(truth) <= set(EMOTIONS[:8]) and 60 / 4 - 1 <= label_changes(times, truth)["changes"] <= 60 / 1.5
    right = np.mean([EMOTIONS[i] == true for i, true in zip(probability.argmax(axis=1), truth, strict=True)])
    assert 0.7 < right < 0.95, "wrong often enough to flicker"
    again, other = made_answers(times), made_answers(times, seed=1)
    assert again[0] == truth and (again[1] == probability).all() and other[0] != truth
    assert made_answers([])[1].shape == (0, 9)


def test_smoothing_trades_flicker_for_delay():
    table = smoothing_table(seconds=60)
    assert [row["smooth_s"] for row in table] == list(TIME_CONSTANTS)
    changes, late = ([row[key] for row in table] for key in ("changes_per_s", "delay_s"))
    assert changes == sorted(changes, reverse=True) and late == sorted(late) and late[0] < 0.1
    default = table[TIME_CONSTANTS.index(0.3)]
    assert (
        default["changes_per_s"] < changes[0] / 5 and default["delay_s"] < 0.3 and default["right"] > table[0]["right"]
    )
    assert all(row["missed"] == 0 for row in table[:3])
    empty = smoothing_table(seconds=0)
    assert empty[0]["changes_per_s"] == 0 and np.isnan(empty[0]["delay_s"])
