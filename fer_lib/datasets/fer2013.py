"""FER2013 (Goodfellow et al. 2013) and its FER+ votes (Barsoum et al. 2016), read from the files people download.

Pictures are grey, 48x48, in the official order; FER+ rows are matched by that order, since their names are not row
numbers.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from fer_lib.datasets.tables import read_columns
from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.images import read_image
from fer_lib.splits import check_no_leak

USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
# FER+ column -> our name; NF (not a face) is a vote but not a class
FERPLUS_COLUMNS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
    "unknown": "uncertain",
    "NF": "NF",
}
VOTE_NAMES = (*EMOTIONS, "NF")
IDS = frozenset("0123456")  # of FER2013_EMOTIONS
KIND = "csv text file"


@dataclass(frozen=True, eq=False)
class Fer2013:
    """Rows of FER2013; every array has N rows in file order."""

    pixels: np.ndarray  # (N, 48, 48) uint8 grey
    label: np.ndarray  # (N,) int64, index into FER2013_EMOTIONS
    usage: np.ndarray  # (N,) str, one of USAGES
    votes: np.ndarray | None = None  # (N, 10) int64, columns VOTE_NAMES; None without a FER+ file

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows) -> Fer2013:
        votes = None if self.votes is None else self.votes[rows]
        return Fer2013(self.pixels[rows], self.label[rows], self.usage[rows], votes)

    def split(self, usage: str) -> Fer2013:
        """The rows of one usage. InputError when it is unknown or has no row."""
        if usage not in USAGES:
            raise InputError(f"unknown split {usage!r}; there are {', '.join(USAGES)}")
        rows = self.usage == usage
        if not rows.any():
            raise InputError(f"the data has no {usage} rows")
        return self[rows]

    def check_classes(self, usage: str = "Training") -> None:
        """InputError when an emotion of FER2013_EMOTIONS has no row of this usage: it could not be learned."""
        counts = np.bincount(self.split(usage).label, minlength=len(FER2013_EMOTIONS))
        lacking = [name for name, count in zip(FER2013_EMOTIONS, counts, strict=True) if not count]
        if lacking:
            raise InputError(
                f"the data has no {usage} row of {', '.join(lacking)}; give a file with rows of every emotion"
            )

    def parts(self) -> dict[str, np.ndarray]:
        """{usage: (n,) int rows} of the three usages, without rows whose picture stands verbatim in a later one."""
        hashes, parts = self.picture_hashes, {}
        for i, usage in enumerate(USAGES):
            later = hashes[np.isin(self.usage, USAGES[i + 1 :])]
            parts[usage] = np.flatnonzero((self.usage == usage) & ~np.isin(hashes, later))
        check_no_leak(parts, picture=hashes)
        return parts

    def training(self) -> Fer2013:
        """Training rows whose picture stands verbatim in neither PublicTest nor PrivateTest."""
        return self[self.parts()["Training"]]

    def in_training(self, usage: str) -> np.ndarray:
        """(n,) bool over the rows of `usage`: the picture stands verbatim in Training."""
        hashes = self.picture_hashes
        training = set(hashes[self.usage == "Training"])
        return np.array([h in training for h in hashes[self.usage == usage]], bool)

    @cached_property
    def picture_hashes(self) -> np.ndarray:
        """(N,) str, equal exactly where two pictures are equal."""
        return np.array([hashlib.sha256(p.tobytes()).hexdigest() for p in self.pixels])

    def fingerprint(self) -> str:
        """SHA-256 over pictures, labels, usages and votes."""
        parts = [self.pixels, self.label, self.usage.astype("S"), [] if self.votes is None else self.votes]
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def emotion_distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """FER+ votes as soft labels: ((N, 9) float32, rows sum to 1; (N,) bool, the rows that have one).

        NF votes are dropped; a row in which NF has the most votes is not a face and has none.
        """
        if self.votes is None:
            raise InputError("no FER+ votes: give fer2013new.csv too")
        counts = self.votes[:, : len(EMOTIONS)].astype(np.float32)
        total = counts.sum(axis=1)
        valid = (self.votes[:, -1] <= self.votes[:, :-1].max(axis=1)) & (total > 0)
        return counts / np.maximum(total, 1)[:, None], valid

    def label_agreement(self) -> float:
        """Share of the rows in which FER2013's label got the most FER+ votes among the seven classes both know."""
        if self.votes is None:
            raise InputError("no FER+ votes: give fer2013new.csv too")
        seven = self.votes[:, [EMOTIONS.index(name) for name in FER2013_EMOTIONS]]
        return float((seven.argmax(axis=1) == self.label).mean())

    def ferplus_majority(self) -> np.ndarray:
        """(N,) int64 index into EMOTIONS by Microsoft's majority rule, -1 where a row has no label.

        A class with a single vote counts zero; the label is the class with more than half of what is left. Rows
        without one, or whose label is unknown or NF, are -1.
        """
        if self.votes is None:
            raise InputError("no FER+ votes: give fer2013new.csv too")
        counts = np.where(self.votes == 1, 0, self.votes)
        best = counts.argmax(axis=1)
        majority = counts.max(axis=1) > 0.5 * counts.sum(axis=1)
        return np.where(majority & (best < EMOTIONS.index("uncertain")), best, -1)


