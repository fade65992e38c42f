"""What notebook 02_benchmark, tools/bench_peer.py and tools/compare_detectors.py measure with: time, memory, precision.

Times of a busy machine mean something only beside others of the same minutes: what is compared takes turns, each round
in another order, and is warmed up at every turn.

    python -m fer_lib.benchmark FILE RUNTIME      # load time and memory of one model, as JSON; see footprint()
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import platform
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Hashable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fer_lib.errors import InputError
from fer_lib.images import read_image
from fer_lib.quiet import quiet_stderr
from fer_lib.runtime import FastRuntime, _exported, openvino_core
from fer_lib.weights import FAST_FILES, KERAS_FILE, Card, checked_file

if TYPE_CHECKING:  # a footprint is taken beside as few other libraries as can be: plots and scores are read when needed
    from fer_lib.datasets.fer2013 import Fer2013

KERAS_RUNTIMES = ("Keras predict", "tf.function")
# OpenVINO's names of the precisions it computes in, and of those that a CPU can; int8 is in the file, see quantise()
HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}
MOST_LOST = 0.003  # of accuracy, that a reduced precision may cost
ANCESTOR_MS = 26.0  # a face, as the ancestor's own page says of its VGGFace-ResNet50 at 224 pixels
TARGET_MS = 10.0  # for the same network here, on two cores
FOOTPRINT_BATCH = 32

FOUND_IOU = 0.4  # detectors frame a face by sides that differ by up to 1.26, which alone is IoU 0.63
# Faces from hairline to chin, x1 y1 x2 y2, checked by eye on the photographs of test_photo/
TEST_FACES = {
    "grace_hopper.jpg": ((160, 107, 376, 325),),
    "astronaut.png": ((174, 66, 275, 166),),
    "two_faces.jpg": ((137, 95, 318, 276), (612, 66, 712, 166)),
}
# Pictures without a face, nor a drawing of one, that the required packages carry: (package, path in it)
FACE_FREE = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/Minduka_Present_Blue_Pack.png"),
    ("matplotlib", "mpl-data/sample_data/logo2.png"),
)

# ------------------------------------------------------------------------------------------------------------- timing


def compare(
    calls: dict[Hashable, Callable[[], object]],
    repeats: dict[Hashable, int],
    rounds: int,
    seed: int = 0,
    warm_up: int = 2,
    after_round: Callable[[int], object] = lambda number: None,
) -> dict[Hashable, np.ndarray]:
    """Seconds of each call, {name: (rounds * repeats[name],) float64}, taken in turns.

    Every round visits all calls in an order of its own; of a visit, the first warm_up calls are not timed.
    after_round(number) is called with 1, 2, ... when a round is done.
    """
    random = np.random.default_rng(seed)
    names, seconds = list(calls), {name: [] for name in calls}
    for number in range(1, rounds + 1):
        for i in random.permutation(len(names)):
            call = calls[names[i]]
            for _ in range(warm_up):
                call()
            for _ in range(repeats[names[i]]):
                began = time.perf_counter()
                call()
                seconds[names[i]].append(time.perf_counter() - began)
        after_round(number)
    return {name: np.array(values) for name, values in seconds.items()}


def percentiles(seconds) -> dict:
    """n, p5_ms, median_ms and p95_ms of (n,) seconds. ValueError when there are none, or one that is not finite."""
    milliseconds = 1000 * np.asarray(seconds, np.float64)
    if milliseconds.size == 0 or not np.isfinite(milliseconds).all():
        raise ValueError(f"{milliseconds.size} times, not all of them finite: there is nothing to sum up")
    low, middle, high = np.percentile(milliseconds, (5, 50, 95)).tolist()
    return {"n": milliseconds.size, "p5_ms": low, "median_ms": middle, "p95_ms": high}


def machine() -> dict:
    """What the times depend on: cpu, cores, precisions that it computes in, load average of the last minute."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "precisions": list(precisions()),
        "load_average_before": load,
    }


