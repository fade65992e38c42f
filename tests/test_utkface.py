"""UTKFace loader: names, odd names, groups of equal pictures; the seven age ranges."""

from collections import Counter

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image

from fer_lib.datasets.utkface import RACES, load_utkface, same_photograph
from fer_lib.errors import InputError
from fer_lib.faces import AGE_RANGES, age_range
from fer_lib.splits import load_split

NAMES = (
    "100_1_0_20170110183726390.jpg.chip.jpg",
    "1_0_2_20161219140642920.jpg.chip.jpg",
    "24_0_1_20170116220224657 .jpg.chip.jpg",  # both spellings are in the full release
    "55_0_4_20170116232725357jpg.chip.jpg",
)
ODD = ("39_1_20170116174525125.jpg.chip.jpg", "53__0_20170116184028385.jpg", "61_3_20170109150557335.jpg.chip.jpg")


@pytest.fixture
def folder(tmp_path):
    """Four usable names, three odd ones; the pictures of rows 0 and 2 are equal files."""
    place = tmp_path / "utkface" / "crop_part1"
    place.mkdir(parents=True)
    for name, grey in zip((*NAMES, *ODD), (10, 20, 10, 30, 10, 10, 10), strict=True):
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(place / name)
    (place / f"._{NAMES[0]}").touch()  # macOS leaves these beside unpacked files
    return place.parent


def test_names_and_groups_by_hand(folder):
    faces = load_utkface(folder)
    assert [path.name for path in faces.path] == list(NAMES) and len(faces) == 4
    assert faces.age.tolist() == [100, 1, 24, 55]
    assert faces.female.tolist() == [True, False, False, False]
    assert [RACES[i] for i in faces.race] == ["white", "asian", "black", "other"]
    assert faces.group[0] == faces.group[2] and len(set(faces.group)) == 3
    assert [path.name for path in faces.skipped] == list(ODD)


def test_rows_keep_their_groups(folder):
    faces = load_utkface(folder)
    some = faces[np.array([3, 2])]
    assert some.age.tolist() == [55, 24] and some.group.tolist() == [faces.group[3], faces.group[0]]
    assert len(faces[faces.age > 200]) == 0 and faces[faces.age > 200].pictures(4).shape == (0, 4, 4, 3)


def test_pictures_of_one_photograph(folder):
    """However it was stored, scaled, tinted, mirrored or cut; equal files are one even where one grey says nothing."""
    rng = np.random.default_rng(0)
    one = Image.open(PHOTOS / "astronaut.png").convert("RGB").crop((150, 30, 310, 190)).resize((200, 200))
    other = Image.fromarray(rng.integers(40, 200, (16, 16, 3), dtype=np.uint8)).resize((200, 200))
    place = folder / "crop_part1"
    one.save(place / "10_0_0_1.jpg")
    one.resize((150, 150)).save(place / "11_0_0_1.jpg", quality=60)
    one.point(lambda value: 0.7 * value + 20).save(place / "12_0_0_1.jpg")
    other.save(place / "13_0_0_1.jpg")
    one.rotate(90).save(place / "14_0_0_1.jpg")
    one.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "15_0_0_1.jpg")
    one.crop((6, 4, 196, 194)).resize((200, 200)).save(place / "16_0_0_1.jpg")
    one.rotate(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "17_0_0_1.jpg")
    faces = load_utkface(folder)
    number = dict(zip((path.name for path in faces.path), same_photograph(faces).tolist(), strict=True))
    same = [f"{age}_0_0_1.jpg" for age in (10, 11, 12, 15, 16, 17)]
    assert len({number[name] for name in same}) == 1
    assert number[NAMES[0]] == number[NAMES[2]]  # equal files
    assert len(set(number.values())) == 6  # these two, three more, and the six above as one
    assert [faces.path[row].name for row in sorted(set(number.values()))][0] == faces.path[0].name
    assert same_photograph(faces[:0]).shape == (0,)


def test_pictures_are_decoded_only_when_asked(folder):
    (folder / "crop_part1" / NAMES[3]).write_bytes(b"no picture")
    faces = load_utkface(folder)
    assert faces[:3].pictures(4)[:, 0, 0].tolist() == [[10] * 3, [20] * 3, [10] * 3]
    with pytest.raises(InputError, match="cannot be read as a picture"):
        faces.pictures(4)


def test_no_usable_file(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no age_gender_race_time.jpg files"):
            load_utkface(place)
    for name in (*ODD, "30_2_0_2017.jpg", "30_0_5_2017.jpg", "300_0_0_2017.jpg", "._30_0_0_2017.jpg", "face.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="holds no age_gender_race_time.jpg files"):
        load_utkface(tmp_path)


def test_every_age_has_its_range():
    for name in AGE_RANGES:
        first, last = map(int, name.split("-"))
        assert {age_range(age) for age in range(first, last + 1)} == {name}
    assert AGE_RANGES == ("1-2", "3-9", "10-20", "21-27", "28-45", "46-65", "66-116")


def test_ages_that_a_model_may_predict():
    assert [age_range(age) for age in (2.44, 2.46, 27.4, np.float32(27.6))] == ["1-2", "3-9", "21-27", "28-45"]
    assert [age_range(age) for age in (-3, 0, 130)] == ["1-2", "1-2", "66-116"]
    with pytest.raises(ValueError, match="age must be a number"):
        age_range(float("nan"))


def test_real_utkface(fer_data):
    faces = load_utkface(fer_data / "utkface")
    sizes = Counter(faces.group.tolist()).values()
    assert (len(faces), len(faces.skipped)) == (9778, 2)  # 9,780 files
    assert sum(size > 1 for size in sizes) == 99
    assert (faces.age.min(), faces.age.max(), int(faces.female.sum())) == (1, 110, 5406)
    assert faces[:2].pictures(200).shape == (2, 200, 200, 3)
    photograph = same_photograph(faces)
    assert len(set(photograph.tolist())) == 9453
    parts = load_split("utkface", [path.name for path in faces.path], photograph=photograph)
    assert {part: len(rows) for part, rows in parts.items()} == {"choose": 926, "report": 1852, "train": 6479}
