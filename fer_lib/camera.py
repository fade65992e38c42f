"""A camera, a stream or a file played live: in a window, or written to a video where there is no screen."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from fer_lib.annotate import SMALLEST_TEXT, block_size, text_block
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.files import uninterrupted
from fer_lib.images import write_image
from fer_lib.messages import counted, inform
from fer_lib.quiet import quiet_stderr
from fer_lib.records import columns
from fer_lib.track import SMOOTH_S, Smoother, Tracker
from fer_lib.video import CsvTable, Progress, VideoWriter, check_video, saying_what_is_kept, video_rows

ESCAPE = chr(27)
NO_PICTURE = "opens but gives no picture: is another program using it, or is the file damaged?"
RATE_OVER_S = 1.0  # the frame rate in the picture is the mean over about this long
MOST_CAMERAS = 1000  # OpenCV takes a larger number for the name of a driver
OPEN_WITHIN_S = 10.0  # what a stream is given to answer
PICTURE_WITHIN_S = 30.0  # a stream that sends nothing for so long has ended
SILENT_S = 3.0  # a live source without a picture for so long is told of
PAINT_MS = 30  # in which a desktop has painted a picture
RECORDING = (235, 30, 30)  # the dot
WAIT_S = 0.05  # between two looks at the keys while no picture comes
JUDGE_KEYS = {"a": "units", "l": "landmarks"}  # what genuine or posed is read from
READ_FROM = {"units": "action units", "landmarks": "landmarks"}  # the same in words
MEASURING = "measuring ..."
HELD = "s saves, q quits, any other key: live again"
NOTICE_S = 6.0  # how long a line that nobody asked for twice stands in the window
GIVE_ONE = "give a camera number (0 is the first), a video file or a URL"

# read by OpenCV when it first opens a video: FFmpeg's threads write to stderr also while quiet_stderr is not in force
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Camera:
    """Pictures from a cv2.VideoCapture with their times; a context manager.

    live: a camera or a stream, whose times are the clock's; a file has its own. A live source is read by a thread of
    its own, so that a picture is new when a slow recogniser asks for it, and that one which stalls blocks nobody.
    """

    def __init__(self, capture, name: str, live: bool):
        self.name, self.live, self.ended = name, live, False
        self._capture = capture
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 1 <= rate <= 1000 else 25.0
        self._start, self._last_s, self._count = None, -1.0, 0
        if live:
            self._news = threading.Condition()
            self._newest = None  # (BGR picture, when it came), until it is taken
            self._stopped = self._closed = False
            self._heard = time.monotonic()
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()

    @property
    def silent_s(self) -> float:
        """Seconds since a live source's last picture; 0 for a file."""
        return time.monotonic() - self._heard if self.live else 0.0

    def read(self, paced: bool = False) -> tuple[np.ndarray, float] | None:
        """(image (H, W, 3) uint8 RGB, seconds since the first picture).

        None at the end, as `ended` then tells, or when a live source has sent no new picture within WAIT_S.
        paced: a file is played at its own rate; what comes too late to be shown is passed over.
        """
        bgr, time_s = self._read_live() if self.live else self._read_file(paced)
        return None if bgr is None else (cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time_s)  # three channels of a grey one

    def _listen(self) -> None:
        taken = True
        try:
            while taken and not self._closed:
                taken, bgr = self._capture.read()
                with self._news:
                    if taken:
                        self._heard = time.monotonic()
                        self._newest = bgr, self._heard
                        self._news.notify()
        finally:
            with self._news:
                self._stopped = True
                self._news.notify()
            self._capture.release()  # by this thread, since OpenCV must not be closed while it reads

    def _read_live(self) -> tuple[np.ndarray | None, float]:
        with self._news:
            self._news.wait_for(lambda: self._newest or self._stopped, WAIT_S)
            (bgr, came), self._newest = self._newest or (None, 0.0), None
            self.ended = bgr is None and self._stopped
        if bgr is None:
            return None, 0.0
        self._start = came if self._start is None else self._start
        self._last_s = max(came - self._start, self._last_s + 0.001)
        return bgr, self._last_s

    def _read_file(self, paced: bool) -> tuple[np.ndarray | None, float]:
        with quiet_stderr():
            if paced and self._start is not None:
                while self._last_s + 2 / self.rate < time.monotonic() - self._start and self._capture.grab():
                    self._stamp()
            ok, bgr = self._capture.read()
        if not ok or bgr is None:
            self.ended = True
            return None, 0.0
        self._start = time.monotonic() if self._start is None else self._start
        time_s = self._stamp()
        if paced:
            time.sleep(max(0.0, self._start + time_s - time.monotonic()))
        return bgr, time_s

    def skip(self, seconds: float) -> None:
        """Forget that so much time has passed: a file that is played was not looked at."""
        if not self.live and self._start is not None:
            self._start += seconds

    def _stamp(self) -> float:
        """The time of a file's picture just taken; a file without usable times is counted by its rate."""
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not time_s > self._last_s:
            time_s = max(self._count / self.rate, self._last_s + 0.001)
        self._count += 1
        self._last_s = time_s
        return time_s

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        if self.live:
            self._closed = True
            self._listener.join(10 * WAIT_S)  # one that stalls ends by itself when OpenCV gives up
            return
        with quiet_stderr():
            self._capture.release()