def _cpu() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


# ----------------------------------------------------------------------------------------------- runtimes, precision


def precisions() -> dict[str, str]:
    """{name: OpenVINO's hint} of the precisions in which this CPU computes, float32 first."""
    able = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {name: hint for name, hint in HINTS.items() if CAPABILITIES[name] in able}


def fast(precision: str) -> str:
    """The name of the exported fast form in one of precisions(), beside KERAS_RUNTIMES."""
    return f"OpenVINO {precision}"


def fast_runtime(xml, precision: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The exported fast form, (N, S, S, 3) uint8 RGB to {head: (N, C) float32}, computed in one of precisions().

    xml: for int8 the file that quantise() wrote.
    """
    if precision not in precisions():
        raise InputError(f"this CPU does not compute in {precision}; choose one of: {', '.join(precisions())}")
    return FastRuntime(xml, precision=HINTS[precision])


def keras_runtime(model, runtime: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A keras.Model as fast_runtime() gives the exported one; runtime: one of KERAS_RUNTIMES."""
    if runtime == "Keras predict":
        return lambda crops: model.predict(crops, batch_size=len(crops), verbose=0)
    import tensorflow as tf

    pixels = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)  # any batch: traced once
    traced = tf.function(lambda crops: model(crops, training=False), input_signature=[pixels])
    return lambda crops: {head: values.numpy() for head, values in traced(tf.constant(crops)).items()}


def quantise(xml, crops: np.ndarray, target) -> Path:
    """The fast form with int8 arithmetic in its convolutions and dense layers, written to target (.xml).

    NNCF's post-training quantisation: crops (N, S, S, 3) uint8 RGB, such as the network is asked about but none of
    those that it is scored on, give the ranges of the activations.
    """
    os.environ.setdefault("NNCF_CI", "1")  # its usage statistics stay off
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # progress bars
        rows = nncf.Dataset(np.split(crops, len(crops)))
        quantised = nncf.quantize(openvino_core().read_model(str(xml)), rows, subset_size=len(crops))
    openvino.save_model(quantised, str(target))
    return Path(target)


def runtimes(model, files) -> dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]]:
    """Every way to run a keras.Model, by name: by KERAS_RUNTIMES, and its fast form in each of precisions().

    files: as in file_of().
    """
    ways = {runtime: keras_runtime(model, runtime) for runtime in KERAS_RUNTIMES}
    return ways | {fast(kind): fast_runtime(file_of(files, fast(kind)), kind) for kind in precisions()}


def file_of(files: tuple[Path, Path, Path], runtime: str) -> Path:
    """Which of a model's files a runtime reads; files: model.keras, its fast form, and that form quantised."""
    return files[0 if runtime in KERAS_RUNTIMES else 2 if runtime == fast("int8") else 1]


def model_files(card: Card) -> tuple[Path, Path]:
    """(model.keras, model.xml) of a shipped model, both verified; the latter made on first use, as by load_runtime."""
    if FAST_FILES[0] in card.sha256:
        xml, _ = (checked_file(card, name) for name in FAST_FILES)
    else:
        xml = _exported(card)
    return checked_file(card, KERAS_FILE), xml


def resized_vggface(trunk_size: int, trained=None):
    """The VGGFace-ResNet50 classifier at another trunk size, with the weights of a trained keras.Model or random ones.

    Its weights do not depend on the size; what else a trained model has, such as a head for valence, is left out.
    """
    from fer_lib.vggface import copy_weights, vggface_classifier

    model = vggface_classifier(trunk_size=trunk_size)
    if trained is not None:
        copy_weights(trained, model)
    return model


