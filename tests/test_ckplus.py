"""CK+ loaders: the Cohn-Kanade release, CK+48 and the table of FACS codes (the apex frames are in test_framing)."""

import pytest

from fer_lib.datasets.ckplus import Ck48Face, load_apex_frames, load_ck48, load_facs_codes, load_sequences
from fer_lib.errors import InputError


def write(path, text="") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_frames(root, sequence, numbers) -> None:
    """Empty files: the loaders read names only."""
    for number in numbers:
        write(root / "cohn-kanade-images" / sequence.replace("_", "/") / f"{sequence}_{number:08d}.png")


@pytest.fixture
def release(tmp_path):
    """S010_004 whole and labelled, S010_002 whole and unlabelled, S009_001 with its first and last frame only."""
    write_frames(tmp_path, "S010_004", range(1, 13))
    write_frames(tmp_path, "S010_002", range(1, 4))
    write_frames(tmp_path, "S009_001", (1, 20))
    write(tmp_path / "Emotion/S010/004/S010_004_00000012_emotion.txt", "   5.0000000e+00\n")
    write(tmp_path / "Emotion/S009/001/S009_001_00000020_emotion.txt", "   1.0000000e+00\n")
    (tmp_path / "Emotion/S010/002").mkdir()  # the release has a folder for each sequence, labelled or not
    write(tmp_path / "FACS/S010/004/S010_004_00000012_facs.txt", "   6.0e+00   0.0e+00\n   1.2e+01   3.0e+00\n")
    return tmp_path


# ------------------------------------------------------------------------------------------------ sequences


def test_sequences_by_hand(release):
    partial, unlabelled, smile = load_sequences(release)
    assert (partial.subject, partial.sequence, partial.emotion) == (9, 1, "anger")
    assert partial.frame_numbers == (1, 20) and not partial.is_whole and partial.action_units is None
    assert (unlabelled.subject, unlabelled.sequence, unlabelled.emotion) == (10, 2, None) and unlabelled.is_whole
    assert (smile.subject, smile.sequence, smile.emotion) == (10, 4, "happy")
    assert smile.frame_numbers == tuple(range(1, 13)) and smile.is_whole
    assert smile.frames[-1] == release / "cohn-kanade-images/S010/004/S010_004_00000012.png"
    assert smile.action_units == {6: None, 12: 3}


def test_facs_folder_is_optional_and_system_files_are_passed_over(release):
    (release / "FACS/S010/004/S010_004_00000012_facs.txt").unlink()
    (release / "FACS").rename(release / "elsewhere")
    write(release / "cohn-kanade-images/.DS_Store")
    write(release / "cohn-kanade-images/S010/004/._S010_004_00000012.png")  # macOS leaves these beside unpacked files
    write(release / "Emotion/S010/004/._S010_004_00000012_emotion.txt")
    sequences = load_sequences(release)
    assert [len(s.frames) for s in sequences] == [2, 3, 12] and all(s.action_units is None for s in sequences)


@pytest.mark.parametrize("numbers", [(12,), (1,), (2, 3), (1, 2, 4)])
def test_a_sequence_with_missing_frames_is_not_whole(tmp_path, numbers):
    write_frames(tmp_path, "S005_001", numbers)
    (tmp_path / "Emotion").mkdir()
    (sequence,) = load_sequences(tmp_path)
    assert sequence.frame_numbers == numbers and not sequence.is_whole


@pytest.mark.parametrize("text", ["", "8.0", "5.5", "happy", "nan", "5 5"])
def test_unusable_emotion_file(release, text):
    write(release / "Emotion/S010/004/S010_004_00000012_emotion.txt", text)
    with pytest.raises(InputError, match=r"S010_004_00000012_emotion.txt does not hold an emotion code \(0-7\)"):
        load_sequences(release)


def test_emotion_code_0_is_neutral(release):
    write(release / "Emotion/S010/004/S010_004_00000012_emotion.txt", "   0.0000000e+00\n")
    assert load_sequences(release)[-1].emotion == "neutral"


@pytest.mark.parametrize("text", ["12", "12 6", "12 2.5", "0 3", "AU12 3", "nan 3", "inf 3"])
def test_unusable_facs_file(release, text):
    write(release / "FACS/S010/004/S010_004_00000012_facs.txt", text)
    with pytest.raises(InputError, match="S010_004_00000012_facs.txt does not hold lines of AU and intensity"):
        load_sequences(release)


def test_frame_with_another_name(release):
    write(release / "cohn-kanade-images/S010/004/S010_004_00000012 (copy).png")
    with pytest.raises(InputError, match=r"\(copy\).png is not named like S010_004_00000019.png"):
        load_sequences(release)


