"""The real scripts with a real window, under a virtual screen: what is shown is looked at, keys are pressed.

Skipped where the machine has no Xvfb or the headless OpenCV; where CI is "true" that fails, so that it is noticed.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import PHOTOS, WITHIN_S, make_film, script_running, until
from mjpeg import jpeg, mjpeg_camera
from PIL import Image, ImageGrab

from fer_lib.camera import open_camera
from fer_lib.images import read_image
from fer_lib.video import VideoReader

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is for Linux")

RED = (230, 30, 30)
FACE = (slice(60, 170), slice(60, 200))  # where the face is in the film's picture, by eye
CORNER = (slice(284, 298), slice(2, 40))  # where the frame rate begins


def lacking(what: str):
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}: CI must test the window")
    pytest.skip(f"{what}: no window can be tested here")


class Screen:
    """A virtual screen: its windows, its picture and its keyboard."""

    def __init__(self, name: str):
        from Xlib import display

        self.name, self._display = name, display.Display(name)
        self._root = self._display.screen().root

    def window(self, title: str):
        """The visible window of this title, None when there is none."""
        from Xlib import X, error

        for window in self._root.query_tree().children:
            try:
                if window.get_wm_name() == title and window.get_attributes().map_state == X.IsViewable:
                    return window
            except error.BadWindow:
                pass  # it was closed meanwhile
        return None

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return np.array(ImageGrab.grab(xdisplay=self.name).convert("RGB"))

    def map_again(self, title: str) -> None:
        """Take a window from the screen and put it back: it is told to draw itself, as on a change of the desktop."""
        window = self.window(title)
        window.unmap()
        window.map()
        self._display.sync()

    def press(self, title: str, key: str) -> None:
        """A key on the keyboard, with the window in focus: nobody else does that without a window manager."""
        from Xlib import XK, X
        from Xlib.ext import xtest

        self.window(title).set_input_focus(X.RevertToPointerRoot, X.CurrentTime)
        code = self._display.keysym_to_keycode(XK.string_to_keysym(key))
        for event in (X.KeyPress, X.KeyRelease):
            xtest.fake_input(self._display, event, code)
        self._display.sync()

    def close_window(self, title: str) -> None:
        """As a click on the cross in its frame."""
        from Xlib import protocol

        window, atom = self.window(title), self._display.intern_atom
        data = (32, [atom("WM_DELETE_WINDOW"), 0, 0, 0, 0])
        window.send_event(protocol.event.ClientMessage(window=window, client_type=atom("WM_PROTOCOLS"), data=data))
        self._display.sync()


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    if shutil.which("Xvfb") is None:
        lacking("there is no Xvfb (Debian: apt-get install xvfb)")
    if "GUI:                           NONE" in cv2.getBuildInformation():
        lacking("this OpenCV is the headless one")
    readable, writable = os.pipe()
    command = ["Xvfb", "-displayfd", str(writable), "-screen", "0", "1024x768x24", "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writable], stderr=subprocess.DEVNULL)
    os.close(writable)
    try:
        with os.fdopen(readable) as number:
            yield Screen(f":{number.readline().strip()}")  # it writes the number when it is ready
    finally:
        server.terminate()
        server.wait()


def running(screen: Screen, *arguments) -> AbstractContextManager[subprocess.Popen]:
    """A script as a user starts it from a terminal on that screen."""
    env = {key: value for key, value in os.environ.items() if key != "WAYLAND_DISPLAY"} | {"DISPLAY": screen.name}
    return script_running(env, *arguments)


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) once it has ended."""
    out, error = process.communicate(timeout=WITHIN_S)
    return process.returncode, out, error


