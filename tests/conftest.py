"""Shared by the tests: where things are, a tiny trained-free model folder, and the command line run in-process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "test_photo"
WITHIN_S = 60.0  # a busy machine's patience
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def fer_data() -> Path:
    """The folder of real data sets, for the tests that measure on them."""
    if "FER_DATA" not in os.environ:
        pytest.skip("FER_DATA is not set: no data sets here")
    return Path(os.environ["FER_DATA"])


@pytest.fixture
def ctrl_c_is_heeded() -> Iterator[None]:
    """A job in the background ignores Ctrl-C, and so would what the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run_script(*arguments, timeout=120, **kwargs) -> subprocess.CompletedProcess:
    """A script as a user runs it, from the repository root."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=timeout, **kwargs
    )


@contextmanager
def script_running(env: dict[str, str], *arguments) -> Iterator[subprocess.Popen]:
    """A script at work, from the repository root; it does not outlive the block."""
    command = [sys.executable, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=env, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def one_line_error(done: subprocess.CompletedProcess) -> str:
    """Check exit code 2 and exactly one line on stderr, without a traceback; returns the line."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def until(look, what: str):
    """The first true answer of `look`; fails when there is none in time."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {WITHIN_S:.0f} s: {what}")


def make_film(path: Path, image: np.ndarray, count: int, rate: int = 25, tone: bool = False) -> Path:
    """A film of count frames of one (H, W, 3) uint8 RGB picture, H and W even; tone: with a sound of 16 kHz."""
    import av

    sampling = 16_000
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12"})
        picture.height, picture.width, picture.pix_fmt = *image.shape[:2], "yuv420p"
        sound = container.add_stream("aac", rate=sampling, layout="mono") if tone else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(picture.encode(frame))
            if tone:
                at = np.arange(index * sampling // rate, (index + 1) * sampling // rate)
                heard = av.AudioFrame.from_ndarray(np.sin(at / 8, dtype=np.float32)[None], format="fltp", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = sampling, int(at[0]), Fraction(1, sampling)
                container.mux(sound.encode(heard))
        for stream in (picture, sound) if tone else (picture,):
            container.mux(stream.encode(None))
    return path


@pytest.fixture
def photo() -> np.ndarray:
    """A real photograph, (600, 512, 3) uint8 RGB, one face."""
    from fer_lib.images import read_image

    return read_image(PHOTOS / "grace_hopper.jpg")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model folder with random weights in the shipped layout: 16-pixel input, two heads, Keras and fast files."""
    import keras

    from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
    from fer_lib.models import grey_preprocessing, two_heads
    from fer_lib.runtime import export_fast
    from fer_lib.weights import KERAS_FILE, Card, save_keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3), dtype="uint8", name="pixels")
    x = keras.layers.Conv2D(8, 3, 2, activation="relu")(grey_preprocessing(pixels, 24))
    x = keras.layers.GlobalAveragePooling2D()(x)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    folder.mkdir()
    save_keras(keras.Model(pixels, two_heads(x, 0.1)), folder / KERAS_FILE)
    export_fast(folder / KERAS_FILE, folder)
    Card(
        name="tiny",
        task="emotion",
        labels=EMOTIONS,
        heads={"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)},
        input_size=16,
        crop_margin={"haar": 0.0, "blazeface": 0.0, "dnn": 0.0},
        alignment="none",
        preprocessing="in the model",
        data="none",
        data_terms="none",
        label_source="none",
        notebook="none",
        commit="none",
        seed=0,
        versions={},
        sha256={},
        scores={"random": {"value": 0.1, "n": 1, "interval": [0.0, 1.0], "command": "none"}},
        limits=["random weights"],
        not_for=["anything"],
    ).write(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_units(tiny_model, tmp_path_factory) -> Path:
    """A folder of an action unit model that says 2 of AU01, 0 of AU02 and 5 of all others, of whatever it sees."""
    from dataclasses import replace

    import keras
    import numpy as np

    from fer_lib.action_units import BUILTIN_COLUMNS
    from fer_lib.models import units_network
    from fer_lib.weights import KERAS_FILE, UNITS_TASK, load_card, save_keras

    pixels = keras.Input((16, 16, 3), dtype="uint8", name="pixels")
    features = keras.layers.GlobalAveragePooling2D(name="features")(keras.ops.cast(pixels, "float32"))
    network = units_network(keras.Model(pixels, features), len(BUILTIN_COLUMNS))
    answers = np.array([2.0, -9, *[9.0] * 13])
    network.get_layer("au_intensity").set_weights([np.zeros((3, 15)), answers])
    folder = tmp_path_factory.mktemp("units") / "tiny_units"
    folder.mkdir()
    save_keras(network, folder / KERAS_FILE)
    card = load_card(str(tiny_model))
    heads = {"labels": BUILTIN_COLUMNS, "heads": {"au": list(BUILTIN_COLUMNS)}}
    replace(card, name="tiny_units", task=UNITS_TASK, **heads).write(folder)
    return folder


@pytest.fixture(scope="session")
def real_fer2013(fer_data):
    """FER2013 with FER+, loaded once."""
    from fer_lib.datasets.fer2013 import load_fer2013

    return load_fer2013(fer_data / "fer2013" / "fer2013.csv", fer_data / "fer2013" / "fer2013new.csv")
