"""The summary per face and the thinned course of a video: values by hand, CSV as rows, odd tables, the empty case."""

import csv
import json

import numpy as np
import pytest

from fer_lib.errors import InputError
from fer_lib.faces import EMOTION_COLOURS, EMOTIONS
from fer_lib.records import columns, empty_record, write_table
from fer_lib.series import Series
from fer_lib.summary import LONE_FRAME_S, SUMMARY_COLUMNS, read_rows, summarise, write_summary


def row(frame, at_s, emotion="happy", confidence=0.75, face_id=0, source="a.mp4", **more):
    """A face whose other probabilities are 0; contempt is not known to its model."""
    probability = {name: 0.0 for name in EMOTIONS if name != "contempt"} | {emotion: confidence}
    place = {"x": 1, "y": 2, "w": 30, "h": 40, "face_score": 0.9, "face_id": face_id}
    return (
        empty_record(source, frame, at_s) | place | probability | {"emotion": emotion, "confidence": confidence} | more
    )


def film() -> list[dict]:
    """Five frames that last 1, 2, 1, 1 and again 1 s; face 0 in four of them, face 7 in one."""
    return [
        row(0, 10.0, "happy", 0.5, valence=0.5, arousal=-0.5),
        row(1, 11.0, "sad", 0.75, valence=-0.25, arousal=0.25, age=30),
        row(1, 11.0, "fear", 0.5, face_id=7),
        empty_record("a.mp4", 2, 13.0),
        row(3, 14.0, "sad", 0.875, sad=0.875, happy=0.1),
        row(4, 15.0, "happy", 0.875),
    ]


def test_summary_by_hand():
    one, other = summarise(iter(film()))
    assert (one["source"], one["face_id"], one["seconds"]) == ("a.mp4", 0, 5.0)
    assert (one["first_s"], one["last_s"], one["label_changes"], one["emotion"]) == (10.0, 15.0, 2, "sad")
    shares = {name: one[f"share_{name}"] for name in EMOTIONS if f"share_{name}" in one}
    assert shares == dict.fromkeys((e for e in EMOTIONS if e != "contempt"), 0) | {"happy": 0.4, "sad": 0.6}
    assert (one["valence"], one["arousal"], one["age"]) == (0.0, 0.0, 30)  # (0.5 x 1 s - 0.25 x 2 s) / 3 s
    peaks = {key: value for key, value in one.items() if key.startswith("peak_")}
    assert peaks == {"peak_happy": 0.875, "peak_happy_time_s": 15, "peak_sad": 0.875, "peak_sad_time_s": 14}
    assert (other["face_id"], other["seconds"], other["emotion"], other["label_changes"]) == (7, 2.0, "fear", 0)
    assert "valence" not in other and set(one) | set(other) <= set(SUMMARY_COLUMNS)


def test_a_label_below_the_threshold_is_uncertain():
    """The label counts, not the best probability; a model without that class has no peak of it."""
    rows = [row(0, 0.0, happy=0.4, emotion="uncertain"), row(1, 1.0, happy=0.4, emotion="uncertain")]
    for it in rows:
        del it["uncertain"]
    (one,) = summarise(rows)
    assert (
        "peak_uncertain" not in one
        and one["emotion"] == "uncertain"
        and one["share_uncertain"] == 1
        and one["share_happy"] == 0
    )
    assert not any(key.startswith("peak_") for key in one)


def test_a_csv_gives_the_same(tmp_path):
    write_table(tmp_path / "a.csv", film(), columns(va=True, video=True, age=True))
    assert summarise(read_rows(tmp_path / "a.csv")) == summarise(film())
    write_table(tmp_path / "a.json", film(), columns(va=True, video=True, age=True))
    assert summarise(json.loads((tmp_path / "a.json").read_text())) == summarise(film())


def test_videos_of_one_table_are_kept_apart():
    rows = [*film(), row(0, 0.0, source="b.mp4"), row(1, 0.5, source="b.mp4"), row(0, 3.0, source="c.mp4")]
    found = summarise(rows)
    assert [(it["source"], it["face_id"]) for it in found] == [("a.mp4", 0), ("a.mp4", 7), ("b.mp4", 0), ("c.mp4", 0)]
    assert found[2]["seconds"] == 1.0 and found[3]["seconds"] == LONE_FRAME_S


def test_nothing_to_sum_up(tmp_path):
    assert summarise([]) == summarise([empty_record("a.mp4", 0, 0.0)]) == []
    write_summary(tmp_path / "a.csv", [])
    assert (tmp_path / "a.csv").read_text().strip() == ",".join(SUMMARY_COLUMNS)
    detected = {key: value for key, value in row(0, 0.0).items() if key not in (*EMOTIONS, "emotion", "confidence")}
    (one,) = summarise([detected])
    assert one == {"source": "a.mp4", "face_id": 0, "seconds": 0.04, "first_s": 0, "last_s": 0, "label_changes": 0}


