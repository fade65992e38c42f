"""The face mesh on a photograph, turned and scaled; what its numbers forget, by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fer_lib import mesh
from fer_lib.detect import make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.framing import turned
from fer_lib.mesh import LANDMARK_COLUMNS, POINTS, FaceMesh, normalised, raw

LEFT_EYE, RIGHT_EYE, NOSE, CHIN = 33, 263, 1, 152


@pytest.fixture(scope="module")
def look():
    return FaceMesh()


@pytest.fixture
def found(photo, look):
    return look(photo, make_detector("blazeface")(photo))


def test_points_lie_where_the_face_is(photo, found):
    """By eye in the photograph: the eyes' outer corners, the tip of the nose and the chin, to a 20th of the face."""
    assert found.shape == (1, POINTS, 2) and found.dtype == np.float32
    places = {LEFT_EYE: (198, 196), RIGHT_EYE: (326, 190), NOSE: (265, 245), CHIN: (265, 331)}
    for point, place in places.items():
        np.testing.assert_allclose(found[0, point], place, atol=12)


def test_the_detectors_framing_does_not_matter(photo, look, found):
    """A box moved by a tenth and made larger by a fifth gives the same points: the second look frames itself."""
    faces = make_detector("blazeface")(photo)
    side = int(faces.xyxy[0, 2] - faces.xyxy[0, 0])
    moved = replace(faces, xyxy=faces.xyxy + np.array([0, 0, side // 5, side // 5], np.int32), roll=None)
    assert np.abs(look(photo, moved) - found).mean() < 0.01 * side


def test_a_larger_picture_has_the_same_points(photo, look, found):
    large = cv2.resize(photo, None, fx=3, fy=3)
    faces = make_detector("blazeface")(photo)
    wide = look(large, replace(faces, xyxy=faces.xyxy * 3))
    assert np.abs(wide / 3 - found).mean() < 1.5


def test_a_turned_head_has_the_same_shape(photo, look, found):
    """Where the picture's own middle is turned by 30 degrees, points turn with it; normalised they are the same."""
    tilted = turned(photo, 30)
    points = look(tilted, make_detector("blazeface")(tilted))
    radians, middle = np.radians(30), (np.array(photo.shape[1::-1]) - 1) / 2
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    assert np.abs((found[0] - middle) @ turn.T + middle - points[0]).mean() < 4
    assert np.abs(normalised(points) - normalised(found)).mean() < 0.04
    assert np.abs(raw(points) - raw(found)).mean() > 20


def test_no_face_has_no_points(look):
    """A wall is no face to the mesh, even where a detector said so; no face at all is an empty array."""
    wall = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    claimed = Faces(np.array([[50, 50, 150, 150]], np.int32), np.ones(1, np.float32))
    assert np.isnan(look(wall, claimed)).all()
    assert look(wall, Faces.empty()).shape == (0, POINTS, 2)


def test_normalised_by_hand():
    """A shape moved, grown and turned is the same; at root mean square distance 1, level, about the origin."""
    shape = np.random.default_rng(1).normal(size=(POINTS, 2))
    shape[RIGHT_EYE] = shape[LEFT_EYE] + (3, 0)
    angle = np.radians(70)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = 40 * shape @ turn.T + (300, -20)
    numbers = normalised(np.stack([shape, moved]))
    assert numbers.shape == (2, 2 * POINTS) and numbers.dtype == np.float32
    np.testing.assert_allclose(numbers[0], numbers[1], atol=1e-5)
    points = numbers[1].reshape(POINTS, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)
    assert (points**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-5)
    assert points[LEFT_EYE, 1] == pytest.approx(points[RIGHT_EYE, 1], abs=1e-5)
    assert points[LEFT_EYE, 0] < points[RIGHT_EYE, 0]


def test_columns_are_x_and_y_in_turn():
    points = np.arange(2 * POINTS, dtype=float).reshape(1, POINTS, 2)
    assert LANDMARK_COLUMNS[:3] == ("x0", "y0", "x1") and LANDMARK_COLUMNS[-1] == "y467"
    assert raw(points)[0, :3].tolist() == [0, 1, 2] and raw(points).dtype == np.float32
    lost = np.full((1, POINTS, 2), np.nan)
    assert np.isnan(normalised(lost)).all() and normalised(points[:0]).shape == raw(points[:0]).shape == (0, 936)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(mesh.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="landmarks need the face mesh, .*: pip install"):
        FaceMesh()
