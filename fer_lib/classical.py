"""Classical learning on faces: features, pipelines, clusters named by majority, and their file format.

A model file is a scikit-learn pipeline in skops's format, which holds arrays and the names of known types, and no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from fer_lib.errors import InputError
from fer_lib.faces import FER2013_EMOTIONS
from fer_lib.files import replacing

SIDE = 48  # pixels: FER2013's own size, and what an exported pipeline takes
CELLS = 6  # of HOG, a side
ORIENTATIONS = 18  # over the full circle: on PublicTest two points better than nine without a sign


def flat(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8 grey to (N, S * S) float32."""
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def hog(pictures: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of (N, S, S) uint8 grey faces: (N, 5832) float32.

    Six cells a side, 18 signed orientations, blocks of 2x2 cells at every half cell, by OpenCV. ValueError when S is
    no multiple of 12.
    """
    side = pictures.shape[1]
    if side % (2 * CELLS) or pictures.shape[1:] != (side, side):
        raise ValueError(f"pictures of {pictures.shape[1:]} pixels: the side must be a multiple of {2 * CELLS}")
    cell = side // CELLS
    describe = cv2.HOGDescriptor(
        (side, side),
        (2 * cell, 2 * cell),
        (cell // 2, cell // 2),
        (cell, cell),
        ORIENTATIONS,
        _gammaCorrection=False,
        _signedGradient=True,
    )
    return np.stack([describe.compute(np.ascontiguousarray(picture)) for picture in pictures])


class MajorityClusters(ClassifierMixin, BaseEstimator):
    """K-Means as a classifier: a cluster answers with the class that most of its training rows have.

    A cluster's number says nothing; the ancestor read it as a class number, which `numbers` shows.
    """

    def __init__(self, clusters: int = 7, seed: int = 0):
        self.clusters, self.seed = clusters, seed

    def fit(self, features, labels):
        """(N, F) float and (N,) labels."""
        self.classes_ = np.unique(labels)
        self.means_ = KMeans(self.clusters, n_init=4, random_state=self.seed).fit(features)
        rows = self.means_.labels_
        counts = [[np.sum(labels[rows == i] == name) for name in self.classes_] for i in range(self.clusters)]
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
    """A way to tell classes apart: what it sees, an unfitted pipeline, and whether that keeps training rows in itself."""

    features: Callable[[np.ndarray], np.ndarray]  # of (N, S, S) uint8 pictures
    pipeline: Pipeline
    keeps_rows: bool
    mirrored: bool = False  # whether the mirror images of the training pictures are learned from too


def methods(seed: int = 0, components: int = 400, waves: int = 6000) -> dict[str, Method]:
    """The baselines by name, unfitted.

    components: of PCA before a kernel; waves: random features that stand for a Gaussian kernel (Rahimi & Recht 2007).
    """

    def reduced(*steps, whiten: bool = False) -> Pipeline:
        return make_pipeline(PCA(components, whiten=whiten, svd_solver="covariance_eigh"), *steps)

    kernel = {"C": 5.0, "gamma": "scale", "cache_size": 2000, "break_ties": True}
    ...


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


class PipelineRuntime:
    """A pipeline that answers from HOG features with a score a class; input_size and heads as in FastRuntime."""

    def __init__(self, path: Path, cure: str = "restore it from git"):
        self._pipeline = load_pipeline(path, cure)
        self.input_size = SIDE
        self.heads = {"fer2013": len(getattr(self._pipeline, "classes_", ()))}

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """(N, 48, 48, 3) uint8 RGB to {"fer2013": (N, C) float32}: the softmax of the scores."""
        grey = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops])
        scores = self._pipeline.decision_function(hog(grey))
        return {"fer2013": softmax(scores, axis=1).astype(np.float32)}
