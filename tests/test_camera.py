"""The live loop, driven through a window that is a list of keys."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import make_film
from mjpeg import jpeg, mjpeg_camera, serving

from fer_lib import camera as camera_module
from fer_lib.camera import Camera, LiveView, open_camera, run_camera, show_picture, why_no_screen
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.images import read_image
from fer_lib.video import VideoWriter, annotate_video

RED = (230, 30, 30)


def one_face(image):
    emotion = np.full((1, len(EMOTIONS)), 0.1, np.float32)
    emotion[0, EMOTIONS.index("happy")] = 0.2
    return Faces(np.array([[20, 20, 60, 60]], np.int32), np.ones(1, np.float32), emotion, labels=EMOTIONS)


@pytest.fixture
def film(tmp_path) -> Path:
    """30 red frames in 0.6 s, in a folder of their own."""
    (tmp_path / "in").mkdir()
    return red_film(tmp_path / "in" / "film.mp4")


def red_film(path, count=30) -> Path:
    return make_film(path, np.full((80, 96, 3), RED, np.uint8), count, rate=50)


class FakeWindow:
    """Answers with the given keys, one a frame; closes itself after `closes_after` frames."""

    def __init__(self, keys=(), closes_after=None):
        self.keys, self.closes_after = list(keys), closes_after
        self.shown, self.closed = [], False

    def __call__(self, *title):
        return self

    def show(self, image):
        self.shown.append(image.copy())

    show_now = show

    def key(self):
        return self.keys.pop(0) if self.keys else ""

    def is_open(self):
        return self.closes_after is None or len(self.shown) < self.closes_after

    def close(self):
        self.closed = True


class FakeCapture:
    """A camera that gives BGR pictures, each when the one before it was taken, then stops."""

    camera = None

    def __init__(self, pictures):
        self.pictures = list(pictures)

    def get(self, _):
        return 0.0

    def read(self):
        while self.pictures and (self.camera is None or self.camera._newest is not None):
            time.sleep(0.001)
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def release(self):
        pass


def fake_camera(monkeypatch, pictures):
    def opened(source):
        capture = FakeCapture(pictures)
        capture.camera = Camera(capture, "camera 0", live=True)
        return capture.camera

    monkeypatch.setattr(camera_module, "open_camera", opened)


def names(folder) -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir()) if Path(folder).exists() else []


class FakeClock:
    """Time passes only by sleeping, so that a busy machine changes nothing."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(camera_module, "time", clock)
    return clock


def test_file_plays_in_the_window_at_its_own_rate_in_rgb(film, tmp_path, capsys, clock):
    window = FakeWindow()
    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=window)
    assert summary.seconds == pytest.approx(29 / 50, abs=0.002)
    assert summary.frames == summary.faces == len(window.shown) == 30
    assert np.abs(window.shown[0][40, 80] - np.array(RED)).max() < 25  # not (30, 30, 230), which would be BGR
    assert window.closed and names(tmp_path / "out") == [] and capsys.readouterr().err == ""


def test_slow_recogniser_does_not_slow_the_film(film, tmp_path, clock):
    def slow(image):
        clock.sleep(0.1)
        return one_face(image)

    summary = run_camera(film, slow, out=tmp_path, open_window=FakeWindow())
    assert summary.frames in (6, 7) and summary.seconds < 0.75  # 0.6 s of film, ten frames a second


@pytest.mark.parametrize("key", ["q", "Q", chr(27)])
def test_key_quits(film, tmp_path, key):
    window = FakeWindow(["", "", key])
    assert run_camera(film, one_face, out=tmp_path, open_window=window).frames == 3
    assert window.closed


def test_closing_the_window_quits(film, tmp_path):
    window = FakeWindow(closes_after=4)
    assert run_camera(film, one_face, out=tmp_path, open_window=window).frames == 4
    assert window.closed


def test_window_is_closed_when_the_recogniser_fails(film, tmp_path):
    window = FakeWindow()
    with pytest.raises(ZeroDivisionError):
        run_camera(film, lambda image: 1 / 0, out=tmp_path, open_window=window)
    assert window.closed


