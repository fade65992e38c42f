"""The emotions of a whole video by several models at once, beside what was acted in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_lib.datasets.tables import numbers, read_columns, refusal
from fer_lib.faces import EMOTIONS, over_emotions
from fer_lib.framing import largest
from fer_lib.recognize import Recognizer
from fer_lib.video import VideoReader

CURE = "write start and end in seconds and one of the emotions"


@dataclass(frozen=True)
class Acted:
    """What was acted from start_s to end_s, seconds by the video's own clock."""

    start_s: float
    end_s: float
    emotion: str


def load_acted(path) -> list[Acted]:
    """The rows of a csv with the columns start, end (seconds) and emotion (of EMOTIONS).

    InputError for another emotion, or a row that ends before it starts.
    """
    acted = []
    for line, row in read_columns(path, ("start", "end", "emotion"), cure=CURE):
        where = f"{path} line {line}"
        (start,) = numbers(where, row, ["start"], 0, cure=CURE)
        (end,) = numbers(where, row, ["end"], 0, cure=CURE)
        if end <= start:
            raise refusal(where, "end", row["end"], f"after its start, {start:g}", cure=CURE)
        if row["emotion"] not in EMOTIONS:
            raise refusal(where, "emotion", row["emotion"], f"one of {', '.join(EMOTIONS)}", cure=CURE)
        acted.append(Acted(start, end, row["emotion"]))
    return acted


def follow(path, detect, ask: dict[str, Callable]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(times (T,) in seconds, {name: (T, 9) probabilities}) of the largest face of each frame, nan where there is none.

    detect: image -> Faces, once for all models, so that they are asked about the same faces. ask: {name: (image, one
    face) -> (1, 9) over EMOTIONS}.
    """
    times, found = [], {name: [] for name in ask}
    with VideoReader(path) as video:
        for frame in video:
            times.append(frame.time_s)
            face = largest(detect(frame.image))
            for name, it in ask.items():
                row = it(frame.image, face) if len(face) else np.full((1, len(EMOTIONS)), np.nan)
                found[name].append(row[0].astype(np.float32))
    return np.array(times), {name: np.stack(rows) for name, rows in found.items()}


def asked(recognise: Recognizer) -> Callable:
    """A recogniser as follow() asks it."""
    return lambda image, face: over_emotions(recognise.classify(recognise.crops(image, face)), recognise.card.labels)


def score_acted(times: np.ndarray, probability: np.ndarray, acted: list[Acted]) -> dict:
    """How often the best emotion was the acted one: of the frames with a face in `acted`, and of its rows as a whole.

    probability: (T, 9), nan without a face. A row's answer is the best of the mean over its frames. {"frames",
    "frames_right", "rows", "rows_right"}; a row without a face counts as wrong.
    """
    frames = frames_right = rows_right = 0
    for it in acted:
        own = probability[(times >= it.start_s) & (times < it.end_s)]
        own = own[~np.isnan(own).any(axis=1)]
        wanted = EMOTIONS.index(it.emotion)
        frames, frames_right = frames + len(own), frames_right + int((own.argmax(axis=1) == wanted).sum())
        rows_right += len(own) > 0 and own.mean(axis=0).argmax() == wanted
    return {"frames": frames, "frames_right": frames_right, "rows": len(acted), "rows_right": int(rows_right)}
