"""Folders and lists of videos: which are taken, which are done; worker processes and a Dask cluster that do them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import av
import job_work
import numpy as np
import pandas
import pytest
from conftest import PHOTOS, ROOT, WITHIN_S, make_film, until
from PIL import Image

from fer_lib import jobs as jobs_module
from fer_lib.cli import main
from fer_lib.errors import InputError, Interrupted
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.images import read_image
from fer_lib.jobs import (
    Outcome,
    TableRows,
    find_videos,
    label_video,
    left_to_do,
    plan,
    run_in_processes,
    run_in_turn,
    run_on_dask,
)
from fer_lib.records import columns, write_table
from fer_lib.video import VideoReader

NAMES = columns(video=True, smoothed=True)
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def one_face(image):
    emotion = np.full((1, len(EMOTIONS)), 0.1, np.float32)
    emotion[0, EMOTIONS.index("happy")] = 0.2
    return Faces(np.array([[20, 20, 60, 60]], np.int32), np.ones(1, np.float32), emotion, labels=EMOTIONS)


def portrait(path, count=6):
    image = np.asarray(Image.fromarray(read_image(PHOTOS / "grace_hopper.jpg")).resize((192, 160)))
    return make_film(path, image, count)


def red(path, count=6):
    return make_film(path, np.full((80, 96, 3), (230, 30, 30), np.uint8), count)


def rows_of(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


# ------------------------------------------------------------------------------------------------ which


def test_videos_of_a_folder(tmp_path):
    for name in "b.mp4 a.MKV c_fer.mp4 c_fer_2.mp4 c_fer.csv note.txt .hidden.mp4 d_fer.mov".split():
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in find_videos(tmp_path)] == ["a.MKV", "b.mp4", "d_fer.mov"]


def test_folder_without_videos(tmp_path):
    with pytest.raises(InputError, match="no videos in this folder"):
        find_videos(tmp_path)
    (tmp_path / "a_fer.mp4").touch()
    with pytest.raises(InputError, match="only results of an earlier run"):
        find_videos(tmp_path)


def test_plan(tmp_path):
    first, second = plan(["a.mp4", "x/a.mkv"], "out", summary=True, plot=True, report=True)
    assert [str(path) for path in (first.video, first.table, *first.extras)] == [
        "out/a_fer.mp4",
        "out/a_fer.csv",
        "out/a_fer_summary.json",
        "out/a_fer_plot.png",
        "out/a_fer.html",
    ]
    assert (second.source, str(second.table)) == ("x/a.mkv", "out/a_fer_2.csv")
    assert plan(["a.mp4"], "out")[0].extras == [] and plan([], "out") == []
    (kept,) = plan([tmp_path / "a_fer.mp4"], tmp_path)
    assert kept.video.name == "a_fer_fer.mp4"


@pytest.fixture
def done(tmp_path):
    """A job that was done, with its summary."""
    (job,) = plan([red(tmp_path / "a.mp4")], tmp_path / "out", summary=True)
    label_video(job, one_face, NAMES, progress=False)
    return job


def test_done_before(done):
    assert left_to_do(done, NAMES) is None
    assert left_to_do(replace(done, plot=done.video.with_suffix(".png")), NAMES).labelled
    done.summary.unlink()
    left = left_to_do(done, NAMES)
    assert left == replace(done, labelled=True)
    stamp = done.video.stat().st_mtime_ns
    label_video(left, None, NAMES)  # asks no recogniser
    assert left_to_do(done, NAMES) is None and done.video.stat().st_mtime_ns == stamp


def test_another_spelling_of_its_path_is_the_same_video(done, monkeypatch):
    monkeypatch.chdir(done.path.parent)
    assert left_to_do(replace(done, source="a.mp4"), NAMES) is None
    assert left_to_do(replace(done, source="./out/../a.mp4"), NAMES) is None


def test_a_damaged_video_is_done_once(tmp_path):
    """A packet that cannot be decoded makes no row, here as when it was done."""
    path = red(tmp_path / "a.mp4", 60)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
        start, end = packet.pos, packet.pos + packet.size
    content = bytearray(path.read_bytes())
    content[start:end] = b"\xff" * (end - start)
    path.write_bytes(content)
    (job,) = plan([path], tmp_path / "out")
    assert label_video(job, one_face, NAMES, progress=False).video.skipped > 0
    assert left_to_do(job, NAMES) is None


SETTINGS = ("newer", "video", "table", "columns", "source", "settings", "empty", "head", "no table")


@pytest.mark.parametrize("change", SETTINGS)
def test_not_done_before(done, change):
    names = columns(video=True, va=True, smoothed=True) if change == "columns" else NAMES
    if change == "newer":
        os.utime(done.path, (time.time() + 60,) * 2)
    elif change in ("video", "table"):
        getattr(done, change).unlink()
    elif change == "source":
        done = replace(done, source="another.mp4")
    elif change == "settings":
        done = replace(done, settings='{"every": 5}')
    elif change == "empty":
        done.table.write_text("")
    elif change == "head":
        done.table.write_text(",".join(NAMES) + "\n")
    elif change == "no table":
        done.table.write_bytes(b"\x00\xff" * 50)
    assert left_to_do(done, names) == done


def test_stopped_by_ctrl_c_is_not_done(tmp_path):
    """The single process keeps what it has, which is not all."""
    (job,) = plan([red(tmp_path / "a.mp4")], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        label_video(job, ended_after(5), NAMES, progress=False)
    assert len(rows_of(job.table)) == 5 and left_to_do(job, NAMES) == job
    label_video(job, one_face, NAMES, progress=False)
    assert left_to_do(job, NAMES) is None


class Reader:
    """In place of a SequenceReader: one row a video, of the faces it was shown since begin()."""

    def begin(self):
        self._seen = []

    def __call__(self, image, faces, time_s):
        self._seen += [(track, time_s) for track in faces.track_id.tolist()]

    def rows(self, source):
        times = [time_s for _, time_s in self._seen]
        row = {"source": source, "face_id": 0, "window": 0, "frames": len(times)}
        return [row | {"start_s": min(times), "end_s": max(times)}] if times else []


def test_sequences_are_read_with_the_video(tmp_path):
    """By the same tracker, each video afresh; as they come from the frames, without them the video is done again."""
    jobs, reader = (
        plan([red(tmp_path / "a.mp4"), red(tmp_path / "b.mp4", 4)], tmp_path / "out", sequence=True),
        Reader(),
    )
    outcomes = [label_video(job, one_face, NAMES, reader=reader, progress=False) for job in jobs]
    assert [str(job.sequence.name) for job in jobs] == ["a_fer_sequence.csv", "b_fer_sequence.csv"]
    for job, outcome, frames in zip(jobs, outcomes, (6, 4), strict=True):
        (row,) = rows_of(job.sequence)
        assert (row["source"], row["frames"], outcome.sequences[0]["frames"]) == (job.source, str(frames), frames)
        assert job.results == [job.sequence] and left_to_do(job, NAMES) is None
    jobs[0].sequence.unlink()
    assert left_to_do(jobs[0], NAMES) == jobs[0] and not jobs[0].labelled


def test_sequences_after_ctrl_c_are_those_of_the_video_so_far(tmp_path):
    for name, last in (("a", 3), ("b", 0)):
        (job,) = plan([red(tmp_path / f"{name}.mp4")], tmp_path / "out", sequence=True)
        with pytest.raises(KeyboardInterrupt):
            label_video(job, ended_after(last), NAMES, reader=Reader(), progress=False)
        assert job.sequence.exists() == job.table.exists() == (name == "a")


def ended_after(count, then=one_face):
    """A recogniser that Ctrl-C ends at the picture after `count`."""
    seen = []

    def recognise(image):
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(1)
        return then(image)

    return recognise


def test_ctrl_c_removes_what_no_longer_belongs_to_the_video(tmp_path):
    """Summary, plot, page and sequences of an earlier, longer run; without a new frame all stays."""
    (job,) = plan([red(tmp_path / "a.mp4")], tmp_path / "out", summary=True, sequence=True)
    label_video(job, one_face, NAMES, reader=Reader(), progress=False)
    for name in ("a_fer.html", "a_fer_plot.png", "a_fer.png"):  # the last is foto_fer.py's name
        (tmp_path / "out" / name).touch()
    before = {path: path.read_bytes() for path in job.video.parent.iterdir()}
    with pytest.raises(KeyboardInterrupt, match=f"no frame of {job.source} was written"):
        label_video(job, ended_after(0), NAMES, reader=Reader(), progress=False)
    assert {path: path.read_bytes() for path in job.video.parent.iterdir()} == before
    kept = f"3 frames of {job.source} are in {job.video} and {job.table}, their sequences in {job.sequence}"
    with pytest.raises(KeyboardInterrupt, match=re.escape(kept)):
        label_video(job, ended_after(3), NAMES, reader=Reader(), progress=False)
    made = sorted(path.name for path in job.video.parent.iterdir())
    assert made == ["a_fer.csv", "a_fer.mp4", "a_fer.png", "a_fer_sequence.csv"] and len(rows_of(job.table)) == 3


def test_ctrl_c_while_the_report_is_made(tmp_path, monkeypatch):
    (job,) = plan([red(tmp_path / "a.mp4")], tmp_path / "out", summary=True)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs_module, "write_summary", interrupt)
    with pytest.raises(KeyboardInterrupt, match="are complete; the same call with --resume makes what is missing"):
        label_video(job, one_face, NAMES, progress=False)
    assert left_to_do(job, NAMES) == replace(job, labelled=True)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("a refused stop b", "1 of 4 videos are done and kept; the same call with --resume does the others"),
        ("a told", "5 frames; 1 of 2 videos are done and kept; the same call with --resume does the others"),
        ("stop", "no video was done"),
        ("told", "5 frames"),
    ],
)
def test_ctrl_c_of_videos_in_turn(tmp_path, sources, said):
    def work(job, step):
        if job.source == "refused":
            raise InputError("not a video")
        if job.source in ("stop", "told"):
            raise KeyboardInterrupt(*["5 frames"] * (job.source == "told"))
        return Outcome(job)

    with pytest.raises(Interrupted) as stop:
        run_in_turn(plan(sources.split(), tmp_path), lambda: work, lambda outcome: None)
    assert str(stop.value) == said


def test_a_name_with_a_line_break_is_found_done(tmp_path):
    (job,) = plan([red(tmp_path / 'a\n"b",c.mp4')], tmp_path / "out")
    label_video(job, one_face, NAMES, progress=False)
    assert left_to_do(job, NAMES) is None


def test_rows_of_all_tables_have_their_types(tmp_path):
    first, second, third = jobs = plan(["a.mp4", "b.mp4", "c.mp4"], tmp_path)
    row = {"source": "1", "frame": 0, "time_s": 1.0, "x": 3, "happy": 1e-06, "emotion": "happy", "measured": 1}
    write_table(third.table, [row | {"source": "old"}], NAMES)
    rows = TableRows(jobs)
    assert list(rows) == []
    write_table(second.table, [row], NAMES)
    write_table(first.table, [row | {"face_id": 7}, {"source": "1", "frame": 1, "time_s": 1.04}], NAMES)
    expected = [row | {"face_id": 7}, {"source": "1", "frame": 1, "time_s": 1.04}, row]
    assert list(rows) == list(rows) == expected
    assert [type(value) for value in next(iter(rows)).values()] == [str, int, float, int, int, float, str, int]
    rows.kept.add(third.table)
    assert [row["source"] for row in rows] == ["1", "1", "1", "old"]


# ------------------------------------------------------------------------------------------------ worker processes


@posix
def test_worker_processes(tmp_path, capfd):
    """Two at a time; a refused video, an unreadable one and one that kills its process stop no other."""
    todo = plan(["pair", "pair", "refused", "killed", "unreadable", "a", "b"], tmp_path)
    outcomes = []
    run_in_processes(todo, job_work.make_work, 2, outcomes.append)
    errors = {outcome.job.source: outcome.error for outcome in outcomes if outcome.error}
    assert errors == {
        "refused": "refused: not a video",
        "unreadable": "unreadable: Permission denied",
        "killed": "killed: its worker process ended by signal 9; try it alone, with --jobs 1",
    }
    made = ["a_fer.csv", "b_fer.csv", "pair_fer.csv", "pair_fer_2.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == made and len(outcomes) == 7
    processes = {(tmp_path / name).read_text() for name in made[2:]}
    assert len(processes) == 2 and str(os.getpid()) not in processes
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith("7 of 7 videos, 7 frames, ") and "Traceback" not in "".join(lines)


def test_what_no_worker_can_do_is_told_once(tmp_path):
    with pytest.raises(InputError, match="^there is no such model$"):
        run_in_processes(plan(["a", "b"], tmp_path), job_work.no_work, 2, None)


@posix
def test_interrupted_workers_leave_nothing(tmp_path):
    """An endless video is given up; the caller's exception goes on."""

    def interrupt(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(plan(["after", "endless"], tmp_path), job_work.make_work, 2, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["after_fer.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two films with a face and what is none."""
    folder = tmp_path_factory.mktemp("films")
    portrait(folder / "a.mp4")
    portrait(folder / "b.mp4", 4)
    (folder / "broken.mp4").write_bytes(b"\x00" * 999)
    return folder


def call(folder, tiny_model, out, *more) -> int:
    arguments = ["video", str(folder), "--model", str(tiny_model), "--detector", "haar", "--out", str(out)]
    return main([*arguments, *map(str, more)])


def test_a_folder_by_two_processes_and_again(folder, tiny_model, tmp_path, capfd):
    out, tables = tmp_path / "out", [tmp_path / f"all.{kind}" for kind in ("csv", "json", "parquet")]
    collect = [word for path in tables for word in (f"--{path.suffix[1:]}", path)]
    assert call(folder, tiny_model, out, "--jobs", 2, "--summary", *collect) == 2
    told, errors = capfd.readouterr()
    errors = [line for line in errors.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "broken.mp4: not a video" in errors[0]
    assert "face 0 for 0.2 s: " in told and f"wrote {out / 'a_fer_summary.json'}" in told
    made = [f"{name}_fer{end}" for name in "ab" for end in (".csv", ".mp4", "_summary.json")]
    assert sorted(path.name for path in out.iterdir()) == made
    rows = rows_of(tables[0])
    assert rows == rows_of(out / "a_fer.csv") + rows_of(out / "b_fer.csv") and len(rows) == 10
    listed = json.loads(tables[1].read_text())
    assert [row["frame"] for row in listed] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert [str(row["happy"]) for row in listed] == [row["happy"] for row in rows]
    table = pandas.read_parquet(tables[2])
    assert list(table.columns) == list(rows[0]) and str(table.dtypes["frame"]) == "Int64"
    assert table["time_s"].tolist() == [row["time_s"] for row in listed]

    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "b_fer.csv").unlink()
    assert call(folder, tiny_model, out, "--resume", "--summary", *collect) == 2
    assert f"{folder / 'a.mp4'}: done before: {out / 'a_fer.mp4'}" in capfd.readouterr().out
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"b_fer.csv", "b_fer.mp4", "b_fer_summary.json"} and rows_of(tables[0]) == rows


def test_resume_with_other_options_does_it_anew(folder, tiny_model, tmp_path, capsys):
    """But where only the spelling differs, or what is made of the table, it is done before."""
    film, again = folder / "b.mp4", ["--resume", "--csv", tmp_path / "all.csv"]
    assert call(film, tiny_model, tmp_path) == 0
    other = shutil.copytree(tiny_model, tmp_path / "other")
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"name": "other"}))
    for options, done_before in (
        ([], True),
        (["--smooth", "0.3"], True),
        (["--model", other], False),
        (["--model", other], True),
        (["--model", other, "--every", 2], False),
        (["--uncertain-below", 0], False),
        (["--min-face", 20], False),
        (["--va-scale", "1-7"], False),
        (["--va-scale", "1-7", "--va"], False),
        (["--va-scale", "1-7", "--va", "--summary"], True),
    ):
        capsys.readouterr()
        stamp = (tmp_path / "b_fer.mp4").stat().st_mtime_ns
        assert call(film, tiny_model, tmp_path, *again, *options) == 0
        assert ((tmp_path / "b_fer.mp4").stat().st_mtime_ns == stamp) == done_before, options
        assert rows_of(tmp_path / "all.csv") == rows_of(tmp_path / "b_fer.csv")


