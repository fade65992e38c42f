"""Write the split files, splits/<name>.json: which samples of a data set train, choose and report.

    FER_DATA=folder python tools/make_splits.py [name ..]

The same data gives the same files, byte by byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.datasets import data_folder  # noqa: E402  the path must be set first
from fer_lib.datasets.ckplus import load_apex_frames  # noqa: E402
from fer_lib.datasets.fer2013 import USAGES, Fer2013, load_fer2013  # noqa: E402
from fer_lib.errors import InputError  # noqa: E402
from fer_lib.framing import even_odd  # noqa: E402
from fer_lib.splits import SPLITS, write_split  # noqa: E402

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


MAKERS = {
    "fer2013": (fer2013, lambda folder: load_fer2013(folder / "fer2013" / "fer2013.csv")),
    "ck_apex": (ck_apex, lambda folder: load_apex_frames(folder / "ck_apex")),
}


ROWS = {"fer2013": 35_887, "ck_apex": 327}  # of the released files


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
