"""A face drawn from action units, a person and a scene.

A face lives in its own coordinates: x to the right of the picture, y down, the eyes near y = -0.1, the chin near
y = 1, the cheekbones near x = +-0.74. Features are polygons on a curved front that is turned by the head's pose, so
that a turned face foreshortens and its nose moves across it. The displacement of each action unit is the author's
drawing after the descriptions in the FACS manual, somewhat stronger than in life: it must survive at 48 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

# FACS numbers (Ekman, Friesen & Hager 2002); the rows of every action unit array here
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 45)
HAIR_STYLES = ("bald", "short", "parted", "fringe", "long")


@dataclass(frozen=True)
class Identity:
    """What stays the same in one person's pictures. Numbers without a unit are factors around 1 of the average face."""

    face_width: float = 1.0
    jaw_width: float = 1.0
    chin_length: float = 1.0
    forehead_height: float = 1.0
    eye_size: float = 1.0
    eye_spacing: float = 1.0
    eye_height: float = 0.0  # face units, positive is lower
    eye_tilt: float = 0.0  # face units by which the outer corner is higher
    brow_height: float = 0.0  # face units above the average
    brow_thickness: float = 1.0
    brow_arch: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    mouth_height: float = 0.0  # face units, positive is lower
    lip_fullness: float = 1.0
    wrinkles: float = 0.0  # 0-1, lines that stay without any action unit
    age: float = 30.0  # years; a note, what it does to the drawing is in the other fields
    cheeks: float = 0.0  # 0-1, a child's round ones
    sag: float = 0.0  # 0-1, lids, pouches and jaw that hang
    beard: float = 0.0  # 0-1, 0 is shaven
    hair_thinness: float = 0.0  # 0-1, the skin shows through and the hairline is high
    hair_style: str = "short"  # one of HAIR_STYLES
    skin: tuple[float, float, float] = (222, 180, 150)  # RGB, as are all colours here
    hair: tuple[float, float, float] = (70, 48, 36)  # and brows
    iris: tuple[float, float, float] = (84, 60, 40)
    lips: tuple[float, float, float] = (176, 96, 92)


@dataclass(frozen=True)
class Scene:
    """How a face is seen. The default is frontal, evenly lit, sharp and free of noise."""

    yaw: float = 0.0  # degrees, positive turns the nose to the right of the picture
    pitch: float = 0.0  # degrees, positive looks up
    roll: float = 0.0  # degrees, positive is clockwise
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # of the face's centre, in picture widths (x, y)
    gaze: tuple[float, float] = (0.0, 0.0)  # of the pupils, -1 to 1 (x, y)
    light: tuple[float, float] = (0.0, -0.3)  # where light comes from (x, y); its length is its strength, 0 to 1
    exposure: float = 1.0  # factor of brightness
    contrast: float = 1.0  # factor around mid grey
    noise: float = 0.0  # standard deviation in grey levels
    blur: float = 0.0  # standard deviation in picture widths
    background: tuple[float, float, float] = (128, 132, 138)
    noise_seed: int = 0


AVERAGE, FRONTAL = Identity(), Scene()


def action_unit_array(action_units) -> np.ndarray:
    """{AU number: intensity or (left, right)} -> (len(ACTION_UNITS), 2) float64 in 0-1; left is the person's left.

    An array of that shape is returned as it is. ValueError: an action unit that cannot be drawn, another shape, or
    an intensity outside 0-1.
    """
    if isinstance(action_units, Mapping):
        array = np.zeros((len(ACTION_UNITS), 2))
        for number, intensity in action_units.items():
            if number not in ACTION_UNITS:
                raise ValueError(f"AU {number} cannot be drawn; there are {', '.join(map(str, ACTION_UNITS))}")
            array[ACTION_UNITS.index(number)] = intensity
    else:
        array = np.asarray(action_units, float)
    if array.shape != (len(ACTION_UNITS), 2):
        raise ValueError(f"action units must be ({len(ACTION_UNITS)}, 2), got {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():  # not nan either
        raise ValueError(f"intensities must lie in 0-1: {action_units}")
    return array


# --- drawing: features are lists of marks in face coordinates, projected together and painted layer by layer


class _Mark(NamedTuple):
    """One polygon or line. amount: a colour (BASE, INK) or light added (WIDE, FINE), -1 black to 1 white."""

    layer: int
    points: np.ndarray  # (n, 2) face coordinates
    amount: tuple[float, float, float] | float
    width: float = 0.0  # face units of a line; 0 fills the polygon
    lift: float = 0.0  # how far it stands out of the curved front


BASE, WIDE, FINE, INK = range(4)  # flat colours; broad shading; lines and folds; what is painted sharp on top
_U = np.linspace(-1, 1, 17)  # along a lid, from the nose outwards, and along the mouth, from left to right
_T = np.linspace(0, 1, 9)  # along a brow or fold
_CIRCLE = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=1)
_DROP = np.array([0, 0, 0, 0, 0, 0.12, 0.45, 0.8, 1, 1])  # share of the jaw's drop along the half outline
_OUTLINE = np.array(
    [(0, -1.0), (0.4, -0.95), (0.64, -0.72), (0.73, -0.38), (0.735, 0), (0.7, 0.32), (0.6, 0.62), (0.43, 0.86)]
    + [(0.21, 1.0), (0, 1.03)]
)


