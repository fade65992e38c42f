"""One HTML page about a labelled video, for a person to open: it works from a file, without a server or a network."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from fer_lib import __version__
from fer_lib.errors import InputError
from fer_lib.faces import EMOTION_COLOURS, EMOTIONS
from fer_lib.files import replacing
from fer_lib.messages import counted
from fer_lib.series import FaceSeries, Series
from fer_lib.summary import Moment, Summaries, moments
from fer_lib.video import Progress, VideoReader
from fer_lib.weights import Card

PAGE = Path(__file__).with_name("page")
SUFFIXES = (".html", ".htm")
# Of a larger video the page holds a smaller copy, since it would open slowly otherwise. Ten minutes of 640x360 are
# about 58 million bytes.
HELD_BYTES = 64_000_000
COPY_SIDE = 640  # pixels, the copy's longer one
COPY_CRF = 26  # of x264
FEWEST_BITS = 150_000  # a second of the copy's picture; one of 45 minutes has them
SOUND_BITS = 130_000  # a second of a sound track that does not say its own
MOST_FACES = 50
THUMBNAIL = 96  # pixels
THUMBNAIL_MARGIN = 0.2  # of the box's longer side, on each side
CHUNK = 3 << 20  # bytes; a multiple of 3, so that base64 needs no padding in the middle
NOT_SEEN = 255
Box = tuple[int, int, int, int]  # x, y, w, h in pixels of the upright picture
MEDIA_TYPES = {".mkv": "video/x-matroska"}  # browsers play mp4, m4v and mov alike as video/mp4


def write_report(
    path,
    source,
    video,
    rows: Iterable[dict],
    cards: Card | Sequence[Card],
    *,
    held_bytes: int = HELD_BYTES,
    progress: bool = False,
) -> None:
    """Write the page about one video, complete or not at all.

    source: the original video, which the faces' pictures are cut from. video: the annotated one, which is put into the
    page, or a smaller copy when it has more than held_bytes; one that is too long for that, from some 45 minutes on, is
    referred to by its place beside the page, and the page says so. rows: of its table, see fer_lib.summary.moments;
    they are read once and not kept. cards: of the models that were used.

    The MOST_FACES that were seen longest are shown, in at most series.POINTS steps of time, so that the page without
    the video stays below two million bytes. It runs no script but its own (a Content-Security-Policy with its hash).
    InputError for another suffix, rows of several videos, or a file that cannot be read or written.
    """
    path, source, video = Path(path), Path(source), Path(video)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a report ends in {' or '.join(SUFFIXES)}")
    try:
        size = video.stat().st_size
    except OSError as error:
        raise InputError(f"{video}: {error.strerror or error}; give the annotated video") from None
    series, summaries, best = Series(), Summaries(), BestFrames()
    for moment in moments(rows):
        series.add(moment)
        summaries.add(moment)
        best.add(moment)
    faces = series.faces(MOST_FACES)
    pictures = thumbnails(source, {face.face_id: best.of[face.face_id] for face in faces if face.face_id in best.of})
    with tempfile.TemporaryDirectory() as folder:
        held = video if size <= held_bytes else smaller_copy(video, Path(folder) / "copy.mp4", held_bytes, progress)
        before, after = _page(path, source, video, series, faces, summaries.rows(), pictures, cards, held)
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
            page.write(before)
            if held is not None:
                with open(held, "rb") as film:
                    while chunk := film.read(CHUNK):
                        page.write(base64.b64encode(chunk).decode())
            page.write(after)


def smaller_copy(video: Path, target: Path, most_bytes: int, progress: bool = False) -> Path | None:
    """target, written: the same frames and sound in fewer pixels and at most so many bytes; None if that is too few."""
    import av

    with VideoReader(video) as film:
        seconds, rate, frames = film.duration_s, film.rate, film.frames
    try:
        with ExitStack() as stack:
            bar = stack.enter_context(Progress(f"smaller copy of {video.name}", frames, progress))
            before = stack.enter_context(av.open(f"file:{video}"))
            stream = before.streams.video[0]
            stream.thread_type = "AUTO"
            sounds = before.streams.audio
            sound_bits = sum(sound.bit_rate or SOUND_BITS for sound in sounds)
            bits = int(0.9 * 8 * most_bytes / max(seconds, 1.0) - sound_bits)  # the rest is for peaks and the index
            if bits < FEWEST_BITS:
                return None
            after = stack.enter_context(av.open(f"file:{target}", "w", options={"movflags": "faststart"}))
            scale = min(1.0, COPY_SIDE / max(stream.width, stream.height))
            width, height = (max(2, 2 * round(side * scale / 2)) for side in (stream.width, stream.height))
            limits = {"maxrate": str(bits), "bufsize": str(bits), "crf": str(COPY_CRF), "preset": "veryfast"}
            picture = after.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=limits)
            picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
            picture.codec_context.time_base = stream.time_base
            if stream.sample_aspect_ratio:
                picture.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
            targets = {sound.index: after.add_stream_from_template(sound) for sound in sounds}
            for packet in before.demux(stream, *sounds):
                if packet.stream_index == stream.index:
                    for frame in packet.decode():
                        frame = frame.reformat(width, height, "yuv420p")
                        frame.pict_type = 0  # the copy's encoder decides
                        after.mux(picture.encode(frame))
                        bar.step()
                elif packet.dts is not None:
                    packet.stream = targets[packet.stream_index]
                    after.mux(packet)
            after.mux(picture.encode(None))
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot write a smaller copy of {video}: {reason}; free some space in {target.parent}"
        ) from None
    return target if target.stat().st_size <= most_bytes else None


class BestFrames:
    """Where each face was recognised with the highest confidence, on a frame that was computed."""

    def __init__(self):
        self.of: dict[int, tuple[int, float, Box]] = {}  # by face: frame, its time in seconds, box
        self._confidence: dict[int, float] = {}

    def add(self, moment: Moment) -> None:
        for face in moment.faces:
            confidence = face.confidence or 0.0
            if face.box and face.measured and confidence > self._confidence.get(face.face_id, -1.0):
                self._confidence[face.face_id] = confidence
                self.of[face.face_id] = moment.frame, moment.time_s, face.box


def thumbnails(source, wanted: dict[int, tuple[int, float, Box]]) -> dict[int, bytes]:
    """JPEGs of THUMBNAIL pixels by face; wanted: {face: (frame, its time in seconds, box)}."""
    found: dict[int, bytes] = {}
    if not wanted:
        return found
    with VideoReader(source) as film:
        for index, image in film.pictures({frame: time_s for frame, time_s, _ in wanted.values()}):
            for face_id, (frame, _, box) in wanted.items():
                if frame == index:
                    found[face_id] = _jpeg(image, box)
    return found


def _jpeg(image: np.ndarray, box: Box) -> bytes:
    """The square around a box, as much of it as lies in the picture."""
    x, y, w, h = box
    side = max(w, h, 1) * (1 + 2 * THUMBNAIL_MARGIN)
    left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    height, width = image.shape[:2]
    x1, x2 = (int(np.clip(round(value), 0, width)) for value in (left, left + side))
    y1, y2 = (int(np.clip(round(value), 0, height)) for value in (top, top + side))
    cut = Image.fromarray(image[min(y1, height - 1) : max(y2, y1 + 1), min(x1, width - 1) : max(x2, x1 + 1)])
    cut.thumbnail((THUMBNAIL, THUMBNAIL))
    jpeg = io.BytesIO()
    cut.save(jpeg, "JPEG", quality=80)
    return jpeg.getvalue()


def _page(path, source, video, series, faces, summary, pictures, cards, held: Path | None) -> tuple[str, str]:
    """The page up to the video's bytes, and from there on."""
    cards = [cards] if isinstance(cards, Card) else list(cards)
    rows = {row["face_id"]: row for row in summary}
    shown = [rows[face.face_id] for face in faces]
    script = (PAGE / "report.js").read_text(encoding="utf-8")
    colours = "".join(f".e-{name} {{ background: {c}; fill: {c}; }}\n" for name, c in EMOTION_COLOURS.items())
    style = (PAGE / "report.css").read_text(encoding="utf-8") + colours
    kind = MEDIA_TYPES.get((held or video).suffix.lower(), "video/mp4")
    film_note, film_source, inside = "", "", held is not None
    if inside and held != video:
        film_note = (
            f'<p class="note">The video in this page is a smaller copy, so that the page opens quickly; {_name(video)} '
            f"has all its pixels, {video.stat().st_size / 1e6:,.0f} MB.</p>"
        )
    elif not inside:
        film_source = f' src="{_text(_address(video, path.parent))}"'
        film_note = (
            f'<p class="note">The video, {video.stat().st_size / 1e6:,.0f} MB, is too large to be put into this page: '
            f"keep {_name(video)} where it is beside the page, and move both together.</p>"
        )
    seconds, name = series.end_s - series.start_s, _plain(source.name)
    facts = (
        f"{_clock(seconds)} with {counted(len(series), 'face')}, "
        f"read by {', '.join(_text(card.name) for card in cards)}"
    )
    filled = {
        "policy": _policy(script, style, inside),
        "title": _text(f"Faces in {name}"),
        "heading": f"Faces in {_name(source)}",
        "facts": facts,
        "style": style,
        "film_source": film_source,
        "film_name": _name(video),
        "film_note": film_note,
        "faces": _faces(series, shown, pictures),
        "table": _table(shown, pictures) if shown else "<p>There is nothing to sum up.</p>",
        "step": f"{1000 * series.step_s:.0f} ms" if series.step_s < 1 else f"{series.step_s:.1f} s",
        "cards": "\n".join(_card(card) for card in cards),
        "version": _text(__version__),
        "data": _script_safe(_data(series, faces)),
        "film": f'<script type="application/octet-stream" data-type="{kind}" id="held">\0</script>' if inside else "\0",
        "script": script,
    }
    template = (PAGE / "report.html").read_text(encoding="utf-8")
    # in one pass, so that nothing that is put in is looked through again
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], template)
    before, after = page.split("\0")
    return before, after


