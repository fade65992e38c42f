"""The course of a video's faces, thinned down to what a screen can show, however long the video is."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS
from fer_lib.summary import LONE_FRAME_S, Moment, moments

POINTS = 2000  # steps of time at most; half of them at least, but for a short video
C = len(EMOTIONS)
SHOWN, SEEN, VA, WITH_VA = slice(C, 2 * C), 2 * C, slice(2 * C + 1, 2 * C + 3), 2 * C + 3  # columns of a step's sums


@dataclass(frozen=True, eq=False)
class FaceSeries:
    """One face, step by step from the first to the last step that it was seen in."""

    face_id: int
    seconds: float  # how long it was seen
    first: int  # the first step's number
    probability: np.ndarray  # (n, 9) float32 over EMOTIONS, mean of the step; nan: not seen, or not known to the model
    label: np.ndarray  # (n,) int, index into EMOTIONS of the label that stood longest in the step; -1: none
    va: np.ndarray  # (n, 2) float32 valence and arousal in [-1, 1], mean of the step; nan: none


class Series:
    """The steps of one video, filled moment by moment.

    Step k runs from start_s + k step_s to start_s + (k + 1) step_s. A step is the first frame's length, 40 ms at most;
    when there would be more than POINTS of them, two and two are joined, so that memory does not grow with the length.
    """

    def __init__(self, points: int = POINTS):
        self.points, self.source, self.steps = points, None, 0
        self.start_s = self.end_s = self.step_s = 0.0  # end_s: of the last frame, within the last step
        self._known = np.zeros(C, bool)  # emotions with a number in any row
        self._faces: dict[int, dict[int, np.ndarray]] = {}  # by face and step: sums weighted with seconds

    def add(self, moment: Moment) -> None:
        """InputError when the moment is of another video than those before."""
        if self.source is None:
            # no longer than a usual frame, or a first picture that stands for long would coarsen all that follow
            self.source, self.start_s, self.step_s = moment.source, moment.time_s, min(moment.seconds, LONE_FRAME_S)
        if moment.source != self.source:
            raise InputError(f"the table holds {self.source} and {moment.source}; give the rows of one video")
        self.end_s = moment.time_s + moment.seconds
        begin, end = moment.time_s - self.start_s, moment.time_s - self.start_s + moment.seconds
        # a thousandth of a step may be rounding, as of times at 29.97 frames/s
        while (last := max(int(begin / self.step_s), int(np.ceil(end / self.step_s - 1e-3)) - 1)) >= self.points:
            self._join()
        self.steps = max(self.steps, last + 1)
        steps = range(min(int(begin / self.step_s + 1e-3), last), last + 1)
        for face in moment.faces:
            sums = self._sums(face)
            kept = self._faces.setdefault(face.face_id, defaultdict(lambda: np.zeros(WITH_VA + 1)))
            for k in steps:
                inside = min(end, (k + 1) * self.step_s) - max(begin, k * self.step_s)
                kept[k] += max(inside, 1e-9) * sums

    def _sums(self, face) -> np.ndarray:
        sums = np.zeros(WITH_VA + 1)
        for i, value in enumerate(face.probability):
            if value is not None:
                sums[i] = value
                self._known[i] = True
        if face.emotion is not None:
            sums[C + EMOTIONS.index(face.emotion)] = 1
        sums[SEEN] = 1
        if face.va is not None:
            sums[VA], sums[WITH_VA] = face.va, 1
        return sums

    def _join(self) -> None:
        self.step_s *= 2
        self.steps = -(-self.steps // 2)
        for face_id, steps in self._faces.items():
            joined = defaultdict(lambda: np.zeros(WITH_VA + 1))
            for k, sums in steps.items():
                joined[k // 2] += sums
            self._faces[face_id] = joined

    @classmethod
    def of(cls, rows) -> Series:
        """The steps of a whole table; rows: see fer_lib.summary.moments."""
        series = cls()
        for moment in moments(rows):
            series.add(moment)
        return series

    @property
    def known(self) -> list[str]:
        """The emotions that any row has a probability for."""
        return [name for name, known in zip(EMOTIONS, self._known, strict=True) if known]

    def __len__(self) -> int:
        """How many faces there are."""
        return len(self._faces)

    def faces(self, most: int | None = None) -> list[FaceSeries]:
        """The faces, longest seen first; at most so many."""
        seen = {face_id: sum(sums[SEEN] for sums in steps.values()) for face_id, steps in self._faces.items()}
        return [self._face(face_id, seen[face_id]) for face_id in sorted(seen, key=lambda i: (-seen[i], i))[:most]]

    def _face(self, face_id: int, seconds: float) -> FaceSeries:
        steps = self._faces[face_id]
        first = min(steps)
        sums = np.zeros((max(steps) + 1 - first, WITH_VA + 1))
        for k, values in steps.items():
            sums[k - first] = values
        with np.errstate(invalid="ignore"):  # 0 / 0 is nan: not seen
            probability = np.where(self._known, sums[:, :C] / sums[:, [SEEN]], np.nan).astype(np.float32)
            va = (sums[:, VA] / sums[:, [WITH_VA]]).astype(np.float32)
        shown = sums[:, SHOWN]
        return FaceSeries(face_id, seconds, first, probability, np.where(shown.any(1), shown.argmax(1), -1), va)
