"""Our default model beside the installable peer `fer`, in one run on the same pictures: speed and accuracy.

    make bench                                    # sets up .venv-bench for the peer and runs this
    FER_DATA=folder make bench                    # on FER2013; without FER_DATA on demo data

Writes results/02_benchmark/peer.json, on demo data out/02_benchmark/peer.json; notebook 02_benchmark shows it.

The peer lives in an environment of its own and answers from a process of its own; ours answers from this one. They take
turns, so that a busy machine is unkind to both. Speed: one 48x48 crop of FER2013 to its emotions, and a photograph of
test_photo/ to its faces and their emotions, each as a user calls it. The peer is measured as it comes, with its
quantised TFLite model, and with its Keras model. Accuracy: whole 48x48 pictures through the peer's own preprocessing
(64x64, (x / 255 - 0.5) * 2), the best of the seven classes. The peer was trained on FER2013; its figures with and
without the test pictures that stand in Training tell what those are worth to it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PEER_PYTHON = ROOT / ".venv-bench" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
PHOTOS = sorted(path for path in (ROOT / "test_photo").iterdir() if path.suffix in (".jpg", ".png"))
PEERS = {"fer": True, "fer, Keras model": False}  # name: its use_tflite, of which True is its default
SPLITS = ("PublicTest", "PrivateTest")
WHOLE = (0, 0, 48, 48)  # x, y, w, h
BATCH = 64
TIMED_CROPS = 50

# ------------------------------------------------------------------ in the peer's process, which has no fer_lib


def serve(pictures: Path) -> None:
    """Answer the lines "TASK NAME [NUMBER]" on standard input with a line of JSON each.

    "time_crop fer 20": seconds of 20 calls; "time_photo fer 1": of one call a photograph; "classify fer PublicTest":
    the best class of each picture; "versions": of the packages.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print what they like
    from importlib.metadata import PackageNotFoundError, version

    from fer.fer import FER

    with np.load(pictures) as file:
        grey = {split: file[split] for split in SPLITS}
    # no offsets: a crop of FER2013 is a face already, and fer's 10 pixels on each side would be made up
    on_crops = {name: FER(use_tflite=tflite, offsets=(0, 0)) for name, tflite in PEERS.items()}
    on_photos = {name: FER(use_tflite=tflite) for name, tflite in PEERS.items()}
    photos = [cv2.imread(str(path)) for path in PHOTOS]
    crops = [cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) for picture in grey["PublicTest"][:TIMED_CROPS]]
    packages = ("fer", "tensorflow", "keras", "numpy", "opencv-python-headless")
    for line in sys.stdin:
        task, name, *rest = line.strip().split("\t")
        if task == "versions":
            answer = {}
            for package in packages:
                with contextlib.suppress(PackageNotFoundError):
                    answer[package] = version(package)
        elif task == "classify":
            answer = [int(best) for best in _peer_classes(on_crops[name], grey[rest[0]])]
        elif task == "time_crop":
            answer = _timed(lambda crop, fer=on_crops[name]: fer.detect_emotions(crop, [WHOLE]), crops, int(rest[0]))
        else:
            answer = _timed(on_photos[name].detect_emotions, photos, int(rest[0]) * len(photos))
        print(json.dumps(answer), file=answers, flush=True)


def _peer_classes(fer, pictures: np.ndarray):
    """Best class of each (N, 48, 48) grey uint8 picture; detect_emotions() would round to two digits and make ties."""
    for start in range(0, len(pictures), BATCH):
        faces = np.stack([cv2.resize(picture, (64, 64)) for picture in pictures[start : start + BATCH]])
        yield from np.asarray(fer._classify_emotions((faces.astype("float32") / 255 - 0.5) * 2)).argmax(axis=1)


def _timed(call, inputs, number: int) -> list[float]:
    """Seconds of `number` calls on the inputs in turn, after two that are not timed."""
    seconds = []
    for i in range(-2, number):
        began = time.perf_counter()
        call(inputs[i % len(inputs)])
        if i >= 0:
            seconds.append(time.perf_counter() - began)
    return seconds


# ----------------------------------------------------------------------------------------------- in our own process


