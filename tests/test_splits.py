"""Split files: what they say, what is refused, and that the committed ones are those of the data."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

from fer_lib.datasets.ckplus import load_apex_frames
from fer_lib.datasets.demo import write_demo
from fer_lib.errors import InputError
from fer_lib.files import sha256
from fer_lib.framing import even_odd
from fer_lib.splits import SPLITS, check_no_leak, group_folds, load_split, write_split

sys.path.insert(0, str(ROOT / "tools"))

import make_splits  # noqa: E402

NAMES = ["a1", "a2", "b1", "c1", "d1"]
SUBJECT = ["a", "a", "b", "c", "d"]


@pytest.fixture
def split(tmp_path):
    """Writes a split file of NAMES: a and b train, c reports, d is left out, but for what is said otherwise."""

    def write(**other):
        parts = {"train": ["b1", "a1", "a2"], "report": ["c1"]}
        values = {"parts": parts, "left_out": {"no face": ["d1"]}, "apart": ["subject"]}
        write_split(tmp_path / "s.json", "the letters", "by hand", "make letters", **(values | other))
        return tmp_path / "s.json"

    return write


def as_lists(parts):
    return {part: rows.tolist() for part, rows in parts.items()}


def test_parts_are_rows_of_the_data(split):
    assert as_lists(load_split(split(), NAMES, subject=SUBJECT)) == {"train": [2, 0, 1], "report": [3]}
    backwards = load_split(str(split()), NAMES[::-1], subject=SUBJECT[::-1])
    assert as_lists(backwards) == {"train": [2, 4, 3], "report": [1]}


def test_how_it_was_made_is_in_the_file(split):
    text = json.loads(split(seed=3).read_text())
    assert (text["data"], text["rule"], text["command"], text["seed"]) == ("the letters", "by hand", "make letters", 3)


def test_rows_are_written_as_ranges(tmp_path):
    rows = {"train": np.array([9, 0, 1, 2, 4]), "report": [6, 7], "none": np.array([], int)}
    write_split(tmp_path / "s.json", "d", "r", "c", rows, {"why": [3, 5, 8]})
    text = json.loads((tmp_path / "s.json").read_text())
    assert text["parts"] == {"train": "0-2 4 9", "report": "6-7", "none": []} and text["left_out"] == {"why": "3 5 8"}
    parts = load_split(tmp_path / "s.json", range(10))
    assert as_lists(parts) == {"train": [0, 1, 2, 4, 9], "report": [6, 7], "none": []}
    assert all(rows.dtype == int for rows in parts.values())  # an empty part can be an index too
    with pytest.raises(InputError, match="the data lacks 8 and 1 more of s.json; it must be d"):
        load_split(tmp_path / "s.json", range(8))
    with pytest.raises(InputError, match="says nothing about 10 of the data"):
        load_split(tmp_path / "s.json", np.arange(11))


@pytest.mark.parametrize("again", ["report", "train", "left out"])
def test_a_sample_named_twice(split, again):
    parts, left_out = {"train": ["a1", "a2", "b1"], "report": ["c1"]}, {"no face": ["d1"]}
    (left_out["no face"] if again == "left out" else parts[again]).append("b1")
    with pytest.raises(InputError, match="names b1 twice; make it again: make letters"):
        load_split(split(parts=parts, left_out=left_out, apart=[]), NAMES)


def test_a_name_that_the_data_lacks(split):
    with pytest.raises(InputError, match="the data lacks d1 of s.json; it must be the letters"):
        load_split(split(), NAMES[:-1], subject=SUBJECT[:-1])


def test_a_sample_that_no_part_names(split):
    with pytest.raises(InputError, match="s.json says nothing about d1 of the data"):
        load_split(split(left_out={}), NAMES, subject=SUBJECT)


def test_two_samples_of_one_name_in_the_data(split):
    with pytest.raises(InputError, match="two samples of one name"):
        load_split(split(), [*NAMES, "a1"], subject=[*SUBJECT, "a"])


def test_a_subject_in_two_parts(split):
    file = split(parts={"train": ["a1", "b1"], "report": ["a2", "c1"]})
    with pytest.raises(InputError, match="a leak: subject a stands in train and in report") as error:
        load_split(file, NAMES, subject=SUBJECT)
    assert "\n" not in str(error.value)


def test_an_equal_picture_in_two_parts(split):
    hashes = ["0", "1", "2", "1", "1"]  # c1 is a2; d1 too, but it is left out
    with pytest.raises(InputError, match="a leak: picture 1 stands in train and in report"):
        load_split(split(), NAMES, subject=SUBJECT, picture=hashes)
    assert load_split(split(), NAMES, subject=SUBJECT, picture=["0", "0", "2", "3", "3"])


def test_what_is_kept_apart_must_be_given(split):
    with pytest.raises(ValueError, match="keeps subject apart; give subject="):
        load_split(split(), NAMES, picture=range(5))
    with pytest.raises(ValueError, match="4 values of subject for 5 samples"):
        load_split(split(), NAMES, subject=SUBJECT[:4])


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no such split file; there are .*fer2013"):
        load_split("nosuch", NAMES)
    good = {"data": "d", "rule": "r", "command": "c", "apart": [], "parts": {"train": ["a"]}, "left_out": {}}
    assert load_split(write_text(tmp_path, json.dumps(good)), ["a"])
    for key, value in [("parts", {}), ("parts", ["a"]), ("parts", {"train": "0-"}), ("parts", {"train": [["a"]]})]:
        refuse(tmp_path, json.dumps(good | {key: value}))
    for key in ("data", "command", "apart", "parts", "left_out"):
        refuse(tmp_path, json.dumps({k: v for k, v in good.items() if k != key}))
    refuse(tmp_path, "[]")
    refuse(tmp_path, '{"parts": ')


def write_text(folder, text):
    (folder / "s.json").write_text(text)
    return folder / "s.json"


def refuse(folder, text):
    with pytest.raises(InputError, match="s.json is no split file"):
        load_split(write_text(folder, text), ["a"])


# ---------------------------------------------------------------------------------------------------- without a file


def test_no_leak():
    parts = {"train": np.array([0, 1]), "report": np.array([3])}
    people = [("f", 20), ("m", 30), ("f", 20), ("f", 31)]  # row 2 is in no part
    check_no_leak(parts, person=people, picture=np.array([5, 5, 6, 6]))
    check_no_leak({}), check_no_leak({"train": np.array([], int)}, subject=[])
    with pytest.raises(InputError, match=r"person \('f', 20\) stands in train and in report"):
        check_no_leak(parts | {"report": np.array([2])}, person=people)
    with pytest.raises(InputError, match="picture 5 stands in train and in report"):
        check_no_leak(parts, person=people, picture=np.array([5, 6, 7, 5]))
    with pytest.raises(InputError, match="row 1 stands in train and in report"):
        check_no_leak(parts | {"report": np.array([1, 3])})


def test_folds_by_subject():
    """Sixty subjects of one to six frames, half of them happy: each fold has its share of both."""
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(60), rng.integers(1, 7, 60))
    happy = rng.random(len(subject)) < 0.5
    folds = group_folds(happy, subject, 5, seed=1)
    assert list(folds) == ["fold_1", "fold_2", "fold_3", "fold_4", "fold_5"]
    assert sorted(np.concatenate(list(folds.values()))) == list(range(len(subject)))
    check_no_leak(folds, subject=subject)
    for rows in folds.values():
        assert happy[rows].sum() == pytest.approx(happy.sum() / 5, abs=3)  # a subject has up to six
    again, other = group_folds(happy, subject, 5, seed=1), group_folds(happy, subject, 5, seed=2)
    assert as_lists(folds) == as_lists(again) != as_lists(other)


def test_folds_by_gender_and_age():
    people = [(gender, age) for gender in "fm" for age in (20, 30)] * 3
    folds = group_folds([0, 1] * 6, people, 2)
    check_no_leak(folds, person=people)
    assert sorted(len(rows) for rows in folds.values()) == [6, 6]
    with pytest.raises(InputError, match="4 groups cannot make 5 folds"):
        group_folds([0, 1] * 6, people, 5)


def test_folds_become_a_file(tmp_path):
    subject = ["a", "a", "b", "c", "d"]
    folds = group_folds([0, 0, 1, 0, 1], subject, 2)
    named = {fold: [NAMES[row] for row in rows] for fold, rows in folds.items()}
    write_split(tmp_path / "s.json", "d", "r", "c", named, apart=["subject"], seed=0)
    assert as_lists(load_split(tmp_path / "s.json", NAMES, subject=subject)) == as_lists(folds)


# ------------------------------------------------------------------------------------------------ the committed files


@pytest.mark.parametrize("path", sorted(SPLITS.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_says_how_it_was_made(path):
    text = json.loads(path.read_text())
    assert list(text) == ["data", "rule", "seed", "command", "apart", "parts", "left_out"]
    assert text["command"].endswith(f"tools/make_splits.py {path.stem}") and path.stem in make_splits.MAKERS
    assert text["apart"]


def test_the_tool_says_what_it_needs(monkeypatch):
    with pytest.raises(InputError, match="no split is called nosuch; there are fer2013, ck_apex"):
        make_splits.main(["nosuch"])
    monkeypatch.delenv("FER_DATA", raising=False)
    with pytest.raises(InputError, match="FER_DATA is not set"):
        make_splits.main([])


def test_the_tool_takes_whole_data_sets_only(monkeypatch, tmp_path):
    """Else the demo data, say, would replace the committed files."""
    write_demo(tmp_path, ["ck_apex"])
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    monkeypatch.setattr(make_splits, "SPLITS", tmp_path / "splits")
    with pytest.raises(InputError, match=r"\d\d samples of ck_apex, not 327; give the released files, whole"):
        make_splits.main(["ck_apex"])
    assert not (tmp_path / "splits").exists()


def test_fer2013(real_fer2013, tmp_path):
    """The file is what the tool writes, and trains on what the loader trains on."""
    data = real_fer2013
    make_splits.fer2013(tmp_path / "s.json", data)
    assert (tmp_path / "s.json").read_bytes() == (SPLITS / "fer2013.json").read_bytes()
    parts = load_split("fer2013", range(len(data)), picture=data.picture_hashes)
    assert {part: len(rows) for part, rows in parts.items()} == {
        "Training": 28709 - 703,
        "PublicTest": 3589 - 46,  # 46 of its rows show pictures of PrivateTest
        "PrivateTest": 3589,
    }
    assert data[parts["Training"]].fingerprint() == data.training().fingerprint()
    assert data[parts["PrivateTest"]].fingerprint() == data.split("PrivateTest").fingerprint()
    official = {usage: np.flatnonzero(data.usage == usage) for usage in parts}
    with pytest.raises(InputError, match="a leak: picture"):
        check_no_leak(official, picture=data.picture_hashes)


def test_ck_apex(fer_data, tmp_path):
    frames = load_apex_frames(fer_data / "ck_apex")
    make_splits.ck_apex(tmp_path / "s.json", frames)
    assert (tmp_path / "s.json").read_bytes() == (SPLITS / "ck_apex.json").read_bytes()
    names, subject = [frame.path.stem for frame in frames], [frame.subject for frame in frames]
    parts = load_split("ck_apex", names, subject=subject, picture=[sha256(frame.path) for frame in frames])
    assert as_lists(parts) == as_lists(even_odd(frames)) and (len(parts["choose"]), len(parts["report"])) == (174, 153)
