"""The live view's recordings, and the faces it follows and smooths."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from test_camera import RED, FakeCapture, FakeClock, FakeWindow, fake_camera, names, one_face, red_film

from fer_lib import camera as camera_module
from fer_lib.camera import Camera, run_camera
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.records import columns


@pytest.fixture
def film(tmp_path) -> Path:
    """30 red frames in 0.6 s, in a folder of their own."""
    (tmp_path / "in").mkdir()
    return red_film(tmp_path / "in" / "film.mp4")


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(camera_module, "time", clock)
    return clock


def rows_of(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def frames_of(path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def no_face(image):
    return Faces.empty()


def dark(image) -> bool:
    """Whether the upper left corner, where the mark stands, holds black."""
    return image[:12, :40].max(axis=2).min() < 20


def test_r_starts_and_stops(film, tmp_path, clock, capsys):
    """The key after the third frame and that after the eighth: the five between are recorded, as they are shown."""
    window, out = FakeWindow(["", "", "r", "", "", "", "", "R", "", "q"]), tmp_path / "out"
    summary = run_camera(film, no_face, out=out, open_window=window)
    assert [path.name for path in summary.saved] == ["film_fer.mp4", "film_fer.csv"] == sorted(names(out))[::-1]
    recorded = frames_of(summary.saved[0])
    times = [frame.time for frame in recorded]
    assert np.allclose(times, np.arange(5) / 50, atol=0.001)
    rows = rows_of(summary.saved[1])
    assert [int(row["frame"]) for row in rows] == list(range(5)) and {row["source"] for row in rows} == {str(film)}
    assert np.allclose([float(row["time_s"]) for row in rows], times, atol=0.001)
    assert list(rows[0]) == list(columns(video=True, smoothed=True))
    assert [dark(image) for image in window.shown] == [False] * 3 + [True] * 5 + [False] * 2
    shown = window.shown[4][:20, :20].astype(int) - RED
    assert (np.abs(shown).max(axis=2) < 15).any()  # the dot, in nearly the film's colour
    assert not any(dark(frame.to_ndarray(format="rgb24")) for frame in recorded)
    assert capsys.readouterr().err == f"recording {summary.saved[0]}\nrecorded 5 frames\n"


def test_every_recording_has_a_name_of_its_own(film, tmp_path, clock):
    window = FakeWindow(["r", "", "r", "r", "r", "q"])
    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=window)
    videos = summary.saved[::2]
    assert [path.name for path in videos] == ["film_fer.mp4", "film_fer_2.mp4"]
    assert [len(frames_of(video)) for video in videos] == [2, 1]
    assert [len(rows_of(video.with_suffix(".csv"))) for video in videos] == [2, 1]
    assert len(names(tmp_path / "out")) == 4


def test_a_recording_without_a_frame_leaves_no_file(film, tmp_path, clock):
    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=FakeWindow(["", "r"], closes_after=2))
    assert summary.frames == 2 and summary.saved == names(tmp_path / "out") == []


@pytest.mark.parametrize("how", ["q", "closed", KeyboardInterrupt, ZeroDivisionError, "end"])
def test_a_recording_is_finished_however_it_ends(film, tmp_path, clock, how):
    seen, out = [], tmp_path / "out"

    def recognize(image):
        seen.append(1)
        if not isinstance(how, str) and len(seen) == 8:
            raise how
        return one_face(image)

    window = FakeWindow(
        ["", "", "r", "", "", "", "q" if how == "q" else ""], closes_after=7 if how == "closed" else None
    )
    try:
        run_camera(film, recognize, out=out, open_window=window)
    except (KeyboardInterrupt, ZeroDivisionError) as error:
        assert type(error) is how
    assert names(out) == ["film_fer.csv", "film_fer.mp4"] and window.closed
    frames, rows = frames_of(out / "film_fer.mp4"), rows_of(out / "film_fer.csv")
    assert len(frames) == len(rows) > 3 and (how == "end" or len(rows) == 4)
    assert {row["emotion"] for row in rows} == {"happy"}


def test_a_camera_is_recorded_at_the_times_of_its_pictures(tmp_path, monkeypatch):
    class Uneven(FakeCapture):
        def read(self):
            time.sleep((0.01, 0.08)[len(self.pictures) % 2])
            return super().read()

    def opened(source):
        capture = Uneven([np.full((80, 96, 3), 99, np.uint8)] * 9)
        capture.camera = Camera(capture, "camera 0", live=True)
        return capture.camera

    monkeypatch.setattr(camera_module, "open_camera", opened)
    rows = []
    window = FakeWindow(["", "r"])
    summary = run_camera("0", one_face, out=tmp_path, open_window=window, on_rows=rows.extend)
    video, table = summary.saved
    assert video.name.startswith("camera_2") and video.name.endswith("_fer.mp4")
    came = np.array([row["time_s"] for row in rows])
    recorded = [float(row["time_s"]) for row in rows_of(table)]
    assert len(recorded) == len(came) - recorded_from(came, recorded) and np.ptp(np.diff(recorded)) > 0.03
    assert np.allclose([frame.time for frame in frames_of(video)], recorded, atol=0.002)


def recorded_from(came, recorded) -> int:
    """The number of the frame with which the recording begins; its times are those of the frames from there."""
    first = len(came) - len(recorded)
    assert np.allclose(came[first:] - came[first], recorded, atol=1e-6) and first >= 1
    return first


def test_another_size_begins_another_recording(tmp_path, monkeypatch):
    sizes = [(80, 96), (80, 96), (160, 192), (160, 192), (160, 192)]
    fake_camera(monkeypatch, [np.full((*size, 3), 99, np.uint8) for size in sizes])
    summary = run_camera("0", one_face, out=tmp_path, open_window=FakeWindow(["r"]))
    found = [(len(frames), frames[0].height) for frames in map(frames_of, summary.saved[::2])]
    assert found == [(1, 80), (3, 160)]


def test_a_recording_that_cannot_be_written_is_told(film, tmp_path, clock, capsys):
    (tmp_path / "file").write_text("in the way")
    window = FakeWindow(["r", "", "", "q"])
    summary = run_camera(film, no_face, out=tmp_path / "file", open_window=window)
    assert summary.frames == 4 and summary.saved == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cannot write ") and dark(window.shown[1][::-1])  # the line stands below


def test_a_disk_that_fills_leaves_nothing_and_the_view_goes_on(film, tmp_path, clock, monkeypatch, capsys):
    class Full(camera_module.VideoWriter):
        def write(self, *given):
            if self.frames == 3:
                raise InputError("cannot write it: No space left on device")
            super().write(*given)

    monkeypatch.setattr(camera_module, "VideoWriter", Full)
    summary = run_camera(film, no_face, out=tmp_path / "out", open_window=FakeWindow(["r", *[""] * 9, "q"]))
    assert (summary.frames, summary.saved, names(tmp_path / "out")) == (11, [], [])
    assert capsys.readouterr().err.splitlines()[1:] == ["cannot write it: No space left on device"]


# ------------------------------------------------------------------------------------------------ following


def test_faces_are_followed_and_smoothed(film, tmp_path, clock):
    """Two faces found in turning order keep their numbers; a change from happy to sad comes as exp(-t / 0.3) says."""
    seen = []

    def two(image):
        seen.append(1)
        emotion = np.zeros((2, len(EMOTIONS)), np.float32)
        emotion[:, EMOTIONS.index("happy" if len(seen) == 1 else "sad")] = 1
        xyxy = np.array([[4, 20, 34, 50], [60, 20, 90, 50]], np.int32)[:: 1 if len(seen) % 2 else -1]
        return Faces(xyxy, np.ones(2, np.float32), emotion, labels=EMOTIONS)

    rows = []
    run_camera(film, two, out=tmp_path, open_window=FakeWindow(["", "", "", "q"]), on_rows=rows.extend, smooth_s=0.3)
    assert [row["face_id"] for row in sorted(rows, key=lambda row: row["x"])] == [0] * 4 + [1] * 4
    left = [row for row in rows if row["x"] == 4]
    expected = np.exp(-np.arange(4) * 0.02 / 0.3)
    assert np.allclose([row["happy"] for row in left], expected, atol=1e-3)
    assert [row["happy_raw"] for row in left] == [1, 0, 0, 0]


def test_no_smoothing(film, tmp_path, clock):
    rows = []
    window = FakeWindow(["r", "", "q"])
    summary = run_camera(film, one_face, out=tmp_path, open_window=window, on_rows=rows.extend, smooth_s=0)
    assert tuple(rows_of(summary.saved[1])[0]) == columns(video=True) and "happy_raw" not in rows[0]


def test_the_written_video_is_followed_too(film, tmp_path, clock):
    turns = []

    def two(image):
        turns.append(1)
        faces = one_face(image)
        xyxy = np.array([[4, 20, 34, 50], [60, 20, 90, 50]], np.int32)[:: (-1) ** len(turns)]
        return replace(faces, xyxy=xyxy, score=np.ones(2), emotion=np.repeat(faces.emotion, 2, axis=0))

    summary = run_camera(film, two, out=tmp_path / "out", window=False, progress=False)
    rows = rows_of(summary.table)
    assert len(rows) == 60 and len({(row["face_id"], row["x"]) for row in rows}) == 2


def test_after_a_frozen_frame_comes_the_newest(tmp_path, monkeypatch):
    """A camera that goes on while a judged frame stands: the next one shown is the last one sent."""

    class Endless(FakeCapture):
        sent = 0

        def read(self):
            time.sleep(0.001)
            self.sent += 1
            return self.sent < 5000, np.full((8, 8, 3), self.sent // 20, np.uint8)

    capture, frozen = Endless([]), []
    monkeypatch.setattr(camera_module, "open_camera", lambda source: Camera(capture, "camera 0", live=True))

    class Freezing(FakeWindow):
        def key(self):
            if frozen and len(frozen) == 1:  # the frame stands
                frozen.append(capture.sent)
                while capture.sent < frozen[0] + 400:
                    time.sleep(0.001)
                return "x"
            return super().key()

    def judge(kind):
        def judged(image, faces):
            frozen.append(capture.sent)
            return np.zeros(len(faces), np.float32), [""] * len(faces)

        judged.trust = "none"
        return judged

    seen = []

    def recognize(image):
        seen.append((int(image[0, 0, 0]), capture.sent // 20))
        return Faces.empty()

    run_camera("0", recognize, out=tmp_path, open_window=Freezing(["", "a", "", "q"]), judge=judge)
    stamp, now = seen[2]
    assert stamp >= (frozen[0] + 400) // 20 - 1 and now - stamp <= 1
