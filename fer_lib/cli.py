"""The command line: `python -m fer_lib COMMAND ...`; the three scripts are its first three commands."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from fer_lib.errors import InputError, Interrupted
from fer_lib.messages import complain, counted, inform, say

OK, WRONG, INTERRUPTED = 0, 2, 130
MOST_FACES_TOLD = 10  # in a video's summary on the terminal; all of them stand in its file


class _Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, where argparse prints its usage too
        complain(f"{message}; see {self.prog} --help")
        sys.exit(WRONG)


def _add_recognition(parser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for results (default out/)"
    )
    for kind in ("csv", "json", "parquet"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"all faces of all inputs in one {kind} table")
    parser.add_argument(
        "--va", action="store_true", help="valence and arousal too; the word va after the inputs also does"
    )
    parser.add_argument(
        "--va-scale", choices=("unit", "1-7"), default="unit", help="captions in [-1, 1] or ADFES's 1-7"
    )
    parser.add_argument("--age", action="store_true", help="age too, in years in the tables, as a range in captions")
    parser.add_argument("--model", metavar="NAME", help="a model of weights/ or a model folder (default: see models)")
    parser.add_argument("--detector", metavar="NAME", help="blazeface (default), haar or dnn")
    parser.add_argument("--cascade", metavar="NAME_OR_PATH", help="a file of haarcascades/ or any other, for haar")
    parser.add_argument(
        "--min-face", type=int, default=0, metavar="PX", help="smallest face side (default: by picture)"
    )
    parser.add_argument(
        "--balanced", action="store_true", help="treat all emotions as equally frequent: for posed pictures only"
    )
    parser.add_argument(
        "--uncertain-below",
        type=float,
        metavar="P",
        help="say uncertain when no emotion is as probable as P, 0 to 1 (default: the model's card)",
    )


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The whole command line's parser, and that of each command."""
    from fer_lib.fetch import DOWNLOADS

    parser = _Parser(prog="python -m fer_lib", description="Facial expression recognition.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    photo = commands.add_parser("photo", help="label pictures and folders of pictures")
    photo.add_argument("inputs", nargs="+", metavar="PATH", help="pictures and folders; then, if you like, the word va")
    photo.add_argument("--show", action="store_true", help="show each annotated picture in a window; any key goes on")
    photo.add_argument("--explain", action="store_true", help="also OUT/STEM_explained.png: what spoke for each answer")
    photo.add_argument(
        "--genuine", action="store_true", help="also action units, and by them whether a face looks genuine or posed"
    )
    video = commands.add_parser("video", help="label video files")
    video.add_argument(
        "inputs", nargs="+", metavar="VIDEO", help="video files and folders; then, if you like, the word va"
    )
    video.add_argument("--show", action="store_true", help="show the frames in a window meanwhile; q closes it")
    video.add_argument(
        "--sequence", action="store_true", help="also read each face over time, compared with itself at rest"
    )
    video.add_argument("--summary", action="store_true", help="also OUT/STEM_fer_summary.json: what each face showed")
    video.add_argument("--plot", action="store_true", help="also OUT/STEM_fer_plot.png: each face over time")
    video.add_argument("--report", action="store_true", help="also OUT/STEM_fer.html: a page with all of it, to open")
    video.add_argument("--resume", action="store_true", help="leave out what an earlier run with the same options did")
    video.add_argument("--jobs", type=int, default=1, metavar="N", help="videos at a time (default 1)")
    video.add_argument(
        "--dask", metavar="ADDRESS", help="let a Dask cluster do it, tcp://HOST:PORT, whose workers see the same paths"
    )
    video.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="analyse each N-th frame only, 1 for all; all are written (default: a face 10 times a second)",
    )
    webcam = commands.add_parser(
        "webcam", help="label a live camera: q or Esc quits, s saves the frame, r records, a and l judge"
    )
    webcam.add_argument("inputs", nargs="*", metavar="va", help="the word va for valence and arousal")
    webcam.add_argument(
        "--camera", default="0", metavar="N|FILE|URL", help="camera number, video file or URL (default 0)"
    )
    webcam.add_argument(
        "--snapshot",
        choices=("a", "l"),
        help="no window: genuine or posed in the first frame with a face, as the keys: a action units, l landmarks",
    )
    for command in (video, webcam):
        command.add_argument(
            "--smooth",
            type=float,
            metavar="SECONDS",
            help="time over which each face's emotions are smoothed (default 0.3, 0: not at all)",
        )
    for command in (photo, video, webcam):
        _add_recognition(command)

    units = commands.add_parser("units", help="tables of action units and landmarks from a folder of pictures")
    units.add_argument("folder", type=Path, metavar="FOLDER", help="posed/ and genuine/ with pictures, or pictures")
    units.add_argument("--csv", type=Path, required=True, metavar="FILE", help="write the action units there")
    units.add_argument("--landmarks", type=Path, metavar="FILE", help="write the 468 points of each face there too")
    units.add_argument("--openface", action="store_true", help="by OpenFace, which must be on the PATH")
    units.add_argument("--detector", metavar="NAME", help="blazeface (default), haar or dnn")

    evaluate = commands.add_parser("evaluate", help="score a model on FER2013 and FER+")
    evaluate.add_argument("--model", required=True, metavar="NAME")
    evaluate.add_argument("--data", required=True, type=Path, metavar="CSV", help="fer2013.csv or icml_face_data.csv")
    evaluate.add_argument("--split", default="PrivateTest", help="Training, PublicTest or PrivateTest (default)")
    evaluate.add_argument("--ferplus", type=Path, metavar="CSV", help="Microsoft's fer2013new.csv")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    evaluate.add_argument("--runtime", choices=("fast", "keras"), default="fast", help="keras is the reference")

    commands.add_parser("models", help="list what is in weights/")
    fetch = commands.add_parser("fetch", help="bring outside weights into the user's cache")
    fetch.add_argument("names", nargs="+", metavar="NAME", help=f"one or more of {', '.join(DOWNLOADS)}")
    notebook = commands.add_parser("notebook", help="run a notebook, or all")
    notebook.add_argument("number", metavar="NN", help="its number, such as 10, or all")
    notebook.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    return parser, commands.choices


