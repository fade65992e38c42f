"""CNNs from scratch: their exact sizes, layers and answers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fer_lib import models
from fer_lib.faces import FER2013_EMOTIONS
from fer_lib.vggface import trainable_parameters

BUILDERS = (models.small_cnn, models.emotion_cnn, models.large_cnn, models.resnet_cnn)
PARAMETERS = {  # those of the small and the large one as the ancestor's own page has them
    "small_cnn": 2_863_495,
    "large_cnn": 4_474_759,
    "emotion_cnn": 5_869_767,
    "resnet_cnn": 7_728_231,
}


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)


def filters(network: keras.Model) -> list[int]:
    return [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.fixture(scope="module", params=BUILDERS, ids=lambda build: build.__name__)
def network(request) -> keras.Model:
    keras.utils.set_random_seed(0)
    return request.param()


def test_answers_are_probabilities_of_the_seven_classes(network):
    outputs = network.predict(pictures(3), verbose=0)
    assert list(outputs) == ["fer2013"] and outputs["fer2013"].shape == (3, len(FER2013_EMOTIONS))
    np.testing.assert_allclose(outputs["fer2013"].sum(axis=1), 1, rtol=1e-5)


def test_sizes_are_exact(network):
    assert trainable_parameters(network) == PARAMETERS[network.name]
    wide = next(build for build in BUILDERS if build.__name__ == network.name)(classes=9)
    assert wide.output["fer2013"].shape == (None, 9)


SHORT = {"Conv2D": "C", "BatchNormalization": "B", "Activation": "A", "MaxPooling2D": "M", "Dropout": "D", "Dense": "F"}


def order(network: keras.Model) -> str:
    """The layers from the first convolution on, a letter each; "/" where the picture is flattened."""
    kinds = [type(layer).__name__ for layer in network.layers]
    return "".join("/" if kind == "Flatten" else SHORT.get(kind, "") for kind in kinds[kinds.index("Conv2D") :])


def test_the_ancestors_layers():
    assert filters(models.small_cnn()) == [64, 128, 256] and order(models.small_cnn()) == "CBAM" * 3 + "/FBAF"
    large, pairs = models.large_cnn(), models.emotion_cnn()
    assert filters(large) == [64, 128, 512, 512] and order(large) == "CBAMD" * 4 + "/" + "FBAD" * 2 + "F"
    assert filters(pairs) == [64, 64, 128, 128, 256, 256] and order(pairs) == "CBACBAMD" * 3 + "/FBADF"
    for network, rates in ((large, [0.1] * 4 + [0.2] * 2), (pairs, [0.1] * 3 + [0.2])):
        assert [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == rates
    for network in (models.small_cnn(), large, pairs):
        activations = [layer.activation for layer in network.layers if isinstance(layer, keras.layers.Activation)]
        assert set(activations) == {keras.activations.relu}


def test_a_residual_network_begins_shallow():
    """Each block's last batch norm starts at zero: whatever its convolutions hold, the answer is the same."""
    keras.utils.set_random_seed(0)
    network = models.resnet_cnn(width=8)
    before = network.predict(pictures(2), verbose=0)["fer2013"]
    inner = [layer for layer in network.layers if layer.name.endswith(("_a", "_b"))]
    assert len(inner) == 16
    for layer in inner:
        layer.set_weights([weight + 1 for weight in layer.get_weights()])
    np.testing.assert_array_equal(network.predict(pictures(2), verbose=0)["fer2013"], before)