def test_summary_files(tmp_path):
    found = summarise(film())
    write_summary(tmp_path / "s.json", found)
    listed = json.loads((tmp_path / "s.json").read_text())
    assert list(listed[0]) == list(SUMMARY_COLUMNS) and listed[0]["share_sad"] == 0.6
    assert listed[1]["valence"] is None
    write_summary(tmp_path / "s.csv", found)
    lines = list(csv.DictReader(open(tmp_path / "s.csv")))
    assert lines[0]["peak_happy_time_s"] == "15.0" and lines[1]["peak_happy"] == ""
    with pytest.raises(InputError, match="a table ends in"):
        write_summary(tmp_path / "s.txt", found)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(0, 1.0), row(1, 1.0)], "a.mp4: frame 1 is not after 0"),
        ([row(0, 0.0, time_s="soon")], "time_s is 'soon', not a number"),
        ([{"source": "a.mp4"}], "a row of a.mp4 has no frame or time"),
        ([row(0, 0.0, emotion="joy")], "emotion is 'joy', not one of anger"),
        ([row(0, 0.0, valence=float("inf"), arousal=0)], "valence is infinite"),
    ],
)
def test_a_broken_table_is_refused(rows, words):
    with pytest.raises(InputError, match=words):
        summarise(rows)


def test_tables_that_cannot_be_read(tmp_path):
    (tmp_path / "a.csv").write_text("name,score\nx,1\n")
    with pytest.raises(InputError, match="lacks the column source"):
        list(read_rows(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "b.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="give a table"):
            list(read_rows(path))


def test_series_by_hand():
    series = Series.of(film())
    assert (series.source, series.start_s, series.end_s, len(series)) == ("a.mp4", 10.0, pytest.approx(16.0), 2)
    one, other = series.faces()
    per_s = round(1 / series.step_s)
    assert per_s == 25 and series.steps == 150 and (one.face_id, one.seconds) == (0, pytest.approx(5.0))
    labels = [EMOTIONS[i] if i >= 0 else None for i in one.label]
    assert labels == ["happy"] * per_s + ["sad"] * 2 * per_s + [None] * per_s + ["sad"] * per_s + ["happy"] * per_s
    sad = one.probability[:, EMOTIONS.index("sad")]
    np.testing.assert_allclose(sad[[0, per_s, 3 * per_s, 4 * per_s]], [0, 0.75, np.nan, 0.875])
    assert np.isnan(one.probability[:, EMOTIONS.index("contempt")]).all() and "contempt" not in series.known
    np.testing.assert_allclose(one.va[[0, per_s, -1]], [[0.5, -0.5], [-0.25, 0.25], [np.nan] * 2])
    assert (other.face_id, other.first, len(other.label)) == (7, per_s, 2 * per_s)
    assert [face.face_id for face in series.faces(1)] == [0]


def test_a_long_video_is_thinned_down():
    """100 frames of 0.1 s in 10 steps at most: 0.04 s doubled until it fits; the mean of each step stays."""
    from fer_lib.summary import moments

    series = Series(points=10)
    for moment in moments(row(k, k / 10, "happy", k / 100) for k in range(100)):
        series.add(moment)
    assert series.step_s == pytest.approx(0.04 * 2**5) and series.steps == 8
    (face,) = series.faces()
    happy = face.probability[:, EMOTIONS.index("happy")]
    step = series.step_s
    exact = np.arange(0, 10, 1e-4) + 5e-5
    by_hand = [np.mean(np.floor(exact[(exact >= k * step) & (exact < (k + 1) * step)] * 10) / 100) for k in range(8)]
    np.testing.assert_allclose(happy, by_hand, atol=1e-4)
    assert face.seconds == pytest.approx(10)


def test_series_of_frames_that_are_no_whole_steps():
    """At 29.97 frames/s no step is left empty or holds a second frame."""
    series = Series.of(row(k, round(k * 1001 / 30000, 6), "happy", 0.5 + k % 2 / 4) for k in range(900))
    (face,) = series.faces()
    assert len(face.label) == series.steps == 900 and (face.label >= 0).all()
    happy = face.probability[:, EMOTIONS.index("happy")]
    np.testing.assert_allclose(happy, 0.5 + np.arange(900) % 2 / 4, atol=0.01)


def test_series_of_nothing_and_of_two_videos():
    series = Series.of([])
    assert (len(series), series.faces(), series.known, series.start_s, series.end_s) == (0, [], [], 0, 0)
    with pytest.raises(InputError, match="give the rows of one video"):
        Series.of([*film(), row(0, 0.0, source="b.mp4")])


# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: linear RGB as seen without the third and second cone
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_emotions_can_be_told_apart_by_colour(kind):
    """CIELAB distances; 2.3 is the least that is seen side by side (Mahy et al. 1994), 10 is plain."""
    assert tuple(EMOTION_COLOURS) == EMOTIONS
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in EMOTION_COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(seen @ np.array(to_xyz).T / [0.9505, 1, 1.089])
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(len(lab), 1)]
    assert distance.min() > 10
