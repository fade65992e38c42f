"""Reading a face over time: rest, windows, the linear reader, and --sequence from film to table."""

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import PHOTOS, make_film, one_line_error, run_script

from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.images import read_image
from fer_lib.runtime import export_fast
from fer_lib.sequences import (
    COLUMNS,
    SEQUENCE_LABELS,
    SequenceReader,
    differences_to_rest,
    fit_reader,
    rest,
    sequence_lines,
    windows,
)
from fer_lib.weights import KERAS_FILE, SEQUENCE_TASK, load_card, save_keras

NEUTRAL = SEQUENCE_LABELS.index("neutral")
HAPPY = SEQUENCE_LABELS.index("happy")


def test_rest_is_the_calmest_tenth():
    features = np.arange(40.0).reshape(20, 2)
    calm = np.linspace(0, 1, 20)
    np.testing.assert_allclose(rest(features, calm), features[18:].mean(axis=0))
    np.testing.assert_allclose(rest(features[:3], calm[:3]), features[2])
    np.testing.assert_allclose(rest(features[:1], calm[:1]), features[0])


def test_windows_by_hand():
    """Times 0, 0.4, 0.8, 1.2, 1.6: windows of a second from 0, 0.5 and 1; of a gap there is none."""
    found = windows(np.array([0, 0.4, 0.8, 1.2, 1.6]))
    assert [(start, rows.tolist()) for start, rows in found] == [(0, [0, 1, 2]), (0.5, [2, 3]), (1.0, [3, 4])]
    assert [rows.tolist() for _, rows in windows(np.array([3.0]))] == [[0]]
    assert [start for start, _ in windows(np.array([0, 0.1, 5.0]))] == [0, 4.0]
    assert [rows.tolist() for _, rows in windows(np.array([10.0, 10.5, 11.0]))] == [[0, 1, 2]]


def test_differences_by_hand():
    """Apex minus rest of three sequences; the two faces at rest of the first subject against each other, both ways."""
    features = np.array([[0.0], [5], [1], [7], [10], [11]])
    found, whose = differences_to_rest(features, [0, 2, 4], [1, 3, 5], ["a", "a", "b"])
    assert found[:, 0].tolist() == [5, 6, 1, 1, -1] and whose.tolist() == ["a", "a", "b", "a", "a"]


def test_the_reader_is_one_linear_layer():
    """What scaling, components and discriminants do together; three classes far apart in a few of the columns."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    differences = rng.normal(3, 2, (90, 12))
    differences[:, :3] += 9 * np.eye(3)[labels]
    kernel, bias = fit_reader(differences, labels)
    assert kernel.shape == (12, 3) and bias.shape == (3,)
    told = (differences @ kernel + bias).argmax(axis=1)
    assert (told == labels).mean() > 0.97
    moved = fit_reader(differences * 7 + 2, labels)  # units and offsets say nothing
    np.testing.assert_array_equal(((differences * 7 + 2) @ moved[0] + moved[1]).argmax(axis=1), told)


@pytest.fixture(scope="module")
def bright_is_happy(tmp_path_factory, tiny_model):
    """A model folder for sequences: the brighter a face is than at rest, by the tiny trunk's features, the happier."""
    folder = tmp_path_factory.mktemp("sequence") / "sequence"
    folder.mkdir()
    clip = keras.Input((2, 8), name="features")
    answer = keras.layers.Dense(len(SEQUENCE_LABELS), "softmax", name="emotion")
    model = keras.Model(clip, {"emotion": answer(clip[:, 1] - clip[:, 0])})
    kernel, bias = np.zeros((8, len(SEQUENCE_LABELS))), np.zeros(len(SEQUENCE_LABELS))
    kernel[:, HAPPY], bias[NEUTRAL] = 100, 2
    answer.set_weights([kernel, bias])
    save_keras(model, folder / KERAS_FILE)
    export_fast(folder / KERAS_FILE, folder)
    tiny = load_card(str(tiny_model))
    replace(
        tiny,
        name="sequence",
        task=SEQUENCE_TASK,
        labels=SEQUENCE_LABELS,
        heads={"emotion": list(SEQUENCE_LABELS)},
        input_size=1,
        inputs=["at rest", "frame"],
        trunk={str(tiny_model): tiny.sha256[KERAS_FILE]},
    ).write(folder)
    return folder