def open_camera(source) -> Camera:
    """A camera by its number ("0" is the first) or device, a video file or a URL.

    InputError when it does not open, and for a file that fer_lib.video refuses: cut off, empty, no video.
    """
    text = str(source)
    if not text.strip():
        raise InputError(f"the camera's name is empty; {GIVE_ONE}")
    if text.isascii() and text.isdecimal():
        if len(text) > len(str(MOST_CAMERAS)) or int(text) >= MOST_CAMERAS:
            raise InputError(f"camera {text}: numbers go up to {MOST_CAMERAS - 1}; {GIVE_ONE}")
        with quiet_stderr():
            capture = cv2.VideoCapture(int(text))
        if not capture.isOpened():
            raise InputError(f"camera {text} does not open: is it plugged in, free, and allowed? or give a file or URL")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver lets us: no backlog of old pictures
        return Camera(capture, f"camera {text}", live=True)
    if "://" in text:
        limits = {cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: OPEN_WITHIN_S, cv2.CAP_PROP_READ_TIMEOUT_MSEC: PICTURE_WITHIN_S}
        settings = [number for key, seconds in limits.items() for number in (key, round(1000 * seconds))]
        capture = _patiently_opened(text, cv2.CAP_FFMPEG, settings)
        if not capture.isOpened():
            raise InputError(f"{text} does not open: check address, network and password")
        return Camera(capture, text, live=not capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)  # a film on a server is a file
    path = Path(text)
    try:
        regular, there = path.is_file(), path.exists()
    except OSError as error:
        raise InputError(f"{text}: {error.strerror or error}; {GIVE_ONE}") from None
    if not there:
        raise InputError(f"{text}: no such file; {GIVE_ONE}")
    if path.is_dir():
        raise InputError(f"{text}: is a folder; {GIVE_ONE}")
    if regular:
        check_video(path)
    capture = _patiently_opened(text, cv2.CAP_FFMPEG if regular else cv2.CAP_ANY)  # any: a device is no file
    if not capture.isOpened():
        raise InputError(f"{text}: OpenCV cannot play it; {GIVE_ONE}")
    return Camera(capture, path.name if regular else text, live=not regular)


def _patiently_opened(*arguments):
    """A cv2.VideoCapture, made in a thread of its own: a stream or a pipe may let it wait, and Ctrl-C is heard here."""
    made = []
    thread = threading.Thread(target=lambda: made.append(cv2.VideoCapture(*arguments)), daemon=True)
    with quiet_stderr():
        thread.start()
        while thread.is_alive():
            thread.join(WAIT_S)
    return made[0]


