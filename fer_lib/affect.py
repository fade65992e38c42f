"""Valence and arousal: the class points and the two scales."""

from __future__ import annotations

import numpy as np

from fer_lib.faces import EMOTIONS

# Means of the ratings people gave to ADFES's videos, on its 1-7 scale (van der Schalk et al. 2011, table 3; joy is our
# happy). The scale's own midpoint, 4, defines neutral; a face that raters call unknown has no direction either.
ADFES_POINTS = {
    "anger": (2.45, 4.72),
    "contempt": (3.58, 4.06),
    "disgust": (2.51, 4.24),
    "fear": (2.37, 3.87),
    "happy": (5.88, 5.27),
    "neutral": (4.0, 4.0),
    "sad": (2.28, 3.14),
    "surprise": (3.88, 4.31),
    "uncertain": (4.0, 4.0),
}


def from_seven(value):
    """ADFES's 1-7 scale to [-1, 1]."""
    return (np.asarray(value) - 4.0) / 3.0


def to_seven(value):
    """[-1, 1] to ADFES's 1-7 scale."""
    return 3.0 * np.asarray(value) + 4.0


CLASS_POINTS = from_seven([ADFES_POINTS[name] for name in EMOTIONS]).astype(np.float32)  # (9, 2)


def expected_va(emotion: np.ndarray) -> np.ndarray:
    """(N, 9) probabilities over EMOTIONS to (N, 2) valence and arousal in [-1, 1]: the mean of the class points."""
    return emotion @ CLASS_POINTS
