"""Choosing a crop margin on made-up apex frames, loading such frames, and using the card's margin."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fer_lib import framing, recognize
from fer_lib.affect import ADFES_POINTS
from fer_lib.datasets import data_folder, demo
from fer_lib.datasets.ckplus import ApexFrame, load_apex_frames
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, Faces
from fer_lib.framing import alignment_accuracy, choose_margin, even_odd, turned
from fer_lib.recognize import Recognizer

CODES = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}  # CK+'s ReadMe
HAPPY = 5.0
BOX = (24, 24, 40, 40)  # of 16 px in a picture of 64 px


def write_frame(root, subject: int, code: float | str | None = HAPPY, ring: int | None = 20, name="001_00000011"):
    """A black picture with a white square of `ring` pixels about the centre: where it ends, a crop has black corners.

    ring None: no face in it, all black.
    """
    for folder in ("Emotions_t", "emotion"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image = np.zeros((64, 64, 3), np.uint8)
    if ring is not None:
        image[32 - ring // 2 : 32 + ring // 2, 32 - ring // 2 : 32 + ring // 2] = 255
    stem = f"S{subject:03d}_{name}"
    Image.fromarray(image).save(root / "Emotions_t" / f"{stem}.png")
    if code is not None:
        (root / "emotion" / f"{stem}.txt").write_text(f"   {code}\n")


def detect(image: np.ndarray) -> Faces:
    boxes = [BOX, (0, 0, 4, 4)] if image.any() else []  # the smaller one is no one's face
    return Faces(np.array(boxes, np.int32).reshape(-1, 4), np.ones(len(boxes), np.float32))


def classify(crops: np.ndarray) -> np.ndarray:
    """Happy when the crop has a third of black or more, but is not all black; else fear."""
    black = (crops == 0).mean(axis=(1, 2, 3))
    happy = ((black > 0.3) & (black < 0.9)).astype(np.float32)[:, None]
    row = np.zeros((1, 9), np.float32)
    row[0, EMOTIONS.index("happy")] = 1
    return happy * row + (1 - happy) * np.roll(row, EMOTIONS.index("fear") - EMOTIONS.index("happy"))


def chosen_by_parity(classify, frames, size=32, margins=(0.0, 0.5)):
    return choose_margin(detect, classify, EMOTIONS, size, frames, even_odd(frames), margins)


# crops of 16 and 32 px at margins 0 and 0.5: a white square of 20 px fills the first and 39 % of the second; one of
# 12 px fills 56 % of the first and 14 % of the second; one of 40 px fills both
def test_even_subjects_choose_and_odd_ones_report(tmp_path):
    for subject, ring in ((2, 20), (4, 20), (6, 40), (1, 20), (3, 40), (5, 40), (7, 40)):
        write_frame(tmp_path, subject, ring=ring)
    chosen = chosen_by_parity(classify, load_apex_frames(tmp_path))
    assert chosen["margin"] == 0.5  # of the even ones, 2 of 3 are right at 0.5 and none at 0
    assert chosen["even_accuracy"] == {"0.0": 0.0, "0.5": pytest.approx(2 / 3)}
    assert (chosen["n"], chosen["accuracy"], chosen["found"]) == (4, 0.25, 1.0)
    assert 0 <= chosen["interval"][0] <= 0.25 <= chosen["interval"][1] <= 1


def test_odd_subjects_have_no_say(tmp_path):
    for subject in (2, 4):
        write_frame(tmp_path, subject, ring=12)  # right at 0 (44 % black), right at 0.5 too (86 %)
    write_frame(tmp_path, 6, ring=20)  # right at 0.5 only
    for subject in (1, 3, 5, 7, 9):
        write_frame(tmp_path, subject, ring=8)  # 75 % black at 0, 94 % at 0.5: right at 0 only
    chosen = chosen_by_parity(classify, load_apex_frames(tmp_path))
    assert (chosen["margin"], chosen["n"], chosen["accuracy"]) == (0.5, 5, 0.0)


def test_a_frame_without_a_face_is_wrong(tmp_path):
    def always_happy(crops):
        return np.tile(np.eye(9, dtype=np.float32)[EMOTIONS.index("happy")], (len(crops), 1))

    for subject, ring in ((1, 20), (2, 20), (3, None), (4, None), (5, 20), (7, 20)):
        write_frame(tmp_path, subject, ring=ring)
    chosen = chosen_by_parity(always_happy, load_apex_frames(tmp_path), 16, (0.0,))
    assert chosen["even_accuracy"] == {"0.0": 0.5} and (chosen["n"], chosen["accuracy"]) == (4, 0.75)
    assert chosen["found"] == pytest.approx(4 / 6)


def test_only_the_seven_classes_of_ck_compete(tmp_path):
    def mostly_neutral(crops):
        row = np.zeros((len(crops), 9), np.float32)
        row[:, EMOTIONS.index("neutral")], row[:, EMOTIONS.index("happy")] = 0.7, 0.3
        return row

    write_frame(tmp_path, 1), write_frame(tmp_path, 2)
    frames = load_apex_frames(tmp_path)
    assert chosen_by_parity(mostly_neutral, frames, 16, (0.0,))["accuracy"] == 1.0


def test_any_parts_of_separate_subjects(tmp_path):
    """Subject 2 has three frames that are right at margin 0 only, subject 3 two that are right at 0.5 only."""
    for name in ("001_00000011", "002_00000012", "003_00000013"):
        write_frame(tmp_path, 2, ring=8, name=name)
    write_frame(tmp_path, 3, ring=20), write_frame(tmp_path, 3, ring=20, name="002_00000012")
    frames = load_apex_frames(tmp_path)
    parts = {"choose": np.array([3, 4]), "report": np.array([0, 1, 2])}
    chosen = choose_margin(detect, classify, EMOTIONS, 32, frames, parts, (0.0, 0.5))
    assert (chosen["margin"], chosen["n"], chosen["accuracy"]) == (0.5, 3, 0.0)
    with pytest.raises(InputError, match="subject 2 stands in choose and in report"):
        choose_margin(detect, classify, EMOTIONS, 32, frames, {"choose": np.array([2, 3]), "report": np.array([0, 1])})
    with pytest.raises(InputError, match="0 frames to choose by and 3 to report on"):
        choose_margin(detect, classify, EMOTIONS, 32, frames, parts | {"choose": np.array([], int)})


def test_the_interval_is_drawn_by_subject(tmp_path):
    """Of two subjects that report, one is right in all four frames and one in none: a draw has 0, 4 or 8 of 8 right."""
    for subject, ring in ((2, 20), (1, 20), (3, 40)):
        for i in range(4):
            write_frame(tmp_path, subject, ring=ring, name=f"00{i}_00000011")
    chosen = chosen_by_parity(classify, load_apex_frames(tmp_path))
    assert (chosen["accuracy"], chosen["interval"]) == (0.5, (0.0, 1.0))  # by frame none is right in 1 of 256 draws


def test_margins_are_chosen_with_the_crops_of_the_alignment(tmp_path, monkeypatch):
    asked = []
    real = framing.crop_faces
    monkeypatch.setattr(framing, "crop_faces", lambda *given: asked.append(given[4]) or real(*given))
    write_frame(tmp_path, 1), write_frame(tmp_path, 2)
    frames = load_apex_frames(tmp_path)
    for level in (False, True):
        choose_margin(detect, classify, EMOTIONS, 16, frames, even_odd(frames), (0.0,), level=level)
    assert asked == [False, False, True, True]


def test_every_detector_at_hand_gets_a_margin(tmp_path, monkeypatch):
    """The dnn detector takes part where it was fetched; a model need not know all of CK+'s classes."""
    monkeypatch.setattr(framing, "make_detector", lambda name: detect)
    write_frame(tmp_path, 1), write_frame(tmp_path, 2), write_frame(tmp_path, 3, code=2.0)  # contempt
    frames = load_apex_frames(tmp_path)
    seven = [i for i, name in enumerate(EMOTIONS) if name in FER2013_EMOTIONS]
    labels = [EMOTIONS[i] for i in seven]
    for there in (True, False):
        monkeypatch.setattr(framing, "cached", lambda name, there=there: there)
        found = framing.choose_margins(lambda crops: classify(crops)[:, seven], labels, 32, frames)
        assert list(found) == ["haar", "blazeface", *(["dnn"] if there else [])]
        assert [(row["n"], row["accuracy"]) for row in found.values()] == [(2, 0.5)] * len(found)  # never contempt


