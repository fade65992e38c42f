"""Made films with known truth: who is where in every frame, to count what a tracker confuses.

    for name, scene in make_scenes().items():
        truth, tracked = track_scene(scene, make_detector(), Tracker())
        print(name, mistakes(truth, tracked))

Two real faces, cut out of portraits, move before a painted ground.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.images import read_image

PHOTOS = tuple(
    Path(__file__).resolve().parents[1] / "test_photo" / name for name in ("astronaut.png", "grace_hopper.jpg")
)
FACES = {
    "astronaut": (224.5, 116.5, 101),
    "grace_hopper": (268, 215.5, 202),
}  # centre x, y, side as BlazeFace frames them
HEAD = (0.72, 0.95, -0.1)  # half axes of the ellipse that is cut out and its centre's shift down, in sides of the face
WIDTH, HEIGHT = 640, 360
SIDE = 96.0  # px of a face at size 1
SWAY_S, SWAY = 1.3, 0.04  # period, and sides to either way: nobody stands quite still
SEEN = 0.5  # of the head: less of it counts as hidden
OVERLAP = 0.5  # intersection over union from which a tracked box is that of the true face (MOT16, Milan et al. 2016)
LAST_S = 0.015  # so long before its cut a shot is taken to fade; who leaves with it is there until 0.01 s before

Key = tuple[float, float, float, float]  # time in s, x and y of the face's centre in px, size


@dataclass(frozen=True)
class Role:
    """Someone in a scene: a person, on straight lines from key to key; there from the first key to the last."""

    person: int  # of the scene's portraits
    keys: tuple[Key, ...]
    identity: int | None = None  # in the truth; the person's number when None


@dataclass(frozen=True, eq=False)
class Scene:
    """A film of 640x360 pixels. Later roles stand in front of earlier ones, walls in front of all."""

    times: np.ndarray  # (T,) seconds, increasing
    roles: tuple[Role, ...]
    portraits: tuple[Portrait, ...]
    walls: tuple[tuple[int, int], ...] = ()  # columns from, to
    cuts: tuple[float, ...] = ()  # seconds at which the ground becomes another
    fade_s: float = 0.0  # for so long about each cut the two shots are blended, both standing still at the cut

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray, Faces]]:
        """(time_s, image (360, 640, 3) uint8 RGB, the true faces with track_id as identity) of each frame."""
        grounds = [_ground(seed) for seed in range(len(self.cuts) + 1)]

        def shown(time_s: float) -> tuple[np.ndarray, Faces]:
            image = grounds[int(np.searchsorted(self.cuts, time_s, side="right"))].copy()
            return image, self._paint(image, time_s)

        for time_s in self.times.tolist():
            if (cut := self.fading(time_s)) is None:
                yield time_s, *shown(time_s)
                continue
            share = (time_s - cut) / self.fade_s + 0.5
            (before, faces), (after, later) = shown(cut - LAST_S), shown(cut)
            yield time_s, cv2.addWeighted(after, share, before, 1 - share, 0), faces if share < 0.5 else later

    def fading(self, time_s: float) -> float | None:
        """The cut about which two shots are blended at this time, if there is one."""
        return next((cut for cut in self.cuts if abs(time_s - cut) < self.fade_s / 2), None)

    def _paint(self, image: np.ndarray, time_s: float) -> Faces:
        in_front = np.full(image.shape[:2], -1, np.int16)  # the role that each pixel shows
        cast = []
        for index, role in enumerate(self.roles):
            times, *columns = np.array(role.keys).T
            if times[0] <= time_s <= times[-1]:
                x, y, size = (float(np.interp(time_s, times, column)) for column in columns)
                side = size * SIDE
                x += SWAY * side * np.sin(2 * np.pi * (time_s / SWAY_S + index / 3))
                area = self.portraits[role.person].paint(image, in_front, index, x, y, side)
                cast.append((index, role, area, (x - side / 2, y - side / 2, x + side / 2, y + side / 2)))
        for left, right in self.walls:
            image[:, left:right] = _ground(99)[:, left:right]
            in_front[:, left:right] = -1
        seen = [it for it in cast if (in_front == it[0]).sum() >= SEEN * it[2]]
        xyxy = np.array([box for *_, box in seen]).reshape(-1, 4).round().astype(np.int32)
        ids = [role.person if role.identity is None else role.identity for _, role, *_ in seen]
        return Faces(xyxy, np.ones(len(seen), np.float32), track_id=np.array(ids, np.int32))


class Portrait:
    """The head of a photograph, cut out with a soft edge.

    path: a picture of FACES, or with `face`, the centre x, y and side of its box in pixels.
    """

    def __init__(self, path: str | Path, face: tuple[float, float, float] | None = None):
        face = FACES.get(Path(path).stem) if face is None else face
        if face is None:
            raise InputError(f"{path}: where is the face? give its centre and side, or use {', '.join(FACES)}")
        self.x, self.y, self.side = face
        image = read_image(path)
        across, down, shift = HEAD
        mask = np.zeros(image.shape[:2], np.uint8)
        centre, axes = (self.x, self.y + shift * self.side), (across * self.side, down * self.side)
        cv2.ellipse(mask, (centre, (2 * axes[0], 2 * axes[1]), 0), 255, -1, cv2.LINE_AA)
        self._picture = np.dstack([image, cv2.GaussianBlur(mask, (0, 0), self.side / 40)])

    def paint(self, image: np.ndarray, in_front: np.ndarray, index: int, x: float, y: float, side: float) -> int:
        """Paint the head with its face's box about (x, y) and note `index` where it covers; returns its whole area."""
        scale = side / self.side
        half = int(np.ceil((HEAD[1] + abs(HEAD[2])) * side)) + 4
        left, top = round(x) - half, round(y) - half
        move = np.array([[scale, 0, x - left - scale * self.x], [0, scale, y - top - scale * self.y]])
        smaller = self._picture
        while scale < 0.5:  # halved before, so that it is averaged and not thinned out
            smaller, scale = cv2.resize(smaller, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), scale * 2
            move[:, :2] *= 2
        head = cv2.warpAffine(smaller, move, (2 * half, 2 * half), flags=cv2.INTER_LINEAR)
        area = int((head[..., 3] > 127).sum())
        a, b = max(top, 0), min(top + 2 * half, image.shape[0])
        c, d = max(left, 0), min(left + 2 * half, image.shape[1])
        if a < b and c < d:
            head = head[a - top : b - top, c - left : d - left]
            alpha = head[..., 3:] / np.float32(255)
            under = image[a:b, c:d]
            image[a:b, c:d] = np.round(under + alpha * (head[..., :3] - under.astype(np.float32))).astype(np.uint8)
            in_front[a:b, c:d][head[..., 3] > 127] = index
        return area