class Peer:
    """The peer's process behind calls: peer("time_crop", "fer", 20)."""

    def __init__(self, pictures: Path):
        command = [str(PEER_PYTHON), str(Path(__file__).resolve()), "--serve", str(pictures)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        self._log = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def __call__(self, *words):
        with contextlib.suppress(BrokenPipeError):
            print(*words, sep="\t", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            from fer_lib.errors import InputError

            self._log.seek(0)
            reason = (self._log.read().strip().splitlines() or ["no reason given"])[-1]
            raise InputError(
                f"the peer's process ended ({reason}); set it up again: rm -r .venv-bench, then make bench"
            )
        return json.loads(line)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


def measure(data, peer: Peer, rounds: int) -> dict[str, dict]:
    """{system: {crop, photo, PublicTest, PrivateTest}} of our default model and of the peers."""
    from fer_lib.benchmark import percentiles
    from fer_lib.evaluate import fer2013_probability, predict
    from fer_lib.images import read_image
    from fer_lib.recognize import Recognizer
    from fer_lib.runtime import load_runtime
    from fer_lib.weights import DEFAULT_MODEL

    recognise = Recognizer()
    crops = [np.repeat(picture[..., None], 3, axis=-1) for picture in data.split("PublicTest").pixels[:TIMED_CROPS]]
    photos = [read_image(path) for path in PHOTOS]

    def ours(task: str, number: int) -> list[float]:
        if task == "time_crop":
            return _timed(lambda crop: recognise.classify(_sized(crop, recognise.card.input_size)), crops, number)
        return _timed(recognise, photos, number * len(photos))

    seconds: dict[tuple[str, str], list[float]] = {}
    random = np.random.default_rng(0)
    for _ in range(rounds):
        for i in random.permutation(1 + len(PEERS)):
            name = (DEFAULT_MODEL, *PEERS)[i]
            for task, number in (("time_crop", 20), ("time_photo", 3)):
                taken = ours(task, number) if i == 0 else peer(task, name, number)
                seconds.setdefault((name, task), []).extend(taken)
    systems = {}
    for name in (DEFAULT_MODEL, *PEERS):
        systems[name] = {task: percentiles(seconds[name, f"time_{task}"]) for task in ("crop", "photo")}
    classify = load_runtime(recognise.card)
    for split in SPLITS:
        outputs = predict(classify, data.split(split).pixels, recognise.card.input_size)
        best = fer2013_probability(outputs, recognise.card.heads).argmax(axis=1)
        systems[DEFAULT_MODEL][split] = scored(data, split, best)
        for name in PEERS:
            systems[name][split] = scored(data, split, np.array(peer("classify", name, split)))
    return systems


def _sized(crop: np.ndarray, size: int) -> np.ndarray:
    from fer_lib.detect import resize

    return resize(crop, size)[None]


def scored(data, split: str, best: np.ndarray) -> dict:
    """n, accuracy and its 95 % interval on a split, and both without the pictures that stand in Training.

    best: (n,) int, index into FER2013_EMOTIONS, whose order the peer's classes have too.
    """
    from fer_lib.metrics import bootstrap_interval

    right, own = best == data.split(split).label, ~data.in_training(split)
    return {
        "n": len(right),
        "accuracy": float(right.mean()),
        "interval": bootstrap_interval(right),
        "n_without_duplicates": int(own.sum()),
        "accuracy_without_duplicates": float(right[own].mean()),
        "interval_without_duplicates": bootstrap_interval(right[own]),
    }


def main(rounds: int) -> None:
    from fer_lib import run
    from fer_lib.benchmark import machine, read_peer, times_faster
    from fer_lib.datasets.demo import write_demo
    from fer_lib.datasets.fer2013 import load_fer2013
    from fer_lib.errors import InputError
    from fer_lib.weights import DEFAULT_MODEL

    if not PEER_PYTHON.exists():
        raise InputError(f"{PEER_PYTHON.relative_to(ROOT)} is missing: run make bench, which sets it up")
    demo, before = not os.environ.get("FER_DATA"), machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_demo(temporary) if demo else Path(os.environ["FER_DATA"])
        data = load_fer2013(folder / "fer2013" / "fer2013.csv")
        pictures = Path(temporary) / "pictures.npz"
        np.savez(pictures, **{split: data.split(split).pixels for split in SPLITS})
        peer = Peer(pictures)
        try:
            versions = {DEFAULT_MODEL: run.versions(), "fer": peer("versions", "fer")}
            systems = measure(data, peer, rounds)
        finally:
            peer.close()
    report = {
        "made_by": "tools/bench_peer.py",
        "data": "demo data" if demo else "FER2013",
        "data_sha256": data.fingerprint(),
        "commit": run.commit(),
        "versions": versions,
        **before,
        "ours": DEFAULT_MODEL,
        "systems": systems,
    }
    target = ROOT / ("out" if demo else "results") / "02_benchmark" / "peer.json"
    run.write_json(target, report)
    print(f"{report['data']}; wrote {target.relative_to(ROOT)}")
    for name, ratios in times_faster(read_peer(target)).items():
        print(f"{name}: takes {ratios['crop']:.2f} times as long a crop, {ratios['photo']:.2f} times a photograph")
    for name, system in systems.items():
        figures = (f"{split} {system[split]['accuracy']:.1%}" for split in SPLITS)
        alone = system["PrivateTest"]["accuracy_without_duplicates"]
        print(f"{name}:", *figures, f"(without pictures of Training {alone:.1%})")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Compare the default model with the peer fer.")
    options.add_argument("--rounds", type=int, default=10, help="turns of each (default 10)")
    options.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve)
    else:
        from fer_lib.errors import InputError

        try:
            main(given.rounds)
        except InputError as error:
            sys.exit(f"error: {error}")
