"""Network builders: each is a function that returns an uncompiled keras.Model.

Every model takes raw RGB uint8 pictures (0-255); scaling, grey conversion and resizing are its first layers, so that no
caller can forget them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from fer_lib.faces import AGES, EMOTIONS, FER2013_EMOTIONS

FACENET_REPEATS = (5, 10, 5)  # of block35, block17 and block8, as released
CNN_SIZE = 48  # pixels: FER2013's own size
MOBILENET_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)  # (filters, stride)
BGR_MEAN = (103.939, 116.779, 123.68)  # ImageNet's, which MobileNet's input is centred by


@keras.saving.register_keras_serializable("fer_lib")
class FusedBatchNorm(layers.BatchNormalization):
    """Batch norm whose training step is TensorFlow's one fused operation; Keras 3 takes several passes instead.

    The same numbers but for rounding. On two CPU cores ResNet-50 trains a sixth to a third faster with it. Only for
    Keras on TensorFlow.
    """

    def call(self, inputs, training=None, mask=None):
        if not training or not self.trainable or len(inputs.shape) != 4:  # behind a dense layer there are no positions
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        scale, offset = (ops.cast(weight, "float32") for weight in (self.gamma, self.beta))
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        positions = tf.cast(tf.size(inputs) / tf.size(scale), "float32")
        biased = outputs.batch_variance * (positions - 1) / positions  # as Keras counts; TensorFlow divides by n - 1
        for moving, batch in ((self.moving_mean, outputs.batch_mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs.y


def to_grey(pixels, size: int):
    """Raw RGB (N, S, S, 3) to grey (N, size, size, 1) in 0-255, float32.

    Rec. 601 luma, as cv2.COLOR_RGB2GRAY: the training pictures (FER2013) are grey, so colour is taken out of every
    input alike.
    """
    pixels = ops.cast(pixels, "float32")
    grey = 0.299 * pixels[..., 0:1] + 0.587 * pixels[..., 1:2] + 0.114 * pixels[..., 2:3]
    if grey.shape[1] != size:
        grey = ops.image.resize(grey, (size, size), interpolation="bilinear")
    return grey


def grey_preprocessing(pixels, size: int):
    """Raw RGB (N, S, S, 3) to grey (N, size, size, 3) in [-1, 1), three equal planes, float32.

    (x - 127.5) / 128 is FaceNet's own scaling.
    """
    grey = (to_grey(pixels, size) - 127.5) / 128.0
    return ops.concatenate([grey, grey, grey], axis=-1)


def _conv(x, filters: int, kernel, name: str, strides: int = 1, padding: str = "same", activation="relu"):
    return layers.Conv2D(filters, kernel, strides, padding, activation=activation, name=name)(x)


def _inception_residual(x, branches, channels: int, scale: float, name: str, activation="relu"):
    """x + scale * conv(concat(branches)), one Inception-ResNet block; branches: chains of (filters, kernel, name)."""
    outputs = []
    for chain in branches:
        y = x
        for filters, kernel, layer in chain:
            y = _conv(y, filters, kernel, f"{name}_{layer}")
        outputs.append(y)
    y = layers.Concatenate(name=f"{name}_concat")(outputs)
    y = _conv(y, channels, 1, f"{name}_Conv2d_1x1", activation=None)
    y = layers.Rescaling(scale, name=f"{name}_scale")(y)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation(activation, name=f"{name}_out")(y) if activation else y


def inception_resnet_v1(x, repeats: tuple[int, int, int] = FACENET_REPEATS):
    """FaceNet's trunk (Szegedy et al. 2016; Schroff et al. 2015) up to the 1792 average-pooled features.

    x: (N, S, S, 3) float in [-1, 1), S >= 75. repeats: how often its three residual blocks follow each other. The
    released graph's batch norms are folded into its convolutions, so there are none here: 21.8 M parameters in 132
    convolutions, named as in that graph with "_" for "/".
    Deviation: global average pooling for the fixed 3x3 window, so that any size works.
    """
    x = _conv(x, 32, 3, "Conv2d_1a_3x3", 2, "valid")
    x = _conv(x, 32, 3, "Conv2d_2a_3x3", 1, "valid")
    x = _conv(x, 64, 3, "Conv2d_2b_3x3")
    x = layers.MaxPooling2D(3, 2, name="MaxPool_3a_3x3")(x)
    x = _conv(x, 80, 1, "Conv2d_3b_1x1", 1, "valid")
    x = _conv(x, 192, 3, "Conv2d_4a_3x3", 1, "valid")
    x = _conv(x, 256, 3, "Conv2d_4b_3x3", 2, "valid")

    block35 = (
        [(32, 1, "Branch_0_Conv2d_1x1")],
        [(32, 1, "Branch_1_Conv2d_0a_1x1"), (32, 3, "Branch_1_Conv2d_0b_3x3")],
        [(32, 1, "Branch_2_Conv2d_0a_1x1"), (32, 3, "Branch_2_Conv2d_0b_3x3"), (32, 3, "Branch_2_Conv2d_0c_3x3")],
    )
    for i in range(1, repeats[0] + 1):
        x = _inception_residual(x, block35, 256, 0.17, f"Repeat_block35_{i}")

    a = _conv(x, 384, 3, "Mixed_6a_Branch_0_Conv2d_1a_3x3", 2, "valid")
    b = _conv(x, 192, 1, "Mixed_6a_Branch_1_Conv2d_0a_1x1")
    b = _conv(b, 192, 3, "Mixed_6a_Branch_1_Conv2d_0b_3x3")
    b = _conv(b, 256, 3, "Mixed_6a_Branch_1_Conv2d_1a_3x3", 2, "valid")
    c = layers.MaxPooling2D(3, 2, name="Mixed_6a_Branch_2_MaxPool_1a_3x3")(x)
    x = layers.Concatenate(name="Mixed_6a_concat")([a, b, c])

    block17 = (
        [(128, 1, "Branch_0_Conv2d_1x1")],
        [
            (128, 1, "Branch_1_Conv2d_0a_1x1"),
            (128, (1, 7), "Branch_1_Conv2d_0b_1x7"),
            (128, (7, 1), "Branch_1_Conv2d_0c_7x1"),
        ],
    )
    for i in range(1, repeats[1] + 1):
        x = _inception_residual(x, block17, 896, 0.1, f"Repeat_1_block17_{i}")

    a = _conv(x, 256, 1, "Mixed_7a_Branch_0_Conv2d_0a_1x1")
    a = _conv(a, 384, 3, "Mixed_7a_Branch_0_Conv2d_1a_3x3", 2, "valid")
    b = _conv(x, 256, 1, "Mixed_7a_Branch_1_Conv2d_0a_1x1")
    b = _conv(b, 256, 3, "Mixed_7a_Branch_1_Conv2d_1a_3x3", 2, "valid")
    c = _conv(x, 256, 1, "Mixed_7a_Branch_2_Conv2d_0a_1x1")
    c = _conv(c, 256, 3, "Mixed_7a_Branch_2_Conv2d_0b_3x3")
    c = _conv(c, 256, 3, "Mixed_7a_Branch_2_Conv2d_1a_3x3", 2, "valid")
    d = layers.MaxPooling2D(3, 2, name="Mixed_7a_Branch_3_MaxPool_1a_3x3")(x)
    x = layers.Concatenate(name="Mixed_7a_concat")([a, b, c, d])

    block8 = (
        [(192, 1, "Branch_0_Conv2d_1x1")],
        [
            (192, 1, "Branch_1_Conv2d_0a_1x1"),
            (192, (1, 3), "Branch_1_Conv2d_0b_1x3"),
            (192, (3, 1), "Branch_1_Conv2d_0c_3x1"),
        ],
    )
    for i in range(1, repeats[2] + 1):
        x = _inception_residual(x, block8, 1792, 0.2, f"Repeat_2_block8_{i}")
    x = _inception_residual(x, block8, 1792, 1.0, "Block8", activation=None)
    return layers.GlobalAveragePooling2D(name="features")(x)


def two_heads(features, dropout: float):
    """The emotion head (nine classes, FER+ votes) and the fer2013 head (seven, the original labels), float32."""
    x = layers.Dropout(dropout, name="dropout")(features)
    return {
        "emotion": layers.Dense(len(EMOTIONS), "softmax", dtype="float32", name="emotion")(x),
        "fer2013": layers.Dense(len(FER2013_EMOTIONS), "softmax", dtype="float32", name="fer2013")(x),
    }


def va_head(features, dropout: float = 0.25):
    """Valence and arousal from a trunk's features: Dense 512, Dropout, Dense 2, linear, float32; meant for [-1, 1]."""
    x = layers.Dense(512, "relu", name="va_dense")(features)
    x = layers.Dropout(dropout, name="va_dropout")(x)
    return layers.Dense(2, dtype="float32", name="va")(x)


