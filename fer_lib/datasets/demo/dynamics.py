"""Action units over time: sequences from neutral to apex, posed and genuine smiles, and their features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fer_lib.datasets.action_units import OPENFACE_AUS
from fer_lib.datasets.demo.drawing import ACTION_UNITS, Identity, Scene, draw_face
from fer_lib.datasets.demo.people import expression, random_identity, random_scene
from fer_lib.datasets.fer2013 import SIDE
from fer_lib.faces import EMOTIONS

RATE = 50.0  # frames a second of the smiles, as in UvA-NEMO's clips

# --- sequences


@dataclass(frozen=True, eq=False)
class Plan:
    """A sequence that is not drawn yet: one person, T scenes and T rows of action units."""

    identity: Identity
    scenes: tuple[Scene, ...]
    action_units: np.ndarray  # (T, len(ACTION_UNITS), 2) float64, 0-1, (left, right) of the person

    def draw(self, frame: int, size: int = SIDE, colour: bool = False, **scene) -> np.ndarray:
        """One frame, (size, size) uint8 grey or (size, size, 3) RGB. scene: what to change in the frame's scene."""
        picture = draw_face(self.action_units[frame], self.identity, replace(self.scenes[frame], **scene), size)
        return picture if colour else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True, eq=False)
class Sequence:
    """T drawings of one person, the first neutral, the last at the apex."""

    pictures: np.ndarray  # (T, size, size) uint8 grey or (T, size, size, 3) uint8 RGB
    action_units: np.ndarray  # (T, len(ACTION_UNITS), 2) float32, 0-1
    emotion: str
    identity: int  # the person's number


def sequence(
    emotion: str,
    frames: int,
    number: int = 0,
    seed: int = 0,
    size: int = SIDE,
    colour: bool = False,
    age: float | None = None,
) -> Sequence:
    """Person `number` goes from neutral to the apex of an emotion in so many frames; equal arguments, equal bytes.

    age: see `random_identity`. ValueError: fewer than two frames or an unknown emotion.
    """
    planned = plan(emotion, frames, number, seed, age)
    pictures = np.stack([planned.draw(frame, size, colour) for frame in range(frames)])
    return Sequence(pictures, planned.action_units.astype(np.float32), emotion, number)


def plan(emotion: str, frames: int, number: int = 0, seed: int = 0, age: float | None = None) -> Plan:
    """What `sequence` draws; for those who need some of its frames or another size. ValueError as there."""
    if frames < 2:
        raise ValueError(f"from neutral to apex takes at least two frames, not {frames}")
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}; there are {', '.join(EMOTIONS)}")
    rng = np.random.default_rng([seed, 4, number, EMOTIONS.index(emotion), frames])
    apex = expression(emotion, 0.55 + 0.45 * rng.beta(2, 1.2), rng)
    time = np.linspace(0, 1, frames)[:, None]
    centre, steepness = rng.uniform(0.35, 0.65), rng.uniform(5, 11)
    late = rng.uniform(-0.07, 0.07, len(ACTION_UNITS))  # the muscles do not start together
    rise = 1 / (1 + np.exp(-steepness * (time - centre - late)))
    rise = (rise - rise[:1]) / (rise[-1:] - rise[:1])  # exactly 0 first and 1 last
    return Plan(random_identity(number, seed, age), _drift(random_scene(rng), frames, rng), rise[..., None] * apex)


def _drift(scene: Scene, frames: int, rng: np.random.Generator) -> tuple[Scene, ...]:
    """The scene as a still camera sees it over time: the person sways a little, the grain is new in each frame."""
    time = np.linspace(0, 1, frames)
    angle = rng.uniform(0, 2 * np.pi, 5) + 2 * np.pi * rng.uniform(0.2, 0.7, 5) * time[:, None]
    sway = np.sin(angle) - np.sin(angle[:1])
    return tuple(
        replace(
            scene,
            yaw=0.4 * scene.yaw + 1.5 * yaw,  # people who are filmed look at the camera
            pitch=0.4 * scene.pitch + pitch,
            roll=0.4 * scene.roll + 0.8 * roll,
            shift=(scene.shift[0] + 0.006 * x, scene.shift[1] + 0.006 * y),
            noise_seed=(scene.noise_seed + frame) % (1 << 31),
        )
        for frame, (yaw, pitch, roll, x, y) in enumerate(sway.tolist())
    )


