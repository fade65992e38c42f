"""Classical learning on faces: features, pipelines, clusters named by majority, and their file format.

A model file is a scikit-learn pipeline in skops's format, which holds arrays and the names of known types, and no code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skops.io
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC

from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.files import replacing

SIDE = 48  # pixels: FER2013's own size, and what an exported pipeline takes
CELLS = 6  # of HOG, a side
ORIENTATIONS = 18  # over the full circle: on PublicTest two points better than nine without a sign


def flat(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8 grey to (N, S * S) float32. ValueError for other pictures."""
    _check_grey(pictures)
    return pictures.reshape(len(pictures), math.prod(pictures.shape[1:])).astype(np.float32)


def hog(pictures: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of (N, S, S) uint8 grey faces: (N, 5832) float32.

    Six cells a side, 18 signed orientations, blocks of 2x2 cells at every half cell, by OpenCV. A side that is no
    multiple of 12 pixels is enlarged to the next one. ValueError for other pictures.
    """
    _check_grey(pictures)
    half = -(-pictures.shape[1] // (2 * CELLS))
    cell, side = 2 * half, 2 * half * CELLS
    describe = cv2.HOGDescriptor(
        (side, side),
        (2 * cell, 2 * cell),
        (half, half),
        (cell, cell),
        ORIENTATIONS,
        _gammaCorrection=False,
        _signedGradient=True,
    )
    seen = [describe.compute(resize(picture, side)) for picture in pictures]
    return np.array(seen, np.float32).reshape(len(pictures), describe.getDescriptorSize())


def _check_grey(pictures: np.ndarray) -> None:
    if pictures.ndim != 3 or pictures.shape[1] != pictures.shape[2] or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be (N, S, S) uint8, got {pictures.shape} {pictures.dtype}")


class MajorityClusters(ClassifierMixin, BaseEstimator):
    """K-Means as a classifier: a cluster answers with the class that most of its training rows have.

    There are as many clusters as classes. A cluster's number, which `numbers` gives, says nothing; the ancestor read it
    as a class number.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, features, labels):
        """(N, F) float and (N,) labels."""
        self.classes_ = np.unique(labels)
        self.means_ = KMeans(len(self.classes_), n_init=4, random_state=self.seed).fit(features)
        rows = self.means_.labels_
        counts = [[np.sum(labels[rows == i] == name) for name in self.classes_] for i in range(len(self.classes_))]
        self.answers_ = self.classes_[np.argmax(counts, axis=1)]
        return self

    def numbers(self, features) -> np.ndarray:
        """(N,) the cluster of each row."""
        return self.means_.predict(features)

    def predict(self, features) -> np.ndarray:
        """(N,) labels."""
        return self.answers_[self.numbers(features)]


@dataclass(frozen=True)
class Method:
    """A way to tell classes apart: what it sees, an unfitted pipeline, and whether it keeps training rows in itself."""

    features: Callable[[np.ndarray], np.ndarray]  # of (N, S, S) uint8 pictures
    pipeline: Pipeline
    keeps_rows: bool
    mirrored: bool = False  # whether the mirror images of the training pictures are learned from too


def methods(seed: int = 0, components: int = 400, factors: int = 140) -> dict[str, Method]:
    """The baselines by name, unfitted.

    components: of PCA before a kernel, fewer where flat pictures are seen; factors: components of which all products
    are taken, which is a quadratic kernel without its training rows.
    """
    try:  # here, as those who only answer need none of it: the same machines, learned tens of times sooner
        from sklearnex.svm import SVC
    except ImportError:  # not made for this processor
        from sklearn.svm import SVC

    def reduced(*steps, to: int = components) -> Pipeline:
        return make_pipeline(PCA(to, random_state=seed), *steps)

    kernel = {"C": 5.0, "gamma": "scale", "cache_size": 2000, "break_ties": True, "random_state": seed}
    products = (PolynomialFeatures(2, include_bias=False), RidgeClassifier(alpha=300.0))

    def of_pixels(*steps, keeps_rows: bool = False) -> Method:
        return Method(flat, make_pipeline(StandardScaler(), *steps), keeps_rows)

    return {
        "most frequent class": Method(flat, make_pipeline(DummyClassifier(strategy="most_frequent")), keeps_rows=False),
        "K-Means": of_pixels(MajorityClusters(seed)),
        "k-NN": of_pixels(PCA(min(60, components), random_state=seed), KNeighborsClassifier(9), keeps_rows=True),
        "Gaussian naive Bayes": of_pixels(GaussianNB()),
        "PCA + kernel SVM": of_pixels(
            PCA(min(120, components), whiten=True, random_state=seed), SVC(**kernel), keeps_rows=True
        ),
        "HOG + linear SVM": Method(hog, reduced(LinearSVC(C=0.01, random_state=seed)), keeps_rows=False),
        "HOG + kernel SVM": Method(hog, reduced(SVC(**kernel)), keeps_rows=True),
        "HOG + kernel SVM, mirrored": Method(hog, reduced(SVC(**kernel)), keeps_rows=True, mirrored=True),
        "HOG + quadratic, mirrored": Method(hog, reduced(*products, to=factors), keeps_rows=False, mirrored=True),
    }


def save_pipeline(pipeline: Pipeline, path) -> None:
    """Write a fitted pipeline in skops's format, complete or not at all."""
    with replacing(path) as temporary:
        skops.io.dump(pipeline, temporary)


def load_pipeline(path, cure: str = "restore it from git") -> Pipeline:
    """A pipeline that save_pipeline wrote; no code from the file is run.

    InputError for a file that is damaged or names a type that skops does not know as safe; cure ends the message.
    """
    try:
        return skops.io.load(path)
    except Exception as error:  # of zip files, json, numpy, scikit-learn and skops
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be loaded ({reason}); {cure}") from None


def probabilities(pipeline: Pipeline, features: np.ndarray) -> np.ndarray:
    """(N, C) float32: the softmax of the scores of a pipeline that ends in a linear model."""
    return softmax(pipeline.decision_function(features), axis=1).astype(np.float32)


def scale_scores(pipeline: Pipeline, temperature: float) -> None:
    """Divide the scores of a pipeline that ends in a linear model, in place; its answers stay."""
    pipeline[-1].coef_ = pipeline[-1].coef_ / temperature
    pipeline[-1].intercept_ = pipeline[-1].intercept_ / temperature


class PipelineRuntime:
    """A pipeline that answers from HOG features with a score a class; input_size and heads as in FastRuntime."""

    def __init__(self, path: Path, cure: str = "restore it from git"):
        self._pipeline = load_pipeline(path, cure)
        self.input_size = SIDE
        try:
            scores = self(np.zeros((1, SIDE, SIDE, 3), np.uint8))["fer2013"]
            in_order = np.array_equal(self._pipeline.classes_, np.arange(scores.shape[1]))  # else the labels are others
            if not (np.isfinite(scores).all() and in_order and hasattr(self._pipeline[-1], "coef_")):
                raise ValueError
        except (AttributeError, TypeError, ValueError):  # no pipeline at all, of other features, of two classes
            raise InputError(f"{path} is no linear pipeline on HOG of the classes 0, 1, 2 and so on; {cure}") from None
        self.heads = {"fer2013": scores.shape[1]}

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """(N, 48, 48, 3) uint8 RGB to {"fer2013": (N, C) float32}: the softmax of the scores."""
        if len(crops) == 0:  # scikit-learn refuses no rows
            return {head: np.zeros((0, classes), np.float32) for head, classes in self.heads.items()}
        grey = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops])
        return {"fer2013": probabilities(self._pipeline, hog(grey))}