def add_va_head(model: keras.Model, dropout: float = 0.25) -> keras.Model:
    """The model with one output more, "va", on its layer "features"; one that is there already is replaced.

    The trunk is shared, so that one forward pass gives all; the other outputs stay what they are.
    """
    va = va_head(model.get_layer("features").output, dropout)
    return keras.Model(model.input, {**model.output, "va": va}, name=model.name)


def units_network(model: keras.Model, units: int) -> keras.Model:
    """The action units' model: a classifier's trunk under one linear layer, "au_intensity", cut to OpenFace's 0 to 5.

    Input as the classifier's; output {"au": (N, units)} float32. The trunk is shared with the classifier.
    """
    linear = layers.Dense(units, dtype="float32", name="au_intensity")(model.get_layer("features").output)
    intensity = layers.ReLU(5.0, dtype="float32", name="au")(linear)
    return keras.Model(model.input, {"au": intensity}, name="action_units")


def age_head(features, dropout: float = 0.5):
    """An age in years, (N, 1) float32, from a trunk's features: the median of a softmax over AGES.

    The softmax is the layer "age_distribution", which is what is trained. The median, and not the mean, since it errs
    least in years; an age of n fills n - 0.5 to n + 0.5, so that it is no whole number.
    """
    x = layers.BatchNormalization(name="age_norm")(features)
    x = layers.Dropout(dropout / 2, name="age_dropout_1")(x)
    x = layers.Dense(512, "relu", name="age_dense")(x)
    x = layers.Dropout(dropout, name="age_dropout_2")(x)
    share = layers.Dense(len(AGES), "softmax", dtype="float32", name="age_distribution")(x)
    below = ops.cumsum(share, axis=-1) - share
    return AGES[0] - 0.5 + ops.sum(ops.clip((0.5 - below) / (share + 1e-9), 0, 1), axis=-1, keepdims=True)


