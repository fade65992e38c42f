"""Training: augmentation, mixup, repeatable batches, a fit that resumes to the same weights, averages."""

import keras
import numpy as np
import pytest

from fer_lib import train
from fer_lib.errors import InputError
from fer_lib.metrics import ccc
from fer_lib.train import Batches, Rows, augment, ccc_loss, fit, mix

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


class Drawn:
    """A random generator that draws what it is told."""

    def __init__(self, share, order):
        self.share, self.order = share, order

    def beta(self, a, b):
        assert a == b == 0.4
        return self.share

    def permutation(self, n):
        return np.array(self.order)


@pytest.mark.parametrize("share", [0.25, 0.75])  # a row stays mostly itself either way
def test_mixup_by_hand(share):
    """Three quarters of a row and one quarter of the next, pictures and both heads alike."""
    images = np.array([0, 100, 203], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    targets = {"a": np.eye(3, dtype=np.float32), "b": np.array([[0.5, 0.5], [1, 0], [0, 1]], np.float32)}
    mixed, both = mix(images, targets, 0.4, Drawn(share, [1, 2, 0]))
    assert mixed.dtype == np.uint8 and mixed.shape == images.shape
    assert mixed[:, 0, 0].tolist() == [[25] * 3, [126] * 3, [152] * 3] and (mixed == mixed[:, :1, :1, :1]).all()
    assert both["a"].tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    assert both["b"].tolist() == [[0.625, 0.375], [0.75, 0.25], [0.125, 0.875]]
    assert images[0].max() == 0 and targets["a"][0, 1] == 0, "what was given is left alone"


def test_mixed_targets_are_distributions():
    rng, eye = np.random.default_rng(0), np.eye(6, dtype=np.float32)
    drawn = [mix(np.zeros((6, 4, 4, 3), np.uint8), {"head": eye}, 0.3, rng)[1]["head"] for _ in range(50)]
    for target in drawn:
        assert target.dtype == np.float32 and (target.diagonal() >= 0.5).all() and target.min() >= 0
        np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-6)
    shares = {float(target.diagonal().min()) for target in drawn}  # below 1 unless nothing was exchanged
    assert len(shares) > 40 and min(shares) < 0.7


def test_half_of_the_batches_are_mixed():
    """Of 100 batches; each row its own class, so that a mixed one shows. The other half is what it is without mixup."""
    targets = {"head": np.eye(40, dtype=np.float32)}
    mixed, same, plain = (Batches(PICTURES, targets, 16, 8, 1, mixup=alpha) for alpha in (1.0, 1.0, 0.0))
    count = 0
    for epoch in range(20):
        for batch in (mixed, same, plain):
            batch.start(epoch)
        for i in range(len(mixed)):
            images, wanted = mixed[i]
            assert (images == same[i][0]).all() and (wanted["head"] == same[i][1]["head"]).all()
            assert set(np.unique(plain[i][1]["head"])) == {0, 1}
            if (wanted["head"] == plain[i][1]["head"]).all():
                assert (images == plain[i][0]).all()
            else:
                count += 1
    assert 35 <= count <= 65  # three standard deviations of 100 throws


def test_mixed_pictures_have_no_weights():
    with pytest.raises(ValueError, match="mixup or weights"):
        Batches(PICTURES, LABELS, 16, 8, 1, weights={"head": np.ones(40)}, mixup=0.2)


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


def test_rows_repeat_by_seed_and_epoch():
    """Every row at most once an epoch, with its own target; the ragged rest, another one each time, is left out."""
    inputs = np.arange(43, dtype=np.float32)[:, None]
    first, same, other = (Rows(inputs, -inputs, 8, seed) for seed in (1, 1, 2))
    orders = []
    for _ in range(2):
        batches_of = [[rows[i] for i in range(len(rows))] for rows in (first, same)]
        assert len(first) == 5 and all(x.shape == (8, 1) and (y == -x).all() for x, y in batches_of[0])
        orders += [np.concatenate([x[:, 0] for x, _ in own]).tolist() for own in batches_of]
        first.on_epoch_end()
        same.start(epoch=first.epoch)
    assert orders[0] == orders[1] and orders[2] == orders[3] and orders[0] != orders[2]
    assert all(len(set(order)) == 40 for order in orders) and set(orders[0]) != set(orders[2])
    assert (other[0][0] != Rows(inputs, -inputs, 8, 1)[0][0]).any()
    assert len(Rows(inputs[:3], inputs[:3], 8, 1)) == 1 and len(Rows(inputs[:3], inputs[:3], 8, 1)[0][0]) == 3