def accuracies(outputs: dict[str, np.ndarray], rows: Fer2013, heads: dict) -> dict[str, float]:
    """{head: accuracy} on FER2013's labels and, with an `emotion` head and votes, on FER+'s majority.

    outputs: {head: (N, C)} for all N rows, as fer_lib.evaluate.predict gives them; heads: as in a card.
    """
    from fer_lib.evaluate import fer2013_probability, ferplus_rows

    known = rows.label >= 0
    best = fer2013_probability(outputs, heads).argmax(axis=1)
    shares = {"fer2013": float((best == rows.label)[known].mean())}
    if "emotion" in heads and rows.votes is not None:
        truth, probability = ferplus_rows(outputs, rows)
        shares["emotion"] = float((probability.argmax(axis=1) == truth).mean())
    return shares


def choose_precision(found: dict[str, dict]) -> str:
    """The fastest precision that loses less than MOST_LOST of float32's accuracy in every head.

    found: {precision: {"median_ms": float, "accuracy": {head: share}}}, float32 among them (ValueError else). The
    answer is float32 where no reduced one may be had, or none is faster.
    """
    if "float32" not in found:
        raise ValueError("without float32 it is not known what a reduced precision loses")
    full = found["float32"]["accuracy"]
    # rounded, as 0.703 - 0.7 is not 0.003 but a little more
    lost = {
        name: max(round(full[head] - share, 9) for head, share in row["accuracy"].items())
        for name, row in found.items()
    }
    allowed = [name for name in found if name == "float32" or lost[name] < MOST_LOST]
    return min(allowed, key=lambda name: found[name]["median_ms"])


# ------------------------------------------------------------------------------------------------ memory, load time


def footprint(file, runtime: str) -> dict:
    """Load time and memory of one model file in a fresh process of its own, so that nothing of others is counted.

    file: model.keras for KERAS_RUNTIMES, model.xml for the fast form's. Gives libraries_s and load_s (from the file to
    the first answer), libraries_mb and model_mb: what the resident set grew by, the latter with a batch of
    FOOTPRINT_BATCH answered; None where the system does not tell. RuntimeError when the process fails.
    """
    command = [sys.executable, "-m", "fer_lib.benchmark", str(Path(file).resolve()), runtime]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{runtime}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def resident_mb() -> float | None:
    """The resident set of this process in MB (10^6 bytes); None where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), None)
    return None if kib is None else 1024 * int(kib) / 1e6


def _footprint_here(file: str, runtime: str) -> dict:
    before, began = resident_mb(), time.perf_counter()
    if runtime in KERAS_RUNTIMES:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with quiet_stderr():
            import keras
        with_libraries, imported = resident_mb(), time.perf_counter()
        model = keras.saving.load_model(file, compile=False)
        classify, side = keras_runtime(model, runtime), model.input_shape[1]
    else:
        core = openvino_core()
        with_libraries, imported = resident_mb(), time.perf_counter()
        side = core.read_model(file).inputs[0].partial_shape[1].max_length
        classify = fast_runtime(file, runtime.removeprefix(fast("")))
    classify(np.zeros((1, side, side, 3), np.uint8))
    loaded = time.perf_counter()
    classify(np.zeros((FOOTPRINT_BATCH, side, side, 3), np.uint8))
    after = resident_mb()
    known = before is not None
    return {
        "libraries_s": imported - began,
        "load_s": loaded - imported,
        "libraries_mb": with_libraries - before if known else None,
        "model_mb": after - with_libraries if known else None,
    }


# ---------------------------------------------------------------------------------------------------------- detectors


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(M,) intersection over union of a box (4,) with boxes (M, 4), x1 y1 x2 y2."""
    overlap = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    return overlap / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - overlap)