@cache
def _spline(n: int, closed: bool, steps: int = 4) -> np.ndarray:
    """(m, n) matrix that turns n control points into a Catmull-Rom curve through them."""
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    rows = []
    for i in range(n if closed else n - 1):
        around = np.arange(i - 1, i + 3)
        around = around % n if closed else np.clip(around, 0, n - 1)
        for t in np.arange(steps) / steps:
            row = np.zeros(n)
            np.add.at(row, around, np.array([1, t, t * t, t**3]) @ basis)
            rows.append(row)
    if not closed:
        rows.append(np.eye(n)[-1])
    return np.array(rows)


def _curve(points) -> np.ndarray:
    return _spline(len(points), False) @ np.asarray(points, float)


def _blob(x: float, y: float, width: float, height: float) -> np.ndarray:
    """(20, 2) ellipse."""
    return _CIRCLE * (width, height) + (x, y)


def _ribbon(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(2n, 2) band of a given height around a line that runs mostly sideways."""
    half = width / 2
    return np.stack([np.concatenate([x, x[::-1]]), np.concatenate([y - half, (y + half)[::-1]])], axis=1)


def _between(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """(2n, 2) area between two curves over the same x."""
    return np.stack([np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]])], axis=1)


def mix(first, second, share: float) -> tuple[float, ...]:
    """Colour between two, share 0 is the first."""
    return tuple(a + (b - a) * share for a, b in zip(first, second, strict=True))


class _Side(NamedTuple):
    """The action units of one half of the face, with side +1 on the right of the picture (the person's left)."""

    side: int
    au: dict[int, float]


def _sides(array: np.ndarray) -> tuple[_Side, _Side]:
    left, right = array.T.tolist()
    return _Side(1, dict(zip(ACTION_UNITS, left, strict=True))), _Side(-1, dict(zip(ACTION_UNITS, right, strict=True)))


def _both(array: np.ndarray) -> dict[int, float]:
    return dict(zip(ACTION_UNITS, array.mean(axis=1).tolist(), strict=True))


def _jaw_drop(au: dict[int, float]) -> float:
    """Face units by which the chin sinks."""
    return min(0.13 * au[26] + 0.24 * au[27], 0.26)


def _outline(identity: Identity, drop: float) -> np.ndarray:
    """(n, 2) closed line around forehead, cheeks and jaw."""
    half = _OUTLINE.copy()
    half[:, 0] *= identity.face_width
    half[5:9, 0] *= identity.jaw_width
    half[5:8, 0] += np.array([0.03, 0.055, 0.035]) * identity.cheeks + np.array([0, 0.015, 0.03]) * identity.sag
    half[:4, 1] *= identity.forehead_height
    half[6:, 1] = 0.5 + (half[6:, 1] - 0.5) * identity.chin_length
    half[:, 1] += drop * _DROP
    closed = np.concatenate([half, half[-2:0:-1] * (-1, 1)])
    return _spline(len(closed), True) @ closed


def _head(identity: Identity, au: dict[int, float], outline: np.ndarray) -> list[_Mark]:
    """Hair behind, neck, ears, face, and the shading that needs no action unit."""
    skin, hair, width = identity.skin, _hair_colour(identity), identity.face_width
    shadow = mix(skin, (40, 20, 20), 0.35)
    marks = []
    if identity.hair_style == "long":
        back = [(-0.7, -0.9), (0, -1.22), (0.7, -0.9), (0.93, -0.2), (0.9, 0.6), (1.0, 1.3), (-1.0, 1.3), (-0.9, 0.6)]
        back.append((-0.93, -0.2))
        marks.append(_Mark(BASE, _spline(9, True) @ (np.array(back) * (width, 1)), mix(hair, (0, 0, 0), 0.25), 0, -0.4))
    elif identity.hair_style != "bald" and identity.hair_thinness < 0.8:
        back = [(-0.78, -0.15), (-0.8, -0.6), (-0.58, -1.05), (0, -1.24), (0.58, -1.05), (0.8, -0.6), (0.78, -0.15)]
        back = np.array(back) * (width, np.clip(identity.forehead_height, 1, 1.1))
        marks.append(_Mark(BASE, _curve(back), hair, 0, -0.2))
    shirt = np.array([(-0.5, 1.42), (0, 1.6), (0.5, 1.42), (1.2, 1.66), (1.5, 2.6), (-1.5, 2.6), (-1.2, 1.66)])
    marks.append(_Mark(BASE, shirt, (96, 104, 116), 0, -0.35))  # seen where the face is small in its picture
    neck = np.array([(-0.4, 0.5), (0.4, 0.5), (0.43, 1.1), (0.62, 1.5), (0, 1.68), (-0.62, 1.5), (-0.43, 1.1)])
    marks.append(_Mark(BASE, neck * (width * identity.jaw_width, 1), shadow, 0, -0.35))
    for side in (-1, 1):
        ear_y = 0.06 + 0.7 * max(identity.eye_height, 0)
        ear = _blob(side * 0.76 * width, ear_y, 0.09, 0.2)
        marks += [_Mark(BASE, ear, mix(skin, shadow, 0.35), 0, -0.15)]
        marks += [_Mark(FINE, _blob(side * 0.775 * width, ear_y, 0.045, 0.12), -0.25, 0, -0.15)]
    marks.append(_Mark(BASE, outline, skin))
    # cheeks and jaw turn away from the light; the forehead, the cheekbones and the chin catch it
    marks.append(_Mark(WIDE, outline, -0.12, 0.16))
    marks.append(_Mark(WIDE, _blob(0, -0.62, 0.3, 0.12), 0.1))
    drop = _jaw_drop(au)
    chin = _chin(identity, drop)
    marks.append(_Mark(WIDE, _blob(0, chin, 0.13, 0.07), 0.1))
    marks.append(_Mark(WIDE, _blob(0, chin - 0.14 - 0.1 * drop, 0.15, 0.035), -0.16 - 0.12 * au[17]))
    for side in (-1, 1):
        if identity.cheeks:
            cheek = _blob(side * 0.43 * width, 0.36, 0.2, 0.17)
            marks.append(_Mark(BASE, cheek, mix(skin, (226, 104, 96), 0.1 * identity.cheeks)))
            marks.append(_Mark(WIDE, cheek, 0.16 * identity.cheeks))
        if identity.sag:  # the jowls, and the line from the corner of the mouth that sets them off
            marks.append(_Mark(WIDE, _blob(side * 0.36 * width, 0.78 + drop / 2, 0.1, 0.09), 0.12 * identity.sag))
            marks.append(_Mark(WIDE, _blob(side * 0.24, 0.84 + drop, 0.05, 0.09), -0.22 * identity.sag))
            marks.append(_Mark(WIDE, _blob(side * 0.5 * width, 0.3, 0.07, 0.2), -0.16 * identity.sag))
    if identity.beard:
        jaw = outline[outline[:, 1] > 0.12]
        jaw = jaw[
            np.argsort(np.arctan2(jaw[:, 0], jaw[:, 1] - 0.3))
        ]  # from the left ear round the chin to the right one
        top = np.array([(0.6, 0.4), (0.42, 0.5), (0.3, 0.42), (0.13, 0.38), (0, 0.4)])
        top = _curve(np.concatenate([top, top[-2::-1] * (-1, 1)]) * (width, 1))
        for step in range(4):  # four growing layers, for an edge that fades
            rim = np.concatenate([jaw, top + (0, 0.022 * (step - 1))])
            marks.append(_Mark(BASE, rim, mix(skin, hair, 0.8 * identity.beard * (step + 1) / 4)))
    return marks


def _hair_colour(identity: Identity) -> tuple[float, ...]:
    """The skin shows through thin hair."""
    return mix(identity.hair, identity.skin, 0.45 * identity.hair_thinness)


def _chin(identity: Identity, drop: float) -> float:
    """Height of the boss of the chin."""
    return 0.5 + 0.37 * identity.chin_length + drop


def _hair(identity: Identity) -> list[_Mark]:
    """Hair that falls over the forehead."""
    style, hair = identity.hair_style, _hair_colour(identity)
    if style == "bald" or identity.hair_thinness >= 0.8:
        return []
    rim = [(-0.77, -0.2), (-0.8, -0.6), (-0.58, -1.05), (0, -1.24), (0.58, -1.05), (0.8, -0.6), (0.77, -0.2)]
    line = {  # the hairline, from right to left
        "short": [(0.7, -0.3), (0.64, -0.62), (0.4, -0.8), (0, -0.84), (-0.4, -0.8), (-0.64, -0.62), (-0.7, -0.3)],
        "parted": [(0.7, -0.25), (0.64, -0.55), (0.5, -0.72), (0.3, -0.92), (0.0, -0.72), (-0.5, -0.55), (-0.7, -0.2)],
        "fringe": [(0.7, -0.2), (0.64, -0.46), (0.4, -0.52), (0, -0.54), (-0.4, -0.52), (-0.64, -0.46), (-0.7, -0.2)],
        "long": [(0.72, 0.1), (0.66, -0.4), (0.4, -0.7), (0.05, -0.94), (-0.4, -0.7), (-0.66, -0.4), (-0.72, 0.1)],
    }[style]
    scale = (identity.face_width, identity.forehead_height)
    rim, line = _curve(np.array(rim) * scale), _curve(np.array(line) * scale)
    line += (rim[::-1] - line) * 0.75 * identity.hair_thinness * np.sin(np.linspace(0, np.pi, len(line)))[:, None]
    ragged = np.cos(np.arange(len(line)) * 2.6) * (0.03 if style == "fringe" else 0.014)
    line = line + np.stack([np.zeros(len(line)), ragged], axis=1)
    marks = [_Mark(INK, np.concatenate([rim, line]), hair, 0, 0.02)]
    ends = line[::-1]
    for i in range(3, len(rim) - 3, 2):  # strands, combed from the crown to the hairline
        tone, share = ((255, 235, 210), 0.07) if i % 4 == 1 else ((0, 0, 0), 0.2 * (1 - identity.hair_thinness))
        bend = (rim[i] + ends[i]) / 2 * (1.06, 1.0)
        strand = np.stack([rim[i] * 0.55 + ends[i] * 0.45, bend, ends[i]])
        marks.append(_Mark(INK, strand, mix(hair, tone, share), 0.022, 0.02))
    return marks


def _brow(identity: Identity, half: _Side) -> list[_Mark]:
    """A brow and the forehead lines above it."""
    side, au = half
    t = _T
    # AU 1 lifts the inner end, AU 2 the outer; AU 4 lowers both and draws the inner ends together
    lift = 0.15 * au[1] * (1 - t) ** 1.3 + 0.05 * au[1] * au[2] + 0.15 * au[2] * t**0.7 * (1.25 - 0.55 * t)
    lowered = au[4] * (1 - 0.72 * au[1]) * (0.13 * (1 - t) + 0.05) + 0.06 * au[9] * (1 - t)
    outer_down = 0.05 * au[4] * au[1] * t
    arch = 0.07 * identity.brow_arch * np.sin(np.pi * t**1.3) - 0.05 * t**3
    x = side * ((0.155 + 0.46 * t) * identity.eye_spacing - (0.055 * au[4] + 0.02 * au[9]) * (1 - t))
    y = -0.32 + identity.eye_height - identity.brow_height - arch - lift + lowered + outer_down
    width = 0.085 * identity.brow_thickness * (1 - 0.72 * t**1.6) * (0.75 + 0.25 * np.minimum(t * 6, 1))
    colour = mix(identity.skin, mix(identity.hair, (60, 52, 48), 0.35 * identity.sag), 0.85)  # brows grey last
    marks = [_Mark(INK, _ribbon(x, y, width), colour, 0, 0.05)]
    marks.append(_Mark(WIDE, _ribbon(x, y + 0.09, np.full(len(t), 0.07)), -0.13 - 0.12 * au[4]))
    raised = max(au[1], au[2])
    age = 0.24 * identity.wrinkles
    for row in range(3):  # horizontal lines where AU 1 (middle) and AU 2 (sides) push the skin up
        depth = age + 0.24 * raised * (1 - 0.2 * row)
        if depth > 0.04:
            start, end = (0 if au[1] >= 0.5 * au[2] else 3), (9 if au[2] >= 0.5 * au[1] else 6)
            lines_x = side * np.abs(x) * 0.95
            lines_y = -0.52 - 0.085 * row - 0.35 * (lift - lift.mean()) - 0.04 * np.sin(np.pi * t) - 0.3 * lift.mean()
            marks.append(_Mark(FINE, np.stack([lines_x, lines_y], 1)[start:end], -depth, 0.02))
    frown = max(0.5 * au[4], 0.3 * au[9]) + 0.5 * age
    if frown > 0.04:  # the upright line beside the root of the nose, and the bulge between
        line = [(side * 0.055, y[0] - 0.07), (side * 0.05, y[0] + 0.02), (side * 0.07, y[0] + 0.12)]
        marks.append(_Mark(FINE, _curve(line), -frown, 0.026, 0.05))
    return marks


def _eye(identity: Identity, half: _Side, gaze: tuple[float, float]) -> list[_Mark]:
    """Eyeball between its lids, lashes, the fold above, the pouch below and the crow's feet."""
    side, au = half
    size = identity.eye_size
    centre_x, centre_y = side * 0.36 * identity.eye_spacing, -0.1 + identity.eye_height
    half_width = 0.175 * size
    top = (0.082 * size * (1 - 0.34 * identity.sag) + 0.062 * au[5]) * (
        1 - 0.28 * au[7] - 0.18 * au[6] - 0.1 * au[4] - 0.2 * au[9]
    )
    bottom = (0.062 * size + 0.012 * au[5]) * (
        1 - 0.62 * au[7] - 0.6 * au[6] - 0.25 * au[12] * (1 - au[6]) - 0.4 * au[9]
    )
    bottom = max(bottom, 0.004)
    top += (-0.8 * bottom - top) * au[45]
    x = centre_x + side * half_width * _U
    slant = (-identity.eye_tilt - 0.012 + 0.03 * au[1] * au[4] + 0.024 * identity.sag) * _U
    dome = (1 - _U**2) ** 0.62
    upper = centre_y + slant - top * dome * (1 - 0.12 * _U)
    lower = np.maximum(centre_y + slant + bottom * dome * (1 + 0.15 * _U), upper)
    skin = identity.skin
    lash = mix((28, 18, 16), skin, 0.08)
    marks = [_Mark(WIDE, _blob(centre_x, centre_y - 0.02, half_width * 1.25, 0.13), -0.13)]
    ink: list[_Mark] = []
    if (lower - upper).max() > 0.012:
        ink.append(_Mark(INK, _between(x, upper, lower), (236, 230, 224)))
        order = np.argsort(x)

        def lids(circle: np.ndarray) -> np.ndarray:
            circle[:, 1] = np.clip(
                circle[:, 1],
                np.interp(circle[:, 0], x[order], upper[order]),
                np.interp(circle[:, 0], x[order], lower[order]),
            )
            return circle

        look_x, look_y = centre_x + 0.05 * gaze[0], centre_y + 0.03 * gaze[1] - 0.012
        ink.append(_Mark(INK, lids(_blob(look_x, look_y, 0.082 * size, 0.082 * size)), identity.iris))
        ink.append(_Mark(INK, lids(_blob(look_x, look_y, 0.037 * size, 0.037 * size)), (12, 10, 10)))
        ink.append(_Mark(INK, lids(_blob(look_x + 0.028, look_y - 0.03, 0.016, 0.016)), (255, 255, 255)))
        ink.append(_Mark(INK, _ribbon(x, upper + 0.012, 0.03 * dome), mix((236, 230, 224), lash, 0.45)))
    lash_width = (0.03 + 0.012 * _U) * (0.5 + 0.5 * dome) * size
    ink.append(_Mark(INK, _ribbon(x, upper, lash_width), lash))
    ink.append(_Mark(INK, np.stack([x, lower + 0.004], 1)[2:], mix(skin, (60, 20, 20), 0.5), 0.012))
    crease = np.minimum(upper - 0.05 - 0.02 * au[5] + 0.012 * au[4], centre_y - 0.075)
    marks.append(_Mark(FINE, np.stack([x, crease], 1)[2:-1], -0.42, 0.02))
    if identity.sag:  # the fold hangs over the outer corner, and a bag lies under the eye
        hood = [(x[8], crease[8] + 0.01), (x[12], crease[12] + 0.03), (x[16] + side * 0.05, centre_y + 0.05)]
        marks.append(_Mark(FINE, _curve(hood), -0.5 * identity.sag, 0.028))
        bag = _ribbon(x, np.maximum(lower, centre_y) + 0.12 + 0.02 * dome, np.full(len(x), 0.03))
        marks.append(_Mark(WIDE, bag, -0.3 * identity.sag))
        marks.append(_Mark(FINE, np.stack([x, lower + 0.115 + 0.03 * dome], 1)[2:-2], -0.3 * identity.sag, 0.022))
    pouch = 0.16 * (1 - 0.8 * identity.cheeks) + 0.25 * identity.wrinkles + 0.3 * max(au[6], 0.6 * au[7], 0.6 * au[9])
    fold = np.maximum(lower, centre_y) + 0.05 + 0.035 * dome - 0.02 * au[6]
    marks.append(_Mark(FINE, np.stack([x, fold], 1)[1:-2], -pouch, 0.02))
    feet = 0.36 * au[6] + 0.3 * identity.wrinkles
    if feet > 0.04:
        corner_x, corner_y = centre_x + side * half_width * 1.15, centre_y - 0.01
        for angle in (-0.5, 0.0, 0.5):
            tip = (corner_x + side * 0.085, corner_y + 0.12 * angle + 0.01)
            marks.append(_Mark(FINE, np.array([(corner_x, corner_y + 0.05 * angle), tip]), -feet, 0.018))
    return marks + ink


def _nose_tip(identity: Identity) -> float:
    return 0.24 + 0.1 * (identity.nose_length - 1) + identity.eye_height * 0.5


def _nose(identity: Identity, halves: tuple[_Side, _Side]) -> list[_Mark]:
    """Bridge, wings, nostrils, and the wrinkles of AU 9."""
    tip = _nose_tip(identity)
    root = -0.2 + identity.eye_height
    width = 0.125 * identity.nose_width
    dark = mix(identity.skin, (30, 10, 10), 0.72)
    marks = [_Mark(WIDE, _blob(0, tip + 0.105, width * 1.1, 0.03), -0.22)]
    marks.append(_Mark(WIDE, np.array([(-0.03, root), (0.03, root), (0.045, tip), (-0.045, tip)]), 0.2, 0, 0.1))
    marks.append(_Mark(WIDE, _blob(0, tip - 0.01, 0.05, 0.045), 0.22, 0, 0.2))
    for side, au in halves:
        up = 0.05 * au[9] + 0.03 * au[10] + 0.012 * au[12]
        wide = width * (1 + 0.12 * au[9] + 0.1 * au[10] + 0.14 * au[12] + 0.08 * au[20])
        bridge = [(side * 0.075, root), (side * 0.06, (root + tip - 0.1) / 2), (side * 0.085, tip - 0.1)]
        marks.append(_Mark(WIDE, _curve(bridge), -0.16 * (1 - 0.6 * identity.cheeks), 0.05, 0.06))
        wing = [
            (side * wide * 0.72, tip - 0.09 - up),
            (side * wide, tip - 0.01 - up),
            (side * wide * 0.86, tip + 0.06 - up),
        ]
        marks.append(_Mark(FINE, _curve(wing), -0.48 - 0.2 * au[9], 0.026, 0.1))
        nostril = _blob(side * wide * 0.5, tip + 0.055 - 0.6 * up, 0.042 * identity.nose_width, 0.021)
        marks.append(_Mark(INK, nostril, dark, 0, 0.14))
        if au[9] > 0.05:
            for row in range(3):
                y = root + 0.03 + 0.07 * row
                line = [(side * 0.01, y + 0.015), (side * 0.06, y), (side * 0.11, y - 0.035)]
                marks.append(_Mark(FINE, _curve(line), -0.42 * au[9], 0.022, 0.08))
    return marks


def _mouth(identity: Identity, halves: tuple[_Side, _Side], au: dict[int, float]) -> list[_Mark]:
    """Lips, teeth and tongue, with the folds around the corners and the boss of the chin."""
    centre_y = 0.545 + identity.mouth_height
    drop = _jaw_drop(au)
    shares = {side: values for side, values in halves}
    corners, spread = {}, {}
    for side, own in shares.items():
        out = 0.075 * own[12] + 0.1 * own[20] + 0.02 * own[14] - 0.045 * own[23] - 0.065 * own[26] - 0.09 * own[27]
        down = 0.12 * own[15] - 0.145 * own[12] + 0.025 * own[20] - 0.025 * own[14] + 0.45 * drop * (1 - 0.6 * own[12])
        corners[side] = (0.285 * identity.mouth_width + out - 0.015 * own[17], down + 0.015 * own[16] + 0.01 * own[17])
        spread[side] = own
    u = np.abs(_U)
    right = _U >= 0  # the right of the picture

    def sided(number: int) -> np.ndarray:
        """(17,) intensity along the mouth, blended over the middle."""
        return spread[-1][number] + (spread[1][number] - spread[-1][number]) * np.clip(0.5 + 0.8 * _U, 0, 1)

    x = np.where(right, corners[1][0], corners[-1][0]) * _U
    middle = centre_y + 0.02 * au[12] - 0.045 * au[17] - 0.01 * au[15] - 0.03 * au[10] - 0.02 * au[9] + 0.25 * drop
    line = middle + (centre_y + np.where(right, corners[1][1], corners[-1][1]) - middle) * u**1.7
    # the opening: AU 25 parts the lips, 26 and 27 let the jaw sink, 10 lifts the upper lip, 16 lowers the lower one
    rounding = (1 - u**2.4) ** (0.75 - 0.3 * max(au[27], 0.7 * au[26]))
    parted = np.clip(au[25] + au[26] + au[27], 0, 1)
    gap_up = (
        0.03 * parted + 0.05 * sided(10) * max(parted, 0.35) + 0.1 * drop / 0.13 * 0.35 + 0.025 * sided(9)
    ) * rounding
    gap_down = (0.045 * parted + 0.075 * au[16] + 0.95 * drop) * rounding
    gap_up *= min(1, parted + au[10] * 0.4 + au[16] * 0.5)
    thin = (1 - 0.5 * sided(23)) * (1 - 0.58 * sided(24)) * (1 - 0.25 * sided(20)) * (1 - 0.28 * sided(12))
    thin = thin * (1 - 0.2 * sided(14)) * identity.lip_fullness
    bow = 1 - 0.22 * np.exp(-((_U / 0.12) ** 2)) + 0.12 * np.exp(-(((u - 0.25) / 0.15) ** 2))
    upper_lip = 0.062 * thin * (1 - u**1.8) ** 0.8 * bow * (1 - 0.2 * sided(10)) + 0.004
    lower_lip = 0.085 * thin * (1 - u**2) ** 0.75 * (1 + 0.25 * sided(17)) + 0.004
    inner_up, inner_down = line - gap_up, line + gap_down
    outer_up, outer_down = inner_up - upper_lip, inner_down + lower_lip
    lips = identity.lips
    lip_dark = mix(lips, (50, 10, 15), 0.22)
    marks = [_Mark(INK, _between(x, outer_up, inner_up), lip_dark, 0, 0.05)]
    marks.append(_Mark(INK, _between(x, inner_down, outer_down), lips, 0, 0.05))
    shine = _ribbon(x[5:12], (inner_down + 0.45 * lower_lip)[5:12], 0.3 * lower_lip[5:12])
    marks.append(_Mark(INK, shine, mix(lips, (255, 225, 215), 0.28), 0, 0.06))
    gap = gap_up + gap_down
    if gap.max() > 0.012:
        marks.append(_Mark(INK, _between(x, inner_up, inner_down), (48, 14, 18), 0, 0.04))
        tongue = np.maximum(inner_down - np.maximum(gap - 0.12, 0) * 0.5 * (1 - u**2), inner_up)
        if gap.max() > 0.16:
            marks.append(_Mark(INK, _between(x, tongue, inner_down), (150, 66, 70), 0, 0.03))
        teeth = min(0.045 + 0.03 * au[12] + 0.02 * au[10] + 0.012 * au[9] + 0.015 * au[20], 0.085)
        edge = np.minimum(inner_up + teeth * (1 - u**4), inner_up + 0.92 * gap)
        inside = slice(1, -1)
        marks.append(_Mark(INK, _between(x[inside], inner_up[inside], edge[inside]), (234, 228, 214), 0, 0.04))
        low_teeth = 0.05 * max(au[16], au[20]) * parted + 0.02 * au[10] * parted
        if low_teeth > 0.012:
            rim = np.maximum(inner_down - low_teeth * (1 - u**4), inner_up + 0.8 * gap)
            marks.append(_Mark(INK, _between(x[2:-2], rim[2:-2], inner_down[2:-2]), (214, 206, 192), 0, 0.04))
    else:
        press = 0.018 + 0.014 * max(au[23], au[24], au[17])
        marks.append(_Mark(INK, np.stack([x, line], 1), mix(lips, (30, 5, 10), 0.7), press, 0.05))
    marks.append(_Mark(WIDE, _ribbon(x[4:13], outer_down[4:13] + 0.04, np.full(9, 0.03)), -0.14))
    marks += _mouth_folds(identity, shares, au, {s: (s * w, centre_y + d) for s, (w, d) in corners.items()}, drop)
    return marks


def _mouth_folds(identity, shares, au, corners, drop) -> list[_Mark]:
    """Nasolabial folds, cheeks, dimples, drooping corners, the chin. corners: side -> (x, y) of the mouth's corner."""
    marks = []
    wing_x, wing_y = 0.15 * identity.nose_width, _nose_tip(identity) - 0.02
    for side, own in shares.items():
        x, y = corners[side]
        raised = max(own[6], own[12])
        # the cheek bulges and rises with AU 6 and 12; the fold runs from the wing of the nose past the corner
        marks.append(
            _Mark(WIDE, _blob(side * 0.44 * identity.face_width, 0.2 - 0.06 * raised, 0.14, 0.09), 0.1 + 0.14 * raised)
        )
        marks.append(_Mark(WIDE, _blob(side * 0.55 * identity.face_width, 0.45, 0.09, 0.16), -0.1))
        fold = (
            0.14 * (1 - 0.8 * identity.cheeks)
            + 0.32 * identity.wrinkles
            + 0.3 * own[12]
            + 0.34 * own[10]
            + 0.32 * own[9]
            + 0.16 * own[20]
        )
        start = np.array([side * wing_x, wing_y - 0.05 * own[9] - 0.03 * own[10]])
        end = np.array([x + side * (0.07 + 0.03 * own[12]), y + 0.015 - 0.07 * max(own[9], own[10])])
        along = end - start
        outwards = np.array([along[1], -along[0]]) * side  # as long as the fold, upwards and away from the nose
        bulge = 0.12 + 0.1 * own[12] + 0.16 * max(own[9], own[10])
        path = start + _T[:, None] * along + (bulge * np.sin(np.pi * _T))[:, None] * outwards
        fold = min(fold, 0.62)
        marks.append(_Mark(FINE, path[:-1], -0.55 * fold, 0.024))
        marks.append(_Mark(FINE, path[1:-3], -fold, 0.03))
        marks.append(_Mark(WIDE, path, -0.4 * fold, 0.05))
        marks.append(_Mark(WIDE, path + (side * 0.075, -0.02), 0.16 * fold, 0.05))
        dimple = max(own[14], 0.45 * own[12])
        if dimple > 0.04:
            crescent = [(x + side * 0.035, y - 0.05), (x + side * 0.06, y), (x + side * 0.035, y + 0.055)]
            marks.append(_Mark(FINE, _curve(crescent), -0.6 * dimple, 0.034))
            marks.append(_Mark(WIDE, _blob(x + side * 0.1, y - 0.01, 0.035, 0.06), 0.16 * own[14]))
        droop = max(0.42 * own[15], 0.2 * own[20]) + 0.25 * identity.wrinkles + 0.2 * identity.sag
        if droop > 0.04:
            line = [(x + side * 0.015, y), (x + side * 0.045, y + 0.07), (x + side * 0.04, y + 0.15)]
            marks.append(_Mark(FINE, _curve(line), -droop, 0.026))
        if own[20] > 0.05:
            line = [(x + side * 0.06, y - 0.07), (x + side * 0.09, y), (x + side * 0.07, y + 0.09)]
            marks.append(_Mark(FINE, _curve(line), -0.32 * own[20], 0.024))
    depth = 0.45 * max(0.0, identity.wrinkles - 0.4)
    if depth:  # upright lines over the lips and curved ones in the cheeks
        middle = (corners[1][1] + corners[-1][1]) / 2
        for k in (-2, -1, 0, 1, 2):
            line = [(0.085 * k, middle - 0.15), (0.09 * k, middle - 0.085)]
            marks.append(_Mark(FINE, np.array(line), -depth, 0.014, 0.05))
        for side, (x, y) in corners.items():
            for row in range(2):
                away = x + side * (0.17 + 0.1 * row)
                line = [(away - side * 0.04, y - 0.24 + 0.1 * row), (away, y - 0.06), (away - side * 0.06, y + 0.14)]
                marks.append(_Mark(FINE, _curve(line), -depth, 0.02))
    if au[17] > 0.05:  # the chin boss: pushed up, pitted, with a curved furrow above it
        chin = _chin(identity, drop) - 0.01
        marks.append(_Mark(WIDE, _blob(0, chin, 0.12, 0.07), 0.14 * au[17]))
        furrow = [(-0.17, chin - 0.03), (-0.1, chin - 0.11), (0, chin - 0.125), (0.1, chin - 0.11), (0.17, chin - 0.03)]
        marks.append(_Mark(FINE, _curve(furrow), -0.4 * au[17], 0.03))
        for pit_x, pit_y in ((-0.06, -0.01), (0.05, -0.03), (0.0, 0.03), (-0.02, -0.05), (0.07, 0.02)):
            marks.append(_Mark(FINE, _blob(pit_x, chin + pit_y, 0.014, 0.012), -0.4 * au[17]))
    return marks


def _project(marks: list[_Mark], scene: Scene) -> list[np.ndarray]:
    """Each mark's points in picture widths, (n, 2)."""
    points = np.concatenate([m.points for m in marks])
    lengths = [len(m.points) for m in marks]
    x, y = points.T
    # an ellipsoid's front; its rim is kept off zero slope so that points beyond it stay put
    z = 0.62 * np.sqrt(np.maximum(1 - (x / 0.82) ** 2 - 0.55 * (y / 1.2) ** 2, 0.0)) + np.repeat(
        [m.lift for m in marks], lengths
    )
    yaw, pitch, roll = np.deg2rad((scene.yaw, scene.pitch, scene.roll))
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y = y * np.cos(pitch) - z * np.sin(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    scale = scene.zoom / 2.3  # face units across the picture
    projected = np.stack([x * scale + 0.5 + scene.shift[0], y * scale + 0.5 + scene.shift[1]], axis=1)
    return np.split(projected, np.cumsum(lengths)[:-1])


def _paint(canvas: np.ndarray, points: np.ndarray, mark: _Mark, value, scale: float) -> None:
    """One mark onto an 8-bit canvas, in place. scale: zoom over the canvas' width in face units."""
    fixed = np.rint((points * canvas.shape[0] - 0.5) * 64).astype(np.int32)[None]  # 6 fractional bits
    if mark.width:
        width = max(1, round(mark.width * scale * canvas.shape[0]))
        cv2.polylines(canvas, fixed, False, value, width, cv2.LINE_AA, 6)
    else:
        cv2.fillPoly(canvas, fixed, value, cv2.LINE_AA, 6)


def _shade(marks, projected, layer: int, side: int, sigma: float, scale: float) -> np.ndarray:
    """(side, side) float32 light to add, about -1 to 1: the layer's marks, softened."""
    canvas = np.full((side, side), 128, np.uint8)
    for mark, points in zip(marks, projected, strict=True):
        if mark.layer == layer:
            _paint(canvas, points, mark, round(128 + 127 * mark.amount), scale)
    return (cv2.GaussianBlur(canvas, (0, 0), sigma).astype(np.float32) - 128) / 127


def _light(scene: Scene, size: int) -> np.ndarray:
    """(size, size) float32 factor: a round head lit from scene.light."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    scale = 2.3 / scene.zoom
    x = 1.2 * np.tanh((axis - scene.shift[0]) * scale / 0.95 / 1.2)[None]
    y = 1.2 * np.tanh((axis - scene.shift[1]) * scale / 1.25 / 1.2)[:, None]
    factor = 1.04 + 0.75 * (scene.light[0] * x + scene.light[1] * y) - 0.16 * (x * x + y * y)
    return np.clip(factor, 0.12, 1.7).astype(np.float32)


def draw_face(action_units, identity: Identity = AVERAGE, scene: Scene = FRONTAL, size: int = 96) -> np.ndarray:
    """A drawn face, (size, size, 3) uint8 RGB, the same for the same arguments.

    action_units: {AU number: intensity 0-1, or a pair (left, right) of the person's sides}, or the array of
    `action_unit_array`. ValueError: unknown action unit, intensity outside 0-1, size below 8.
    """
    if size < 8:
        raise ValueError(f"a face needs at least 8 pixels, not {size}")
    array = action_unit_array(action_units)
    halves, au = _sides(array), _both(array)
    outline = _outline(identity, _jaw_drop(au))
    marks = _head(identity, au, outline) + _nose(identity, halves) + _mouth(identity, halves, au)
    for half in halves:
        marks += _eye(identity, half, scene.gaze)
        marks += _brow(identity, half)
    marks += _hair(identity)
    return _render(marks, scene, size)


def _render(marks: list[_Mark], scene: Scene, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB, drawn at up to three times that size, a tiny one at 96 pixels and more."""
    side = size * max(3 if size <= 96 else 2 if size <= 320 else 1, -(-96 // size))
    scale = scene.zoom / 2.3
    projected = _project(marks, scene)
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.linspace(1.08, 0.86, side)[:, None, None] * np.clip(scene.background, 0, 230)
    for mark, points in zip(marks, projected, strict=True):
        if mark.layer == BASE:
            _paint(canvas, points, mark, mark.amount, scale)
    half = max(side // 3, 24)  # broad shading has no detail to lose
    shade = cv2.resize(_shade(marks, projected, WIDE, half, 0.022 * half, scale), (side, side))
    shade += _shade(marks, projected, FINE, side, max(0.0045 * side, 0.4), scale)
    canvas = np.clip(canvas * (1 + 0.9 * shade)[..., None], 0, 255).astype(np.uint8)
    for mark, points in zip(marks, projected, strict=True):
        if mark.layer == INK:
            _paint(canvas, points, mark, mark.amount, scale)
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    picture *= (_light(scene, size) * scene.exposure)[..., None]
    picture = (picture - 128) * scene.contrast + 128
    if scene.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), max(scene.blur * size, 0.1))
    if scene.noise:
        grain = np.random.default_rng(scene.noise_seed).standard_normal((size, size, 1), np.float32)
        picture += scene.noise * grain
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
