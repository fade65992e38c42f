"""The command line: `python -m fer_lib COMMAND ...`; the three scripts are its first three commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from fer_lib.errors import InputError

OK, WRONG, INTERRUPTED = 0, 2, 130


def complain(message: str) -> None:
    """One line on stderr."""
    print("error: " + " ".join(str(message).split()), file=sys.stderr, flush=True)


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
        "--va", action="store_true", help="also valence and arousal; the word va after the inputs does it too"
    )
    parser.add_argument(
        "--va-scale", choices=("unit", "1-7"), default="unit", help="captions in [-1, 1] or ADFES's 1-7"
    )
    parser.add_argument("--model", metavar="NAME", help="a model of weights/ (see: python -m fer_lib models)")
    parser.add_argument("--detector", metavar="NAME", help="haar, blazeface or dnn")
    parser.add_argument("--cascade", metavar="NAME_OR_PATH", help="a file of haarcascades/ or any other, for haar")
    parser.add_argument(
        "--min-face", type=int, default=0, metavar="PX", help="smallest face side (default: by picture)"
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m fer_lib", description="Facial expression recognition.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    photo = commands.add_parser("photo", help="label pictures and folders of pictures")
    photo.add_argument("inputs", nargs="+", metavar="PATH", help="pictures and folders; then, if you like, the word va")
    photo.add_argument("--show", action="store_true", help="show each annotated picture in a window")
    video = commands.add_parser("video", help="label video files")
    video.add_argument("inputs", nargs="+", metavar="VIDEO", help="video files; then, if you like, the word va")
    video.add_argument("--show", action="store_true", help="show the frames in a window while they are analysed")
    webcam = commands.add_parser("webcam", help="label a live camera: q or Esc quits, s saves the frame")
    webcam.add_argument("inputs", nargs="*", metavar="va", help="the word va for valence and arousal")
    webcam.add_argument(
        "--camera", default="0", metavar="N|FILE|URL", help="camera number, video file or URL (default 0)"
    )
    for command in (photo, video, webcam):
        _add_recognition(command)

    evaluate = commands.add_parser("evaluate", help="score a model on FER2013 and FER+")
    evaluate.add_argument("--model", required=True, metavar="NAME")
    evaluate.add_argument("--data", required=True, type=Path, metavar="CSV", help="fer2013.csv or icml_face_data.csv")
    evaluate.add_argument("--split", default="PrivateTest", help="Training, PublicTest or PrivateTest (default)")
    evaluate.add_argument("--ferplus", type=Path, metavar="CSV", help="Microsoft's fer2013new.csv")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    evaluate.add_argument("--runtime", choices=("fast", "keras"), default="fast", help="keras is the reference")

    commands.add_parser("models", help="list what is in weights/")
    fetch = commands.add_parser("fetch", help="bring outside weights into the user's cache")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="res10, facenet or vggface")
    notebook = commands.add_parser("notebook", help="run a notebook")
    notebook.add_argument("number", metavar="NN", help="its number, such as 10")
    notebook.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 all done, 2 wrong use or unusable input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    if getattr(options, "inputs", None) and options.inputs[-1] == "va":
        options.inputs.pop()
        options.va = True
    run = {
        "photo": run_photo,
        "video": run_video,
        "webcam": run_webcam,
        "evaluate": run_evaluate,
        "models": run_models,
        "fetch": run_fetch,
        "notebook": run_notebook,
    }[options.command]
    try:
        return run(options)
    except InputError as error:
        complain(error)
        return WRONG
    except ModuleNotFoundError as error:
        complain(f"{error.name} is not installed; run: python tools/setup_venv.py, then use the Python in .venv")
        return WRONG
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def _recogniser(options):
    from fer_lib.recognize import Recognizer
    from fer_lib.weights import DEFAULT_MODEL

    if options.min_face < 0:
        raise InputError("--min-face must be 0 or more pixels")
    return Recognizer(options.model or DEFAULT_MODEL, options.detector, options.cascade, options.min_face, options.va)


def _tables(options) -> list[Path]:
    from fer_lib.records import SUFFIXES

    wanted = [path for path in (options.csv, options.json, options.parquet) if path is not None]
    for kind, path in (("csv", options.csv), ("json", options.json), ("parquet", options.parquet)):
        if path is not None and path.suffix.lower() != f".{kind}":
            raise InputError(f"--{kind} {path}: the name must end in .{kind}; tables are {', '.join(SUFFIXES)}")
    return wanted


def _write_tables(paths, rows, columns) -> None:
    from fer_lib.records import write_table

    for path in paths:
        write_table(path, rows, columns)
        print(f"wrote {path}")


def _face_line(source, number, row, va_scale) -> str:
    box = f"{row['x']},{row['y']} {row['w']}x{row['h']}"
    text = f"{source}: face {number} at {box}: {row['emotion']} {row['confidence']:.0%}"
    if "valence" in row:
        from fer_lib.annotate import va_text

        text += f", {va_text(row['valence'], row['arousal'], va_scale)}"
    return text


def run_photo(options) -> int:
    """Every picture is annotated and told in one line a face; one that cannot be used is named and the rest goes on."""
    from fer_lib.files import OutputNames
    from fer_lib.images import find_images
    from fer_lib.records import columns

    if not options.inputs:
        raise InputError("no pictures given; say: python foto_fer.py PICTURE_OR_FOLDER")
    tables = _tables(options)
    recognise = _recogniser(options)
    names, rows, failed = OutputNames(options.out), [], False
    for source in map(Path, options.inputs):
        try:
            pictures = find_images(source) if source.is_dir() else [source]
        except InputError as error:
            complain(error)
            failed = True
            continue
        mood = []
        for picture in pictures:
            try:
                faces = _label_picture(picture, recognise, names, options)
            except InputError as error:
                complain(error)
                failed = True
                continue
            rows += faces.records(str(picture)) or [{"source": str(picture), "frame": 0, "time_s": 0.0}]
            mood.append(faces)
        if source.is_dir():
            print(_group_mood(source, mood, options.va_scale))
    _write_tables(tables, rows, columns(va=options.va))
    return WRONG if failed else OK


WRITABLE = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def _label_picture(picture: Path, recognise, names, options):
    from fer_lib.annotate import draw_faces
    from fer_lib.images import read_image, write_image

    image = read_image(picture)
    faces = recognise(image)
    annotated = draw_faces(image, faces, options.va_scale)
    suffix = picture.suffix.lower()
    write_image(names(picture, suffix if suffix in WRITABLE else ".png"), annotated)
    for number, row in enumerate(faces.records(str(picture)), start=1):
        print(_face_line(picture, number, row, options.va_scale))
    if not len(faces):
        print(f"{picture}: no face found")
    if options.show:
        from fer_lib.camera import show_picture

        show_picture(annotated, picture.name)
    return faces


def _group_mood(folder: Path, pictures: list, va_scale: str) -> str:
    """The mean over all faces of a folder, in one line."""
    import numpy as np

    from fer_lib.annotate import va_text

    some = [faces for faces in pictures if len(faces)]
    if not some:
        return f"{folder}: group mood: no faces"
    mean = np.concatenate([faces.emotion for faces in some]).mean(axis=0)
    count = sum(map(len, some))
    best = [f"{some[0].labels[i]} {mean[i]:.0%}" for i in np.argsort(-mean)[:3]]
    text = f"{folder}: group mood of {count} face{'s' * (count > 1)}: {', '.join(best)}"
    if some[0].va is not None:
        text += f", {va_text(*np.concatenate([faces.va for faces in some]).mean(axis=0), va_scale)}"
    return text


def run_video(options) -> int:
    """Each video becomes an annotated video and a table; one that cannot be used is named and the rest goes on."""
    from fer_lib.files import OutputNames
    from fer_lib.records import columns
    from fer_lib.video import annotate_video

    if not options.inputs:
        raise InputError("no videos given; say: python video_fer.py VIDEO")
    tables = _tables(options)
    recognise, draw = _recogniser(options), _drawing(options)
    names, rows, failed = OutputNames(options.out), [], False
    for source in options.inputs:
        annotated = names(source, ".mp4")
        try:
            summary = annotate_video(
                source,
                recognise,
                annotated,
                table_path=annotated.with_suffix(".csv"),
                va=options.va,
                draw=draw,
                on_rows=rows.extend if tables else None,
            )
        except InputError as error:
            complain(error)
            failed = True
            continue
        print(f"{source}: {summary.frames} frames, {summary.faces} faces in {summary.seconds:.1f} s")
        if summary.skipped:
            print(f"{source}: {summary.skipped} damaged packets were left out", file=sys.stderr)
        if summary.sound.startswith(("left", "partly")):
            print(f"{source}: sound {summary.sound}", file=sys.stderr)
        print(f"wrote {summary.video} and {summary.table}")
    _write_tables(tables, rows, columns(va=options.va, video=True))
    return WRONG if failed else OK


def run_webcam(options) -> int:
    """A live window; without a screen, an annotated video and its table."""
    from fer_lib.camera import run_camera

    if options.inputs:
        raise InputError(f"unknown word {options.inputs[0]!r}; a camera is given as --camera {options.inputs[0]}")
    tables = _tables(options)
    rows = []
    summary = run_camera(
        options.camera,
        _recogniser(options),
        out=options.out,
        va=options.va,
        draw=_drawing(options),
        on_rows=rows.extend if tables else None,
    )
    from fer_lib.records import columns

    print(f"{summary.source}: {summary.frames} frames, {summary.faces} faces in {summary.seconds:.1f} s")
    for path in (summary.video, summary.table, *summary.saved):
        if path is not None:
            print(f"wrote {path}")
    _write_tables(tables, rows, columns(va=options.va, video=True))
    return OK


def _drawing(options):
    """draw_faces with the options' scale, shown in a window too if --show."""
    from fer_lib.annotate import draw_faces

    def draw(image, faces):
        return draw_faces(image, faces, options.va_scale)

    if not getattr(options, "show", False):
        return draw
    from fer_lib.camera import Window, why_no_screen

    reason = why_no_screen()
    if reason:
        print(f"not shown: {reason}", file=sys.stderr)
        return draw
    window = Window()

    def draw_and_show(image, faces):
        annotated = draw(image, faces)
        window.show(annotated)
        window.key()
        return annotated

    return draw_and_show


def run_evaluate(options) -> int:
    from fer_lib.evaluate import evaluate
    from fer_lib.files import replacing

    report = evaluate(options.model, options.data, options.split, options.ferplus, options.runtime)
    text = json.dumps(report, indent=2)
    print(text)
    if options.json is not None:
        with replacing(options.json) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return OK


def run_models(options) -> int:
    from fer_lib.weights import DEFAULT_MODEL, load_card, model_names

    rows = [("name", "task", "size", "score")]
    for name in model_names():
        card = load_card(name)
        size = sum(file.stat().st_size for file in card.folder.iterdir()) / 1e6
        score = "; ".join(
            f"{key} {100 * value['value']:.1f} % (n = {value['n']})" for key, value in card.scores.items()
        )
        rows.append((f"{name} (default)" if name == DEFAULT_MODEL else name, card.task, f"{size:.0f} MB", score))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]))
    return OK


def run_fetch(options) -> int:
    from fer_lib.fetch import run

    run(options.names)
    return OK


def run_notebook(options) -> int:
    from fer_lib.notebook import run_notebook

    return run_notebook(options.number, dict(options.p))