# ------------------------------------------------------------------------------------------------ turned pictures


def test_turned_by_hand():
    """Clockwise: what is above the middle comes to its right; a picture that is not square keeps its size."""
    image = np.zeros((5, 7, 3), np.uint8)
    image[1, 3] = 255  # above the middle, off the edge
    right = turned(image, 90)
    assert right.shape == image.shape and np.argwhere(right[..., 0] > 200).tolist() == [[2, 4]]
    assert np.argwhere(turned(image, -90)[..., 0] > 200).tolist() == [[2, 2]]
    assert (turned(image, 0) == image).all()
    wide = np.repeat(np.array([[9], [50], [90]], np.uint8), 9, axis=1)[..., None].repeat(3, axis=2)
    assert turned(wide, 90)[1, :, 0].tolist() == [90, 90, 90, 90, 50, 9, 9, 9, 9]  # beyond it the edge is repeated


MIDDLE = 31.5


def write_head(root, subject: int, face: bool = True):
    """A grey picture with a white dot 12 px above its middle, as the only sign of which side is up."""
    write_frame(root, subject, ring=None)
    if face:
        image = np.full((64, 64, 3), 60, np.uint8)
        image[18:22, 30:34] = 255
        Image.fromarray(image).save(root / "Emotions_t" / f"S{subject:03d}_001_00000011.png")


