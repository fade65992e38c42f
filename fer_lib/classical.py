"""Classical learning on 48-pixel faces: features, pipelines, clusters named by majority, and a model file for them.

A model file is a scikit-learn pipeline in skops's format, which holds arrays and the names of known types, and no code.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from fer_lib.errors import InputError

SIDE = 48  # pixels
CELL = 6  # of HOG: eight cells a side, blocks of two by two
ORIENTATIONS = 9


def flat(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8 grey to (N, S * S) float32."""
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def hog(pictures: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of (N, 48, 48) uint8 grey faces: (N, 1764) float32.

    Cells of 6 pixels, 9 unsigned orientations, blocks of 2x2 cells that overlap by a cell, by OpenCV.
    """
    if pictures.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"pictures of {pictures.shape[1:]} pixels, not {SIDE}x{SIDE}")
    block, cell = (2 * CELL, 2 * CELL), (CELL, CELL)
    describe = cv2.HOGDescriptor((SIDE, SIDE), block, cell, cell, ORIENTATIONS)
    return np.stack([describe.compute(np.ascontiguousarray(picture)) for picture in pictures])


class MajorityClusters(ClassifierMixin, BaseEstimator):
    """K-Means as a classifier: a cluster answers with the class that most of its training rows have.

    A cluster's number says nothing; the ancestor read it as a class number, which `numbers` shows.
    """

    def __init__(self, clusters: int = 7, seed: int = 0):
        self.clusters, self.seed = clusters, seed

    def fit(self, features, labels):
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
        return self.answers_[self.numbers(features)]


def pipelines(seed: int = 0, components: int = 4000) -> dict[str, tuple]:
    """{name: (features of pictures, unfitted pipeline, whether it holds no training rows)}.

    components: random features that stand for a Gaussian kernel (Rahimi & Recht 2007).
    """
    kernel = {"kernel": "rbf", "C": 5.0, "gamma": "scale", "cache_size": 1000}
    linear = LinearSVC(C=0.01, random_state=seed)
    fourier = RBFSampler(gamma=1e-3, n_components=components, random_state=seed)
    return {
        "K-Means": (flat, make_pipeline(StandardScaler(), MajorityClusters(7, seed)), True),
        "k-NN": (flat, make_pipeline(StandardScaler(), PCA(60, random_state=seed), KNeighborsClassifier(9)), False),
        "naive Bayes": (flat, make_pipeline(StandardScaler(), GaussianNB()), True),
        "PCA + SVM": (flat, make_pipeline(StandardScaler(), PCA(120, whiten=True, random_state=seed), SVC(**kernel)), False),
        "HOG + linear SVM": (hog, make_pipeline(StandardScaler(), linear), True),
        "HOG + kernel SVM": (hog, make_pipeline(StandardScaler(), PCA(300, random_state=seed), SVC(**kernel)), False),
        "HOG + random features": (hog, make_pipeline(StandardScaler(), PCA(300, random_state=seed), fourier, LogisticRegression(max_iter=300)), True),
    }


def save_pipeline(pipeline: Pipeline, path) -> None:
    import skops.io

    from fer_lib.files import replacing

    with replacing(Path(path)) as temporary:
        skops.io.dump(pipeline, temporary)


def load_pipeline(path) -> Pipeline:
    """InputError for a file that is damaged, or names a type that scikit-learn and numpy do not have."""
    import skops.io

    try:
        return skops.io.load(path, trusted=[])
    except Exception as error:  # of zip files, json, numpy and skops
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be loaded ({reason}); restore it from git") from None


def probabilities(pipeline: Pipeline, features: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, C) softmax of a linear model's scores over a temperature."""
    return softmax(pipeline.decision_function(features) / temperature, axis=1)