def age_network(size: int, blocks=MOBILENET_BLOCKS) -> keras.Model:
    """The age model: MobileNetV1 under age_head. (N, size, size, 3) uint8 RGB to {"age": (N, 1) years}."""
    pixels = keras.Input((size, size, 3), dtype="uint8", name="pixels")
    centred = ops.cast(pixels, "float32")[..., ::-1] - np.array(BGR_MEAN, "float32")
    return keras.Model(pixels, {"age": age_head(mobilenet_v1(centred, blocks))}, name="age")


def scale_logits(model: keras.Model, temperatures: dict[str, float]) -> None:
    """Divide the logits of softmax heads by their temperatures, in place: {layer name: temperature} (Guo et al. 2017).

    The probabilities become metrics.apply_temperature's, and no answer changes.
    """
    for name, temperature in temperatures.items():
        layer = model.get_layer(name)
        layer.set_weights([values / temperature for values in layer.get_weights()])


def facenet(
    input_size: int = 48,
    trunk_size: int = 112,
    dropout: float = 0.4,
    repeats: tuple[int, int, int] = FACENET_REPEATS,
) -> keras.Model:
    """The default emotion model: FaceNet's trunk under two softmax heads.

    Input (N, input_size, input_size, 3) uint8 RGB; output {"emotion": (N, 9), "fer2013": (N, 7)} float32.
    The trunk always sees trunk_size pixels: 48-pixel input (FER2013's own size) is enlarged inside the model.
    Fewer repeats make the small network of tests and demo runs, which FaceNet's weights do not fit.
    """
    pixels = keras.Input((input_size, input_size, 3), dtype="uint8", name="pixels")
    features = inception_resnet_v1(grey_preprocessing(pixels, trunk_size), repeats)
    return keras.Model(pixels, two_heads(features, dropout), name="facenet")


