"""Tables of facial movement: OpenFace's action units, the GenuEmotion table, and the smile features of UvA-NEMO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lib.datasets.tables import numbers, read_columns, refusal
from fer_lib.errors import InputError

# FACS numbers whose intensity (AUxx_r) and presence (AUxx_c) OpenFace 2 writes (Baltrusaitis et al. 2018)
OPENFACE_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_PRESENCE_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
INTENSITY_COLUMNS = tuple(f"AU{number:02d}_r" for number in OPENFACE_AUS)
PRESENCE_COLUMNS = tuple(f"AU{number:02d}_c" for number in OPENFACE_PRESENCE_AUS)

# What the two tables' class column says: a 1 means the opposite in the other table
GENUEMOTION_CLASSES = {"0": "posed", "1": "genuine"}
UVANEMO_CLASSES = {"0": "spontaneous", "1": "posed"}

SMILE_PHASES = ("onset", "apex", "offset")
# Of one phase of a smile: the movement of the eyelid or of a lip corner (Dibeklioglu, Salah & Gevers 2012)
SMILE_FEATURES = (
    "duration_positive",
    "duration_negative",
    "duration_full",
    "duration_ratio_positive",
    "duration_ratio_negative",
    "maximum_amplitude",
    "mean_amplitude_full",
    "mean_amplitude_positive",
    "mean_amplitude_negative",
    "std_amplitude",
    "total_amplitude_positive",
    "total_amplitude_negative",
    "net_amplitude",
    "amplitude_ratio_positive",
    "amplitude_ratio_negative",
    "maximum_speed_positive",
    "maximum_speed_negative",
    "mean_speed_positive",
    "mean_speed_negative",
    "maximum_acceleration_positive",
    "maximum_acceleration_negative",
    "mean_acceleration_positive",
    "mean_acceleration_negative",
    "net_amplitude_duration_ratio",
    "left_right_amplitude_difference",
)
UVANEMO_TABLES = tuple(f"{part}_{phase}" for part in ("eye", "lip") for phase in (*SMILE_PHASES, "total"))


@dataclass(frozen=True, eq=False)
class OpenFaceRows:
    """N faces as OpenFace measured them; N may be 0: a picture without a face."""

    intensity: np.ndarray  # (N, 17) float32 in [0, 5], columns OPENFACE_AUS; nan where success is False
    presence: np.ndarray | None  # (N, 18) bool, columns OPENFACE_PRESENCE_AUS; False where success is False
    confidence: np.ndarray  # (N,) float32 in [0, 1]; nan where the table does not tell
    success: np.ndarray  # (N,) bool, False where the tracker lost the face
    frame: np.ndarray  # (N,) int64, OpenFace's own number, from 1; 0 in the table of a still
    face: np.ndarray  # (N,) int64, the face's number in the picture or video
    time_s: np.ndarray  # (N,) float64; 0 in the table of a still

    def __len__(self) -> int:
        return len(self.success)


@dataclass(frozen=True, eq=False)
class GenuinenessTable:
    """N expressions, each posed or genuine."""

    features: np.ndarray  # (N, F) float64; nan where a feature could not be measured
    names: tuple[str, ...]  # of the F columns
    genuine: np.ndarray  # (N,) bool; False is posed
    group: np.ndarray  # (N,) int64, rows of one group must stay on one side of a split
    female: np.ndarray | None = None  # (N,) bool, where the table says it
    age: np.ndarray | None = None  # (N,) int64 years, where the table says it

    def __len__(self) -> int:
        return len(self.genuine)


def _flag(where: str, row: dict[str, str], name: str) -> bool:
    """A cell that holds 0 or 1, in any spelling (OpenFace writes 1 and 1.00)."""
    (value,) = numbers(where, row, [name], 0, 1)
    if value not in (0, 1):
        raise refusal(where, name, row[name], "0 or 1")
    return bool(value)


def load_openface(path) -> OpenFaceRows:
    """Read the csv of OpenFace's FeatureExtraction, FaceLandmarkVidMulti or FaceLandmarkImg, in file order.

    A row without success measured no face: its action units are nan. Only the columns of intensity must be there;
    presence is None unless all of its columns are. InputError: a column is missing (run OpenFace with -aus), or a
    value is outside its range, with its line; OSError when the file cannot be read.
    """
    intensity, presence, facts = [], [], []
    optional = ("frame", "face_id", "face", "timestamp", "success", "confidence")  # FaceLandmarkImg: the last and face
    cure, told = "run OpenFace with -aus", True
    for line, row in read_columns(path, INTENSITY_COLUMNS, (*optional, *PRESENCE_COLUMNS), cure=cure):
        where = f"{path} line {line}"
        told = told and set(PRESENCE_COLUMNS) <= set(row)
        success = _flag(where, row, "success") if "success" in row else True
        if success:
            intensity.append(numbers(where, row, INTENSITY_COLUMNS, 0, 5))
            presence.append([_flag(where, row, name) for name in PRESENCE_COLUMNS] if told else ())
        else:  # what stands there was not measured
            intensity.append([np.nan] * len(INTENSITY_COLUMNS))
            presence.append([False] * len(PRESENCE_COLUMNS))
        lost = not success and "nan" in row.get("confidence", "").lower()  # of no face there may be no confidence
        (confidence,) = numbers(where, row, ["confidence"], 0, 1) if "confidence" in row and not lost else (np.nan,)
        row = {"frame": "0", "timestamp": "0", "face_id": row.get("face", "0")} | row
        facts.append((confidence, success, *numbers(where, row, ("frame", "face_id", "timestamp"))))
    table = np.array(facts, np.float64).reshape(-1, 5)
    return OpenFaceRows(
        np.array(intensity, np.float32).reshape(-1, len(INTENSITY_COLUMNS)),
        np.array(presence, bool).reshape(-1, len(PRESENCE_COLUMNS)) if told else None,
        table[:, 0].astype(np.float32),
        table[:, 1].astype(bool),
        table[:, 2].astype(np.int64),
        table[:, 3].astype(np.int64),
        table[:, 4],
    )


def _is_genuine(where: str, row: dict[str, str], classes: dict[str, str]) -> bool:
    if row["class"] not in classes:
        meaning = " or ".join(f"{code} ({name})" for code, name in classes.items())
        raise refusal(where, "class", row["class"], meaning)
    return classes[row["class"]] != "posed"


def _groups(columns: np.ndarray) -> np.ndarray:
    """(N,) int64, equal where two rows of (N, K) are equal."""
    return np.unique(columns, axis=0, return_inverse=True)[1].ravel()


def load_genuemotion(path) -> GenuinenessTable:
    """Read the GenuEmotion table: 17 OpenFace intensities (0-5) and a class per picture, separated by ";".

    Class 1 is genuine. Rows with equal features are one group. The two classes are two different collections of
    pictures, so a classifier may tell the collections apart; no subject is named. InputError with the line of a value
    that cannot be used; OSError when the file cannot be read.
    """
    features, genuine = [], []
    for line, row in read_columns(path, (*INTENSITY_COLUMNS, "class"), delimiter=";"):
        where = f"{path} line {line}"
        features.append(numbers(where, row, INTENSITY_COLUMNS, 0, 5))
        genuine.append(_is_genuine(where, row, GENUEMOTION_CLASSES))
    if not features:
        raise InputError(f"{path} has no rows; download it again")
    features = np.array(features)
    return GenuinenessTable(features, INTENSITY_COLUMNS, np.array(genuine), _groups(features))


def load_uvanemo(folder, which: str) -> GenuinenessTable:
    """Read one table of UvA-NEMO smile features (Dibeklioglu, Salah & Gevers 2012): `folder/<which>.csv`.

    which: one of UVANEMO_TABLES; 25 features of one phase, or 75 for `_total`. The tables are shuffled differently and
    name no clip, so rows of two tables cannot be joined. Class 1 is posed. A group is one (gender, age): no row names
    its subject, and this keeps every subject on one side. A feature written "nan" stays nan: the spread of an onset
    of one frame. InputError: an unknown table, no such file, or the line of a value that cannot be used.
    """
    if which not in UVANEMO_TABLES:
        raise InputError(f"there is no UvA-NEMO table {which!r}; choose from {', '.join(UVANEMO_TABLES)}")
    path = Path(folder) / f"{which}.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing; give the folder that holds the eight UvA-NEMO tables")
    phases = SMILE_PHASES if which.endswith("_total") else (which.split("_")[1],)
    names = tuple(f"{phase}_{feature}" for phase in phases for feature in SMILE_FEATURES)
    features, genuine, female, age = [], [], [], []
    for line, row in read_columns(path, ("class", "gender", "age", *names)):
        where = f"{path} line {line}"
        measured = [name for name in names if row[name].lower() != "nan"]
        values = dict(zip(measured, numbers(where, row, measured), strict=True))
        features.append([values.get(name, np.nan) for name in names])
        genuine.append(_is_genuine(where, row, UVANEMO_CLASSES))
        female.append(_flag(where, row, "gender"))
        age += numbers(where, row, ["age"], 1, 120)
    if not features:
        raise InputError(f"{path} has no rows; download it again")
    female, age = np.array(female), np.array(age).astype(np.int64)
    return GenuinenessTable(
        np.array(features), names, np.array(genuine), _groups(np.stack([female, age], axis=1)), female, age
    )
