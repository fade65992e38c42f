"""Ctrl-C and kill -9 of the real scripts: what is done so far is kept, and no final name holds what cannot be read."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pandas
import pytest
from conftest import PHOTOS, ROOT, WITHIN_S, make_film, script_running, until
from mjpeg import mjpeg_camera
from PIL import Image

from fer_lib.files import LEFTOVER_S, replacing, uninterrupted
from fer_lib.images import read_image
from fer_lib.recognize import Recognizer
from fer_lib.video import CsvTable, VideoReader, VideoWriter, annotate_video

pytestmark = [
    pytest.mark.usefixtures("ctrl_c_is_heeded"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGINT from another process"),
]

SMALL = (192, 160)  # pixels of the films here


def talking_portrait(path: Path, count: int) -> Path:
    """A still portrait at 25 frames/s with a tone."""
    image = np.asarray(Image.fromarray(read_image(PHOTOS / "grace_hopper.jpg")).resize(SMALL))
    return make_film(path, image, count, tone=True)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory) -> Path:
    """A minute: longer than any test here looks on."""
    return talking_portrait(tmp_path_factory.mktemp("film") / "long.mp4", 1500)


def start(*arguments) -> AbstractContextManager[subprocess.Popen]:
    """A script as a user starts it where there is no screen."""
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return script_running(env, *arguments)


def rows_are_coming(out: Path) -> bool:
    """Whether a table being written in this folder holds rows."""
    return any(part.stat().st_size for part in out.glob(".*.part-*.csv"))


def check_video(video: Path) -> int:
    """The video plays, and its table, whole to the last cell, ends with the same frame; returns the frames."""
    with VideoReader(video) as reader:
        frames = len(list(reader))
    with open(video.with_suffix(".csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [int(row["frame"]) for row in rows] == list(range(frames))  # one face, so one row a frame
    assert all(None not in row and None not in row.values() and row["measured"] in "01" for row in rows)
    return frames


def sound_s(video: Path) -> float:
    """Seconds of sound that can be decoded."""
    with av.open(str(video)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def check_interrupted(process: subprocess.Popen, error: str, kept: str = "what was done so far is kept") -> None:
    """Exit code 130, and the last thing said, after progress at most, is what is kept."""
    assert process.returncode == 130 and "Traceback" not in error, error
    assert error.splitlines()[-1] == f"error: interrupted; {kept}", error


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_stopped_in_a_video(long_film, tmp_path, signals):
    """Video and tables end with the same frame; one who presses Ctrl-C twice does not lose them."""
    out, table = tmp_path / "out", tmp_path / "all.json"
    with start("video_fer.py", long_film, "--out", out, "--json", table) as process:
        until(lambda: rows_are_coming(out), "rows")
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)  # so that the second comes while the first is dealt with, and is no part of it
        _, error = process.communicate(timeout=WITHIN_S)
    assert sorted(path.name for path in out.iterdir()) == ["long_fer.csv", "long_fer.mp4"]
    frames = check_video(out / "long_fer.mp4")
    video = out / "long_fer.mp4"
    check_interrupted(process, error, f"{frames} frames of {long_film} are in {video} and {video.with_suffix('.csv')}")
    assert 0 < frames < 1500 and len(json.loads(table.read_text())) == frames
    assert sound_s(out / "long_fer.mp4") == pytest.approx(frames / 25, abs=0.3)  # some packets of 64 ms


def test_ctrl_c_in_a_second_run(long_film, tmp_path):
    """The second film's results are new as far as they came, and what the first run had made of it is gone."""
    short = talking_portrait(tmp_path / "short.mp4", 40)
    out, old = tmp_path / "out", ["long_fer.csv", "long_fer.html", "long_fer.mp4", "long_fer_summary.json"]
    out.mkdir()
    for name in old:
        (out / name).write_text("of an earlier run")
    with start("video_fer.py", short, long_film, "--out", out) as process:
        until(lambda: (out / "short_fer.csv").exists() and rows_are_coming(out), "rows of the second film")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WITHIN_S)
    made = ["long_fer.csv", "long_fer.mp4", "short_fer.csv", "short_fer.mp4"]
    assert sorted(path.name for path in out.iterdir()) == made
    frames, video = check_video(out / "long_fer.mp4"), out / "long_fer.mp4"
    kept = f"{frames} frames of {long_film} are in {video} and {video.with_suffix('.csv')}"
    others = "1 of 2 videos are done and kept; the same call with --resume does the others"
    check_interrupted(process, error, f"{kept}; {others}")
    assert check_video(out / "short_fer.mp4") == 40