def detect_head(image) -> Faces:
    """A box of 40 px about the middle and the roll by where the dot is."""
    if not image.any():
        return Faces.empty()
    y, x = np.argwhere(image[..., 0] > 180).mean(axis=0) - MIDDLE
    face = Faces(np.array([[12, 12, 52, 52]], np.int32), np.ones(1, np.float32))
    return replace(face, roll=np.degrees(np.arctan2([x], [-y])).astype(np.float32))


def classify_head(crops):
    """Happy when the dot is above the crop's middle, fear when not."""
    above = crops[:, 5:11, 17:23].max(axis=(1, 2, 3)) > 150
    return np.eye(9, dtype=np.float32)[np.where(above, EMOTIONS.index("happy"), EMOTIONS.index("fear"))]


def test_accuracy_by_alignment(tmp_path):
    """Level crops are right at every turn, upright ones only without; the frame without a face is always wrong."""
    for subject in (1, 2, 3):
        write_head(tmp_path, subject)
    write_head(tmp_path, 4, face=False)
    turns = []

    def detector(image):
        faces = detect_head(image)
        turns.extend(faces.roll.round().tolist() if len(faces) else [None])
        return faces

    frames = load_apex_frames(tmp_path)
    found = alignment_accuracy(detector, classify_head, EMOTIONS, 40, frames, 0.0, turns=(0, 45))
    assert found == {"none": {"0": 0.75, "45": 0.0}, "eyes level": {"0": 0.75, "45": 0.75}}
    assert turns == [0, 0, 0, None, -45, 45, -45, None]  # every second one the other way


def test_no_frame_is_no_part():
    assert even_odd([])["choose"].tolist() == even_odd([])["report"].tolist() == []


# ------------------------------------------------------------------------------------------------ apex frames