class Window:
    """The only place that touches a screen."""

    def __init__(self, title: str = "fer"):
        self.title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)  # no tool bar
        self._sized = False

    def show(self, image: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB."""
        if not self._sized:
            cv2.resizeWindow(self.title, image.shape[1], image.shape[0])
            self._sized = True
        cv2.imshow(self.title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def show_now(self, image: np.ndarray) -> None:
        """As show, but painted before it returns, as long work follows; a key pressed meanwhile is lost."""
        self.show(image)
        cv2.waitKey(PAINT_MS)

    def key(self) -> str:
        """The key pressed since the last call, "" when none."""
        code = cv2.waitKey(1)
        return chr(code & 0xFF) if code >= 0 else ""

    def is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False  # Qt's answer when its last window was closed

    def close(self) -> None:
        try:
            cv2.destroyWindow(self.title)
            cv2.waitKey(1)  # some desktops remove it only while events are handled
        except cv2.error:
            pass  # the user has closed it


def why_no_screen() -> str:
    """Why no window can be opened here; "" when one can."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no screen"
    # in a process of its own: with a screen that is named but gone, OpenCV's Qt ends the process it runs in
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('fer', cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=20, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return "the screen does not answer"
    if done.returncode == 0:
        return ""
    if "not implemented" in done.stderr:
        return "this OpenCV is the headless one, which has no windows"
    return "the screen cannot be opened"


def show_picture(image: np.ndarray, title: str = "fer", open_window: Callable[[str], Window] | None = None) -> None:
    """Show (H, W, 3) uint8 RGB until a key is pressed or the window closed; says so where there is no screen."""
    reason = why_no_screen() if open_window is None else ""
    if reason:
        inform(f"{title} is not shown: {reason}")
        return
    window = (open_window or Window)(title)
    try:
        window.show(image)
        _until_a_key(window)
    finally:
        window.close()


class LiveView:
    """Shows pictures while other work goes on; after q, Esc or the closing of its window it shows no more.

    The window opens with the first picture. Where there is no screen, that is said once and nothing is shown.
    """

    def __init__(self, open_window: Callable[[], Window] | None = None):
        reason = why_no_screen() if open_window is None else ""
        if reason:
            inform(f"not shown: {reason}")
        self._open, self._window, self._done = open_window or Window, None, bool(reason)

    def show(self, image: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB."""
        if self._done:
            return
        self._window = self._window or self._open()
        self._window.show(image)
        if self._window.key().lower() in ("q", ESCAPE) or not self._window.is_open():
            self._window.close()
            self._done = True


@dataclass
class CameraSummary:
    """What a camera run has seen and left."""

    source: str
    frames: int = 0
    faces: int = 0
    seconds: float = 0.0
    saved: list[Path] = field(default_factory=list)  # pictures, by the s key; videos and their tables, by the r key
    video: Path | None = None  # only without a window
    table: Path | None = None


def run_camera(
    source,
    recognize: Callable,
    *,
    out="out",
    window: bool = True,
    names: tuple[str, ...] | None = None,
    draw: Callable | None = None,
    open_window: Callable[[], Window] | None = None,
    on_rows: Callable[[list[dict]], None] | None = None,
    progress: bool = True,
    smooth_s: float = SMOOTH_S,
    judge: Callable[[str], Callable] | None = None,
) -> CameraSummary:
    """Show what the recogniser sees, live, until q, Esc, the closing of the window or the end of the source.

    The key s saves the frame as a picture; r starts and stops recording what is shown, to `camera_<time>_fer.mp4` (of a
    file `<stem>_fer.mp4`) and a table, whose times count from the recording's first frame.

    The keys a and l freeze the frame and show genuine or posed, from action units and from landmarks; then s saves that
    picture, q and Esc quit and any other key goes on. judge: "units" or "landmarks" to a callable (image, faces) ->
    ((N,) probability of genuine, N words) with an attribute `trust`, a line; by default
    fer_lib.genuineness.Genuineness.

    recognize: (H, W, 3) uint8 RGB -> Faces. draw: (image, faces) -> image, default draw_faces. Without a screen, or
    with window=False, an annotated video and its table go to `out` instead: all frames of a file, a camera's until
    Ctrl-C (which finishes both and goes on as KeyboardInterrupt). names: the tables' columns, by default those of a
    video. on_rows is called with each frame's rows. The faces are followed by fer_lib.track.Tracker and their
    emotions smoothed with the time constant smooth_s in seconds, 0 for not at all.

    InputError when the source does not open or gives no picture, or when `out` cannot be written.
    """
    if draw is None:
        from fer_lib.annotate import draw_faces as draw
    with _only_python_on_stderr(), open_camera(source) as camera:
        summary = CameraSummary(str(source))
        names = columns(video=True, smoothed=smooth_s > 0) if names is None else names
        look = _Followed(recognize, smooth_s)
        begun = time.monotonic()
        reason = why_no_screen() if window and open_window is None else ""
        try:
            if window and not reason:
                _show(camera, look, draw, open_window or Window, Path(out), names, on_rows, judge, summary)
            else:
                _write(camera, look, draw, Path(out), names, reason, progress, on_rows, summary)
        finally:
            summary.seconds = time.monotonic() - begun
        if not summary.frames:
            raise InputError(f"{camera.name} {NO_PICTURE}")
    return summary


class _Followed:
    """What the recogniser sees in each picture, with the faces' identities, and smoothed over time."""

    def __init__(self, recognize: Callable, smooth_s: float):
        self._recognize, self._track, self._smooth = recognize, Tracker(), Smoother(smooth_s)

    def __call__(self, image: np.ndarray, time_s: float) -> Faces:
        return self._smooth(self._track(self._recognize(image), time_s, image), time_s)


@contextmanager
def _only_python_on_stderr() -> Iterator[None]:
    """As quiet_stderr, but Python's own lines still appear: libjpeg tells of bad pictures in the camera's thread."""
    if sys.stderr is not sys.__stderr__:  # somebody else looks after it
        yield
        return
    options = {"buffering": 1, "encoding": sys.stderr.encoding, "errors": sys.stderr.errors}
    with open(os.dup(2), "w", **options) as sys.stderr:
        try:
            with quiet_stderr():
                yield
        finally:
            sys.stderr = sys.__stderr__


def _pictures(camera: Camera, paced: bool = False) -> Iterator[tuple[np.ndarray, float] | None]:
    """What the camera reads until it ends; None whenever a live source lets one wait, which is told once when long."""
    told = False
    while (taken := camera.read(paced)) is not None or not camera.ended:
        if taken is None and camera.silent_s > SILENT_S and not told:
            inform(f"{camera.name}: no picture for {SILENT_S:.0f} s; still waiting")
        told = taken is None and camera.silent_s > SILENT_S
        yield taken


def _show(camera: Camera, look, draw, open_window, out: Path, names, on_rows, judge, summary: CameraSummary) -> None:
    window = open_window()
    rate, before, annotated, notice = 0.0, None, None, _Notice()
    judges, recorder = _Judges(judge), _Recorder(camera, out, names, summary)
    try:
        for taken in _pictures(camera, paced=True):
            if taken is not None:
                image, time_s = taken
                faces = look(image, time_s)
                if on_rows is not None:
                    on_rows(video_rows(faces, summary.source, summary.frames, time_s))
                annotated = draw(image, faces)
                try:
                    recorder.add(annotated, faces, time_s)
                except InputError as error:
                    notice.say(str(error))
                now = time.monotonic()
                if before is not None and now > before:
                    weight = min(1.0, (now - before) / RATE_OVER_S) if rate else 1.0
                    rate += weight * (1 / (now - before) - rate)
                before = now
                summary.frames += 1
                summary.faces += len(faces)
                text = notice.text() or (f"{rate:.0f} frames/s" if rate else "")
                shown = _noted(annotated, text) if text else annotated
                window.show(_marked(shown) if recorder.on else shown)
            elif annotated is not None and camera.silent_s > SILENT_S:
                window.show(_noted(annotated, f"no picture for {camera.silent_s:.0f} s"))
            key = window.key().lower()
            if key == "s" and annotated is not None:
                _save(camera, out, annotated, summary)
            if key == "r":
                try:
                    recorder.toggle()
                except InputError as error:
                    notice.say(str(error))
            if key in JUDGE_KEYS and annotated is not None:
                frozen = time.monotonic()
                window.show_now(_noted(annotated, MEASURING))
                try:
                    judgement = judges(JUDGE_KEYS[key], image, faces)
                except InputError as error:
                    notice.say(str(error))
                else:
                    held = draw(image, judgement.faces)
                    window.show(_noted(held, f"{judgement.text()} ({HELD})"))
                    while (key := _until_a_key(window).lower()) == "s":
                        _save(camera, out, held, summary)
                before = None  # the pause says nothing about the rate
                camera.skip(time.monotonic() - frozen)
            if key in ("q", ESCAPE) or not window.is_open():
                return
        _say_stopped(camera, summary)
    finally:
        window.close()
        recorder.stop()


class _Recorder:
    """What the window shows as a video and a table, from one press of r to the next, or to the end.

    A recording has its files from its first frame on. A picture of another size begins a new one.
    """

    def __init__(self, camera: Camera, out: Path, names: tuple[str, ...], summary: CameraSummary):
        self._camera, self._out, self._names, self._summary = camera, out, names, summary
        self.on = False
        self._files: ExitStack | None = None

    def toggle(self) -> None:
        if self.on:
            self.stop()
        else:
            self.on = True

    def add(self, annotated: np.ndarray, faces: Faces, time_s: float) -> None:
        """Record a frame when it is on. InputError when that cannot be written: then it is off, and nothing is left."""
        if not self.on:
            return
        if self._files is not None and annotated.shape != self._shape:
            self._finish()
        try:
            with uninterrupted():  # so that video and table end with the same frame
                if self._files is None:
                    self._begin(annotated, time_s)
                rows = video_rows(faces, self._summary.source, self._writer.frames, time_s - self._start_s)
                self._writer.write(annotated, time_s - self._start_s)
                self._table.write(rows)
        except InputError as error:
            self.on = False
            files, self._files = self._files, None
            if files is not None:
                files.__exit__(type(error), error, error.__traceback__)
            raise

    def _begin(self, annotated: np.ndarray, time_s: float) -> None:
        video = _free_name(self._camera, self._out, ".mp4", ".csv")
        height, width = annotated.shape[:2]
        with ExitStack() as files:
            self._table = files.enter_context(CsvTable(video.with_suffix(".csv"), self._names))
            self._writer = files.enter_context(VideoWriter(video, width, height, rate=self._camera.rate))
            self._files = files.pop_all()
        self._shape, self._start_s = annotated.shape, time_s
        inform(f"recording {video}")

    def stop(self) -> None:
        """Finish the recording. InputError when that fails."""
        self.on = False
        if self._files is not None:
            self._finish()

    def _finish(self) -> None:
        files, self._files = self._files, None
        files.close()
        self._summary.saved += [self._writer.path, self._table.path]
        inform(f"recorded {counted(self._writer.frames, 'frame')}")


def _save(camera: Camera, out: Path, image: np.ndarray, summary: CameraSummary) -> None:
    path = _free_name(camera, out, ".png")
    write_image(path, image)
    summary.saved.append(path)
    inform(f"saved {path}")


class _Notice:
    """A line that stands for a while in the window, and once on stderr."""

    def __init__(self):
        self._text, self._until = "", 0.0

    def say(self, text: str) -> None:
        self._text, self._until = text, time.monotonic() + NOTICE_S
        inform(text)

    def text(self) -> str:
        return self._text if time.monotonic() < self._until else ""


@dataclass(frozen=True)
class _Judgement:
    faces: Faces  # with `genuine`
    words: list[str]  # of each face, what else there is to say
    trust: str

    def text(self) -> str:
        if not len(self.faces):
            return "no face to judge"
        return "; ".join([*(f"face {i}: {word}" for i, word in enumerate(self.words, 1) if word), self.trust])


class _Judges:
    """Genuine or posed, by kind; each kind's model is loaded when it is first asked for."""

    def __init__(self, make: Callable[[str], Callable] | None):
        self._make, self._made = make, {}

    def load(self, kind: str) -> Callable:
        """InputError: there is no such model."""
        if kind not in self._made:
            if self._make is None:
                from fer_lib.genuineness import Genuineness as make
            else:
                make = self._make
            self._made[kind] = make(kind)
        return self._made[kind]

    def __call__(self, kind: str, image: np.ndarray, faces: Faces) -> _Judgement:
        """InputError: there is no such model."""
        judge = self.load(kind)
        probability, words = judge(image, faces)
        return _Judgement(replace(faces, genuine=probability), words, judge.trust)


def _until_a_key(window) -> str:
    """The key; "" when the window was closed."""
    while not (key := window.key()) and window.is_open():
        time.sleep(0.02)
    return key


@dataclass(frozen=True)
class Snapshot:
    """A judged frame."""

    faces: Faces  # with `genuine`
    frame: int  # from 0
    time_s: float
    words: list[str]  # of each face, what else there is to say
    trust: str  # how far to trust it
    path: Path  # of the annotated picture


def snapshot(
    source,
    recognize: Callable,
    kind: str,
    *,
    out="out",
    draw: Callable | None = None,
    judge: Callable[[str], Callable] | None = None,
) -> Snapshot:
    """The first frame with a face, judged genuine or posed, without a screen: `<stem>_fer.png` in `out`.

    kind: "units" or "landmarks"; other arguments as run_camera's. A camera is looked at until a face comes.
    InputError: there is no model; the source does not open, or ends without a face.
    """
    if draw is None:
        from fer_lib.annotate import draw_faces as draw
    judges, frames = _Judges(judge), 0
    judges.load(kind)  # a missing model is told before a camera is waited for
    with _only_python_on_stderr(), open_camera(source) as camera:
        for taken in _pictures(camera):
            if taken is None:
                continue
            image, time_s = taken
            faces = recognize(image)
            if len(faces):
                judged = judges(kind, image, faces)
                path = _free_name(camera, Path(out), ".png")
                write_image(path, draw(image, judged.faces))
                return Snapshot(judged.faces, frames, time_s, judged.words, judged.trust, path)
            frames += 1
        if not frames:
            raise InputError(f"{camera.name} {NO_PICTURE}")
        raise InputError(f"{camera.name}: no face in its {frames} frames; show one, or give another source")


def _write(camera, look, draw, out: Path, names, reason: str, progress: bool, on_rows, summary) -> None:
    video = _free_name(camera, out, ".mp4", ".csv")
    table = video.with_suffix(".csv")
    pictures = (taken for taken in _pictures(camera) if taken is not None)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{camera.name} {NO_PICTURE}")
    height, width = first[0].shape[:2]
    until = "Ctrl-C stops" if camera.live else "until the file ends"
    inform(f"{reason + ': ' if reason else ''}writing {video} and {table.name}; {until}")
    writer = None
    with ExitStack() as stack:
        stack.enter_context(saying_what_is_kept(camera.name, [video, table], lambda: writer.frames if writer else 0))
        bar = stack.enter_context(Progress(camera.name, None, progress))
        rows_out = stack.enter_context(CsvTable(table, names))
        writer = stack.enter_context(VideoWriter(video, width, height, rate=camera.rate))
        for image, time_s in chain([first], pictures):
            if image.shape[:2] != (height, width):  # a stream that changed its quality, or a phone that was turned
                image = _fitted(image, width, height)
            faces = look(image, time_s)
            annotated = draw(image, faces)
            rows = video_rows(faces, summary.source, summary.frames, time_s)
            with uninterrupted():  # so that video and tables end with the same frame
                writer.write(annotated, time_s)
                rows_out.write(rows)
                if on_rows is not None:
                    on_rows(rows)
            summary.frames += 1
            summary.faces += len(faces)
            bar.step()
    summary.video, summary.table = video, table
    _say_stopped(camera, summary)


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture as large as it fits into width x height with its proportions kept, centred on black."""
    scale = min(height / image.shape[0], width / image.shape[1])
    inner_height, inner_width = (max(1, round(scale * side)) for side in image.shape[:2])
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
    above, left = (height - inner_height) // 2, (width - inner_width) // 2
    below, right = height - inner_height - above, width - inner_width - left
    return cv2.copyMakeBorder(inner, above, below, left, right, cv2.BORDER_CONSTANT)


def _say_stopped(camera: Camera, summary: CameraSummary) -> None:
    if camera.live and summary.frames:
        inform(f"{camera.name} stopped sending pictures after {summary.frames} frames")


def _noted(image: np.ndarray, text: str) -> np.ndarray:
    """A copy with a text in the lower left corner, in as many lines as it needs."""
    out = image.copy()
    size = max(SMALLEST_TEXT, min(out.shape[:2]) // 24)
    letters = len(text)
    while letters > 8 and block_size(textwrap.wrap(text, letters), size)[0] > out.shape[1]:
        letters -= 1
    block = text_block(textwrap.wrap(text, letters), size, (0, 0, 0))
    block = block[: out.shape[0], : out.shape[1]]
    out[out.shape[0] - block.shape[0] :, : block.shape[1]] = block
    return out


def _marked(image: np.ndarray) -> np.ndarray:
    """A copy with a red dot and the word "recording" in the upper left corner."""
    out = image.copy()
    text = text_block(["recording"], max(SMALLEST_TEXT, min(out.shape[:2]) // 24), (0, 0, 0))
    side = len(text)
    dot = np.zeros((side, side, 3), np.uint8)
    cv2.circle(dot, (side // 2, side // 2), max(2, side // 3), RECORDING, cv2.FILLED, cv2.LINE_AA)
    block = np.hstack([dot, text])[: out.shape[0], : out.shape[1]]
    out[: block.shape[0], : block.shape[1]] = block
    return out


def _free_name(camera: Camera, out: Path, *suffixes: str) -> Path:
    """`<stem>_fer<suffix>` in out, with _2, _3 ... until none of the suffixes is taken; the first one's path.

    The stem is the file's, or `camera_<now>` of a camera or URL.
    """
    now = f"camera_{datetime.now():%Y%m%d-%H%M%S}"
    stem = now if camera.live or "://" in camera.name else Path(camera.name).stem
    name, number = f"{stem}_fer", 1
    while any((out / (name + suffix)).exists() for suffix in suffixes):
        number += 1
        name = f"{stem}_fer_{number}"
    return out / (name + suffixes[0])