def _parse(arguments: list[str], script: str | None) -> argparse.Namespace:
    """script: "foto_fer.py", say, when it stands for the command that comes first in arguments."""
    parser, commands = _parsers()
    if script:
        commands[arguments[0]].prog = f"python {script}"
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "inputs") or any(word.startswith("-") for word in rest)):
        commands[options.command].error(f"unrecognized: {' '.join(rest)}")
    if rest:  # words after an option, as in: a.jpg --out DIR va
        options.inputs += rest
    if getattr(options, "inputs", None) and options.inputs[-1] == "va":
        options.inputs.pop()
        options.va = True
    return options


def main(arguments: list[str] | None = None, script: str | None = None) -> int:
    """Run one command; returns the exit code: 0 all done, 2 wrong use or unusable input, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):  # names that this terminal cannot show
        stream.reconfigure(errors="backslashreplace")
    options = _parse(sys.argv[1:] if arguments is None else arguments, script)
    run = {
        "photo": run_photo,
        "video": run_video,
        "webcam": run_webcam,
        "units": run_units,
        "evaluate": run_evaluate,
        "models": run_models,
        "fetch": run_fetch,
        "notebook": run_notebook,
    }[options.command]
    try:
        with _stoppable():
            return run(options)
    except InputError as error:
        complain(error)
        return WRONG
    except ModuleNotFoundError as error:
        complain(f"{error.name} is not installed; run: python tools/setup_venv.py, then use the Python in .venv")
        return WRONG
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
        return WRONG
    except KeyboardInterrupt as stop:
        complain(f"interrupted; {str(stop) or 'what was done so far is kept'}")
        return INTERRUPTED


@contextmanager
def _stoppable() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the work; later ones do not disturb it while it closes its files."""

    def stop(number, frame):
        for taken in before:
            signal.signal(taken, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}  # as of a job of &
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


