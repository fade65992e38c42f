"""Drawing: inside the picture at every size, colours by valence, the input untouched."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import PHOTOS

from fer_lib import annotate
from fer_lib.annotate import GREEN, GREY, RED, answers, block_size, box_colour, captions, draw_faces
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.images import read_image


def face(xyxy, va=None, emotion="surprise"):
    probability = np.zeros((1, 9), np.float32)
    probability[0, EMOTIONS.index(emotion)] = 1
    va = None if va is None else np.array([va], np.float32)
    return Faces(np.array([xyxy], np.int32), np.ones(1, np.float32), probability, va, labels=EMOTIONS)


def test_colours():
    assert [box_colour(v) for v in (None, 0.06, 0.05, 0.0, -0.05, -0.06)] == [GREEN, GREEN, GREY, GREY, GREY, RED]


@pytest.mark.parametrize("colour", [GREEN, GREY, RED])
def test_white_text_has_wcag_contrast(colour):
    """WCAG 2.1: relative luminance from linear sRGB; (L1 + 0.05) / (L2 + 0.05) of at least 4.5."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
    assert 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05) >= 4.5


@pytest.mark.parametrize(("side", "thickness"), [(160, 1), (360, 2), (4000, 22)])  # a 180th of the side
def test_a_box_is_as_thick_as_the_picture_asks(side, thickness):
    low, high = side // 2, side * 9 // 10
    out = draw_faces(np.zeros((side, side, 3), np.uint8), face((low, low, high, high)))
    across = (out[(low + high) // 2, (low + high) // 2 :] == GREEN).all(axis=1).sum()  # the right edge
    assert thickness <= across <= thickness + 1  # OpenCV draws odd widths


def test_captions():
    assert captions(face((0, 0, 9, 9), (0.5, -0.25))) == [["surprise 100%", "V +0.50  A -0.25"]]
    assert captions(face((0, 0, 9, 9), (0.5, -0.25)), "1-7")[0][1] == "V 5.5  A 3.2"


def test_an_improbable_emotion_is_named_in_brackets():
    emotion = np.zeros((3, 9), np.float32)
    emotion[:, EMOTIONS.index("sad")] = 0.375, 0.75, 0.375
    emotion[:, EMOTIONS.index("uncertain")] = 0.25, 0.25, 0.625
    box = np.tile(np.array([[0, 0, 9, 9]], np.int32), (3, 1))
    faces = Faces(box, np.ones(3), emotion, labels=EMOTIONS, uncertain_below=0.65)
    assert answers(faces) == ["uncertain (sad 38%)", "sad 75%", "uncertain 62%"]
    assert captions(faces) == [[answer] for answer in answers(faces)] and answers(faces[:0]) == []
    assert answers(replace(faces, uncertain_below=0.0))[0] == "sad 38%"


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


def two_faces(width):
    """test_photo/two_faces.jpg at a width, and its two faces with valence and arousal."""
    photo = read_image(PHOTOS / "two_faces.jpg")
    scale = width / photo.shape[1]
    image = cv2.resize(photo, (width, round(photo.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    boxes = np.array([(143, 102, 311, 270), (609, 64, 715, 170)]) * scale
    va = np.array([[0.4, -0.1], [-0.5, 0.2]], np.float32)
    return image, Faces(
        boxes.round().astype(np.int32), np.ones(2), np.eye(9, dtype=np.float32)[[7, 4]], va, labels=EMOTIONS
    )


@pytest.mark.parametrize("width", [160, 320, 949, 4000])
def test_captions_hide_no_face_and_no_other_caption(width, monkeypatch):
    blocks = []
    monkeypatch.setattr(annotate, "text_block", lambda *given: blocks.append(given) or real(*given))
    image, faces = two_faces(width)
    out = draw_faces(image, faces, "unit")
    edge = max(1, round(min(image.shape[:2]) / 180))
    for x1, y1, x2, y2 in faces.xyxy:
        inside = slice(y1 + edge, y2 - edge), slice(x1 + edge, x2 - edge)
        assert (out[inside] == image[inside]).all()
    for lines, size, colour in blocks:
        assert 8 <= size <= width / 8 and lines[0].endswith("%")
        block = real(lines, size, colour)
        found = cv2.matchTemplate(out, block, cv2.TM_SQDIFF)
        assert found.min() < 1, "the whole caption stands in the picture"
    if width >= 320:
        assert [len(lines) for lines, _, _ in blocks] == [2, 2]
    assert blocks[0][1] >= (11 if width < 1000 else width / 100)


real = annotate.text_block


def places(boxes, block, shape, taken=()):
    """Where the caption of the first box stands, all its sizes being `block` (width, height)."""
    size_of = annotate.block_size
    try:
        annotate.block_size = lambda lines, size: block
        return annotate._best_place(["a"], boxes[0], boxes, list(taken), shape)[2]
    finally:
        annotate.block_size = size_of


def test_places_in_their_order_of_preference():
    box, block, shape = (100, 100, 140, 140), (30, 20), (300, 300)
    above, below, right, left = (100, 80, 130, 100), (100, 140, 130, 160), (140, 100, 170, 120), (70, 100, 100, 120)
    taken = []
    for expected in (above, below, right, left):
        assert places([box], block, shape, taken) == expected
        taken.append(expected)
    # a face that fills the picture: at its top, then at its bottom
    assert places([(0, 0, 90, 90)], (30, 20), (90, 90)) == (0, 0, 30, 20)
    assert places([(0, 0, 90, 90)], (30, 20), (90, 90), [(0, 0, 30, 20)]) == (0, 70, 30, 90)
    assert places([box, (90, 70, 120, 95)], block, shape) == below  # another face is above


def test_where_text_would_hide_a_face_it_is_smaller_and_then_one_line():
    lines, box = ["surprise 100%", "V +0.50  A -0.25"], (0, 0, 100, 40)
    size_at = {}
    for height in (60, 40):  # of a picture as wide as the face: only below the face, or nowhere, is there room
        text, size, place = annotate._best_place(lines, box, [box], [], (height, 100))
        size_at[height] = (len(text), size)
        assert 8 <= size and place[3] <= height
    assert block_size(lines, 11)[1] > 40 - 40 * 2 / 3  # so that the usual text would hide more than a third
    assert size_at[60] == (2, 11) and size_at[40][0] == 1
