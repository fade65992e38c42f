"""Learning action units from frames that FACS coders have read: data, ridge regression on features, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from fer_lib.action_units import BUILTIN_AUS
from fer_lib.datasets.ckplus import FrameSequence, load_facs_codes, load_sequences
from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.images import read_image
from fer_lib.metrics import bootstrap_interval
from fer_lib.splits import group_folds

DEFAULT_INTENSITY = 3  # of a code without a letter: "C", marked, the middle of FACS's A to E
SAME = {26: (26, 27)}  # a jaw that drops and a mouth that is stretched: how far it opens
ALPHAS = (100.0, 300.0, 1000.0)  # ridge penalties to choose from, of standardised features
INNER_FOLDS = 5
THRESHOLDS = np.arange(0.1, 5.0, 0.05)  # intensities from which a unit may count as there


@dataclass(frozen=True, eq=False)
class CodedFrames:
    """N frames and what coders saw in them; K columns are BUILTIN_AUS."""

    pictures: np.ndarray  # (N, S, S, 3) uint8 RGB face crops
    intensity: np.ndarray  # (N, K) float64, 0 to 5; 0 is absent
    lettered: np.ndarray  # (N, K) bool: the code carries a letter, so that the intensity was read and not assumed
    subject: np.ndarray  # (N,) int
    emotion: list[str]  # of the sequence at its apex, "neutral" at its first frame, "" where none is known
    name: list[str]  # stems of the files

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def present(self) -> np.ndarray:
        """(N, K) bool."""
        return self.intensity > 0


def unit_intensities(codes: dict[int, int | None]) -> tuple[np.ndarray, np.ndarray]:
    """One frame's codes, {AU: 1-5 or None}, as ((K,) intensity, (K,) bool: by a letter); K columns are BUILTIN_AUS.

    A code without a letter counts as DEFAULT_INTENSITY. Of 26 and 27 the stronger counts.
    """
    intensity, lettered = np.zeros(len(BUILTIN_AUS)), np.zeros(len(BUILTIN_AUS), bool)
    for i, number in enumerate(BUILTIN_AUS):
        given = [codes[same] for same in SAME.get(number, (number,)) if same in codes]
        known = [value for value in given if value is not None]
        if given:
            intensity[i], lettered[i] = max(known, default=DEFAULT_INTENSITY), bool(known)
    return intensity, lettered


def coded_sequences(root, codes_path=None) -> list[tuple[FrameSequence, dict[int, int | None]]]:
    """CK+'s sequences that have a neutral first frame, an apex and FACS codes: those of the release, or of a csv.

    InputError when there is none.
    """
    table = load_facs_codes(codes_path) if codes_path is not None else {}
    found = []
    for one in load_sequences(root):
        codes = one.action_units if one.action_units is not None else table.get((one.subject, one.sequence))
        if codes is not None and len(one.frames) > 1 and one.frame_numbers[0] == 1:
            found.append((one, codes))
    if not found:
        raise InputError(f"{root} has no sequence with a first frame, an apex and FACS codes; give the whole release")
    return found


def coded_frames(root, codes_path=None, size: int = 48) -> CodedFrames:
    """The first frame, in which no unit shows, and the last of each of coded_sequences(), side by side.

    The pictures must be face crops of one size, (S, S), and thus of one framing, so that neither tells the first frame
    from the last. InputError when they are not.
    """
    pictures, units, names, emotions, subjects = [], [], [], [], []
    for one, codes in coded_sequences(root, codes_path):
        for path, seen in ((one.frames[0], {}), (one.frames[-1], codes)):
            picture = read_image(path)
            if picture.shape[0] != picture.shape[1] or pictures and picture.shape != pictures[0].shape:
                raise InputError(f"{path} is {picture.shape[1]}x{picture.shape[0]}; give square face crops of one size")
            pictures.append(picture)
            units.append(unit_intensities(seen))
            names.append(path.stem)
            emotions.append((one.emotion or "") if seen is codes else "neutral")
            subjects.append(one.subject)
    intensity, lettered = (np.stack(column) for column in zip(*units, strict=True))
    pictures = np.stack([resize(picture, size) for picture in pictures])
    return CodedFrames(pictures, intensity, lettered, np.array(subjects), emotions, names)


def fit_ridge(features: np.ndarray, intensity: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """(kernel (F, K), bias (K,)) float32 of a ridge regression on standardised features, for these as they are."""
    scaler = StandardScaler().fit(features)
    ridge = Ridge(alpha).fit(scaler.transform(features), intensity)
    kernel = np.atleast_2d(ridge.coef_).T / scaler.scale_[:, None]
    return kernel.astype(np.float32), (ridge.intercept_ - scaler.mean_ @ kernel).astype(np.float32)


def linear_units(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(N, K) intensities, as models.units_network gives them."""
    return np.clip(features @ kernel + bias, 0, 5)