def test_s_saves_annotated_frames_and_overwrites_none(film, tmp_path, capsys):
    window = FakeWindow(["s", "s", "S", "q"])
    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=window)
    found = names(tmp_path / "out")
    assert len(found) == len(summary.saved) == 3
    assert found == ["film_fer.png", "film_fer_2.png", "film_fer_3.png"]
    saved = read_image(summary.saved[0])
    assert saved.shape == (80, 96, 3) and np.abs(saved[75, 90] - np.array(RED)).max() < 25
    assert not np.array_equal(saved[20:60, 20], np.broadcast_to(saved[75, 90], (40, 3)))  # the box is drawn
    assert capsys.readouterr().err.count("saved ") == 3


def test_frame_rate_is_in_the_picture(film, tmp_path, clock):
    window = FakeWindow(["", "", "", "", "q"])
    run_camera(film, lambda image: Faces.empty(), out=tmp_path, open_window=window)
    first, last = window.shown[0], window.shown[-1]
    assert np.ptp(first[60:], axis=(0, 1)).max() < 20  # no rate can be known yet
    assert last[60:, :60].max() > 240 and last[60:, :60].min() < 20  # white on black


def test_frame_rate_is_smoothed(film, tmp_path, clock, monkeypatch):
    """After one at 50 frames/s the next takes 0.12 s, 8.3 frames/s, and counts for 0.12: 50 + 0.12 (8.3 - 50) = 45."""
    texts, noted = [], camera_module._noted
    monkeypatch.setattr(camera_module, "_noted", lambda image, text: texts.append(text) or noted(image, text))
    waits = iter([0, 0, 0.1])

    def recognize(image):
        clock.sleep(next(waits))
        return Faces.empty()

    run_camera(film, recognize, out=tmp_path, open_window=FakeWindow(["", "", "q"]))
    assert texts == ["50 frames/s", "45 frames/s"]


