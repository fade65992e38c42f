"""Scoring a model on FER2013 and FER+, by the rules of the contract."""

from __future__ import annotations

import numpy as np

from fer_lib.datasets.fer2013 import Fer2013, load_fer2013
from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.metrics import bootstrap_interval, classification
from fer_lib.runtime import load_runtime
from fer_lib.weights import EMOTION_TASK, task_card

BATCH = 64
FERPLUS_KEYS = ("n", "accuracy", "macro_f1", "ece")


def predict(classify, pictures: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Run `classify`, (N, size, size, 3) uint8 -> {head: (N, C)}, over pictures, in batches.

    pictures: uint8, (N, S, S) grey or (N, S, S, 3) RGB.
    """
    parts = []
    for start in range(0, len(pictures), BATCH):
        crops = np.stack([resize(picture, size) for picture in pictures[start : start + BATCH]])
        parts.append(classify(crops if crops.ndim == 4 else np.repeat(crops[..., None], 3, axis=-1)))
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}


def fer2013_probability(outputs: dict[str, np.ndarray], heads: dict) -> np.ndarray:
    """(N, 7) over FER2013_EMOTIONS from the `fer2013` head, or from the only head there is, rows summing to 1.

    InputError when the model does not know all seven classes.
    """
    head = "fer2013" if "fer2013" in heads else next(iter(heads))
    labels = list(heads[head])
    missing = sorted(set(FER2013_EMOTIONS) - set(labels))
    if missing:
        raise InputError(f"this model does not know {', '.join(missing)}; it cannot be scored on FER2013")
    probability = outputs[head][:, [labels.index(name) for name in FER2013_EMOTIONS]]
    return probability / probability.sum(axis=1, keepdims=True)


def ferplus_rows(outputs: dict[str, np.ndarray], data: Fer2013) -> tuple[np.ndarray, np.ndarray]:
    """(truth (n,), probability (n, 8)) of the `emotion` head, `uncertain` masked, on the rows with a FER+ majority."""
    truth = data.ferplus_majority()
    rows = truth >= 0
    probability = outputs["emotion"][rows][:, : EMOTIONS.index("uncertain")]
    return truth[rows], probability / probability.sum(axis=1, keepdims=True)


def _fer2013_rows(outputs, data: Fer2013, split: str, heads: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label, probability, whether the picture stands not in Training) of the rows of split with one of the labels."""
    rows = data.split(split)
    known = rows.label >= 0  # a user's own pictures may be of contempt, which FER2013 has no name for
    return rows.label[known], fer2013_probability(outputs, heads)[known], ~data.in_training(split)[known]


def _has_ferplus(rows: Fer2013, heads: dict) -> bool:
    return "emotion" in heads and rows.votes is not None and bool((rows.ferplus_majority() >= 0).any())


def figures(outputs: dict[str, np.ndarray], data: Fer2013, split: str, heads: dict) -> dict:
    """The contract's figures from the outputs for all rows of `split`.

    The ferplus ones are None without the `emotion` head, votes or any row with a majority; the accuracy without
    duplicates is None when every row is one.
    """
    rows = data.split(split)
    label, probability, own = _fer2013_rows(outputs, data, split, heads)
    report = classification(label, probability, FER2013_EMOTIONS)
    alone = float((probability[own].argmax(axis=1) == label[own]).mean()) if own.any() else None
    report = {"n": report.pop("n"), "accuracy": report.pop("accuracy"), "accuracy_without_duplicates": alone, **report}
    plus = {}
    if _has_ferplus(rows, heads):
        plus = classification(*ferplus_rows(outputs, rows), EMOTIONS[:-1])
    return report | {f"ferplus_{key}": plus.get(key) for key in FERPLUS_KEYS}


def intervals(outputs: dict[str, np.ndarray], data: Fer2013, split: str, heads: dict) -> dict:
    """95 % bootstrap intervals of the three accuracies in figures(); None where the accuracy is None."""
    rows = data.split(split)
    label, probability, own = _fer2013_rows(outputs, data, split, heads)
    right = probability.argmax(axis=1) == label
    plus = None
    if _has_ferplus(rows, heads):
        truth, probability = ferplus_rows(outputs, rows)
        plus = bootstrap_interval(probability.argmax(axis=1) == truth)
    return {
        "accuracy": bootstrap_interval(right),
        "accuracy_without_duplicates": bootstrap_interval(right[own]) if own.any() else None,
        "ferplus_accuracy": plus,
    }


def evaluate(model: str, data, split: str = "PrivateTest", ferplus=None, runtime: str = "fast") -> dict:
    """The contract's report on one model and one split; `data` and `ferplus` are the csv files.

    InputError when one of them cannot be used.
    """
    card = task_card(model, EMOTION_TASK)
    table = load_fer2013(data, ferplus)
    outputs = predict(load_runtime(card, runtime), table.split(split).pixels, card.input_size)
    try:
        return {"model": card.name, **figures(outputs, table, split, card.heads)}
    except ValueError as error:  # of fer_lib.metrics
        raise InputError(f"{card.folder}: {error}; export the model again") from None
