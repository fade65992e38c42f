"""FER2013 and FER+ loaders: both csv headers, the folder version, the contract's rules by hand, refusals."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from fer_lib.datasets.fer2013 import FERPLUS_COLUMNS, VOTE_NAMES, Fer2013, load_fer2013, load_folder
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (6, 48, 48), dtype=np.uint8)
PICTURES[1] = PICTURES[4]  # a Training row that stands in PublicTest
USAGE = ["Training", "Training", "Training", "Training", "PublicTest", "PrivateTest"]
LABELS = [0, 3, 6, 1, 3, 5]
PLUS = list(FERPLUS_COLUMNS)


def write_csv(path, header="emotion,pixels,Usage", pictures=PICTURES, usage=USAGE):
    order = [name.strip().lower() for name in header.split(",")]
    lines = [header]
    for label, picture, use in zip(LABELS, pictures, usage, strict=True):
        cells = {"emotion": str(label), "pixels": " ".join(map(str, picture.ravel())), "usage": use}
        lines.append(",".join(cells[name] for name in order))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_votes(path, rows, usage=USAGE):
    lines = [",".join(["Usage", "Image name", *PLUS])]
    lines += [",".join([u, "", *(str(row.get(name, 0)) for name in PLUS)]) for u, row in zip(usage, rows, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_both_headers(tmp_path, header):
    data = load_fer2013(write_csv(tmp_path / "a.csv", header))
    assert len(data) == 6 and (data.pixels == PICTURES).all() and data.label.tolist() == LABELS
    assert data.votes is None and data.split("PublicTest").label.tolist() == [3]


def test_duplicates_of_test_pictures_leave_training(tmp_path):
    data = load_fer2013(write_csv(tmp_path / "a.csv"))
    assert data.training().label.tolist() == [0, 6, 1]
    assert data.in_training("PublicTest").tolist() == [True] and data.in_training("PrivateTest").tolist() == [False]


def test_a_picture_stands_in_the_last_of_its_parts_only(tmp_path):
    pictures = [PICTURES[i] for i in (0, 1, 1, 2, 2, 2)]
    usages = ["Training", "Training", "PublicTest", "Training", "PublicTest", "PrivateTest"]
    data = Fer2013(np.stack(pictures), np.zeros(6, int), np.array(usages))
    parts = {usage: rows.tolist() for usage, rows in data.parts().items()}
    assert parts == {"Training": [0], "PublicTest": [2], "PrivateTest": [5]}
    assert {usage: len(rows) for usage, rows in data[:1].parts().items()} == dict.fromkeys(parts, 0) | {"Training": 1}


VOTES = [
    {"neutral": 10},
    {"happiness": 6, "neutral": 4},  # 6 of 10: a majority
    {"anger": 5, "sadness": 5},  # half is not more than half
    {"fear": 1, "surprise": 4, "sadness": 3, "neutral": 2},  # after the single vote goes, 4 of 9
    {"unknown": 8, "NF": 2},
    {"NF": 6, "neutral": 4},
]


def test_majority_rule_by_hand(tmp_path):
    data = load_fer2013(write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", VOTES))
    neutral, happy = EMOTIONS.index("neutral"), EMOTIONS.index("happy")
    assert data.ferplus_majority().tolist() == [neutral, happy, -1, -1, -1, -1]


def test_a_single_vote_counts_zero(tmp_path):
    """5 fear against 4 + 1 others: 5 of 10 is no majority, but 5 of 9 is."""
    votes = [{"fear": 5, "surprise": 4, "sadness": 1}] * 6
    data = load_fer2013(write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", votes))
    assert data.ferplus_majority().tolist() == [EMOTIONS.index("fear")] * 6


def test_distribution_by_hand(tmp_path):
    data = load_fer2013(write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", VOTES))
    soft, valid = data.emotion_distribution()
    assert valid.tolist() == [True] * 5 + [False]  # the last is mostly not a face
    assert soft[1, EMOTIONS.index("happy")] == pytest.approx(0.6)
    assert soft[4, EMOTIONS.index("uncertain")] == 1  # the two NF votes are dropped
    np.testing.assert_allclose(soft[valid].sum(axis=1), 1)
    assert VOTE_NAMES[:-1] == EMOTIONS


def test_no_votes_no_distribution(tmp_path):
    data = load_fer2013(write_csv(tmp_path / "a.csv"))
    with pytest.raises(ValueError, match="fer2013new.csv"):
        data.ferplus_majority()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'emotion'"),
        ("emotion,pixels\n0,1 2 3\n", "no column 'Usage'"),
        ("emotion,pixels,Usage\n", "no rows"),
        ("emotion,pixels,Usage\n0,1 2 3,Training\n", "line 2: 3 pixels, not 2304"),
        ("emotion,pixels,Usage\n7," + "0 " * 2304 + ",Training\n", "line 2: emotion '7' is not 0-6"),
        ("emotion,pixels,Usage\n12," + "0 " * 2304 + ",Training\n", "line 2: emotion '12' is not 0-6"),
        ("emotion,pixels,Usage\n ," + "0 " * 2304 + ",Training\n", "line 2: emotion ' ' is not 0-6"),
        ("emotion,pixels,Usage\n0," + "0 " * 2304 + ",Test\n", "usage 'Test' is none of"),
        ("emotion,pixels,Usage\n0," + "0 " * 2303 + "256,Training\n", "not a number from 0 to 255"),
        ("emotion,pixels,Usage\n0," + "0 " * 2303 + "x,Training\n", "not a number from 0 to 255"),
        *(
            (f"emotion,pixels,Usage\n0,{'0 ' * 2303}{cell},Training\n", "not a number from 0 to 255")
            for cell in ("+3", "-0", "1_0", "٣")  # numpy reads them
        ),
        ("emotion,pixels,Usage\n0,1\n", "2 fields"),
        ("emotion,pixels,Usage,Emotion\n", "several columns 'emotion'"),
    ],
)
def test_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_fer2013(tmp_path / "a.csv")


def test_votes_of_other_pictures_are_refused(tmp_path):
    pictures = write_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match="does not match"):
        load_fer2013(pictures, write_votes(tmp_path / "v.csv", VOTES[:5], USAGE[:5]))
    with pytest.raises(InputError, match="does not match"):
        load_fer2013(pictures, write_votes(tmp_path / "w.csv", VOTES, USAGE[::-1]))


def test_unknown_split():
    data = Fer2013(PICTURES, np.array(LABELS), np.array(USAGE))
    with pytest.raises(InputError, match="Training, PublicTest, PrivateTest"):
        data.split("Validation")


def test_folder_version(tmp_path):
    """Kaggle's names, with upper case and another size of picture; order and labels by path."""
    for folder, value in (("angry", 10), ("Happy", 200), ("neutral", 90)):
        (tmp_path / folder).mkdir()
        Image.new("L", (96, 96), value).save(tmp_path / folder / "im0.png")
    pictures, labels, paths = load_folder(tmp_path)
    assert pictures.shape == (3, 48, 48) and pictures[:, 0, 0].tolist() == [200, 10, 90]
    assert [FER2013_EMOTIONS[i] for i in labels] == ["happy", "anger", "neutral"]
    assert [p.parent.name for p in paths] == ["Happy", "angry", "neutral"]