class _Tables:
    """The tables of --csv, --json and --parquet: checked before the work, written after it, also after Ctrl-C.

    Without a row nothing was done, and none is written: an earlier one may be there.
    """

    def __init__(self, options, video: bool):
        from fer_lib.files import check_writable

        self.columns, self.rows = _columns(options, video), []
        self.paths = []
        for kind in ("csv", "json", "parquet"):
            path = getattr(options, kind)
            if path is not None and path.suffix.lower() != f".{kind}":
                raise InputError(f"--{kind} {path}: the name must end in .{kind}")
            if path is not None:
                check_writable(path)
                self.paths.append(path)

    def __enter__(self) -> _Tables:
        return self

    def __exit__(self, kind, error, trace) -> None:
        from fer_lib.files import uninterrupted
        from fer_lib.records import write_table

        if (kind is None or issubclass(kind, KeyboardInterrupt)) and any(True for _ in self.rows):
            with uninterrupted():
                for path in self.paths:
                    write_table(path, self.rows, self.columns)
                    say(f"wrote {path}")


def _columns(options, video: bool) -> tuple[str, ...]:
    from fer_lib.records import columns

    snapshot = getattr(options, "snapshot", None)
    genuine = bool(getattr(options, "genuine", False) or snapshot)
    smoothed = video and not snapshot and getattr(options, "smooth", 0) > 0
    return columns(va=options.va, video=video, age=options.age, genuine=genuine, smoothed=smoothed)


def _recogniser(options):
    from fer_lib.files import check_folder
    from fer_lib.recognize import Recognizer
    from fer_lib.weights import DEFAULT_MODEL

    if options.min_face < 0:
        raise InputError("--min-face must be 0 or more pixels")
    check_folder(options.out)
    model = DEFAULT_MODEL if options.model is None else options.model
    return Recognizer(
        model,
        options.detector,
        options.cascade,
        options.min_face,
        options.va,
        uncertain_below=options.uncertain_below,
        balanced=options.balanced,
        age=options.age,
        runtime="quick" if options.command == "video" else "fast",
    )


def _each(inputs, work) -> int:
    """work(path) for every input; one that cannot be used is named and the rest goes on. Returns the exit code."""
    code = OK
    for path in inputs:
        try:
            work(path)
        except InputError as error:
            complain(error)
            code = WRONG
        except OSError as error:
            complain(f"{path}: {error.strerror or error}")
            code = WRONG
    return code


def _face_line(source, number, row, answer, va_scale) -> str:
    box = f"{row['x']},{row['y']} {row['w']}x{row['h']}"
    text = f"{source}: face {number} at {box}: {answer}"
    if "valence" in row:
        from fer_lib.annotate import va_text

        text += f", {va_text(row['valence'], row['arousal'], va_scale)}"
    return text


def run_photo(options) -> int:
    """Every picture is annotated and told in one line a face; a folder also has its group mood."""
    from fer_lib.files import OutputNames
    from fer_lib.images import find_images
    from fer_lib.records import empty_record

    if not options.inputs:
        raise InputError("no pictures given; say: python foto_fer.py PICTURE_OR_FOLDER")
    tables, recognise = _Tables(options, video=False), _recogniser(options)
    judge = _judges(recognise)("units") if options.genuine else None
    folders, pictures = {}, []

    def gather(path):
        if Path(path).is_dir():
            folders[path] = find_images(path)
        pictures.extend(folders.get(path, [Path(path)]))

    code = _each(options.inputs, gather)
    names, found = OutputNames(options.out, keep=pictures), {}

    def label(picture):
        found[picture], rows = _label_picture(picture, recognise, judge, names, options)
        tables.rows += rows or [empty_record(str(picture), 0, 0.0)]

    with tables:
        code = max(code, _each(pictures, label))
        for folder, members in folders.items():
            say(_group_mood(folder, [found[picture] for picture in members if picture in found], options.va_scale))
    if judge and any(map(len, found.values())):
        say(f"genuine or posed, from action units: {judge.trust}")
    return code


def _judges(recognise):
    """ "units" or "landmarks" to what judges the faces of this recogniser's detector."""
    from fer_lib.genuineness import Genuineness

    return partial(Genuineness, detector=recognise.detect.name)


