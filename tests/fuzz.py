#!/usr/bin/env python3
"""Fuzzing: damaged pictures, videos, tables and model folders through the command line, judged from outside.

    python tests/fuzz.py --count 200 --seed 1

Of five cases two are pictures, one is a video, one a pair of FER2013 tables, one a model folder. Each takes a valid
input, changes it by a generator seeded with (seed, number), and runs `photo`, `video` or `evaluate` on it: in a forked
process, every twelfth as the real script. A case is a finding when one of these rules is broken.

All:      it ends in time, with exit code 0 or 2, without a traceback; nothing half-written lies about. 0: no error
          line, every result is there. 2: one error line, which names the input; no result of that input, all of the
          others. Nothing else is on stderr but notes, each of which begins with the input's name. Unharmed: 0.
Pictures: exit 0: Pillow reads the file, the annotated picture has its upright size and the table its faces. A picture
          of which libjpeg or a PNG checksum says that it is damaged, and whose pixels are not the original's, has a
          note. (A flipped bit that gives a valid file with other pixels can be noticed by nobody.)
Videos:   exit 0: the annotated video plays, is upright, and has the table's frames at the table's times. Where FFmpeg
          cannot decode a packet, gives no frame for it or marks one as corrupt, or a tenth of the original's frames
          are missing, there is a note. (Matroska files and transport streams do not say how many frames they have:
          what FFmpeg steps over in them without a word nobody can notice.)
Tables:   exit 0: a strict reader, below, reads the same tables, and the figures are those that it and NumPy arrive at.
          What it refuses is refused: a table is never read with a gap, a guess or a shifted column.
Models:   exit 0: the answer is that of the unharmed folder, name by name. Only crop margins within their bounds and
          text may change unnoticed: card.json has no checksum of its own, and permuted labels are found because they
          leave the contract's order.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, features

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, UNCERTAIN  # noqa: E402
from fer_lib.records import columns  # noqa: E402
from fer_lib.weights import load_card  # noqa: E402

LIMIT_S = 60.0  # for a case; the slowest takes three
KINDS = ("picture", "picture", "video", "table", "card")
EVERY_AS_SCRIPT = 12
WRITTEN_AS_READ = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
USAGES = ("Training", "PublicTest", "PrivateTest")
VOTES = dict(  # FER+'s columns and the classes they stand for
    zip(
        "anger contempt disgust fear happiness neutral sadness surprise unknown NF".split(),
        (*EMOTIONS, None),
        strict=True,
    )
)


@dataclass
class Case:
    """One run of the command line, in its own folder, which is also the working directory."""

    number: int
    kind: str
    what: str  # what was done to which input
    folder: Path
    arguments: list[str]  # of python -m fer_lib
    given: str  # the changed input as the arguments name it
    whole: Path  # the original
    unharmed: bool = False  # then anything but exit code 0 is a finding
    corpus: Path | None = None


@dataclass
class Done:
    """How a run ended; code is None when it did not."""

    code: int | None
    out: str
    err: str


# ------------------------------------------------------------------------------------------------- the valid inputs


def build_corpus(folder: Path) -> None:
    """pictures/ videos/ fer2013/ tiny/ (a model folder), good.png and face.png."""
    from fer_lib.datasets.demo import write_fer2013

    for name in ("pictures", "videos"):
        (folder / name).mkdir(parents=True)
    face = Image.open(ROOT / "test_photo" / "grace_hopper.jpg").convert("RGB").resize((205, 240))
    face.save(folder / "face.png")
    Image.new("RGB", (64, 48), (90, 120, 150)).save(folder / "good.png")
    _write_pictures(folder / "pictures", face)
    _write_videos(folder / "videos")
    write_fer2013(folder, training=12, public=6, private=12, seed=1)
    for path in (folder / "fer2013").iterdir():  # one line end, so that changing it is a change
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    _write_tiny_model(folder / "tiny")


def _write_pictures(folder: Path, face: Image.Image) -> None:
    grey, alpha, turned = face.convert("L"), face.copy(), Image.Exif()
    alpha.putalpha(grey)
    turned[0x0112] = 6
    more = [face.rotate(20), face.rotate(40)]
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    for name, image, options in (
        ("plain.jpg", face, {}),
        ("plain_too.jpg", face, {"quality": 92, "subsampling": 0}),
        ("progressive.jpg", face, {"progressive": True}),
        ("turned.jpg", face.rotate(90, expand=True), {"exif": turned}),
        ("cmyk.jpg", face.convert("CMYK"), {}),
        ("grey.jpeg", grey, {}),
        ("plain.png", face, {}),
        ("turned.png", face.rotate(90, expand=True), {"exif": turned}),
        ("deep.png", deep, {}),
        ("palette.png", face.quantize(64), {}),
        ("alpha.png", alpha, {}),
        ("bits.png", face.convert("1"), {}),
        ("dot.png", Image.new("RGB", (1, 1)), {}),
        ("wide.png", Image.new("RGB", (20000, 3), "red"), {}),
        ("plain.gif", face.quantize(64), {}),
        ("moving.gif", face, {"save_all": True, "append_images": more}),
        ("plain.webp", face, {}),
        ("lossless.webp", face, {"lossless": True}),
        ("moving.webp", face, {"save_all": True, "append_images": more}),
        ("plain.bmp", face, {}),
        ("plain.tif", face, {}),
        ("packed.tiff", face, {"compression": "tiff_lzw"}),
        ("deflated.tif", face, {"compression": "tiff_adobe_deflate"}),
        ("deep.tif", deep, {}),
        ("plain.ppm", face, {}),
        ("plain.jp2", face, {}),
        ("plain.avif", face, {}),
    ):
        needs = {".jp2": "jpg_2000", ".avif": "avif"}.get(Path(name).suffix)
        if needs is None or features.check(needs):
            image.save(folder / name, **options)


def _write_videos(folder: Path) -> None:
    """Three seconds at ten frames a second, with the faces of the demo video."""
    import av

    from fer_lib.demo_video import make_demo_video

    photos = [ROOT / "test_photo" / name for name in ("astronaut.png", "grace_hopper.jpg")]
    make_demo_video(photos, folder / "plain.mp4", seconds=3, size=(192, 144), rate=10)
    with av.open(str(folder / "plain.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for name, codec, sound, rotation, options in (
        ("sound.mp4", "libx264", "aac", None, {}),
        ("turned.mp4", "libx264", None, 90, {"movflags": "faststart"}),
        ("sound.mkv", "libx264", "aac", None, {}),
        ("odd.mov", "mpeg4", None, None, {}),
        ("plain.webm", "libvpx", None, None, {}),
        ("sound.avi", "mpeg4", "mp3", None, {}),
        ("raw_sound.avi", "mpeg4", "pcm_s16le", None, {}),
        ("stream.ts", "libx264", None, None, {}),
    ):
        with av.open(str(folder / name), "w", options=options) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 192, 144, "yuv420p", 400_000
            stream.codec_context.thread_count = 1  # the same bytes every time
            if rotation:
                stream.set_display_rotation(rotation)
            if sound:
                _add_sound(container, sound)
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode(None))


def _add_sound(container, codec: str) -> None:
    import av

    form = {"aac": "fltp", "mp3": "s16p", "pcm_s16le": "s16"}[codec]
    stream = container.add_stream(codec, rate=16000, layout="mono", format=form)
    container.start_encoding()
    wave = np.sin(np.arange(3 * 16000) / 16000 * 2 * np.pi * 440)[None]
    wave = wave.astype(np.float32) if form == "fltp" else (wave * 20000).astype(np.int16)
    for begin in range(0, wave.shape[1] - 1151, 1152):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave[:, begin : begin + 1152]), format=form, layout="mono"
        )
        frame.sample_rate, frame.pts = 16000, begin
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def tiny_weights() -> dict[str, np.ndarray]:
    """{head: (144, C) float32} of the tiny model: the softmax of a product with the mean over the crop's rows."""
    rng = np.random.default_rng(5)
    sizes = {"emotion": len(EMOTIONS), "fer2013": len(FER2013_EMOTIONS)}
    return {head: rng.normal(0, 0.5, (144, n)).astype(np.float32) for head, n in sizes.items()}


