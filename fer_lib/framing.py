"""How much of the picture around a detector's box a model should see, measured on photographs."""

from __future__ import annotations

import numpy as np

from fer_lib.datasets.ckplus import CK_EMOTIONS, ApexFrame
from fer_lib.detect import crop_faces
from fer_lib.faces import Faces
from fer_lib.images import read_image
from fer_lib.metrics import bootstrap_interval

MARGINS = tuple(round(0.05 * i, 2) for i in range(-4, 9))  # -0.20 .. 0.40 of the box's side
BATCH = 64


def largest(faces: Faces) -> Faces:
    """The one face with the largest box; none when there is none."""
    width, height = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).T
    return faces[np.argsort(-width * height)[:1]]


def choose_margin(detect, classify, labels, size: int, frames: list[ApexFrame], margins=MARGINS) -> dict:
    """Try every margin on CK+ apex frames: subjects with even numbers choose, those with odd numbers report.

    detect: image -> Faces. classify: (N, size, size, 3) uint8 -> (N, C) probabilities over labels. The answer is the
    best of CK+'s seven classes; a frame without a face counts as wrong.
    Returns margin, n, accuracy and interval on the odd subjects, found, and even_accuracy by margin.
    """
    seven = list(CK_EMOTIONS.values())
    columns = [labels.index(name) for name in seven]
    truth = np.array([seven.index(frame.emotion) for frame in frames])
    crops = np.zeros((len(margins), len(frames), size, size, 3), np.uint8)
    found = np.zeros(len(frames), bool)
    for i, frame in enumerate(frames):
        image = read_image(frame.path)
        face = largest(detect(image))
        found[i] = len(face) == 1
        for j, margin in enumerate(margins if found[i] else ()):
            crops[j, i] = crop_faces(image, face, size, margin)[0]
    right = np.zeros((len(margins), len(frames)), bool)
    for j in range(len(margins)):
        parts = [classify(crops[j, i : i + BATCH]) for i in range(0, len(frames), BATCH)]
        right[j] = found & (np.concatenate(parts)[:, columns].argmax(axis=1) == truth)
    odd = np.array([frame.subject % 2 == 1 for frame in frames])
    even_accuracy = right[:, ~odd].mean(axis=1)
    best = int(even_accuracy.argmax())
    return {
        "margin": margins[best],
        "n": int(odd.sum()),
        "accuracy": float(right[best, odd].mean()),
        "interval": bootstrap_interval(right[best, odd]),
        "found": float(found.mean()),
        "even_accuracy": {str(margin): float(a) for margin, a in zip(margins, even_accuracy, strict=True)},
    }
