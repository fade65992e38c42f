"""What a face shows over time: the frames of a track, each compared with how that face looks at rest.

    reader = SequenceReader(detector="blazeface")
    reader(image, faces, time_s)    # for each frame of a video
    rows = reader.rows("film.mp4")  # one a track, and one a second of it

The model is one linear layer on the difference between two answers of the default model's trunk, of a frame and of the
face at rest, so that a face that always looks a little sad is not taken for a sad one.
"""

from __future__ import annotations

import numpy as np

from fer_lib.faces import EMOTIONS, Faces
from fer_lib.recognize import FramedModel
from fer_lib.runtime import FEATURES, load_runtime
from fer_lib.track import Tracker
from fer_lib.weights import SEQUENCE_MODEL, SEQUENCE_TASK, task_card, trunk_card

SEQUENCE_LABELS = EMOTIONS[:-1]  # CK+'s seven, and neutral: at rest
REST_SHARE = 0.1  # of a track's frames: those in which it is most probably neutral are the face at rest
REST_LEAST = 0.3  # neutral's probability in these; below it the face was never seen at rest: notebook 05 measures it
WINDOW_S = 1.0
STEP_S = 0.5  # windows overlap by half
COMPONENTS = 256  # principal ones; a few hundred differences hold no more
BATCH = 256  # frames of a track that are read at once
UNREAD = "never seen at rest, so not read as a sequence"
COLUMNS = (
    *("source", "face_id", "window", "start_s", "end_s", "frames", "rest"),
    *SEQUENCE_LABELS,
    *("emotion", "confidence", "apex_s"),
)