def _write_tiny_model(folder: Path) -> None:
    """A model folder that loads in no time, made without TensorFlow, whose answers NumPy can check."""
    import openvino
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, 48, 48, 3], np.uint8, name="pixels")
    x = ops.divide(ops.convert(pixels, "f32"), ops.constant(np.float32(255)))
    x = ops.reshape(ops.reduce_mean(x, np.array([1])), np.array([-1, 144]), False)
    outputs = []
    for head, weights in tiny_weights().items():
        output = ops.softmax(ops.matmul(x, ops.constant(weights), False, False), 1)
        output.output(0).get_tensor().set_names({head})
        outputs.append(output)
    folder.mkdir()
    openvino.save_model(openvino.Model(outputs, [pixels], "tiny"), folder / "model.xml", compress_to_fp16=False)
    shipped = load_card()
    heads = {head: shipped.heads[head] for head in tiny_weights()}
    margins = {"blazeface": 0.1, "haar": 0.0}
    card = replace(shipped, name="tiny", heads=heads, input_size=48, sha256={}, crop_margin=margins)
    card.write(folder)


# ------------------------------------------------------------------------------------------------------ the changes


def damaged(rng, data: bytes) -> tuple[str, bytes]:
    """Bytes changed in one place, more often near the ends; (what was done, the new bytes)."""
    kind = rng.choice(["cut", "flip", "zero", "delete", "double", "insert", "swap"], p=[0.25, 0.2, *[0.11] * 5])
    size = len(data)
    at = int(rng.choice([rng.integers(size), rng.integers(min(size, 600)), max(0, size - rng.integers(1, 600))]))
    length = int(min(size - at, 2 ** rng.uniform(0, np.log2(max(2, size // 2)))))
    if kind == "cut":
        return f"cut at {at} of {size}", data[:at]
    if kind == "flip":
        array = np.frombuffer(data, np.uint8).copy()
        where = np.minimum(size - 1, at + rng.integers(0, 200, rng.integers(1, 9)))
        array[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
        return f"bits flipped at {sorted(where.tolist())}", array.tobytes()
    if kind == "zero":
        return f"{length} zeros at {at} of {size}", data[:at] + bytes(length) + data[at + length :]
    if kind == "delete":
        return f"{length} bytes deleted at {at} of {size}", data[:at] + data[at + length :]
    if kind == "double":
        return f"{length} bytes doubled at {at} of {size}", data[: at + length] + data[at:]
    if kind == "insert":
        length = min(length, 4096)
        return f"{length} random bytes inserted at {at} of {size}", data[:at] + rng.bytes(length) + data[at:]
    other = int(rng.integers(size))
    a, b = sorted((at, other))
    length = min(length, b - a, size - b)
    moved = data[:a] + data[b : b + length] + data[a + length : b] + data[a : a + length] + data[b + length :]
    return f"{length} bytes at {a} and {b} swapped", moved


ODD_NAMES = (
    "two  words{}",
    "line\nbreak{}",
    "tab\tand\rreturn{}",
    "-dash{}",
    "--out{}",
    "日本 ☺ é{}",
    "x" * 200 + "{}",
    "x" * 250 + "{}",
    "'quotes\"{}",
    "%s %d {{0}} $HOME *{}",
    ".hidden{}",
    "bytes\udcff{}",
    "12:30;{}",
    "a.b..{}",
    "va",
    "file:a{}",
)
NOT_THIS_KIND = {
    "text": b"This is a letter.\n" * 40,
    "a page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "zip": b"PK\x03\x04" + bytes(400),
    "zeros": bytes(5000),
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


def odd_place(rng, folder: Path, name: str, data: bytes) -> str:
    """Puts something else than the file under its name; returns what."""
    kind = rng.choice(["nothing", "empty", "folder", "loop", "dangling", "pipe", "locked", *NOT_THIS_KIND])
    path = folder / name
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
        (path / "notes.txt").touch()
    elif kind == "loop":
        path.symlink_to(name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "locked" and os.geteuid() != 0:  # root may read everything
        path.write_bytes(data)
        path.chmod(0)
    elif kind in NOT_THIS_KIND:
        path.write_bytes(NOT_THIS_KIND[kind])
    return f"{kind} in its place"


def place_media(rng, folder: Path, whole: Path, change_head=None) -> tuple[str, str, bool]:
    """A picture or a video, changed or not, into the folder; (what, its name, whether it is unharmed)."""
    data, name = whole.read_bytes(), whole.name
    kind = rng.choice(["bytes", "head", "name", "place", "unchanged"], p=[0.62, 0.1, 0.1, 0.14, 0.04])
    if kind == "place":
        return odd_place(rng, folder, name, data), name, False
    if kind == "bytes" or (kind == "head" and change_head is None):
        what, data = damaged(rng, data)
    elif kind == "head":
        what, data = change_head(rng, data)
    elif kind == "name":
        name = str(rng.choice(ODD_NAMES)).format(rng.choice([whole.suffix, whole.suffix.upper(), ".jpg", ".mkv", ""]))
        what = f"named {name!r}"
    else:
        what = "unchanged"
    try:
        (folder / name).write_bytes(data)
    except OSError:  # a name that is too long for this file system: then it is missing
        return what, name, False
    plain = kind in ("name", "unchanged") and len(name) < 230 and "\udcff" not in name
    return what, name, plain


def huge_size(rng, data: bytes) -> tuple[str, bytes]:
    """A header that promises other, mostly vast, dimensions; anything but PNG, JPEG, BMP and GIF is damaged instead."""
    width, height = (int(rng.choice([0, 1, 300, 16_000, 30_000, 65_535, 2**31 - 1, 2**32 - 1])) for _ in "wh")
    what = f"header says {width} x {height}"
    if data[:4] == b"\x89PNG":
        head = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return what, data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    if data[:2] == b"\xff\xd8":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return what, data[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + data[at + 9 :]
    if data[:2] == b"BM":
        return what, data[:18] + struct.pack("<II", width, height) + data[26:]
    if data[:3] == b"GIF":
        return what, data[:6] + struct.pack("<HH", width & 0xFFFF, height & 0xFFFF) + data[10:]
    return damaged(rng, data)


def make_case(number: int, seed: int, corpus: Path, folder: Path) -> Case:
    """The case of this number; the same (number, seed) gives the same one."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    folder.mkdir(parents=True)
    case = {"picture": _picture_case, "video": _video_case, "table": _table_case, "card": _card_case}[kind](
        rng, corpus, folder
    )
    case.number, case.corpus = number, corpus
    return case


def _named(name: str) -> str:
    return f"./{name}" if name.startswith("-") or name == "va" else name


def _picture_case(rng, corpus: Path, folder: Path) -> Case:
    whole = _pick(rng, corpus / "pictures")
    what, name, unharmed = place_media(rng, folder, whole, huge_size)
    shutil.copy(corpus / "good.png", folder / "good.png")
    inputs = [_named(name), "good.png"][:: rng.choice([1, -1])]
    arguments = ["photo", *inputs, "--out", "out", "--csv", "t.csv", "--model", str(corpus / "tiny")]
    if rng.random() < 0.3:
        arguments += ["--va", "--json", "t.json"]
    return Case(0, "picture", f"{whole.name}: {what}", folder, arguments, _named(name), whole, unharmed)


def _video_case(rng, corpus: Path, folder: Path) -> Case:
    whole = _pick(rng, corpus / "videos")
    what, name, unharmed = place_media(rng, folder, whole)
    arguments = ["video", _named(name), "--out", "out", "--csv", "t.csv", "--model", str(corpus / "tiny")]
    return Case(0, "video", f"{whole.name}: {what}", folder, arguments, _named(name), whole, unharmed)


def _pick(rng, folder: Path) -> Path:
    return folder / str(rng.choice(sorted(path.name for path in folder.iterdir())))


def _table_case(rng, corpus: Path, folder: Path) -> Case:
    """One of the two tables is changed: its bytes, its text or its cells."""
    for path in (corpus / "fer2013").iterdir():
        shutil.copy(path, folder)
    name = str(rng.choice(["fer2013.csv", "fer2013new.csv"]))
    data = (folder / name).read_bytes()
    kind, unharmed = rng.choice(["bytes", "place", "text", "cells"], p=[0.25, 0.1, 0.3, 0.35]), False
    if kind == "bytes":
        what, data = damaged(rng, data)
        (folder / name).write_bytes(data)
    elif kind == "place":
        (folder / name).unlink()
        what = odd_place(rng, folder, name, data)
    else:
        what, data, unharmed = (_changed_text if kind == "text" else _changed_cells)(rng, data.decode())
        (folder / name).write_bytes(data)
    split = str(rng.choice(USAGES))
    arguments = ["evaluate", "--model", str(corpus / "tiny"), "--data", "fer2013.csv", "--split", split]
    arguments += ["--ferplus", "fer2013new.csv"] if name != "fer2013.csv" or rng.random() < 0.5 else []
    arguments += ["--json", "out/report.json"]
    return Case(0, "table", f"{name}: {what}", folder, arguments, name, corpus / "fer2013" / name, unharmed)


def _changed_text(rng, text: str) -> tuple[str, bytes, bool]:
    """The text of a table changed as a whole; (what, bytes, whether it still says the same)."""
    same = {
        "byte order mark": "\ufeff" + text,
        "CRLF": text.replace("\n", "\r\n"),
        "no last line end": text.rstrip("\n"),
        "unchanged": text,
    }
    other = {
        "semicolons": text.replace(",", ";"),
        "tabs": text.replace(",", "\t"),
        "decimal commas": text.replace(" ", ", "),
        "only the header": text.split("\n")[0] + "\n",
        "no header": text.split("\n", 1)[1],
        "header twice": text.split("\n")[0] + "\n" + text,
        "empty lines": text.replace("\n", "\n\n"),
        "UTF-16": text,
        "Latin-1": text.replace("Training", "Trainé", 1),
        "twice": text + text.split("\n", 1)[1],
    }
    what = str(rng.choice([*same, *other]))
    encoding = {"UTF-16": "utf-16", "Latin-1": "latin-1"}.get(what, "utf-8")
    return what, (same | other)[what].encode(encoding), what in same


BAD_CELLS = (
    *"nan NaN inf -1 -0 +3 3.0 1e3 1_0 0x1 256 999999999999999999999 ٣ ３".split(),
    *("", " ", "a\0b", '"', '"x', "a,b", "a\nb", "null", "=1+1", "\ufeff3", "7"),
    *("Training", "PrivateTest", "privatetest"),
)


def _changed_cells(rng, text: str) -> tuple[str, bytes, bool]:
    """Cells, columns or rows of a table changed; (what, bytes, whether it still says the same)."""
    rows = list(csv.reader(io.StringIO(text)))
    column, row = int(rng.integers(len(rows[0]))), int(rng.integers(1, len(rows)))
    kind, same, raw = str(rng.choice(["cell", "raw cell", "pixel", "columns", "rows"])), False, False
    if kind in ("cell", "raw cell"):
        value = str(rng.choice(BAD_CELLS))
        rows[row][column] = value
        raw = kind == "raw cell"
        what = f"{kind} {row},{column} is {value!r}"
    elif kind == "pixel":
        value = str(rng.choice(BAD_CELLS))
        parts = rows[row][1].split()
        parts[int(rng.integers(len(parts)))] = value
        rows[row][1] = " ".join(parts)
        what = f"part of {row},1 is {value!r}"
    elif kind == "columns":
        what = str(rng.choice("dropped added doubled moved shifted header-shifted renamed upper".split()))
        order, name = [*range(len(rows[0]))], rows[0][column]
        same = what in ("added", "moved", "upper") or (what in ("dropped", "renamed") and name == "Image name")
        if what == "dropped":
            rows = [cells[:column] + cells[column + 1 :] for cells in rows]
        elif what == "added":
            rows = [[*cells, "extra" if i == 0 else str(i)] for i, cells in enumerate(rows)]
        elif what == "doubled":  # the second one says something else
            other = rows[1:][::-1]
            rows = [rows[0] + [rows[0][column]], *([*a, b[column]] for a, b in zip(rows[1:], other, strict=True))]
        elif what == "moved":
            rng.shuffle(order)
            rows = [[cells[i] for i in order] for cells in rows]
        elif what == "shifted":
            rows = [rows[0], *(cells[-1:] + cells[:-1] for cells in rows[1:])]
        elif what == "header-shifted":
            rows[0] = rows[0][-1:] + rows[0][:-1]
        elif what == "renamed":
            rows[0][column] = "x"
        else:
            rows[0] = [cell.upper() for cell in rows[0]]
        what = f"column {name} {what}"
    else:
        what = str(rng.choice(["dropped", "doubled", "short", "long", "other order"]))
        if what == "dropped":
            del rows[row]
        elif what == "doubled":
            rows.insert(row, rows[row])
        elif what == "short":
            rows[row].pop()
        elif what == "long":
            rows[row].append("0")
        else:
            body = rows[1:]
            rng.shuffle(body)
            rows[1:] = body
        what = f"row {row} {what}"
    if raw:
        changed = "\n".join(",".join(cells) for cells in rows) + "\n"
    else:
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(rows)
        changed = file.getvalue()
    return what, changed.encode("utf-8"), same


def _card_case(rng, corpus: Path, folder: Path) -> Case:
    """The card or a file of a model folder is changed."""
    model = shutil.copytree(corpus / "tiny", folder / "model")
    kind = rng.choice(["values", "bytes", "place", "files"], p=[0.62, 0.14, 0.08, 0.16])
    unharmed = False
    if kind == "values":
        card = json.loads((model / "card.json").read_text())
        what, text, unharmed = _changed_card(rng, card)
        (model / "card.json").write_text(text, encoding="utf-8")
    else:
        name = "card.json" if kind == "bytes" else str(rng.choice(["card.json", "model.xml", "model.bin"]))
        data = (model / name).read_bytes()
        if kind == "place":
            (model / name).unlink()
            what = odd_place(rng, model, name, data)
        else:
            what, data = damaged(rng, data)
            (model / name).write_bytes(data)
        what = f"{name}: {what}"
    shutil.copy(corpus / "face.png", folder)
    if rng.random() < 0.5:
        arguments = ["photo", "face.png", "--out", "out", "--csv", "t.csv", "--model", "model"]
    else:
        table = corpus / "fer2013"
        arguments = ["evaluate", "--model", "model", "--data", str(table / "fer2013.csv")]
        arguments += ["--ferplus", str(table / "fer2013new.csv"), "--json", "out/report.json"]
    return Case(0, "card", what, folder, arguments, "model", corpus / "tiny", unharmed)


ODD_VALUES = (
    *(None, True, 0, -1, 3, 1.5, 10**30, float("nan"), float("inf"), "", "x", "../../etc/passwd", "a\nb", "\0"),
    *([], {}, [[]], {"a": {}}, ["happy"], {"happy": "sad"}, "x" * 100_000, "\ud800"),
)


def _changed_card(rng, card: dict) -> tuple[str, str, bool]:
    """(what, the text of card.json, whether the model still answers the same)."""
    kind = str(rng.choice(["missing", "surplus", "type", "inner", "labels", "margin", "hash", "nested", "text"]))
    key = str(rng.choice(list(card)))
    text = None
    same = False
    if kind == "missing":
        del card[key]
        what = f"{key} missing"
    elif kind == "surplus":
        card[f"{key}s_"] = 1
        what = f"{key}s_ is new"
    elif kind == "type":
        card[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
        what = f"{key} is {str(card[key])[:40]!r}"
    elif kind == "inner":
        key = str(rng.choice([k for k, value in card.items() if isinstance(value, dict) and value]))
        inner = str(rng.choice(list(card[key])))
        card[key][inner] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
        what = f"{key}.{inner} is {str(card[key][inner])[:40]!r}"
    elif kind == "labels":
        what = _permute(rng, card)
    elif kind == "margin":
        value = float(rng.choice([-1e300, -0.5, -0.41, -0.4, 0.0, 0.3, 2.0, 2.01, 1e300]))
        card["crop_margin"]["blazeface"] = value
        what = f"margin {value}"
    elif kind == "hash":
        name = str(rng.choice(list(card["sha256"])))
        what = str(rng.choice(["other", "upper", "path", "gone"]))
        if what == "other":
            card["sha256"][name] = "0" * 64
        elif what == "upper":
            card["sha256"][name] = card["sha256"][name].upper()
        elif what == "path":
            card["sha256"][f"../model/{name}"] = card["sha256"].pop(name)
        else:
            del card["sha256"][name]
        what = f"hash of {name}: {what}"
    elif kind == "nested":
        depth = int(rng.choice([50, 900, 100_000]))
        text = json.dumps(card)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
        what = f"nested {depth} deep"
    else:
        what = str(rng.choice(["minified", "byte order mark", "comment", "a list", "a number", "twice"]))
        whole = json.dumps(card)
        same = what == "minified"
        text = {
            "minified": whole,
            "byte order mark": "\ufeff" + whole,
            "comment": "// our card\n" + whole,
            "a list": f"[{whole}]",
            "a number": "7",
            "twice": whole + whole,
        }[what]
    return what, json.dumps(card) if text is None else text, same


def _permute(rng, card: dict) -> str:
    """The classes in another order, or other ones, where the card names them: at one place or at both."""
    what = str(rng.choice(["two swapped", "one head", "labels only", "reversed", "fewer", "more", "another language"]))
    names = list(card["labels"])
    if what == "one head":
        card["heads"]["fer2013"] = card["heads"]["fer2013"][::-1]
        return what
    if what == "reversed":
        names = names[::-1]
    elif what == "fewer":
        names = names[:-1]
    elif what == "more":
        names.append("bored")
    elif what == "another language":
        names = [name[::-1] for name in names]
    else:
        i, j = rng.choice(len(names), 2, replace=False)
        names[i], names[j] = names[j], names[i]
    card["labels"] = names
    if what != "labels only":
        card["heads"]["emotion"] = names
    return what


# -------------------------------------------------------------------------------------------------------- the runs


def command(case: Case) -> list[str]:
    """The case as a user types it."""
    script = {"photo": ["foto_fer.py"], "video": ["video_fer.py"]}.get(case.arguments[0])
    if script:
        return [sys.executable, str(ROOT / script[0]), *case.arguments[1:]]
    return [sys.executable, "-m", "fer_lib", *case.arguments]


def run_process(case: Case, words: list[str], limit_s: float = LIMIT_S) -> Done:
    """Run a command in the case's folder."""
    try:
        done = subprocess.run(
            words,
            cwd=case.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return Done(None, "", "")
    return Done(done.returncode, _text(done.stdout), _text(done.stderr))


def run_forked(case: Case, limit_s: float = LIMIT_S) -> Done:
    """The same without the second that Python takes to start: the command line in a fork of this process."""
    out, err = (case.folder / name for name in (".stdout", ".stderr"))
    child = os.fork()
    if child == 0:
        _become(case, out, err)
    deadline = time.monotonic() + limit_s
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return Done(os.waitstatus_to_exitcode(status), _text(out.read_bytes()), _text(err.read_bytes()))
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Done(None, "", "")
        time.sleep(0.01)


def _become(case: Case, out: Path, err: Path) -> None:
    """Never returns: this process is the command line from here on."""
    code = 1
    try:
        os.chdir(case.folder)
        for number, target in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        from fer_lib.cli import main

        script = {"photo": "foto_fer.py", "video": "video_fer.py"}.get(case.arguments[0])
        code = main(case.arguments, script=script)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------------------------- the oracle


class Wrong(Exception):
    """A rule that a run broke, in words."""


def judge(case: Case, done: Done) -> str:
    """The rule that this run broke, or ""."""
    try:
        notes = _judge_ending(case, done)
        _judge_files(case, done.code)
        if done.code == 0:
            {"picture": judge_picture, "video": judge_video, "table": judge_table, "card": judge_card}[case.kind](
                case, done, notes
            )
        elif case.unharmed:
            raise Wrong(f"refused though unharmed: {done.err.strip()}")
    except Wrong as wrong:
        return str(wrong)
    except Exception as error:  # a result that no reader takes, or an input that was not to be accepted
        return f"cannot be judged: {error!r}"
    return ""


def spelt(name: str) -> str:
    """A path as stderr spells it."""
    return str(Path(name)).encode("utf-8", "backslashreplace").decode()


def shown(name: str) -> str:
    """The same on one line."""
    return " ".join(spelt(name).split())


def _judge_ending(case: Case, done: Done) -> list[str]:
    """The rules for every run; returns the notes on stderr."""
    if done.code is None:
        raise Wrong("did not end in time")
    if "Traceback" in done.out + done.err:
        raise Wrong(f"traceback: {done.err.strip().splitlines()[-1]}")
    if done.code not in (0, 2):
        raise Wrong(f"exit code {done.code}: {done.err[-300:]}")
    text = done.err.replace(spelt(case.given), shown(case.given))  # notes spell an odd name as it is
    lines = [line.removeprefix("./") for line in text.splitlines()]
    errors = [line for line in lines if line.startswith("error: ")]
    notes = [line for line in lines if line.startswith(f"{shown(case.given)}: ")]
    if len(errors) + len(notes) != len(lines):
        raise Wrong(f"noise on stderr: {[line for line in lines if line not in errors + notes][:3]}")
    if len(errors) != (1 if done.code == 2 else 0):
        raise Wrong(f"exit code {done.code} with {len(errors)} error lines: {errors[:3]}")
    names = shown(Path(case.given).stem), repr(case.given)[1:-1]  # the stem stands in a result's name too
    if errors and not any(name in errors[0] for name in names):
        raise Wrong(f"the error does not name the input: {errors[0]}")
    return notes


def output_name(case: Case) -> str:
    """The annotated file's name."""
    given = Path(case.given)
    suffix = given.suffix.lower()
    if case.kind == "video":
        suffix = ".mp4"
    elif suffix not in WRITTEN_AS_READ or _too_long(case.folder / given, suffix):
        suffix = ".png"
    return f"{given.stem}_fer{suffix}"


def _too_long(path: Path, suffix: str) -> bool:
    """Whether a picture has a side that its own format cannot be written with."""
    limit = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}.get(suffix)
    try:
        return limit is not None and max(upright_size(path)) > limit
    except Exception:
        return False


def _judge_files(case: Case, code: int) -> None:
    """Exactly the promised files, and no part of one."""
    found = {p.name for p in (case.folder / "out").iterdir()} if (case.folder / "out").is_dir() else set()
    done = {output_name(case)} if code == 0 else set()
    if case.kind == "picture":
        expected = done | {"good_fer.png"}
    elif case.kind == "video":
        expected = done | {str(Path(name).with_suffix(".csv")) for name in done}
    elif case.arguments[0] == "evaluate":
        expected = {"report.json"} if code == 0 else set()
    else:
        expected = {"face_fer.png"} if code == 0 else set()
    if found != expected:
        raise Wrong(f"exit code {code} leaves {sorted(found)}, not {sorted(expected)}")
    parts = [str(p.relative_to(case.folder)) for p in case.folder.rglob("*.part-*")]
    if parts:
        raise Wrong(f"half-written: {parts}")


def read_table(path: Path, names: tuple[str, ...]) -> list[dict]:
    """The rows of a table of results, after the checks that hold for every one."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != names:
        raise Wrong(f"columns {reader.fieldnames}")
    for row in rows:
        if not row["x"]:
            if any(row[name] for name in names if name not in ("source", "frame", "time_s", "measured")):
                raise Wrong(f"a row without a face is not empty: {row}")
            continue
        chances = {name: float(row[name]) for name in EMOTIONS}
        if abs(sum(chances.values()) - 1) > 1e-4 or min(chances.values()) < 0:
            raise Wrong(f"probabilities {chances}")
        best = max(chances, key=chances.get)
        if row["emotion"] not in (best, UNCERTAIN) or abs(float(row["confidence"]) - chances[best]) > 1e-5:
            raise Wrong(f"emotion {row['emotion']} {row['confidence']} of {chances}")
        if int(row["w"]) < 1 or int(row["h"]) < 1:
            raise Wrong(f"box {row}")
    return rows


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) by Pillow, which decodes the whole picture."""
    with Image.open(path) as image:
        image.load()
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def judge_picture(case: Case, done: Done, notes: list[str]) -> None:
    path = case.folder / case.given
    try:
        size = upright_size(path)
    except Exception as error:
        raise Wrong(f"Pillow cannot read it: {error!r}") from None
    if upright_size(case.folder / "out" / output_name(case)) != size:
        raise Wrong(f"the annotated picture is not {size}")
    rows = read_table(case.folder / "t.csv", columns(va="--va" in case.arguments))
    if "--json" in case.arguments and len(json.loads((case.folder / "t.json").read_text())) != len(rows):
        raise Wrong("the JSON table has other rows than the CSV")
    faces = [row for row in rows if row["source"] != "good.png" and row["x"]]
    if len(rows) != max(1, len(faces)) + 1 or done.out.count(": face ") != len(faces):
        raise Wrong(f"{len(rows)} rows, {len(faces)} faces: {done.out}")
    if any(int(row["x"]) + int(row["w"]) > size[0] or int(row["y"]) + int(row["h"]) > size[1] for row in faces):
        raise Wrong(f"a box beyond {size}")
    damage = picture_damage(path)
    if damage and not notes and not _same_pixels(path, case.whole):
        raise Wrong(f"labelled without a word, though: {damage}")


def _same_pixels(a: Path, b: Path) -> bool:
    with Image.open(a) as one, Image.open(b) as other:
        return np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))


def picture_damage(path: Path) -> str:
    """What libjpeg or a PNG's checksums say of a picture that Pillow decodes without complaint."""
    import cv2

    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        with tempfile.TemporaryFile() as file:
            kept = os.dup(2)
            os.dup2(file.fileno(), 2)
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            return _text(file.read()).strip()
    at = 8
    while data[:4] == b"\x89PNG" and at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body, checksum = data[at + 4 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        critical = not body[0] & 32
        if critical and zlib.crc32(body) != int.from_bytes(checksum, "big"):
            return f"the checksum of {body[:4]} is wrong"
        if body[:4] == b"IEND":
            break
        at += 12 + length
    return ""


@dataclass
class Decoded:
    """A video as FFmpeg decodes it by one thread."""

    times: list[float]
    size: tuple[int, int]
    trouble: str  # what FFmpeg says of it; "" when it is content


def decode(path: Path) -> Decoded:
    import av

    times, size, packets_read, corrupt, failed = [], (0, 0), 0, 0, 0
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        packets = container.demux(stream)
        while failed < 200:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                packets_read += packet.size > 0 and not packet.is_discard
                for frame in packet.decode():
                    corrupt += frame.is_corrupt
                    if not times:
                        size = (frame.width, frame.height)
                        size = size[::-1] if abs(frame.rotation) == 90 else size
                    times.append(frame.time)
            except av.error.EOFError:
                break
            except av.FFmpegError:
                failed += 1
    missing = packets_read - len(times)
    trouble = f"{missing} packets without a frame, {corrupt} corrupt frames, {failed} failures"
    return Decoded(times, size, trouble if missing > 0 or corrupt or failed else "")


def judge_video(case: Case, done: Done, notes: list[str]) -> None:
    names = columns(video=True, smoothed=True)
    rows = read_table(case.folder / "t.csv", names)
    target = case.folder / "out" / output_name(case)
    if read_table(target.with_suffix(".csv"), names) != rows:
        raise Wrong("the video's own table is not the one of all inputs")
    before, after, original = decode(case.folder / case.given), decode(target), decode(case.whole)
    if after.trouble:
        raise Wrong(f"the annotated video is damaged: {after.trouble}")
    if after.size != before.size:
        raise Wrong(f"{after.size} in place of {before.size}")
    frames = list(dict.fromkeys((int(row["frame"]), float(row["time_s"])) for row in rows))
    times = [time_s for _, time_s in frames]
    if [index for index, _ in frames] != list(range(len(after.times))):
        raise Wrong(f"{len(after.times)} frames in the video, in the table {len(frames)}")
    if max(abs(a - b) for a, b in zip(times, after.times, strict=True)) > 0.01:
        raise Wrong(f"times {times[:5]} in the table, {after.times[:5]} in the video")
    if before.trouble and not notes:
        raise Wrong(f"{len(times)} of {len(original.times)} frames as if all were well, though: {before.trouble}")
    counted = case.whole.suffix in (".mp4", ".mov", ".avi")  # containers that say how many frames they have
    if len(times) < 0.9 * len(original.times) and counted and not notes:
        raise Wrong(f"{len(times)} of {len(original.times)} frames without a word")


class Strict(Exception):
    """What a strict reader of the tables says."""


def _strict_rows(path: Path, needed: tuple[str, ...]) -> list[dict]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, strict=True))
    header = [name.strip().lower() for name in rows[0]]
    for name in needed:
        if header.count(name.lower()) != 1:
            raise Strict(f"{header.count(name.lower())} columns {name}")
    if {len(row) for row in rows} != {len(header)}:
        raise Strict("rows of several lengths")
    return [dict(zip(header, (cell.strip(" ") for cell in row), strict=True)) for row in rows[1:]]


def _whole_number(text: str, top: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= top):
        raise Strict(f"{text[:20]!r} is not a number from 0 to {top}")
    return int(text)


def expected_report(pictures: Path, votes: Path | None, split: str) -> dict:
    """Figures of the tiny model by a strict reader and NumPy; Strict, or what csv raises, when there are none."""
    rows = _strict_rows(pictures, ("emotion", "pixels", "usage"))
    usage = np.array([row["usage"] for row in rows])
    if not rows or set(usage) - set(USAGES) or split not in usage:
        raise Strict(f"usages {set(usage)}")
    truth = np.array([_whole_number(row["emotion"], 6) for row in rows])
    pixels = [[_whole_number(cell, 255) for cell in row["pixels"].split(" ") if cell] for row in rows]
    if {len(row) for row in pixels} != {48 * 48}:
        raise Strict("pictures of several sizes")
    chosen, pixels = usage == split, np.array(pixels, np.float64)
    columns_of = np.repeat(pixels[chosen].reshape(-1, 48, 48).mean(axis=1)[..., None], 3, axis=2) / 255
    scores = {head: columns_of.reshape(-1, 144) @ weights for head, weights in tiny_weights().items()}
    answer = scores["fer2013"].argmax(axis=1)
    report = {"n": int(chosen.sum()), "accuracy": float((answer == truth[chosen]).mean())}
    confusion = np.zeros((7, 7), int)
    np.add.at(confusion, (truth[chosen], answer), 1)
    training = {row.tobytes() for row in pixels[usage == "Training"]}
    own = np.array([row.tobytes() not in training for row in pixels[chosen]])
    alone = float((answer == truth[chosen])[own].mean()) if own.any() else None
    report |= {"confusion": confusion.tolist(), "accuracy_without_duplicates": alone}
    plus_n = plus = None
    if votes is not None:
        ratings = _strict_rows(votes, ("usage", *VOTES))
        if [row["usage"] for row in ratings] != usage.tolist():
            raise Strict("the tables do not match")
        counts = np.array([[_whole_number(row[name.lower()], 999_999) for name in VOTES] for row in ratings])[chosen]
        counts[counts == 1] = 0
        best = counts.argmax(axis=1)
        known = (2 * counts.max(axis=1) > counts.sum(axis=1)) & (best < 8)
        if known.any():
            plus_n = int(known.sum())
            plus = float((scores["emotion"][known, :8].argmax(axis=1) == best[known]).mean())
    return report | {"ferplus_n": plus_n, "ferplus_accuracy": plus}


def _read_report(case: Case, done: Done) -> dict:
    def no_constants(name):
        raise Wrong(f"{name} in the report")

    report = json.loads(done.out, parse_constant=no_constants)
    if json.loads((case.folder / "out" / "report.json").read_text()) != report:
        raise Wrong("the file is not what was printed")
    return report


def judge_table(case: Case, done: Done, notes: list[str]) -> None:
    report = _read_report(case, done)
    votes = case.folder / "fer2013new.csv" if "--ferplus" in case.arguments else None
    split = case.arguments[case.arguments.index("--split") + 1]
    try:
        expected = expected_report(case.folder / "fer2013.csv", votes, split)
    except (Strict, csv.Error, UnicodeDecodeError, IndexError) as error:
        raise Wrong(f"scored, though {error}") from None
    got = {key: report[key] for key in expected}
    for key, value in expected.items():
        if (got[key] is None) != (value is None) or (value is not None and not np.allclose(got[key], value)):
            raise Wrong(f"{key} is {got[key]}, should be {value}")


def judge_card(case: Case, done: Done, notes: list[str]) -> None:
    """The answer against the untouched folder's, which lies in corpus/baseline.json."""
    baseline = json.loads((case.corpus / "baseline.json").read_text())[case.arguments[0]]
    if case.arguments[0] == "evaluate":
        report = _read_report(case, done)
        if {**report, "model": ""} != {**baseline, "model": ""}:
            raise Wrong(f"another report: accuracy {report['accuracy']}, was {baseline['accuracy']}")
        return
    margin = json.loads((case.folder / "model" / "card.json").read_text())["crop_margin"]["blazeface"]
    row = read_table(case.folder / "t.csv", columns())[0]
    if margin == 0.1 and {key: row[key] for key in EMOTIONS} != {key: baseline[key] for key in EMOTIONS}:
        raise Wrong(f"{row['emotion']} {row['confidence']}, was {baseline['emotion']} {baseline['confidence']}")


def write_baseline(corpus: Path, folder: Path) -> None:
    """What the untouched model answers, to baseline.json."""
    baseline, table, common = {}, corpus / "fer2013", ["--model", str(corpus / "tiny")]
    folder.mkdir()
    for arguments in (
        ["photo", str(corpus / "face.png"), "--out", "out", "--csv", "t.csv", *common],
        ["evaluate", "--data", str(table / "fer2013.csv"), "--ferplus", str(table / "fer2013new.csv"), *common],
    ):
        case = Case(0, "card", "unchanged", folder, arguments, "tiny", corpus / "tiny")
        done = run_process(case, command(case))
        if done.code:
            raise SystemExit(f"the untouched inputs do not work: {done.err}")
        rows = read_table(folder / "t.csv", columns())
        baseline[arguments[0]] = rows[0] if arguments[0] == "photo" else json.loads(done.out)
    if not baseline["photo"]["x"]:
        raise SystemExit("no face in the untouched picture")
    (corpus / "baseline.json").write_text(json.dumps(baseline))


# ---------------------------------------------------------------------------------------------------------- all of it


def run_case(task: tuple[int, int, Path, Path]) -> tuple[Case, int | None, str]:
    """Make, run and judge one case; (the case, its exit code, the finding or "")."""
    number, seed, corpus, work = task
    case = make_case(number, seed, corpus, work / f"{number:04d}")
    done = run_process(case, command(case)) if number % EVERY_AS_SCRIPT == 0 else run_forked(case)
    return case, done.code, judge(case, done)


def keep(case: Case, finding: str, place: Path) -> None:
    """Copy an offending input with the command that shows it."""
    target = place / f"{case.kind}_{case.number:04d}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(case.folder, target, symlinks=True, ignore=_pipes)
    text = f"{case.what}\n{finding}\n{json.dumps(command(case))}\n"
    (target / "finding.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _pipes(folder, names) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_fifo()]


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; prints a line a finding and a summary. Returns 1 when there is a finding, otherwise 0."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz.py", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="number of cases (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other cases (default 1)")
    parser.add_argument("--only", type=int, nargs="*", metavar="N", help="only the cases with these numbers")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="cases at a time (default 2)")
    parser.add_argument("--keep", type=Path, default=ROOT / "out" / "fuzz", help="where findings go (out/fuzz/)")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    begun, numbers = time.monotonic(), options.only or range(options.count)
    fork = multiprocessing.get_context("fork")
    endings, findings = Counter(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        work = Path(temporary)
        corpus = work / "corpus"
        builder = fork.Process(target=build_corpus, args=(corpus,))  # not here: no fork may inherit OpenCV's threads
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit("the valid inputs could not be made")
        _import_all()
        write_baseline(corpus, work / "untouched")
        tasks = [(number, options.seed, corpus, work) for number in numbers]
        with fork.Pool(options.jobs, maxtasksperchild=1) as pool:
            results = pool.imap(run_case, tasks)
            for _ in tasks:  # the time limit is for a judge that a damaged file has killed
                case, code, finding = results.next(timeout=5 * LIMIT_S)
                endings[case.kind, code] += 1
                if finding:
                    findings += 1
                    print(f"{case.kind} {case.number}: {case.what}: {finding}", flush=True)
                    keep(case, finding, options.keep)
                shutil.rmtree(case.folder)
    for kind in dict.fromkeys(KINDS):
        done = ", ".join(f"{n} x exit {code}" for (k, code), n in sorted(endings.items(), key=str) if k == kind)
        print(f"{kind}: {done or 'none'}")
    print(f"{len(tasks)} cases, {findings} findings, seed {options.seed}, {time.monotonic() - begun:.0f} s")
    if findings:
        print(f"the inputs of the findings are in {options.keep}")
    return 1 if findings else 0


def _import_all() -> None:
    """What the forks would otherwise import each for itself; importing alone starts no thread."""
    import av  # noqa: F401
    import openvino  # noqa: F401

    import fer_lib.annotate  # noqa: F401
    import fer_lib.cli  # noqa: F401
    import fer_lib.evaluate  # noqa: F401
    import fer_lib.recognize  # noqa: F401
    import fer_lib.video  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