def _ground(seed: int) -> np.ndarray:
    """(360, 640, 3) uint8: soft coloured clouds with some grain, for each seed others."""
    rng = np.random.default_rng(seed)
    clouds = rng.integers(30, 200, (5, 8, 3), np.uint8)
    grain = rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    ground = cv2.resize(clouds, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground + grain, 0, 255).astype(np.uint8)


def make_scenes(photos=PHOTOS, rate: float = 25.0) -> dict[str, Scene]:
    """The scenes by name; each poses one difficulty. photos: two of FACES. rate: frames per second."""
    portraits = tuple(Portrait(photo) for photo in photos)

    def scene(seconds: float, *roles: Role, **rest) -> Scene:
        return Scene(np.arange(round(seconds * rate)) / rate, roles, portraits, **rest)

    passing = (
        Role(0, ((0.0, 90.0, 170.0, 1.0), (4.0, 550.0, 170.0, 1.0))),
        Role(1, ((0.0, 550.0, 190.0, 1.2), (4.0, 90.0, 190.0, 1.2))),
    )
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 15, 1 / 8], 400, p=[0.3, 0.4, 0.2, 0.1]))
    return {
        "still camera": scene(
            3, Role(0, ((0, 200, 180, 1), (3, 205, 178, 1))), Role(1, ((0, 430, 190, 1.1), (3, 430, 185, 1.1)))
        ),
        "crossing": scene(4, *passing),
        "crossing, variable rate": Scene(steps[steps < 4], passing, portraits),
        "crossing, fast": scene(
            1.6, Role(0, ((0, 70, 170, 1), (1.6, 570, 170, 1))), Role(1, ((0, 570, 190, 1.1), (1.6, 70, 190, 1.1)))
        ),
        "crossing of twins": scene(4, passing[0], Role(0, ((0, 550, 185, 1.1), (4, 90, 185, 1.1)), identity=1)),
        "meeting and turning back": scene(
            5,
            Role(0, ((0, 90, 170, 1), (2.3, 310, 170, 1), (2.7, 310, 170, 1), (5, 90, 170, 1))),
            Role(1, ((0, 550, 190, 1.2), (2.3, 330, 190, 1.2), (2.7, 330, 190, 1.2), (5, 550, 190, 1.2))),
        ),
        "behind a wall": scene(
            4.5,
            Role(0, ((0, 80, 180, 1), (4.5, 560, 180, 1))),
            walls=((240, 400),),
        ),
        "two behind a wall": scene(
            4.5,
            Role(0, ((0, 80, 105, 0.9), (4.5, 560, 105, 0.9))),
            Role(1, ((0, 560, 250, 0.9), (4.5, 80, 250, 0.9))),
            walls=((245, 395),),
        ),
        "leaving and coming back": scene(
            6,
            Role(
                0,
                (
                    (0, 200, 180, 1),
                    (0.8, 200, 180, 1),
                    (2, -120, 180, 1),
                    (3.6, -120, 150, 1),
                    (4.8, 180, 150, 1),
                    (6, 200, 160, 1),
                ),
            ),
            Role(1, ((0, 470, 190, 1.1), (6, 460, 190, 1.1))),
        ),
        "cuts": scene(
            4.5,
            Role(0, ((0, 320, 180, 1.2), (1.5, 330, 180, 1.2))),
            Role(1, ((1.5, 325, 185, 1.2), (2.99, 320, 185, 1.2))),
            Role(0, ((3, 220, 180, 1.0), (4.5, 225, 180, 1.0))),
            Role(1, ((3, 430, 180, 1.0), (4.5, 430, 180, 1.0))),
            cuts=(1.5, 3.0),
        ),
        "dissolves": scene(
            4.5,
            Role(0, ((0, 320, 180, 1.2), (1.49, 330, 180, 1.2))),
            Role(1, ((1.5, 325, 185, 1.2), (2.99, 320, 185, 1.2))),
            Role(0, ((3, 220, 180, 1.0), (4.5, 225, 180, 1.0))),
            Role(1, ((3, 430, 180, 1.0), (4.5, 430, 180, 1.0))),
            cuts=(1.5, 3.0),
            fade_s=0.4,
        ),
    }


