"""What moves in a face: differences between frames as blobs, and the clips that a ConvLSTM2D reads.

The pipeline of the ConvLSTM ancestor: grey face crops of 267x267, the difference of each frame and the next, a
threshold, erosion by 5x5, pixels to 0 and 1, zero frames left and right up to 39; then, as that is too much for a
network, frames averaged down, or each frame's column and row means.

A clip is (T, H, W) uint8 grey, its blobs are (T - 1, H, W) bool.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fer_lib.detect import crop_faces
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.framing import largest
from fer_lib.images import read_image

SIZE = 267  # pixels of a face, as the ancestor's
LENGTH = 39  # frames of a padded clip of blobs
WRAP_THRESHOLD = 127
KERNEL = np.ones((5, 5), np.uint8)
KINDS = ("wrap", "absolute", "signed")
SMALL_PICTURE = 100  # pixels: what is smaller is a crop already, in which no detector would look for a face


class NoFaceError(InputError):
    """A detector found no face in a sequence's first frame."""


def load_clip(paths: list[Path], detect=None, size: int = SIZE, margin: float = 0.0, level: bool = False) -> np.ndarray:
    """(T, size, size) uint8 grey: the faces of a sequence's frames.

    Small frames are face crops already and taken whole. Of larger ones detect (see fer_lib.detect) finds the face in
    the first, and all are cut there, with the margin and the levelled eyes of crop_faces, since a face must not move
    with its box. NoFaceError when that shows no face, InputError when the frames differ in size.
    """
    images = [read_image(path) for path in paths]
    height, width = images[0].shape[:2]
    if any(image.shape != images[0].shape for image in images):
        raise InputError(f"{paths[0]} and the frames after it differ in size; copy the sequence again")
    if detect is None or min(height, width) <= SMALL_PICTURE:
        face, margin = Faces(np.array([[0, 0, width, height]], np.int32), np.ones(1, np.float32)), 0.0
    else:
        face = largest(detect(images[0]))
    if not len(face):
        raise NoFaceError(f"{paths[0]}: no face found, so that its sequence cannot be cut; choose another detector")
    crops = (crop_faces(image, face, size, margin, level)[0] for image in images)
    return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops])


def in_between(first: np.ndarray, last: np.ndarray, frames: int) -> np.ndarray:
    """(frames, H, W) uint8 from one grey picture to another, made up in between along dense optical flow.

    Farneback's flow (2003) both ways; each picture is warped to the moment and the two are mixed. What lies between is
    no recording: it holds the direction of each movement and nothing of its timing.
    """
    if frames < 2:
        raise ValueError(f"a clip from one picture to another has at least 2 frames, not {frames}")
    settings = dict(pyr_scale=0.5, levels=4, winsize=25, iterations=4, poly_n=7, poly_sigma=1.5, flags=0)
    there = cv2.calcOpticalFlowFarneback(first, last, None, **settings)
    back = cv2.calcOpticalFlowFarneback(last, first, None, **settings)
    height, width = first.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    clip = [first]
    for share in np.linspace(0, 1, frames)[1:-1]:
        begun = _warp(first, grid, back * share)
        ended = _warp(last, grid, there * (1 - share))
        clip.append(cv2.addWeighted(begun, 1 - share, ended, share, 0))
    return np.stack([*clip, last])


def _warp(picture: np.ndarray, grid: np.ndarray, flow: np.ndarray) -> np.ndarray:
    return cv2.remap(picture, grid + flow.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def differences(clip: np.ndarray, kind: str = "wrap") -> np.ndarray:
    """(T - 1, H, W): each frame's difference to the next, as `blobs` takes a threshold of it.

    "wrap": uint8, next minus frame as unsigned bytes, the ancestor's: a pixel that is 1 darker becomes 255, one that
    is 128 darker 128. So a threshold of 127 keeps what darkened, by 1 to 128 levels, and hardly anything else.
    "absolute": uint8 in 0-255, never above 127 between frames of a face. "signed": int16, positive where it darkened.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no difference {kind!r}; there are {', '.join(KINDS)}")
    if kind == "wrap":
        return clip[1:] - clip[:-1]  # in unsigned bytes
    darker = clip[:-1].astype(np.int16) - clip[1:]
    return np.abs(darker).astype(np.uint8) if kind == "absolute" else darker


def blobs(clip: np.ndarray, kind: str = "wrap", threshold: int = WRAP_THRESHOLD) -> np.ndarray:
    """(T - 1, H, W) bool: where the difference is above the threshold, eroded by 5x5 so that single pixels go."""
    above = (differences(clip, kind) > threshold).astype(np.uint8)
    return np.stack([cv2.erode(frame, KERNEL) for frame in above]).astype(bool)


def pad(frames: np.ndarray, length: int = LENGTH) -> np.ndarray:
    """(length, ...): the frames in the middle, zeros before and behind; one more behind where that is uneven.

    Of a longer clip, frames are left out evenly and never the first or the last.
    """
    if len(frames) > length:
        frames = frames[np.rint(np.linspace(0, len(frames) - 1, length)).astype(int)]
    before = (length - len(frames)) // 2
    widths = [(before, length - len(frames) - before)] + [(0, 0)] * (frames.ndim - 1)
    return np.pad(frames, widths)


def halve(frames: np.ndarray) -> np.ndarray:
    """(T, ceil(H / 2), ceil(W / 2)) float32: the means of 2x2 pixels; an odd side's last ones are repeated.

    267 becomes 134, then 67, then 34.
    """
    height, width = frames.shape[1:]
    even = np.pad(frames.astype(np.float32), [(0, 0), (0, height % 2), (0, width % 2)], mode="edge")
    return even.reshape(len(frames), even.shape[1] // 2, 2, even.shape[2] // 2, 2).mean(axis=(2, 4))


def profiles(frames: np.ndarray) -> np.ndarray:
    """(T, 2, S) float32 of square frames (T, S, S): the mean of each column, and of each row."""
    if frames.shape[1] != frames.shape[2]:
        raise ValueError(f"profiles are of square frames, not {frames.shape[1:]}")
    return np.stack([frames.mean(axis=1), frames.mean(axis=2)], axis=1).astype(np.float32)


def clip_bytes(side: int, filters: int, batch: int, length: int = LENGTH, kernel: tuple[int, int] = (1, 3)) -> int:
    """Bytes that a training step of conv_lstm keeps for its gradients at a frame side, in float32.

    Per frame and place four gates, the cell and the answer of every filter; nothing of Dense or of Adam.
    """
    height, width = side - kernel[0] + 1, side - kernel[1] + 1
    return batch * length * height * width * filters * 6 * 4
