"""Drawing results: boxes and captions that stay readable from 160 to 12,000 pixels and inside the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_lib.affect import to_seven
from fer_lib.faces import Faces, age_range

# RGB; the captions' white text has WCAG's 4.5:1 and more on each
GREEN, GREY, RED = (30, 130, 30), (110, 110, 110), (200, 30, 30)
VA_BAND = 0.05  # valence within it is neither positive nor negative
SMALLEST_TEXT = 11  # pixels; smaller letters are hard to read on a screen
LEAST_TEXT = 8  # pixels; just readable, for where larger letters would hide a face
HIDDEN_SHARE = 1 / 3  # of a face that a caption may cover


def box_colour(valence: float | None) -> tuple[int, int, int]:
    """Red below -0.05, grey to 0.05, green above; green without valence."""
    if valence is None or valence > VA_BAND:
        return GREEN
    return RED if valence < -VA_BAND else GREY


def va_text(valence: float, arousal: float, va_scale: str = "unit") -> str:
    """ "V +0.40  A -0.10", or on ADFES's scale ("1-7") "V 5.2  A 3.7"."""
    if va_scale == "1-7":
        return f"V {to_seven(valence):.1f}  A {to_seven(arousal):.1f}"
    return f"V {valence:+.2f}  A {arousal:+.2f}"


def answers(faces: Faces) -> list[str]:
    """ "happy 98%" for each face; "uncertain (sad 38%)" where the best emotion is too improbable to be called.

    With an age its range follows, then, with a probability that it is genuine, that: "happy 98%, 28-45, genuine 71%".
    """
    return _answers(faces, " {:.0%}")


def genuine_text(probability: float) -> str:
    """ "genuine 71%", or the same of "posed" where that is more probable; "" for nan."""
    if np.isnan(probability):
        return ""
    return f"genuine {probability:.0%}" if probability >= 0.5 else f"posed {1 - probability:.0%}"


def _answers(faces: Faces, share: str) -> list[str]:
    """share: how the probability is written behind the emotion's name."""
    pairs = zip(faces.best()[0], *faces.top(), strict=True)
    shares = ((best, name, share.format(p)) for best, name, p in pairs)
    named = [f"{name}{text}" if name == best else f"{name} ({best}{text})" for best, name, text in shares]
    if faces.age is not None:
        named = [f"{name}, {age_range(age)}" for name, age in zip(named, faces.age, strict=True)]
    if faces.genuine is not None:
        judged = (genuine_text(probability) for probability in faces.genuine.tolist())
        named = [f"{name}, {text}" if text else name for name, text in zip(named, judged, strict=True)]
    return named


def captions(faces: Faces, va_scale: str = "unit") -> list[list[str]]:
    """The caption lines of each face: answers(), then valence and arousal if there are any.

    Where there is an age or a judgement, it takes the place of the emotion's probability, "happy, 28-45, genuine 71%":
    a caption must stay short. In a video each of several faces has its face_id in front, as in the table: "1 happy
    98%".
    """
    more = faces.age is not None or faces.genuine is not None
    lines = [[answer] for answer in (_answers(faces, "") if more else answers(faces))]
    if faces.track_id is not None and len(faces) > 1:
        for row, track in zip(lines, faces.track_id.tolist(), strict=True):
            row[0] = f"{track} {row[0]}"
    if faces.va is not None:
        for row, va in zip(lines, faces.va.tolist(), strict=True):
            row.append(va_text(*va, va_scale))
    return lines


