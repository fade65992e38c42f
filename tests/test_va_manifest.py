"""Manifests of measured valence and arousal: every form that is read, by hand, and what is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lib.datasets import data_folder
from fer_lib.datasets.va_manifest import load_va_manifest
from fer_lib.errors import InputError

ROWS = [
    {"path": "a.png", "valence": 0.5, "arousal": -0.25},
    {"path": "sub/b.png", "valence": -1, "arousal": 1},
    {"path": "sub/c.png", "valence": 0, "arousal": 0.1},
]
VA = np.array([[0.5, -0.25], [-1, 1], [0, 0.1]], np.float32)


def write_picture(path: Path, grey: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for grey, row in enumerate(ROWS):
        write_picture(tmp_path / row["path"], grey)
    return tmp_path


def write_csv(folder: Path, text: str) -> Path:
    (folder / "m.csv").write_text(text, encoding="utf-8")
    return folder / "m.csv"


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def refused(path) -> str:
    """The one line with which a manifest is refused; it names the file."""
    with pytest.raises(InputError) as error:
        load_va_manifest(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value), str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------------------------ csv


def test_csv_in_any_order_of_columns(folder):
    """A byte order mark, blanks after commas, other columns and a blank line are no obstacle."""
    text = "\ufeffArousal, path, notes, valence\n-0.25, a.png, x, 0.5\n1,sub/b.png,,-1\n\n1e-1,sub/c.png,,0\n"
    data = load_va_manifest(write_csv(folder, text))
    assert data.path == [folder / row["path"] for row in ROWS] and len(data) == 3
    np.testing.assert_array_equal(data.va, VA)
    assert data.va.dtype == np.float32 and data.unlabelled == 0
    assert data.group.tolist() == ["a.png", "sub/b.png", "sub/c.png"]
    assert data.source == "valence and arousal of the manifest (m.csv)"


@pytest.mark.parametrize(
    ("columns", "cells", "groups"),
    [
        ("subject", ["1", "2", "1"], ["1", "2", "1"]),
        ("video", ["v", "v", "w"], ["v", "v", "w"]),
        ("video,subject", ["v,1", "v,2", "w,1"], ["1", "2", "1"]),  # a subject may be in several videos
    ],
)
def test_subject_or_video_is_the_group(folder, columns, cells, groups):
    lines = [f"{r['path']},{r['valence']},{r['arousal']},{c}" for r, c in zip(ROWS, cells, strict=True)]
    data = load_va_manifest(write_csv(folder, "\n".join([f"path,valence,arousal,{columns}", *lines])))
    assert data.group.tolist() == groups


def test_two_spellings_of_a_path_are_one_group(folder):
    data = load_va_manifest(write_csv(folder, "path,valence,arousal\na.png,0,0\n./sub/../a.png,0,0.1\n"))
    assert data.group.tolist() == ["a.png", "a.png"]


def test_absolute_paths(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    data = load_va_manifest(write_csv(other, f"path,valence,arousal\n{folder / 'a.png'},0,0\n"))
    assert data.path == [folder / "a.png"]


AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"


def test_affectnet_rows_without_a_label_are_left_out(folder):
    """-2 in both; the picture of such a row need not be there."""
    rows = "a.png,1,1,9,9,1;2,0,0.5,-0.25\nlost.jpg,1,1,9,9,1;2,10,-2,-2\nsub/b.png,1,1,9,9,1;2,6,-1,1\n"
    data = load_va_manifest(write_csv(folder, AFFECTNET + rows))
    assert data.path == [folder / "a.png", folder / "sub/b.png"] and data.unlabelled == 1
    np.testing.assert_array_equal(data.va, VA[:2])
    assert data.source == "valence and arousal of AffectNet (m.csv)"


def test_affectnet_refusals(folder):
    half = refused(write_csv(folder, AFFECTNET + "a.png,1,1,9,9,1;2,0,0.5,-2\n"))
    assert "m.csv line 2: arousal is '-2', not from -1.0 to 1.0" in half
    assert "has no rows but 1 without a label" in refused(write_csv(folder, AFFECTNET + "a.png,1,1,9,9,,8,-2,-2\n"))
    assert "line 2: valence is '-2'" in refused(write_csv(folder, "path,valence,arousal\na.png,-2,-2\n"))
    assert "line 2 has no path" in refused(write_csv(folder, AFFECTNET + ",1,1,9,9,,8,0,0\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column 'valence'"),
        ("path,valence,arousal\n", "has no rows; give a manifest with path, valence and arousal"),
        ("path,valence\na.png,0\n", "has no column 'arousal' in its first line (',' between): path, valence; give"),
        ("path;valence;arousal\na.png;0;0\n", "has no column 'valence' in its first line (',' between)"),
        ("file,valence,arousal\na.png,0,0\n", "m.csv line 2 has no path; every row needs one"),
        ("path,valence,arousal,Valence\na.png,0,0,0\n", "has several columns 'valence'; remove all but one"),
        ("path,valence,arousal,path\na.png,0,0,a.png\n", "has several columns 'path'"),
        ("path,valence,arousal\na.png,0,0\na.png,0\n", "m.csv line 3 has 2 fields, the header 3; give"),
        ("path,valence,arousal\na.png,1.01,0\n", "line 2: valence is '1.01', not from -1.0 to 1.0; mend the manifest"),
        ("path,valence,arousal\na.png,0,-1.01\n", "line 2: arousal is '-1.01', not from -1.0 to 1.0; mend"),
        ("path,valence,arousal\na.png,0,nan\n", "line 2: arousal is 'nan', not from"),
        ("path,valence,arousal\na.png,high,0\n", "line 2: valence is 'high', not a number; mend"),
        ("path,valence,arousal\na.png,,0\n", "line 2: valence is '', not a number"),
        ("path,valence,arousal\na.png,0,0\nsub/x.png,0,0\n", "m.csv line 3: there is no picture 'sub/x.png' in "),
        ("path,valence,arousal\nsub,0,0\n", "line 2: there is no picture 'sub'"),
        ('path,valence,arousal\n"a\nb.png",0,0\n', r"there is no picture 'a\nb.png'"),
        (f"path,valence,arousal\n{'x' * 5000},0,0\n", "there is no picture 'xxx"),
        ("path,valence,arousal\n ,0,0\n", "line 2 has no path"),
        ("path,valence,arousal,subject\na.png,0,0,1\na.png,0,0,\n", "line 3 has no subject; every row needs one"),
    ],
)
def test_csv_refused(folder, text, words):
    assert words in refused(write_csv(folder, text))


def test_what_is_no_manifest_is_refused(folder):
    assert "no such file; give a csv or json" in refused(folder / "none.csv")
    assert "is not a text table" in refused(folder / "a.png")
    for name in ("pipe.csv", "pipe.json"):
        os.mkfifo(folder / name)  # reading it would wait for a writer
        assert ": not a file; give a" in refused(folder / name)


# ------------------------------------------------------------------------------------------------ json


def test_json_list(folder):
    data = load_va_manifest(write_json(folder / "m.JSON", [row | {"note": "x"} for row in ROWS]))
    assert data.path == [folder / row["path"] for row in ROWS]
    np.testing.assert_array_equal(data.va, VA)
    assert data.group.tolist() == ["a.png", "sub/b.png", "sub/c.png"]
    assert data.source == "valence and arousal of the manifest (m.JSON)"
    grouped = [row | {"subject": subject} for row, subject in zip(ROWS, (7, "8", 7), strict=True)]
    assert load_va_manifest(write_json(folder / "m.json", grouped)).group.tolist() == ["7", "8", "7"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "cannot be read as json (Expecting value"),
        ("[" * 100_000, "cannot be read as json"),
        ("[]", "has no rows"),
        ("3", "is neither a list of objects nor a video of AFEW-VA"),
        ("{}", "is neither a list of objects nor a video of AFEW-VA"),
        ('[{"path": "a.png", "valence": 0, "valence": 1, "arousal": 0}]', "'valence' is there twice in one object"),
        ([ROWS[0], 3], "m.json row 2 is no object with valence and arousal"),
        ([{"path": "a.png", "valence": 0}], "m.json row 1 is no object with valence and arousal; mend"),
        ([{"valence": 0, "arousal": 0}], "m.json row 1 has no path"),
        ([ROWS[0] | {"path": None}], "m.json row 1 has no path"),
        ([ROWS[0] | {"valence": "0.5"}], "row 1: valence is '0.5', not a number"),
        ([ROWS[0] | {"valence": True}], "row 1: valence is True, not a number"),
        ([ROWS[0] | {"arousal": None}], "row 1: arousal is None, not a number"),
        ([ROWS[0] | {"arousal": 1.5}], "row 1: arousal is 1.5, not from -1.0 to 1.0"),
        ([ROWS[0] | {"arousal": float("nan")}], "row 1: arousal is nan, not from"),
        ('[{"path": "a.png", "valence": 1' + "0" * 400 + ', "arousal": 0}]', "row 1: valence is 1000"),
        ([ROWS[0], ROWS[1] | {"path": "x.png"}], "row 2: there is no picture 'x.png' in "),
        ([ROWS[0] | {"subject": "1"}, ROWS[1]], "row 2 has no subject"),  # whom it shows is not known: a leak
        ([ROWS[0] | {"subject": [1]}], "row 1 has no subject"),
        ([ROWS[0] | {"subject": False}], "row 1 has no subject"),
    ],
)
def test_json_refused(folder, content, words):
    assert words in refused(write_json(folder / "m.json", content))


# ------------------------------------------------------------------------------------------------ AFEW-VA


def write_video(root: Path, name: str, labels: list[tuple]) -> Path:
    """A clip as AFEW-VA has it: 001/001.json and 001/00000.png ..."""
    frames = {}
    for number, (valence, arousal) in enumerate(labels):
        write_picture(root / name / f"{number:05d}.png", number)
        frames[f"{number:05d}"] = {"valence": valence, "arousal": arousal, "landmarks": [[1.5, 2.5]] * 68}
    return write_json(root / name / f"{name}.json", {"video_id": name, "frames": frames})


def test_afew_va_video_by_hand(tmp_path):
    data = load_va_manifest(write_video(tmp_path, "001", [(3.0, 5.0), (-10, 10)]))
    assert data.path == [tmp_path / "001/00000.png", tmp_path / "001/00001.png"]
    np.testing.assert_allclose(data.va, [[0.3, 0.5], [-1, 1]], atol=1e-7)  # float32
    assert data.group.tolist() == ["001", "001"]
    assert data.source == "valence and arousal of AFEW-VA (001.json)"


def test_afew_va_folder(tmp_path):
    """Videos in their own order; what macOS leaves in its archives is passed over."""
    for label in (4, 2, 6, 1, 5, 3):  # neither this order nor its reverse
        write_video(tmp_path, f"00{label}", [(label, 0)] * 2)
    write_json(tmp_path / "001/._001.json", "not json")
    data = load_va_manifest(tmp_path)
    names = [f"00{label}" for label in range(1, 7)]
    assert data.path == [tmp_path / name / f"0000{k}.png" for name in names for k in (0, 1)]
    np.testing.assert_allclose(data.va[:, 0], np.repeat(np.arange(1, 7) / 10, 2), atol=1e-7)  # float32
    assert data.group.tolist() == [name for name in names for _ in (0, 1)]
    assert data.source == f"valence and arousal of AFEW-VA ({tmp_path.name})"
    assert load_va_manifest(tmp_path / "001").va.shape == (2, 2)  # the folder of one video


def test_a_video_without_id_has_its_file_name(tmp_path):
    file = write_video(tmp_path, "001", [(1, 1)])
    write_json(file, {"frames": json.loads(file.read_text())["frames"]})
    assert load_va_manifest(file).group.tolist() == ["001"]


def test_afew_va_refusals(tmp_path):
    file = write_video(tmp_path, "001", [(1, 1), (1, 10.5)])
    assert "001.json frame '00001': arousal is 10.5, not from -10.0 to 10.0" in refused(file)
    assert "frame '00001': arousal is 10.5" in str(pytest.raises(InputError, load_va_manifest, tmp_path).value)
    write_video(tmp_path, "001", [(1, 1), (1, 1)])
    (tmp_path / "001/00001.png").unlink()
    assert "001.json frame '00001': there is no picture '00001.png' in " in refused(file)
    write_json(file, {"video_id": "001", "frames": {"00000": 3}})
    assert "frame '00000' is no object with valence and arousal" in refused(file)
    write_json(file, {"video_id": "001", "frames": {}})
    assert "has no rows" in refused(file)
    write_json(file, '{"video_id": "001", "frames": {"00000": {}, "00000": {}}}')
    assert "'00000' is there twice" in refused(file)
    (tmp_path / "empty").mkdir()
    assert "has no rows" in refused(tmp_path / "empty")


# ------------------------------------------------------------------------------------------------ all


def test_fingerprint_changes_with_each_part(folder):
    def fingerprint(label="0", subject="1"):
        text = f"path,valence,arousal,subject\na.png,{label},0,{subject}\n"
        return load_va_manifest(write_csv(folder, text)).fingerprint()

    first = fingerprint()
    assert len(first) == 64 and fingerprint() == first
    assert len({first, fingerprint(label="0.1"), fingerprint(subject="2")}) == 3
    write_picture(folder / "a.png", 200)
    assert fingerprint() != first


def test_the_demo_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_va_manifest(data_folder("demo", 2, ("va",)) / "va" / "manifest.csv")
    assert len(data) == 240 and len(set(data.group)) == 60
    assert np.abs(data.va).max() <= 1 and (np.ptp(data.va, axis=0) > 0.5).all()
