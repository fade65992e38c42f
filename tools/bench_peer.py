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
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.peer import PEERS, SPLITS, TIMED_CROPS, Peer, test_photos, timed  # noqa: E402  the path must be set first


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
    photos = [read_image(path) for path in test_photos()]

    def ours(task: str, number: int) -> list[float]:
        if task == "time_crop":
            return timed(lambda crop: recognise.classify(_sized(crop, recognise.card.input_size)), crops, number)
        return timed(recognise, photos, number * len(photos))

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
            systems[name][split] = scored(data, split, np.argmax(peer("probabilities", name, split), axis=1))
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
    from fer_lib.weights import DEFAULT_MODEL

    demo, before = not os.environ.get("FER_DATA"), machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_demo(temporary) if demo else Path(os.environ["FER_DATA"])
        data = load_fer2013(folder / "fer2013" / "fer2013.csv")
        pictures = Path(temporary) / "pictures.npz"
        np.savez(pictures, **{split: data.split(split).pixels for split in SPLITS})
        with Peer(pictures) as peer:
            versions = {DEFAULT_MODEL: run.versions(), "fer": peer("versions", "fer")}
            systems = measure(data, peer, rounds)
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
    from fer_lib.errors import InputError

    try:
        main(options.parse_args().rounds)
    except InputError as error:
        sys.exit(f"error: {error}")