def _policy(script: str, style: str, held: bool) -> str:
    """What the browser may load: the page's own script and style, pictures in it, and the one video."""
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{own[0]}'; style-src 'sha256-{own[1]}'; img-src data:; "
        f"media-src {'blob:' if held else 'file: &#39;self&#39;'}; base-uri 'none'; form-action 'none'"
    )


def _address(video: Path, folder: Path) -> str:
    """The video's address from a page in the folder."""
    try:
        beside = Path(os.path.relpath(video.resolve(), folder.resolve()))
    except ValueError:  # another drive of Windows
        return video.resolve().as_uri()
    return quote(os.fsencode(beside.as_posix()))


def _data(series: Series, faces: list[FaceSeries]) -> dict:
    """What report.js draws; its first lines tell the form."""
    known = [EMOTIONS.index(name) for name in series.known]
    with_va = any(np.isfinite(face.va).any() for face in faces)

    def packed(face: FaceSeries) -> str:
        probability = np.rint(np.clip(face.probability[:, known], 0, 1) * 254)
        columns = [np.where(face.label < 0, NOT_SEEN, face.label), np.nan_to_num(probability, nan=NOT_SEEN)]
        if with_va:
            columns.append(np.nan_to_num(np.rint(128 + 127 * np.clip(face.va, -1, 1)), nan=0))
        return base64.b64encode(np.column_stack(columns).astype(np.uint8).tobytes()).decode()

    return {
        "start": round(series.start_s, 6),
        "step": series.step_s,
        "end": round(series.end_s, 6),
        "emotions": EMOTIONS,
        "colours": EMOTION_COLOURS,
        "known": series.known,
        "va": with_va,
        "faces": [{"id": face.face_id, "first": face.first, "steps": packed(face)} for face in faces],
    }