def test_without_a_screen_it_says_so_and_writes(film, tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(camera_module.sys, "platform", "linux")
    out = tmp_path / "out"
    summary = run_camera(film, one_face, out=out, progress=False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "no screen" in lines[0] and str(summary.video) in lines[0]
    assert names(out) == ["film_fer.csv", "film_fer.mp4"] and summary.table == summary.video.with_suffix(".csv")
    with av.open(str(summary.video)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(times, np.arange(30) / 50, atol=0.001)
    with open(summary.table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert np.allclose([float(row["time_s"]) for row in rows], times, atol=0.001)
    assert [int(row["frame"]) for row in rows] == list(range(30)) and {row["emotion"] for row in rows} == {"happy"}
    assert {row["source"] for row in rows} == {str(film)}


def test_a_taken_name_gets_a_number(film, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "film_fer_2.csv").touch()  # a table alone takes the name too
    videos = [run_camera(film, one_face, out=tmp_path / "o", window=False, progress=False).video for _ in range(3)]
    assert [path.name for path in videos] == ["film_fer.mp4", "film_fer_3.mp4", "film_fer_4.mp4"]


def test_second_recording_of_a_second_gets_another_name(tmp_path, monkeypatch):
    class Noon(camera_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2024, 5, 6, 12, 0, 0)

    monkeypatch.setattr(camera_module, "datetime", Noon)
    paths = []
    for _ in range(3):
        fake_camera(monkeypatch, [np.full((80, 96, 3), 99, np.uint8)])
        paths.append(run_camera("0", one_face, out=tmp_path / "o", window=False, progress=False).video.name)
    assert paths == [f"camera_20240506-120000_fer{number}.mp4" for number in ("", "_2", "_3")]


def test_camera_that_stops_and_changes_its_size(tmp_path, monkeypatch, capsys):
    sizes = [(80, 96), (80, 96), (40, 48), (160, 192)]
    fake_camera(monkeypatch, [np.full((*size, 3), RED[::-1], np.uint8) for size in sizes])
    summary = run_camera("0", one_face, out=tmp_path, window=False, progress=False)
    assert summary.frames == 4 and "camera 0 stopped sending pictures after 4 frames" in capsys.readouterr().err
    with av.open(str(summary.video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(80, 96, 3)] * 4
    assert np.abs(frames[3][75, 90].astype(int) - RED).max() < 25

    fake_camera(monkeypatch, [np.full((*size, 3), RED[::-1], np.uint8) for size in sizes])
    window = FakeWindow()
    run_camera("0", one_face, out=tmp_path, open_window=window)
    assert [image.shape[:2] for image in window.shown] == sizes
    assert "stopped sending pictures after 4" in capsys.readouterr().err


def test_phone_that_is_turned(tmp_path, monkeypatch):
    """640x480, then 480x640: that one is shrunk to 360x480 between black borders of 140, and a square stays one."""
    flat, upright = np.full((480, 640, 3), 60, np.uint8), np.full((640, 480, 3), 60, np.uint8)
    flat[200:320, 180:300] = upright[200:320, 180:300] = 250
    fake_camera(monkeypatch, [flat, upright])
    images = []

    def square(image):
        images.append(image)
        y, x = np.nonzero(image[..., 0] > 150)
        return replace(one_face(image), xyxy=np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.int32))

    rows = []
    run_camera("0", square, out=tmp_path, window=False, progress=False, on_rows=rows.extend)
    assert [[row[key] for key in "xywh"] for row in rows] == [[180, 200, 120, 120], [275, 150, 90, 90]]
    inside = np.zeros((480, 640), bool)
    inside[:, 140:500] = True
    assert np.array_equal(images[1].any(axis=2), inside)


def test_stream_that_stalls_goes_on_and_ends(tmp_path, monkeypatch, capsys):
    """Over HTTP: red pictures, none until the window says so, blue ones, none any more; each stall is told once."""
    monkeypatch.setattr(camera_module, "SILENT_S", 0.6)
    monkeypatch.setattr(camera_module, "PICTURE_WITHIN_S", 2.0)
    noticed, done = threading.Event(), threading.Event()

    def parts():
        for colour, wait in ((RED, noticed), (RED[::-1], done)):
            for _ in range(10):
                yield jpeg(colour)
                time.sleep(0.02)
            wait.wait(60)

    class Watching(FakeWindow):
        def show(self, image):
            super().show(image)
            if image[-2, 88].max() < 60:  # the note's black reaches further than a frame rate's
                noticed.set()

    window = Watching()
    with mjpeg_camera(parts()) as url:
        assert run_camera(url, one_face, out=tmp_path, open_window=window).seconds < 30
        done.set()
    assert noticed.is_set() and np.abs(window.shown[0][5, 90] - np.array(RED)).max() < 25
    assert np.abs(window.shown[-1][5, 90] - np.array(RED[::-1])).max() < 25
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [f"{url}: no picture for 1 s; still waiting"] * 2 and len(lines) == 3
    assert "stopped sending pictures after" in lines[2]


def test_slow_recogniser_gets_the_newest_picture(tmp_path, monkeypatch):
    """A camera that never waits: a picture is the last one sent when it is asked for, and has the time it came at."""

    class Endless(FakeCapture):
        def read(self):
            time.sleep(0.001)
            self.sent += 1
            return self.sent < 200, np.full((8, 8, 3), self.sent, np.uint8)

    capture, late = Endless([]), []
    capture.sent = 0
    monkeypatch.setattr(camera_module, "open_camera", lambda source: Camera(capture, "camera 0", live=True))

    def slow(image):
        begun = capture.sent
        late.append(begun - int(image[0, 0, 0]))
        deadline = time.monotonic() + 10
        while capture.sent < min(begun + 20, 199):
            assert time.monotonic() < deadline, "the camera is not read meanwhile"
            time.sleep(0.001)
        return Faces.empty()

    rows = []
    run_camera("0", slow, out=tmp_path, open_window=FakeWindow(), on_rows=rows.extend)
    assert 3 <= len(late) <= 11 and np.median(late) <= 10  # where a queue would lie 180 behind at the end
    assert np.all(np.diff([row["time_s"] for row in rows])[:-1] >= 0.015)  # the last is cut short by the end


def test_stream_that_changes_its_size(tmp_path):
    def parts():
        for colour, size in ((RED, (96, 80)), (RED, (192, 160)), (RED[::-1], (48, 40))):
            for _ in range(10):
                yield jpeg(colour, size)
                time.sleep(0.02)

    with mjpeg_camera(parts()) as url:
        summary = run_camera(url, one_face, out=tmp_path, window=False, progress=False)
    with av.open(str(summary.video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == summary.frames and {frame.shape for frame in frames} == {(80, 96, 3)}
    for frame, colour in ((frames[0], RED), (frames[-1], RED[::-1])):
        assert np.abs(frame[75, 90].astype(int) - colour).max() < 25


def test_film_on_a_server_is_a_film(film, tmp_path):
    """All its frames at its own times, however fast the network is."""
    with serving(partial(SimpleHTTPRequestHandler, directory=film.parent)) as address:
        summary = run_camera(f"{address}/film.mp4", one_face, out=tmp_path, window=False, progress=False)
    assert summary.frames == 30
    with av.open(str(summary.video)) as container:
        assert np.allclose([frame.time for frame in container.decode(video=0)], np.arange(30) / 50, atol=0.001)


def test_stream_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_module, "OPEN_WITHIN_S", 0.5)
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the call and says nothing
        with pytest.raises(InputError, match="does not open: check address"):
            run_camera(f"http://127.0.0.1:{server.getsockname()[1]}/camera", one_face, out=tmp_path)
    assert time.monotonic() - begun < 20  # OpenCV's own patience is 30 s


def test_grey_camera(tmp_path, monkeypatch):
    fake_camera(monkeypatch, [np.full((80, 96), 99, np.uint8)])
    window = FakeWindow()
    run_camera("0", lambda image: Faces.empty(), out=tmp_path, open_window=window)
    assert window.shown[0].shape == (80, 96, 3)


@pytest.mark.parametrize("how", [{"window": False}, {"open_window": FakeWindow()}])
def test_camera_without_a_picture(tmp_path, monkeypatch, how):
    fake_camera(monkeypatch, [])
    with pytest.raises(InputError, match="gives no picture"):
        run_camera("0", one_face, out=tmp_path / "out", progress=False, **how)
    assert names(tmp_path / "out") == []


def test_interrupt_keeps_video_and_table(film, tmp_path):
    seen = []

    def interrupted(image):
        if len(seen) == 10:
            raise KeyboardInterrupt
        seen.append(1)
        return one_face(image)

    with pytest.raises(KeyboardInterrupt):
        run_camera(film, interrupted, out=tmp_path / "out", window=False, progress=False)
    table, video = sorted((tmp_path / "out").iterdir())
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10
    assert len(table.read_text().splitlines()) == 11


@pytest.mark.usefixtures("ctrl_c_is_heeded")
def test_interrupt_between_video_and_table_waits_for_the_row(film, tmp_path, monkeypatch):
    class Interrupted(VideoWriter):
        def write(self, image, time_s):
            super().write(image, time_s)
            if self.frames == 10:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(camera_module, "VideoWriter", Interrupted)
    rows = []
    with pytest.raises(KeyboardInterrupt):
        run_camera(film, one_face, out=tmp_path / "out", window=False, progress=False, on_rows=rows.extend)
    table, video = sorted((tmp_path / "out").iterdir())
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10
    assert len(table.read_text().splitlines()) == 11 and len(rows) == 10


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        ("97", "is it plugged in"),
        ("nothing.mp4", "no such file"),
        ("folder", "is a folder"),
        ("noise.mp4", "not a video"),
        ("empty.mp4", "is empty"),
        ("cut.mkv", "cut off"),
        ("rtsp://127.0.0.1:9/none", "check address"),
        ("99999999999999999999", "up to 999; give a camera number"),
        ("1000", "up to 999; give a camera number"),
        ("²", "no such file; give a camera number"),
        ("", "empty; give a camera number"),
        (" ", "empty; give a camera number"),
        ("x" * 300, "too long; give a camera number"),
        ("vid\udcff.mp4", "no such file"),
    ],
)
def test_source_that_does_not_open(tmp_path, monkeypatch, source, cure, capfd):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("noise.mp4").write_bytes(np.random.default_rng(1).bytes(20_000))
    Path("empty.mp4").touch()
    cut = red_film(tmp_path / "cut.mkv", count=200)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(InputError, match=cure) as caught:
        run_camera(source, one_face, out=tmp_path / "out")
    assert source in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nor a word from OpenCV or FFmpeg
    assert names(tmp_path / "out") == []


def test_output_folder_that_cannot_be_written(film, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        run_camera(film, one_face, out=tmp_path / "file", window=False, progress=False)


def test_headless_opencv_and_a_screen_that_is_gone_are_noticed(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":97")  # nobody is there; OpenCV with Qt would end the process
    has_windows = "GUI:                           NONE" not in cv2.getBuildInformation()
    assert why_no_screen() == ("the screen cannot be opened" if has_windows else HEADLESS)


HEADLESS = "this OpenCV is the headless one, which has no windows"


def test_show_picture_waits_for_a_key(monkeypatch, capsys):
    window = FakeWindow(["", "", "x"])
    show_picture(np.zeros((8, 8, 3), np.uint8), "a.jpg", open_window=window)
    assert len(window.shown) == 1 and window.keys == [] and window.closed
    monkeypatch.setattr(camera_module, "why_no_screen", lambda: "there is no screen")
    show_picture(np.zeros((8, 8, 3), np.uint8), "a.jpg")
    assert capsys.readouterr().err == "a.jpg is not shown: there is no screen\n"


def test_a_number_is_a_camera_and_a_file_is_not_live(film):
    with open_camera(film) as camera:
        assert not camera.live and camera.rate == pytest.approx(50)
        image, time_s = camera.read()
        assert image.shape == (80, 96, 3) and time_s == 0


def test_quiet_gives_stderr_back():
    use = "from fer_lib.quiet import quiet_stderr\nwith quiet_stderr(): os.write(2, b'noise')"
    code = f"import os, sys; {use}\nos.write(2, b'ours')"
    root = Path(camera_module.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, env=dict(os.environ))
    assert done.stderr == b"ours"


def test_a_file_is_refused_as_the_video_command_refuses_it(tmp_path):
    path = red_film(tmp_path / "cut.mp4", count=200)
    path.write_bytes(path.read_bytes()[:-300])
    refusals = []
    for use in (lambda: annotate_video(path, one_face, tmp_path / "o.mp4"), lambda: open_camera(path)):
        with pytest.raises(InputError, match="cut off") as caught:
            use()
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


def test_a_device_is_passed_on_and_live(monkeypatch):
    opened = []

    class Capture(FakeCapture):
        def __init__(self, *given):
            opened.append(given)
            super().__init__([])

        def isOpened(self):  # noqa: N802, OpenCV's own name
            return True

    monkeypatch.setattr(camera_module.cv2, "VideoCapture", Capture)
    assert open_camera("/dev/null").live and opened == [("/dev/null", cv2.CAP_ANY)]


def test_ffmpeg_says_nothing_of_a_damaged_file(tmp_path):
    path = tmp_path / "damaged.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(40):  # noise, so that the pictures are large enough to be hit
            image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    for at in rng.integers(len(content) // 4, len(content) * 3 // 4, 200):
        content[at : at + 30] = b"\xff" * 30
    path.write_bytes(content)
    code = (
        "import sys, time; from fer_lib.camera import open_camera\n"
        "with open_camera(sys.argv[1]) as camera:\n"
        "    while camera.read() is not None: time.sleep(0.005)"  # FFmpeg's threads go on meanwhile
    )
    root = Path(camera_module.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("window", [FakeWindow(["", "q"]), FakeWindow(["", chr(27)]), FakeWindow(closes_after=2)])
def test_live_view_shows_until_it_is_closed(window):
    view = LiveView(window)
    pictures = [np.full((8, 8, 3), number, np.uint8) for number in range(4)]
    for picture in pictures:
        view.show(picture)
    assert [image[0, 0, 0] for image in window.shown] == [0, 1] and window.closed


def test_live_view_without_a_screen_says_so_once(monkeypatch, capsys):
    monkeypatch.setattr(camera_module, "why_no_screen", lambda: "there is no screen")
    view = LiveView()
    for _ in range(2):
        view.show(np.zeros((8, 8, 3), np.uint8))
    assert capsys.readouterr().err == "not shown: there is no screen\n"
