"""Age in years: what a network learns from an age, which of its answers count, and for whom it errs how much."""

from __future__ import annotations

import cv2
import numpy as np

from fer_lib.datasets.utkface import UtkFace
from fer_lib.detect import crop_faces
from fer_lib.faces import AGE_RANGES, AGES, Faces, age_range
from fer_lib.framing import largest
from fer_lib.groups import members
from fer_lib.metrics import bootstrap_interval

SPREAD_YEARS, SPREAD_SHARE = 1.0, 0.06  # nobody tells 60 from 63, everybody 1 from 4
PAD = 0.25  # of the side: UTKFace's pictures are cut so close that detectors miss faces in them
LEAST_ROWS = 10  # of a group: fewer say nothing about it
LAST_DECADE = 9  # holds all from 90 years on


def age_distribution(age: np.ndarray) -> np.ndarray:
    """(N,) years to (N, 116) float32 over AGES: a bell about each, wider for older people (after Gao et al. 2017).

    Neighbouring ages look alike, so that a picture of one says something about the others.
    """
    age = np.asarray(age, np.float64)[:, None]
    bell = np.exp(-0.5 * ((np.array(AGES) - age) / (SPREAD_YEARS + SPREAD_SHARE * age)) ** 2)
    return (bell / bell.sum(axis=1, keepdims=True)).astype(np.float32)


def range_numbers(age) -> np.ndarray:
    """(N,) years to (N,) int, index into AGE_RANGES."""
    return np.array([AGE_RANGES.index(age_range(years)) for years in age], int)


def age_figures(truth: np.ndarray, predicted: np.ndarray) -> dict:
    """n, mean absolute error and bias (mean of predicted - truth) in years, accuracy over the seven ranges.

    truth and predicted: (N,) years, N at least 1. Each but n with its 95 % bootstrap interval, as [value, low, high].
    """
    error = np.asarray(predicted, float) - truth
    right = range_numbers(truth) == range_numbers(predicted)
    values = {"mae": np.abs(error), "bias": error, "range_accuracy": right}
    return {"n": len(truth)} | {
        name: [float(np.mean(each)), *bootstrap_interval(each, draws=500)] for name, each in values.items()
    }


def figures_by_group(data: UtkFace, predicted: np.ndarray, least: int = LEAST_ROWS) -> dict[str, dict[str, dict]]:
    """{"decade" | "sex" | "race": {group: age_figures()}} of the groups that have at least so many rows.

    Ages differ between sexes and races, and errors between ages: theirs also have "than_its_decades", [value, low,
    high] years, the mean of a row's error less the mean error of all rows of its decade. The oldest are one "decade".
    """
    decades, known = np.minimum(data.age // 10, LAST_DECADE), members(data)
    ends = {decade: f"{10 * decade}-{10 * decade + 9}" for decade in range(LAST_DECADE)}
    ends[LAST_DECADE] = f"{10 * LAST_DECADE}-{AGES[-1]}"
    by = {"decade": {name: decades == decade for decade, name in ends.items()}}
    by |= {kind: known[kind] for kind in ("sex", "race")}
    error = np.abs(predicted - data.age)
    usual = {decade: error[decades == decade].mean() for decade in np.unique(decades)}
    more = error - np.array([usual[decade] for decade in decades])
    found = {kind: {} for kind in by}
    for kind, groups in by.items():
        for name, rows in groups.items():
            if rows.sum() >= least:
                figures = found[kind][name] = age_figures(data.age[rows], predicted[rows])
                if kind != "decade":
                    interval = bootstrap_interval(more[rows], draws=500)
                    figures["than_its_decades"] = [float(more[rows].mean()), *interval]
    return found


def found_faces(pictures: np.ndarray, detect) -> tuple[np.ndarray, list[Faces]]:
    """(pictures with their edges repeated outwards by PAD, the largest face in each); pictures: (N, S, S, 3) uint8."""
    pad = round(PAD * pictures.shape[1])
    wide = [cv2.copyMakeBorder(picture, *(pad,) * 4, cv2.BORDER_REPLICATE) for picture in pictures]
    return np.stack(wide), [largest(detect(picture)) for picture in wide]


def framed(pictures: np.ndarray, faces: list[Faces], size: int, margin: float, level: bool = False) -> np.ndarray:
    """(M, size, size, 3) uint8: the M faces that were found, cut by fer_lib.detect.crop_faces."""
    return np.concatenate([crop_faces(*pair, size, margin, level) for pair in zip(pictures, faces, strict=True)])
