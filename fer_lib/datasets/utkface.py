"""UTKFace (Zhang, Song & Qi 2017): aligned faces with age, gender and race in the file name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.files import sha256
from fer_lib.images import read_image

RACES = ("white", "black", "asian", "indian", "other")  # codes 0-4 of the names
AGE_RANGES = ("1-2", "3-9", "10-20", "21-27", "28-45", "46-65", "66-116")
_RANGE_STARTS = tuple(int(name.split("-")[0]) for name in AGE_RANGES)
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


def age_range(age: float) -> str:
    """The name in AGE_RANGES of an age in years, rounded to whole years; what is beyond an end gets the end's range."""
    if not np.isfinite(age):
        raise ValueError(f"age must be a number, got {age}")
    return AGE_RANGES[sum(age + 0.5 >= start for start in _RANGE_STARTS[1:])]


def load_utkface(root, decode: bool = False) -> UtkFace:
    """The `<age>_<gender>_<race>_<time>.jpg` files under a folder, by name, with groups of equal pictures.

    root: `crop_part1`, `UTKFace`, or a folder above. Names that lack a field are skipped and listed. Equal files are
    one group; their names often disagree about the age. decode: compare decoded pixels instead of file bytes, which
    also finds pictures stored in two ways (one pair among the 9,780 of crop_part1) and takes ten times as long.
    InputError: no usable file, or a picture that cannot be read.
    """
    files = sorted(Path(root).rglob("[!.]*.jpg"), key=lambda file: (file.name, file))
    found = [(file, match) for file in files if (match := _NAME.fullmatch(file.name))]
    if not found:
        raise InputError(f"{root} holds no age_gender_race_time.jpg files; give the folder of UTKFace pictures")
    paths = [file for file, _ in found]
    age, gender, race = np.array([[int(part) for part in match.groups()] for _, match in found]).T
    hashes = [hashlib.sha256(read_image(file).tobytes()).hexdigest() if decode else sha256(file) for file in paths]
    first_row = {}
    group = np.array([first_row.setdefault(digest, row) for row, digest in enumerate(hashes)])
    column = np.empty(len(paths), object)
    column[:] = paths
    skipped = tuple(file for file in files if not _NAME.fullmatch(file.name))
    return UtkFace(column, age, gender.astype(bool), race, group, skipped)