def test_wrong_folders(release, tmp_path):
    with pytest.raises(InputError, match="nowhere has no cohn-kanade-images"):
        load_sequences(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no cohn-kanade-images"):
        load_sequences(release / "cohn-kanade-images")
    (release / "Emotion").rename(release / "Emotion_labels")
    with pytest.raises(InputError, match="has no folder Emotion beside"):
        load_sequences(release)


def test_apex_frame_with_an_endless_code(tmp_path):
    write(tmp_path / "Emotions_t/S005_001_00000011.png")
    write(tmp_path / "emotion/S005_001_00000011.txt", "inf")
    with pytest.raises(InputError, match=r"does not hold the emotion code \(1-7\)"):
        load_apex_frames(tmp_path)


# ------------------------------------------------------------------------------------------------ CK+48


def test_ck48_by_hand(tmp_path):
    write(tmp_path / "sadness/S011_005_00000018.png")
    write(tmp_path / "happy/S010_006_00000015.png")
    write(tmp_path / "happy/S010_006_00000014.png")
    write(tmp_path / ".git/S010_006_00000014.png")
    assert load_ck48(tmp_path) == [
        Ck48Face(tmp_path / "happy/S010_006_00000014.png", "happy", 10, 6),
        Ck48Face(tmp_path / "happy/S010_006_00000015.png", "happy", 10, 6),
        Ck48Face(tmp_path / "sadness/S011_005_00000018.png", "sad", 11, 5),
    ]


def test_ck48_refusals(tmp_path):
    with pytest.raises(InputError, match="has no class folders"):
        load_ck48(tmp_path)
    with pytest.raises(InputError, match="has no class folders"):
        load_ck48(tmp_path / "nowhere")
    (tmp_path / "anger").mkdir()
    with pytest.raises(InputError, match="anger has no pictures"):
        load_ck48(tmp_path)
    write(tmp_path / "anger/S010.png")
    with pytest.raises(InputError, match="S010.png is not named like"):
        load_ck48(tmp_path)
    (tmp_path / "anger").rename(tmp_path / "cross")
    with pytest.raises(InputError, match="cross is not a class"):
        load_ck48(tmp_path)


# ------------------------------------------------------------------------------------------------ FACS codes

HEADER = "subject,sequence,action_units\n"


def test_every_spelling_of_a_facs_code(tmp_path):
    rows = "S010,004,4+7e+17a\nS075,007,L4b+R6+T23+B22d\nS076,003,\n\n"
    write(tmp_path / "codes.csv", "\ufeff" + HEADER + rows)  # Excel's byte order mark; a blank line at the end
    assert load_facs_codes(tmp_path / "codes.csv") == {
        (10, 4): {4: None, 7: 5, 17: 1},
        (75, 7): {4: 2, 6: None, 23: None, 22: 4},
        (76, 3): {},
    }


@pytest.mark.parametrize("code", ["x", "4f", "4+", "4 7", "X4", "4D", "123"])
def test_unknown_facs_code_names_its_line(tmp_path, code):
    write(tmp_path / "codes.csv", HEADER + f"S010,004,4\nS010,005,{code}\n")
    with pytest.raises(InputError, match="codes.csv line 3: .* is not an action unit"):
        load_facs_codes(tmp_path / "codes.csv")


def test_facs_table_refusals(tmp_path):
    path = tmp_path / "codes.csv"
    for text, message in (
        ("", "no column 'subject'"),
        (HEADER, "has no rows"),
        (HEADER + "S010,004,4\nS010,004,5\n", "line 3: S010,004 is there twice"),
        (HEADER + "10,4,5\n", "line 2: '10,4' is not like S010,004"),
        (HEADER + "S010,004\n", "line 2 has 2 fields, the header 3"),
    ):
        write(path, text)
        with pytest.raises(InputError, match=message):
            load_facs_codes(path)


# ------------------------------------------------------------------------------------------------ the real ones


def test_real_sequences(fer_data):
    sequences = load_sequences(fer_data / "ckplus")
    both = [s for s in sequences if s.emotion and len(s.frames) > 1]
    codes = load_facs_codes(fer_data / "tables/ck_facs.csv")
    coded = [s for s in both if (s.subject, s.sequence) in codes]
    assert sum(s.frame_numbers[0] == 1 for s in sequences) == 575
    assert sum(s.emotion is not None for s in sequences) == 315
    assert (len(both), len({s.subject for s in both})) == (309, 117)
    assert (len(codes), len(coded), len({s.subject for s in coded})) == (486, 213, 88)
    given = [intensity for units in codes.values() for intensity in units.values()]
    assert sum(i is not None for i in given) / len(given) == pytest.approx(0.14, abs=0.005)  # as its notes say: 14 %


def test_real_ck48_and_apex_frames(fer_data):
    faces = load_ck48(fer_data / "CK+48")
    counts = {name: sum(face.emotion == name for face in faces) for name in {face.emotion for face in faces}}
    assert counts == dict(anger=135, contempt=54, disgust=177, fear=75, happy=207, sad=84, surprise=249)
    assert len({(face.subject, face.sequence) for face in faces}) == 327
    apex = {frame.path.stem[:8]: frame.emotion for frame in load_apex_frames(fer_data / "ck_apex")}
    assert {face.path.stem[:8]: face.emotion for face in faces} == apex  # two packs of the same 327 labels