def test_folder_refusals(tmp_path):
    with pytest.raises(InputError, match="no class folders"):
        load_folder(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        load_folder(tmp_path / "none")
    (tmp_path / "happy").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        load_folder(tmp_path)
    (tmp_path / "happy" / "a.jpg").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        load_folder(tmp_path)
    (tmp_path / "grumpy").mkdir()
    with pytest.raises(InputError, match="not a class"):
        load_folder(tmp_path)


def test_the_real_files(real_fer2013):
    """The counts that the contract names."""
    data = real_fer2013
    private = data.split("PrivateTest")
    assert (len(data), len(data.training()), len(private)) == (35887, 28709 - 703, 3589)
    assert (private.ferplus_majority() >= 0).sum() == 3153
    assert (data.in_training("PrivateTest").sum(), data.in_training("PublicTest").sum()) == (288, 280)
    assert (~data.emotion_distribution()[1]).sum() == 177


def test_a_row_without_votes_has_no_label(tmp_path):
    votes = [{}, *VOTES[:2], {"fear": 1}, {"NF": 1}, {"neutral": 10}]
    data = load_fer2013(write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", votes))
    with warnings.catch_warnings(action="error"):
        soft, valid = data.emotion_distribution()
        majority = data.ferplus_majority()
    assert valid.tolist() == [False, True, True, True, False, True] and np.isfinite(soft).all()
    assert majority[[0, 3, 4]].tolist() == [-1, -1, -1] and (majority[[1, 2, 5]] >= 0).all()


@pytest.mark.parametrize("cell", ["x", "-1", "", "2.5", "nan", "9" * 30])
def test_a_vote_that_is_no_number(tmp_path, cell):
    pictures = write_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match="v.csv line 3: .* is not a number of votes") as error:
        load_fer2013(pictures, write_votes(tmp_path / "v.csv", [VOTES[0], {"anger": cell}, *VOTES[2:]]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["", "Training,x,1"])
def test_a_short_row_of_votes(tmp_path, line):
    pictures, votes = write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", VOTES)
    lines = votes.read_text().splitlines()
    votes.write_text("\n".join([*lines[:4], line, *lines[5:]]) + "\n")
    with pytest.raises(InputError, match="v.csv line 5 has [03] fields"):
        load_fer2013(pictures, votes)


def test_files_that_excel_saved(tmp_path):
    """It puts a byte order mark first."""
    pictures, votes = write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "v.csv", VOTES)
    for file in (pictures, votes):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(load_fer2013(pictures, votes)) == 6


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(InputError, match="a.csv: not a file"):
        load_fer2013(tmp_path / "a.csv")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "v.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="v.csv is not a csv text file"):
        load_fer2013(write_csv(tmp_path / "a.csv"), tmp_path / "v.csv")


def test_an_emotion_without_training_rows_is_named():
    labels = np.array([*range(7), 1])
    usage = np.array(["Training"] * 7 + ["PublicTest"])
    whole = Fer2013(np.zeros((8, 48, 48), np.uint8), labels, usage)
    whole.check_classes()
    without = whole[~((labels == 1) & (usage == "Training"))]  # PublicTest still has one
    with pytest.raises(InputError, match="^the data has no Training row of disgust; give a file with rows of every"):
        without.check_classes()
    with pytest.raises(InputError, match="no PublicTest row of anger, fear, happy, sad, surprise, neutral;"):
        whole.check_classes("PublicTest")
    with pytest.raises(InputError, match="no Training rows"):
        whole[[7]].check_classes()
