"""The Recognizer: priors, thresholds, valence and alignment of a card, and real photographs from 160 to 4000 pixels."""

import json
import shutil
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
from conftest import PHOTOS, ROOT

from fer_lib.affect import ADFES_POINTS
from fer_lib.benchmark import MOST_LOST
from fer_lib.detect import crop_faces
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS
from fer_lib.framing import turned
from fer_lib.images import read_image
from fer_lib.models import va_head
from fer_lib.recognize import Recognizer, balanced
from fer_lib.runtime import BFLOAT16_MODELS, export_fast
from fer_lib.weights import EYES_LEVEL, KERAS_FILE, load_card, save_keras

PRIOR = dict(zip(EMOTIONS, (0.1, 0.02, 0.02, 0.06, 0.3, 0.3, 0.1, 0.05, 0.05), strict=True))


@pytest.fixture
def make_model(tiny_model, tmp_path):
    """A copy of the tiny model whose card says something else: its folder's name."""

    def make(**changes) -> str:
        folder = shutil.copytree(tiny_model, tmp_path / "tiny")
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | changes))
        return str(folder)

    return make


@pytest.fixture(scope="module")
def default() -> Recognizer:
    """The default model on crops of either alignment, whatever its card says."""
    return Recognizer(uncertain_below=0)


# ------------------------------------------------------------------------------------------------ balanced


def test_balanced_by_hand():
    """Twice as sure of a label that is four times as frequent: half as likely, had they been equally frequent."""
    prior = {"b": 0.2, "a": 0.8, "c": 0.4}  # in another order than the labels
    given = np.array([[2 / 3, 1 / 3, 0], [0.8, 0.2, 0], [0.4, 0.2, 0.4]], np.float32)
    found = balanced(given, ("a", "b", "c"), prior)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3, 0], [0.5, 0.5, 0], [0.2, 0.4, 0.4]], rtol=1e-6)
    assert balanced(given[:0], ("a", "b", "c"), prior).shape == (0, 3)
    np.testing.assert_allclose(balanced(given, "abc", dict.fromkeys("abc", 0.3)), given, rtol=1e-6)