def test_results_into_the_same_folder(folder, tiny_model, tmp_path):
    portrait(tmp_path / "a.mp4", 3)
    for _ in range(2):
        assert call(tmp_path, tiny_model, tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a_fer.csv", "a_fer.mp4"]


def test_report_and_plot_of_what_is_labelled(tiny_model, tmp_path, capsys):
    portrait(tmp_path / "a.mp4", 3)
    assert call(tmp_path / "a.mp4", tiny_model, tmp_path) == 0
    stamp = (tmp_path / "a_fer.mp4").stat().st_mtime_ns
    assert call(tmp_path / "a.mp4", tiny_model, tmp_path, "--resume", "--report", "--plot") == 0
    assert (tmp_path / "a_fer.mp4").stat().st_mtime_ns == stamp
    assert "tiny" in (tmp_path / "a_fer.html").read_text() and read_image(tmp_path / "a_fer_plot.png").ndim == 3
    assert f"wrote {tmp_path / 'a_fer.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--jobs", "2", "--show"], "--show has one window"),
        (["--dask", "tcp://127.0.0.1:9", "--jobs", "2"], "give one of the two"),
        (["--csv", "OUT/a_fer.csv"], "is where a video's own results go"),
        (["--csv", "OUT/../OUT/b_fer_sequence.csv", "--sequence"], "is where a video's own results go"),
        (["--json", "OUT/a_fer_summary.json"], "is where a video's own results go"),
        (["--jobs", "2", "--json", "OUT/b_fer_summary.json", "--summary"], "is where a video's own results go"),
        (["--jobs", "2", "--model", "none"], "no model 'none'"),
    ],
)
def test_wrong_use(folder, tiny_model, tmp_path, capfd, more, message):
    more = [word.replace("OUT/../OUT", f"{tmp_path}/../{tmp_path.name}").replace("OUT", str(tmp_path)) for word in more]
    assert call(folder, tiny_model, tmp_path, *more) == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0]
    assert list(tmp_path.iterdir()) == []


