"""The video pipeline beside the installable peer `fer`, from file to annotated file, on made films with one face.

    make bench                         # sets up .venv-bench for the peer, then runs this too
    python tools/bench_video.py        # without .venv-bench: ours alone, and results/benchmark.json says so

Writes results/benchmark.json. Ours and the peer take turns on the same films in the same run; neither counts its
start-up here. The peer: Haar and TFLite as it comes, each frame annotated and written as mp4v by OpenCV. Beside it:
VGGFace-ResNet50 as another model, and one photograph by foto_fer.py as a whole process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.peer import SPLITS, Peer, there  # noqa: E402  the path must be set first

SIZES = {"640x360": (640, 360), "640x480": (640, 480), "1920x1080": (1920, 1080)}
OTHER_MODEL, OTHER_FILM = "vggface_resnet50", "640x480"
PHOTO = ROOT / "test_photo" / "astronaut.png"


def annotated(recognise, film: Path, target: Path) -> dict:
    """One film through our pipeline: frames/s, core-milliseconds a frame and those of each stage."""
    from fer_lib.video import annotate_video

    before = _core_s()
    done = annotate_video(film, recognise, target, table_path=target.with_suffix(".csv"), progress=False)
    return {
        "frames_per_s": done.frames / done.seconds,
        "core_ms": 1000 * (_core_s() - before) / done.frames,
        "stages_ms": {stage: 1000 * seconds / done.frames for stage, seconds in done.stages.items()},
    }


def _core_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peer_annotated(peer: Peer, film: Path, target: Path) -> dict:
    answer = peer("video", "fer", film, target)
    return {"frames_per_s": answer["frames"] / answer["seconds"], "faces": answer["faces"]}


def photo(folder: Path) -> dict:
    """Seconds of foto_fer.py on one photograph, start-up and all: after other work, and at once again.

    After other work the system may have to read the libraries and the models from the disk.
    """
    return {"after_other_work_s": _photo_s(folder), "again_s": _photo_s(folder)}


def _photo_s(folder: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, str(ROOT / "foto_fer.py"), str(PHOTO), "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def medians(turns: list[dict]) -> dict:
    """Of each figure over the turns."""
    if isinstance(turns[0], dict):
        return {name: medians([turn[name] for turn in turns]) for name in turns[0]}
    return float(np.median(turns))


def measure(folder: Path, peer: Peer | None, rounds: int, seconds: float) -> dict:
    """What results/benchmark.json holds of the films, the other model and the photograph."""
    from fer_lib.demo_video import make_moving_face
    from fer_lib.recognize import Recognizer

    films = {name: make_moving_face(PHOTO, folder / f"{name}.mp4", seconds, size) for name, size in SIZES.items()}
    models = {None: Recognizer(runtime="quick"), OTHER_MODEL: Recognizer(OTHER_MODEL, runtime="quick")}
    calls = {
        ("ours", name): lambda film=film: annotated(models[None], film, folder / "o.mp4")
        for name, film in films.items()
    }
    calls["other", OTHER_FILM] = lambda: annotated(models[OTHER_MODEL], films[OTHER_FILM], folder / "o.mp4")
    calls["photo", ""] = lambda: photo(folder)
    if peer is not None:
        for name, film in films.items():
            calls["fer", name] = lambda film=film: peer_annotated(peer, film, folder / "p.mp4")
    turns: dict[tuple[str, str], list] = {name: [] for name in calls}
    random = np.random.default_rng(0)
    for number in range(rounds + 1):
        for i in random.permutation(len(calls)):
            name = list(calls)[i]
            taken = calls[name]()
            if number:  # the first turn warms up
                turns[name].append(taken)
    found = {}
    for name in films:
        found[name] = {"ours": medians(turns["ours", name])}
        if peer is not None:
            theirs = turns["fer", name]
            pairs = zip(turns["ours", name], theirs, strict=True)
            found[name]["fer"] = medians(theirs)
            found[name]["ratio"] = medians([ours["frames_per_s"] / their["frames_per_s"] for ours, their in pairs])
    return {
        "films": found,
        "other_model": {"model": OTHER_MODEL, "film": OTHER_FILM, **medians(turns["other", OTHER_FILM])},
        "photo": medians(turns["photo", ""]),
    }


def main(rounds: int, seconds: float, target: Path) -> None:
    from fer_lib import run
    from fer_lib.benchmark import machine

    before = machine()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder, versions, peer = Path(temporary), {"ours": run.versions()}, None
        if there():
            pictures = folder / "none.npz"  # the peer's process asks for some; films need none
            np.savez(pictures, **{split: np.zeros((1, 48, 48), np.uint8) for split in SPLITS})
            peer = stack.enter_context(Peer(pictures))
            versions["fer"] = peer("versions", "fer")
        else:
            print("the peer is not set up (make bench does that): ours alone", file=sys.stderr)
        found = measure(folder, peer, rounds, seconds)
    report = {"made_by": "tools/bench_video.py", "commit": run.commit(), "versions": versions, **before}
    run.write_json(target, report | {"rounds": rounds, **found})
    print(f"wrote {target}")
    for name, film in found["films"].items():
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in film["ours"]["stages_ms"].items())
        beside = f", fer {film['fer']['frames_per_s']:.1f}: {film['ratio']:.2f} times" if "fer" in film else ""
        ours = film["ours"]
        print(
            f"{name}: {ours['frames_per_s']:.1f} frames/s{beside}; {ours['core_ms']:.1f} core-ms a frame; ms: {stages}"
        )
    print(f"{OTHER_MODEL} at {OTHER_FILM}: {found['other_model']['frames_per_s']:.1f} frames/s")
    photo_took = found["photo"]
    print(f"one photograph: {photo_took['again_s']:.2f} s, after other work {photo_took['after_other_work_s']:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the video pipeline with the peer fer.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each after a first that warms up (default 5)")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the films (default 12)")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "benchmark.json", help="where to write")
    options = parser.parse_args()
    from fer_lib.errors import InputError

    try:
        main(options.rounds, options.seconds, options.json)
    except InputError as error:
        sys.exit(f"error: {error}")