def test_apex_frames_have_the_names_of_their_codes(tmp_path):
    for code in CODES:
        write_frame(tmp_path, 100 + code, code=f"{code}.0000000e+00")
    frames = load_apex_frames(tmp_path)
    assert [frame.emotion for frame in frames] == list(CODES.values())
    assert [frame.subject for frame in frames] == [100 + code for code in CODES]
    assert frames[0] == ApexFrame(tmp_path / "Emotions_t" / "S101_001_00000011.png", "anger", 101)


@pytest.mark.parametrize("code", [None, "", "0", "8", "happy"])
def test_apex_frame_without_a_usable_code_is_refused(tmp_path, code):
    write_frame(tmp_path, 5, code=code)
    with pytest.raises(InputError, match=r"S005_001_00000011.txt does not hold the emotion code \(1-7\)"):
        load_apex_frames(tmp_path)


def test_no_apex_frames(tmp_path):
    with pytest.raises(InputError, match="no Emotions_t/S"):
        load_apex_frames(tmp_path)


# ------------------------------------------------------------------------------------------------ DATA of a notebook


def test_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("fer2013", "ckplus"):

        def write(folder, seed, part=part):
            (folder / part).mkdir(parents=True)
            (folder / part / f"seed{seed}").touch()

        monkeypatch.setitem(demo.PARTS, part, write)

    def drawn(folder):
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("seed*"))

    folder = data_folder("demo", seed=3)
    assert drawn(folder) == ["fer2013/seed3"] and folder.parts[0] == "out"
    # another notebook's parts and an older seed's files do not stay
    assert drawn(data_folder("demo", 4, ["ckplus"])) == ["ckplus/seed4"]
    assert drawn(data_folder("demo", 5, ("ckplus", "fer2013"))) == ["ckplus/seed5", "fer2013/seed5"]
    with pytest.raises(InputError, match="no demo part 'faces'"):
        data_folder("demo", 5, ["faces"])


def test_data_folder_of_real_data(tmp_path, monkeypatch):
    assert data_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    assert data_folder("FER_DATA", parts=["ckplus"]) == tmp_path
    with pytest.raises(InputError, match="nowhere is no folder"):
        data_folder("nowhere")
    monkeypatch.setenv("FER_DATA", "gone")
    with pytest.raises(InputError, match="gone is no folder"):
        data_folder("FER_DATA")
    monkeypatch.delenv("FER_DATA")
    with pytest.raises(InputError, match="FER_DATA is not set"):
        data_folder("FER_DATA")


# ------------------------------------------------------------------------------------------------ published numbers


def test_adfes_points_are_those_of_the_published_table():
    """van der Schalk et al. 2011, table 3, valence and arousal from 1 to 7; 4 is the middle of the scale."""
    assert ADFES_POINTS == {
        "happy": (5.88, 5.27),
        "surprise": (3.88, 4.31),
        "contempt": (3.58, 4.06),
        "disgust": (2.51, 4.24),
        "anger": (2.45, 4.72),
        "fear": (2.37, 3.87),
        "sad": (2.28, 3.14),
        "neutral": (4, 4),
        "uncertain": (4, 4),
    }


# ------------------------------------------------------------------------------------------------ the card's margin


@pytest.mark.parametrize("detector", ["haar", "blazeface"])
def test_recogniser_cuts_with_the_margin_of_its_card(tiny_model, photo, detector, tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    card = json.loads((folder / "card.json").read_text())
    margins = card["crop_margin"] = {"haar": 0.15, "blazeface": 0.35, "dnn": 0.25}
    (folder / "card.json").write_text(json.dumps(card))
    asked = []

    def crop_faces(image, faces, size, margin, *level):
        asked.append((size, margin))
        return real(image, faces, size, margin, *level)

    real = recognize.crop_faces
    monkeypatch.setattr(recognize, "crop_faces", crop_faces)
    assert len(Recognizer(str(folder), detector)(photo)) == 1
    assert asked == [(card["input_size"], margins[detector])]