def any_of_session(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@posix
@pytest.mark.usefixtures("ctrl_c_is_heeded")
def test_ctrl_c_at_a_terminal(tiny_model, tmp_path):
    """It goes to the workers too. What is finished stays and is in the table; of the others nothing is left."""
    films, out, table = tmp_path / "films", tmp_path / "out", tmp_path / "all.csv"
    films.mkdir()
    for name, count in (("a", 3), ("b", 6000), ("c", 6000)):
        red(films / f"{name}.mp4", count)
    command = [sys.executable, "video_fer.py", films, "--out", out, "--csv", table, "--jobs", "2"]
    command += ["--model", tiny_model, "--detector", "haar"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([str(word) for word in command], cwd=ROOT, **streams) as process:
        try:
            until(lambda: (out / "a_fer.csv").exists() and list(out.glob(".c_fer.part-*.mp4")), "a done, c begun")
            os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=WITHIN_S)
        finally:
            process.kill()
    assert process.returncode == 130 and "Traceback" not in error, error
    assert error.splitlines()[-1] == (
        "error: interrupted; 1 of 3 videos are done and kept; the same call with --resume does the others"
    ), error
    assert sorted(path.name for path in out.iterdir()) == ["a_fer.csv", "a_fer.mp4"]
    with VideoReader(out / "a_fer.mp4") as video:
        assert len(list(video)) == 3
    assert rows_of(table) == rows_of(out / "a_fer.csv")
    until(lambda: not any_of_session(process.pid), "all its processes have ended")


# ------------------------------------------------------------------------------------------------ Dask


@contextmanager
def dask_started(folder, on_scheduler: dict, on_worker: dict):
    """`dask scheduler` and `dask worker` as the README starts them, in another folder, with these variables."""
    pytest.importorskip("distributed", reason="distributed is not installed (requirements-dask.txt)")
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with ExitStack() as stack:

        def start(kind, more, *words):
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *map(str, words)]
            process = stack.enter_context(subprocess.Popen(command, cwd=folder, env=bare | more, **streams))
            stack.callback(process.terminate)

        place = folder / "scheduler.json"
        at = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", place)
        start("scheduler", on_scheduler, *at)
        start("worker", on_worker, "--scheduler-file", place, "--nthreads", 1, "--no-dashboard", "--no-nanny")
        until(place.exists, "the scheduler")
        yield json.loads(until(place.read_text, "its address"))["address"]