def test_uncertain_keeps_its_probability():
    """It is no emotion: what is left is shared by the others. All of it may be uncertain's."""
    prior = {"happy": 0.6, "sad": 0.2, "uncertain": 0.2}
    given = np.array([[0.6, 0.2, 0.2], [0, 0, 1]], np.float32)
    np.testing.assert_allclose(balanced(given, tuple(prior), prior), [[0.4, 0.4, 0.2], [0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("below", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(tiny_model, below):
    with pytest.raises(InputError, match="0 to 1"):
        Recognizer(str(tiny_model), uncertain_below=below)


def test_a_recogniser_balances_by_its_card(make_model, photo):
    folder = make_model(prior=PRIOR)
    plain, equal = Recognizer(folder)(photo), Recognizer(folder, balanced=True)(photo)
    np.testing.assert_allclose(equal.emotion, balanced(plain.emotion, EMOTIONS, PRIOR), rtol=1e-5)
    assert np.abs(equal.emotion - plain.emotion).max() > 0.05
    va = Recognizer(folder, balanced=True, va=True)(photo).va
    assert np.abs(va - Recognizer(folder, va=True)(photo).va).max() > 0.01  # from the balanced probabilities


def test_a_card_without_a_prior_is_not_balanced(tiny_model):
    with pytest.raises(InputError, match="the card of tiny has no prior"):
        Recognizer(str(tiny_model), balanced=True)


# ------------------------------------------------------------------------------------------------ uncertain


@pytest.mark.parametrize(("asked", "says"), [(None, 0.9), (0.0, 0.0), (0.001, 0.001), (1.0, 1.0)])
def test_the_threshold_is_the_cards_unless_it_is_given(make_model, photo, asked, says):
    """Random weights are sure of nothing: about 0.11 each."""
    faces = Recognizer(make_model(uncertain_below=0.9), uncertain_below=asked)(photo)
    assert faces.uncertain_below == says
    assert faces.top()[0] == (["uncertain"] if says > 0.5 else faces.best()[0])


def test_no_face_has_the_same_columns(make_model):
    faces = Recognizer(make_model(prior=PRIOR, alignment=EYES_LEVEL), balanced=True)(np.zeros((90, 90, 3), np.uint8))
    assert faces.emotion.shape == (0, 9) and faces.top()[0] == faces.records() == []


# ------------------------------------------------------------------------------------------------ valence and arousal


@pytest.fixture(scope="module")
def regressing(tiny_model, tmp_path_factory) -> tuple[str, keras.Model]:
    """(the tiny model with an output "va", its folder's name; the model): of valence it says far too much."""
    model = keras.saving.load_model(tiny_model / KERAS_FILE, compile=False)
    model = keras.Model(model.input, {**model.output, "va": va_head(model.get_layer("dropout").input)})
    kernel, _ = model.get_layer("va").get_weights()
    model.get_layer("va").set_weights([kernel, np.array([3, -0.2])])
    folder = tmp_path_factory.mktemp("weights") / "regressing"
    folder.mkdir()
    save_keras(model, folder / KERAS_FILE)
    export_fast(folder / KERAS_FILE, folder)
    card = load_card(str(tiny_model))
    replace(card, heads={**card.heads, "va": ["valence", "arousal"]}).write(folder)
    return str(folder), model


@pytest.mark.parametrize("runtime", ["fast", "keras"])
@pytest.mark.parametrize("photo_name", ["grace_hopper.jpg", "two_faces.jpg"])
def test_the_regressor_answers_in_the_same_pass(regressing, runtime, photo_name, monkeypatch):
    folder, model = regressing
    recognise, picture = Recognizer(folder, "blazeface", va=True, runtime=runtime), read_image(PHOTOS / photo_name)
    passes, classify = [], recognise._emotion.run
    monkeypatch.setattr(recognise._emotion, "run", lambda crops: passes.append(len(crops)) or classify(crops))
    faces = recognise(picture)
    assert passes == [len(faces)] == [1 + (photo_name == "two_faces.jpg")]
    expected = model.predict(recognise.crops(picture, faces), verbose=0)
    assert (expected["va"][:, 0] > 2).all() and (expected["va"][:, 1] < -0.05).all()
    np.testing.assert_array_equal(faces.va[:, 0], 1)  # clipped
    np.testing.assert_allclose(faces.va[:, 1], expected["va"][:, 1], atol=2e-3)  # weights kept in half precision
    np.testing.assert_allclose(faces.emotion, expected["emotion"], atol=2e-3)
    assert Recognizer(folder, "blazeface", runtime=runtime)(picture).va is None  # not asked for


def test_too_little_valence_is_clipped_too(regressing, photo, monkeypatch):
    recognise = Recognizer(regressing[0], "blazeface", va=True)
    classify = recognise._emotion.run
    monkeypatch.setattr(
        recognise._emotion, "run", lambda crops: classify(crops) | {"va": np.array([[-1.5, 0.5]], "f4")}
    )
    np.testing.assert_array_equal(recognise(photo).va, [[-1, 0.5]])


def test_without_a_regressor_the_expected_point_answers(tiny_model, photo):
    """The mean of the class points under the probabilities, to which nearly equal ones come near."""
    faces = Recognizer(str(tiny_model), "blazeface", va=True)(photo)
    points = np.array([ADFES_POINTS[name] for name in EMOTIONS])
    np.testing.assert_allclose(faces.va, (faces.emotion @ points - 4) / 3, atol=1e-6)
    assert faces.va.shape == (1, 2) and faces.va.dtype == np.float32 and np.abs(faces.va).max() < 0.5


@pytest.mark.parametrize("which", ["with", "without"])
def test_no_face_has_no_valence(regressing, tiny_model, which):
    folder = regressing[0] if which == "with" else str(tiny_model)
    faces = Recognizer(folder, "blazeface", va=True)(np.zeros((90, 90, 3), np.uint8))
    assert faces.va.shape == (0, 2) and faces.emotion.shape == (0, 9)


# ------------------------------------------------------------------------------------------------ alignment


@pytest.mark.parametrize(("alignment", "level"), [("none", False), (EYES_LEVEL, True)])
def test_crops_are_aligned_as_the_card_says(make_model, photo, alignment, level, monkeypatch):
    """With the card's size and margin, or with the size asked for; and these are what is classified."""
    recognise = Recognizer(make_model(alignment=alignment, crop_margin={"blazeface": 0.25}), "blazeface")
    picture = turned(photo, 30)
    faces = recognise.detect(picture)
    assert len(faces) == 1 and abs(faces.roll[0]) > 15
    for size in (None, 40):
        expected = crop_faces(picture, faces, size or 16, 0.25, level)
        assert (recognise.crops(picture, faces, size) == expected).all()
        assert (expected != crop_faces(picture, faces, size or 16, 0.25, not level)).any()
    seen = []
    classify = recognise._emotion.run
    monkeypatch.setattr(recognise._emotion, "run", lambda crops: seen.append(crops) or classify(crops))
    recognise(picture)
    assert (np.concatenate(seen) == recognise.crops(picture, faces)).all()


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_turned_photo_is_answered_as_the_upright_one(default, monkeypatch, degrees):
    """Eyes level: the crop is the upright one's again, but for the few degrees by which two measured rolls differ."""
    picture = read_image(PHOTOS / "astronaut.png")
    crops, answers = {}, {}
    for alignment in ("none", EYES_LEVEL):
        monkeypatch.setattr(default._emotion, "card", replace(default.card, alignment=alignment))
        both = [(image, default.detect(image)) for image in (picture, turned(picture, degrees))]
        assert [len(faces) for _, faces in both] == [1, 1]
        crops[alignment] = [default.crops(image, faces, 48)[0].astype(int) for image, faces in both]
        answers[alignment] = [default(image) for image, _ in both]
    change = {name: np.abs(upright - other).mean() for name, (upright, other) in crops.items()}
    assert change[EYES_LEVEL] < 0.7 * change["none"]  # the boxes differ a little too
    upright, other = answers[EYES_LEVEL]
    assert upright.top()[0] == other.top()[0] == ["happy"]
    np.testing.assert_allclose(other.emotion, upright.emotion, atol=0.1)


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("longer", [160, 320, 640, 2000, 4000])
@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg", "two_faces.jpg"])
def test_a_photo_of_any_size_has_the_same_faces(default, name, longer):
    """As many, at the same places (BlazeFace likes the astronaut's collar at 2000); a broad smile is happy at each."""
    picture = read_image(PHOTOS / name)
    scale = longer / max(picture.shape[:2])
    width, height = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    expected, faces = default(picture), default(cv2.resize(picture, (width, height), interpolation=how))
    assert len(faces) == len(expected)
    side = np.diff(expected.xyxy.reshape(-1, 2, 2), axis=1).max()
    np.testing.assert_allclose(faces.xyxy / scale, expected.xyxy, atol=0.2 * side)
    answers = list(zip(*(found.top()[0] for found in (expected, faces)), strict=True))
    assert [pair for pair in answers if "happy" in pair] == [("happy", "happy")] * (name != "grace_hopper.jpg")


def test_quick_runtime_is_for_models_that_lose_nothing_by_it():
    measured = json.loads((ROOT / "results" / "02_benchmark" / "metrics.json").read_text())["precision"]
    for name in BFLOAT16_MODELS:
        full, half = (measured[name][precision]["accuracy"] for precision in ("float32", "bfloat16"))
        assert all(full[head] - half[head] < MOST_LOST for head in full), name


def test_quick_recogniser_says_nearly_the_same(photo):
    exact, quick = Recognizer(va=True)(photo), Recognizer(va=True, runtime="quick")(photo)
    assert (exact.xyxy == quick.xyxy).all()
    # bfloat16 has 8 bits: some hundredths at most, on a face of which the model is sure
    assert np.abs(exact.emotion - quick.emotion).max() < 0.03 and np.abs(exact.va - quick.va).max() < 0.05
