"""Drawing: inside the picture at every size, colours by valence, the input untouched."""

import numpy as np
import pytest

from fer_lib.annotate import GREEN, GREY, RED, box_colour, captions, draw_faces
from fer_lib.faces import EMOTIONS, Faces


def face(xyxy, va=None, emotion="surprise"):
    probability = np.zeros((1, 9), np.float32)
    probability[0, EMOTIONS.index(emotion)] = 1
    va = None if va is None else np.array([va], np.float32)
    return Faces(np.array([xyxy], np.int32), np.ones(1, np.float32), probability, va, labels=EMOTIONS)


def test_colours():
    assert [box_colour(v) for v in (None, 0.06, 0.05, 0.0, -0.05, -0.06)] == [GREEN, GREEN, GREY, GREY, GREY, RED]


def test_captions():
    assert captions(face((0, 0, 9, 9), (0.5, -0.25))) == [["surprise 100%", "V +0.50  A -0.25"]]
    assert captions(face((0, 0, 9, 9), (0.5, -0.25)), "1-7")[0][1] == "V 5.5  A 3.2"


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((160, 160), (0, 0, 160, 160)),  # the face fills a small picture: no room above or below
        ((160, 160), (120, 2, 158, 40)),  # a corner
        ((4000, 3000), (2500, 3500, 2900, 3990)),
        ((4000, 3000), (0, 0, 200, 200)),
        ((40, 30), (5, 5, 25, 30)),  # narrower than the words
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_caption_is_inside_and_readable(size, box):
    """Its background block, solid in the box colour, is wholly in the picture and holds white letters."""
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    out = draw_faces(image, face(box, (0.5, 0.5)))
    assert out.shape == image.shape and (image == 128).all()
    if min(size) >= 160:
        letters = np.argwhere((out > 220).all(axis=2))
        assert len(letters) > 50
        top, bottom = letters[:, 0].min(), letters[:, 0].max()
        assert 8 <= (bottom - top) / 2 <= min(size) / 4, "two lines of letters, neither tiny nor huge"
        assert letters.min() > 0 and bottom < height - 1 and letters[:, 1].max() < width - 1
        filled = (out == GREEN).all(axis=2)
        assert filled[letters[:, 0].min() - 1].any() and filled[letters[:, 0].max() + 1].any()


def test_two_captions_do_not_overlap_when_there_is_room():
    both = Faces(
        np.array([[50, 100, 150, 200], [60, 102, 160, 202]], np.int32),
        np.ones(2, np.float32),
        np.eye(9, dtype=np.float32)[[4, 4]],
        labels=EMOTIONS,
    )
    out = draw_faces(np.zeros((400, 400, 3), np.uint8), both)
    one = draw_faces(np.zeros((400, 400, 3), np.uint8), both[:1])
    white = [(picture > 220).all(axis=2).sum() for picture in (out, one)]
    assert white[0] > 1.8 * white[1]  # both texts are whole


def test_no_face_changes_nothing():
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    empty = Faces.empty()
    out = draw_faces(image, empty)
    assert (out == image).all() and out is not image
