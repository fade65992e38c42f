"""CK+ (Lucey et al. 2010): apex frames at full size, one face each, with the subject in the name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_lib.errors import InputError

# The codes of CK+'s emotion files, in our names; FER+ and CK+ share these seven classes
CK_EMOTIONS = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}


@dataclass(frozen=True)
class ApexFrame:
    """The most intense frame of one labelled sequence."""

    path: Path
    emotion: str
    subject: int


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
        except (OSError, ValueError, KeyError):
            raise InputError(f"{code} does not hold the emotion code (1-7) of {path.name}") from None
    if not frames:
        raise InputError(f"{root} has no Emotions_t/S*.png; give the folder of CK+ apex frames")
    return frames