def _label_picture(picture: Path, recognise, judge, names, options):
    """Read, recognise, draw, write and tell one picture: (its Faces, their rows)."""
    from fer_lib.annotate import answers, draw_faces
    from fer_lib.images import jpeg_complaint, read_image, writable_suffix, write_image

    image = read_image(picture)
    faces = recognise(image)
    words = [""] * len(faces)
    if judge:
        probability, words = judge(image, faces)
        faces = replace(faces, genuine=probability)
    annotated = draw_faces(image, faces, options.va_scale)
    write_image(names(picture, writable_suffix(image, picture.suffix)), annotated)
    complaint = jpeg_complaint(picture)
    if complaint:
        inform(f"{picture}: may be damaged ({complaint}); compare it with its source")
    rows = faces.records(str(picture))
    for number, (row, answer, word) in enumerate(zip(rows, answers(faces), words, strict=True), start=1):
        say(_face_line(picture, number, row, answer, options.va_scale) + f"; {word}" * bool(word))
    if not len(faces):
        say(f"{picture}: no face found")
    if options.explain:
        _explain(image, faces, recognise, names(picture, ".png", "explained"), options.va_scale)
    if options.show:
        from fer_lib.camera import show_picture

        show_picture(annotated, picture.name)
    return faces, rows


def _explain(image, faces, recognise, path: Path, va_scale: str) -> None:
    """Write what moved the answers; nothing without a face."""
    from fer_lib.explain import explained_picture
    from fer_lib.images import write_image

    if len(faces):
        write_image(path, explained_picture(recognise, image, faces, va_scale))
        say(f"wrote {path}")


def _group_mood(folder, pictures: list, va_scale: str) -> str:
    """The mean over all faces of a folder, in one line."""
    import numpy as np

    from fer_lib.annotate import va_text

    some = [faces for faces in pictures if len(faces)]
    if not some:
        return f"{folder}: group mood: no faces"
    mean = np.concatenate([faces.emotion for faces in some]).mean(axis=0)
    best = [f"{some[0].labels[i]} {mean[i]:.0%}" for i in np.argsort(-mean)[:3]]
    text = f"{folder}: group mood of {counted(sum(map(len, some)), 'face')}: {', '.join(best)}"
    if some[0].va is not None:
        text += f", {va_text(*np.concatenate([faces.va for faces in some]).mean(axis=0), va_scale)}"
    return text


def run_video(options) -> int:
    """Each video becomes an annotated video and a table, several at a time if asked for."""
    try:
        return _label_videos(options)
    except KeyboardInterrupt as stop:  # it may have come before the first video
        raise Interrupted(str(stop) or "no video was being labelled") from None


def _label_videos(options) -> int:
    from fer_lib.jobs import TableRows, find_videos, left_to_do, plan, run_in_processes, run_in_turn, run_on_dask
    from fer_lib.pipeline import check_settings

    if not options.inputs:
        raise InputError("no videos given; say: python video_fer.py VIDEO_OR_FOLDER")
    _set_smoothing(options)
    check_settings(options.smooth, options.every)
    if options.jobs < 1:
        raise InputError("--jobs must be 1 or more")
    if options.show and (options.jobs > 1 or options.dask):
        raise InputError("--show has one window; leave it out, or --jobs and --dask")
    if options.dask and options.jobs > 1:
        raise InputError("--jobs is for this machine and --dask for a cluster; give one of the two")
    tables, videos, todo = _Tables(options, video=True), [], []
    if options.dask:
        options = _with_absolute_paths(options)

    def gather(path):
        if options.dask and not Path(path).exists():  # else a worker would say that it does not see it
            raise InputError(f"{path}: no such file")
        videos.extend(find_videos(path) if Path(path).is_dir() else [Path(path)])

    code = _each(options.inputs, gather)
    jobs = plan(
        videos,
        options.out,
        summary=options.summary,
        plot=options.plot,
        report=options.report,
        sequence=options.sequence,
        settings=_settings(options),
    )
    _check_apart(tables.paths, plan(videos, options.out, summary=True, plot=True, report=True, sequence=True))
    tables.rows = TableRows(jobs)
    for job in jobs:
        left = left_to_do(job, tables.columns) if options.resume else job
        if left is None or left.labelled:
            tables.rows.kept.add(job.table)
        if left is None:
            say(f"{job.source}: done before: {job.video}")
        else:
            todo.append(left)

    def tell(outcome):
        nonlocal code
        if outcome.error:
            complain(outcome.error)
            code = WRONG
        else:
            _tell_video(outcome, options.va_scale)

    with tables:
        if todo and options.dask:
            run_on_dask(todo, partial(_video_work, options), options.dask, tell)
        elif min(options.jobs, len(todo)) > 1:
            run_in_processes(todo, partial(_video_work, options), options.jobs, tell)
        elif todo:
            run_in_turn(todo, partial(_video_work, options, progress=True), tell)
    return code