def rest(features: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """(F,): a face at rest, the mean of the features in the tenth of its frames that are most probably neutral.

    features (T, F), neutral (T,) probabilities, T at least 1.
    """
    return features[_calmest(neutral)].mean(axis=0)


def _calmest(neutral: np.ndarray) -> np.ndarray:
    """Row numbers of the tenth that is most probably neutral."""
    return np.argsort(-neutral, kind="stable")[: max(1, round(REST_SHARE * len(neutral)))]


def windows(times: np.ndarray, length_s: float = WINDOW_S, step_s: float = STEP_S) -> list[tuple[float, np.ndarray]]:
    """(start in seconds, row numbers) of the windows over increasing times (T,); a window without a row is left out.

    The last one begins at most a step before the last time; a track shorter than a window is one window.
    """
    count = 1 + max(0, int(np.ceil((times[-1] - times[0] - length_s) / step_s - 1e-9)))
    starts = times[0] + step_s * np.arange(count)
    found = [(float(start), np.flatnonzero((times >= start) & (times < start + length_s + 1e-9))) for start in starts]
    return [(start, rows) for start, rows in found if len(rows)]


class SequenceReader:
    """Collects the faces of a video's frames by track, and reads each track as a whole and window by window.

    detector: the name of the one whose faces come, for its crop margin. InputError when weights/sequence is missing or
    was made for another default model. Holds 3.6 kB a face and frame until rows() is asked: 2 MB a minute at the ten
    frames/s that a video is looked at.
    """

    def __init__(self, detector: str, model: str = SEQUENCE_MODEL):
        card = task_card(model, SEQUENCE_TASK)
        self._head = load_runtime(card)
        self._trunk = FramedModel(trunk_card(card), detector, features=True)
        self.begin()

    def begin(self) -> None:
        """Forget all faces, for another video."""
        self._tracker = Tracker()
        self._tracks: dict[int, list[tuple[float, np.ndarray, float]]] = {}

    def __call__(self, image: np.ndarray, faces: Faces, time_s: float) -> None:
        """Take in one frame, (H, W, 3) uint8 RGB, and its faces; those without a track_id are tracked here."""
        if faces.track_id is None:
            faces = self._tracker(faces, time_s, image)
        if not len(faces):
            return
        answers = self._trunk(image, faces)
        labels = self._trunk.card.heads["emotion"]
        neutral = answers["emotion"][:, labels.index("neutral")]
        for track, row, calm in zip(faces.track_id.tolist(), answers[FEATURES], neutral.tolist(), strict=True):
            self._tracks.setdefault(track, []).append((time_s, row.astype(np.float16), calm))

    def probability(self, features: np.ndarray, neutral: np.ndarray) -> np.ndarray:
        """(T, 8) over SEQUENCE_LABELS of the frames of one track: features (T, F), neutral (T,)."""
        at_rest = rest(features.astype(np.float32), neutral)
        answers = []
        for part in np.array_split(features, -(-len(features) // BATCH)):  # a long track's copies would fill memory
            frames = part.astype(np.float32)
            both = np.stack([np.broadcast_to(at_rest, frames.shape), frames], axis=1)
            answers.append(self._head(both)["emotion"])
        return np.concatenate(answers)

    def rows(self, source: str) -> list[dict]:
        """One dict a track (window 0, of its whole length) and one a window (from 1), with COLUMNS.

        `rest` is neutral's mean probability in the frames that stand for the face at rest. Below REST_LEAST there is
        nothing to compare with, so that such a track has neither probabilities nor an emotion.
        A window's probabilities are the mean over its frames. A track's are those of its apex, the window that is least
        probably neutral, which apex_s names by its middle.
        """
        found = []
        for track, frames in sorted(self._tracks.items()):
            times, features, neutral = (np.array(part) for part in zip(*frames, strict=True))
            shared = {"source": source, "face_id": track, "rest": round(float(neutral[_calmest(neutral)].mean()), 6)}
            if shared["rest"] < REST_LEAST:
                parts = [(0, times, {}), *((i, times[rows], {}) for i, (_, rows) in enumerate(windows(times), start=1))]
                found += [_row(shared, *part) for part in parts]
                continue
            probability = self.probability(features, neutral)
            parts = [(rows, probability[rows].mean(axis=0)) for _, rows in windows(times)]
            rows, apex = min(parts, key=lambda part: part[1][SEQUENCE_LABELS.index("neutral")])
            middle = float(times[rows].mean())
            found.append(_row(shared, 0, times, _told(apex) | {"apex_s": round(middle, 3)}))
            found += [_row(shared, i, times[rows], _told(mean)) for i, (rows, mean) in enumerate(parts, start=1)]
        return found


def fit_reader(
    differences: np.ndarray, labels: np.ndarray, components: int = COMPONENTS
) -> tuple[np.ndarray, np.ndarray]:
    """(kernel (F, C), bias (C,)) of a linear layer that tells C classes by (N, F) differences of features to the rest.

    Linear discriminant analysis (Fisher 1936) with a shrunk covariance (Ledoit & Wolf 2004) on the principal components
    of the standardised differences, classes as equals; all of it folded into one layer. labels: (N,) int from 0.
    """
    from sklearn.decomposition import PCA  # here, since reading needs none of it
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(differences)
    parts = PCA(min(components, *differences.shape), svd_solver="full").fit(scaler.transform(differences))
    classes = len(np.unique(labels))
    told = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(classes, 1 / classes))
    told.fit(parts.transform(scaler.transform(differences)), labels)
    kernel = parts.components_.T @ told.coef_.T / scaler.scale_[:, None]
    return kernel, told.intercept_ - (scaler.mean_ @ kernel) - parts.mean_ @ (parts.components_.T @ told.coef_.T)


def differences_to_rest(
    features: np.ndarray, first: list[int], last: list[int], subjects
) -> tuple[np.ndarray, np.ndarray]:
    """(M, F) differences to learn from, of (R, F) features, and (M,) whose: apexes minus rest first, then neutral ones.

    first, last: rows of the face at rest and of the apex of each sequence; subjects: one of each sequence. The neutral
    ones lie between the faces at rest of two sequences of one subject, each and the next.
    """
    pairs, owners = list(zip(first, last, strict=True)), list(subjects)
    by_subject: dict = {}
    for row, subject in zip(first, subjects, strict=True):
        by_subject.setdefault(subject, []).append(row)
    for subject, rows in by_subject.items():
        if len(rows) > 1:
            pairs += zip(rows, rows[1:] + rows[:1], strict=True)
            owners += [subject] * len(rows)
    at_rest, frame = np.array(pairs).T
    return features[frame] - features[at_rest], np.array(owners)


def _row(shared: dict, window: int, times: np.ndarray, told: dict) -> dict:
    row = shared | {"window": window, "frames": len(times)}
    row |= {"start_s": round(float(times[0]), 3), "end_s": round(float(times[-1]), 3)}
    return {name: value for name in COLUMNS if (value := (row | told).get(name)) is not None}


def _told(probability: np.ndarray) -> dict:
    best = int(probability.argmax())
    named = {name: round(float(p), 6) for name, p in zip(SEQUENCE_LABELS, probability, strict=True)}
    return named | {"emotion": SEQUENCE_LABELS[best], "confidence": round(float(probability[best]), 6)}


def sequence_lines(rows: list[dict]) -> list[str]:
    """ "film.mp4: face 0, 0.0 to 6.4 s: happy 93% at 2.1 s" of each track."""
    return [
        f"{row['source']}: face {row['face_id']}, {row['start_s']:.1f} to {row['end_s']:.1f} s: "
        + (f"{row['emotion']} {row['confidence']:.0%} at {row['apex_s']:.1f} s" if "emotion" in row else UNREAD)
        for row in rows
        if row["window"] == 0
    ]
