"""The recogniser: detector, crops and model behind one call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from fer_lib.affect import expected_va
from fer_lib.detect import crop_faces, detector_name, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import UNCERTAIN, Faces, over_emotions
from fer_lib.runtime import load_runtime
from fer_lib.weights import AGE_MODEL, AGE_TASK, DEFAULT_MODEL, EMOTION_TASK, EYES_LEVEL, Card, task_card

BATCH = 32  # faces a call; bounds the memory of a crowd
VA, AGE = "va", "age"  # outputs of the regressors


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


class FramedModel:
    """A model and the crops it wants of a detector's faces.

    runtime: "fast" (OpenVINO), "quick" (less precise) or "keras" (the reference), see load_runtime. features: also the
    trunk's, see FastRuntime. InputError when the card has no margin for the detector.
    """

    def __init__(self, card: Card, detector: str, runtime: str = "fast", features: bool = False):
        self.card = card
        self.run = load_runtime(card, runtime, features)
        known = card.crop_margin
        if detector not in known:
            raise InputError(f"{card.name} has no crop margin for {detector}; choose one of {', '.join(known)}")
        self._margin = known[detector]

    def crops(self, image: np.ndarray, faces: Faces, size: int | None = None) -> np.ndarray:
        """(N, size, size, 3) uint8: the faces, framed and aligned as the card says; size: by default the card's."""
        level = self.card.alignment == EYES_LEVEL
        return crop_faces(image, faces, size or self.card.input_size, self._margin, level)

    def __call__(self, image: np.ndarray, faces: Faces) -> dict[str, np.ndarray]:
        """{head: (N, C) float32} of the faces in the picture."""
        return self.run(self.crops(image, faces))


class Recognizer:
    """Finds the faces of a picture and labels each: `faces = Recognizer()(image)`.

    model: a name in weights/ or a model folder. detector, cascade, min_face: see fer_lib.detect.make_detector.
    va: also valence and arousal: the answer of the model's regressor, or, where it has none, the mean of the class
    points under the emotion probabilities. runtime: see FramedModel. uncertain_below: a face whose highest probability
    is below it is called uncertain; None stands for the card's, 0 for never. balanced: see fer_lib.recognize.balanced.
    age: also the age, by a model of its own: True for weights/age, or a model folder. InputError for a name that is
    not known.

    The call is made of parts, so that a video can run them apart: detect(image), cut(image, faces), read(crops) of
    several pictures at once, labelled(faces, found).
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
        age: bool | str = False,
    ):
        self.card = task_card(model, EMOTION_TASK)
        name = detector_name(detector, cascade)
        if balanced and not self.card.prior:
            raise InputError(f"the card of {self.card.name} has no prior, which --balanced needs: leave that out")
        if uncertain_below is not None and not 0 <= uncertain_below <= 1:
            raise InputError("--uncertain-below must be a probability, 0 to 1")
        self.va = va
        self._prior = self.card.prior if balanced else None
        self._uncertain_below = self.card.uncertain_below if uncertain_below is None else uncertain_below
        self.age = bool(age)
        with ThreadPoolExecutor(1) as beside:  # to load either takes one core a third of a second
            making = beside.submit(make_detector, name, cascade, min_face)
            self._emotion = FramedModel(self.card, name, runtime)
            age_model = AGE_MODEL if age is True else age
            self._age = FramedModel(task_card(age_model, AGE_TASK), name, runtime) if age else None
            self.detect = making.result()
        self._head = next(iter(self.card.heads))
        self.crops = self._emotion.crops

    @property
    def cards(self) -> list[Card]:
        """Of the models in use."""
        return [self.card] + ([self._age.card] if self._age else [])

    def __call__(self, image: np.ndarray) -> Faces:
        """(H, W, 3) uint8 RGB, upright, to the faces in it, left to right. ValueError for another array."""
        faces = self.detect(image)
        return self.labelled(faces, self.read(self.cut(image, faces)))

    def cut(self, image: np.ndarray, faces: Faces) -> tuple[np.ndarray, ...]:
        """(N, S, S, 3) uint8 crops of the faces for each model in use: that of the emotions, then that of the age."""
        models = (self._emotion, self._age) if self._age else (self._emotion,)
        return tuple(model.crops(image, faces) for model in models)

    def read(self, crops: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """What the models say of N faces, of one picture or of several: emotion, va and age as in Faces, float32."""
        faces = len(crops[0])
        found = {"emotion": np.zeros((faces, len(self.card.labels)), np.float32)}
        if self.va:
            found[VA] = np.zeros((faces, 2), np.float32)
        if self._age:
            found[AGE] = np.zeros(faces, np.float32)
        for start in range(0, faces, BATCH):
            part = slice(start, start + BATCH)
            outputs = self._emotion.run(crops[0][part])
            found["emotion"][part] = self._probability(outputs)
            if self.va:
                found[VA][part] = self._valence_arousal(outputs, found["emotion"][part])
            if self._age:
                found[AGE][part] = self._age.run(crops[1][part])[AGE][:, 0]
        return found

    def labelled(self, faces: Faces, found: dict[str, np.ndarray]) -> Faces:
        """The faces with what read() has found of them."""
        return replace(faces, **found, labels=self.card.labels, uncertain_below=self._uncertain_below)

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB face crops of the card's input size to (N, C) probabilities of its first head."""
        return self._probability(self._emotion.run(crops))

    def _probability(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        probability = outputs[self._head]
        return probability if self._prior is None else balanced(probability, self.card.labels, self._prior)

    def _valence_arousal(self, outputs: dict[str, np.ndarray], emotion: np.ndarray) -> np.ndarray:
        if VA in outputs:
            return np.clip(outputs[VA], -1, 1)
        return expected_va(over_emotions(emotion, self.card.labels))