def _settings(options) -> str:
    """What decides the annotated video and its table, beside the video itself; InputError for an unknown model."""
    from fer_lib.detect import DEFAULT_DETECTOR
    from fer_lib.files import sha256
    from fer_lib.recognize import AGE_MODEL
    from fer_lib.weights import AGE_TASK, DEFAULT_MODEL, EMOTION_TASK, task_card

    cards = [task_card(DEFAULT_MODEL if options.model is None else options.model, EMOTION_TASK)]
    cards += [task_card(AGE_MODEL, AGE_TASK)] if options.age else []
    settings = {
        "models": {card.name: sha256(card.folder / "card.json")[:16] for card in cards},
        "detector": options.detector or ("haar" if options.cascade else DEFAULT_DETECTOR),
    }
    if options.cascade:
        settings["cascade"] = sha256(options.cascade)[:16] if os.path.isfile(options.cascade) else options.cascade
    for name in ("min_face", "every", "smooth", "balanced", "uncertain_below", "va", "va_scale"):
        settings[name] = getattr(options, name)
    return json.dumps(settings)


def _set_smoothing(options) -> None:
    """The default, which the parser does not know: it must tell where the packages are to be had that track needs."""
    from fer_lib.track import SMOOTH_S

    if options.smooth is None:
        options.smooth = SMOOTH_S


def _with_absolute_paths(options) -> argparse.Namespace:
    """The options for processes that work in another folder."""
    absolute = {"out": options.out.absolute(), "inputs": [str(Path(path).absolute()) for path in options.inputs]}
    for name in ("model", "cascade"):
        value = getattr(options, name)
        if value is not None and Path(value).exists():
            absolute[name] = str(Path(value).absolute())
    return argparse.Namespace(**vars(options) | absolute)


def _check_apart(tables: list[Path], jobs: list) -> None:
    """The table of all videos replaces nothing that a video has of its own; jobs: with all kinds of results."""
    own = {os.path.realpath(path) for job in jobs for path in (job.video, job.table, *job.results)}
    for path in tables:
        if os.path.realpath(path) in own:
            raise InputError(f"{path} is where a video's own results go; give the table of all another name")


def _video_work(options, progress: bool = False):
    """What does a fer_lib.jobs.VideoJob by these options."""
    from fer_lib.jobs import label_video

    recognise, names = _recogniser(options), _columns(options, video=True)
    how = {"smooth_s": options.smooth, "every": options.every, "draw": _drawing(options), "progress": progress}
    how["reader"] = _sequence_reader(options, recognise)
    return lambda job, step: label_video(job, recognise, names, step=step, **how)


def _tell_video(outcome, va_scale: str) -> None:
    """What was lost, what was done, what each face showed, and where it lies."""
    summary, job = outcome.video, outcome.job
    if summary is not None:
        if summary.skipped:
            lost = counted(summary.skipped, "damaged packet")
            inform(f"{job.source}: {lost} could not be decoded; those times are missing in the table")
        if summary.damaged:
            frames = counted(summary.damaged, "damaged frame")
            inform(f"{job.source}: {frames} kept as far as they could be mended; their rows may be wrong")
        if summary.sound_lost:
            inform(f"{job.source}: sound was left out ({summary.sound_lost})")
        _tell(summary)
    for row in sorted(outcome.faces, key=lambda row: -row["seconds"])[:MOST_FACES_TOLD]:
        say(_summary_line(job.source, row, va_scale))
    if len(outcome.faces) > MOST_FACES_TOLD:
        say(f"{job.source}: {counted(len(outcome.faces) - MOST_FACES_TOLD, 'face')} more, seen for a shorter time")
    if outcome.sequences:
        from fer_lib.sequences import sequence_lines

        for line in sequence_lines(outcome.sequences):
            say(line)
    for path in job.results:
        say(f"wrote {path}")


