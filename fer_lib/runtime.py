"""A loaded model behind one call: crops in, a dict of outputs out; OpenVINO for speed, Keras as the reference."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np

from fer_lib.errors import InputError
from fer_lib.files import sha256
from fer_lib.messages import inform
from fer_lib.quiet import quiet_stderr
from fer_lib.weights import FAST_FILES, KERAS_FILE, PIPELINE_FILE, Card, checked_file

RUNTIMES = ("fast", "quick", "keras")
FEATURES = "features"  # a trunk's average-pooled answer
# bfloat16 costs these models less than 0.3 points on PublicTest, by results/02_benchmark/metrics.json
BFLOAT16_MODELS = frozenset("emotion_cnn facenet large_cnn resnet_cnn small_cnn vggface_resnet50".split())
HASHES_FILE = "sha256.json"  # beside an exported model in the cache


def openvino_core():
    """The one openvino.Core of this process, whichever thread asks first.

    Each core sets up a stack for signals, and those of several, dropped in another order than they came, leave the main
    thread one that is gone: the next Ctrl-C would crash (OpenVINO 2026.4).
    """
    with _making_core:
        return _core()


@cache
def _core():
    import openvino  # here, since it takes 0.3 s and haar does not need it

    return openvino.Core()


_making_core = threading.Lock()


_thread_limit = 0


def limit_threads(count: int) -> None:
    """Let OpenCV, OpenVINO and FFmpeg use at most so many threads each, for what this process opens from now on."""
    global _thread_limit
    import cv2

    _thread_limit = count
    cv2.setNumThreads(count)


def thread_limit() -> int:
    """The count given to limit_threads(); 0, as many as there are cores, when there was none."""
    return _thread_limit


def compiled_model(model, precision: str = "f32", threads: int = 0):
    """An openvino model, or the path of one, compiled for one request at a time on the CPU, by default in float32.

    On CPUs with bfloat16 OpenVINO would pick that, and the answers would depend on the machine. threads: 0 for as many
    as there are cores, or as limit_threads() lets.
    """
    options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if limited := min(filter(None, (threads, _thread_limit)), default=0):
        options["INFERENCE_NUM_THREADS"] = limited
    return openvino_core().compile_model(model, "CPU", options)


class FastRuntime:
    """OpenVINO on the CPU, in float32 unless another of OpenVINO's precisions is asked for.

    Chosen among the fast runtimes because it was the quickest at batch 1, reads both the exported classifier and
    BlazeFace's .tflite files, and needs no TensorFlow at run time. input_size is the crop's side in pixels, or the
    number of columns of a model of numbers; heads the width of every output; cure ends the message when the file cannot
    be loaded.
    """

    def __init__(
        self,
        xml: Path,
        cure: str = "restore it from git",
        precision: str = "f32",
        threads: int = 0,
        features: bool = False,
    ):
        """features: also the output "features", (N, F), what the trunk's average pooling hands to the heads."""
        try:
            model = openvino_core().read_model(str(xml))
            if features:
                pooled = [node for node in model.get_ops() if node.get_type_name() == "ReduceMean"][-1]
                model.add_outputs([pooled.output(0)])[0].get_tensor().set_names({FEATURES})
            compiled = compiled_model(model, precision, threads)
        except RuntimeError as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise InputError(f"{xml} cannot be loaded ({reason}); {cure}") from None
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]
        self.input_size = compiled.inputs[0].partial_shape[1].max_length
        widths = [output.partial_shape[-1].max_length for output in compiled.outputs]
        self.heads = {name: n for name, n in zip(self._names, widths, strict=True) if name != FEATURES}

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """(N, S, S, 3) uint8 RGB, or (N, K) float32 columns, to {head: (N, C) float32}."""
        results = self._request.infer([np.ascontiguousarray(crops)])
        return {name: np.array(results[i]) for i, name in enumerate(self._names)}


class KerasRuntime:
    """The reference: the saved Keras model itself; input_size and heads as in FastRuntime."""

    BATCH = 128

    def __init__(self, path: Path):
        self.model = _quiet_keras().saving.load_model(path, compile=False)
        self.input_size = self.model.inputs[0].shape[1]
        outputs = self.model.output if isinstance(self.model.output, dict) else {}  # without names there are no heads
        self.heads = {name: output.shape[-1] for name, output in outputs.items()}

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.model.predict(crops, batch_size=self.BATCH, verbose=0)
        return {name: np.asarray(value) for name, value in outputs.items()}


