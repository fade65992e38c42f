"""People of every age, scenes, expressions and the votes of raters; labelled stills made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fer_lib.datasets.demo.drawing import ACTION_UNITS, HAIR_STYLES, Identity, Scene, action_unit_array, draw_face, mix
from fer_lib.datasets.fer2013 import SIDE, VOTE_NAMES
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS

RATERS = 10  # FER+ asked ten people (Barsoum et al. 2016)

# Action units of each emotion at full intensity, every entry one published form of it: the prototypes and major
# variants of the FACS Investigator's Guide (Ekman & Friesen 1978; Ekman, Friesen & Hager 2002) and the EMFACS
# combinations (Friesen & Ekman 1983). Contempt is one-sided (Ekman & Friesen 1986), here on the person's left;
# stills() mirrors half of them. A pair is (left, right); the numbers below 1 are ours, to vary the drawings.
PROTOTYPES = {
    "anger": (
        {4: 1, 5: 0.7, 7: 1, 23: 1},
        {4: 1, 5: 0.7, 7: 1, 17: 0.7, 24: 1},
        {4: 1, 5: 0.8, 7: 0.8, 10: 0.6, 23: 0.7, 25: 1, 26: 0.4},
    ),
    "contempt": ({12: (0.8, 0), 14: (1, 0)}, {14: (1, 0.1), 12: (0.6, 0)}),
    "disgust": (
        {9: 1, 15: 0.6, 16: 0.7},
        {9: 1, 10: 0.8, 16: 0.8, 25: 0.8},
        {9: 1, 17: 0.9},
        {9: 0.5, 10: 1, 15: 0.5, 17: 0.6},
    ),
    "fear": (
        {1: 1, 2: 0.7, 4: 0.8, 5: 1, 7: 0.3, 20: 1, 25: 0.9},
        {1: 1, 2: 0.6, 4: 0.8, 5: 1, 7: 0.3, 20: 1, 26: 0.7},
        {1: 1, 2: 0.7, 4: 0.7, 5: 1, 20: 0.9, 25: 0.5},
    ),
    "happy": ({6: 0.8, 12: 0.9}, {6: 0.9, 12: 1, 25: 0.8}, {6: 1, 7: 0.3, 12: 1, 25: 0.8, 26: 0.5}),
    "neutral": ({},),
    "sad": ({1: 1, 4: 0.7, 15: 1}, {1: 1, 4: 0.7, 15: 1, 17: 0.8}, {1: 0.9, 4: 0.5, 7: 0.4, 15: 0.9, 17: 0.4}),
    "surprise": ({1: 1, 2: 1, 5: 0.8, 26: 1}, {1: 1, 2: 1, 5: 0.9, 27: 1}, {1: 0.9, 2: 1, 5: 0.7, 25: 0.8, 26: 0.7}),
}
# With whom an emotion is confused when it is not seen, as people do it (Ekman & Friesen 1971, Barsoum et al. 2016)
CONFUSIONS = {
    "anger": ("disgust", "sad", "contempt"),
    "contempt": ("happy", "happy", "neutral", "disgust"),
    "disgust": ("anger", "anger", "sad", "contempt"),
    "fear": ("surprise", "surprise", "sad"),
    "happy": ("surprise", "contempt"),
    "neutral": ("sad", "happy", "anger"),
    "sad": ("fear", "anger", "disgust"),
    "surprise": ("fear", "happy"),
}


@dataclass(frozen=True, eq=False)
class Stills:
    """N labelled drawings; row i of every array is one picture."""

    pictures: np.ndarray  # (N, size, size) uint8 grey or (N, size, size, 3) uint8 RGB
    emotion: np.ndarray  # (N,) int64, what was drawn, index into EMOTIONS
    intensity: np.ndarray  # (N,) float32, 0-1, of what was drawn; 0 for neutral
    votes: np.ndarray  # (N, 10) int64, rows sum to RATERS, columns VOTE_NAMES
    label: np.ndarray  # (N,) int64, index into FER2013_EMOTIONS, one rater's opinion
    identity: np.ndarray  # (N,) int64, equal numbers of one seed are one person
    action_units: np.ndarray  # (N, len(ACTION_UNITS), 2) float32, 0-1, (left, right) of the person

    def __len__(self) -> int:
        return len(self.emotion)


def random_identity(number: int, seed: int = 0, age: float | None = None) -> Identity:
    """The person of that number; the same for the same number and seed.

    age: years, 1-110, to see the same person younger or older; drawn from 14 to 70 unless given.
    ValueError: another age.
    """
    rng = np.random.default_rng([seed, 1, number])

    def about(spread: float, centre: float = 1.0) -> float:
        return float(centre + spread * np.clip(rng.standard_normal(), -2, 2))

    tone = rng.uniform() ** 1.3
    skin = mix(mix((240, 206, 184), (205, 156, 118), min(2 * tone, 1)), (120, 80, 60), max(2 * tone - 1, 0))
    palette = ((26, 20, 18), (58, 38, 26), (96, 66, 42), (150, 110, 66), (120, 58, 34))
    weights = np.array([4, 4, 3, 2, 1]) * np.where(tone > 0.6, (3, 2, 0, 0, 0), 1)
    hair = palette[rng.choice(5, p=weights / weights.sum())]
    iris = ((60, 40, 26), (92, 64, 40), (84, 104, 78), (86, 112, 138))[rng.integers(4 if tone < 0.5 else 2)]
    style = HAIR_STYLES[rng.choice(5, p=(0.1, 0.3, 0.2, 0.15, 0.25))]
    bearded = style != "long" and rng.uniform() < 0.25
    years = float(14 + 56 * rng.beta(1.6, 2.2))
    adult = Identity(
        face_width=about(0.045),
        jaw_width=about(0.06, 0.97),
        chin_length=about(0.05),
        forehead_height=about(0.03),
        eye_size=about(0.08),
        eye_spacing=about(0.045),
        eye_height=about(0.018, 0.0),
        eye_tilt=about(0.01, 0.0),
        brow_height=about(0.018, 0.0),
        brow_thickness=about(0.2),
        brow_arch=about(0.35),
        nose_length=about(0.2),
        nose_width=about(0.13),
        mouth_width=about(0.07),
        mouth_height=about(0.016, 0.0),
        lip_fullness=about(0.18),
        beard=float(rng.uniform(0.3, 0.9)) if bearded else 0.0,
        hair_style=style,
        skin=skin,
        hair=hair,
        iris=iris,
        lips=mix(mix(skin, (150, 44, 52), float(rng.uniform(0.35, 0.6))), (0, 0, 0), 0.08),
    )
    return _aged(adult, years if age is None else float(age), rng)


def _aged(adult: Identity, age: float, rng: np.random.Generator) -> Identity:
    """The adult at an age in years. People age unlike each other: each sign has its own luck.

    Children: a large forehead and eyes that sit low, a small nose and chin, round cheeks, fine brows. The old: lines,
    hanging lids and jaw, a longer nose, thin lips, grey and thinner hair. ValueError: an age outside 1-110.
    """
    if not 1 <= age <= 110:
        raise ValueError(f"an age of 1 to 110 years, not {age}")
    luck = np.clip(rng.standard_normal(5), -2, 2)
    seen = age * (1 + 0.08 * luck[0])  # how old the person looks
    child = float(np.clip((19 - seen) / 18, 0, 1))
    old = float(np.clip((seen - 30) / 70, 0, 1.15))
    grey = float(0.95 / (1 + np.exp((54 + 6 * luck[1] - seen) / 6)))
    thinness = float(np.clip((seen - 35) / 65 * (0.75 + 0.5 * luck[2]), 0, 0.75))
    if seen < 3:
        thinness = 0.7 - 0.2 * seen / 3
    style = adult.hair_style
    if seen < 2 or (style == "bald" and seen < 28):
        style = "short"
    return replace(
        adult,
        age=age,
        face_width=adult.face_width * (1 + 0.09 * child),
        jaw_width=adult.jaw_width * (1 - 0.03 * child),
        chin_length=adult.chin_length * (1 - 0.24 * child),
        forehead_height=adult.forehead_height * (1 + 0.07 * child),
        eye_size=adult.eye_size * (1 + 0.26 * child - 0.1 * old),
        eye_height=adult.eye_height + 0.15 * child,
        brow_height=adult.brow_height - 0.025 * old,
        brow_thickness=adult.brow_thickness * (1 - 0.45 * child - 0.1 * old),
        nose_length=adult.nose_length * (1 + 0.35 * old) - 0.85 * child,
        nose_width=adult.nose_width * (1 - 0.2 * child + 0.12 * old),
        mouth_width=adult.mouth_width * (1 - 0.2 * child),
        mouth_height=adult.mouth_height - 0.01 * child + 0.02 * old,
        lip_fullness=adult.lip_fullness * (1 - 0.45 * old),
        wrinkles=float(np.clip(0.9 * old * (1 + 0.2 * luck[3]), 0, 1.2)),
        cheeks=child,
        sag=float(np.clip((seen - 45) / 55 * (1 + 0.2 * luck[4]), 0, 1)),
        beard=adult.beard * float(np.clip((seen - 18) / 8, 0, 1)),
        hair_style=style,
        hair_thinness=thinness,
        skin=mix(mix(adult.skin, (255, 214, 196), 0.2 * child), (190, 172, 160), 0.2 * old),
        hair=mix(mix(adult.hair, (190, 146, 96), 0.25 * child), (206, 204, 202), grey),
        lips=mix(adult.lips, adult.skin, 0.4 * old),
    )


def random_scene(rng: np.random.Generator) -> Scene:
    """A mostly frontal view under everyday light, as in a face crop."""
    angle, strength = rng.uniform(-np.pi, 0), rng.uniform(0.05, 0.45)
    grey = rng.uniform(30, 225)
    return Scene(
        yaw=float(np.clip(rng.normal(0, 10), -25, 25)),
        pitch=float(np.clip(rng.normal(0, 6), -14, 14)),
        roll=float(np.clip(rng.normal(0, 5), -14, 14)),
        zoom=float(rng.uniform(0.96, 1.16)),
        shift=tuple(rng.uniform(-0.03, 0.03, 2).tolist()),
        gaze=tuple(np.clip(rng.normal(0, 0.35, 2), -1, 1).tolist()),
        light=(float(strength * np.cos(angle)), float(strength * np.sin(angle))),
        exposure=float(rng.uniform(0.75, 1.12)),
        contrast=float(rng.uniform(0.8, 1.15)),
        noise=float(rng.uniform(0, 6)),
        blur=float(rng.uniform(0, 0.012)),
        background=tuple(np.clip(grey + rng.normal(0, 12, 3), 0, 255).tolist()),
        noise_seed=int(rng.integers(1 << 31)),
    )


def expression(emotion: str, intensity: float, rng: np.random.Generator) -> np.ndarray:
    """One of the emotion's prototypes at an intensity 0-1, varied: the array of `action_unit_array`.

    Each action unit is 75-100 % of its share and the sides differ slightly; contempt takes either side. `uncertain`
    is a blend of two emotions, each at half the intensity. ValueError: an unknown emotion.
    """
    if emotion == "uncertain":
        first, second = rng.choice([e for e in PROTOTYPES if e != "neutral"], 2, replace=False)
        return np.maximum(expression(first, intensity / 2, rng), expression(second, intensity / 2, rng))
    if emotion not in PROTOTYPES:
        raise ValueError(f"unknown emotion {emotion!r}; there are {', '.join(EMOTIONS)}")
    forms = PROTOTYPES[emotion]
    array = action_unit_array(forms[rng.integers(len(forms))]) * intensity
    if emotion == "contempt" and rng.uniform() < 0.5:
        array = array[:, ::-1]
    array = array * rng.uniform(0.75, 1, (len(array), 1)) * rng.uniform(0.93, 1, array.shape)
    resting = rng.uniform(0, 0.08, (len(array), 1)) * (rng.uniform(size=(len(array), 1)) < 0.15)
    resting[np.isin(ACTION_UNITS, (16, 25, 26, 27))] = 0  # lips that rest are closed
    return np.clip(np.maximum(array, resting), 0, 1)


def vote_probabilities(emotion: str, intensity: float, clarity: float = 1.0) -> np.ndarray:
    """(10,) chance that a rater says each of VOTE_NAMES of a face drawn with that emotion at that intensity.

    A weak expression is taken for neutral, a middling one also for its neighbours (CONFUSIONS). clarity 0-1 is how
    well the picture shows the face: what is lost goes to `uncertain` and, a little, to NF.
    """
    chance = np.zeros(len(VOTE_NAMES))
    if emotion == "uncertain":
        chance[:8] = 0.3 / 8
        chance[EMOTIONS.index("neutral")] += 0.15
        chance[EMOTIONS.index("uncertain")] = 0.55
    elif emotion == "neutral":
        chance[EMOTIONS.index("neutral")] = 0.86
        for other in CONFUSIONS[emotion]:
            chance[EMOTIONS.index(other)] += 0.14 / len(CONFUSIONS[emotion])
    else:
        seen = 0.96 / (1 + np.exp(-(intensity - 0.47) / 0.1))  # half of the raters see it near 0.47
        seen *= 0.85 if emotion == "contempt" else 1.0  # the one that people disagree on most
        chance[EMOTIONS.index(emotion)] = seen
        weak = np.clip(1.25 - 1.1 * intensity, 0.15, 0.9)
        chance[EMOTIONS.index("neutral")] += (1 - seen) * weak
        for other in CONFUSIONS[emotion]:
            chance[EMOTIONS.index(other)] += (1 - seen) * (1 - weak) / len(CONFUSIONS[emotion])
    lost = 1 - 0.97 * clarity
    chance *= 1 - lost
    chance[EMOTIONS.index("uncertain")] += 0.85 * lost
    chance[VOTE_NAMES.index("NF")] += 0.15 * lost
    return chance / chance.sum()


def sampled_label(votes: np.ndarray, rng: np.random.Generator) -> int:
    """One of the votes (10,) as an index into FER2013_EMOTIONS: that set had one opinion a picture and seven classes.

    A picture with none of the seven among its votes counts as neutral.
    """
    seven = np.array([votes[EMOTIONS.index(name)] for name in FER2013_EMOTIONS], float)
    if seven.sum() == 0:
        return FER2013_EMOTIONS.index("neutral")
    return int(rng.choice(len(seven), p=seven / seven.sum()))


def stills(n: int, seed: int = 0, size: int = SIDE, colour: bool = False, people: range | None = None) -> Stills:
    """n labelled drawings with all nine emotions in equal parts, in random order.

    people: numbers of the identities to draw, about four pictures each unless given; calls with the same seed and
    disjoint ranges share nobody. ValueError: n below 1 or no people.
    """
    people = range(max(1, n // 4)) if people is None else people
    if n < 1 or not len(people):
        raise ValueError(f"at least one picture and one person, not {n} and {len(people)}")
    rng = np.random.default_rng([seed, 2, people.start, people.stop])
    emotion = rng.permutation(np.arange(n) % len(EMOTIONS))
    number = np.array(people)[rng.permutation(np.arange(n) % len(people))]
    identities = {k: random_identity(k, seed) for k in set(number.tolist())}
    pictures, intensities, votes, labels, units = [], [], [], [], []
    for name, person in zip([EMOTIONS[e] for e in emotion], number.tolist(), strict=True):
        scene = random_scene(rng)
        intensity, clarity = 0.3 + 0.7 * rng.beta(2.2, 1.2), 1.0
        if name == "neutral":
            intensity = 0.0
        elif name == "uncertain" and rng.uniform() < 0.4:  # a face that nobody could read
            intensity, clarity = 0.3, 0.55
            scene = _obscured(scene, rng)
        array = expression(name, intensity, rng)
        picture = draw_face(array, identities[person], scene, size)
        pictures.append(picture if colour else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
        votes.append(rng.multinomial(RATERS, vote_probabilities(name, intensity, clarity)))
        labels.append(sampled_label(votes[-1], rng))
        intensities.append(intensity)
        units.append(array)
    return Stills(
        np.stack(pictures),
        emotion,
        np.array(intensities, np.float32),
        np.array(votes),
        np.array(labels),
        number,
        np.array(units, np.float32),
    )


def _obscured(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene out of focus, noisy and dim."""
    return replace(
        scene,
        blur=float(rng.uniform(0.035, 0.06)),
        noise=float(rng.uniform(8, 20)),
        contrast=float(rng.uniform(0.5, 0.8)),
    )
