"""Drawing results: boxes and captions that stay readable from 160 to 12,000 pixels and inside the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_lib.affect import to_seven
from fer_lib.faces import Faces

# RGB; each at least 4.5:1 against the white or black caption text chosen for it
GREEN, GREY, RED = (34, 139, 34), (110, 110, 110), (200, 30, 30)
VA_BAND = 0.05  # valence within it is neither positive nor negative
SMALLEST_TEXT = 11  # pixels; smaller letters are hard to read on a screen


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


def captions(faces: Faces, va_scale: str = "unit") -> list[list[str]]:
    """The caption lines of each face: emotion and per cent, then valence and arousal if there are any."""
    names, confidence = faces.top()
    lines = [[f"{name} {100 * p:.0f}%"] for name, p in zip(names, confidence, strict=True)]
    if faces.va is not None:
        for row, va in zip(lines, faces.va.tolist(), strict=True):
            row.append(va_text(*va, va_scale))
    return lines


def draw_faces(image: np.ndarray, faces: Faces, va_scale: str = "unit") -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with a box and a caption per face; the input is left alone."""
    out = np.ascontiguousarray(image).copy()
    if not len(faces):
        return out
    height, width = out.shape[:2]
    thickness = max(1, round(min(height, width) / 180))
    taken: list[tuple[int, int, int, int]] = []
    lines = captions(faces, va_scale)
    for i, (x1, y1, x2, y2) in enumerate(faces.xyxy.tolist()):
        colour = box_colour(None if faces.va is None else float(faces.va[i, 0]))
        cv2.rectangle(out, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, thickness)
        _draw_caption(out, lines[i], (x1, y1, x2, y2), colour, taken)
    return out


def _draw_caption(out, lines, box, colour, taken):
    """Above the box, else below, else inside it; shrunk until it fits; clear of other captions if there is room."""
    height, width = out.shape[:2]
    x1, y1, x2, y2 = box
    side = min(height, width)
    # a line of text is about a seventh of the face, bounded by what can be read and what the picture can bear
    text_size = round(np.clip((x2 - x1) / 7, max(SMALLEST_TEXT, side / 45), max(SMALLEST_TEXT, side / 14)))
    block = text_block(lines, text_size, colour)
    while text_size > 1 and (block.shape[1] > width or block.shape[0] > height):
        text_size = min(text_size - 1, int(text_size * width / block.shape[1]))
        block = text_block(lines, max(1, text_size), colour)
    block = block[:height, :width]
    block_height, block_width = block.shape[:2]
    left = int(np.clip(x1, 0, width - block_width))
    inside = [y for y in (y1 - block_height, y2, y1, y2 - block_height) if 0 <= y <= height - block_height]
    free = [y for y in inside if not any(_overlap((left, y, block_width, block_height), other) for other in taken)]
    top = (free or inside or [0])[0]
    taken.append((left, top, block_width, block_height))
    out[top : top + block_height, left : left + block_width] = block


@lru_cache(maxsize=256)
def _font(size: int):
    return ImageFont.load_default(size)  # Pillow's own Aileron, so that it looks alike everywhere


def text_block(lines, size: int, colour) -> np.ndarray:
    """(h, w, 3) uint8: white lines of letters `size` pixels high on a filled block."""
    font, pad = _font(size), max(1, round(size * 0.25))
    width = max(round(font.getlength(line)) for line in lines) + 2 * pad
    line_height = size + pad
    block = Image.new("RGB", (width, line_height * len(lines) + pad), colour)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((pad, pad + number * line_height + size * 0.8), line, (255, 255, 255), font, anchor="ls")
    return np.asarray(block)


def _overlap(a, b) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
