"""The demo data in the files of the released data sets, so that the real loaders read them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from fer_lib.affect import ADFES_POINTS, CLASS_POINTS
from fer_lib.datasets.action_units import INTENSITY_COLUMNS, SMILE_FEATURES, SMILE_PHASES
from fer_lib.datasets.ckplus import CK_EMOTIONS
from fer_lib.datasets.demo.drawing import ACTION_UNITS, draw_face
from fer_lib.datasets.demo.dynamics import (
    Plan,
    facs_code,
    openface_intensities,
    phase_features,
    plan,
    smile,
    smile_signals,
)
from fer_lib.datasets.demo.people import Stills, expression, random_identity, random_scene, stills
from fer_lib.datasets.fer2013 import FERPLUS_COLUMNS, USAGES, VOTE_NAMES
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS

NOTE = "drawn by fer_lib.datasets.demo, no real faces; write demo beside every figure made from them"
CK_SUBJECTS = 18
CK_CODES = {emotion: code for code, emotion in CK_EMOTIONS.items()}


def write_demo(folder, parts: Iterable[str] | None = None, seed: int = 0) -> Path:
    """Write parts of a FER_DATA folder under `folder`, which is returned as a Path; all of PARTS unless given.

    Sizes are the defaults of the writers below, for a notebook to run through in seconds. A part that stands there
    already is not touched, it might be the real one. DEMO.txt gets a line that says what is drawn. InputError: such a
    part, or an unknown name.
    """
    folder = Path(folder)
    for part in (parts := tuple(PARTS if parts is None else parts)):
        if part not in PARTS:
            raise InputError(f"there is no demo part {part!r}; there are {', '.join(PARTS)}")
        if (folder / part).exists():
            raise InputError(f"{folder / part} is there already; give demo data a folder of its own")
    if parts:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "DEMO.txt", "a", encoding="utf-8") as note:  # first, so that a broken run is marked too
            note.write(f"{', '.join(parts)}: {NOTE}\n")
    for part in parts:
        PARTS[part](folder, seed=seed)
    return folder


def _save(path: Path, picture: np.ndarray) -> None:
    """A grey or RGB uint8 picture into a file; OSError when that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path}")


def _write_table(path: Path, rows: Iterable, **form) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **form).writerows(rows)


# --- FER2013 and FER+


def write_fer2013(folder, training: int = 320, public: int = 96, private: int = 96, seed: int = 0) -> Path:
    """Write fer2013/fer2013.csv and fer2013/fer2013new.csv under `folder`, which is returned as a Path.

    The official layout: 48x48 grey, Training, PublicTest and PrivateTest in this order with the given numbers of rows,
    nobody in two of them. As in the released files some test pictures stand verbatim in Training too: about one row
    in a hundred of Training, at least two (one of each test part) once it has ten rows.
    ValueError: a part without rows; OSError: the folder cannot be written.
    """
    parts = fer2013_stills(training, public, private, seed)
    target = Path(folder) / "fer2013"
    target.mkdir(parents=True, exist_ok=True)
    with (
        open(target / "fer2013.csv", "w", newline="", encoding="utf-8") as pictures,
        open(target / "fer2013new.csv", "w", newline="", encoding="utf-8") as ratings,
    ):
        labels, votes = csv.writer(pictures), csv.writer(ratings)
        labels.writerow(["emotion", "pixels", "Usage"])
        votes.writerow(["Usage", "Image name", *FERPLUS_COLUMNS])
        order = [VOTE_NAMES.index(name) for name in FERPLUS_COLUMNS.values()]
        row = 0
        for usage, part in parts.items():
            for picture, label, counts in zip(part.pictures, part.label, part.votes[:, order].tolist(), strict=True):
                labels.writerow([label, " ".join(map(str, picture.ravel().tolist())), usage])
                votes.writerow([usage, f"fer{row:07d}.png", *counts])
                row += 1
    return Path(folder)