def test_ctrl_c_while_a_camera_stalls(tmp_path):
    """The end of the program does not wait for the camera."""
    with mjpeg_camera(stalling()) as url, start("webcam_fer.py", "--camera", url, "--out", tmp_path) as process:
        until(lambda: "still waiting" in process.stderr.readline(), "the line that no picture comes")
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, error = process.communicate(timeout=WITHIN_S)
        assert time.monotonic() - begun < 20  # the camera would be given up after 30 s
    (video,) = tmp_path.glob("*.mp4")
    frames = check_video(video)
    assert 0 < frames <= 20 and len(list(tmp_path.iterdir())) == 2
    check_interrupted(process, error, f"{frames} frames of {url} are in {video} and {video.with_suffix('.csv')}")


def test_ctrl_c_while_a_pipe_opens(tmp_path):
    """A named pipe to which nobody writes: OpenCV waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    code = "import sys; from fer_lib.camera import open_camera; print('now', flush=True); open_camera(sys.argv[1])"
    with start("-c", code, tmp_path / "pipe") as process:
        assert process.stdout.readline() == "now\n"
        time.sleep(0.3)  # were it not yet opening, the test would show less, not fail
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert error.rstrip().endswith("KeyboardInterrupt")


def stalling() -> Iterator[bytes]:
    """Twenty JPEG pictures with a face, then none."""
    picture = Image.fromarray(read_image(PHOTOS / "grace_hopper.jpg")).resize(SMALL)
    file = BytesIO()
    picture.save(file, "jpeg")
    for _ in range(20):
        yield file.getvalue()
        time.sleep(0.04)
    time.sleep(WITHIN_S)


def test_ctrl_c_in_a_folder_of_photos(tmp_path):
    """The pictures that are done are whole, and stand in the table."""
    (tmp_path / "in").mkdir()
    for number in range(400):
        (tmp_path / "in" / f"{number:03}.jpg").symlink_to(PHOTOS / "grace_hopper.jpg")
    out, table = tmp_path / "out", tmp_path / "all.csv"
    with start("foto_fer.py", tmp_path / "in", "--out", out, "--csv", table) as process:
        until(lambda: len(list(out.glob("*_fer.jpg"))) >= 3, "three pictures")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WITHIN_S)
    check_interrupted(process, error)
    done = sorted(path.name for path in out.iterdir())
    assert 3 <= len(done) < 400 and done == [f"{number:03}_fer.jpg" for number in range(len(done))]
    assert {read_image(out / name).shape for name in done} == {(600, 512, 3)}
    with open(table, newline="", encoding="utf-8") as file:
        rows = [Path(row["source"]).stem for row in csv.DictReader(file, strict=True)]
    assert rows == [f"{number:03}" for number in range(len(rows))] and 0 <= len(done) - len(rows) <= 1


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_in_videos(long_film, tmp_path, seed):
    """kill -9 at some moment: what has a final name plays, and a table is whole."""
    films = [*(talking_portrait(tmp_path / f"{name}.mp4", 40) for name in "abc"), long_film]
    out, random = tmp_path / "out", np.random.default_rng(seed)
    with start("video_fer.py", *films, "--out", out) as process:
        until(lambda: list(out.glob("*_fer.mp4")) or process.poll() is not None, "the first video")
        time.sleep(random.uniform(0, 2))
        process.kill()
    assert process.returncode == -signal.SIGKILL  # it was at work: the last film takes longer
    left = {path.name for path in out.iterdir()}
    tables = {name for name in left if name[0] != "." and name.endswith(".csv")}
    videos = {name for name in left if name[0] != "." and name.endswith(".mp4")}
    assert videos and {name.replace(".csv", ".mp4") for name in tables} <= videos  # a table comes after its video
    for name in videos:
        with VideoReader(out / name) as reader:
            assert len(list(reader)) == 40
    assert all(check_video(out / name.replace(".csv", ".mp4")) == 40 for name in tables)
    assert all(f".part-{process.pid}." in name for name in left - videos - tables)


WRITER = """
import sys, zipfile
import h5py, numpy as np
from pathlib import Path
from fer_lib.files import write_json
from fer_lib.images import write_image
from fer_lib.records import COLUMNS, write_table
from fer_lib.weights import save_keras