def agreed_box(boxes: list[np.ndarray]) -> np.ndarray | None:
    """The median of the boxes (4,) that overlap another by IoU >= 0.5; None when no two do."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    agree = [i for i in range(len(boxes)) if (np.delete(iou(boxes[i], boxes), i) >= 0.5).any()]
    return np.median(boxes[agree], axis=0) if agree else None


def agreed_boxes(jury, frames) -> tuple[list[np.ndarray], list[int]]:
    """The true boxes (4,) of frames that show one face each, by agreement, and the numbers of the frames that have one.

    jury: detectors. Nobody has drawn boxes on CK+: of each detector's best-scored box those count that overlap at least
    one other's, and their coordinate-wise median is the true box. A frame where no two agree has none.
    """
    boxes, kept = [], []
    for i, frame in enumerate(frames):
        answers = [detect(frame) for detect in jury]
        box = agreed_box([found.xyxy[found.score.argmax()] for found in answers if len(found)])
        if box is not None:
            boxes.append(box)
            kept.append(i)
    return boxes, kept


def count(found: np.ndarray, true: np.ndarray) -> tuple[int, int]:
    """(true boxes that were found, boxes that are false) for found (M, 4) and true (T, 4).

    A face is found when a box overlaps its true one by IoU >= FOUND_IOU; every further box is a false one.
    """
    free = list(range(len(found)))
    hits = 0
    for box in true:
        overlaps = iou(box, found[free]) if free else np.zeros(0)
        if len(overlaps) and overlaps.max() >= FOUND_IOU:
            free.pop(int(overlaps.argmax()))
            hits += 1
    return hits, len(free)


def detector_scores(detectors: dict[str, Callable], pictures, seed: int = 0) -> dict[str, dict]:
    """{detector: pictures, faces, found, rate, false_boxes, median_ms, p95_ms} over (image, true boxes (T, 4)) pairs.

    image: (H, W, 3) uint8 RGB. On each picture the detectors take turns, in an order of its own. rate is None without
    faces; without pictures the times are None.
    """
    random = np.random.default_rng(seed)
    names = list(detectors)
    counts, seconds = {name: [] for name in names}, {name: [] for name in names}
    for image, true in pictures:
        for i in random.permutation(len(names)):
            began = time.perf_counter()
            found = detectors[names[i]](image)
            seconds[names[i]].append(time.perf_counter() - began)
            counts[names[i]].append(count(found.xyxy.astype(float), true))
    faces = sum(len(true) for _, true in pictures)
    scores = {}
    for name in names:
        hits, false = np.sum(counts[name], axis=0).tolist() if pictures else (0, 0)
        times = percentiles(seconds[name]) if pictures else {"median_ms": None, "p95_ms": None}
        scores[name] = {
            "pictures": len(pictures),
            "faces": faces,
            "found": hits,
            "rate": round(hits / faces, 4) if faces else None,
            "false_boxes": false,
            **{key: times[key] and round(times[key], 1) for key in ("median_ms", "p95_ms")},
        }
    return scores


def known_photos(folder) -> list[tuple[np.ndarray, np.ndarray]]:
    """The photographs of test_photo/ with the boxes (T, 4) of TEST_FACES."""
    return [(read_image(Path(folder) / name), np.array(boxes, float)) for name, boxes in TEST_FACES.items()]


def doubled(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures as they are and twice as large, so that small textures count as well."""
    return pictures + [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) for p in pictures]


def face_free_pictures() -> list[np.ndarray]:
    """Pictures without a face from the installed packages, see FACE_FREE; those that a package lacks are left out."""
    folders = {name: importlib.util.find_spec(name).submodule_search_locations[0] for name, _ in FACE_FREE}
    paths = [Path(folders[name]) / path for name, path in FACE_FREE]
    return [read_image(path) for path in paths if path.is_file()]


# --------------------------------------------------------------------------------------------------------------- peer