def head():
    """A small regressor, trained for concordance; its dropout draws from keras's own seed."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
    model.compile(keras.optimizers.AdamW(1e-2, use_ema=True, ema_momentum=0.9), ccc_loss, jit_compile=False)
    return model


def features() -> Rows:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(43, 5)).astype(np.float32)
    return Rows(inputs, inputs[:, :2] ** 2, 8, 1)


def test_rows_resumed_ends_at_the_same_weights(tmp_path):
    whole, stopped, resumed = head(), head(), head()
    history = fit(whole, features(), 3, tmp_path / "whole", scored([0.1, 0.2, 0.3]), {})
    fit(stopped, features(), 1, tmp_path / "parts", scored([0.1]), {})
    again = fit(resumed, features(), 3, tmp_path / "parts", scored([0.2, 0.3]), {})
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in history], rel=1e-5)
    assert history[2]["loss"] < history[0]["loss"]
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # threads may add in another order


# ------------------------------------------------------------------------------------------------ concordance


def test_ccc_loss_is_one_less_the_mean_concordance():
    """Columns weigh alike, whatever their spread."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 2)) * [1, 0.01]
    predicted = truth * [0.5, 2] + rng.normal(size=(50, 2)) * [0.3, 0.02] + [0.2, 0]
    both = [ccc(truth[:, i], predicted[:, i]) for i in range(2)]
    assert 0.1 < both[1] < both[0] - 0.1  # each column counts
    # 1e-8 beside a spread of 1e-3, and float32
    assert float(ccc_loss(truth, predicted)) == pytest.approx(1 - np.mean(both), abs=1e-4)
    assert float(ccc_loss(truth, truth)) == pytest.approx(0, abs=1e-4)
    assert float(ccc_loss(truth[:, :1], -truth[:, :1])) > 1.9  # a mean near 0


def test_ccc_loss_of_constants_is_finite():
    """So are its gradients: a head that answers one number can learn, and one with equal labels is not broken."""
    import tensorflow as tf

    varied = np.random.default_rng(0).normal(size=(8, 2))
    for truth, predicted in ((varied, np.ones((8, 2))), (np.ones((8, 2)), varied), (np.ones((8, 2)), np.ones((8, 2)))):
        answer = tf.Variable(predicted.astype(np.float32))
        with tf.GradientTape() as tape:
            loss = ccc_loss(truth, answer)
        assert float(loss) == pytest.approx(1, abs=1e-6)
        assert np.isfinite(tape.gradient(loss, answer)).all()


@pytest.fixture(scope="module")
def averages() -> list[list[np.ndarray]]:
    """By hand, after each of three epochs: of the weights w of every step, m := (m + 3 w) / 4, from m = w at the first.

    Trained by keras alone, so that the weights that train must be the plain ones, not the averages.
    """
    mean, after = [], []

    class Mean(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            now = self.model.get_weights()
            mean[:] = [(m + 3 * w) / 4 for m, w in zip(mean or now, now, strict=True)]

        def on_epoch_end(self, epoch, logs=None):
            after.append(list(mean))

    network().fit(batches(), epochs=3, callbacks=[Mean()], shuffle=False, verbose=0)
    return after


def averaging(scaled: bool):
    """network() with an optimiser that averages; scaled: inside the one that keras puts around it for mixed_float16."""
    model = network()
    optimizer = keras.optimizers.AdamW(1e-3, use_ema=True, ema_momentum=0.25)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    model.compile(optimizer, {"head": "categorical_crossentropy"}, jit_compile=False)
    return model


def assert_equal(weights, expected):
    for a, b in zip(weights, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)  # a step moves a weight by about 1e-3


@pytest.mark.parametrize("scaled", [False, True])
def test_the_average_is_scored_and_kept(tmp_path, averages, scaled):
    """In a whole run, the second epoch the best; and in one that is interrupted after it, the third the best."""
    seen = []

    def score(values):
        handed = scored(values)
        return lambda model: seen.append(model.get_weights()) or handed(model)

    whole = averaging(scaled)
    fit(whole, batches(), 3, tmp_path / "whole", score([0.1, 0.3, 0.2]), {})
    assert_equal(whole.get_weights(), averages[1])
    stopped, resumed = averaging(scaled), averaging(scaled)
    fit(stopped, batches(), 2, tmp_path / "parts", score([0.1, 0.2]), {})
    assert_equal(stopped.get_weights(), averages[1])
    fit(resumed, batches(), 3, tmp_path / "parts", score([0.3]), {})
    assert_equal(resumed.get_weights(), averages[2])
    assert len(seen) == 6
    for weights, expected in zip(seen, averages + averages, strict=True):
        assert_equal(weights, expected)


def test_a_long_epoch_tells_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "TELL_EVERY", -1)  # after every batch
    fit(network(), batches(), 1, tmp_path, scored([0.9]), {})
    told = capsys.readouterr().out.splitlines()
    assert [line.split(", loss")[0] for line in told[:-1]] == [
        f"epoch 1: {i} of {len(batches())} batches" for i in range(1, len(batches()) + 1)
    ]
    assert told[-1].startswith("epoch 1  seconds")


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


def test_scaled_logits_are_apply_temperatures():
    """Of one head only; the other one keeps its answers."""
    from fer_lib.metrics import apply_temperature
    from fer_lib.models import scale_logits, two_heads

    keras.utils.set_random_seed(0)
    features = keras.Input((5,))
    model = keras.Model(features, two_heads(features, 0.0))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])  # biases too
    rows = rng.normal(size=(6, 5)).astype(np.float32)
    before = {head: np.asarray(p) for head, p in model(rows).items()}
    scale_logits(model, {"emotion": 2.5})
    after = {head: np.asarray(p) for head, p in model(rows).items()}
    np.testing.assert_allclose(after["emotion"], apply_temperature(before["emotion"], 2.5), atol=1e-6)
    assert np.abs(after["emotion"] - before["emotion"]).max() > 0.05
    np.testing.assert_array_equal(after["fer2013"], before["fer2013"])
