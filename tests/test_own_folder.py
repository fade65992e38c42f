"""A user's own folders as rows to train on: votes, labels, and a split that equal pictures and emotions hold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lib.datasets.fer2013 import USAGES, VOTE_NAMES, Fer2013
from fer_lib.datasets.own_folder import load_own_folder
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS


def picture(value: int) -> np.ndarray:
    """Another one for each number."""
    return np.random.default_rng(value).integers(0, 256, (48, 48), dtype=np.uint8)


def write_folders(root: Path, pictures: dict[str, list[int]]) -> Path:
    """pictures: {folder: numbers of its pictures}, in png, which keeps them exactly."""
    for name, numbers in pictures.items():
        (root / name).mkdir(parents=True)
        for i, number in enumerate(numbers):
            cv2.imwrite(str(root / name / f"{i:03d}.png"), picture(number))
    return root


def emotions(data: Fer2013) -> np.ndarray:
    """(N,) index into EMOTIONS of the votes."""
    return data.votes.argmax(axis=1)


def counts(data: Fer2013) -> dict[str, dict[str, int]]:
    """{usage: {emotion: rows}}"""
    return {
        usage: {EMOTIONS[i]: int((emotions(data)[data.usage == usage] == i).sum()) for i in np.unique(emotions(data))}
        for usage in USAGES
    }


def test_rows_by_hand(tmp_path):
    """Ten votes for the folder; FER2013's id, or -1 where it has none."""
    names = {"contempt": range(10), "happy": range(10, 22), "uncertain": range(22, 32)}
    data = load_own_folder(write_folders(tmp_path, names))
    assert len(data) == 32 and data.pixels.shape == (32, 48, 48) and data.pixels.dtype == np.uint8
    for name, numbers in names.items():
        rows = emotions(data) == EMOTIONS.index(name)
        assert (np.stack([picture(n) for n in numbers]) == data.pixels[rows]).all()
        assert set(data.label[rows]) == {FER2013_EMOTIONS.index(name) if name == "happy" else -1}
        assert (data.votes[rows] == [10 * (name == column) for column in VOTE_NAMES]).all()
    assert data.emotion_distribution()[1].all()


def test_spellings(tmp_path):
    """Kaggle's and FER+'s, in any case; two spellings of one emotion are one."""
    folders = ("Angry", "happiness", "SADNESS", "surprised", "unknown", "anger")
    data = load_own_folder(
        write_folders(tmp_path, {name: range(i * 10, i * 10 + 10) for i, name in enumerate(folders)})
    )
    found = {EMOTIONS[i]: int((emotions(data) == i).sum()) for i in np.unique(emotions(data))}
    assert found == {"anger": 20, "happy": 10, "sad": 10, "surprise": 10, "uncertain": 10}


def test_eight_tenths_train(tmp_path):
    """As many of each emotion as there are folds: one of each chooses, one reports."""
    data = load_own_folder(write_folders(tmp_path, {"sad": range(10), "happy": range(10, 40)}))
    assert counts(data) == {
        "Training": {"happy": 24, "sad": 8},
        "PublicTest": {"happy": 3, "sad": 1},
        "PrivateTest": {"happy": 3, "sad": 1},
    }


def test_a_seed_fixes_the_split(tmp_path):
    root = write_folders(tmp_path, {"sad": range(20), "happy": range(20, 40)})
    first, same, other = (load_own_folder(root, seed).usage for seed in (1, 1, 2))
    assert (first == same).all() and (first != other).any()


@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_stay_together(tmp_path, seed):
    """Copies in one folder, and one picture in two folders: none stands in two usages."""
    twice = [*range(12), *[3] * 8, *[4] * 3]
    data = load_own_folder(write_folders(tmp_path, {"sad": twice, "happy": [*range(20, 35), 5, 6]}), seed)
    assert len(data) == 23 + 17 and len(set(data.picture_hashes)) == 12 + 15
    for one in set(data.picture_hashes):
        assert len(set(data.usage[data.picture_hashes == one])) == 1
    parts = data.parts()  # refuses a leak
    assert sum(map(len, parts.values())) == len(data)


@pytest.mark.parametrize("seed", range(5))
def test_every_emotion_has_rows_in_each_usage(tmp_path, seed):
    """Nine emotions, as unlike in number as people's folders are, one with copies, at the least that is taken."""
    sizes = dict(zip(EMOTIONS, (10, 10, 11, 13, 120, 90, 19, 25, 10), strict=True))
    starts = np.cumsum([0, *sizes.values()])
    pictures = {name: [*range(starts[i], starts[i + 1])] for i, name in enumerate(EMOTIONS)}
    pictures["fear"] += pictures["fear"][:1] * 40
    found = counts(load_own_folder(write_folders(tmp_path, pictures), seed))
    assert all(rows > 0 for usage in found.values() for rows in usage.values()), found


def test_one_emotion_is_too_few(tmp_path):
    write_folders(tmp_path, {"sad": range(20), "sadness": range(20, 30)})
    with pytest.raises(InputError, match="has pictures of sad alone; add a folder of another emotion") as error:
        load_own_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_emotions_that_fer2013_does_not_know(tmp_path):
    """Alone they leave nothing to score its head by; beside one that it knows they are welcome."""
    write_folders(tmp_path / "none", {"contempt": range(10), "uncertain": range(10, 20)})
    with pytest.raises(InputError, match="has none of FER2013's emotions; add a folder of anger or disgust or"):
        load_own_folder(tmp_path / "none")
    write_folders(tmp_path / "one", {"contempt": range(10), "sad": range(10, 20)})
    assert len(load_own_folder(tmp_path / "one")) == 20


def test_too_few_pictures(tmp_path):
    """Copies do not count."""
    write_folders(tmp_path, {"sad": range(10), "happy": [*range(10, 19), 18, 18], "fear": range(20, 22)})
    with pytest.raises(InputError, match="has fewer than 10 different pictures of fear, happy; add some"):
        load_own_folder(tmp_path)


def test_what_load_folder_refuses(tmp_path):
    with pytest.raises(InputError, match="is not a folder with one folder per emotion"):
        load_own_folder(tmp_path / "none")
    write_folders(tmp_path, {"sad": range(10), "grumpy": range(10, 20)})
    with pytest.raises(InputError, match="grumpy is not a class; name the folders anger, contempt"):
        load_own_folder(tmp_path)
