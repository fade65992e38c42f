"""The same person keeps its number from frame to frame, and its probabilities do not flicker.

    tracker, smoother = Tracker(), Smoother()
    faces = tracker(detector(image), time_s, image)   # + track_id
    faces = tracker.boxes(time_s)                      # where they are by now, on a frame that no detector saw
    faces = smoother(recognise(image, faces), time_s)  # emotion and va smoothed, emotion_raw as they came

All times are seconds of the video's own clock, so that variable frame rates and skipped frames need no special care.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fer_lib.detect import crop_faces
from fer_lib.faces import Faces

LONGEST_GAP_S = 4.0  # a face missing for longer is somebody new
SURE_GAP_S = 0.5  # a face unseen for longer must look alike too, not only be where it was expected
LOOK_EVERY_S = 0.5  # how often the look of a face that stands alone is learnt
CONFIRM_S = 0.2  # where one shot fades into another, two calls that are closer must tell of another face
LOOK_SHARE = 0.3  # of the newest look in the running mean
# Cosine of two looks, describe_looks(). Of CK+ faces, one person's in two recordings agree in 91 % of pairs, those of
# two persons before the same wall in the same light in 24 %; by UTKFace photos, those of two persons in 0.5 %.
AGREE = 0.88
PLACE_HELPS = 0.35  # share by which a look need agree less just where a face is expected: it returns half hidden

# Motion, in sides of the face (the geometric mean of width and height)
JITTER = 0.05  # standard deviation of a detector's box
SPEED = 2.0  # sides/s, of a face seen once
AGITATION = 4.0  # side^2/s^3, white acceleration: after a second without a detection the place is known to a side
COAST_S = 1.0  # an unseen face moves on for so long, then waits: few walk on straight for longer
SIZE_SHARE = 0.5  # of the newest box in the size of the face
SIZE_SPREAD = 0.35  # of the logarithm of two sizes that may be one face
GATE = 4.0  # standard deviations
REACH = 1.5  # the gate is never wider: further off, only the look can tell

LOOK_MARGIN = 0.15  # of the box per side: the best of 0, 0.15, 0.3 and 0.5 on those CK+ faces
COLOUR_WEIGHT = 2.0  # of the chromaticities beside the grey levels

LOOK_WEIGHT = 2.0  # highest cost of a look that does not agree; that of a place is 1
MISSED_COST = 0.2  # so that, all else equal, the face seen in the last call comes before one that was hidden
GONE_COST = 0.5  # more where it was hidden for more than SURE_GAP_S
LIMIT = 4.0  # above the sum of all: no match
CUT_CORRELATION = 0.5  # of two thumbnails; the next frame of the same shot has 0.9 and more
CHANGE_CORRELATION = 0.9  # below it a look may be mixed with another's, as one shot fades into another

SMOOTH_S = 0.3
SMOOTH_GAP_S = 1.0  # after that long the old probabilities say nothing about the new ones


@dataclass(eq=False)
class _Track:
    """One face over time, in plain numbers: numpy is slow on so few. x and y share their covariance."""

    track_id: int
    x: float  # px, the box's centre
    y: float
    width: float  # px
    height: float
    score: float
    roll: float | None
    seen_s: float
    missed_s: float | None = None  # of the first call without it; None: it was seen in the last one
    x_speed: float = 0.0  # px/s
    y_speed: float = 0.0
    place_var: float = JITTER**2  # sides^2
    both_var: float = 0.0  # sides^2/s
    speed_var: float = SPEED**2  # sides^2/s^2
    look: np.ndarray | None = None  # (P, D), each part of length 1
    looked_s: float = -np.inf
    thumbnail: np.ndarray | None = None  # of the picture in which the look was learnt last
    doubt: np.ndarray | None = None  # what it looked like at doubted_s, when that was not its look
    doubted_s: float = np.inf
    changing_s: float = np.inf  # since then the picture is not that of the thumbnail any more
    settled_s: float = np.inf  # until then its first look is replaced: it may have begun within a fade

    def box_at(self, time_s: float) -> tuple[float, float, float, float]:
        """Centre x and y, width and height, expected at a time."""
        gap = min(time_s - self.seen_s, COAST_S)
        return self.x + gap * self.x_speed, self.y + gap * self.y_speed, self.width, self.height

    def variances_at(self, time_s: float) -> tuple[float, float, float]:
        gap = time_s - self.seen_s
        return (
            self.place_var + 2 * gap * self.both_var + gap**2 * self.speed_var + AGITATION * gap**3 / 3,
            self.both_var + gap * self.speed_var + AGITATION * gap**2 / 2,
            self.speed_var + AGITATION * gap,
        )

    def see(self, box: tuple[float, ...], score: float, roll: float | None, time_s: float) -> None:
        """Kalman's update with a new box (white-noise acceleration; Bar-Shalom, Li & Kirubarajan 2001, 6.2)."""
        x, y, width, height = self.box_at(time_s)
        place_var, both_var, speed_var = self.variances_at(time_s)
        total = place_var + JITTER**2 + _grown(box, (x, y, width, height)) ** 2  # half a face's box jumps and swells
        gain, speed_gain = place_var / total, both_var / total
        self.x, self.y = x + gain * (box[0] - x), y + gain * (box[1] - y)
        self.x_speed, self.y_speed = self.x_speed + speed_gain * (box[0] - x), self.y_speed + speed_gain * (box[1] - y)
        self.place_var, self.both_var = place_var * (1 - gain), both_var * (1 - gain)
        self.speed_var = speed_var - speed_gain * both_var
        self.width, self.height = width + SIZE_SHARE * (box[2] - width), height + SIZE_SHARE * (box[3] - height)
        self.score, self.roll, self.seen_s = score, roll, time_s

    def learn(self, look: np.ndarray, time_s: float, thumbnail: np.ndarray, agree: float) -> bool:
        """Learn a look when it agrees, or else when it has settled; False when it is that of somebody else.

        It is somebody else's when the picture, too, is another than that in which the look was learnt last: one shot
        has faded into the other. A head that has turned, in the same picture, is learnt when it is held. While the
        picture changes nothing is learnt for LOOK_EVERY_S, as a look that agrees may be mixed with another's already.
        """
        likeness = 1.0 if self.thumbnail is None else _likeness(self.thumbnail, thumbnail)
        self.looked_s = time_s
        if self.look is None or time_s < self.settled_s:
            mean = look
        else:
            mean = (1 - LOOK_SHARE) * self.look + LOOK_SHARE * look
            held = self.doubt is not None and time_s - self.doubted_s >= LOOK_EVERY_S
            if _alike(self.look, look) >= agree:
                self.doubt = None
                if CUT_CORRELATION <= likeness < CHANGE_CORRELATION:
                    self.changing_s = min(self.changing_s, time_s)
                    if time_s - self.changing_s < LOOK_EVERY_S:
                        return True
            else:
                settled = held and _alike(self.doubt, look) >= agree
                if self.doubt is None or held:
                    self.doubt, self.doubted_s = look, time_s
                if likeness < CUT_CORRELATION:
                    return False
                if not settled:
                    return True
        self.look, self.thumbnail, self.changing_s = _unit(mean), thumbnail, np.inf
        return True