def read_peer(path) -> dict | None:
    """What tools/bench_peer.py wrote: data, ours, systems {name: {crop, photo, PublicTest, PrivateTest}}, and more.

    None when there is no such file; InputError when it is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        peer = json.loads(path.read_text(encoding="utf-8"))
        for system in (peer["systems"][peer["ours"]], *peer["systems"].values()):
            for task in ("crop", "photo"):
                sound = 0 < system[task]["p5_ms"] <= system[task]["median_ms"] <= system[task]["p95_ms"]
                if not sound:
                    raise ValueError(f"times of {task}")
            for split in ("PublicTest", "PrivateTest"):
                if not 0 <= system[split]["accuracy"] <= 1 or not system[split]["n"]:
                    raise ValueError(f"accuracy on {split}")
        if not isinstance(peer["data"], str):
            raise ValueError("data")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"{path} is not what the peer's run writes ({reason}); make it again with: make bench"
        ) from None
    return peer


def times_faster(peer: dict) -> dict[str, dict[str, float]]:
    """{other system: {"crop", "photo": its median over ours}} of read_peer()."""
    own = peer["systems"][peer["ours"]]
    others = {name: system for name, system in peer["systems"].items() if name != peer["ours"]}
    return {
        name: {task: system[task]["median_ms"] / own[task]["median_ms"] for task in ("crop", "photo")}
        for name, system in others.items()
    }


# -------------------------------------------------------------------------------------------------------------- plots


def percentile_curves(seconds: dict[str, np.ndarray], title: str = "", marks: dict[str, float] | None = None):
    """Latency by percentile, a curve a runtime: what share of the calls took at most so long.

    seconds: {legend: (n,) seconds of the calls}; marks: {legend: ms}, upright lines. Returns the matplotlib figure,
    after the rules of fer_lib.plots.
    """
    import matplotlib.pyplot as plt

    from fer_lib import plots

    figure, axes = plt.subplots(figsize=(plots.WIDTH, 2.8), layout="constrained")
    for i, (legend, values) in enumerate(seconds.items()):
        ordered = 1000 * np.sort(values)
        share = 100 * (np.arange(len(ordered)) + 0.5) / max(len(ordered), 1)
        style = {
            "marker": plots.MARKERS[i % len(plots.MARKERS)],
            "markersize": 4,
            "markevery": max(1, len(ordered) // 8),
        }
        axes.plot(ordered, share, color=f"C{i}", linestyle=plots.LINES[i % len(plots.LINES)], label=legend, **style)
    for i, (legend, milliseconds) in enumerate((marks or {}).items()):
        axes.axvline(milliseconds, color="black", linestyle=plots.LINES[(i + 1) % len(plots.LINES)], lw=1, label=legend)
    axes.set(xscale="log", xlabel="ms a call", ylabel="percentile", ylim=(0, 100), yticks=(5, 25, 50, 75, 95))
    _plain_ticks(axes)
    if not seconds:
        axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", color=plots.GREY, style="italic")
    return plots._finished(figure, title)


def speed_bands(rows: dict[str, dict[str, dict]], title: str = "", marks: dict[str, float] | None = None):
    """Median milliseconds of each model, a band a model, a marker a runtime; whiskers from the 5th to the 95th.

    rows: {model: {runtime: percentiles() of what is compared}}; marks: as in percentile_curves().
    """
    from fer_lib import plots

    names = list(dict.fromkeys(runtime for row in rows.values() for runtime in row))
    figure, axes, places = plots._bands([textwrap.fill(name, 16) for name in rows], len(names))
    nothing = {"median_ms": np.nan, "p5_ms": np.nan, "p95_ms": np.nan}
    for i, (runtime, place) in enumerate(zip(names, places, strict=True)):
        values = [[row.get(runtime, nothing)[key] for row in rows.values()] for key in nothing]
        plots._points(axes, place, *np.array(values, float), i, label=runtime)
    for i, (legend, milliseconds) in enumerate((marks or {}).items()):
        axes.axvline(milliseconds, color="black", linestyle=plots.LINES[(i + 1) % len(plots.LINES)], lw=1, label=legend)
    axes.set(xscale="log", xlabel="ms a call, 5th, 50th, 95th perc.")
    _plain_ticks(axes)
    if not rows:
        plots._no_rows(axes, 1, 0, ha="center")
    return plots._finished(figure, title)


def _plain_ticks(axes) -> None:
    """1, 3, 10, 30 .. on a logarithmic axis instead of powers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


if __name__ == "__main__":
    print(json.dumps(_footprint_here(*sys.argv[1:])))