def still(path: Path, count: int) -> Path:
    """A film of one picture at 10 frames/s, 480x300: left a portrait, right plain red; a face is found in it."""
    image = np.full((300, 480, 3), RED, np.uint8)
    image[:, :256] = np.asarray(Image.fromarray(read_image(PHOTOS / "grace_hopper.jpg")).resize((256, 300)))
    return make_film(path, image, count, rate=10)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Two minutes, so that it has not ended when a busy machine comes to press a key."""
    return still(tmp_path_factory.mktemp("film") / "film.mp4", 1200)


def shown(screen: Screen, title: str = "fer") -> np.ndarray:
    """The screen where the window lies, (300, 480, 3) int, once the right side of it is red."""
    asked = time.monotonic()

    def look():
        nonlocal asked
        window = screen.window(title)
        if window is None:
            return None
        place = window.get_geometry()
        picture = screen.picture()[place.y : place.y + place.height, place.x : place.x + place.width].astype(int)
        if not picture.any() and time.monotonic() - asked > 3:
            # without a window manager, Qt 5 sometimes misses that its new window is on the screen and never draws it;
            # a program of namedWindow and imshow alone shows the same
            screen.map_again(title)
            asked = time.monotonic()
        whole = picture.shape == (300, 480, 3)
        return [picture] if whole and np.abs(picture[10:-10, -60:-10] - RED).max() < 12 else None

    return until(look, "a red picture in a window of its size")[0]


def test_camera_window_shows_saves_and_quits(screen, film, tmp_path):
    with running(screen, "webcam_fer.py", "--camera", film, "--out", tmp_path) as process:
        shown(screen)

        def with_rate():
            picture = shown(screen)
            corner = picture[CORNER].max(axis=2)  # white on black
            return [picture] if np.median(corner) < 30 and corner.max() > 220 else None

        picture = until(with_rate, "the frame rate in the lower left corner")[0]
        screen.press("fer", "s")
        until((tmp_path / "film_fer.png").exists, "s saves")
        screen.press("fer", "q")
        code, out, error = finished(process)
    assert (code, screen.window("fer")) == (0, None)
    assert f"wrote {tmp_path / 'film_fer.png'}" in out and error == f"saved {tmp_path / 'film_fer.png'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["film_fer.png"]
    saved = read_image(tmp_path / "film_fer.png").astype(int)
    with open_camera(film) as camera:
        plain = camera.read()[0].astype(int)
    changed = np.abs(saved - plain).max(axis=2) > 60
    assert changed[FACE].any() and not changed[:, 256:].any() and not changed[CORNER].any()  # the face's box, no rate
    difference = np.abs(picture - saved)
    difference[270:, :140] = 0  # the frame rate
    assert np.median(difference) <= 1 and difference.mean() < 3  # the shown frame is an annotated one, point by point


@pytest.mark.usefixtures("ctrl_c_is_heeded")
@pytest.mark.parametrize("how", ["r", "q", "Ctrl-C"])
def test_camera_window_records(screen, film, tmp_path, how):
    """r begins, r, q or Ctrl-C ends; meanwhile a mark stands in the window and not in the recording."""
    video = tmp_path / "film_fer.mp4"
    with running(screen, "webcam_fer.py", "--camera", film, "--out", tmp_path) as process:
        shown(screen)
        screen.press("fer", "r")
        begun = until(lambda: list(tmp_path.glob(".film_fer.part-*.csv")), "r records")[0]
        until(lambda: (np.abs(shown(screen)[:16, :16] - (235, 30, 30)).max(axis=2) < 40).any(), "a red dot")
        until(lambda: begun.stat().st_size, "rows")
        if how == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            screen.press("fer", how)
            until(video.exists, f"{how} ends the recording")
            if how == "r":
                screen.press("fer", "q")
        code, _, error = finished(process)
    lines = error.splitlines()
    assert code == (130 if how == "Ctrl-C" else 0) and lines[0] == f"recording {video}"
    assert re.fullmatch(r"recorded \d+ frames?", lines[1]) and len(lines) == 2 + (how == "Ctrl-C"), error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film_fer.csv", "film_fer.mp4"]
    with VideoReader(video) as reader:
        frames = list(reader)
    with open(video.with_suffix(".csv"), newline="", encoding="utf-8") as file:
        times = [float(row["time_s"]) for row in csv.DictReader(file)]
    assert np.allclose([frame.time_s for frame in frames], times, atol=0.002) and times[0] == 0
    with VideoReader(film) as reader:
        plain = next(iter(reader)).image[:16, :90].astype(int)
    assert all(np.abs(frame.image[:16, :90] - plain).mean() < 5 for frame in frames)  # no mark


@pytest.mark.parametrize("how", ["Escape", "cross"])
def test_camera_window_closes(screen, film, tmp_path, how):
    with running(screen, "webcam_fer.py", "--camera", film, "--out", tmp_path) as process:
        shown(screen)
        if how == "cross":
            screen.close_window("fer")
        else:
            screen.press("fer", how)
        code, _, error = finished(process)
    assert (code, error, screen.window("fer"), list(tmp_path.iterdir())) == (0, "", None, [])


def test_camera_that_stalls_can_be_quit(screen, tmp_path):
    """The window stays alive and says that no picture comes, wider than a frame rate is; q ends it."""
    done = threading.Event()

    def parts():
        for _ in range(20):
            yield jpeg(RED, (480, 300))
            time.sleep(0.04)
        done.wait()

    with mjpeg_camera(parts()) as url, running(screen, "webcam_fer.py", "--camera", url, "--out", tmp_path) as process:
        until(lambda: np.median(shown(screen)[-14:-2, 82:94].max(axis=2)) < 30, "the note that no picture comes")
        screen.press("fer", "q")
        begun = time.monotonic()
        code, _, error = finished(process)
        assert time.monotonic() - begun < 20  # the camera would be given up after 30 s
        done.set()
    assert (code, error) == (0, f"{url}: no picture for 3 s; still waiting\n")


def test_picture_is_shown_until_a_key_is_pressed(screen, tmp_path):
    Image.new("RGB", (480, 300), RED).save(tmp_path / "red.png")
    with running(screen, "foto_fer.py", tmp_path / "red.png", "--out", tmp_path, "--show") as process:
        shown(screen, "red.png")
        assert process.poll() is None
        screen.press("red.png", "x")
        code, out, error = finished(process)
    assert (code, error, screen.window("red.png")) == (0, "", None) and "no face found" in out


def test_video_goes_on_without_its_window(screen, film, tmp_path):
    with running(screen, "video_fer.py", film, "--out", tmp_path, "--show") as process:
        shown(screen)
        screen.press("fer", "q")
        until(lambda: screen.window("fer") is None, "q closes the window")
        table = next(tmp_path.glob(".film_fer.part-*.csv"))
        size = table.stat().st_size
        until(lambda: table.stat().st_size > size, "more rows")
        assert process.poll() is None


def test_a_screen_that_is_gone(screen, tmp_path):
    """A name in DISPLAY that nobody answers to, as after `ssh -X` has ended: the video is written instead."""
    gone = SimpleNamespace(name=":9999")
    source = still(tmp_path / "short.mp4", 5)
    with running(gone, "webcam_fer.py", "--camera", source, "--out", tmp_path / "out") as process:
        code, out, error = finished(process)
    assert code == 0 and "the screen cannot be opened: writing" in error and "5 frames" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["short_fer.csv", "short_fer.mp4"]
