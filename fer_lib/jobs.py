"""Many videos: which ones are meant, which are done, and worker processes or a Dask cluster that do the others."""

from __future__ import annotations

import csv
import multiprocessing
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fer_lib.errors import InputError, Interrupted
from fer_lib.files import OutputNames, remove_parts, uninterrupted
from fer_lib.messages import inform
from fer_lib.records import typed, write_table
from fer_lib.runtime import limit_threads
from fer_lib.summary import read_rows, summarise, write_summary
from fer_lib.video import PROGRESS_EVERY_S, VideoReader, VideoSummary, annotate_video, video_comment

if TYPE_CHECKING:
    from fer_lib.sequences import SequenceReader

SUFFIXES = frozenset(
    ".3gp .asf .avi .divx .flv .m2ts .m4v .mjpeg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)
RESULT = re.compile(r".+_fer(_\d+)?\.mp4", re.IGNORECASE)
LOOK_EVERY_S = 1.0
STOP_WITHIN_S = 15.0  # what a worker is given to remove what it is writing
ANSWER_WITHIN_S = 10.0  # what a Dask scheduler is given to answer
LAST_ROW = 16_384  # bytes at the end of a table that surely hold its last row


@dataclass(frozen=True)
class VideoJob:
    """One video and where its results go; a kind of result that is not wanted is None."""

    source: str  # as the user named it: in rows and messages
    path: Path  # where it lies
    video: Path  # the annotated one
    table: Path
    summary: Path | None = None
    plot: Path | None = None
    report: Path | None = None
    sequence: Path | None = None  # of fer_lib.sequences; made of the frames, with video and table
    settings: str = ""  # all that decides what video and table hold; it stands in the video's metadata
    labelled: bool = False  # video and table are there already: only the others are to be made

    @property
    def extras(self) -> list[Path]:
        """What is made of video and table."""
        return [path for path in (self.summary, self.plot, self.report) if path is not None]

    @property
    def results(self) -> list[Path]:
        """All that is written beside video and table."""
        return ([] if self.sequence is None else [self.sequence]) + self.extras


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: VideoJob
    video: VideoSummary | None = None  # None where video and table were there already
    faces: tuple[dict, ...] = ()  # rows of fer_lib.summary.summarise, where a summary is wanted
    sequences: tuple[dict, ...] = ()  # rows of fer_lib.sequences.SequenceReader, where those are wanted
    error: str = ""  # one line, where it failed


def find_videos(folder) -> list[Path]:
    """The video files directly in a folder, by name, without those that an earlier run has made.

    InputError when there are none.
    """
    folder = Path(folder)
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    fresh = [path for path in found if not RESULT.fullmatch(path.name)]
    if not fresh:
        what = "only results of an earlier run" if found else "no videos"
        raise InputError(f"{folder}: {what} in this folder; give a folder with .mp4, .mkv, .mov, .avi ...")
    return fresh


def plan(
    videos: Sequence,
    out,
    *,
    summary: bool = False,
    plot: bool = False,
    report: bool = False,
    sequence: bool = False,
    settings: str = "",
) -> list[VideoJob]:
    """A job for each video, results in the folder `out`; the same videos in the same order get the same names."""
    wanted = {"summary": summary, "plot": plot, "report": report, "sequence": sequence}
    names, jobs = OutputNames(out, keep=videos), []
    for source in videos:
        video = names(source, ".mp4")
        jobs.append(
            VideoJob(
                source=str(source),
                path=Path(source),
                video=video,
                table=video.with_suffix(".csv"),
                settings=settings,
                **{kind: path for kind, path in _places(video).items() if wanted[kind]},
            )
        )
    return jobs


def _places(video: Path) -> dict[str, Path]:
    """Where the results beside an annotated video and its table go."""
    return {
        "summary": video.with_name(f"{video.stem}_summary.json"),
        "plot": video.with_name(f"{video.stem}_plot.png"),
        "report": video.with_suffix(".html"),
        "sequence": video.with_name(f"{video.stem}_sequence.csv"),
    }


def left_to_do(job: VideoJob, names: tuple[str, ...]) -> VideoJob | None:
    """What an earlier run has left of a job: None when all is done, else the job, `labelled` where the rest is there.

    A video counts as labelled when its results are newer than itself, were made with the job's settings, and its table
    has the columns `names`, was made of this source and has rows up to its last frame; one that Ctrl-C has ended has
    fewer.
    """
    try:
        if min(job.video.stat().st_mtime, job.table.stat().st_mtime) < job.path.stat().st_mtime:
            return job
        columns, source, frames = _table_tells(job.table)
        same = columns == names and os.path.realpath(source) == os.path.realpath(job.source)
        if not same or video_comment(job.video) != job.settings or not _has_frames(job.path, frames):
            return job
        if job.sequence is not None and job.sequence.stat().st_mtime < job.table.stat().st_mtime:
            return job
        complete = all(path.exists() and path.stat().st_mtime >= job.table.stat().st_mtime for path in job.extras)
        return None if complete else replace(job, labelled=True)
    except (OSError, InputError, ValueError, IndexError, StopIteration):
        return job


def _has_frames(path: Path, count: int) -> bool:
    """Whether a video has so many frames; it is decoded only where packets and frames differ, as in a damaged one."""
    with VideoReader(path) as video:
        return video.frames == count or sum(1 for _ in islice(video, count + 1)) == count


def _table_tells(path: Path) -> tuple[tuple[str, ...], str, int]:
    """(columns, source, frames) of a table, from its first and last rows."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        names, first = tuple(next(rows)), next(rows)
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_ROW))
        last = next(csv.reader([file.read().splitlines()[-1].decode()]))
    # counted from the right, since a name with a line break begins in the line before
    return names, first[names.index("source")], int(last[names.index("frame") - len(names)]) + 1


class TableRows:
    """The rows of the videos' own tables in the jobs' order, read anew at each pass, none of them held.

    Of tables that were written since this was made, and of those in `kept`.
    """

    def __init__(self, jobs: Sequence[VideoJob]):
        self._before = {job.table: _stamp(job.table) for job in jobs}
        self.kept: set[Path] = set()

    def __iter__(self) -> Iterator[dict]:
        for table, before in self._before.items():
            if table in self.kept or _stamp(table) not in (None, before):
                yield from map(typed, read_rows(table))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def label_video(
    job: VideoJob,
    recognize,
    names: tuple[str, ...],
    *,
    step: Callable[[], None] | None = None,
    reader: SequenceReader | None = None,
    **options,
) -> Outcome:
    """Do one job. recognize: a Recognizer. step is called once a frame. reader: for a job with `sequence`.

    options: see fer_lib.video.annotate_video. When a new video gets its name, also by Ctrl-C, an earlier run's summary,
    plot, report and sequences of it are removed. KeyboardInterrupt goes on as Interrupted, which says what is kept.
    """
    video, faces, sequences = None, (), ()
    if not job.labelled:
        on_rows = None if step is None else lambda rows: step()
        options = {"names": names, "source": job.source, "comment": job.settings, "on_rows": on_rows, **options}
        if reader is not None:
            reader.begin()
            options["on_faces"] = reader
        before = _stamp(job.video)
        try:
            with _without_stale_results(job):
                video = annotate_video(job.path, recognize, job.video, table_path=job.table, **options)
        except KeyboardInterrupt as stop:  # video and table are kept as far as they came, so the sequences are too
            if reader is None or _stamp(job.video) == before or not reader.rows(job.source):
                raise
            _write_sequences(job, reader)
            raise Interrupted(f"{stop}, their sequences in {job.sequence}") from None
    try:
        if not job.labelled:
            sequences = _write_sequences(job, reader)
        faces = _make_extras(job, recognize, options.get("progress", False))
    except KeyboardInterrupt:
        kept = f"{job.video} and {job.table} are complete"
        raise Interrupted(f"{kept}; the same call with --resume makes what is missing beside them") from None
    return Outcome(job, video, faces, sequences)


@contextmanager
def _without_stale_results(job: VideoJob) -> Iterator[None]:
    before = _stamp(job.video)
    try:
        yield
    finally:
        if _stamp(job.video) != before:
            for path in _places(job.video).values():
                path.unlink(missing_ok=True)


def _make_extras(job: VideoJob, recognize, shown: bool) -> tuple[dict, ...]:
    """What is made of video and table; returns the summary's rows. shown: whether long work tells how far it is."""
    faces = ()
    if job.summary:
        faces = tuple(summarise(read_rows(job.table)))
        write_summary(job.summary, list(faces))
    if job.plot:
        from fer_lib.plots import plot_video  # here, since matplotlib takes a second

        plot_video(read_rows(job.table), job.plot, job.path.name)
    if job.report:
        from fer_lib.report import write_report

        write_report(job.report, job.path, job.video, read_rows(job.table), recognize.cards, progress=shown)
    return faces


def _write_sequences(job: VideoJob, reader: SequenceReader | None) -> tuple[dict, ...]:
    if reader is None:
        return ()
    from fer_lib.sequences import COLUMNS

    with uninterrupted():
        rows = reader.rows(job.source)
        write_table(job.sequence, rows, COLUMNS)
    return tuple(rows)


Work = Callable[[VideoJob, Callable[[], None] | None], Outcome]  # (job, step): step is called once a frame


def attempt(work: Work, job: VideoJob, step: Callable[[], None] | None = None) -> Outcome:
    """work(job, step); what cannot be used is told in the outcome."""
    try:
        return work(job, step)
    except InputError as error:
        return Outcome(job, error=str(error))
    except OSError as error:
        return Outcome(job, error=f"{job.source}: {error.strerror or error}")


def run_in_turn(jobs: Sequence[VideoJob], make_work: Callable[[], Work], on_outcome: Callable[[Outcome], None]) -> None:
    """Do jobs here, one after the other. KeyboardInterrupt goes on as Interrupted, which says what is kept."""
    done = 0
    try:
        work = make_work()
        for job in jobs:
            outcome = attempt(work, job)
            done += not outcome.error
            on_outcome(outcome)
    except KeyboardInterrupt as stop:
        said = str(stop)
        if not said or len(jobs) > 1:
            said += "; " * bool(said) + _kept(done, len(jobs))
        raise Interrupted(said) from None


def _kept(done: int, total: int) -> str:
    if total == 1:
        return "the video is done and kept" if done else "no video was done"
    return f"{done} of {total} videos are done and kept; the same call with --resume does the others"


class Course:
    """How far many videos are, on stderr: a bar on a terminal, elsewhere a line for each video and now and then."""

    def __init__(self, total: int):
        self._total, self._done, self._failed, self._frames, self._bar = total, 0, 0, 0, None
        self._start = self._said = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="video", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Course:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def kept(self) -> str:
        """What Ctrl-C has left, in words."""
        return _kept(self._done - self._failed, self._total)

    def finished(self, tell: Callable[[], None], failed: bool = False) -> None:
        """One more has ended; tell: prints what is to be said of it."""
        self._done += 1
        self._failed += failed
        if self._bar is None:
            tell()
            self._say()
        else:
            self._bar.clear()
            tell()
            self._bar.update()

    def look(self, frames: int) -> None:
        """frames: of all videos, so far."""
        self._frames, now = frames, time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{frames / (now - self._start):.0f} frames/s")
        elif now - self._said >= PROGRESS_EVERY_S:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = max(self._said - self._start, 1e-3)
        speed = f", {self._frames} frames, {self._frames / seconds:.1f} frames/s" if self._frames else ""
        left = (self._total - self._done) * seconds / self._done if self._done else 0
        remaining = f", about {left:.0f} s left" if left else ""
        inform(f"{self._done} of {self._total} videos{speed}{remaining}")


# ------------------------------------------------------------------------------------------------ worker processes


def run_in_processes(
    jobs: Sequence[VideoJob], make_work: Callable[[], Work], count: int, on_outcome: Callable[[Outcome], None]
) -> None:
    """Do jobs in `count` processes; on_outcome is called here with each outcome, in the order in which they end.

    make_work is called once in each process, and must be picklable. A process that dies (killed, out of memory) fails
    the one video it was at. InputError when make_work raises it. KeyboardInterrupt, as any other exception, ends the
    processes: what they were at leaves no file.
    """
    context, waiting, workers = multiprocessing.get_context("spawn"), deque(jobs), []
    count, frames = min(count, len(jobs)), []  # a counter for each process, so that none waits for a lock of a dead one
    with Course(len(jobs)) as course:
        try:
            while waiting or any(worker.job for worker in workers):
                while len(workers) < min(count, len(waiting) + sum(worker.job is not None for worker in workers)):
                    frames.append(context.RawValue("Q", 0))
                    workers.append(_Worker(context, make_work, max(1, _cores() // count), frames[-1]))
                heard = connection.wait([worker.connection for worker in workers], LOOK_EVERY_S)
                course.look(sum(counter.value for counter in frames))
                for ready in heard:
                    worker = next(worker for worker in workers if worker.connection is ready)
                    outcome = worker.hear()
                    if worker.ended:
                        workers.remove(worker)
                    if outcome is not None:
                        course.finished(lambda outcome=outcome: on_outcome(outcome), bool(outcome.error))
                    if waiting and worker.idle:
                        worker.give(waiting.popleft())
        except KeyboardInterrupt:
            raise Interrupted(course.kept()) from None
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that does one job after the other."""

    def __init__(self, context, make_work, threads: int, frames):
        self.connection, theirs = context.Pipe()
        self.job: VideoJob | None = None
        self.idle = self.ended = False
        self._process = context.Process(target=_serve, args=(theirs, make_work, threads, frames), daemon=True)
        with _unheard_by_children():
            self._process.start()
        theirs.close()

    def give(self, job: VideoJob) -> None:
        self.job, self.idle = job, False
        with suppress(OSError):  # it has just died, as hear() will tell
            self.connection.send(job)

    def hear(self) -> Outcome | None:
        """What it sends: the outcome of its job, or that it is ready for one. InputError when it can do none."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            message = self._end()
        if isinstance(message, str) and message:
            raise InputError(message)
        self.job, self.idle = None, not self.ended
        return message or None

    def _end(self) -> Outcome | str:
        self.ended = True
        self._process.join()
        code = self._process.exitcode
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        if self.job is None:
            return f"a worker process ended {how} before it could work; try --jobs 1"
        remove_parts(self.job.video.parent, self._process.pid)
        return Outcome(
            self.job, error=f"{self.job.source}: its worker process ended {how}; try it alone, with --jobs 1"
        )

    def stop(self) -> None:
        """SIGTERM for one that works; one that waits ends by itself when its connection is closed."""
        self.connection.close()
        if self.job is not None or not self.idle:
            self._process.terminate()

    def wait(self) -> None:
        self._process.join(STOP_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self.job is not None:  # Windows knows no SIGTERM, and nothing tidies up after a kill
            remove_parts(self.job.video.parent, self._process.pid)


@contextmanager
def _unheard_by_children() -> Iterator[None]:
    """Processes started in this block never hear of Ctrl-C, which a terminal sends to all: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else it is started with the first process, and lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(link: connection.Connection, make_work: Callable[[], Work], threads: int, frames) -> None:
    """A worker process: sends "" when it is ready, a text when it cannot work, then an Outcome for each job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half-written is removed

    def step() -> None:
        frames.value += 1

    with suppress(EOFError, BrokenPipeError):  # the parent has gone
        try:
            limit_threads(threads)
            work = make_work()
        except InputError as error:
            link.send(str(error))
            return
        link.send("")
        while True:
            link.send(attempt(work, link.recv(), step))


# ------------------------------------------------------------------------------------------------ a Dask cluster


class Stopped(Exception):
    """The caller has pressed Ctrl-C."""


def run_on_dask(
    jobs: Sequence[VideoJob], make_work: Callable[[], Work], address: str, on_outcome: Callable[[Outcome], None]
) -> None:
    """As run_in_processes, by the workers of the Dask cluster whose scheduler answers at `address`.

    They must see the same paths, and have fer_lib. make_work is called once in each of their threads.
    InputError when distributed is not installed, no scheduler answers, or it has no workers.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise InputError(
            "--dask needs distributed, which is not installed; run: pip install -r requirements-dask.txt"
        ) from None
    with _client(distributed, address) as client, Course(len(jobs)) as course:
        name, frames = f"fer-{uuid.uuid4().hex}", []
        stop = distributed.Event(name, client=client)
        client.subscribe_topic(name, lambda event: frames.append(event[1]))  # each worker's, as they come
        futures = {client.submit(_on_dask, make_work, job, name, pure=False): job for job in jobs}
        left = set(futures)
        try:
            while left:
                ended = ()
                with suppress(TimeoutError):
                    ended, left = distributed.wait(left, timeout=LOOK_EVERY_S, return_when="FIRST_COMPLETED")
                course.look(sum(frames))
                for future in ended:
                    outcome = _outcome(future, futures[future])
                    course.finished(lambda outcome=outcome: on_outcome(outcome), bool(outcome.error))
        except BaseException as error:
            stop.set()
            with suppress(Exception):  # TimeoutError; a cluster that has gone
                distributed.wait(list(futures), timeout=STOP_WITHIN_S)
            client.cancel(list(futures))
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(course.kept()) from None
            raise


def _client(distributed, address: str):
    try:
        place = urlsplit(address)
        if place.scheme not in ("tcp", "tls") or not place.hostname or place.port is None:
            raise ValueError
        # where nobody listens, Client would try again and again
        socket.create_connection((place.hostname, place.port), ANSWER_WITHIN_S).close()
        client = distributed.Client(address, timeout=ANSWER_WITHIN_S)
    except (OSError, ValueError, TimeoutError):
        raise InputError(
            f"no Dask scheduler answers at {address}; give the address that `dask scheduler` prints, "
            "such as tcp://192.168.0.10:8786"
        ) from None
    if not client.scheduler_info()["workers"]:
        client.close()
        raise InputError(f"the Dask scheduler at {address} has no workers; start some with: dask worker {address}")
    return client


def _outcome(future, job: VideoJob) -> Outcome:
    error = future.exception()
    if isinstance(error, ModuleNotFoundError) or (isinstance(error, RuntimeError) and "deserializ" in str(error)):
        missing = f"have no {error.name}" if isinstance(error, ModuleNotFoundError) else "cannot read the work"
        raise InputError(
            f"the Dask scheduler or its workers {missing}; start both with PYTHONPATH=the folder of video_fer.py, "
            "and with the packages of requirements.txt"
        )
    if isinstance(error, _Unusable):
        raise InputError(str(error))
    if error is not None:
        return Outcome(job, error=f"{job.source}: {type(error).__name__} on a Dask worker: {error}")
    outcome = future.result()
    if not outcome.error and not job.table.exists():
        return Outcome(job, error=f"{job.table}: was written by a Dask worker, but is not seen here; share the folder")
    return outcome


class _Unusable(Exception):
    """make_work's InputError, which concerns all jobs."""


_loaded = threading.local()
_loading = threading.Lock()


def _on_dask(make_work: Callable[[], Work], job: VideoJob, name: str) -> Outcome:
    """One job in a thread of a Dask worker, which keeps its recogniser for the next one.

    name: of the event that stops it, and of the topic under which it tells how many frames it has done.
    """
    import distributed

    worker, stop, asked, frames = distributed.get_worker(), distributed.Event(name), 0.0, 0

    def tell() -> None:
        nonlocal frames
        worker.log_event(name, frames)
        frames = 0

    def step() -> None:
        nonlocal asked, frames
        frames += 1
        if time.monotonic() - asked >= LOOK_EVERY_S:
            if stop.is_set():
                raise Stopped
            tell()
            asked = time.monotonic()

    if stop.is_set():
        raise Stopped
    if not job.path.exists():
        return Outcome(job, error=f"{job.path}: the Dask worker {worker.address} does not see it; share the folder")
    wanted = pickle.dumps(make_work)
    if getattr(_loaded, "wanted", None) != wanted:
        try:
            with _loading:  # quiet_stderr, which some of it uses, is for one thread at a time
                _loaded.work, _loaded.wanted = make_work(), wanted
        except InputError as error:
            raise _Unusable(str(error)) from None
    outcome = attempt(_loaded.work, job, step)
    tell()
    return outcome