def test_dask_as_the_readme_says(folder, tiny_model, tmp_path, capfd):
    path = {"PYTHONPATH": str(ROOT)}
    with dask_started(tmp_path, path, path) as address:
        until(lambda: has_workers(address), "the worker")
        assert call(folder / "a.mp4", tiny_model, tmp_path / "out", "--dask", address) == 0, capfd.readouterr()
    assert len(rows_of(tmp_path / "out" / "a_fer.csv")) == 6
    assert "PYTHONPATH=/path/of/this/repository dask scheduler" in (ROOT / "README.md").read_text()


def test_dask_scheduler_without_fer_lib(folder, tiny_model, tmp_path, capfd):
    """One line for all videos."""
    with dask_started(tmp_path, {}, {"PYTHONPATH": str(ROOT)}) as address:
        until(lambda: has_workers(address), "the worker")
        capfd.readouterr()
        assert call(folder, tiny_model, tmp_path / "out", "--dask", address) == 2
    told = capfd.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert (
        "Traceback" not in told
        and len(errors) == 1
        and "start both with PYTHONPATH=the folder of video_fer.py" in errors[0]
    ), errors


def has_workers(address: str) -> bool:
    import distributed

    with distributed.Client(address, timeout=WITHIN_S) as client:
        return bool(client.scheduler_info()["workers"])


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed (requirements-dask.txt)")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
    before = dict(os.environ)  # the cluster sets OMP_NUM_THREADS to 1 here, for all tests to come
    with distributed.LocalCluster(n_workers=2, processes=True, **options) as cluster:
        yield cluster
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def test_a_folder_by_a_dask_cluster(cluster, folder, tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    code = call(folder, tiny_model, "out", "--dask", cluster.scheduler_address, "--csv", "all.csv")
    told, errors = capfd.readouterr()
    assert code == 2 and "broken.mp4: not a video" in errors and "3 of 3 videos, 10 frames, " in errors, errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name}_fer.{end}" for name in "ab" for end in ("csv", "mp4")
    ]
    rows = rows_of("all.csv")
    assert rows == rows_of("out/a_fer.csv") + rows_of("out/b_fer.csv") and len(rows) == 10
    assert f"wrote {tmp_path / 'out' / 'a_fer.mp4'}" in told