class Tracker:
    """Gives the faces of a video their track_id: int32, from 0 in order of appearance, never used twice.

    Motion: a constant-velocity Kalman filter per face as in SORT (Bewley et al. 2016). A box belongs to the face whose
    expected box it overlaps or lies nearest to, all of a frame at once (Hungarian method). Where that leaves a choice
    (two faces near one box or the reverse), where a face was away for more than SURE_GAP_S, and after a cut, the looks
    must agree too. Looks are asked for there, and of each face that stands alone twice a second and while the picture
    changes, so that a costly `describe` is rarely called with a camera at rest.

    Where one shot fades into another, who looks otherwise in another picture is somebody else, and who is known from
    before gets the old number back as soon as the look is clear. Within the fade the two cannot be told apart: the new
    number begins 0 to 0.12 s after its middle, as measured with a call every 0.04 s on a fade of 0.3 s, and one or two
    calls later with fewer; see `fading`.

    describe: (image, Faces) -> (N, D) float array, one description per face, compared by cosine; or (N, P, D), of P
        parts of which the most alike counts, as the others may be hidden. describe_looks by default; an identity
        network fits here.
    agree: the cosine from which two descriptions are those of one person; AGREE is for describe_looks.
    longest_gap_s: a face that was missing for longer gets a new id.

    Without pictures, place and motion alone decide, nothing is known of cuts, and a face returns where it was expected.
    """

    def __init__(
        self,
        describe: Callable[[np.ndarray, Faces], np.ndarray] | None = None,
        agree: float = AGREE,
        longest_gap_s: float = LONGEST_GAP_S,
    ):
        self._describe = describe_looks if describe is None else describe
        self._agree = agree
        self._longest_gap_s = longest_gap_s
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._time_s = self._before_s = -np.inf  # of the last call, and of the one before
        self._cut = False  # since the last call
        self._fading = False  # in the last call
        self._thumbnail: np.ndarray | None = None
        self._shape: tuple[int, int] | None = None

    def __call__(self, faces: Faces, time_s: float, image: np.ndarray | None = None) -> Faces:
        """The same faces with their track_id. faces: what a detector found in one frame, in any order.

        time_s: of the frame; one that goes back counts as the last one. image: that frame, (H, W, 3) uint8 RGB.
        """
        self._before_s, self._time_s = self._time_s, max(float(time_s), self._time_s)
        time_s = self._time_s
        longest = self._longest_gap_s  # a face of the last picture has not been missing, however long that one stood
        self._tracks = [it for it in self._tracks if it.missed_s is None or time_s - it.missed_s <= longest]
        cut = self._cut or (image is not None and self._is_cut(image))
        self._cut = self._fading = False
        boxes = [_whole(*box, self._shape) for box in faces.xyxy.tolist()]
        rolls = [None] * len(faces) if faces.roll is None else faces.roll.tolist()
        looks = _Looks(self._describe, image, faces, boxes)
        touching = [any(_overlap(a, b) > 0 for b in boxes if b is not a) for a in boxes]
        matches, apart = self._match(boxes, np.array(touching, bool), time_s, cut, looks)
        newest = []
        for i, (box, score, roll) in enumerate(zip(boxes, faces.score.tolist(), rolls, strict=True)):
            track = matches.get(i)
            if track is None:
                track = self._begun(box, score, roll)
            else:
                track.see(box, score, roll, time_s)
            newest.append(track)
        alone = [apart[i] or track.looked_s < track.settled_s and not touching[i] for i, track in enumerate(newest)]
        due = [i for i, track in enumerate(newest) if alone[i] and self._is_due(track)] if image is not None else []
        for i, look in zip(due, looks(due), strict=True):
            track, doubted = newest[i], newest[i].doubt is not None
            if track.looked_s < track.settled_s:
                self._recognised(track, look)
            if track.learn(look, time_s, self._thumbnail, self._agree) or (
                not doubted and time_s - self._before_s < CONFIRM_S  # a face that fades away is gone in the next call
            ):
                self._fading |= track.doubt is not None and self._is_changing(track)
                continue
            track.seen_s = self._before_s  # somebody else has taken the place while one shot faded into another
            track = newest[i] = self._begun(boxes[i], track.score, track.roll)
            self._recognised(track, look)
            track.learn(look, time_s, self._thumbnail, self._agree)
        for track in self._tracks:
            if track.seen_s == time_s:
                track.missed_s = None
            elif track.missed_s is None:
                track.missed_s = time_s
        return replace(faces, track_id=np.array([track.track_id for track in newest], np.int32))

    def _recognised(self, track: _Track, look: np.ndarray) -> None:
        """Give a face that began within a fade the number of who is missing, whom it looks like by now."""
        missing = [it for it in self._tracks if it.look is not None and it.seen_s < self._time_s]
        likest = max(missing, key=lambda it: _alike(it.look, look), default=None)
        if likest is not None and _alike(likest.look, look) >= self._agree:
            self._tracks.remove(likest)
            track.track_id, track.look, track.settled_s = likest.track_id, likest.look, -np.inf

    def _begun(self, box: tuple[float, ...], score: float, roll: float | None) -> _Track:
        track = _Track(self._next_id, *box, score, roll, self._time_s, settled_s=self._time_s + LOOK_EVERY_S)
        self._tracks.append(track)
        self._next_id += 1
        return track

    def boxes(self, time_s: float, image: np.ndarray | None = None) -> Faces:
        """Where the faces of the last call are at time_s, for a frame without a detection: xyxy, score, track_id, roll.

        They move on with their velocity for at most COAST_S; score and roll are the last ones. Boxes are cut at the
        picture's edges, when pictures were given; a face that has left is left out. image: that frame, to see a cut,
        after which no face is known until the next call.
        """
        self._cut = self._cut or (image is not None and self._is_cut(image))
        tracks = [track for track in self._tracks if track.seen_s == self._time_s and not self._cut]
        if not tracks:
            return replace(Faces.empty(), track_id=np.zeros(0, np.int32))
        time_s = max(float(time_s), self._time_s)
        corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (t.box_at(time_s) for t in tracks)]
        xyxy = np.array(corners).round().astype(np.int32)
        if self._shape is not None:
            height, width = self._shape
            xyxy = np.clip(xyxy, 0, [width, height, width, height]).astype(np.int32)
        faces = Faces(
            xyxy,
            np.array([t.score for t in tracks], np.float32),
            track_id=np.array([t.track_id for t in tracks], np.int32),
            roll=None if tracks[0].roll is None else np.array([t.roll for t in tracks], np.float32),
        )
        return faces[(xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])]

    @property
    def cut(self) -> bool:
        """Whether boxes() has seen a cut since the last call: then the faces must be detected anew."""
        return self._cut

    @property
    def fading(self) -> bool:
        """Whether somebody else seems to have come with another shot: the next frame tells, and should be detected."""
        return self._fading

    def _is_cut(self, image: np.ndarray) -> bool:
        """Whether this picture has nothing in common with the last one."""
        before, self._shape = self._thumbnail, image.shape[:2]
        few = cv2.resize(image, (128, 72), interpolation=cv2.INTER_NEAREST)  # area averages of all of it are slow
        small = cv2.resize(few, (16, 9), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        small -= small.mean()
        self._thumbnail = small
        return before is not None and _likeness(before, small) < CUT_CORRELATION

    def _is_due(self, track: _Track) -> bool:
        """Whether it is time to look at a face: now and then, and when the picture has become another one meanwhile."""
        return self._time_s - track.looked_s >= LOOK_EVERY_S or self._is_changing(track)

    def _is_changing(self, track: _Track) -> bool:
        """Whether the picture is becoming another one than that in which the look of a face was learnt."""
        return _likeness(track.thumbnail, self._thumbnail) < CHANGE_CORRELATION

    def _match(
        self, boxes: list, touching: np.ndarray, time_s: float, cut: bool, looks: _Looks
    ) -> tuple[dict[int, _Track], np.ndarray]:
        """({row of boxes: its track}, (N,) bool whether the row is far from all faces but its own)."""
        tracks = self._tracks
        near = np.array([[_nearness(track, box, time_s) for box in boxes] for track in tracks])
        near = near.reshape(len(tracks), len(boxes))
        close = near > 0
        crowded = close & ((close.sum(axis=0) > 1) | (close.sum(axis=1) > 1)[:, None])
        apart = ~(touching | crowded.any(axis=0))
        missed = np.array([track.seen_s < self._before_s for track in tracks], bool)[:, None]
        gone = np.array([time_s - track.seen_s > SURE_GAP_S for track in tracks], bool)[:, None]
        sure = close & ~gone & (not cut)  # for these the place is enough, when there is no choice
        settled = apart & sure.any(axis=0)
        if settled.all():
            return {i: tracks[sure[:, i].argmax()] for i in range(len(boxes))}, apart
        cost = 1 - near + MISSED_COST * missed + GONE_COST * gone
        if not looks.possible:
            cost[~close] = LIMIT
        else:
            known = np.array([track.look is not None for track in tracks], bool)
            rows = np.flatnonzero(~settled)
            alike = np.full(near.shape, np.nan)
            if known.any():
                means = np.stack([track.look for track in tracks if track.look is not None])
                alike[np.ix_(known, rows)] = np.einsum("tpd,npd->tnp", means, looks(rows)).max(axis=2)
            cost += np.nan_to_num(np.clip((1 - alike) / (1 - self._agree), 0, LOOK_WEIGHT), nan=0.0)
            unknown = close & ~known[:, None] & (not cut)  # a look that was never learnt disproves nothing
            enough = self._agree * (1 - PLACE_HELPS * (0 if cut else near))
            cost[~sure & ~unknown & ~(alike >= enough)] = LIMIT
        from scipy.optimize import linear_sum_assignment  # here, since it takes 0.3 s and a face alone never needs it

        # What may not match costs as much as no match at all, so that it never pushes a good pair apart
        pairs = zip(*linear_sum_assignment(np.minimum(cost, LIMIT)), strict=True)
        return {int(i): tracks[t] for t, i in pairs if cost[t, i] < LIMIT}, apart


class _Looks:
    """Looks of the faces of one frame, each computed at most once and only when asked for."""

    def __init__(self, describe: Callable, image: np.ndarray | None, faces: Faces, boxes: list):
        self.possible = image is not None
        corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in boxes]
        faces = replace(faces, xyxy=np.array(corners).reshape(-1, 4).round().astype(np.int32))
        self._describe, self._image, self._faces = describe, image, faces
        self._known: dict[int, np.ndarray] = {}

    def __call__(self, rows) -> np.ndarray:
        """(len(rows), P, D), each part of length 1."""
        new = [int(i) for i in rows if int(i) not in self._known]
        if new:
            looks = np.asarray(self._describe(self._image, self._faces[np.array(new)]), np.float64)
            looks = _unit(looks[:, None] if looks.ndim == 2 else looks)
            self._known |= dict(zip(new, looks, strict=True))
        return np.array([self._known[int(i)] for i in rows])


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two thumbnails; 1 where one of them shows nothing."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else 1.0


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of the parts (P, D) of two looks that are most alike."""
    return float((a * b).sum(axis=1).max())


def _overlap(a, b) -> float:
    """Intersection over union of two boxes, each (centre x, centre y, width, height)."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _grown(a, b) -> float:
    """Logarithm of the ratio of two boxes' sides."""
    return math.log(a[2] * a[3] / (b[2] * b[3])) / 2