def _script_safe(value) -> str:
    """JSON that cannot end the script element which it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def _faces(series: Series, shown: list[dict], pictures: dict[int, bytes]) -> str:
    if not shown:
        return "<p>No face was found in this video.</p>"
    used = dict.fromkeys(series.known) | dict.fromkeys(name for row in shown for name in EMOTIONS if _share(row, name))
    legend = "".join(f'<li><span class="e-{name}"></span>{name}</li>' for name in EMOTIONS if name in used)
    parts = [
        '<p class="hint">Click on a timeline to see that moment in the video, or go to it with the Tab key: arrow keys '
        "move by a second, with Shift by a tenth, Space plays and stops. Each row is filled as high as the emotion is "
        "probable; nothing is drawn where the face was not seen.</p>",
        f'<ul class="legend" aria-label="Colours">{legend}</ul>',
    ]
    if len(series) > len(shown):
        parts.append(
            f'<p class="note">These are the {len(shown)} faces that were seen longest. '
            f"{len(series) - len(shown)} more, seen for {shown[-1]['seconds']:.1f} s or less, stand in the table that "
            "was written with the video.</p>"
        )
    return "\n".join(parts + [_face(series, row, pictures) for row in shown])


def _face(series: Series, row: dict, pictures: dict[int, bytes]) -> str:
    number = row["face_id"]
    return f"""<article class="face">