def test_a_missing_file_for_dask(cluster, tmp_path, tiny_model, capfd):
    """It is missing here too, so it is nothing that a worker does not see; the table of an earlier run stays."""
    (tmp_path / "all.csv").write_text("of an earlier run")
    film, address = tmp_path / "none.mp4", cluster.scheduler_address
    assert call(film, tiny_model, tmp_path / "out", "--dask", address, "--csv", tmp_path / "all.csv") == 2
    assert capfd.readouterr().err == f"error: {film}: no such file\n"
    assert (tmp_path / "all.csv").read_text() == "of an earlier run"


def test_both_dask_workers_work(cluster, tmp_path):
    todo = [replace(job, path=tmp_path) for job in plan(["pair", "pair", "refused"], tmp_path)]
    outcomes = []
    run_on_dask(todo, job_work.make_work, cluster.scheduler_address, outcomes.append)
    assert sorted(outcome.job.source for outcome in outcomes) == ["pair", "pair", "refused"]
    assert [outcome.error for outcome in outcomes if outcome.error] == ["refused: not a video"]
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 2


def test_a_long_work_of_dask_is_told_now_and_then(cluster, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(jobs_module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(jobs_module, "PROGRESS_EVERY_S", 0.4)
    todo = [replace(job, path=tmp_path) for job in plan(["slow"], tmp_path)]
    run_on_dask(todo, job_work.make_work, cluster.scheduler_address, lambda outcome: None)
    *before, last = capfd.readouterr().err.splitlines()
    assert before and all(line.startswith("0 of 1 videos") for line in before) and "frames/s" in before[-1]
    assert last.startswith("1 of 1 videos, 100 frames, ")


def test_dask_worker_that_does_not_see_the_video(cluster, tmp_path):
    outcomes = []
    run_on_dask(plan([tmp_path / "none.mp4"], tmp_path), job_work.make_work, cluster.scheduler_address, outcomes.append)
    assert "does not see it; share the folder" in outcomes[0].error


def test_no_dask_worker_can_work(cluster, tmp_path):
    todo = [replace(job, path=tmp_path) for job in plan(["a", "b"], tmp_path)]
    with pytest.raises(InputError, match="^there is no such model$"):
        run_on_dask(todo, job_work.no_work, cluster.scheduler_address, None)


def test_ctrl_c_stops_dask_workers(cluster, tmp_path):
    todo = [replace(job, path=tmp_path) for job in plan(["after", "endless", "endless", "a"], tmp_path)]

    def interrupt(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_dask(todo, job_work.make_work, cluster.scheduler_address, interrupt)
    until(lambda: not list(tmp_path.glob(".*")), "nothing half-written is left")
    assert {path.name for path in tmp_path.iterdir()} <= {"after_fer.csv", "a_fer.csv"}


def test_no_dask_scheduler(folder, tiny_model, tmp_path, monkeypatch, capfd):
    pytest.importorskip("distributed", reason="distributed is not installed (requirements-dask.txt)")
    monkeypatch.setattr(jobs_module, "ANSWER_WITHIN_S", 1.0)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1", "tcp://a:b"):
        assert call(folder, tiny_model, tmp_path / "out", "--dask", address) == 2
        errors = capfd.readouterr().err.splitlines()
        assert len(errors) == 1 and f"no Dask scheduler answers at {address}" in errors[0], errors


def test_without_distributed(folder, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert call(folder, tiny_model, tmp_path / "out", "--dask", "tcp://127.0.0.1:8786") == 2
    assert "pip install -r requirements-dask.txt" in capsys.readouterr().err
