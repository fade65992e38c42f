"""What a video's table says of each face: how long it was seen, which emotions it showed and when they peaked."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS
from fer_lib.records import BASE_COLUMNS, VA_COLUMNS, write_table

LONE_FRAME_S = 1 / 25  # what a video of a single frame is taken to last
PEAKING = EMOTIONS[:-1]  # "uncertain" is mostly said for want of a probable emotion, so its own probability is no peak
SUMMARY_COLUMNS = (
    *("source", "face_id", "seconds", "first_s", "last_s", "emotion", "label_changes"),
    *(f"share_{name}" for name in EMOTIONS),
    *(*VA_COLUMNS, "age"),
    *(f"peak_{name}{unit}" for name in PEAKING for unit in ("", "_time_s")),
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one frame: a row of the table; None for an empty cell."""

    face_id: int
    box: tuple[int, int, int, int] | None  # x y w h, pixels of the upright picture
    probability: tuple[float | None, ...]  # over EMOTIONS
    emotion: str | None
    confidence: float | None
    va: tuple[float, float] | None  # in [-1, 1]
    age: float | None  # years
    measured: bool  # computed on this frame, not carried from one before


@dataclass(slots=True)
class Moment:
    """One frame of a video's table."""

    source: str
    frame: int
    time_s: float
    seconds: float = 0.0  # until the next frame
    faces: list[Sighting] = field(default_factory=list)