def track_scene(scene: Scene, detect: Callable, tracker, every: int = 1) -> tuple[list[Faces], list[Faces]]:
    """(truth, tracked), one Faces per frame each; between every-th frames the tracker says where the faces are.

    Frames in which one shot fades into another are seen by the tracker and left out of both: they show two truths.
    """
    truth, tracked = [], []
    for index, (time_s, image, faces) in enumerate(scene):
        found = tracker.boxes(time_s, image) if index % every else tracker(detect(image), time_s, image)
        if scene.fading(time_s) is None:
            truth.append(faces)
            tracked.append(found)
    return truth, tracked


def mistakes(truth: list[Faces], tracked: list[Faces]) -> dict[str, int]:
    """What a tracker confused: counts over all frames, by the definitions of CLEAR MOT (Bernardin & Stiefelhagen 2008).

    In each frame true and tracked boxes whose overlap is OVERLAP or more are paired: first those that were a pair the
    last time the identity was tracked, then as many as possible with the highest overlap, as TrackEval does it (Luiten
    & Hoffhues 2020).

    switches: an identity is tracked under another id than the last time. fragmentations: an identity is tracked again
    after frames in which it was not, be it hidden or missed; most_fragmentations: of one identity. shared: ids that
    were given to more than one identity, of which switches know nothing when the identities come one after the other.
    faces, missed, false: true boxes, those without a pair, and tracked boxes without one.
    """
    last: dict[int, int] = {}  # identity: id it was tracked under
    before: set[int] = set()  # identities tracked in the last frame
    starts: dict[int, int] = {}
    owners: dict[int, set[int]] = {}
    switches = missed = false = 0
    for true, found in zip(truth, tracked, strict=True):
        overlap = overlaps(true.xyxy, found.xyxy)
        identities, ids = true.track_id.tolist(), found.track_id.tolist()
        known = np.array([[last.get(identity) == track for track in ids] for identity in identities])
        score = np.where(overlap >= OVERLAP, overlap + 1000 * known.reshape(overlap.shape), 0)
        pairs = [(identities[i], ids[j]) for i, j in zip(*linear_sum_assignment(-score), strict=True) if score[i, j]]
        for identity, track in pairs:
            switches += last.get(identity, track) != track
            starts[identity] = starts.get(identity, 0) + (identity not in before)
            last[identity] = track
            owners.setdefault(track, set()).add(identity)
        before = {identity for identity, _ in pairs}
        missed, false = missed + len(true) - len(pairs), false + len(found) - len(pairs)
    return {
        "switches": switches,
        "fragmentations": sum(count - 1 for count in starts.values()),
        "most_fragmentations": max((count - 1 for count in starts.values()), default=0),
        "shared": sum(len(persons) > 1 for persons in owners.values()),
        "faces": sum(len(faces) for faces in truth),
        "missed": missed,
        "false": false,
    }


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) float64: intersection over union of (N, 4) and (M, 4) boxes x1, y1, x2, y2."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(sides, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
