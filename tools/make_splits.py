"""Write the split files, splits/<name>.json: which samples of a data set train, choose and report.

    FER_DATA=folder python tools/make_splits.py [name ..]

The same data gives the same files, byte by byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.age import range_numbers  # noqa: E402
from fer_lib.datasets import data_folder  # noqa: E402  the path must be set first
from fer_lib.datasets.ckplus import load_apex_frames  # noqa: E402
from fer_lib.datasets.fer2013 import USAGES, Fer2013, load_fer2013  # noqa: E402
from fer_lib.datasets.utkface import UtkFace, load_utkface, same_photograph  # noqa: E402
from fer_lib.errors import InputError  # noqa: E402
from fer_lib.facs import CodedFrames, coded_frames  # noqa: E402
from fer_lib.framing import even_odd  # noqa: E402
from fer_lib.splits import SPLITS, group_folds, write_split  # noqa: E402

SEED = 1
COMMAND = "FER_DATA=folder python tools/make_splits.py"


def fer2013(path: Path, data: Fer2013) -> None:
    """The official parts, without the rows whose picture stands in a later one."""
    parts, left_out = data.parts(), {}
    for i, usage in enumerate(USAGES[:-1]):
        reason = f"{usage}: the picture stands verbatim in {' or '.join(USAGES[i + 1 :])}"
        left_out[reason] = np.setdiff1d(np.flatnonzero(data.usage == usage), parts[usage])
    write_split(
        path,
        data=f"FER2013 in the official order of {len(data):,} rows (fer2013.csv or icml_face_data.csv), first row 0",
        rule="the Usage column; a row whose picture stands verbatim in a later part is left out; PrivateTest is whole",
        command=f"{COMMAND} fer2013",
        parts=parts,
        left_out=left_out,
        apart=["picture"],
    )


def ck_apex(path: Path, frames: list) -> None:
    write_split(
        path,
        data=f"CK+ apex frames at full size, {len(frames)} files Emotions_t/S*.png",
        rule="frames of subjects with even numbers choose a crop margin, those with odd numbers report",
        command=f"{COMMAND} ck_apex",
        parts={part: [frames[row].path.stem for row in rows] for part, rows in even_odd(frames).items()},
        apart=["subject", "picture"],
    )


def ck_facs(path: Path, frames: CodedFrames) -> None:
    """Ten folds by subject, with the emotions as even as that allows."""
    folds = group_folds(frames.emotion, frames.subject, 10, SEED)
    write_split(
        path,
        data=f"CK+ first and apex frames as face crops of one size, of the {len(frames) // 2} sequences that have FACS "
        "codes (fer_lib.facs.coded_frames)",
        rule="ten folds by subject; each fold is reported on by a model that has seen the nine others",
        command=f"{COMMAND} ck_facs",
        parts={fold: [frames.name[row] for row in rows] for fold, rows in folds.items()},
        apart=["subject"],
        seed=SEED,
    )


def utkface(path: Path, data: UtkFace) -> None:
    """Seven tenths train, one chooses, two report; one picture of a photograph is kept, if its pictures' ages agree."""
    photograph, left_out, kept = same_photograph(data), {"age": [], "copy": []}, []
    for number in np.unique(photograph):
        rows = np.flatnonzero(photograph == number)
        if len(set(data.age[rows].tolist())) == 1:
            kept.append(int(rows[0]))
            left_out["copy"] += rows[1:].tolist()
        else:
            left_out["age"] += rows.tolist()
    kept = np.array(kept)
    ranges = range_numbers(data.age[kept])
    folds = [kept[rows] for _, rows in StratifiedKFold(10, shuffle=True, random_state=SEED).split(kept, ranges)]
    parts = {"choose": folds[0], "report": np.concatenate(folds[1:3]), "train": np.concatenate(folds[3:])}
    names = np.array([file.name for file in data.path])
    write_split(
        path,
        data=f"UTKFace, crop_part1: its {len(data):,} pictures whose name has all fields",
        rule="one picture of each photograph (fer_lib.datasets.utkface.same_photograph); seven tenths train, one "
        "chooses, two report, ranges of age as even as they come. Persons are not known: one may stand in two parts",
        command=f"{COMMAND} utkface",
        parts={part: names[np.sort(rows)].tolist() for part, rows in parts.items()},
        left_out={
            "another picture of the same photograph, of the same age, is kept": names[left_out["copy"]].tolist(),
            "one photograph, but its pictures' names disagree about the age": names[left_out["age"]].tolist(),
        },
        apart=["photograph"],
        seed=SEED,
    )


MAKERS = {
    "fer2013": (fer2013, lambda folder: load_fer2013(folder / "fer2013" / "fer2013.csv")),
    "ck_apex": (ck_apex, lambda folder: load_apex_frames(folder / "ck_apex")),
    "ck_facs": (ck_facs, lambda folder: coded_frames(folder / "ckplus", folder / "tables" / "ck_facs.csv")),
    "utkface": (utkface, lambda folder: load_utkface(folder / "utkface")),
}


ROWS = {"fer2013": 35_887, "ck_apex": 327, "ck_facs": 426, "utkface": 9778}  # of the released files


def main(names: list[str]) -> None:
    if unknown := set(names) - set(MAKERS):
        raise InputError(f"no split is called {', '.join(unknown)}; there are {', '.join(MAKERS)}")
    folder = data_folder("FER_DATA")
    for name in names or MAKERS:
        write, load = MAKERS[name]
        data = load(folder)
        if len(data) != ROWS[name]:
            raise InputError(f"{len(data)} samples of {name}, not {ROWS[name]}; give the released files, whole")
        write(SPLITS / f"{name}.json", data)
        print(SPLITS / f"{name}.json")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
