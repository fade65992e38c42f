"""Answers by group of people: shares and intervals by hand, the largest face, and no face."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lib.datasets.utkface import UtkFace
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.groups import NO_FACE, answers, shares_by_group
from fer_lib.metrics import wilson_interval


def people(*rows) -> UtkFace:
    """From (age, female, race) each."""
    age, female, race = (np.array(column) for column in zip(*rows, strict=True)) if rows else np.zeros((3, 0), int)
    paths = np.array([Path(f"{i}.jpg") for i in range(len(rows))], object)
    return UtkFace(paths, age, female.astype(bool), race, np.arange(len(rows)))


def test_shares_by_hand():
    """Four women of 30, of whom one is not found, two are called happy and one sad; a man of 70."""
    data = people((30, True, 1), (30, True, 1), (30, True, 2), (30, True, 2), (70, False, 2))
    shares = shares_by_group(data, ["happy", "sad", NO_FACE, "happy", "anger"])
    assert {kind: {name: group["n"] for name, group in groups.items()} for kind, groups in shares.items()} == {
        "sex": {"female": 4, "male": 1},
        "age": {"28-45": 4, "66-116": 1},
        "race": {"black": 2, "asian": 3},
    }
    women = shares["sex"]["female"]
    assert list(women) == ["n", NO_FACE, *EMOTIONS] and women == shares["age"]["28-45"]
    assert women[NO_FACE] == pytest.approx([0.25, *wilson_interval(1, 4)])  # of all
    assert women["happy"] == pytest.approx([2 / 3, *wilson_interval(2, 3)])  # of those found
    assert women["sad"] == pytest.approx([1 / 3, *wilson_interval(1, 3)])
    assert shares["race"]["black"][NO_FACE] == pytest.approx([0, *wilson_interval(0, 2)])
    assert shares["race"]["black"]["anger"] == pytest.approx([0, *wilson_interval(0, 2)])  # no one, as a figure
    assert shares["race"]["asian"]["anger"][0] == shares["race"]["asian"]["happy"][0] == 0.5
    assert all(type(value) is float for value in women["happy"])  # as JSON takes it


def test_equal_pictures_count_once():
    data = people((30, True, 0), (30, True, 0), (30, True, 0))
    data = UtkFace(data.path, data.age, data.female, data.race, np.array([0, 1, 0]))
    assert shares_by_group(data, ["happy", "sad", "happy"])["sex"]["female"]["happy"][0] == 0.5


def test_groups_without_a_face_and_without_anyone():
    found = shares_by_group(people((1, True, 0)), [NO_FACE])["sex"]  # no face, so no shares of the emotions
    assert found == {"female": {"n": 1, NO_FACE: pytest.approx([1, *wilson_interval(1, 1)])}}
    assert shares_by_group(people(), []) == {"sex": {}, "age": {}, "race": {}}


def test_the_largest_face_answers_and_an_improbable_one_is_uncertain(tmp_path):
    """Pictures of one grey each: 10 holds a small sad and a large happy face, 20 an unsure one, 30 none."""

    def recognise(image):
        grey = int(image[0, 0, 0])
        boxes = {10: [(0, 0, 4, 4), (0, 0, 8, 8)], 20: [(0, 0, 4, 4)], 30: []}[grey]
        rows = np.full((len(boxes), 9), 0.05 if grey == 10 else 0.075, np.float32)
        for row, name in zip(rows, ("sad", "happy"), strict=False):
            row[EMOTIONS.index(name)] = 1 - 8 * row[0]
        boxes = np.array(boxes, np.int32).reshape(-1, 4)
        return Faces(boxes, np.ones(len(boxes)), rows, labels=EMOTIONS, uncertain_below=0.5)

    paths = [tmp_path / f"{grey}.png" for grey in (20, 10, 30)]
    for path in paths:
        Image.new("RGB", (8, 8), (int(path.stem),) * 3).save(path)
    assert answers(recognise, paths) == ["uncertain", "happy", NO_FACE] and answers(recognise, []) == []
