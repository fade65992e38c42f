"""What the model answers for different groups of people, on pictures that say who is in them but not what they feel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_lib.datasets.utkface import RACES, UtkFace
from fer_lib.faces import AGE_RANGES, EMOTIONS, age_range
from fer_lib.framing import largest
from fer_lib.images import read_image
from fer_lib.metrics import wilson_interval

NO_FACE = "no face"


def answers(recognise, paths: list[Path]) -> list[str]:
    """The emotion of the largest face of each picture, as the scripts name it; NO_FACE where there is none."""
    found = (largest(recognise(read_image(path))) for path in paths)
    return [face.top()[0][0] if len(face) else NO_FACE for face in found]


def shares_by_group(data: UtkFace, answered: list[str]) -> dict[str, dict[str, dict]]:
    """{"sex" | "age" | "race": {group: {"n", "no face": [share, low, high], emotion: [share, low, high], ...}}}.

    answered: an answer for each row of data. The share of NO_FACE is an error of the detector, since each picture shows
    a face; those of the emotions, among the faces found, are no errors, as the pictures do not say what is right: they
    show for whom the model says "anger" more often. Intervals are Wilson's, 95 %. Groups without a picture are left
    out.
    """
    first = np.unique(data.group, return_index=True)[1]  # equal pictures are one
    data, answered = data[first], np.array(answered, object)[first]
    return {
        kind: {name: _shares(answered[rows]) for name, rows in groups.items() if rows.any()}
        for kind, groups in members(data).items()
    }


def members(data: UtkFace) -> dict[str, dict[str, np.ndarray]]:
    """{"sex" | "age" | "race": {group: (N,) bool}}, by the names of the files."""
    return {
        "sex": {"female": data.female, "male": ~data.female},
        "age": {name: np.array([age_range(age) == name for age in data.age], bool) for name in AGE_RANGES},
        "race": {name: data.race == code for code, name in enumerate(RACES)},
    }


def _shares(answered: np.ndarray) -> dict:
    found = answered[answered != NO_FACE]
    shares = {"n": len(answered), NO_FACE: _share(answered == NO_FACE)}
    return shares | {name: _share(found == name) for name in EMOTIONS if len(found)}


def _share(rows: np.ndarray) -> list[float]:
    return [float(rows.mean()), *wilson_interval(int(rows.sum()), len(rows))]
