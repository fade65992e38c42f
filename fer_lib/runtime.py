"""A loaded model behind one call: crops in, a dict of outputs out; OpenVINO for speed, Keras as the reference."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from fer_lib.errors import InputError
from fer_lib.weights import FAST_FILES, KERAS_FILE, Card, checked_file

RUNTIMES = ("fast", "keras")


class FastRuntime:
    """OpenVINO on the CPU, in float32.

    Chosen among the fast runtimes because it was the quickest at batch 1, reads both the exported classifier and
    BlazeFace's .tflite files, and needs no TensorFlow at run time.
    """

    def __init__(self, xml: Path):
        import openvino

        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        try:
            compiled = core.compile_model(str(xml), "CPU", options)
        except RuntimeError as error:
            raise InputError(f"{xml} cannot be loaded ({str(error).splitlines()[0]}); restore it from git") from None
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """(N, S, S, 3) uint8 RGB to {head: (N, C) float32}."""
        results = self._request.infer([np.ascontiguousarray(crops)])
        return {name: np.array(results[i]) for i, name in enumerate(self._names)}


class KerasRuntime:
    """The reference: the saved Keras model itself."""

    BATCH = 128

    def __init__(self, path: Path):
        import keras

        self.model = keras.saving.load_model(path, compile=False)

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.model.predict(crops, batch_size=self.BATCH, verbose=0)
        return {name: np.asarray(value) for name, value in outputs.items()}


def export_fast(keras_file, folder) -> None:
    """Write the fast form of a saved Keras model, model.xml and model.bin with float16 weights, into `folder`."""
    import keras
    import openvino

    model = keras.saving.load_model(keras_file, compile=False)
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "full.xml"
        model.export(str(full), format="openvino", verbose=False)
        openvino.save_model(openvino.Core().read_model(full), Path(folder) / FAST_FILES[0], compress_to_fp16=True)


def load_runtime(card: Card, kind: str = "fast"):
    """The model of a card, its files verified. kind: "fast", exported on first use if need be, or "keras"."""
    if kind not in RUNTIMES:
        raise InputError(f"unknown runtime {kind!r}; there are {', '.join(RUNTIMES)}")
    if kind == "keras":
        return KerasRuntime(checked_file(card, KERAS_FILE))
    if FAST_FILES[0] in card.sha256:
        xml, _ = (checked_file(card, name) for name in FAST_FILES)
        return FastRuntime(xml)
    return FastRuntime(_exported(card))


def _exported(card: Card) -> Path:
    """The fast form of a model that ships only its Keras file: made once, kept in the user's cache."""
    from fer_lib.fetch import cache_folder

    source = checked_file(card, KERAS_FILE)
    folder = cache_folder() / "exported" / f"{card.name}-{card.sha256[KERAS_FILE][:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            export_fast(source, temporary)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder / FAST_FILES[0]