folder = Path(sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
rows = [dict.fromkeys(COLUMNS, 1) | {"source": "a", "emotion": "b"}] * 2000


class Model:  # as Keras writes one, without the seconds of importing it
    def save(self, path):
        weights = path.with_name("weights")
        with h5py.File(weights, "w") as file:
            file["kernel"] = np.zeros((300, 300), np.float32)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(weights, "model.weights.h5")
            archive.writestr("metadata.json", "{}")


while True:
    for suffix in ("jpg", "png"):
        write_image(folder / f"picture.{suffix}", image)
    for suffix in ("csv", "json", "parquet"):
        write_table(folder / f"table.{suffix}", rows, COLUMNS)
    write_json(folder / "run.json", rows)
    save_keras(Model(), folder / "model.keras")
"""


def check_written(path: Path, content: bytes) -> None:
    """What WRITER writes is whole."""
    if path.stem == "picture":
        assert np.asarray(Image.open(BytesIO(content))).shape == (300, 300, 3)
    elif path.suffix == ".csv":
        assert content.count(b"\n") == 2001
    elif path.suffix == ".json":
        assert len(json.loads(content)) == 2000
    elif path.suffix == ".parquet":
        assert len(pandas.read_parquet(BytesIO(content))) == 2000
    else:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            assert archive.testzip() is None and "model.weights.h5" in archive.namelist()


def test_killed_while_it_writes(tmp_path):
    """Pictures, tables and weights, written again and again, looked at as a kill -9 at that moment would leave them."""
    random = np.random.default_rng(0)
    with start("-c", WRITER, tmp_path) as process:
        until(lambda: (tmp_path / "model.keras").exists() or process.poll() is not None, "all seven files")
        for _ in range(40):
            time.sleep(random.uniform(0, 0.05))
            for path in tmp_path.glob("[!.]*"):
                check_written(path, path.read_bytes())
        process.kill()
    left = [path for path in tmp_path.iterdir() if path.name[0] != "."]
    assert len(left) == 7
    for path in left:
        check_written(path, path.read_bytes())
    assert all(f".part-{process.pid}." in path.name for path in tmp_path.glob(".*"))


def test_leftovers_of_killed_runs_only_are_removed(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        pass
    names = {
        f".a_fer.part-{ended.pid}.mp4": True,
        f".b.part-{ended.pid}.csv": True,
        f".young.part-{ended.pid}.mp4": False,
        f".alive.part-{os.getppid()}.mp4": False,
        f".not_ours-{ended.pid}.mp4": False,
        "a.part-1.mp4": False,
    }
    for name in names:
        (tmp_path / name).touch()
        if "young" not in name:
            os.utime(tmp_path / name, (0, time.time() - LEFTOVER_S - 60))
    with replacing(tmp_path / "new.csv"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv"} | {
        name for name, gone in names.items() if not gone
    }


NETWORKS = """
import signal
from fer_lib.detect import make_detector
from fer_lib.runtime import FastRuntime
from fer_lib.weights import load_card

first, second = make_detector("blazeface"), FastRuntime(load_card().folder / "model.xml")
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""


def test_ctrl_c_after_networks_are_gone():
    """OpenVINO leaves signals a stack that is gone when its cores go in the order in which they came."""
    done = subprocess.run([sys.executable, "-c", NETWORKS], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


ONE_CORE = """
from concurrent.futures import ThreadPoolExecutor
from fer_lib.runtime import openvino_core

with ThreadPoolExecutor(8) as pool:
    asked = [pool.submit(openvino_core) for _ in range(8)]
print(len({id(core.result()) for core in asked}))
"""


def test_threads_that_ask_at_once_get_one_openvino_core():
    done = subprocess.run([sys.executable, "-c", ONE_CORE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_sigterm_at_the_end_of_a_video_leaves_it_with_its_table(tmp_path, monkeypatch):
    """As a worker gets it while the video is read back: then both are complete."""
    film, before = talking_portrait(tmp_path / "a.mp4", 5), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(VideoWriter, "_read_back", lambda writer: signal.raise_signal(signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            annotate_video(film, Recognizer(), tmp_path / "o.mp4", table_path=tmp_path / "o.csv", progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert check_video(tmp_path / "o.mp4") == 5


def test_uninterrupted_holds_ctrl_c_until_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)
    assert done == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        raise ValueError  # the user's wish counts for more


def test_interrupted_before_the_first_row_leaves_an_older_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt), CsvTable(table, ("a",)):
        raise KeyboardInterrupt
    assert table.read_text() == "of an earlier run" and list(tmp_path.iterdir()) == [table]