def _norm_relu(x, name: str, norm):
    x = norm(name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _cnn(name: str, classes: int, norm, convolutions, dense, pair: int = 1, dropout: float = 0.0) -> keras.Model:
    """Convolution, batch norm, ReLU, a 2x2 maximum after every `pair` of them, then dense layers and a softmax.

    convolutions: (filters, kernel) in order; dense: widths. dropout follows each maximum, half of it, and each dense
    layer.
    """
    pixels = keras.Input((CNN_SIZE, CNN_SIZE, 3), dtype="uint8", name="pixels")
    x = to_grey(pixels, CNN_SIZE) / 127.5 - 1
    for i, (filters, kernel) in enumerate(convolutions, start=1):
        x = layers.Conv2D(filters, kernel, padding="same", name=f"conv{i}")(x)
        x = _norm_relu(x, f"conv{i}", norm)
        if i % pair == 0:
            x = layers.MaxPooling2D(2, name=f"pool{i // pair}")(x)
            x = layers.Dropout(dropout / 2, name=f"pool{i // pair}_dropout")(x) if dropout else x
    x = layers.Flatten(name="flat")(x)
    for i, width in enumerate(dense, start=1):
        x = _norm_relu(layers.Dense(width, name=f"dense{i}")(x), f"dense{i}", norm)
        x = layers.Dropout(dropout, name=f"dense{i}_dropout")(x) if dropout else x
    return _answer(pixels, x, classes, name)


def _answer(pixels, features, classes: int, name: str) -> keras.Model:
    answer = layers.Dense(classes, "softmax", dtype="float32", name="fer2013")(features)
    return keras.Model(pixels, {"fer2013": answer}, name=name)


def small_cnn(
    classes: int = len(FER2013_EMOTIONS), norm: type[layers.Layer] = layers.BatchNormalization
) -> keras.Model:
    """The small ancestor CNN: three convolutions, one dense layer; 2,863,495 trainable parameters for 7 classes.

    As all CNNs here, input (N, 48, 48, 3) uint8 RGB, of which grey is taken; output {"fer2013": (N, classes)} float32.
    norm: what serves as batch norm; FusedBatchNorm for training.
    """
    return _cnn("small_cnn", classes, norm, ((64, 3), (128, 5), (256, 3)), (256,))


def large_cnn(
    classes: int = len(FER2013_EMOTIONS), norm: type[layers.Layer] = layers.BatchNormalization
) -> keras.Model:
    """The large ancestor CNN: four convolutions, two dense layers; 4,474,759 trainable parameters for 7 classes.

    The rates of its dropout, which the ancestor does not tell, are ours. Input and output as small_cnn's.
    """
    return _cnn("large_cnn", classes, norm, ((64, 3), (128, 5), (512, 3), (512, 3)), (256, 512), dropout=0.2)


def emotion_cnn(
    classes: int = len(FER2013_EMOTIONS), norm: type[layers.Layer] = layers.BatchNormalization
) -> keras.Model:
    """The ancestor's EmotionCNN: three pairs of 3x3 convolutions, 64, 128, 256, and one dense layer.

    The dense layer's width, 512, and the rates of the dropout are ours. Input and output as small_cnn's.
    """
    pairs = tuple((filters, 3) for filters in (64, 64, 128, 128, 256, 256))
    return _cnn("emotion_cnn", classes, norm, pairs, (512,), pair=2, dropout=0.2)


def resnet_cnn(
    classes: int = len(FER2013_EMOTIONS), norm: type[layers.Layer] = layers.BatchNormalization, width: int = 64
) -> keras.Model:
    """A residual network for 48-pixel faces (after He et al. 2016, ResNet-18): our best from random weights.

    A 3x3 stem at full size and no maximum after it, as such small pictures want; four stages of two blocks, each at
    half the side of the one before; each block's last batch norm starts at zero, so that the network begins shallow
    (Goyal et al. 2017); a block's shortcut averages where it halves (He et al. 2019, ResNet-D). Input and output as
    small_cnn's.
    """
    pixels = keras.Input((CNN_SIZE, CNN_SIZE, 3), dtype="uint8", name="pixels")
    x = _conv_norm(to_grey(pixels, CNN_SIZE) / 127.5 - 1, width // 2, 1, "stem", norm)
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage, filters in enumerate((width, 2 * width, 4 * width, 6 * width), start=1):
        x = _residual(x, filters, 2, f"stage{stage}_1", norm)
        x = _residual(x, filters, 1, f"stage{stage}_2", norm)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return _answer(pixels, layers.Dropout(0.3, name="dropout")(x), classes, "resnet_cnn")


def _conv_norm(x, filters: int, strides: int, name: str, norm, kernel: int = 3, scale: str = "ones"):
    x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False, name=name)(x)
    return norm(gamma_initializer=scale, name=f"{name}_bn")(x)


def _residual(x, filters: int, strides: int, name: str, norm):
    y = layers.Activation("relu", name=f"{name}_a_relu")(_conv_norm(x, filters, strides, f"{name}_a", norm))
    y = _conv_norm(y, filters, 1, f"{name}_b", norm, scale="zeros")
    if strides > 1:  # a mean, since a stride would drop three of four pixels
        x = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
        x = _conv_norm(x, filters, 1, f"{name}_proj", norm, kernel=1)
    return layers.Activation("relu", name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def mobilenet_v1(x, blocks=MOBILENET_BLOCKS):
    """MobileNetV1's trunk (Howard et al. 2017) up to the average-pooled features, 1024 of them, layer "features".

    x: (N, S, S, 3) float, BGR minus (103.939, 116.779, 123.68). blocks: (filters, stride) of the separable
    convolutions; fewer make the small network of tests and demo runs. Batch norms are folded into the convolutions, as
    in the released graph that load_faceres reads: 3.2 M parameters.
    """
    x = layers.Conv2D(32, 3, 2, "same", activation="relu6", name="conv1")(x)
    for i, (filters, stride) in enumerate(blocks, start=1):
        x = layers.DepthwiseConv2D(3, stride, "same", activation="relu6", name=f"conv_dw_{i}")(x)
        x = layers.Conv2D(filters, 1, activation="relu6", name=f"conv_pw_{i}")(x)
    return layers.GlobalAveragePooling2D(name="features")(x)


def load_faceres(model: keras.Model, manifest) -> int:
    """Copy the convolutions of faceres-deep (a TensorFlow.js graph) into a model built on mobilenet_v1.

    manifest: path of faceres-deep.json, faceres-deep.bin beside it. Its own heads for age and gender have no place
    here. ValueError when a layer of the trunk finds no weights, or weights of a convolution no layer. Returns the
    number of layers filled (27).
    """
    manifest = Path(manifest)
    (group,) = json.loads(manifest.read_text())["weightsManifest"]
    content = b"".join((manifest.parent / name).read_bytes() for name in group["paths"])
    arrays, start = {}, 0
    for entry in group["weights"]:
        values = np.frombuffer(content, entry["dtype"], math.prod(entry["shape"]), start)
        arrays[entry["name"]] = values.reshape(entry["shape"])
        start += values.nbytes
    if start != len(content):
        raise ValueError(f"{manifest} describes {start} bytes, its weights are {len(content)}")
    trunk = {layer.name: layer for layer in model.layers if layer.name.startswith("conv") and layer.weights}
    released = {name.split("/")[0] for name in arrays if "kernel" in name or "merged_input" in name}
    released &= {name.split("_bn/")[0] for name in arrays if name.endswith("_bn/batchnorm_1/sub")}
    unmatched = set(trunk) ^ {name for name in released if name.startswith("conv")}
    if unmatched:
        raise ValueError(f"graph and trunk differ in {len(unmatched)} layers: {', '.join(sorted(unmatched)[:5])}")
    for name, layer in trunk.items():
        offset = arrays[f"{name}_bn/batchnorm_1/sub"]
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel = arrays[f"{name}/depthwise_kernel"] * arrays[f"{name}_bn/batchnorm_1/mul"][:, None]
        else:
            kernel = arrays[f"{name}/convolution/merged_input"]
        layer.set_weights([kernel, offset])
    return len(trunk)


def load_facenet_graph(model: keras.Model, graph) -> int:
    """Copy the convolutions of a frozen FaceNet graph (a TensorFlow .pb) into a model built on inception_resnet_v1.

    Every convolution of the graph must find its layer and every layer of the trunk its convolution: ValueError
    otherwise. The graph's 512-d identity bottleneck has no place here. Returns the number of layers filled (132).
    """
    import tensorflow as tf  # only this reader needs it, whatever backend Keras runs on
    from tensorflow.python.framework import tensor_util

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(graph).read_bytes())
    constants = {node.name: node for node in definition.node if node.op == "Const"}
    root = "InceptionResnetV1/"
    convolutions = {
        node.name.removesuffix("/Conv2D").removeprefix(root): node for node in definition.node if node.op == "Conv2D"
    }
    biases = {node.input[0]: node.input[1] for node in definition.node if node.op == "BiasAdd"}
    trunk = {layer.name for layer in model.layers if isinstance(layer, layers.Conv2D)}
    names = {name: name.replace("/", "_") for name in convolutions}
    unmatched = trunk ^ set(names.values())
    if unmatched:
        raise ValueError(f"graph and trunk differ in {len(unmatched)} convolutions: {', '.join(sorted(unmatched)[:5])}")
    for source, target in names.items():
        node = convolutions[source]
        values = [
            tensor_util.MakeNdarray(constants[name].attr["value"].tensor) for name in (node.input[1], biases[node.name])
        ]
        model.get_layer(target).set_weights(values)
    return len(names)