def fer2013_stills(training: int, public: int, private: int, seed: int = 0) -> dict[str, Stills]:
    """{usage: Stills} that `write_fer2013` writes. Copies of test pictures keep the identity of the test picture."""
    counts = dict(zip(USAGES, (training, public, private), strict=True))
    if min(counts.values()) < 1:
        raise ValueError(f"every part needs a row, not {counts}")
    parts, first = {}, 0
    for usage, n in counts.items():
        people = range(first, first + max(1, n // 4))
        parts[usage] = stills(n, seed, people=people)
        first = people.stop
    rng = np.random.default_rng([seed, 3])
    copies = max(2, training // 100) if training >= 10 else 0
    for i, row in enumerate(rng.choice(training, copies, replace=False)):
        source = parts[USAGES[1 + i % 2]]
        other = rng.integers(len(source))
        for field in fields(Stills):  # only here are a Stills' arrays written to: nobody holds them yet
            getattr(parts["Training"], field.name)[row] = getattr(source, field.name)[other]
    return parts


def write_fer2013_folders(folder, training: int = 320, public: int = 96, private: int = 96, seed: int = 0) -> Path:
    """The same pictures as Kaggle's folders: fer2013/{train,test}/<class>/im<k>.png under `folder`.

    The two test parts share test/, and the classes are called angry, disgust, ... Raises as `write_fer2013`.
    """
    names = ["angry" if name == "anger" else name for name in FER2013_EMOTIONS]
    counts: dict[Path, int] = {}
    for usage, part in fer2013_stills(training, public, private, seed).items():
        for picture, label in zip(part.pictures, part.label.tolist(), strict=True):
            target = Path(folder) / "fer2013" / ("train" if usage == "Training" else "test") / names[label]
            counts[target] = counts.get(target, -1) + 1
            _save(target / f"im{counts[target]}.png", picture)
    return Path(folder)


# --- CK+: one set of people and sequences behind ckplus/, CK+48/, ck_apex/ and tables/ck_facs.csv


@dataclass(frozen=True)
class _CkSequence:
    subject: str  # S005
    name: str  # 001
    emotion: str  # of EMOTIONS; uncertain is a sequence without a label
    frames: int
    person: int
    age: float

    def plan(self, seed: int) -> Plan:
        return plan(self.emotion, self.frames, self.person, seed, self.age)

    def stem(self, frame: int) -> str:
        """Name of a frame's files; frames count from 0 here and from 1 there."""
        return f"{self.subject}_{self.name}_{frame + 1:08d}"

    @property
    def code(self) -> int | None:
        """1-7 as in the emotion files, or None."""
        return CK_CODES.get(self.emotion)


def _ck_sequences(subjects: int, seed: int) -> list[_CkSequence]:
    """Three to five sequences a subject, the fourth unlabelled, of 4 to 14 frames. ValueError: no subject."""
    if subjects < 1:
        raise ValueError(f"at least one subject, not {subjects}")
    rng = np.random.default_rng([seed, 5])
    emotions = list(CK_CODES)  # in turn, so that few subjects show them all
    found, turn = [], 0
    for person in range(subjects):
        age = float(rng.uniform(18, 50))  # CK+'s subjects were adults of 18 to 50
        for k in range(int(rng.integers(3, 6))):
            emotion = "uncertain" if k == 3 else emotions[turn % len(emotions)]
            turn += k != 3
            frames = int(rng.integers(4, 15))
            found.append(_CkSequence(f"S{5 + 3 * person:03d}", f"{k + 1:03d}", emotion, frames, person, age))
    return found


def _write_code(path: Path, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"   {code:.7e}\n", newline="\n")


def write_ckplus(folder, subjects: int = CK_SUBJECTS, seed: int = 0) -> Path:
    """ckplus/cohn-kanade-images/S005/001/S005_001_00000001.png ... and ckplus/Emotion/ for the labelled sequences.

    48x48 grey, whole sequences from neutral to apex. ValueError: no subject.
    """
    root = Path(folder) / "ckplus"
    for one in _ck_sequences(subjects, seed):
        planned = one.plan(seed)
        for frame in range(one.frames):
            path = root / "cohn-kanade-images" / one.subject / one.name / f"{one.stem(frame)}.png"
            _save(path, planned.draw(frame))
        if one.code:
            last = f"{one.stem(one.frames - 1)}_emotion.txt"
            _write_code(root / "Emotion" / one.subject / one.name / last, one.code)
    return Path(folder)


def write_ck48(folder, subjects: int = CK_SUBJECTS, seed: int = 0) -> Path:
    """CK+48/<class>/S005_001_00000009.png: the last three frames of each labelled sequence, 48x48 grey, cut tighter.

    ValueError: no subject.
    """
    for one in _ck_sequences(subjects, seed):
        if one.code:
            planned = one.plan(seed)
            target = Path(folder) / "CK+48" / ("sadness" if one.emotion == "sad" else one.emotion)
            for frame in range(one.frames - 3, one.frames):
                _save(target / f"{one.stem(frame)}.png", planned.draw(frame, zoom=1.4))
    return Path(folder)


def write_ck_apex(folder, subjects: int = CK_SUBJECTS, seed: int = 0) -> Path:
    """ck_apex/Emotions_t/S005_001_00000009.png and ck_apex/emotion/<same>.txt: the last frames at full size.

    640x490 grey, a face of about a third of the height somewhere before a plain wall; as in the release some are
    640x480 in colour. ValueError: no subject.
    """
    root = Path(folder) / "ck_apex"
    rng = np.random.default_rng([seed, 6])
    for k, one in enumerate(one for one in _ck_sequences(subjects, seed) if one.code):
        stem = one.stem(one.frames - 1)
        view = {"zoom": rng.uniform(0.44, 0.56), "shift": tuple(rng.uniform(-0.06, 0.06, 2).tolist())}
        view |= {"light": (rng.uniform(-0.15, 0.15), -0.1), "exposure": 1.0, "contrast": 1.0}
        view |= {"blur": 0.0015, "noise": 2.0, "background": (rng.uniform(90, 200),) * 3}
        colour, height = k % 10 == 9, 480 if k % 10 == 9 else 490
        picture = one.plan(seed).draw(one.frames - 1, size=640, colour=colour, **view)
        _save(root / "Emotions_t" / f"{stem}.png", picture[(640 - height) // 2 :][:height])
        _write_code(root / "emotion" / f"{stem}.txt", one.code)
    return Path(folder)


# --- UTKFace


def write_utkface(folder, n: int = 240, seed: int = 0) -> Path:
    """utkface/crop_part1/<age>_<gender>_<race>_<time>.jpg.chip.jpg: n faces of 200x200, each another person.

    Ages 1-110. The gender is drawn by lot unless a beard tells, the race always: the drawings have none. As in the
    release some files are odd, here three from 20 pictures on: one stands twice, one name lacks the race, one has a
    digit less in its time. ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"at least one picture, not {n}")
    root = Path(folder) / "utkface" / "crop_part1"
    rng = np.random.default_rng([seed, 7])
    ages = np.rint(1 + 109 * rng.beta(0.9, 1.7, n)).astype(int).tolist()
    if odd := n >= 20:
        ages[-2:] = 14, 61  # as old as those of the real odd names
    for number, age in enumerate(ages):
        identity = random_identity(number, seed, age)
        emotion = rng.choice(["neutral", "happy"], p=(0.6, 0.4))
        units = expression(str(emotion), rng.uniform(0.2, 0.8), rng)
        picture = draw_face(units, identity, random_scene(rng), 200)
        gender = 0 if identity.beard else int(rng.integers(2))
        time = f"201701{rng.integers(1, 29):02d}{rng.integers(24):02d}{rng.integers(60):02d}{rng.integers(60):02d}"
        name = [str(age), str(gender), str(rng.integers(5)), f"{time}{number % 1000:03d}"]
        if odd and number == n - 2:
            name[3] = name[3][:-1]
        if odd and number == n - 1:
            del name[2]
        _save(root / f"{'_'.join(name)}.jpg.chip.jpg", picture)
        if odd and number == 0:
            _save(root / f"{'_'.join(name[:3])}_20170116{name[3][8:]}.jpg.chip.jpg", picture)
    return Path(folder)


# --- valence and arousal


def write_va(folder, subjects: int = 60, pictures: int = 4, seed: int = 0) -> Path:
    """va/manifest.csv (`path,valence,arousal,subject`) and the pictures it names, va/S000/0.png ..., 96x96 RGB.

    Every subject is another person with that many pictures. Valence and arousal are those of what was drawn: the
    class point of its emotion, times its intensity. ValueError: no subject or no picture.
    """
    if min(subjects, pictures) < 1:
        raise ValueError(f"at least one subject and one picture, not {subjects} and {pictures}")
    root = Path(folder) / "va"
    rng = np.random.default_rng([seed, 10])
    shown = EMOTIONS[: EMOTIONS.index("uncertain")]  # in turn; a blend of two emotions has no point
    lines = [["path", "valence", "arousal", "subject"]]
    for row in range(subjects * pictures):
        number, emotion = row // pictures, row % len(shown)
        intensity = rng.uniform(0.3, 1)
        units = expression(shown[emotion], intensity, rng)
        name = f"S{number:03d}/{row % pictures}.png"
        _save(root / name, draw_face(units, random_identity(number, seed), random_scene(rng), 96))
        valence, arousal = (CLASS_POINTS[emotion] * intensity).tolist()
        lines.append([name, f"{valence:.4f}", f"{arousal:.4f}", f"S{number:03d}"])
    _write_table(root / "manifest.csv", lines)
    return Path(folder)


# --- tables


def write_tables(folder, clips: int = 480, rows: int = 600, subjects: int = CK_SUBJECTS, seed: int = 0) -> Path:
    """tables/: FACS codes, posed and genuine AU intensities, smile features and the published valence and arousal.

    clips: smiles in uvanemo/, rows: of genuemotion_aus.csv, subjects: those of `write_ckplus`, whose sequences
    ck_facs.csv codes, the first one as "" as in the real file. ValueError: clips or rows below 8, or no subject.
    """
    if min(clips, rows) < 8:
        raise ValueError(f"at least 8 clips and 8 rows, not {clips} and {rows}")
    root = Path(folder) / "tables"
    rng = np.random.default_rng([seed, 8])
    coded = [["subject", "sequence", "action_units"]]
    for k, one in enumerate(_ck_sequences(subjects, seed)):
        code = facs_code(one.plan(seed).action_units[-1], rng) if k else ""
        coded.append([one.subject, one.name, code])
    _write_table(root / "ck_facs.csv", coded)
    header = [*INTENSITY_COLUMNS, "class"]
    _write_table(root / "genuemotion_aus.csv", [header, *_genuemotion(rows, rng)], delimiter=";", lineterminator="\n")
    _write_adfes(root / "adfes_valence_arousal.csv")
    _write_uvanemo(root / "uvanemo", clips, seed)
    return Path(folder)


def _genuemotion(rows: int, rng: np.random.Generator) -> list[list]:
    """Rows of intensities and a class: first the posed (0), then the genuine (1).

    Few people can move AU 1, 6 and 15 at will (Ekman 1985): posed faces show less of them and more of the others.
    """
    emotions = ("happy", "happy", "sad", "fear", "surprise")  # those that use these muscles
    reluctant = np.isin(ACTION_UNITS, (1, 6, 15))[:, None]
    found = []
    for k in range(rows):
        genuine = k >= rows - rows // 2
        strength = rng.uniform(0.3, 0.9) if genuine else rng.uniform(0.5, 1)
        units = expression(emotions[rng.integers(len(emotions))], strength, rng)
        if not genuine:
            units = np.where(reluctant, units * rng.uniform(0, 0.5), units)
        found.append([*openface_intensities(units, rng).tolist(), int(genuine)])
    return found


def _write_adfes(path: Path) -> None:
    """The published means that the project keeps; it keeps no spreads, so those cells are empty."""
    names = {"happy": "joy", "sad": "sadness"}
    points = {name: point for name, point in ADFES_POINTS.items() if name not in ("neutral", "uncertain")}
    lines = [["emotion", "valence_mean", "valence_sd", "arousal_mean", "arousal_sd"]]
    lines += [[names.get(name, name), f"{v:.2f}", "", f"{a:.2f}", ""] for name, (v, a) in points.items()]
    _write_table(path, lines, lineterminator="\n")


def _write_uvanemo(folder: Path, clips: int, seed: int) -> None:
    """Four clips a subject, half of them posed; eight tables, each in its own order, and the list of the clips."""
    rng = np.random.default_rng([seed, 9])
    details, made = [], []
    for k in range(clips):
        if k % 4 == 0:
            gender, age = int(rng.integers(2)), int(np.rint(8 + 68 * rng.beta(1, 2)))
        posed = k % 4 < 2
        subject, kind = f"{k // 4 + 1:03d}", "deliberate" if posed else "spontaneous"
        details.append([f"{subject}_{kind}_smile_{k % 2 + 1}.mp4", subject, f"{('male', 'female')[gender]:6s}"])
        details[-1] += [age, f"{kind:11s}"]
        felt = smile(posed, rng)
        signals = smile_signals(felt, rng)
        measured = {}
        for part, sides in signals.items():
            phases = np.split(sides, felt.ends[:2])
            measured[part] = [phase_features(phase).tolist() for phase in phases]
        made.append(([int(posed), gender, age], measured))
    _write_table(folder / "detail_file.txt", details, delimiter="\t")
    made = made[: clips - max(1, clips // 300)]  # a few clips of the list have no features
    for part in ("eye", "lip"):
        for i, kind in enumerate((*SMILE_PHASES, "total")):
            of = range(3) if kind == "total" else (i,)
            header = ["class", "gender", "age"] + [f"{SMILE_PHASES[p]}_{name}" for p in of for name in SMILE_FEATURES]
            order = rng.permutation(len(made)).tolist()
            lines = [made[row][0] + [value for p in of for value in made[row][1][part][p]] for row in order]
            _write_table(folder / f"{part}_{kind}.csv", [header, *lines])


# --- posed and genuine smiles


def write_smiles(folder, people: int = 24, seed: int = 0) -> Path:
    """smiles/posed/P00/smile.png, smiles/genuine/P00/smile.png, ...: each person's two smiles at the apex, 256x256 RGB.

    The posed ones are nearer to the camera, as where two collections of pictures stand for the two classes: what reads
    the size of the face tells them apart without looking at a smile. ValueError: people below 1.
    """
    if people < 1:
        raise ValueError(f"at least one person, not {people}")
    root, side = Path(folder) / "smiles", 256
    rng = np.random.default_rng([seed, 11])
    for number in range(people):
        for name, posed in (("posed", True), ("genuine", False)):
            felt = smile(posed, rng)
            units = felt.action_units[sum(felt.ends[:2]) // 2]
            width = round(side * (rng.uniform(0.78, 0.98) if posed else rng.uniform(0.55, 0.75)))
            face = draw_face(units, random_identity(number, seed), random_scene(rng), width)
            picture = np.full((side, side, 3), 128, np.uint8)
            x, y = rng.integers(0, side - width + 1, 2)
            picture[y : y + width, x : x + width] = face
            _save(root / name / f"P{number:02d}" / "smile.png", picture)
    return Path(folder)


PARTS: dict[str, Callable] = {
    "fer2013": write_fer2013,
    "ckplus": write_ckplus,
    "CK+48": write_ck48,
    "ck_apex": write_ck_apex,
    "utkface": write_utkface,
    "tables": write_tables,
    "va": write_va,
    "smiles": write_smiles,
}
