"""How much of the picture around a detector's box a model should see, measured on photographs."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lib.datasets.ckplus import CK_EMOTIONS, ApexFrame
from fer_lib.detect import DETECTORS, crop_faces, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.fetch import cached
from fer_lib.images import read_image
from fer_lib.metrics import bootstrap_interval
from fer_lib.splits import check_no_leak
from fer_lib.weights import ALIGNMENTS, EYES_LEVEL

MARGINS = tuple(round(0.05 * i, 2) for i in range(-6, 9))  # -0.30 .. 0.40 of the box's side
TURNS = (0, 15, 30, 45)  # degrees
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
    detect,
    classify,
    labels,
    size: int,
    frames: list[ApexFrame],
    parts: dict[str, np.ndarray],
    margins=MARGINS,
    level: bool = False,
) -> dict:
    """Try every margin on CK+ apex frames: one part of them chooses, the other reports.

    detect: image -> Faces. classify: (N, size, size, 3) uint8 -> (N, C) probabilities over labels. The answer is the
    best of CK+'s seven classes; a frame without a face counts as wrong. parts: {"choose": (n,), "report": (m,)} int
    rows of frames, as in splits/ck_apex.json or from even_odd. level: as in crop_faces.
    Returns margin, n, accuracy and interval (drawn by subject) of the reporting part, found, and the choosing part's
    even_accuracy by margin. InputError when a subject stands in both parts, or a part has no frame.
    """
    subjects = np.array([frame.subject for frame in frames])
    check_no_leak(parts, subject=subjects)
    choose, report = parts["choose"], parts["report"]
    if len(choose) == 0 or len(report) == 0:
        raise InputError(f"{len(choose)} frames to choose by and {len(report)} to report on; give more subjects")
    crops = np.zeros((len(margins), len(frames), size, size, 3), np.uint8)
    found = np.zeros(len(frames), bool)
    for i, frame in enumerate(frames):
        image = read_image(frame.path)
        face = largest(detect(image))
        found[i] = len(face) == 1
        for j, margin in enumerate(margins if found[i] else ()):
            crops[j, i] = crop_faces(image, face, size, margin, level)[0]
    right = np.stack([found & _right(classify, labels, crops[j], frames) for j in range(len(margins))])
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


def choose_margins(classify, labels, size: int, frames: list[ApexFrame]) -> dict[str, dict]:
    """{detector: choose_margin()} of every detector at hand: even subjects choose, odd ones report."""
    names = [name for name in DETECTORS if name != "dnn" or cached("res10")]
    parts = even_odd(frames)
    return {name: choose_margin(make_detector(name), classify, labels, size, frames, parts) for name in names}


def alignment_accuracy(
    detect, classify, labels, size: int, frames: list[ApexFrame], margin: float, turns=TURNS
) -> dict[str, dict[str, float]]:
    """Accuracy on CK+ apex frames turned by each of `turns` degrees, with upright and with level crops.

    Laboratory heads are upright, those in people's pictures are not. Every second frame is turned the other way.
    Arguments as in choose_margin. Returns {alignment of weights.ALIGNMENTS: {degrees: accuracy}}.
    """
    right = {name: {} for name in ALIGNMENTS}
    for turn in turns:
        crops = np.zeros((len(ALIGNMENTS), len(frames), size, size, 3), np.uint8)
        found = np.zeros(len(frames), bool)
        for i, frame in enumerate(frames):
            image = turned(read_image(frame.path), turn if i % 2 else -turn)
            face = largest(detect(image))
            found[i] = len(face) == 1
            for j, name in enumerate(ALIGNMENTS if found[i] else ()):
                crops[j, i] = crop_faces(image, face, size, margin, level=name == EYES_LEVEL)[0]
        for j, name in enumerate(ALIGNMENTS):
            right[name][str(turn)] = float((found & _right(classify, labels, crops[j], frames)).mean())
    return right


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """(H, W, 3) uint8 turned clockwise about its middle, same size; its edge is repeated where nothing is known."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    return cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _right(classify, labels, crops: np.ndarray, frames: list[ApexFrame]) -> np.ndarray:
    """(N,) bool: whether the best of CK+'s seven classes, those that the model knows, is the frame's own."""
    seven = [name for name in CK_EMOTIONS.values() if name in labels]
    answers = [classify(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]
    best = np.concatenate(answers)[:, [labels.index(name) for name in seven]].argmax(axis=1)
    return np.array(seven)[best] == [frame.emotion for frame in frames]
