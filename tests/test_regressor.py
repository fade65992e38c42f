"""Valence and arousal on a classifier's trunk: labels by hand, features, the head's way into the model, crops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import keras
import numpy as np
import pytest

from fer_lib import regressor
from fer_lib.datasets.fer2013 import VOTE_NAMES, Fer2013
from fer_lib.detect import crop_faces
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.metrics import regression
from fer_lib.models import add_va_head, grey_preprocessing, two_heads
from fer_lib.weights import EYES_LEVEL, Card, load_card


def pictures(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    """8 pixels in, a layer "features" of 6, two heads."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), dtype="uint8", name="pixels")
    x = keras.layers.Flatten()(grey_preprocessing(pixels, 8))
    return keras.Model(pixels, two_heads(keras.layers.Dense(6, "relu", name="features")(x), 0.4), name="tiny")


def features(model: keras.Model, crops: np.ndarray) -> np.ndarray:
    return keras.Model(model.input, model.get_layer("features").output).predict(crops, verbose=0)


# ------------------------------------------------------------------------------------------------ labels


def test_labels_by_hand():
    """ADFES's joy is 5.88, 5.27 and sadness 2.28, 3.14 on 1 to 7; neutral and unknown are 4, 4, which is 0."""
    cast = [
        {"happy": 10},
        {"happy": 6, "neutral": 2, "uncertain": 2},
        {"sad": 5, "happy": 5},
        {"neutral": 10},
        {"happy": 8, "NF": 2},  # these two say nothing
        {"happy": 4, "NF": 6},
        {},
    ]
    votes = np.array([[row.get(name, 0) for name in VOTE_NAMES] for row in cast])
    rows = Fer2013(np.zeros((7, 48, 48), np.uint8), np.zeros(7, int), np.full(7, "Training"), votes)
    va, has_one = regressor.vote_va(rows)
    assert has_one.tolist() == [True] * 5 + [False] * 2
    assert va.shape == (7, 2) and va.dtype == np.float32
    happy, sad = (np.array([5.88, 5.27]) - 4) / 3, (np.array([2.28, 3.14]) - 4) / 3
    np.testing.assert_allclose(va[:5], [happy, 0.6 * happy, (happy + sad) / 2, [0, 0], happy], atol=1e-6)
    with pytest.raises(InputError, match="no FER. votes"):
        regressor.vote_va(Fer2013(rows.pixels, rows.label, rows.usage))


def test_axes_are_reported_each_by_itself():
    rng = np.random.default_rng(0)
    truth, group = rng.normal(size=(60, 2)), np.arange(60) // 10
    predicted = truth + rng.normal(size=(60, 2)) * [0.1, 1]
    found = regressor.axis_reports(truth, predicted, group)
    assert list(found) == ["valence", "arousal"] and found["valence"]["ccc"] > 0.9 > found["arousal"]["ccc"]
    for i, report in enumerate(found.values()):
        assert report == regression(truth[:, i], predicted[:, i], group) != regression(truth[:, i], predicted[:, i])


# ------------------------------------------------------------------------------------------------ trunk and head


def test_trunk_runtime_is_the_keras_model(classifier):
    crops = pictures(5)
    found = regressor.trunk_runtime(classifier)(crops)
    expected = {**classifier.predict(crops, verbose=0), "features": features(classifier, crops)}
    assert set(found) == {"emotion", "fer2013", "features"} and expected["features"].std() > 0.01
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)  # two runtimes in float32


def trained_head(seed: int) -> keras.Model:
    """As a training might leave it: other weights than a new one's, biases too."""
    head, rng = regressor.regression_head(6), np.random.default_rng(seed)
    head.set_weights([rng.normal(size=weight.shape) / 8 for weight in head.get_weights()])
    return head


def with_head(model: keras.Model, head: keras.Model) -> keras.Model:
    answering = add_va_head(model)
    regressor.copy_head(head, answering)
    return answering


def test_the_head_answers_in_the_model_as_alone(classifier):
    """On the trunk's features, which stay what they are, as do the other outputs."""
    crops, head = pictures(5), trained_head(1)
    before = classifier.predict(crops, verbose=0)
    model = with_head(classifier, head)
    found = model.predict(crops, verbose=0)
    assert {name: array.shape for name, array in found.items()} == {"emotion": (5, 9), "fer2013": (5, 7), "va": (5, 2)}
    assert model.name == "tiny" and set(classifier.output) == {"emotion", "fer2013"}
    np.testing.assert_allclose(found["va"], head.predict(features(classifier, crops), verbose=0), atol=1e-5)
    assert np.ptp(found["va"], axis=0).min() > 0.01
    for name, array in before.items():
        np.testing.assert_array_equal(found[name], array)
    assert model.count_params() == classifier.count_params() + 7 * 512 + 513 * 2


