"""The recogniser: detector, crops and model behind one call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fer_lib.affect import expected_va
from fer_lib.detect import crop_faces, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.runtime import load_runtime
from fer_lib.weights import DEFAULT_MODEL, load_card

BATCH = 32  # faces a call; bounds the memory of a crowd


class Recognizer:
    """Finds the faces of a picture and labels each: `faces = Recognizer()(image)`.

    model: a name in weights/ or a model folder. detector, cascade, min_face: see fer_lib.detect.make_detector.
    va: also valence and arousal; until a regressor is there, the mean of the class points under the emotion
    probabilities. runtime: "fast" (OpenVINO) or "keras" (the reference). InputError for a name that is not known.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        detector: str | None = None,
        cascade: str | None = None,
        min_face: int = 0,
        va: bool = False,
        runtime: str = "fast",
    ):
        self.card = load_card(model)
        self.detect = make_detector(detector, cascade, min_face)
        self.va = va
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
        for start in range(0, len(faces), BATCH):
            part = faces[start : start + BATCH]
            crops = crop_faces(image, part, self.card.input_size, self._margin)
            emotion[start : start + BATCH] = self.classify(crops)
        faces = replace(faces, emotion=emotion, labels=self.card.labels)
        return replace(faces, va=self._valence_arousal(emotion)) if self.va else faces

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB face crops of the card's input size to (N, C) probabilities of its first head."""
        return self._classify(crops)[self._head]

    def _valence_arousal(self, emotion: np.ndarray) -> np.ndarray:
        nine = np.zeros((len(emotion), len(EMOTIONS)), np.float32)
        nine[:, [EMOTIONS.index(label) for label in self.card.labels]] = emotion
        return expected_va(nine)
