"""The recogniser: detector, crops and model behind one call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fer_lib.affect import expected_va
from fer_lib.detect import crop_faces, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, UNCERTAIN, Faces
from fer_lib.runtime import load_runtime
from fer_lib.weights import DEFAULT_MODEL, EYES_LEVEL, load_card

BATCH = 32  # faces a call; bounds the memory of a crowd
VA = "va"  # the regressor's output


def balanced(probability: np.ndarray, labels, prior: dict[str, float]) -> np.ndarray:
    """(N, C) probabilities as if every emotion had been equally frequent in training (Saerens et al. 2002).

    prior: the share of each label in training, as probable as the model would find it. "uncertain" is no emotion and
    keeps its probability. FER+'s pictures are mostly happy or neutral, which makes a model slow to name the rare
    emotions; where people act emotions, as in a laboratory, these are as frequent as the others. On pictures like
    FER+'s, balanced answers are worse.
    """
    weighted = probability / np.array([prior[label] for label in labels], probability.dtype)
    emotions = np.array([label != UNCERTAIN for label in labels])
    left = 1 - probability[:, ~emotions].sum(axis=1, keepdims=True)
    weighted[:, emotions] *= left / np.maximum(weighted[:, emotions].sum(axis=1, keepdims=True), 1e-12)
    weighted[:, ~emotions] = probability[:, ~emotions]
    return weighted


class Recognizer:
    """Finds the faces of a picture and labels each: `faces = Recognizer()(image)`.

    model: a name in weights/ or a model folder. detector, cascade, min_face: see fer_lib.detect.make_detector.
    va: also valence and arousal: the answer of the model's regressor, or, where it has none, the mean of the class
    points under the emotion probabilities. runtime: "fast" (OpenVINO) or "keras" (the reference). uncertain_below: a
    face whose highest probability is below it is called uncertain; None stands for the card's, 0 for never. balanced:
    see fer_lib.recognize.balanced. InputError for a name that is not known.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        detector: str | None = None,
        cascade: str | None = None,
        min_face: int = 0,
        va: bool = False,
        runtime: str = "fast",
        uncertain_below: float | None = None,
        balanced: bool = False,
    ):
        self.card = load_card(model)
        self.detect = make_detector(detector, cascade, min_face)
        if balanced and not self.card.prior:
            raise InputError(f"the card of {self.card.name} has no prior, which --balanced needs: leave that out")
        if uncertain_below is not None and not 0 <= uncertain_below <= 1:
            raise InputError("--uncertain-below must be a probability, 0 to 1")
        self.va = va
        self._prior = self.card.prior if balanced else None
        self._uncertain_below = self.card.uncertain_below if uncertain_below is None else uncertain_below
        self._classify = load_runtime(self.card, runtime)
        self._head = next(iter(self.card.heads))
        known = self.card.crop_margin
        if self.detect.name not in known:
            raise InputError(
                f"{self.card.name} has no crop margin for {self.detect.name}; choose one of {', '.join(known)}"
            )
        self._margin = known[self.detect.name]

    def __call__(self, image: np.ndarray) -> Faces:
        """(H, W, 3) uint8 RGB, upright, to the faces in it, left to right. ValueError for another array."""
        faces = self.detect(image)
        emotion = np.zeros((len(faces), len(self.card.labels)), np.float32)
        va = np.zeros((len(faces), 2), np.float32)
        for start in range(0, len(faces), BATCH):
            part = slice(start, start + BATCH)
            outputs = self._classify(self.crops(image, faces[part]))
            emotion[part] = self._probability(outputs)
            if self.va:
                va[part] = self._valence_arousal(outputs, emotion[part])
        faces = replace(faces, emotion=emotion, labels=self.card.labels, uncertain_below=self._uncertain_below)
        return replace(faces, va=va) if self.va else faces

    def crops(self, image: np.ndarray, faces: Faces, size: int | None = None) -> np.ndarray:
        """(N, size, size, 3) uint8: the faces, framed and aligned as the card says; size: by default the card's."""
        level = self.card.alignment == EYES_LEVEL
        return crop_faces(image, faces, size or self.card.input_size, self._margin, level)

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB face crops of the card's input size to (N, C) probabilities of its first head."""
        return self._probability(self._classify(crops))

    def _probability(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        probability = outputs[self._head]
        return probability if self._prior is None else balanced(probability, self.card.labels, self._prior)

    def _valence_arousal(self, outputs: dict[str, np.ndarray], emotion: np.ndarray) -> np.ndarray:
        if VA in outputs:
            return np.clip(outputs[VA], -1, 1)
        nine = np.zeros((len(emotion), len(EMOTIONS)), np.float32)
        nine[:, [EMOTIONS.index(label) for label in self.card.labels]] = emotion
        return expected_va(nine)