<header>{_picture(row, pictures)}<div><h3>Face {number}</h3>
<p>seen for {row["seconds"]:.1f} s{_mostly(row)}</p><p class="now"></p></div></header>
<div class="timeline" data-face="{number}" role="slider" tabindex="0" aria-label="Timeline of face {number}"
aria-valuemin="{series.start_s:.2f}" aria-valuemax="{series.end_s:.2f}" aria-valuenow="{series.start_s:.2f}"
><canvas aria-hidden="true"></canvas><div class="playhead"></div><div class="tip" aria-hidden="true" hidden></div></div>
</article>"""


def _picture(row: dict, pictures: dict[int, bytes], described: bool = True) -> str:
    jpeg = pictures.get(row["face_id"])
    if jpeg is None:
        return ""
    text = f"Face {row['face_id']} where its expression was clearest to the model" if described else ""
    return f'<img class="thumb" alt="{text}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def _share(row: dict, name: str) -> float:
    return row.get(f"share_{name}", 0.0)


def _shares(row: dict) -> list[str]:
    """The emotions that were ever the label, longest first."""
    return sorted((name for name in EMOTIONS if _share(row, name)), key=lambda name: -_share(row, name))


def _mostly(row: dict) -> str:
    return f", mostly {row['emotion']} ({_share(row, row['emotion']):.0%} of the time)" if "emotion" in row else ""


def _table(shown: list[dict], pictures: dict[int, bytes]) -> str:
    extra = [name for name in ("valence", "arousal", "age") if any(name in row for row in shown)]
    heads = ["Face", "Seen", "First", "Last", "Share of the time", *(f"Mean {name}" for name in extra)]
    heads += ["Highest probability, and when", "Label changes"]
    numeric = {"Seen", "Label changes", *(f"Mean {name}" for name in extra)}
    head = "".join(f'<th scope="col"{" class=number" if name in numeric else ""}>{name}</th>' for name in heads)
    lines = []
    for row in shown:
        cells = [f'<th scope="row">{_picture(row, pictures, described=False)} {row["face_id"]}</th>']
        cells.append(f'<td class="number">{row["seconds"]:.1f} s</td>')
        cells += [f"<td>{_jump(row[key])}</td>" for key in ("first_s", "last_s")]
        cells.append(f"<td>{_bar(row)}{_lines(f'{name} {_share(row, name):.0%}' for name in _shares(row))}</td>")
        for name in extra:
            form = ".0f" if name == "age" else "+.2f"
            cells.append(f'<td class="number">{format(row[name], form) if name in row else ""}</td>')
        peaks = (
            f"{name} {row[f'peak_{name}']:.0%} at {_jump(row[f'peak_{name}_time_s'])}"
            for name in _shares(row)
            if f"peak_{name}" in row
        )
        cells.append(f"<td>{_lines(peaks)}</td>")
        cells.append(f'<td class="number">{row["label_changes"]}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="summary">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _lines(texts) -> str:
    return "".join(f'<div class="row">{text}</div>' for text in texts)


def _bar(row: dict) -> str:
    """The shares of time beside one another; the words beneath say the same."""
    parts, x = [], 0.0
    for name in _shares(row):
        wide = 100 * _share(row, name)
        parts.append(f'<rect class="e-{name}" x="{x:.2f}" width="{wide:.2f}" height="10"/>')
        x += wide
    options = 'class="shares" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"'
    return f"<svg {options}>{''.join(parts)}</svg>" if parts else ""


def _jump(time_s: float) -> str:
    return f'<button type="button" data-time="{time_s:.6f}" title="show this moment">{_clock(time_s)}</button>'


def _card(card: Card) -> str:
    scores = [
        f"{_text(name)}: {score['value']:.3g} (95 % interval {score['interval'][0]:.3g} to {score['interval'][1]:.3g}, "
        f"n {score['n']:,}), by <code>{_text(score['command'])}</code>"
        for name, score in card.scores.items()
    ]
    entries = {
        "Model": f"{_text(card.name)}, for {_text(card.task)}",
        "It can answer": _text(", ".join(card.labels) if len(card.labels) < 20 else f"{len(card.labels)} classes"),
        "Trained on": _text(card.data),
        "Terms of that data": _text(card.data_terms),
        "Where the labels come from": _text(card.label_source),
        "Scores": _list(scores),
        "Limits": _list(_text(limit) for limit in card.limits),
        "Must not be used for": _list(_text(use) for use in card.not_for),
    }
    return "<dl>" + "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in entries.items()) + "</dl>"


def _list(items) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _plain(text) -> str:
    """A text that UTF-8 can hold and that hides nothing: lone bytes of file names and control characters spelt out."""
    text = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def _text(text) -> str:
    return html.escape(_plain(text), quote=True)


def _name(path: Path) -> str:
    """A file's name, apart from the text around it whichever way its letters run."""
    return f"<bdi>{_text(path.name)}</bdi>"


def _clock(seconds: float) -> str:
    """1:02.5, or 1:00:02.5; cut off, not rounded, as in report.js."""
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths // 10, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}.{tenths % 10}" if hours else f"{minutes}:{rest:02}.{tenths % 10}"
