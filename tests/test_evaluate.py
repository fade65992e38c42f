"""Scoring rules by hand: what is masked, what is left out, and what has no figure."""

import json
import warnings

import numpy as np
import pytest

from fer_lib.datasets.fer2013 import FERPLUS_COLUMNS, VOTE_NAMES, Fer2013
from fer_lib.errors import InputError
from fer_lib.evaluate import evaluate, figures, intervals
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS

HEADS = {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)}
HAPPY, SAD, UNCERTAIN = (EMOTIONS.index(name) for name in ("happy", "sad", "uncertain"))


def votes(*names):
    """Ten votes for one class a row; None for a row without votes."""
    return np.array([[10 * (name == column) for column in VOTE_NAMES] for name in names])


def data(usage, plus=None, pictures=None):
    pictures = range(len(usage)) if pictures is None else pictures
    pixels = np.stack([np.full((48, 48), value, np.uint8) for value in pictures])
    label = np.full(len(usage), FER2013_EMOTIONS.index("happy"))
    return Fer2013(pixels, label, np.array(usage), plus)


def outputs(emotion, fer2013):
    return {"emotion": np.array(emotion, float), "fer2013": np.eye(7)[[FER2013_EMOTIONS.index(n) for n in fer2013]]}


def test_uncertain_is_masked():
    """Both rows are surest of `uncertain`; their best of the other eight is right once."""
    emotion = np.zeros((2, 9))
    emotion[:, UNCERTAIN], emotion[:, HAPPY], emotion[:, SAD] = 0.6, 0.3, 0.1
    table = data(["PrivateTest"] * 2, votes("happy", "sad"))
    report = figures(outputs(emotion, ["happy", "happy"]), table, "PrivateTest", HEADS)
    assert (report["ferplus_n"], report["ferplus_accuracy"]) == (2, 0.5)
    assert report["ferplus_ece"] == pytest.approx(0.25)  # 0.3 / 0.4 sure of all, right in half


def test_rows_without_a_majority_are_left_out():
    table = data(["PrivateTest"] * 4, votes("happy", "uncertain", None, "NF"))
    report = figures(outputs(np.eye(9)[[HAPPY] * 4], ["happy"] * 4), table, "PrivateTest", HEADS)
    assert (report["n"], report["ferplus_n"], report["ferplus_accuracy"]) == (4, 1, 1)


def test_duplicates_are_left_out():
    """Four test rows, three right; two of the right ones stand in Training, so one of two is left."""
    table = data(["Training", *["PrivateTest"] * 4], votes(*["happy"] * 5), [7, 7, 7, 1, 2])
    answers = outputs(np.eye(9)[[HAPPY] * 4], ["happy", "happy", "happy", "sad"])
    report = figures(answers, table, "PrivateTest", HEADS)
    assert (report["n"], report["accuracy"], report["accuracy_without_duplicates"]) == (4, 0.75, 0.5)
    found = intervals(answers, table, "PrivateTest", HEADS)
    assert found["accuracy_without_duplicates"] == (0, 1)  # of two rows both are wrong in a quarter of the draws
    assert found["accuracy"] == (0.25, 1)  # of four rows all are wrong in one of 256


def test_rows_without_a_label_are_left_out():
    """-1, as of a user's own picture of contempt: no row of the fer2013 head, but one of the emotion head."""
    table = data(
        ["Training", *["PrivateTest"] * 4], votes("happy", "happy", "contempt", "happy", "happy"), [7, 1, 2, 7, 3]
    )
    table.label[2] = -1
    contempt = EMOTIONS.index("contempt")
    answers = outputs(np.eye(9)[[HAPPY, contempt, HAPPY, SAD]], ["happy", "neutral", "happy", "sad"])
    report = figures(answers, table, "PrivateTest", HEADS)
    assert (report["n"], report["accuracy"], report["accuracy_without_duplicates"]) == (3, 2 / 3, 0.5)
    assert np.sum(report["confusion"]) == 3 and report["recall"]["neutral"] is None
    assert (report["ferplus_n"], report["ferplus_accuracy"]) == (4, 0.75)
    found = intervals(answers, table, "PrivateTest", HEADS)
    assert found["accuracy_without_duplicates"] == (0, 1) and found["accuracy"] == (0, 1)
    assert found["ferplus_accuracy"] == (0.25, 1)  # of four rows


def test_nothing_but_duplicates():
    """Every Training row stands in Training."""
    table = data(["Training"] * 2, votes("happy", "happy"))
    answers = outputs(np.eye(9)[[HAPPY] * 2], ["happy", "sad"])
    with warnings.catch_warnings(action="error"):
        report = figures(answers, table, "Training", HEADS)
        assert report["accuracy"] == 0.5 and report["accuracy_without_duplicates"] is None
        assert intervals(answers, table, "Training", HEADS)["accuracy_without_duplicates"] is None
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("plus", [None, votes(None, "NF")], ids=["no votes", "no majority"])
def test_no_ferplus_figures(plus):
    answers = outputs(np.eye(9)[[HAPPY] * 2], ["happy", "sad"])
    table = data(["PrivateTest"] * 2, plus)
    with warnings.catch_warnings(action="error"):
        report = figures(answers, table, "PrivateTest", HEADS)
        assert intervals(answers, table, "PrivateTest", HEADS)["ferplus_accuracy"] is None
    assert [report[f"ferplus_{key}"] for key in ("n", "accuracy", "macro_f1", "ece")] == [None] * 4


def test_the_missing_file_is_named(tiny_model, tmp_path):
    cells = ",".join(["0", "0 " * 48 * 48, "PrivateTest"])
    (tmp_path / "a.csv").write_text(f"emotion,pixels,Usage\n{cells}\n")
    (tmp_path / "v.csv").write_text(",".join(["Usage", *FERPLUS_COLUMNS]) + "\nPrivateTest" + ",0" * 10 + "\n")
    report = evaluate(str(tiny_model), tmp_path / "a.csv", ferplus=tmp_path / "v.csv")
    assert report["n"] == 1 and report["ferplus_n"] is None
    for names in (("nosuch.csv", None), (tmp_path / "a.csv", "nosuch.csv"), ("nosuch.csv", tmp_path / "v.csv")):
        with pytest.raises(InputError) as error:
            evaluate(str(tiny_model), names[0], ferplus=names[1])
        assert str(error.value) == "nosuch.csv: no such file; give the csv files of FER2013 and FER+"
    with pytest.raises(InputError, match=f"^{tmp_path}: is a directory; give"):
        evaluate(str(tiny_model), tmp_path)