def test_a_second_head_replaces_the_first(classifier, tmp_path):
    """Of a model read from its file too."""
    crops = pictures(5)
    with_head(classifier, trained_head(1)).save(tmp_path / "model.keras")
    first = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    before = first.predict(crops, verbose=0)
    second = with_head(first, trained_head(2))
    found = second.predict(crops, verbose=0)
    alone = trained_head(2).predict(features(classifier, crops), verbose=0)
    np.testing.assert_allclose(found["va"], alone, atol=1e-5)
    assert np.abs(found["va"] - before["va"]).max() > 0.05
    assert second.count_params() == first.count_params()
    np.testing.assert_array_equal(first.predict(crops, verbose=0)["va"], before["va"])  # its own head is still its own
    for name in ("emotion", "fer2013"):
        np.testing.assert_array_equal(found[name], before[name])
    second.save(tmp_path / "again.keras")  # no two layers of one name
    again = keras.saving.load_model(tmp_path / "again.keras", compile=False)
    np.testing.assert_array_equal(again.predict(crops, verbose=0)["va"], found["va"])


# ------------------------------------------------------------------------------------------------ crops


@dataclass
class Detector:
    """Finds, in a picture that is not all black, a small box and a large one of a head that is turned."""

    name: str = "blazeface"

    def __call__(self, image: np.ndarray) -> Faces:
        boxes = [(2, 2, 12, 12), (20, 16, 44, 40)] if image.any() else []
        rows = len(boxes)
        boxes = np.array(boxes, np.int32).reshape(-1, 4)
        return Faces(boxes, np.ones(rows, np.float32), roll=np.full(rows, 20, np.float32))


@pytest.fixture(scope="module")
def card(tiny_model) -> Card:
    return replace(load_card(str(tiny_model)), crop_margin={"blazeface": 0.25, "haar": 0.0})


@pytest.fixture
def manifest(tmp_path) -> list:
    """Two coloured pictures, a black one between them."""
    paths = []
    for name, image in {
        "a": pictures(1, 64, 1)[0],
        "b": np.zeros((64, 64, 3), np.uint8),
        "c": pictures(1, 64, 2)[0],
    }.items():
        paths.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(paths[-1]), image[..., ::-1])  # imwrite takes BGR
    return paths


@pytest.mark.parametrize("alignment", ["none", EYES_LEVEL])
def test_the_largest_face_is_cut_as_the_card_says(card, manifest, alignment):
    crops, found = regressor.manifest_crops(manifest, replace(card, alignment=alignment), Detector())
    assert found.tolist() == [True, False, True]
    assert crops.shape == (3, 16, 16) and crops.dtype == np.uint8 and not crops[1].any()
    for i, seed in ((0, 1), (2, 2)):
        image = pictures(1, 64, seed)[0]
        colour = crop_faces(image, Detector()(image)[1:], 16, 0.25, alignment == EYES_LEVEL)[0]
        assert np.abs(crops[i].astype(int) - cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)).max() <= 1  # rounding


def test_the_margin_is_the_detectors(card, manifest):
    """Another detector's box has another margin."""
    wide, _ = regressor.manifest_crops(manifest, card, Detector())
    narrow, _ = regressor.manifest_crops(manifest, card, Detector("haar"))
    image = pictures(1, 64, 1)[0]
    colour = crop_faces(image, Detector()(image)[1:], 16, 0.0)[0]
    assert np.abs(narrow[0].astype(int) - cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)).max() <= 1  # rounding
    assert np.abs(wide[0].astype(int) - narrow[0]).max() > 20


def test_no_pictures(card):
    crops, found = regressor.manifest_crops([], card, Detector())
    assert crops.shape == (0, 16, 16) and found.shape == (0,)


def test_grey_by_hand():
    """0.299 R + 0.587 G + 0.114 B, to the nearest number; white stays white."""
    crops = np.array([[[[255, 255, 255], [200, 100, 50]], [[0, 0, 5], [0, 1, 0]]]], np.uint8)
    np.testing.assert_array_equal(regressor.to_grey_pictures(crops), [[[255, 124], [1, 1]]])
