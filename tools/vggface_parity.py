"""Run the original keras-vggface beside ours, and write the features that tests/test_vggface.py holds ours to.

    python3.11 -m venv parity && parity/bin/pip install -r requirements-parity.txt
    parity/bin/python tools/vggface_parity.py

Both networks are filled with the same seeded numbers, layer by layer. The original's own weight file is then read by
our converter, and the features must be the same again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SEED = 2018
SIZE = 224  # the only size the original's 7x7 pooling knows
PICTURES = 2
GOLDEN = ROOT / "tests" / "golden" / "vggface_resnet50.npz"
TOLERANCE = 1e-4  # of the largest feature: two builds of TensorFlow's convolutions add up in other orders


def pictures() -> np.ndarray:
    """(2, 224, 224, 3) uint8 seeded grey noise of coarse grain, three equal planes."""
    coarse = np.random.default_rng(SEED).integers(0, 256, (PICTURES, SIZE // 8, SIZE // 8), dtype=np.uint8)
    return np.repeat(coarse.repeat(8, axis=1).repeat(8, axis=2)[..., None], 3, axis=-1)


def seeded_weights(name: str, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Numbers for one layer, the same for the same name: a kernel as He et al. draw it, or the four of a batch norm."""
    rng = np.random.default_rng([SEED, *name.encode()])
    if len(shapes) == 1:
        (kernel,) = shapes
        return [(rng.standard_normal(kernel) * np.sqrt(2 / np.prod(kernel[:-1]))).astype(np.float32)]
    gamma, beta, mean, variance = shapes
    draws = (rng.uniform(0.5, 1, gamma), rng.normal(0, 0.1, beta), rng.normal(0, 0.1, mean))
    return [draw.astype(np.float32) for draw in (*draws, rng.uniform(0.5, 1.5, variance))]


def original(folder: Path) -> None:
    """Features and weight file of the original, into folder. Runs in a process of its own: it renames tf_keras."""
    import keras_applications
    import keras_applications.imagenet_utils
    import tf_keras
    from tf_keras.utils import get_source_inputs

    moved = {"engine.topology": {"get_source_inputs": get_source_inputs}, "utils.data_utils": {"get_file": None}}
    sys.modules |= {"keras": tf_keras, "keras.engine": types.ModuleType("keras.engine")}
    for name in ("backend", "layers", "models"):
        sys.modules[f"keras.{name}"] = getattr(tf_keras, name)
    # both are only wanted for the released weights, which it is not asked for
    sys.modules["keras.utils"] = types.SimpleNamespace(layer_utils=None)
    for name, contents in moved.items():
        sys.modules[f"keras.{name}"] = types.SimpleNamespace(**contents)
    keras_applications._KERAS_BACKEND = tf_keras.backend
    from keras_vggface.utils import preprocess_input
    from keras_vggface.vggface import VGGFace

    network = VGGFace(model="resnet50", include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(seeded_weights(layer.name, [tuple(weight.shape) for weight in layer.weights]))
    inputs = preprocess_input(pictures().astype(np.float32), version=2)
    features = network.predict(inputs, verbose=0)
    network.save_weights(folder / "original.h5")
    np.savez(folder / "original.npz", features=features.reshape(PICTURES, -1), parameters=network.count_params())


def ours(fill) -> np.ndarray:
    """(2, 2048) features of ours on the pictures, by our own preprocessing; fill(trunk) gives it weights."""
    import keras

    from fer_lib.vggface import vggface_preprocessing, vggface_resnet50

    trunk = vggface_resnet50(SIZE)
    fill(trunk)
    inputs = keras.ops.convert_to_numpy(vggface_preprocessing(pictures(), SIZE))
    return trunk.predict(inputs, verbose=0).reshape(PICTURES, -1)


def fill_seeded(trunk) -> None:
    """Give every layer of ours the numbers that the original's layer of the corresponding name has."""
    from fer_lib.vggface import released_names

    for name, theirs in released_names().items():
        layer = trunk.get_layer(name)
        layer.set_weights(seeded_weights(theirs, [tuple(weight.shape) for weight in layer.weights]))


def main() -> int:
    from fer_lib.vggface import load_released_weights

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, __file__, "--original", temporary], check=True)
        golden = dict(np.load(folder / "original.npz"))
        differences = {
            "filled layer by layer": ours(fill_seeded),
            "read from the original's file": ours(lambda trunk: load_released_weights(trunk, folder / "original.h5")),
        }
    largest = np.abs(golden["features"]).max()
    for name, features in differences.items():
        relative = np.abs(features - golden["features"]).max() / largest
        print(f"{name}: largest relative difference {relative:.1e} of {features.size} features")
        if relative > TOLERANCE:
            return 1
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez(GOLDEN, **golden)
    print(f"wrote {GOLDEN.relative_to(ROOT)}: {int(golden['parameters']):,} parameters in the original")
    return 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Hold fer_lib.vggface to the original keras-vggface.")
    options.add_argument("--original", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.original:
        original(given.original)
    else:
        sys.exit(main())
