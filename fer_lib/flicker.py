"""How much labels flicker, and what smoothing costs: changes per second against the delay of true changes.

for row in smoothing_table():
    print(row)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from fer_lib.faces import EMOTIONS, Faces
from fer_lib.track import Smoother

TIME_CONSTANTS = (0.0, 0.1, 0.3, 0.6, 1.0)  # seconds
HELD_S = (1.5, 4.0)  # shortest and longest time for which an expression is held in a made film
# Logits: the shown emotion's lead over the others, and noise of two kinds: of each frame (the crop, the coding) and
# lasting a while (a blink, a turn of the head). Without smoothing 85 % of the frames are right.
LEAD, FRAME_NOISE, LASTING_NOISE, LASTING_S = 3.0, 0.8, 0.8, 0.15


def label_changes(times: Sequence[float], labels: Sequence[str | None]) -> dict:
    """How often the label of one face changes: {"changes", "seconds", "per_second"}.

    times: (T,) seconds, increasing. labels: (T,), None where the face is not there: a pause is no change and its time,
    up to the next label, does not count. per_second is 0 for no time at all. ValueError for other lengths.
    """
    if len(times) != len(labels):
        raise ValueError(f"{len(times)} times but {len(labels)} labels")
    steps = list(zip(np.diff(times).tolist(), labels, labels[1:], strict=False))
    there = [(step, before != after) for step, before, after in steps if before is not None and after is not None]
    changes, seconds = sum(changed for _, changed in there), float(sum(step for step, _ in there))
    return {"changes": changes, "seconds": seconds, "per_second": changes / seconds if seconds else 0.0}


def delays(times: Sequence[float], truth: Sequence[str], labels: Sequence[str | None]) -> tuple[list[float], int]:
    """(seconds from each true change to the first frame that reports it, how many were over before they were reported).

    times: (T,) seconds, increasing; truth and labels: (T,).
    """
    starts = [i for i in range(1, len(truth)) if truth[i] != truth[i - 1]]
    found, missed = [], 0
    for start, end in itertools.pairwise([*starts, len(truth)]):
        reported = next((i for i in range(start, end) if labels[i] == truth[start]), None)
        if reported is None:
            missed += 1
        else:
            found.append(float(times[reported] - times[start]))
    return found, missed


def made_answers(times: Sequence[float], seed: int = 0) -> tuple[list[str], np.ndarray]:
    """(the emotion shown (T,), noisy probabilities (T, 9) float32 over EMOTIONS) of a made film of one face.

    Each of the first eight emotions is held for HELD_S seconds, then another one comes at once. The lasting noise is an
    Ornstein-Uhlenbeck process, so that it is the same at all frame rates. times: (T,) seconds, increasing.
    """
    rng = np.random.default_rng(seed)
    shown, truth, lasting, until, before_s = -1, [], rng.normal(size=len(EMOTIONS)), -np.inf, -np.inf
    logits = np.empty((len(times), len(EMOTIONS)))
    for i, time_s in enumerate(times):
        if time_s >= until:
            shown = int(rng.choice([e for e in range(len(EMOTIONS) - 1) if e != shown]))
            until = time_s + rng.uniform(*HELD_S)
        kept = np.exp(-(time_s - before_s) / LASTING_S)
        lasting = kept * lasting + np.sqrt(1 - kept**2) * rng.normal(size=len(EMOTIONS))
        logits[i] = FRAME_NOISE * rng.normal(size=len(EMOTIONS)) + LASTING_NOISE * lasting
        logits[i, shown] += LEAD
        truth.append(EMOTIONS[shown])
        before_s = time_s
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return truth, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def smoothed_labels(times: Sequence[float], probability: np.ndarray, smooth_s: float) -> list[str]:
    """The best emotion (T,) of one face whose (T, 9) probabilities go through a Smoother."""
    smoother, labels = Smoother(smooth_s), []
    for time_s, row in zip(times, probability, strict=True):
        face = Faces(
            np.array([[0, 0, 1, 1]], np.int32),
            np.ones(1, np.float32),
            emotion=row[None],
            labels=EMOTIONS,
            track_id=np.zeros(1, np.int32),
        )
        labels += smoother(face, time_s).best()[0]
    return labels


def smoothing_table(time_constants=TIME_CONSTANTS, seconds: float = 120.0, rate: float = 25.0, seed: int = 0) -> list:
    """One dict per time constant, for a made film: label changes per second against the delay of true changes.

    {"smooth_s", "changes_per_s", "true_changes_per_s", "delay_s" (the mean; nan without a change), "delay_90_s" (nine
    of ten are reported sooner), "missed" (changes never reported), "right" (share of the frames)}.
    """
    times = np.arange(round(seconds * rate)) / rate
    truth, probability = made_answers(times, seed)
    rows = []
    for smooth_s in time_constants:
        labels = smoothed_labels(times, probability, smooth_s)
        late, missed = delays(times, truth, labels)
        rows.append(
            {
                "smooth_s": smooth_s,
                "changes_per_s": label_changes(times, labels)["per_second"],
                "true_changes_per_s": label_changes(times, truth)["per_second"],
                "delay_s": float(np.mean(late)) if late else np.nan,
                "delay_90_s": float(np.quantile(late, 0.9)) if late else np.nan,
                "missed": missed,
                "right": sum(label == true for label, true in zip(labels, truth, strict=True)) / max(len(truth), 1),
            }
        )
    return rows
