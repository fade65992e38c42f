"""A short video with real faces, made from the pictures in test_photo/: for the demo, tests and benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fer_lib.errors import InputError
from fer_lib.images import read_image
from fer_lib.messages import complain
from fer_lib.video import VideoWriter

# (centre x, centre y, height) of the face, as fractions of width, height, height; found by eye
FACES = {"grace_hopper": (0.52, 0.29, 0.29), "astronaut": (0.44, 0.22, 0.22)}
ELSEWHERE = (0.5, 0.35, 0.3)  # of a portrait that is not in the list
FADE = 0.035  # of the length: how long one shot fades into the next
BACKDROP = 24  # px: the longer side that a picture is shrunk to for the blurred ground, so that no face is left in it

# A view is (face height / frame height, place of the face's centre in the frame, x and y as fractions).
View = tuple[float, float, float]


def make_demo_video(photos, path, seconds: float = 9.0, size: tuple[int, int] = (640, 360), rate: int = 25) -> Path:
    """Write a video of pan, zoom, cross-fades, a stretch without a face, and two faces side by side.

    photos: at least one picture file with one portrait each; the first two are used. size: (width, height). The same
    pictures give the same frames. InputError without pictures, or when the place cannot be written.
    """
    photos = [Path(photo) for photo in photos]
    if not photos:
        raise InputError("no pictures to make a demo video from; put a portrait into test_photo/")
    portraits = [_Portrait(photo) for photo in photos[:2]]
    first, second = portraits[0], portraits[-1]
    width, height = size
    # shots: (share of the length, painter of the shot at progress 0..1)
    shots: list[tuple[float, Callable[[float], np.ndarray]]] = [
        (0.27, lambda t: first.paint(size, _between((0.30, 0.40, 0.42), (0.58, 0.50, 0.50), t))),
        (0.27, lambda t: second.paint(size, _between((0.52, 0.62, 0.50), (0.34, 0.36, 0.40), t))),
        (0.15, lambda t: _empty(first.backdrop, second.backdrop, size, t)),
        (0.31, lambda t: _side_by_side(first, second, size, t)),
    ]
    count = round(seconds * rate)
    starts = np.cumsum([0.0] + [share for share, _ in shots])
    with VideoWriter(path, width, height, rate=rate, preset="fast", reproducible=True) as writer:
        for index in range(count):
            at = index / count
            shot = min(int(np.searchsorted(starts, at, side="right")) - 1, len(shots) - 1)
            image = shots[shot][1](_progress(at, starts[shot], starts[shot + 1]))
            into = (at - starts[shot]) / FADE  # 0 at the start of a shot
            if shot and into < 1:
                before = shots[shot - 1][1](_progress(at, starts[shot - 1], starts[shot]))
                image = cv2.addWeighted(image, _smooth(into), before, 1 - _smooth(into), 0)
            writer.write(image, index / rate)
    return Path(path)


def make_moving_face(photo, path, seconds: float = 12.0, size: tuple[int, int] = (640, 360), rate: int = 25) -> Path:
    """Write a video of one face that moves about and comes nearer, for benchmarks; photo: a portrait's file."""
    portrait, count = _Portrait(Path(photo)), round(seconds * rate)
    with VideoWriter(path, *size, rate=rate, preset="fast", reproducible=True) as writer:
        for index in range(count):
            at = index / rate
            view = (0.40 + 0.05 * np.sin(1.7 * at), 0.50 + 0.12 * np.sin(at), 0.50 + 0.05 * np.cos(1.25 * at))
            writer.write(portrait.paint(size, view), at)
    return Path(path)


class _Portrait:
    """A picture, where its face is, and a blurred ground to put behind it."""

    def __init__(self, path: Path):
        self.image = read_image(path)
        height, width = self.image.shape[:2]
        x, y, face = FACES.get(path.stem, ELSEWHERE)
        self.x, self.y, self.face = x * width, y * height, face * height
        shrink = BACKDROP / max(height, width)
        small = (max(2, round(width * shrink)), max(2, round(height * shrink)))
        self.backdrop = cv2.GaussianBlur(cv2.resize(self.image, small, interpolation=cv2.INTER_AREA), (0, 0), 3)

    def paint(self, size: tuple[int, int], view: View) -> np.ndarray:
        """(H, W, 3) uint8 RGB: the picture moved and scaled so that its face stands as the view says."""
        width, height = size
        share, x, y = view
        # drawn at twice the size and averaged: no shimmer when the picture is shrunk, and smooth edges
        big, scale = (2 * width, 2 * height), 2 * share * height / self.face
        move = np.array([[scale, 0, 2 * x * width - scale * self.x], [0, scale, 2 * y * height - scale * self.y]])
        out = _cover(self.backdrop, big)
        cv2.warpAffine(self.image, move, big, dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
        return cv2.resize(out, size, interpolation=cv2.INTER_AREA)


def _cover(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A backdrop enlarged to fill a size, darkened so that the picture stands out."""
    return cv2.convertScaleAbs(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), alpha=0.6)


def _empty(a: np.ndarray, b: np.ndarray, size: tuple[int, int], t: float) -> np.ndarray:
    """No face: one blurred ground drifting into the other."""
    width, height = size
    wide = (width + width // 4, height)
    ground = cv2.addWeighted(_cover(a, wide), 1 - _smooth(t), _cover(b, wide), _smooth(t), 0)
    left = round(width // 4 * (1 - _smooth(t)))
    return cv2.GaussianBlur(ground, (0, 0), height / 24)[:, left : left + width]


def _side_by_side(a: _Portrait, b: _Portrait, size: tuple[int, int], t: float) -> np.ndarray:
    width, height = size
    left = width // 2
    view = _between((0.34, 0.5, 0.46), (0.48, 0.5, 0.48), t)
    return np.hstack([a.paint((left, height), view), b.paint((width - left, height), view)])


def _between(start: View, end: View, t: float) -> View:
    return tuple(p + (q - p) * _smooth(t) for p, q in zip(start, end, strict=True))


def _progress(at: float, start: float, end: float) -> float:
    """Progress within a shot. It goes on while the next one fades in, so that nothing stands still."""
    return (at - start) / (end + FADE - start)


def _smooth(t: float) -> float:
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)


def main(arguments: list[str] | None = None) -> int:
    """Make the video from the two portraits of test_photo/; returns the exit code, 2 when it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m fer_lib.demo_video", description=__doc__)
    parser.add_argument("out", metavar="OUT", help="the video to write, such as out/demo.mp4")
    photos = Path(__file__).resolve().parent.parent / "test_photo"
    try:
        made = make_demo_video(
            [photos / "astronaut.png", photos / "grace_hopper.jpg"], parser.parse_args(arguments).out
        )
    except InputError as error:
        complain(error)
        return 2
    print(f"wrote {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