def _whole(x1: int, y1: int, x2: int, y2: int, shape: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """Centre and size of a box; what the picture's edge has cut off a face is put back, as far as a square."""
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    if shape is not None and width < height and (x1 <= 0) != (x2 >= shape[1]):
        x, width = (x2 - height / 2 if x1 <= 0 else x1 + height / 2), height
    elif shape is not None and height < width and (y1 <= 0) != (y2 >= shape[0]):
        y, height = (y2 - width / 2 if y1 <= 0 else y1 + width / 2), width
    return x, y, width, height


def _nearness(track: _Track, box, time_s: float) -> float:
    """In [0, 1]: how well a box fits where a face is expected, by overlap or by distance; 0: out of reach."""
    expected = track.box_at(time_s)
    area = expected[2] * expected[3]
    variance = min(track.variances_at(time_s)[0] + 2 * JITTER**2, (REACH / GATE) ** 2)
    moved = ((box[0] - expected[0]) ** 2 + (box[1] - expected[1]) ** 2) / area / variance
    return max(1 - (moved + (_grown(box, expected) / SIZE_SPREAD) ** 2) / GATE**2, _overlap(expected, box))


def describe_looks(image: np.ndarray, faces: Faces) -> np.ndarray:
    """(N, 2, 88) float64: the left and the right half of each face, as two parts of which one may be hidden.

    Of each half 12x6 grey levels without their mean, of length 1, and 4x2 chromaticities. Their cosine does not depend
    on the brightness or the contrast. It tells the two persons in a picture from each other and knows a face again
    after seconds; it is no identification: see AGREE.
    """
    crops = crop_faces(image, faces, 12, LOOK_MARGIN).astype(np.float64)
    halves = crops.reshape(len(crops), 12, 2, 6, 3).transpose(0, 2, 1, 3, 4)
    grey = halves.mean(axis=4).reshape(len(crops), 2, 72)
    grey = _unit(grey - grey.mean(axis=2, keepdims=True))
    cells = halves.reshape(len(crops), 2, 4, 3, 2, 3, 3).mean(axis=(3, 5))
    chromaticity = cells / (cells.sum(axis=4, keepdims=True) + 30) - 1 / 3  # 30: dark pixels have hardly any colour
    return np.concatenate([grey, COLOUR_WEIGHT * chromaticity[..., :2].reshape(len(crops), 2, 16)], axis=2)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Along the last axis of length 1, or 0 where there is nothing."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


class Smoother:
    """Exponential smoothing of each face's emotions, valence and arousal, with a time constant in seconds.

    A change is followed to 63 % after smooth_s, and half of it after 0.69 smooth_s, at any frame rate: a value that was
    held for d seconds weighs 1 - exp(-d / smooth_s). A face starts afresh when it was away for more than SMOOTH_GAP_S.

    smooth_s: 0 leaves the faces as they are. ValueError when it is negative or no number.
    """

    def __init__(self, smooth_s: float = SMOOTH_S):
        if not 0 <= smooth_s < np.inf:
            raise ValueError(f"smooth_s is a time constant in seconds, 0 for none; got {smooth_s}")
        self.smooth_s = smooth_s
        self._last: dict[int, tuple[float, np.ndarray | None, np.ndarray | None]] = {}  # time_s, emotion, va by track

    def __call__(self, faces: Faces, time_s: float) -> Faces:
        """Faces with emotion and va smoothed and emotion_raw as emotion was. faces: of one frame, with track_id.

        Rows of emotion still sum to 1. ValueError when the faces have no track_id.
        """
        if not self.smooth_s or faces.emotion is None and faces.va is None:
            return faces
        if faces.track_id is None:
            raise ValueError("these faces have no track_id: run a Tracker first")
        self._last = {t: last for t, last in self._last.items() if time_s - last[0] <= SMOOTH_GAP_S}
        emotion, va = (None if array is None else array.copy() for array in (faces.emotion, faces.va))
        for i, track in enumerate(faces.track_id.tolist()):
            if track in self._last:
                before_s, *before = self._last[track]
                share = 1 - np.exp(-max(time_s - before_s, 0) / self.smooth_s)
                for array, old in zip((emotion, va), before, strict=True):
                    if array is not None and old is not None:
                        array[i] = old + share * (array[i] - old)
            rows = (None if array is None else array[i].copy() for array in (emotion, va))
            self._last[track] = (time_s, *rows)
        return replace(faces, emotion=emotion, va=va, emotion_raw=faces.emotion)