def load_fer2013(path, ferplus=None) -> Fer2013:
    """Read fer2013.csv (`emotion,pixels,Usage`) or icml_face_data.csv (`emotion, Usage, pixels`), with FER+ votes.

    path: the csv. ferplus: Microsoft's fer2013new.csv, rows in the same order.
    InputError names the row and what is wrong with it, or the file that cannot be read.
    """
    try:
        data = _load_pictures(Path(path))
        votes = None if ferplus is None else load_votes(ferplus, data.usage)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else str(error.strerror or error).lower()
        raise InputError(f"{error.filename or path}: {reason}; give the csv files of FER2013 and FER+") from None
    return Fer2013(data.pixels, data.label, data.usage, votes)


def _load_pictures(path: Path) -> Fer2013:
    """The rows of the csv, without votes."""
    labels, usages, pictures = [], [], []
    for number, row in read_columns(path, ("emotion", "pixels", "Usage"), exact=True, kind=KIND):
        if row["emotion"].strip() not in IDS:
            raise InputError(f"{path} line {number}: emotion {row['emotion']!r} is not 0-6")
        if row["Usage"].strip() not in USAGES:
            raise InputError(f"{path} line {number}: usage {row['Usage']!r} is none of {', '.join(USAGES)}")
        values = row["pixels"].split()
        if len(values) != SIDE * SIDE:
            raise InputError(f"{path} line {number}: {len(values)} pixels, not {SIDE * SIDE}")
        try:
            if not (row["pixels"].isascii() and row["pixels"].replace(" ", "").isdigit()):
                raise ValueError  # numpy would also read +3, 1_0 and the digits of other scripts
            picture = np.array(values, dtype=np.uint8)  # text above 255 raises
        except (ValueError, OverflowError):  # numpy's own words are less clear
            raise InputError(f"{path} line {number}: a pixel is not a number from 0 to 255") from None
        labels.append(int(row["emotion"]))
        usages.append(row["Usage"].strip())
        pictures.append(picture)
    if not labels:
        raise InputError(f"{path} has no rows")
    images = np.stack(pictures).reshape(-1, SIDE, SIDE)
    return Fer2013(images, np.array(labels), np.array(usages))


def load_votes(path, usage: np.ndarray) -> np.ndarray:
    """(N, 10) int64 votes of Microsoft's fer2013new.csv, columns in VOTE_NAMES order.

    usage: (N,) str of the rows they belong to; InputError when the two files do not go together, or with the line of
    a row that cannot be read. A row without any vote is kept: it merely has no label.
    """
    path = Path(path)
    theirs = {ours: name for name, ours in FERPLUS_COLUMNS.items()}
    usages, votes = [], []
    for number, row in read_columns(path, (*FERPLUS_COLUMNS, "Usage"), exact=True, kind=KIND):
        cells = [row[theirs[name]].strip() for name in VOTE_NAMES]
        bad = [cell for cell in cells if not re.fullmatch("[0-9]{1,6}", cell)]
        if bad:
            raise InputError(f"{path} line {number}: {bad[0]!r} is not a number of votes; download the file again")
        usages.append(row["Usage"].strip())
        votes.append([int(cell) for cell in cells])
    if usages != list(usage):
        raise InputError(f"{path} does not match the pictures: {len(usages)} rows for {len(usage)}, or another order")
    return np.array(votes)


def load_folder(root, classes=FER2013_EMOTIONS, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """A folder per class, its name the label: the Kaggle `train/` or `test/`, or a user's own.

    Returns (pictures (N, side, side) uint8 grey, labels (N,) int64 index into classes, paths), sorted by path.
    Folder names are matched without case; FER+ and Kaggle spellings (angry, happiness, ...) are understood.
    InputError: an unknown class folder, a class without pictures, a picture that cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder with one folder per emotion")
    aliases = {
        "angry": "anger",
        "happiness": "happy",
        "sadness": "sad",
        "unknown": "uncertain",
        "surprised": "surprise",
    }
    pictures, labels, paths = [], [], []
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    for folder in folders:
        name = aliases.get(folder.name.lower(), folder.name.lower())
        if name not in classes:
            raise InputError(f"{folder} is not a class; name the folders {', '.join(classes)}")
        files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
        if not files:
            raise InputError(f"{folder} has no pictures")
        for file in files:
            pictures.append(cv2.cvtColor(resize(read_image(file), side), cv2.COLOR_RGB2GRAY))
            labels.append(classes.index(name))
            paths.append(file)
    if not pictures:
        raise InputError(f"{root} has no class folders; expected {', '.join(classes)}")
    return np.stack(pictures), np.array(labels), paths
