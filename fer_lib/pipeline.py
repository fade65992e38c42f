"""The frames of a video with their faces, in order: read, track and classify in threads of their own.

    with Analysis(video, recognize) as analysis:
        for frame, faces, measured in analysis: ...

The same video gives the same faces: what is done when is decided by the frames' own times and numbers, not by a clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import numpy as np

from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.files import uninterrupted
from fer_lib.track import SMOOTH_S, Smoother, Tracker

CARRIED_S = 0.1  # what a face shows is computed anew before it is so old
FOUND_WITHIN_S = 0.5  # a new face: the whole frame is searched so often
HUNT_S = 0.5  # for so long after a face was lost every analysed frame is searched
EARLY_S = 1e-6  # a sum of frame times may fall short by rounding
BATCH = 8  # crops a call of the model
IN_FLIGHT_BYTES = 160_000_000  # of frames that are read and not yet written
WAIT_S = 0.5
FEWEST_FRAMES, MOST_FRAMES = 4, 64  # in flight, however large or small they are


@dataclass(eq=False)
class _Batch:
    """Crops of several frames, and what the models say of them, when they have."""

    crops: list[tuple[np.ndarray, ...]]
    found: Future
    frames: int = 0  # since it was begun
    faces: int = 0


@dataclass(eq=False)
class _Item:
    """A frame between the tracker's thread and the caller's."""

    frame: object
    faces: Faces
    measured: bool
    batch: _Batch | None = None  # None: the faces are labelled already, or carry what they had
    rows: slice | None = None  # of the batch


class Analysis:
    """Iterates over (frame, faces, measured) of a video; a context manager, whose end stops its threads.

    video: an iterable of fer_lib.video.Frame of one size, read in a thread. recognize: a Recognizer, or any callable
    (H, W, 3) uint8 RGB -> Faces, which is called with every analysed frame. Faces have a track_id; emotion and va are
    smoothed over smooth_s seconds, 0 for not at all.

    every: analyse the frames 0, every, 2 every ... None stands for as often as is needed: with a Recognizer, where what
    a face shows would be CARRIED_S old, where the first face is found and after a cut; with another callable, always.
    Whole frames are searched for new faces, found within FOUND_WITHIN_S, after a cut and while a face is lost; else a
    detector that can `follow` looks where the faces are expected. On frames that are not analysed the boxes move on and
    all else is carried: measured is False.

    Of frames there are never more between reading and writing than IN_FLIGHT_BYTES hold, and FEWEST_FRAMES.

    stages: busy seconds by stage, of threads that work at the same time. What a thread raises is raised here, after the
    frames before it. InputError when every is no whole number of 1 or more, or smooth_s is negative.
    """

    def __init__(
        self,
        video: Iterable,
        recognize: Callable,
        smooth_s: float = SMOOTH_S,
        every: int | None = None,
    ):
        check_settings(smooth_s, every)
        self.stages = dict.fromkeys(("read", "track", "classify"), 0.0)
        self._video, self._recognize, self._every = video, recognize, every
        self._in_parts = hasattr(recognize, "cut")  # a Recognizer
        self._follow = getattr(recognize.detect, "follow", None) if self._in_parts else None
        self._tracker, self._smoother = Tracker(), Smoother(smooth_s)
        self._analysed_s = self._scanned_s = self._hunt_until_s = -np.inf
        self._batch: _Batch | None = None
        self._permits: threading.Semaphore | None = None  # made when the first frame tells its size
        self._read_frames, self._items = SimpleQueue(), SimpleQueue()
        self._stopped = False
        self._classifier = ThreadPoolExecutor(1, "classify")
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._track)]

    def __enter__(self) -> Analysis:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped = True
        if self._permits is not None:
            self._permits.release()
        self._read_frames.put(None)
        with uninterrupted():
            for thread in self._threads:
                thread.join()
            self._classifier.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[object, Faces, bool]]:
        last = Faces.empty()  # of the last analysed frame
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            faces = item.faces
            if item.measured:
                if item.batch is not None:
                    found = item.batch.found.result()
                    faces = self._recognize.labelled(faces, {name: rows[item.rows] for name, rows in found.items()})
                last = faces = self._smoother(faces, item.frame.time_s)
            else:
                faces = _carried(faces, last)
            yield item.frame, faces, item.measured
            del item, faces  # so that no picture is held while the next one is waited for
            self._permits.release()

    def _next(self) -> _Item | BaseException | None:
        while True:  # on Windows, Ctrl-C is not heard while something waits without an end
            with suppress(Empty):
                return self._items.get(timeout=WAIT_S)

    # ------------------------------------------------------------------------------------------ in the reader's thread

    def _read(self) -> None:
        try:
            frames = iter(self._video)
            while not self._stopped:
                begun = time.perf_counter()
                frame = next(frames, None)
                self.stages["read"] += time.perf_counter() - begun
                if frame is None:
                    break
                if self._permits is None:
                    most = int(np.clip(IN_FLIGHT_BYTES // frame.image.nbytes, FEWEST_FRAMES, MOST_FRAMES))
                    self._longest_batch = most // 2  # frames: more than that would wait for themselves
                    self._permits = threading.Semaphore(most - 1)  # one is read ahead of its permit
                self._read_frames.put(frame)
                del frame
                self._permits.acquire()
            self._read_frames.put(None)
        except BaseException as error:
            self._read_frames.put(error)

    # ----------------------------------------------------------------------------------------- in the tracker's thread

    def _track(self) -> None:
        try:
            while (frame := self._read_frames.get()) is not None:
                if isinstance(frame, BaseException):
                    raise frame
                if self._stopped:
                    return
                begun = time.perf_counter()
                item = self._labelled(frame) if not self._in_parts else self._tracked(frame)
                self._items.put(item)
                if self._batch is not None:
                    self._batch.frames += 1
                    if self._batch.faces >= BATCH or self._batch.frames >= self._longest_batch:
                        self._classify()
                self.stages["track"] += time.perf_counter() - begun
                del frame, item
            self._classify()
            self._items.put(None)
        except BaseException as error:
            self._classify()
            self._items.put(error)

    def _labelled(self, frame) -> _Item:
        """One frame with a recogniser that is not made of parts."""
        if self._every is not None and frame.index % self._every:
            return _Item(frame, self._tracker.boxes(frame.time_s, frame.image), False)
        faces = self._tracker(self._recognize(frame.image), frame.time_s, frame.image)
        return _Item(frame, faces, True)

    def _tracked(self, frame) -> _Item:
        """One frame with its boxes; the crops of an analysed one go into the batch."""
        time_s, image = frame.time_s, frame.image
        expected = self._tracker.boxes(time_s, image)
        if self._every is not None:
            due = frame.index % self._every == 0
        else:
            due = self._tracker.cut or self._tracker.fading or time_s - self._analysed_s >= CARRIED_S - EARLY_S
        if not due:
            return _Item(frame, expected, False)
        faces = self._tracker(self._detected(image, expected, time_s), time_s, image)
        self._analysed_s = time_s
        crops = self._recognize.cut(image, faces)
        if not len(faces):
            return _Item(frame, self._recognize.labelled(faces, self._recognize.read(crops)), True)
        if self._batch is None:
            self._batch = _Batch([], Future())
        batch, first = self._batch, self._batch.faces
        batch.crops.append(crops)
        batch.faces += len(faces)
        return _Item(frame, faces, True, batch, slice(first, batch.faces))

    def _detected(self, image: np.ndarray, expected: Faces, time_s: float) -> Faces:
        """The faces of an analysed frame, by a search of all of it or by looks where they are expected."""
        next_s = 2 * time_s - self._analysed_s  # of the next analysed frame, when it comes as soon as this one did
        hunting = self._tracker.cut or time_s < self._hunt_until_s
        if self._follow is not None and not hunting and next_s - self._scanned_s <= FOUND_WITHIN_S:
            faces = self._follow(image, expected)
            if len(faces) == len(expected):
                return faces
        faces = self._recognize.detect(image)
        self._scanned_s = time_s
        if len(faces) < len(expected):
            self._hunt_until_s = time_s + HUNT_S
        return faces

    def _classify(self) -> None:
        """Let the models look at what was gathered."""
        if self._batch is not None:
            self._classifier.submit(self._read_batch, self._batch)
            self._batch = None

    # -------------------------------------------------------------------------------------- in the classifier's thread

    def _read_batch(self, batch: _Batch) -> None:
        try:
            begun = time.perf_counter()
            crops = tuple(np.concatenate(parts) for parts in zip(*batch.crops, strict=True))
            batch.crops = []
            found = self._recognize.read(crops)
            self.stages["classify"] += time.perf_counter() - begun
            batch.found.set_result(found)
        except BaseException as error:
            batch.found.set_exception(error)


def check_settings(smooth_s: float, every: int | None) -> None:
    """InputError when they are nothing for an Analysis; tells before models are loaded."""
    if every is not None and every < 1:
        raise InputError(f"--every must be a whole number, 1 or more; got {every}")
    if not 0 <= smooth_s < np.inf:
        raise InputError(f"--smooth must be seconds, 0 for none; got {smooth_s}")


def _carried(faces: Faces, last: Faces) -> Faces:
    """Faces with nothing but boxes, as the last analysed frame's of the same tracks."""
    if last.track_id is None:
        return faces
    known = last.track_id.tolist()
    rows = [known.index(track) for track in faces.track_id.tolist()]
    return replace(last[rows], xyxy=faces.xyxy, score=faces.score, roll=faces.roll)
