"""The result type that every stage shares, and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise", "uncertain")
UNCERTAIN = EMOTIONS[-1]
FER2013_EMOTIONS = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # ids 0-6 of the released csv
# The colour of each emotion in plots and reports: seaborn's colour-blind palette (after Okabe & Ito 2008), grey for
# neutral and the palest for uncertain. Wherever they are used, a name or a place tells the emotion too.
EMOTION_COLOURS = {
    "anger": "#d55e00",
    "contempt": "#ca9161",
    "disgust": "#029e73",
    "fear": "#cc78bc",
    "happy": "#de8f05",
    "neutral": "#949494",
    "sad": "#0173b2",
    "surprise": "#56b4e9",
    "uncertain": "#fbafe4",
}
AGES = tuple(range(1, 117))  # years
AGE_RANGES = ("1-2", "3-9", "10-20", "21-27", "28-45", "46-65", "66-116")  # years
_RANGE_STARTS = tuple(int(name.split("-")[0]) for name in AGE_RANGES)


def age_range(age: float) -> str:
    """The name in AGE_RANGES of an age in years, rounded to whole years; what is beyond an end gets the end's range.

    The age counts as tables write it, to a tenth, so that no row contradicts itself.
    """
    if not np.isfinite(age):
        raise ValueError(f"age must be a number, got {age}")
    return AGE_RANGES[sum(round(float(age), 1) + 0.5 >= start for start in _RANGE_STARTS[1:])]


def over_emotions(probability: np.ndarray, labels) -> np.ndarray:
    """(N, C) probabilities over labels to (N, 9) float32 over EMOTIONS; 0 for what the labels lack."""
    found = np.zeros((len(probability), len(EMOTIONS)), np.float32)
    found[:, [EMOTIONS.index(label) for label in labels]] = probability
    return found


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces of ONE image; row i of every array is one face.

    A stage that has not run leaves its field None. No face is an ordinary value: arrays with zero rows.
    """

    xyxy: np.ndarray  # (N, 4) int32 px of the upright image, x2 and y2 exclusive
    score: np.ndarray  # (N,) float32, the detector's own confidence
    emotion: np.ndarray | None = None  # (N, C) float32, rows sum to 1
    va: np.ndarray | None = None  # (N, 2) float32, valence and arousal in [-1, 1]
    track_id: np.ndarray | None = None  # (N,) int32, the same person keeps it from frame to frame
    labels: tuple[str, ...] = ()  # names of the C columns
    roll: np.ndarray | None = None  # (N,) float32 degrees of the line through the eyes, clockwise; None: not known
    uncertain_below: float = 0.0  # a face whose highest probability is below this is called uncertain
    age: np.ndarray | None = None  # (N,) float32 years
    emotion_raw: np.ndarray | None = None  # (N, C) float32, emotion before it was smoothed over time; None: it was not
    # (N,) float32 probability that the expression is genuine, not posed; nan: unknown
    genuine: np.ndarray | None = None

    def __post_init__(self):
        rows = len(self.xyxy)
        if self.xyxy.shape != (rows, 4):
            raise ValueError(f"xyxy must be (N, 4), got {self.xyxy.shape}")
        for name in ("score", "emotion", "va", "track_id", "roll", "age", "emotion_raw", "genuine"):
            array = getattr(self, name)
            if array is not None and len(array) != rows:
                raise ValueError(f"{name} has {len(array)} rows for {rows} boxes")
        for array in (self.emotion, self.emotion_raw):
            if array is not None and array.shape[1] != len(self.labels):
                raise ValueError(f"{array.shape[1]} emotion columns but {len(self.labels)} labels")

    @classmethod
    def empty(cls) -> Faces:
        return cls(np.zeros((0, 4), np.int32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows) -> Faces:
        """The faces that an index array, slice or mask selects, all fields together."""

        def pick(array):
            return None if array is None else array[rows]

        return replace(
            self,
            xyxy=self.xyxy[rows],
            score=self.score[rows],
            emotion=pick(self.emotion),
            va=pick(self.va),
            track_id=pick(self.track_id),
            roll=pick(self.roll),
            age=pick(self.age),
            emotion_raw=pick(self.emotion_raw),
            genuine=pick(self.genuine),
        )

    def best(self) -> tuple[list[str], np.ndarray]:
        """(names, probabilities (N,) float32) of each face's most probable emotion, however improbable it is."""
        if self.emotion is None:
            raise ValueError("these faces carry no emotions: run a Recognizer, not only a detector")
        best = self.emotion.argmax(axis=1)
        return [self.labels[i] for i in best], self.emotion[np.arange(len(self)), best]

    def top(self) -> tuple[list[str], np.ndarray]:
        """best(), but the name is "uncertain" where the probability lies below uncertain_below."""
        names, probability = self.best()
        sure = probability >= self.uncertain_below
        return [name if enough else UNCERTAIN for name, enough in zip(names, sure, strict=True)], probability

    def records(self, source: str = "", frame: int = 0, time_s: float = 0.0) -> list[dict]:
        """One dict per face with the table's columns; see fer_lib.records for the columns and for empty frames."""
        from fer_lib.records import face_records

        return face_records(self, source, frame, time_s)