def draw_faces(image: np.ndarray, faces: Faces, va_scale: str = "unit") -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with a box and a caption per face; the input is left alone."""
    return draw_over(image.copy(order="C"), faces, va_scale)


def draw_over(image: np.ndarray, faces: Faces, va_scale: str = "unit") -> np.ndarray:
    """draw_faces() into the picture itself, which must be contiguous and writable; returns it."""
    out = image
    if not len(faces):
        return out
    height, width = out.shape[:2]
    thickness = max(1, round(min(height, width) / 180))
    lines, boxes = captions(faces, va_scale), faces.xyxy.tolist()
    colours = [box_colour(v) for v in ([None] * len(faces) if faces.va is None else faces.va[:, 0].tolist())]
    for (x1, y1, x2, y2), colour in zip(boxes, colours, strict=True):  # all first, so that none crosses a caption
        cv2.rectangle(out, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, thickness)
    taken: list[tuple[int, int, int, int]] = []
    for text, box, colour in zip(lines, boxes, colours, strict=True):
        text, size, place = _best_place(text, box, boxes, taken, (height, width))
        x1, y1, x2, y2 = place
        out[y1:y2, x1:x2] = text_block(text, size, colour)[: y2 - y1, : x2 - x1]
        taken.append(place)
    return out


def _best_place(lines, box, boxes, taken, shape):
    """(lines, text size, (x1, y1, x2, y2) inside the picture) of a caption that hides as little as it can.

    Smaller text, then the first line alone, is for where all places hide much of a face or touch another caption.
    """
    height, width = shape
    # a line of text is about a seventh of the face, bounded by what can be read and what the picture can bear
    side = min(height, width)
    size = round(np.clip((box[2] - box[0]) / 7, max(SMALLEST_TEXT, side / 45), max(SMALLEST_TEXT, side / 14)))
    while size > 1 and (block_size(lines, size)[0] > width or block_size(lines, size)[1] > height):
        size -= 1
    sizes = [size]
    while sizes[-1] > LEAST_TEXT:
        sizes.append(max(LEAST_TEXT, int(sizes[-1] * 0.8)))
    least = None
    for text in (lines, lines[:1]):
        for size in sizes:
            for place in _places(box, block_size(text, size), shape):
                hidden = max(_overlap(place, face) / max(1, _overlap(face, face)) for face in boxes)
                touched = sum(_overlap(place, other) for other in taken)
                total = touched + sum(_overlap(place, face) for face in boxes)
                cost = (hidden > HIDDEN_SHARE, total)
                if least is None or cost < least[0]:
                    least = cost, touched, (text, size, place)
            if not least[0][0] and not least[1]:
                return least[2]
    return least[2]


def _places(box, block, shape):
    """Where a block of (width, height) can stand: above, below, right, left of the box, inside at its top, bottom."""
    x1, y1, x2, y2 = box
    width, height = min(block[0], shape[1]), min(block[1], shape[0])
    spots = ((x1, y1 - height), (x1, y2), (x2, y1), (x1 - width, y1), (x1, y1), (x1, y2 - height))
    for x, y in spots:
        x, y = min(max(0, x), shape[1] - width), min(max(0, y), shape[0] - height)
        yield x, y, x + width, y + height


@lru_cache(maxsize=64)
def _font(size: int):
    return ImageFont.load_default(size)  # Pillow's own Aileron, so that it looks alike everywhere


def block_size(lines, size: int) -> tuple[int, int]:
    """(width, height) in pixels of text_block for the same lines and size."""
    return _block_size(tuple(lines), size)


@lru_cache(maxsize=1024)  # in a video the same few captions come again and again
def _block_size(lines: tuple[str, ...], size: int) -> tuple[int, int]:
    font, pad = _font(size), max(1, round(size * 0.25))
    return max(round(font.getlength(line)) for line in lines) + 2 * pad, (size + pad) * len(lines) + pad


def text_block(lines, size: int, colour) -> np.ndarray:
    """(h, w, 3) uint8, read-only: white lines of letters `size` pixels high on a filled block."""
    return _text_block(tuple(lines), size, colour)


@lru_cache(maxsize=128)
def _text_block(lines: tuple[str, ...], size: int, colour) -> np.ndarray:
    font, pad = _font(size), max(1, round(size * 0.25))
    block = Image.new("RGB", block_size(lines, size), colour)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((pad, pad + number * (size + pad) + size * 0.8), line, (255, 255, 255), font, anchor="ls")
    pixels = np.asarray(block)
    pixels.flags.writeable = False
    return pixels


def _overlap(a, b) -> int:
    """Pixels that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