def _summary_line(source: str, row: dict, va_scale: str) -> str:
    """ "a.mp4: face 0 for 12.3 s: happy 65%, neutral 30%, sad 5%, mean V +0.31  A +0.02"."""
    from fer_lib.annotate import va_text
    from fer_lib.faces import EMOTIONS

    shares = sorted(((row.get(f"share_{name}", 0), name) for name in EMOTIONS), reverse=True)
    said = [f"{name} {share:.0%}" for share, name in shares[:3] if share]
    if "valence" in row:
        said.append(f"mean {va_text(row['valence'], row['arousal'], va_scale)}")
    return f"{source}: face {row['face_id']} for {row['seconds']:.1f} s: {', '.join(said)}"


def _sequence_reader(options, recognise):
    """What --sequence asks for, made before any work so that a missing model is told at once."""
    if not options.sequence:
        return None
    from fer_lib.sequences import SequenceReader

    return SequenceReader(recognise.detect.name)


def _tell(summary) -> None:
    """What was done with a video or a camera, and where it lies."""
    done = f"{counted(summary.frames, 'frame')}, {counted(summary.faces, 'face')}"
    say(f"{summary.source}: {done} in {summary.seconds:.1f} s")
    for path in (summary.video, summary.table, *getattr(summary, "saved", ())):
        if path is not None:
            say(f"wrote {path}")


def run_webcam(options) -> int:
    """A live window; without a screen, an annotated video and its table."""
    from fer_lib.pipeline import check_settings

    if options.inputs:
        raise InputError(f"unknown word {options.inputs[0]!r}; a camera is given as --camera {options.inputs[0]}")
    _set_smoothing(options)
    check_settings(options.smooth, None)
    try:
        return _watch(options)
    except KeyboardInterrupt as stop:  # it may have come before the first picture
        raise Interrupted(str(stop) or "nothing is kept but what was said to be saved or recorded") from None


def _watch(options) -> int:
    from fer_lib.camera import run_camera

    with _Tables(options, video=True) as tables:
        recognise, draw = _recogniser(options), _drawing(options)
        if options.snapshot:
            _snapshot(options, recognise, draw, tables)
            return OK
        summary = run_camera(
            options.camera,
            recognise,
            out=options.out,
            names=tables.columns,
            draw=draw,
            on_rows=tables.rows.extend if tables.paths else None,
            smooth_s=options.smooth,
            judge=lambda kind: _judges(recognise)(kind),
        )
        _tell(summary)
    return OK


def _snapshot(options, recognise, draw, tables) -> None:
    """Genuine or posed in the first frame with a face, a line a face."""
    from fer_lib.annotate import answers
    from fer_lib.camera import JUDGE_KEYS, READ_FROM, snapshot
    from fer_lib.video import video_rows

    kind, judge = JUDGE_KEYS[options.snapshot], _judges(recognise)
    taken = snapshot(options.camera, recognise, kind, out=options.out, draw=draw, judge=judge)
    tables.rows += video_rows(taken.faces, options.camera, taken.frame, taken.time_s)
    source, told = f"{options.camera} frame {taken.frame}", answers(taken.faces)
    for number, (row, answer, word) in enumerate(zip(taken.faces.records(), told, taken.words, strict=True), start=1):
        say(_face_line(source, number, row, answer, options.va_scale) + f"; {word}" * bool(word))
    say(f"genuine or posed, from {READ_FROM[kind]}: {taken.trust}")
    say(f"wrote {taken.path}")


