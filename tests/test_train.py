"""Training: augmentation, repeatable batches, a fit that resumes to the same weights, the best epoch kept."""

import keras
import numpy as np
import pytest

from fer_lib.errors import InputError
from fer_lib.train import Batches, augment, fit

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 12, 12), dtype=np.uint8)
LABELS = {"head": np.eye(2, dtype=np.float32)[np.arange(40) % 2]}


class Still:
    """A random generator that draws the middle of every range: augmentation by nothing but a flip or none."""

    def __init__(self, mirror):
        self.mirror = mirror

    def uniform(self, low, high, size=None):
        return (low + high) / 2 if size is None else np.full(size, (low + high) / 2)

    def choice(self, values):
        return self.mirror

    def random(self):
        return 1.0  # never erases


def test_augment_by_nothing_is_the_picture():
    assert (augment(PICTURES[0], 12, Still(1.0)) == PICTURES[0]).all()
    assert (augment(PICTURES[0], 12, Still(-1.0)) == PICTURES[0][:, ::-1]).all()


def test_augment_enlarges_like_resize():
    """Pixel centres line up: warping to twice the size is cv2's linear resize, but for rounding and the border."""
    import cv2

    smooth = cv2.GaussianBlur(PICTURES[0], (5, 5), 2)
    ours, theirs = augment(smooth, 24, Still(1.0)), cv2.resize(smooth, (24, 24))
    assert np.abs(ours.astype(int) - theirs)[1:-1, 1:-1].max() <= 2


def test_augment_varies_and_keeps_its_type():
    rng = np.random.default_rng(0)
    drawn = [augment(PICTURES[0], 20, rng) for _ in range(50)]
    assert all(d.shape == (20, 20) and d.dtype == np.uint8 for d in drawn)
    assert len({d.tobytes() for d in drawn}) == 50
    black = np.zeros((12, 12), np.uint8)
    assert max(augment(black, 20, rng).max() for _ in range(50)) > 25, "no patch was erased"


def test_batches_repeat_by_seed_and_epoch():
    first, same, other = (Batches(PICTURES, LABELS, 16, 8, seed) for seed in (1, 1, 2))
    assert len(first) == 5 and first[0][0].shape == (8, 16, 16, 3)
    assert (first[3][0] == same[3][0]).all() and not (first[3][0] == other[3][0]).all()
    first.on_epoch_end()
    same.start(epoch=1)
    assert (first[2][0] == same[2][0]).all() and (first[2][1]["head"] == same[2][1]["head"]).all()
    rows = np.concatenate([first.order[i * 8 : i * 8 + 8] for i in range(5)])
    assert sorted(rows) == list(range(40))


def network():
    keras.utils.set_random_seed(3)
    pixels = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, 2, activation="relu")(x))
    model = keras.Model(pixels, {"head": keras.layers.Dense(2, "softmax", name="head")(x)})
    model.compile(keras.optimizers.AdamW(1e-3), {"head": "categorical_crossentropy"}, jit_compile=False)
    return model


def scored(values):
    """A score function that hands out the given values, one an epoch."""
    left = list(values)
    return lambda model: {"score": left.pop(0)}


def batches():
    return Batches(PICTURES, LABELS, 16, 8, seed=1)


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    whole = network()
    history = fit(whole, batches(), 3, tmp_path / "whole", scored([0.1, 0.2, 0.3]), {})
    fit(network(), batches(), 2, tmp_path / "parts", scored([0.1, 0.2]), {})
    resumed = network()
    again = fit(resumed, batches(), 3, tmp_path / "parts", scored([0.3]), {})
    assert [row["score"] for row in again] == [row["score"] for row in history] == [0.1, 0.2, 0.3]
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # threads may add in another order


def test_the_best_epoch_is_kept(tmp_path):
    """Epoch 1 scores best; the weights after epoch 3 must not be what is left."""
    after_one, after_three = network(), network()
    fit(after_one, batches(), 1, tmp_path / "one", scored([0.9]), {})
    fit(after_three, batches(), 3, tmp_path / "three", scored([0.9, 0.5, 0.6]), {})
    for a, b in zip(after_one.get_weights(), after_three.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_finished_run_is_not_repeated(tmp_path):
    fit(network(), batches(), 1, tmp_path, scored([0.9]), {})
    assert len(fit(network(), batches(), 1, tmp_path, scored([]), {})) == 1


def test_another_runs_folder_is_refused(tmp_path):
    fit(network(), batches(), 1, tmp_path, scored([0.9]), {"rate": 0.1})
    with pytest.raises(InputError, match="other settings"):
        fit(network(), batches(), 1, tmp_path, scored([]), {"rate": 0.2})


def test_facenet_shape():
    """132 convolutions, as the released graph has, and two dense heads on 1792 features; nothing else has weights."""
    from fer_lib.models import facenet

    model = facenet(input_size=48, trunk_size=112)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 132
    assert model.count_params() == sum(layer.count_params() for layer in convolutions) + 1793 * (9 + 7)
    outputs = model(np.zeros((2, 48, 48, 3), np.uint8))
    assert outputs["emotion"].shape == (2, 9) and outputs["fer2013"].shape == (2, 7)


def test_facenet_refuses_another_graph(tmp_path):
    import tensorflow as tf

    from fer_lib.models import facenet, load_facenet_graph

    tf.io.write_graph(tf.Graph(), str(tmp_path), "empty.pb", as_text=False)
    with pytest.raises(ValueError, match="differ in 132 convolutions"):
        load_facenet_graph(facenet(), tmp_path / "empty.pb")