def f1_scores(present: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(K,) F1 of each column of two (N, K) bool arrays; nan for a unit that is nowhere in the truth."""
    support = present.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(support > 0, 2 * (present & found).sum(axis=0) / (support + found.sum(axis=0)), np.nan)


def mean_f1(present: np.ndarray, found: np.ndarray) -> float:
    """Mean F1 of the units that are in the truth, nan when there is none."""
    scores = f1_scores(present, found)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def best_thresholds(present: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(K,) the intensity from which each unit counts as there, for the best F1; the middle one of equally good ones."""
    scores = np.stack([np.nan_to_num(f1_scores(present, predicted >= t)) for t in THRESHOLDS])
    best = scores >= scores.max(axis=0) - 1e-9
    return np.array([np.median(THRESHOLDS[column]) for column in best.T])


def choose_ridge(
    features: np.ndarray, frames: CodedFrames, rows: np.ndarray, seed: int = 0
) -> tuple[float, np.ndarray]:
    """(penalty, (K,) thresholds) that do best over folds, by subject, of these rows alone."""
    folds = group_folds([frames.emotion[row] for row in rows], frames.subject[rows], INNER_FOLDS, seed)
    tried = {}
    for alpha in ALPHAS:
        predicted = np.zeros((len(rows), frames.intensity.shape[1]))
        for held in folds.values():
            train = np.delete(rows, held)
            head = fit_ridge(features[train], frames.intensity[train], alpha)
            predicted[held] = linear_units(features[rows[held]], *head)
        limits = best_thresholds(frames.present[rows], predicted)
        tried[alpha] = mean_f1(frames.present[rows], predicted >= limits), limits
    best = max(tried, key=lambda alpha: tried[alpha][0])
    return best, tried[best][1]


@dataclass(frozen=True, eq=False)
class FoldModel:
    """What one fold's training rows gave."""

    held: np.ndarray  # (n,) int, the rows that it has not seen
    kernel: np.ndarray
    bias: np.ndarray
    thresholds: np.ndarray  # (K,)
    alpha: float

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n, K) intensity, (n, K) bool: there)."""
        intensity = linear_units(features, self.kernel, self.bias)
        return intensity, intensity >= self.thresholds


def fold_models(features: np.ndarray, frames: CodedFrames, folds: dict[str, np.ndarray], seed: int = 0):
    """A FoldModel per fold; penalty and thresholds are chosen inside its training rows."""
    every, models = np.arange(len(frames)), []
    for held in folds.values():
        rows = np.setdiff1d(every, held)
        alpha, thresholds = choose_ridge(features, frames, rows, seed)
        head = fit_ridge(features[rows], frames.intensity[rows], alpha)
        models.append(FoldModel(held, *head, thresholds, alpha))
    return models


def held_out(models: list[FoldModel], features: np.ndarray, frames: CodedFrames) -> tuple[np.ndarray, np.ndarray]:
    """((N, K) intensity, (N, K) bool: there) of each frame by the model that has not seen its subject."""
    intensity, found = np.zeros(frames.intensity.shape), np.zeros(frames.intensity.shape, bool)
    for model in models:
        intensity[model.held], found[model.held] = model(features[model.held])
    return intensity, found


def unit_figures(frames: CodedFrames, predicted: np.ndarray, found: np.ndarray, draws: int = 2000) -> dict:
    """n, subjects, mean_f1, and per unit f1, positives, r and lettered; predicted, found: as of held_out.

    mean_f1 and f1 are [value, low, high], the interval drawn by subject; f1 is None for a unit that no frame shows. r
    is Pearson's over the frames whose code carries a letter, `lettered` of them; None where they are fewer than five or
    all alike.
    """
    groups = {"figure": mean_f1, "groups": frames.subject, "draws": draws}
    figures = {"n": len(frames), "subjects": len(set(frames.subject.tolist()))}
    interval = bootstrap_interval(frames.present, found, **groups)
    figures |= {"mean_f1": [mean_f1(frames.present, found), *interval], "units": {}}
    for i, number in enumerate(BUILTIN_AUS):
        rows, shown = frames.lettered[:, i], frames.present[:, i : i + 1]
        truth, answer = frames.intensity[rows, i], predicted[rows, i]
        related = rows.sum() >= 5 and np.ptp(truth) > 0 and np.ptp(answer) > 0
        pair = shown, found[:, i : i + 1]
        figures["units"][f"AU{number:02d}"] = {
            "f1": [mean_f1(*pair), *bootstrap_interval(*pair, **groups)] if shown.any() else None,
            "positives": int(shown.sum()),
            "r": float(np.corrcoef(truth, answer)[0, 1]) if related else None,
            "lettered": int(rows.sum()),
        }
    return figures


def apex_frames_coded(frames, codes_path) -> list[tuple[Path, int, np.ndarray]]:
    """[(path, subject, (K,) bool: present)] of CK+'s full-size apex frames that the csv codes.

    frames: fer_lib.datasets.ckplus.ApexFrame.
    """
    table, found = load_facs_codes(codes_path), []
    for frame in frames:
        codes = table.get((frame.subject, int(frame.path.stem[5:8])))
        if codes is not None:
            found.append((frame.path, frame.subject, unit_intensities(codes)[0] > 0))
    return found
