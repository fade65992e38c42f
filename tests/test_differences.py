"""Differences, blobs, padding and what is made of them, by frames made by hand; clips of a sequence from its files."""

import cv2
import numpy as np
import pytest
from conftest import PHOTOS

from fer_lib.datasets.demo import sequence
from fer_lib.detect import make_detector
from fer_lib.differences import blobs, clip_bytes, differences, halve, in_between, load_clip, pad, profiles
from fer_lib.errors import InputError
from fer_lib.images import read_image


def two_frames(before: int, after: int, size: int = 9) -> np.ndarray:
    return np.stack([np.full((size, size), before, np.uint8), np.full((size, size), after, np.uint8)])


@pytest.mark.parametrize(
    ("before", "after", "wrapped", "kept"),
    [(100, 99, 255, True), (200, 72, 128, True), (200, 71, 127, False), (100, 101, 1, False), (100, 100, 0, False)],
)
def test_wrap_keeps_what_darkened_by_1_to_128(before, after, wrapped, kept):
    clip = two_frames(before, after)
    assert (differences(clip, "wrap") == wrapped).all()
    assert blobs(clip)[0, 4, 4] == kept


def test_true_differences_by_hand():
    clip = two_frames(100, 97)
    assert (differences(clip, "absolute") == 3).all() and (differences(clip[::-1], "absolute") == 3).all()
    assert (differences(clip, "signed") == 3).all() and (differences(clip[::-1], "signed") == -3).all()
    assert blobs(clip, "signed", 2).all() and not blobs(clip, "signed", 3).any()
    assert not blobs(clip[::-1], "signed", 2).any() and blobs(clip[::-1], "absolute", 2).all()
    assert not blobs(two_frames(200, 100), "absolute", 127).any()  # why the ancestor's threshold needs its wrap
    with pytest.raises(ValueError, match="no difference 'squared'; there are wrap"):
        differences(clip, "squared")


def test_signed_above_zero_is_wrap():
    clip = np.random.default_rng(0).integers(60, 180, (4, 20, 20), np.uint8)
    np.testing.assert_array_equal(blobs(clip), blobs(clip, "signed", 0))


def test_erosion_leaves_what_a_square_of_five_fits_into():
    clip = np.full((2, 20, 20), 100, np.uint8)
    clip[1, 2:8, 3:10] -= 1  # 6 x 7 pixels: 2 x 3 places for the middle of a 5 x 5 square
    clip[1, 15, 15] -= 1
    found = blobs(clip)
    assert found.shape == (1, 20, 20) and found.dtype == bool
    assert found[0, 4:6, 5:8].all() and found.sum() == 6


def test_padding_by_hand():
    frames = np.arange(1, 4)[:, None]
    np.testing.assert_array_equal(pad(frames, 6)[:, 0], [0, 1, 2, 3, 0, 0])
    np.testing.assert_array_equal(pad(frames, 3), frames)
    np.testing.assert_array_equal(pad(np.arange(1, 8)[:, None], 4)[:, 0], [1, 3, 5, 7])
    assert pad(np.zeros((9, 2, 267))).shape == (39, 2, 267)


def test_halves_and_profiles_by_hand():
    frame = np.array([[[1, 0, 1], [0, 0, 1], [1, 1, 0]]], np.uint8)
    np.testing.assert_allclose(halve(frame)[0], [[0.25, 1], [1, 0]])
    np.testing.assert_allclose(profiles(frame)[0], [[2 / 3, 1 / 3, 2 / 3], [2 / 3, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(profiles(np.triu(np.ones((1, 3, 3))))[0], [[1 / 3, 2 / 3, 1], [1, 2 / 3, 1 / 3]])
    sides = [267]
    for _ in range(3):
        sides.append(halve(np.zeros((1, sides[-1], sides[-1]))).shape[1])
    assert sides == [267, 134, 67, 34]
    with pytest.raises(ValueError, match="square"):
        profiles(np.zeros((1, 2, 3)))


def test_frames_in_between_move_on():
    """A bright square that goes 12 pixels to the right is about half way in the middle of the clip."""
    first = np.zeros((80, 80), np.uint8)
    first[30:50, 20:40] = 200
    first = cv2.GaussianBlur(first, (9, 9), 3)
    last = np.roll(first, 12, axis=1)
    clip = in_between(first, last, 5)
    assert clip.shape == (5, 80, 80) and (clip[0] == first).all() and (clip[-1] == last).all()
    centres = [(frame.sum(axis=0) * np.arange(80)).sum() / frame.sum() for frame in clip.astype(float)]
    np.testing.assert_allclose(np.diff(centres), 3, atol=1.2)
    assert clip[2].max() > 150  # moved, not faded
    assert len(in_between(first, last, 2)) == 2
    with pytest.raises(ValueError, match="at least 2 frames"):
        in_between(first, last, 1)


def test_bytes_by_hand():
    """One clip of 2 x 267 in 39 frames: 2 x 265 places, 64 filters, six float32 numbers each."""
    assert clip_bytes(267, 64, 1, kernel=(266, 3)) == 39 * 2 * 265 * 64 * 6 * 4
    assert clip_bytes(267, 64, 32) == 32 * clip_bytes(267, 64, 1) > 100e9


def test_clips_from_files(tmp_path):
    """Crops are taken whole; of larger pictures the face is found in the first and cut at one place in all."""
    drawn = sequence("surprise", 3).pictures
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, picture in zip(paths, drawn, strict=True):
        cv2.imwrite(str(path), picture)
    asked = []
    clip = load_clip(paths, asked.append)
    assert clip.shape == (3, 267, 267) and clip.dtype == np.uint8 and not asked
    np.testing.assert_array_equal(load_clip(paths, size=48), drawn)
    photo = read_image(PHOTOS / "grace_hopper.jpg")
    for i, path in enumerate(paths[:2]):
        cv2.imwrite(str(path), np.roll(photo, 40 * i, axis=1)[..., ::-1])
    detect = make_detector("blazeface")
    first, second = load_clip(paths[:2], detect)
    face = detect(photo).xyxy[0]
    moved = round(40 * 267 / (face[2:] - face[:2]).max())
    assert np.abs(first[:, :-moved].astype(int) - second[:, moved:]).mean() < 8  # the same place, so the face moved


def test_clips_that_cannot_be_cut(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, side in zip(paths, (200, 210), strict=True):
        cv2.imwrite(str(path), np.full((side, 200), 90, np.uint8))
    with pytest.raises(InputError, match="differ in size; copy"):
        load_clip(paths)
    with pytest.raises(InputError, match="a.png: no face found"):
        load_clip(paths[:1], make_detector("blazeface"))