# --- smiles


@dataclass(frozen=True, eq=False)
class Smile:
    """The action units of one smile at RATE frames a second, from rest to rest."""

    action_units: np.ndarray  # (T, len(ACTION_UNITS), 2) float64, 0-1, (left, right) of the person
    posed: bool
    ends: tuple[int, int, int]  # frames after the last one of onset, apex and offset; the third is T


def smile(posed: bool, rng: np.random.Generator) -> Smile:
    """A smile that is put on or felt. The two differ on average and overlap, as in life.

    Posed: it starts faster, stands longer and unsteadily, ends abruptly, is less symmetric and has less of AU 6, the
    muscle around the eye (Ekman & Friesen 1982; Cohn & Schmidt 2004). Genuine: slow, smooth, even, with AU 6. The
    medians are of the order of those papers' figures, the spreads ours.
    """

    def seconds(median: float) -> int:
        return max(4, round(RATE * median * float(np.exp(0.45 * np.clip(rng.standard_normal(), -2, 2)))))

    onset = seconds(0.6 if posed else 0.85)
    apex = seconds(1.5 if posed else 1.15)
    offset = seconds(0.6 if posed else 0.95)
    frames = onset + apex + offset
    start, stop = onset, onset + apex
    # a smooth rise is a half cosine; a posed one is cut into shape faster
    power = rng.uniform(0.7, 1.1) if posed else rng.uniform(0.9, 1.3)
    shape = np.ones(frames)
    shape[:start] = _ease(onset) ** power
    shape[stop:] = _ease(offset)[::-1] ** power
    unsteady = rng.uniform(0.005, 0.06) if posed else rng.uniform(0.005, 0.04)
    shape *= 1 - unsteady * (1 + _wobble(frames, rng))
    corner = np.clip(rng.normal(0.72 if posed else 0.66, 0.14), 0.25, 1)
    cheek = np.clip(rng.normal(0.28 if posed else 0.47, 0.2), 0, 0.9)
    weaker = 1 - min(abs(rng.normal(0, 0.16 if posed else 0.09)), 0.5)  # one side's share of the other
    sides = np.array([1, weaker] if rng.uniform() < 0.5 else [weaker, 1])
    units = np.zeros((frames, len(ACTION_UNITS), 2))

    def add(number: int, curve: np.ndarray, share=1.0) -> None:
        units[:, ACTION_UNITS.index(number)] = np.clip(curve[:, None] * share, 0, 1)

    add(12, corner * shape, sides)
    behind = rng.integers(0, 5)  # the eye follows the mouth
    add(6, cheek * np.concatenate([np.zeros(behind), shape[: frames - behind]]), 1 - (1 - sides) / 3)
    if rng.uniform() < 0.6:
        add(25, rng.uniform(0.2, 0.8) * shape)
    if rng.uniform() < 0.5:  # a blink of about a quarter of a second, at any time
        add(45, np.exp(-(((np.arange(frames) - rng.integers(frames)) / (0.06 * RATE)) ** 2)))
    return Smile(units, posed, (start, stop, frames))


def _ease(frames: int) -> np.ndarray:
    """(frames,) half a cosine from just above 0 to 1."""
    return (1 - np.cos(np.pi * np.arange(1, frames + 1) / frames)) / 2