def _quiet_keras():
    """The keras module, imported without TensorFlow's pages of notes on standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():  # TensorFlow 2.21 writes some notes before it reads the level
        import keras
    return keras


def export_fast(keras_file, folder) -> None:
    """Write the fast form of a saved Keras model, model.xml and model.bin, into `folder`.

    Convolutions that weights.round_weights has rounded are written as int8, with nothing lost; beside them the rest
    stays float32, as OpenVINO compresses no model that holds int8 already. A model without any is written as float16.
    """
    import openvino

    model = _quiet_keras().saving.load_model(keras_file, compile=False)
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "full.xml"
        model.export(str(full), format="openvino", verbose=False)
        exported = openvino_core().read_model(full)
        for node in exported.get_ops():
            # not the matrices of dense layers: OpenVINO would round what they are multiplied with to int8 too
            if node.get_type_name() == "Constant" and len(node.shape) > 2:
                _store_as_int8(node)
        openvino.save_model(exported, Path(folder) / FAST_FILES[0], compress_to_fp16=True)


def _store_as_int8(constant) -> None:
    """Replace a float32 constant by int8 times a factor a channel, where that says the same; else leave it alone.

    The channels lie along the last axis, as Keras has them, or the first, where OpenVINO has turned the kernel already.
    """
    from openvino import opset13

    values = constant.data
    if values.dtype != np.float32 or values.size == max(values.shape):  # the latter is a bias, whatever its axes
        return
    for channels in (values.ndim - 1, 0):
        step = _steps(np.moveaxis(values, channels, 0).reshape(values.shape[channels], -1))
        if step is None:
            continue
        step = step.reshape([-1 if axis == channels else 1 for axis in range(values.ndim)])
        targets = constant.output(0).get_target_inputs()
        whole = opset13.convert(opset13.constant(np.rint(values / step).astype(np.int8)), "f32")
        product = opset13.multiply(whole, opset13.constant(step))
        for target in targets:
            target.replace_source_output(product.output(0))
        return


def _steps(rows: np.ndarray) -> np.ndarray | None:
    """(N,) float32: the step of which each of (N, M) rows holds whole multiples, at most 127; None when one has none.

    The step need not be the power of two that the weights were rounded to: the export folds factors into kernels.
    """
    largest, step = np.abs(rows).max(axis=1), np.zeros(len(rows), np.float32)
    step[largest == 0] = 1
    for multiple in range(127, 0, -1):
        open_rows = np.flatnonzero(step == 0)
        candidate = largest[open_rows] / multiple
        for columns in (slice(32), slice(None)):  # a few columns rule nearly all out
            whole = rows[open_rows, columns] / candidate[:, None]
            fits = (np.abs(whole - np.rint(whole)) < 1e-4).all(axis=1)  # float32 division errs by 1e-5 at 127
            open_rows, candidate = open_rows[fits], candidate[fits]
        step[open_rows] = candidate
    return step if step.all() else None


def load_runtime(card: Card, kind: str = "fast", features: bool = False):
    """The model of a card, its files verified. kind: "fast", exported on first use if need be, "quick" or "keras".

    "quick" is "fast" in bfloat16, where the CPU has that and it costs this model less than 0.3 points, and leaves half
    of the cores to others: for video, where it is one stage of several.

    A pipeline of scikit-learn has one form alone, which is "fast". features: see FastRuntime; for the fast form alone.
    InputError when a file is damaged or the model is not the one that the card describes.
    """
    if kind not in RUNTIMES:
        raise InputError(f"unknown runtime {kind!r}; there are {', '.join(RUNTIMES)}")
    cure = f"restore it with: git checkout -- {card.folder}"
    if PIPELINE_FILE in card.sha256:
        from fer_lib.classical import PipelineRuntime  # here, since scikit-learn takes a second that others do without

        if kind == "keras":
            raise InputError(f"{card.name} is a scikit-learn pipeline and has no Keras form; leave --runtime out")
        runtime = PipelineRuntime(checked_file(card, PIPELINE_FILE), cure)
    elif kind == "keras":
        runtime = KerasRuntime(checked_file(card, KERAS_FILE))
    else:
        if FAST_FILES[0] in card.sha256:
            xml, _ = (checked_file(card, name) for name in FAST_FILES)
        else:
            xml = _exported(card)
            cure = f"delete {xml.parent}, it is made again"
        quick = kind == "quick"
        precision = "bf16" if quick and card.name in BFLOAT16_MODELS else "f32"
        runtime = FastRuntime(
            xml, cure, precision, threads=max(1, (os.cpu_count() or 1) // 2) if quick else 0, features=features
        )
    heads = {head: len(names) for head, names in card.heads.items()}
    size, unit = (len(card.inputs), "columns") if card.inputs else (card.input_size, "pixels")
    if (runtime.input_size, runtime.heads) != (size, heads):
        raise InputError(
            f"{card.folder}: the model takes {runtime.input_size} {unit} and gives {runtime.heads}, its card says "
            f"{size} and {heads}; {cure}"
        )
    return runtime


def _exported(card: Card) -> Path:
    """The fast form of a model that ships only its Keras file: made once, kept in the user's cache.

    Made again when it is damaged. Of two processes that make it at once, the second uses what the first has made.
    """
    from fer_lib.fetch import cache_folder

    source = checked_file(card, KERAS_FILE)
    folder = cache_folder() / "exported" / f"{card.name}-{card.sha256[KERAS_FILE][:16]}"
    if not _intact(folder):
        inform(f"preparing {card.name} for this machine, once; it takes some seconds")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as temporary:
                made = Path(temporary) / folder.name
                made.mkdir()
                export_fast(source, made)
                hashes = {name: sha256(made / name) for name in FAST_FILES}
                (made / HASHES_FILE).write_text(json.dumps(hashes))
                os.replace(made, folder)
        except OSError as error:
            if not _intact(folder):  # else another process was first
                cure = "set FER_CACHE to a folder that can be written"
                raise InputError(f"cannot write {folder}: {error.strerror or error}; {cure}") from None
    return folder / FAST_FILES[0]


def _intact(folder: Path) -> bool:
    """Whether an exported model is still what was written."""
    try:
        hashes = json.loads((folder / HASHES_FILE).read_text())
        return all(sha256(folder / name) == hashes[name] for name in FAST_FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False
