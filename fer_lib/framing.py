"""How much of the picture around a detector's box a model should see, measured on photographs."""

from __future__ import annotations

import numpy as np

from fer_lib.datasets.ckplus import CK_EMOTIONS, ApexFrame
from fer_lib.detect import crop_faces
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.images import read_image
from fer_lib.metrics import bootstrap_interval
from fer_lib.splits import check_no_leak

MARGINS = tuple(round(0.05 * i, 2) for i in range(-4, 9))  # -0.20 .. 0.40 of the box's side
BATCH = 64


def largest(faces: Faces) -> Faces:
    """The one face with the largest box; none when there is none."""
    width, height = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).T
    return faces[np.argsort(-width * height)[:1]]


def even_odd(frames: list[ApexFrame]) -> dict[str, np.ndarray]:
    """The parts for choose_margin: frames of subjects with even numbers choose, those with odd numbers report."""
    odd = np.array([frame.subject % 2 == 1 for frame in frames], bool)
    return {"choose": np.flatnonzero(~odd), "report": np.flatnonzero(odd)}


def choose_margin(
    detect, classify, labels, size: int, frames: list[ApexFrame], parts: dict[str, np.ndarray], margins=MARGINS
) -> dict:
    """Try every margin on CK+ apex frames: one part of them chooses, the other reports.

    detect: image -> Faces. classify: (N, size, size, 3) uint8 -> (N, C) probabilities over labels. The answer is the
    best of CK+'s seven classes; a frame without a face counts as wrong. parts: {"choose": (n,), "report": (m,)} int
    rows of frames, as in splits/ck_apex.json or from even_odd.
    Returns margin, n, accuracy and interval (drawn by subject) of the reporting part, found, and the choosing part's
    even_accuracy by margin. InputError when a subject stands in both parts, or a part has no frame.
    """
    subjects = np.array([frame.subject for frame in frames])
    check_no_leak(parts, subject=subjects)
    choose, report = parts["choose"], parts["report"]
    if len(choose) == 0 or len(report) == 0:
        raise InputError(f"{len(choose)} frames to choose by and {len(report)} to report on; give more subjects")
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
        answers = [classify(crops[j, i : i + BATCH]) for i in range(0, len(frames), BATCH)]
        right[j] = found & (np.concatenate(answers)[:, columns].argmax(axis=1) == truth)
    even_accuracy = right[:, choose].mean(axis=1)
    best = int(even_accuracy.argmax())
    return {
        "margin": margins[best],
        "n": len(report),
        "accuracy": float(right[best, report].mean()),
        "interval": bootstrap_interval(right[best, report], groups=subjects[report]),
        "found": float(found.mean()),
        "even_accuracy": {str(margin): float(a) for margin, a in zip(margins, even_accuracy, strict=True)},
    }