def _wobble(frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames,) slow unsteadiness, about -1 to 1."""
    time = np.arange(frames)[:, None] / RATE
    return np.sin(2 * np.pi * rng.uniform(0.5, 3, 3) * time + rng.uniform(0, 2 * np.pi, 3)).mean(axis=1)


def smile_signals(felt: Smile, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """{"lip": (T, 2), "eye": (T, 2)}: what a tracker would measure of both sides.

    The lip corners' way outwards and the eyelids' opening, in shares of the distance that UvA-NEMO divides by; noise
    of a size that makes the eyelids as restless as in its tables.
    """
    unit = dict(zip(ACTION_UNITS, np.moveaxis(felt.action_units, 1, 0), strict=True))
    lip = 0.24 * unit[12]
    eye = 0.3 - 0.1 * unit[6] - 0.25 * unit[45]
    return {
        "lip": lip + rng.normal(0, 0.0004, lip.shape),
        "eye": eye + rng.normal(0, 0.005, eye.shape),
    }


def phase_features(sides: np.ndarray) -> np.ndarray:
    """(n, 2) left and right amplitude of one phase, n >= 2, to its 25 numbers in the order of SMILE_FEATURES.

    After Dibeklioglu, Salah & Gevers 2012, table 1, in the scales of UvA-NEMO's tables.
    The mean of the sides is differenced from frame to frame: positive steps lengthen, negative ones shorten. As in the
    released files 25 steps make a second of duration, but 50 a second of speed; speeds are steps * 50, accelerations
    the change of speed from step to step. What has no step of its sign is 0. ValueError: fewer than two frames.
    """
    if len(sides) < 2:
        raise ValueError(f"a phase has at least two frames, not {len(sides)}")
    step = np.diff(sides.mean(axis=1))
    speed = RATE * step
    acceleration = np.diff(speed, prepend=speed[:1])
    up, down = step > 0, step < 0
    n_up, n_down = up.sum(), down.sum()
    moving = max(n_up + n_down, 1)
    gained, lost = step[up].sum(), abs(step[down].sum())
    total = gained + lost or 1.0

    def of(values: np.ndarray, function) -> float:
        return function(values) if len(values) else 0.0

    left_right = abs((sides[:, 0] - sides[:, 1]).sum()) / len(sides)
    return np.array(
        [n_up / 25, n_down / 25, (n_up + n_down) / 25, n_up / moving, n_down / moving]
        + [step.max(), step.mean(), of(step[up], np.mean), of(-step[down], np.mean)]
        + [step.std(ddof=1) if len(step) > 1 else 0.0, gained, lost, gained - lost]
        + [gained / total, lost / total, of(speed[up], np.max), of(-speed[down], np.max)]
        + [of(speed[up], np.mean), of(-speed[down], np.mean), of(acceleration[up], np.max)]
        + [of(acceleration[down], np.max), of(acceleration[up], np.mean), of(acceleration[down], np.mean)]
        + [(gained - lost) * RATE / len(step), left_right]
    )


# --- action units as tables hold them


def facs_code(action_units: np.ndarray, rng: np.random.Generator) -> str:
    """(len(ACTION_UNITS), 2) to a coder's "1+2c+R14+25": what shows, one in six with its intensity a-e.

    Below 0.2 nothing is coded; L or R stands before what shows on one side only. Nothing to code is "".
    """
    codes = []
    for number, (left, right) in zip(ACTION_UNITS, np.asarray(action_units).tolist(), strict=True):
        strength = max(left, right)
        if strength < 0.2:
            continue
        side = "L" if right < 0.3 * left else "R" if left < 0.3 * right else ""
        letter = "abcde"[min(int(5 * strength), 4)] if rng.uniform() < 1 / 6 else ""
        codes.append(f"{side}{number}{letter}")
    return "+".join(codes)


def openface_intensities(action_units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(len(ACTION_UNITS), 2) to (17,) of OPENFACE_AUS on its 0-5 scale with two decimals, measured with noise.

    The regressors of OpenFace answer 0 for much that is small; so does this: half a point is lost before the noise.
    """
    rows = [ACTION_UNITS.index(number) for number in OPENFACE_AUS]
    true = 5 * np.asarray(action_units)[rows].mean(axis=1)
    gain = rng.uniform(0.5, 0.9)  # of this face
    return np.round(np.clip(gain * true - 0.3 + rng.normal(0, 0.5, len(true)), 0, 5), 2)