def run_units(options) -> int:
    """One row a face; what was left out is told. A picture that cannot be used is named and the rest goes on."""
    from fer_lib.action_units import make_units
    from fer_lib.detect import make_detector
    from fer_lib.face_tables import FaceTables, labelled_pictures
    from fer_lib.files import check_writable
    from fer_lib.mesh import FaceMesh
    from fer_lib.video import Progress

    for path in (options.csv, options.landmarks):
        if path is not None:
            if path.suffix.lower() != ".csv":
                raise InputError(f"{path}: the name must end in .csv")
            check_writable(path)
    if options.landmarks is not None and options.landmarks.resolve() == options.csv.resolve():
        raise InputError(f"--csv and --landmarks are one file, {options.csv}; give two names")
    pictures, detect = labelled_pictures(options.folder), make_detector(options.detector)
    mesh = FaceMesh() if options.landmarks is not None else None
    tables = FaceTables(detect, make_units(options.openface, detect.name), mesh)
    labels = dict(pictures)
    try:
        with Progress(str(options.folder), len(labels), unit="picture") as bar:

            def measure(path):
                bar.step()
                if not tables.add(path, labels[path]):
                    say(f"{path}: no face found")

            code = _each(labels, measure)
    except KeyboardInterrupt:
        if tables.unit_rows:
            _write_units(tables, options, None not in labels.values())
        raise
    _write_units(tables, options, None not in labels.values())
    return code


def _write_units(tables, options, labelled: bool) -> None:
    from fer_lib.files import uninterrupted
    from fer_lib.records import write_table

    if not tables.unit_rows:
        raise InputError(f"{options.folder}: no face with action units in {counted(tables.pictures, 'picture')}")
    with uninterrupted():
        write_table(options.csv, tables.unit_rows, tables.unit_columns(labelled))
        say(f"wrote {options.csv}: {counted(len(tables.unit_rows), 'row')}")
        if options.landmarks is not None:
            write_table(options.landmarks, tables.landmark_rows, tables.landmark_columns(labelled))
            say(f"wrote {options.landmarks}: {counted(len(tables.landmark_rows), 'row')}")
    left = [f"{counted(tables.faceless, 'picture')} without a face"] * bool(tables.faceless)
    left += [f"{counted(n, 'face')} without {what}" for what, n in tables.unmeasured.items() if n]
    if left:
        say(f"left out: {', '.join(left)}")


def _drawing(options):
    """draw_faces with the options' scale; with --show the picture also goes to a window."""
    from fer_lib.annotate import draw_faces, draw_over

    paint = draw_over if options.command == "video" else draw_faces  # a video's frame is not needed again

    def draw(image, faces):
        return paint(image, faces, options.va_scale)

    if not getattr(options, "show", False):
        return draw
    from fer_lib.camera import LiveView

    view = LiveView()

    def draw_and_show(image, faces):
        annotated = draw(image, faces)
        view.show(annotated)
        return annotated

    return draw_and_show


def run_evaluate(options) -> int:
    from fer_lib.evaluate import evaluate
    from fer_lib.files import check_writable, write_json

    if options.json is not None:
        check_writable(options.json)
    report = evaluate(options.model, options.data, options.split, options.ferplus, options.runtime)
    for line in json.dumps(report, indent=2).splitlines():
        say(line)
    if options.json is not None:
        write_json(options.json, report)
    return OK


def run_models(options) -> int:
    from fer_lib.weights import DEFAULT_MODEL, load_card, model_names

    rows = [("name", "task", "size", "score")]
    for name in model_names():
        card = load_card(name)
        size = sum(file.stat().st_size for file in card.folder.iterdir()) / 1e6
        score = "; ".join(
            f"{key} {_figure(key, value['value'])} (n = {value['n']})" for key, value in card.scores.items()
        )
        rows.append((f"{name} (default)" if name == DEFAULT_MODEL else name, card.task, f"{size:.0f} MB", score))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]))
    return OK


def _figure(name: str, value: float) -> str:
    """Neither a concordance, an F1 nor an age is a share of anything."""
    if "CCC" in name or "F1" in name:
        return f"{value:.3f}"
    return f"{value:.1f}" if "years" in name else f"{100 * value:.1f} %"


def run_fetch(options) -> int:
    from fer_lib.fetch import run

    run(options.names)
    return OK


def run_notebook(options) -> int:
    from fer_lib.notebook import run_notebooks

    return run_notebooks(options.number, dict(options.p))
