"""Tables: columns, values by hand, the empty frame, all three formats."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas
import pyarrow.parquet
import pytest

from fer_lib import records
from fer_lib.affect import ADFES_POINTS, expected_va, from_seven, to_seven
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, Faces
from fer_lib.files import OutputNames, replacing
from fer_lib.records import columns, empty_record, face_records, typed, write_table


def two_faces(labels=EMOTIONS):
    emotion = np.full((2, len(labels)), 0.5 / (len(labels) - 1), np.float32)
    emotion[0, labels.index("happy")] = emotion[1, labels.index("sad")] = 0.5
    boxes = np.array([[10, 20, 40, 60], [100, 5, 150, 55]], np.int32)
    return Faces(boxes, np.array([0.9, 0.8], np.float32), emotion, labels=labels)


def test_record_by_hand():
    row = face_records(two_faces(), "a.jpg", 3, 0.12)[1]
    assert (row["source"], row["frame"], row["time_s"], row["face_id"]) == ("a.jpg", 3, 0.12, 1)
    assert (row["x"], row["y"], row["w"], row["h"]) == (100, 5, 50, 50)
    assert row["emotion"] == "sad" and row["confidence"] == row["sad"] == 0.5 and row["anger"] == 0.0625
    assert "valence" not in row


def test_track_ids_and_va_are_told():
    faces = two_faces()
    tracked = Faces(
        faces.xyxy, faces.score, faces.emotion, np.array([[0.5, -0.25], [0, 1]]), np.array([7, 3]), EMOTIONS
    )
    rows = tracked.records()
    assert [row["face_id"] for row in rows] == [7, 3]
    assert (rows[0]["valence"], rows[0]["arousal"]) == (0.5, -0.25)


def test_smoothed_emotions_are_told_beside_the_raw_ones(tmp_path):
    faces = two_faces(FER2013_EMOTIONS)
    raw = faces.emotion[::-1].copy()
    rows = face_records(replace(faces, emotion_raw=raw), "a.mp4")
    assert (rows[0]["emotion"], rows[0]["happy"], rows[0]["happy_raw"]) == ("happy", 0.5, 0.083333)
    assert rows[1]["happy_raw"] == 0.5 and "contempt_raw" not in rows[0]
    assert not any(name.endswith("_raw") for row in face_records(faces) for name in row)
    names = columns(video=True, smoothed=True)
    write_table(tmp_path / "t.csv", [row | {"measured": 1} for row in rows], names)
    read = list(csv.DictReader(open(tmp_path / "t.csv")))
    assert list(read[0])[-10:] == ["measured", *(f"{name}_raw" for name in EMOTIONS)]
    assert read[0]["contempt_raw"] == "" and read[1]["happy_raw"] == "0.5"
    write_table(tmp_path / "t.parquet", rows, names)
    assert pandas.read_parquet(tmp_path / "t.parquet")["sad_raw"].tolist() == [0.5, 0.083333]


def test_a_class_the_model_lacks_stays_empty(tmp_path):
    write_table(tmp_path / "t.csv", face_records(two_faces(FER2013_EMOTIONS), "a"), columns())
    rows = list(csv.DictReader(open(tmp_path / "t.csv")))
    assert rows[0]["contempt"] == "" and rows[0]["happy"] == "0.5"


def test_no_face_is_a_row_with_empty_cells(tmp_path):
    assert face_records(Faces.empty()) == []
    rows = [empty_record("v.mp4", 4, 0.16), *face_records(two_faces(), "v.mp4", 5, 0.2)]
    for suffix in ("csv", "json", "parquet"):
        write_table(tmp_path / f"t.{suffix}", rows, columns(va=True, video=True))
    table = list(csv.reader(open(tmp_path / "t.csv")))
    assert tuple(table[0]) == columns(va=True, video=True)
    assert table[1] == ["v.mp4", "4", "0.16"] + [""] * (len(table[0]) - 3)
    listed = json.loads((tmp_path / "t.json").read_text())
    assert listed[0]["x"] is None and listed[1]["x"] == 10 and list(listed[0]) == table[0]
    parquet = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(parquet.columns) == table[0] and parquet["x"].isna().tolist() == [True, False, False]
    assert parquet["happy"][1] == 0.5


def test_an_empty_table_has_its_header(tmp_path):
    write_table(tmp_path / "t.csv", [], columns())
    write_table(tmp_path / "t.parquet", [], columns())
    assert (tmp_path / "t.csv").read_text().strip() == ",".join(columns())
    assert list(pandas.read_parquet(tmp_path / "t.parquet").columns) == list(columns())


def test_json_is_the_list_as_json_writes_it(tmp_path):
    names = ("source", "frame", "emotion")
    rows = [{"source": 'ä"\n b', "frame": 0}, {"source": "b", "frame": 1, "emotion": "sad"}]
    write_table(tmp_path / "t.json", iter(rows), names)
    listed = [{name: row.get(name) for name in names} for row in rows]
    assert (tmp_path / "t.json").read_text() == json.dumps(listed, indent=1, ensure_ascii=False) + "\n"
    write_table(tmp_path / "t.json", [], names)
    assert (tmp_path / "t.json").read_text() == "[]\n"


def test_parquet_is_written_in_parts(tmp_path, monkeypatch):
    """Five rows, two at a time, of which the second two have no face; a column empty in a part keeps its type."""
    rows = face_records(two_faces(), "a") + [empty_record("a", n, n / 25) for n in (1, 2)] + [{"source": "b", "x": 7}]
    write_table(tmp_path / "whole.parquet", rows, columns())
    monkeypatch.setattr(records, "ROWS_AT_ONCE", 2)
    write_table(tmp_path / "parts.parquet", iter(rows), columns())
    whole, parts = (pandas.read_parquet(tmp_path / f"{name}.parquet") for name in ("whole", "parts"))
    pandas.testing.assert_frame_equal(whole, parts)
    assert len(parts) == 5 and pyarrow.parquet.ParquetFile(tmp_path / "parts.parquet").num_row_groups == 3


def test_csv_rows_get_their_types_back(tmp_path):
    rows = [*face_records(two_faces(), "007", 3, 0.1), empty_record("007", 4, 0.2)]
    write_table(tmp_path / "t.csv", rows, columns())
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        again = [typed(row) for row in csv.DictReader(file)]
    assert again == rows and [list(map(type, row.values())) for row in again] == [
        list(map(type, row.values())) for row in rows
    ]
    with pytest.raises(InputError, match="a.mp4: .*'much'; give the table as it was written"):
        typed({"source": "a.mp4", "happy": "much"})


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=".csv, .json, .parquet"):
        write_table(tmp_path / "t.xlsx", [], columns())
    assert not list(tmp_path.iterdir())


def test_output_names_do_not_collide(tmp_path):
    names = OutputNames(tmp_path)
    given = [names(source, ".png").name for source in ("a/x.jpg", "b/x.png", "c/X.jpg", "y.jpg")]
    assert given == ["x_fer.png", "x_fer_2.png", "X_fer_3.png", "y_fer.png"]


def test_replacing_leaves_the_old_file_when_it_fails(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_valence_arousal_by_hand():
    certain = np.eye(9, dtype=np.float32)
    va = expected_va(certain)
    assert va[EMOTIONS.index("neutral")].tolist() == [0, 0]
    np.testing.assert_allclose(va[EMOTIONS.index("happy")], [(5.88 - 4) / 3, (5.27 - 4) / 3], rtol=1e-6)
    half = (certain[0] + certain[4])[None] / 2
    mean = (np.array(ADFES_POINTS["anger"]) + ADFES_POINTS["happy"]) / 2
    np.testing.assert_allclose(expected_va(half)[0], (mean - 4) / 3, atol=1e-6)
    assert expected_va(np.zeros((0, 9), np.float32)).shape == (0, 2)
    np.testing.assert_allclose(to_seven(from_seven([1, 4, 7])), [1, 4, 7])
    assert from_seven(1) == -1 and from_seven(7) == 1


def test_faces_check_their_rows():
    with pytest.raises(ValueError, match="score has 1 rows for 2 boxes"):
        Faces(np.zeros((2, 4), np.int32), np.zeros(1, np.float32))
    faces = two_faces()[np.array([1])]
    assert len(faces) == 1 and faces.top()[0] == ["sad"] and faces.labels == EMOTIONS
    with pytest.raises(ValueError, match="carry no emotions"):
        Faces.empty().top()
    with pytest.raises(ValueError, match="carry no emotions"):
        Faces.empty().best()


def test_rows_keep_their_roll():
    faces = replace(two_faces(), roll=np.array([-30, 12], np.float32), track_id=np.array([5, 6], np.int32))
    assert faces[[1, 0]].roll.tolist() == [12, -30] and faces[[1, 0]].track_id.tolist() == [6, 5]
    assert faces[:0].roll.shape == (0,) and two_faces()[:1].roll is None
    with pytest.raises(ValueError, match="roll has 1 rows for 2 boxes"):
        replace(faces, roll=np.zeros(1, np.float32))
    faces = replace(faces, emotion_raw=faces.emotion[::-1])
    assert faces[[1]].emotion_raw[0].tolist() == faces.emotion[0].tolist()
    with pytest.raises(ValueError, match="emotion_raw has 1 rows for 2 boxes"):
        replace(faces, emotion_raw=faces.emotion[:1])
    with pytest.raises(ValueError, match="7 emotion columns but 9 labels"):
        replace(faces, emotion_raw=faces.emotion[:, :7])


def sure_by(*shares, below):
    """Faces that are sad by these shares and happy by the rest, called uncertain below a share."""
    emotion = np.zeros((len(shares), 9), np.float32)
    emotion[:, EMOTIONS.index("sad")] = shares
    emotion[:, EMOTIONS.index("happy")] = 1 - emotion.sum(axis=1)
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.int32), (len(shares), 1))
    return Faces(boxes, np.ones(len(shares), np.float32), emotion, labels=EMOTIONS, uncertain_below=below)


def test_an_improbable_emotion_is_uncertain():
    faces = sure_by(0.625, 0.75, 0.875, 0.25, below=0.75)  # eighths are exact
    assert faces.best()[0] == ["sad", "sad", "sad", "happy"] and faces.top()[0] == ["uncertain", "sad", "sad", "happy"]
    for names_and_shares in (faces.best(), faces.top()):
        assert names_and_shares[1].tolist() == [0.625, 0.75, 0.875, 0.75] and names_and_shares[1].dtype == np.float32
    assert faces[:1].top()[0] == ["uncertain"] and sure_by(below=0.75).top()[0] == []
    assert sure_by(0.7, below=0.7).top()[0] == ["sad"], "0.7 as float32 lies below 0.7"
    assert sure_by(0.5, 0.5, below=0.0).top()[0] == sure_by(0.5, 0.5, below=0.0).best()[0]
    assert sure_by(0.875, 1.0, below=1.0).top()[0] == ["uncertain", "sad"]


def test_the_table_calls_an_improbable_emotion_uncertain():
    """The confidence is still that of the best one, whose column says which it was."""
    rows = face_records(sure_by(0.625, 0.875, below=0.75))
    assert [(row["emotion"], row["confidence"], row["sad"]) for row in rows] == [
        ("uncertain", 0.625, 0.625),
        ("sad", 0.875, 0.875),
    ]
    assert [row["uncertain"] for row in rows] == [0, 0]


def test_parquet_types_do_not_depend_on_the_rows(tmp_path):
    """Tables of a run with faces, of one without and of none at all join."""
    names = columns(va=True, video=True)
    face = face_records(two_faces(), "v.mp4", 5, 0.2)
    for name, rows in (("a", face), ("b", [empty_record("v.mp4", 4, 0)]), ("c", []), ("d", [face[0] | {"sad": 0}])):
        write_table(tmp_path / f"{name}.parquet", rows, names)
    schemas = [pyarrow.parquet.read_schema(tmp_path / f"{name}.parquet").remove_metadata() for name in "abcd"]
    assert all(schema == schemas[0] for schema in schemas)
    types = {name: str(pandas.read_parquet(tmp_path / "c.parquet")[name].dtype) for name in names}
    whole = {"frame", "face_id", "x", "y", "w", "h", "measured"}
    assert {name for name, kind in types.items() if kind == "Int64"} == whole
    assert {name for name, kind in types.items() if kind == "Float64"} == set(names) - whole - {"source", "emotion"}
    joined = pyarrow.concat_tables(pyarrow.parquet.read_table(tmp_path / f"{name}.parquet") for name in "abcd")
    assert joined["x"].to_pylist() == [10, 100, None, 10] and joined["emotion"].to_pylist()[1:3] == ["sad", None]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_file_name_that_is_no_text(tmp_path, suffix):
    """Python reads an undecodable byte of a name as a lone surrogate, which no UTF-8 file can hold."""
    path = tmp_path / f"t.{suffix}"
    write_table(path, [empty_record("vid\udcff é.mp4", 0, 0)], columns())
    read = {"csv": pandas.read_csv, "json": pandas.read_json, "parquet": pandas.read_parquet}[suffix]
    assert read(path)["source"].tolist() == [r"vid\udcff é.mp4"]