def read_rows(path) -> Iterator[dict]:
    """The rows of a CSV table, one after the other. InputError when it cannot be read or lacks the table's columns."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in BASE_COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise InputError(f"{path} lacks the column {missing[0]}; give a table that video_fer.py has written")
            yield from rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}; give a table that video_fer.py has written") from None


def moments(rows: Iterable[dict]) -> Iterator[Moment]:
    """The frames of a table, in order; only one is held.

    rows: dicts with the table's columns, numbers or the text of a CSV; empty cells are "", None, nan or missing. A
    frame lasts until the next one, the last of a video as long as the one before it. InputError for a cell that is no
    number, and for frames that are not in the order of time.
    """
    waiting, step = None, LONE_FRAME_S
    for row in rows:
        source, frame, time_s = str(row.get("source") or ""), _number(row, "frame"), _number(row, "time_s")
        if frame is None or time_s is None:
            raise InputError(f"a row of {source or 'the table'} has no frame or time; give the table as it was written")
        if waiting is None or (source, frame) != (waiting.source, waiting.frame):
            if waiting is not None:
                if source == waiting.source:
                    step = time_s - waiting.time_s
                    if step <= 0:
                        raise InputError(f"{source}: frame {frame:.0f} is not after {waiting.frame}; sort the table")
                waiting.seconds = step
                yield waiting
                step = step if source == waiting.source else LONE_FRAME_S
            waiting = Moment(source, int(frame), time_s)
        if (face_id := _number(row, "face_id")) is not None:
            waiting.faces.append(_sighting(int(face_id), row))
    if waiting is not None:
        waiting.seconds = step
        yield waiting


def _sighting(face_id: int, row: dict) -> Sighting:
    box = tuple(_number(row, name) for name in "xywh")
    va = tuple(_number(row, name) for name in VA_COLUMNS)
    emotion = row.get("emotion") or None
    if emotion is not None and emotion not in EMOTIONS:
        raise InputError(f"emotion is {emotion!r}, not one of {', '.join(EMOTIONS)}; give the table as it was written")
    return Sighting(
        face_id=face_id,
        box=None if None in box else tuple(int(value) for value in box),
        probability=tuple(_number(row, name) for name in EMOTIONS),
        emotion=emotion,
        confidence=_number(row, "confidence"),
        va=None if None in va else va,
        age=_number(row, "age"),
        measured=_number(row, "measured") != 0,
    )


def _number(row: dict, name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}, not a number; give the table as it was written") from None
    if math.isinf(value):
        raise InputError(f"{name} is infinite; give the table as it was written")
    return None if math.isnan(value) else value


class Summary:
    """Adds up one face of one video as its sightings come."""

    def __init__(self, source: str, face_id: int):
        self.source, self.face_id = source, face_id
        self.seconds, self.first_s, self.last_s, self.changes = 0.0, None, None, 0
        self._label = None
        self._shown = dict.fromkeys(EMOTIONS, 0.0)  # seconds with that label
        self._peaks: dict[str, tuple[float, float]] = {}  # highest probability and its time
        self._sums: dict[str, list[float]] = {}  # of valence, arousal, age: value x seconds, seconds

    def add(self, time_s: float, seconds: float, face: Sighting) -> None:
        self.first_s = time_s if self.first_s is None else self.first_s
        self.last_s = time_s
        self.seconds += seconds
        for name, value in zip(EMOTIONS, face.probability, strict=True):
            if value is not None and (name not in self._peaks or value > self._peaks[name][0]):
                self._peaks[name] = value, time_s
        if face.emotion is not None:
            self._shown[face.emotion] += seconds
            self.changes += self._label not in (None, face.emotion)
            self._label = face.emotion
        valence, arousal = face.va or (None, None)
        for name, value in (("valence", valence), ("arousal", arousal), ("age", face.age)):
            if value is not None:
                total = self._sums.setdefault(name, [0.0, 0.0])
                total[0] += value * seconds
                total[1] += seconds

    def row(self) -> dict:
        """SUMMARY_COLUMNS; a key is missing where there is nothing to say."""
        row = {"source": self.source, "face_id": self.face_id, "seconds": round(self.seconds, 3)}
        row |= {"first_s": round(self.first_s, 6), "last_s": round(self.last_s, 6), "label_changes": self.changes}
        labelled = sum(self._shown.values())
        for name, seconds in self._shown.items():
            if labelled and (seconds or name in self._peaks):
                row[f"share_{name}"] = round(seconds / labelled, 4)
            if seconds and name in self._peaks and name in PEAKING:
                row[f"peak_{name}"], row[f"peak_{name}_time_s"] = self._peaks[name]
        if labelled:
            row["emotion"] = max(self._shown, key=self._shown.get)
        digits = {"valence": 4, "arousal": 4, "age": 1}
        return row | {name: round(value / weight, digits[name]) for name, (value, weight) in self._sums.items()}


class Summaries:
    """A Summary for each face of each video of a table."""

    def __init__(self):
        self._faces: dict[tuple[str, int], Summary] = {}

    def add(self, moment: Moment) -> None:
        for face in moment.faces:
            key = moment.source, face.face_id
            if key not in self._faces:
                self._faces[key] = Summary(*key)
            self._faces[key].add(moment.time_s, moment.seconds, face)

    def rows(self) -> list[dict]:
        """In the order in which the videos stand in the table, and of the faces' numbers."""
        order = {source: i for i, source in enumerate(dict.fromkeys(source for source, _ in self._faces))}
        return [self._faces[key].row() for key in sorted(self._faces, key=lambda key: (order[key[0]], key[1]))]


def summarise(rows: Iterable[dict]) -> list[dict]:
    """One dict with SUMMARY_COLUMNS for each face of each video of a table; the rows are not kept.

    rows: see moments(). `seconds` is how long the face was seen, `first_s last_s` the times of its first and last
    frame, `emotion` the label that stood longest, `label_changes` how often the label was another one than on the
    face's frame before. `share_anger` .. are shares of the labelled time; valence, arousal and age are means over time
    where there are any. `peak_anger` .. is the highest probability of an emotion (not of uncertain) that was ever the
    label, and
    `peak_anger_time_s` .. when it was first reached. What there is nothing to say of has no key.
    """
    summaries = Summaries()
    for moment in moments(rows):
        summaries.add(moment)
    return summaries.rows()


def write_summary(path, summary: list[dict]) -> None:
    """Write what summarise() gives as CSV, JSON or Parquet, by the suffix; InputError as of records.write_table."""
    write_table(Path(path), summary, SUMMARY_COLUMNS)
