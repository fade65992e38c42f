"""Model folders: cards, verified files, the fast form held to Keras, and everything that can be wrong with them."""

import json
import shutil

import numpy as np
import pytest

from fer_lib.errors import InputError
from fer_lib.runtime import load_runtime
from fer_lib.weights import DEFAULT_MODEL, FAST_FILES, KERAS_FILE, checked_file, load_card, model_names


@pytest.fixture
def model(tiny_model, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "tiny")


def crops(n, size):
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_card_round_trip(model):
    card = load_card(str(model))
    assert card.labels == tuple(card.heads["emotion"]) and card.input_size == 16
    assert set(card.sha256) == {KERAS_FILE, *FAST_FILES}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fast_form_agrees_with_keras(tiny_model, n):
    """Float32 arithmetic in another order, float16 weights in both: 1e-4 of a probability is generous."""
    card = load_card(str(tiny_model))
    fast, reference = (load_runtime(card, kind)(crops(n, 16)) for kind in ("fast", "keras"))
    assert set(fast) == {"emotion", "fer2013"}
    for head in fast:
        np.testing.assert_allclose(fast[head], reference[head], atol=1e-4)
        np.testing.assert_allclose(fast[head].sum(axis=1), 1, atol=1e-5)


def test_the_shipped_default_agrees_with_keras():
    card = load_card(DEFAULT_MODEL)
    batch = crops(4, card.input_size)
    fast, reference = (load_runtime(card, kind)(batch) for kind in ("fast", "keras"))
    for head in card.heads:
        np.testing.assert_allclose(fast[head], reference[head], atol=1e-3)


def test_grey_and_colour_of_equal_luma_are_equal(tiny_model):
    """Preprocessing is inside the model: it takes colour out by Rec. 601."""
    classify = load_runtime(load_card(str(tiny_model)))
    colour = np.full((1, 16, 16, 3), (255, 0, 0), np.uint8)
    grey = np.full((1, 16, 16, 3), 76, np.uint8)  # 0.299 * 255 = 76.2
    np.testing.assert_allclose(classify(colour)["emotion"], classify(grey)["emotion"], atol=1e-3)


@pytest.mark.parametrize("kind", ["fast", "keras"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated or altered"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "truncated or altered"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "LFS"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_damaged_weights(model, kind, damage, message):
    damage(model / (KERAS_FILE if kind == "keras" else FAST_FILES[1]))
    with pytest.raises(InputError, match=message):
        load_runtime(load_card(str(model)), kind)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.pop("labels"),
        lambda card: card.update(surplus=1),
        lambda card: card.update(input_size="48"),
        lambda card: card.update(heads={}),
        lambda card: card.update(labels=["happy"]),
        lambda card: card.update(crop_margin=0.1),
    ],
)
def test_damaged_card(model, change):
    card = json.loads((model / "card.json").read_text())
    change(card)
    (model / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="damaged") as error:
        load_card(str(model))
    assert "\n" not in str(error.value)


def test_card_that_is_no_json(model):
    (model / "card.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_card(str(model))


def test_a_file_the_card_does_not_know(model):
    with pytest.raises(InputError, match="not listed"):
        checked_file(load_card(str(model)), "other.bin")


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match=DEFAULT_MODEL):
        load_card("no_such_model")
    with pytest.raises(InputError, match="fast, keras"):
        load_runtime(load_card(DEFAULT_MODEL), "tflite")
    assert DEFAULT_MODEL in model_names()


def test_first_use_exports_into_the_cache(model, tmp_path, monkeypatch):
    """A model that ships no fast form gets one, once; the model's own folder is left alone."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    expected = load_runtime(load_card(str(model)))(crops(2, 16))
    for name in FAST_FILES:
        (model / name).unlink()
    card = load_card(str(model))
    card.write(model)
    before = sorted(model.iterdir())
    card = load_card(str(model))
    got = load_runtime(card)(crops(2, 16))
    np.testing.assert_allclose(got["emotion"], expected["emotion"], atol=1e-4)
    made = next((tmp_path / "cache" / "exported").iterdir())
    stamp = (made / FAST_FILES[0]).stat().st_mtime_ns
    load_runtime(card)
    assert (made / FAST_FILES[0]).stat().st_mtime_ns == stamp and sorted(model.iterdir()) == before


def test_a_detector_the_model_was_not_framed_for(model):
    from fer_lib.recognize import Recognizer

    card = json.loads((model / "card.json").read_text())
    del card["crop_margin"]["haar"]
    (model / "card.json").write_text(json.dumps(card))
    Recognizer(str(model), "blazeface")
    with pytest.raises(InputError, match="blazeface, dnn"):
        Recognizer(str(model), "haar")


def test_more_faces_than_one_batch(model, monkeypatch):
    """Every face keeps its own row when a crowd is classified in parts."""
    from fer_lib import recognize

    image = crops(1, 64)[0]
    boxes = np.array([[x, y, x + 16, y + 16] for y in (0, 16, 32) for x in (0, 16, 32)], np.int32)
    recognise = recognize.Recognizer(str(model))
    found = recognize.Faces(boxes, np.ones(len(boxes), np.float32))
    recognise.detect = lambda image: found
    whole = recognise(image).emotion
    monkeypatch.setattr(recognize, "BATCH", 4)
    np.testing.assert_allclose(recognise(image).emotion, whole, atol=1e-6)
    assert len({row.tobytes() for row in whole}) == 9
