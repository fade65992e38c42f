"""UTKFace (Zhang, Song & Qi 2017): aligned faces with age, gender and race in the file name."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.files import sha256
from fer_lib.images import read_image

RACES = ("white", "black", "asian", "indian", "other")  # codes 0-4 of the names
# Which pictures show one photograph: a miniature's side and how far it is shifted, in pixels, and least correlations
THUMBNAIL, SHIFT = 24, 2
MAYBE_ALIKE, ALIKE_AT_ONCE, ALIKE_ALIGNED = 0.94, 0.966, 0.986
BLOCK = 2000  # rows compared with all others at a time: 80 MB for crop_part1
_NAME = re.compile(r"(1?\d?\d)_([01])_([0-4])_\d.*", re.ASCII)  # age, gender, race, time and what follows it


@dataclass(frozen=True, eq=False)
class UtkFace:
    """N faces by file name; the pictures stay on disk until `pictures` is called."""

    path: np.ndarray  # (N,) object, Path
    age: np.ndarray  # (N,) int64 years
    female: np.ndarray  # (N,) bool
    race: np.ndarray  # (N,) int64, index into RACES
    group: np.ndarray  # (N,) int64, the same for equal pictures, which must stay on one side of a split
    skipped: tuple[Path, ...] = ()  # files whose name lacks a field

    def __len__(self) -> int:
        return len(self.path)

    def __getitem__(self, rows) -> UtkFace:
        return UtkFace(
            self.path[rows], self.age[rows], self.female[rows], self.race[rows], self.group[rows], self.skipped
        )

    def pictures(self, side: int) -> np.ndarray:
        """(N, side, side, 3) uint8 RGB, decoded now. InputError when one cannot be read."""
        pixels = np.empty((len(self), side, side, 3), np.uint8)  # filled in place: a list would need twice the memory
        for row, path in enumerate(self.path):
            pixels[row] = resize(read_image(path), side)
        return pixels


def load_utkface(root) -> UtkFace:
    """The `<age>_<gender>_<race>_<time>.jpg` files under a folder, by name, with groups of equal pictures.

    root: `crop_part1`, `UTKFace`, or a folder above. Names that lack a field are skipped and listed. Equal files are
    one group; their names often disagree about the age. InputError: no usable file, or one that cannot be read.
    """
    files = sorted(Path(root).rglob("[!.]*.jpg"), key=lambda file: (file.name, file))
    found = [(file, match) for file in files if (match := _NAME.fullmatch(file.name))]
    if not found:
        raise InputError(f"{root} holds no age_gender_race_time.jpg files; give the folder of UTKFace pictures")
    paths = [file for file, _ in found]
    age, gender, race = np.array([[int(part) for part in match.groups()] for _, match in found]).T
    first_row = {}
    group = np.array([first_row.setdefault(sha256(file), row) for row, file in enumerate(paths)])
    column = np.empty(len(paths), object)
    column[:] = paths
    skipped = tuple(file for file in files if not _NAME.fullmatch(file.name))
    return UtkFace(column, age, gender.astype(bool), race, group, skipped)


def same_photograph(data: UtkFace) -> np.ndarray:
    """(N,) int64, the same for pictures of one photograph, however stored, cut, tinted or mirrored: the first row's.

    Grey miniatures are compared, also mirrored and shifted by a twelfth of the side. Pairs that correlate by
    ALIKE_AT_ONCE show one photograph; those that might (MAYBE_ALIKE) do when they correlate by ALIKE_ALIGNED after the
    affine warp that fits one best to the other (Evangelidis & Psarakis 2008). The borders were set by looking at the
    pairs of crop_part1: above them all are one photograph, below them a few still are. Takes about a minute for it.
    InputError when a picture cannot be read.
    """
    if not len(data):
        return data.group
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in data.pictures(2 * THUMBNAIL)])
    pairs = {pair for pair, alike in _pairs(grey).items() if alike >= ALIKE_AT_ONCE or _aligned(grey, *pair)}
    first, second, _ = np.array([*pairs, *((i, j, 0) for i, j in enumerate(_first(data.group)))]).T
    graph = csr_array((np.ones(len(first), bool), (first, second)), (len(data), len(data)))
    return _first(connected_components(graph, directed=False)[1])


def _pairs(grey: np.ndarray) -> dict[tuple[int, int, int], float]:
    """{(row, later row, 1 where the later is mirrored): correlation of their miniatures}, of MAYBE_ALIKE and more."""
    small = grey.reshape(len(grey), THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(2, 4), dtype=np.float32)
    middle, found = _normed(small[:, SHIFT:-SHIFT, SHIFT:-SHIFT]), {}
    side = THUMBNAIL - 2 * SHIFT
    for mirrored, pictures in enumerate((small, small[:, :, ::-1])):
        for top, left in itertools.product((0, SHIFT, 2 * SHIFT), repeat=2):
            moved = _normed(pictures[:, top : top + side, left : left + side])
            for start in range(0, len(grey), BLOCK):
                alike = middle[start : start + BLOCK] @ moved.T
                for row, column in zip(*np.nonzero(alike >= MAYBE_ALIKE), strict=True):
                    pair = (*sorted((start + int(row), int(column))), mirrored)
                    if pair[0] != pair[1]:
                        found[pair] = max(found.get(pair, 0.0), float(alike[row, column]))
    return found


def _normed(pictures: np.ndarray) -> np.ndarray:
    """(N, pixels), each of mean 0 and length 1, so that products are correlations; a picture of one grey: 0."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _aligned(grey: np.ndarray, row: int, other: int, mirrored: int) -> bool:
    """Whether one picture can be warped onto the other."""
    pair = grey[row], grey[other][:, ::-1] if mirrored else grey[other]
    first, second = (cv2.GaussianBlur(np.ascontiguousarray(it), (0, 0), 1.0).astype(np.float32) for it in pair)
    inside = np.zeros_like(grey[row])
    inside[4:-4, 4:-4] = 1
    end = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 60, 1e-5)
    try:
        warp = np.eye(2, 3, dtype=np.float32)
        return cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, end, inside, 1)[0] >= ALIKE_ALIGNED
    except cv2.error:  # no warp was found
        return False


def _first(group: np.ndarray) -> np.ndarray:
    """(N,) the first row of each row's group."""
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return first[number]