def test_tracks_and_windows_by_hand(bright_is_happy, monkeypatch):
    """Two faces, one of which changes for the last second; each is compared with itself at rest."""
    monkeypatch.setattr("fer_lib.sequences.REST_LEAST", 0.0)  # the tiny model knows no neutral face
    reader = SequenceReader("blazeface", str(bright_is_happy))
    faces = Faces(np.array([[0, 0, 40, 40], [60, 0, 100, 40]], np.int32), np.ones(2, np.float32))
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 255, (2, 40, 40, 3), np.uint8)
    for i in range(30):
        image = np.zeros((40, 100, 3), np.uint8)
        image[:, :40], image[:, 60:] = (left, right) if i < 20 else (left, 255 - right)
        reader(image, faces, i / 10)
    rows = reader.rows("film.mp4")
    tracks = [row for row in rows if row["window"] == 0]
    assert [row["face_id"] for row in tracks] == [0, 1] and all(row["frames"] == 30 for row in tracks)
    assert tracks[0]["emotion"] == "neutral" and tracks[0]["start_s"] == 0 and tracks[0]["end_s"] == 2.9
    first = [row for row in rows if row["face_id"] == 0 and row["window"]]
    assert [(row["start_s"], row["end_s"]) for row in first[:2]] == [(0, 1), (0.5, 1.5)]
    assert [row["window"] for row in first] == list(range(1, len(first) + 1))
    assert all(abs(sum(row[name] for name in SEQUENCE_LABELS) - 1) < 1e-4 for row in rows)
    windows_of_second = [row for row in rows if row["face_id"] == 1 and row["window"]]
    assert windows_of_second[0]["emotion"] == "neutral"  # at rest, whatever it looks like
    changed = windows_of_second[-1]
    assert changed["happy"] > windows_of_second[0]["happy"] + 0.1  # another face than at rest
    assert max(row["happy"] for row in first) < windows_of_second[0]["happy"] + 0.01  # the other stays as it was
    assert list(rows[1]) == [name for name in COLUMNS if name != "apex_s"] == list(rows[0])[:-1]
    assert COLUMNS[:7] == ("source", "face_id", "window", "start_s", "end_s", "frames", "rest")
    assert COLUMNS[7:15] == ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert COLUMNS[15:] == ("emotion", "confidence", "apex_s")
    assert sequence_lines(rows)[0].startswith("film.mp4: face 0, 0.0 to 2.9 s: neutral ")
    reader.begin()
    assert reader.rows("another.mp4") == []


def test_a_face_never_seen_at_rest_is_not_read(bright_is_happy, monkeypatch):
    """Without a face at rest there is nothing to compare with: rows without a label, and a line that says so."""
    monkeypatch.setattr("fer_lib.sequences.REST_LEAST", 1.1)
    reader = SequenceReader("blazeface", str(bright_is_happy))
    faces = Faces(np.array([[0, 0, 40, 40]], np.int32), np.ones(1, np.float32))
    for i in range(12):
        reader(np.full((40, 40, 3), 90, np.uint8), faces, i / 10)
    rows = reader.rows("film.mp4")
    assert [row["window"] for row in rows] == [0, 1, 2] and all(0 <= row["rest"] < 1.1 for row in rows)
    assert all(set(row) == set(COLUMNS[:7]) for row in rows)
    (line,) = sequence_lines(rows)
    assert line == "film.mp4: face 0, 0.0 to 1.1 s: never seen at rest, so not read as a sequence"


def test_long_tracks_are_read_in_parts(bright_is_happy, monkeypatch):
    reader = SequenceReader("blazeface", str(bright_is_happy))
    rng = np.random.default_rng(0)
    features, calm = rng.random((50, 8)).astype(np.float16), rng.random(50)
    whole = reader.probability(features, calm)
    assert whole.shape == (50, len(SEQUENCE_LABELS)) and whole[:, HAPPY].std() > 0.1
    monkeypatch.setattr("fer_lib.sequences.BATCH", 7)
    np.testing.assert_allclose(reader.probability(features, calm), whole, atol=1e-6)


def test_another_trunk_is_refused(bright_is_happy, tmp_path):
    card = load_card(str(bright_is_happy))
    for name in (KERAS_FILE, "model.xml", "model.bin"):
        (tmp_path / name).write_bytes((bright_is_happy / name).read_bytes())
    replace(card, trunk=dict.fromkeys(card.trunk, "0" * 64)).write(tmp_path)
    with pytest.raises(InputError, match="sequence was made for another .* than the one in"):
        SequenceReader("blazeface", str(tmp_path))


def test_a_film_becomes_a_table_of_sequences(tmp_path):
    film = make_film(tmp_path / "film.mp4", read_image(PHOTOS / "grace_hopper.jpg")[:512], 30)
    done = run_script("video_fer.py", film, "--sequence", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "film_fer_sequence.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and [row["window"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["emotion"] == "neutral" and rows[0]["frames"] == "10"  # a still face is at rest, seen ten times a s
    with open(tmp_path / "out" / "film_fer.csv", newline="") as file:
        assert {row["face_id"] for row in csv.DictReader(file)} == {rows[0]["face_id"]}
    assert "film.mp4: face 0, 0.0 to 1.1 s: neutral" in done.stdout and "film_fer_sequence.csv" in done.stdout
    empty = make_film(tmp_path / "empty.mp4", np.zeros((64, 64, 3), np.uint8), 3)
    done = run_script("video_fer.py", empty, "--sequence", "--out", tmp_path / "out")
    assert done.returncode == 0 and (tmp_path / "out" / "empty_fer_sequence.csv").read_text().count("\n") == 1
    assert "none.mp4: no such file" in one_line_error(run_script("video_fer.py", tmp_path / "none.mp4", "--sequence"))
