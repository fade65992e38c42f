"""Valence and arousal from a classifier's own trunk: cached features, a small head, one output more."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np

from fer_lib.affect import expected_va
from fer_lib.datasets.fer2013 import Fer2013
from fer_lib.detect import crop_faces
from fer_lib.errors import InputError
from fer_lib.framing import largest
from fer_lib.images import read_image
from fer_lib.metrics import regression
from fer_lib.models import va_head
from fer_lib.runtime import FastRuntime
from fer_lib.weights import EYES_LEVEL, Card

AXES = ("valence", "arousal")


def vote_va(rows: Fer2013) -> tuple[np.ndarray, np.ndarray]:
    """Labels from FER+ votes alone: ((N, 2) float32 valence and arousal in [-1, 1]; (N,) bool, the rows that have one).

    The mean of the class points of fer_lib.affect under the votes of a picture's raters: graded where raters differ,
    and nothing random in it. Rows that FER+ calls not a face have none.
    """
    votes, is_face = rows.emotion_distribution()
    return expected_va(votes).astype(np.float32), is_face


def trunk_runtime(model: keras.Model) -> FastRuntime:
    """A classifier's outputs and its "features", (N, F), by OpenVINO: crops in, as the classifier takes them."""
    every = keras.Model(model.input, {**model.output, "features": model.get_layer("features").output})
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "trunk.xml"
        every.export(str(path), format="openvino", verbose=False)
        return FastRuntime(path)


def regression_head(features: int, dropout: float = 0.25) -> keras.Model:
    """The head alone, for training on cached features: (N, features) to (N, 2)."""
    inputs = keras.Input((features,), name="features")
    return keras.Model(inputs, va_head(inputs, dropout), name="regression_head")


def copy_head(head: keras.Model, model: keras.Model) -> None:
    """Put the weights of regression_head() into the layers of the same names of models.add_va_head()."""
    for layer in head.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def axis_reports(truth: np.ndarray, predicted: np.ndarray, groups=None) -> dict[str, dict]:
    """{"valence": metrics.regression(), "arousal": ..} of two (N, 2) arrays."""
    return {axis: regression(truth[:, i], predicted[:, i], groups) for i, axis in enumerate(AXES)}


def manifest_crops(paths: list[Path], card: Card, detect) -> tuple[np.ndarray, np.ndarray]:
    """The largest face of each picture, cut as the card says: ((N, S, S) uint8 grey, (N,) bool: one was found).

    InputError when the card has no margin for the detector.
    """
    if detect.name not in card.crop_margin:
        raise InputError(f"{card.name} has no crop margin for {detect.name}; choose a model that has")
    size = card.input_size
    crops, found = np.zeros((len(paths), size, size, 3), np.uint8), np.zeros(len(paths), bool)
    margin, level = card.crop_margin[detect.name], card.alignment == EYES_LEVEL
    for i, path in enumerate(paths):
        image = read_image(path)
        face = largest(detect(image))
        found[i] = len(face) == 1
        if found[i]:
            crops[i] = crop_faces(image, face, size, margin, level)[0]
    return to_grey_pictures(crops), found


def to_grey_pictures(crops: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 RGB to (N, S, S) uint8, Rec. 601 luma as the models take it."""
    grey = crops.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(grey).astype(np.uint8)
