"""CK+ (Lucey et al. 2010): faces from neutral to the apex of an expression, with the subject in the name.

Three forms of it are about: the Cohn-Kanade release with its sequences, single apex frames at full size, and "CK+48",
the last three frames of each labelled sequence at 48x48. Their crops differ: never mix them in one training set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fer_lib.datasets.tables import read_columns
from fer_lib.errors import InputError

# The codes of CK+'s emotion files, in our names; FER+ and CK+ share these seven classes
CK_EMOTIONS = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
_NAME = re.compile(r"S(\d{3})_(\d{3})_(\d{8})(?:\.png|_emotion\.txt|_facs\.txt)", re.ASCII)  # subject, sequence, frame
# One FACS code: L, R, T or B when only one side or lip moves, the action unit, and a to e for its intensity
_FACS_CODE = re.compile(r"[LRTB]?(\d{1,2})([a-e]?)", re.ASCII)


@dataclass(frozen=True)
class ApexFrame:
    """The most intense frame of one labelled sequence."""

    path: Path
    emotion: str
    subject: int


@dataclass(frozen=True)
class FrameSequence:
    """The frames of one sequence that are there, in order; a whole one runs from neutral to the apex."""

    subject: int
    sequence: int
    frames: tuple[Path, ...]
    emotion: str | None  # None: not labelled
    action_units: dict[int, int | None] | None  # of the apex: {AU: intensity 1-5, None where not given}; None: no codes
    labelled_frame: int | None = None  # the number in the name of the emotion file: the apex, the last one of a release

    @property
    def name(self) -> str:
        """As in the names of its frames, such as S010_004."""
        return f"S{self.subject:03d}_{self.sequence:03d}"

    @property
    def frame_numbers(self) -> tuple[int, ...]:
        """As in the file names; 1 is the neutral first frame."""
        return tuple(_parse(path)[2] for path in self.frames)

    @property
    def is_whole(self) -> bool:
        """The numbers run from 1 without a gap; otherwise what is shown between frames is made up and must say so."""
        return self.frame_numbers == tuple(range(1, len(self.frames) + 1)) and len(self.frames) > 1

    @property
    def has_both_ends(self) -> bool:
        """The neutral first frame and, where a label names one, the apex are there."""
        numbers = self.frame_numbers
        return len(numbers) > 1 and numbers[0] == 1 and numbers[-1] == (self.labelled_frame or numbers[-1])


@dataclass(frozen=True)
class Ck48Face:
    """One face of CK+48."""

    path: Path
    emotion: str
    subject: int
    sequence: int


def _parse(path: Path) -> tuple[int, int, int]:
    """(subject, sequence, frame) of S010_004_00000019.png and its label files."""
    match = _NAME.fullmatch(path.name)
    if not match:
        raise InputError(f"{path} is not named like S010_004_00000019{path.suffix}; take it out or rename it")
    return tuple(int(part) for part in match.groups())


def load_apex_frames(root) -> list[ApexFrame]:
    """The frames of `root/Emotions_t/S005_001_00000011.png` with codes in `root/emotion/<same stem>.txt`, by name.

    InputError when the folders are missing, a frame has no code or a code is not 1-7.
    """
    root = Path(root)
    frames = []
    for path in sorted((root / "Emotions_t").glob("S*.png")):
        code = root / "emotion" / f"{path.stem}.txt"
        try:
            emotion = CK_EMOTIONS[int(float(code.read_text()))]
            frames.append(ApexFrame(path, emotion, int(path.stem[1:4])))
        except (OSError, ValueError, OverflowError, KeyError):
            raise InputError(f"{code} does not hold the emotion code (1-7) of {path.name}") from None
    if not frames:
        raise InputError(f"{root} has no Emotions_t/S*.png; give the folder of CK+ apex frames")
    return frames


def load_sequences(root) -> list[FrameSequence]:
    """The Cohn-Kanade release, by subject and sequence: frames, and the labels of those that have them.

    Reads `cohn-kanade-images/S010/004/*.png`, `Emotion/S010/004/*_emotion.txt` and, where it is there,
    `FACS/S010/004/*_facs.txt` under `root`. The release holds 593 sequences of 10 to 60 frames; a copy with fewer
    frames of each is read as well, and then a sequence may lack its neutral or its apex: see frame_numbers. InputError:
    no pictures or no Emotion folder, a name that is none, a label that cannot be read.
    """
    root = Path(root)
    frames: dict[tuple[int, int], dict[int, Path]] = {}
    for path in (root / "cohn-kanade-images").glob("S*/*/S*.png"):
        subject, sequence, number = _parse(path)
        frames.setdefault((subject, sequence), {})[number] = path
    if not frames:
        raise InputError(f"{root} has no cohn-kanade-images/S010/004/*.png; give the folder of the Cohn-Kanade release")
    if not (root / "Emotion").is_dir():
        raise InputError(f"{root} has no folder Emotion beside cohn-kanade-images; unpack Emotion_labels.zip there")
    labels = [(*_parse(path), _emotion(path)) for path in sorted((root / "Emotion").glob("S*/*/S*_emotion.txt"))]
    emotions = {(subject, sequence): (emotion, number) for subject, sequence, number, emotion in labels}
    codes = {_parse(path)[:2]: _facs_file(path) for path in (root / "FACS").glob("S*/*/S*_facs.txt")}
    sequences = []
    for key, found in sorted(frames.items()):
        emotion, number = emotions.get(key, (None, None))
        paths = tuple(path for _, path in sorted(found.items()))
        sequences.append(FrameSequence(*key, paths, emotion, codes.get(key), number))
    return sequences


def _emotion(path: Path) -> str:
    try:
        return {0: "neutral", **CK_EMOTIONS}[float(path.read_text())]  # the release's notes allow 0, no file has it
    except (ValueError, KeyError):
        raise InputError(f"{path} does not hold an emotion code (0-7); unpack Emotion_labels.zip again") from None


def _facs_file(path: Path) -> dict[int, int | None]:
    """Lines of "AU intensity" as the release writes numbers, `1.2000000e+01`; intensity 0 means that none is given."""
    try:
        units = {}
        for line in path.read_text().splitlines():
            if line.strip():
                number, intensity = (float(part) for part in line.split())
                if not (number.is_integer() and number > 0 and intensity in range(6)):
                    raise ValueError(line)
                units[int(number)] = int(intensity) or None
        return units
    except ValueError:
        raise InputError(f"{path} does not hold lines of AU and intensity 0-5; unpack FACS_labels.zip again") from None


def load_ck48(root) -> list[Ck48Face]:
    """The faces of `root/<class>/S010_004_00000017.png`, by name. The folders are named as ours, or `sadness`.

    The last three frames of a sequence are nearly one picture: split by subject. InputError: an unknown class, a class
    without pictures, a name that is none.
    """
    root = Path(root)
    faces = []
    for folder in sorted(folder for folder in root.glob("[!.]*") if folder.is_dir()):
        emotion = {"sadness": "sad"}.get(folder.name, folder.name)
        if emotion not in CK_EMOTIONS.values():
            raise InputError(f"{folder} is not a class of CK+48; give the folder that holds anger, contempt, ...")
        files = sorted(folder.glob("[!.]*.png"))
        if not files:
            raise InputError(f"{folder} has no pictures; unpack CK+48 again")
        for path in files:
            subject, sequence, _ = _parse(path)
            faces.append(Ck48Face(path, emotion, subject, sequence))
    if not faces:
        raise InputError(f"{root} has no class folders; give the folder that holds anger, contempt, ...")
    return sorted(faces, key=lambda face: face.path.name)


def load_facs_codes(path) -> dict[tuple[int, int], dict[int, int | None]]:
    """Read a csv `subject,sequence,action_units` into {(subject, sequence): {AU: intensity}}, as `S010,004,4+7e+17d`.

    Intensity a to e is 1 to 5, None where none is given. An action unit on one side (L, R), or of one lip (T top, B
    bottom), counts as there. An empty code is a face in which none was seen. InputError with the line that cannot be
    read; OSError when the file cannot.
    """
    codes = {}
    for line, row in read_columns(path, ("subject", "sequence", "action_units")):
        name = f"{row['subject']},{row['sequence']}"
        match = re.fullmatch(r"S(\d{3}),(\d{3})", name, re.ASCII)
        if not match:
            raise InputError(f"{path} line {line}: {name!r} is not like S010,004; mend it")
        key = (int(match[1]), int(match[2]))
        if key in codes:
            raise InputError(f"{path} line {line}: {name} is there twice; keep one")
        codes[key] = {}
        for code in row["action_units"].split("+") if row["action_units"] else ():
            match = _FACS_CODE.fullmatch(code)
            if not match:
                raise InputError(f"{path} line {line}: {code!r} is not an action unit like 4, 17d or R12; mend it")
            codes[key][int(match[1])] = "abcde".index(match[2]) + 1 if match[2] else None
    if not codes:
        raise InputError(f"{path} has no rows; download it again")
    return codes
