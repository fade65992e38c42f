"""What moved an answer: maps of hand-made classifiers, the shipped model's against random weights, and the picture."""

import shutil
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image
from scipy.stats import spearmanr
from test_contract import options_of
from test_scripts import run

from fer_lib import explain
from fer_lib.annotate import block_size
from fer_lib.detect import crop_faces
from fer_lib.explain import AGAINST, FOR, GAP, SIDE, TEXT, Explanation, draw_explanations, explained_picture
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.files import OutputNames
from fer_lib.images import read_image
from fer_lib.recognize import BATCH, Recognizer
from fer_lib.runtime import FastRuntime

S = 48


def odds(log_odds):
    """(N,) log-odds of column 1 to (N, 2) probabilities."""
    p = 1 / (1 + np.exp(-np.asarray(log_odds, np.float64)))
    return np.stack([1 - p, p], axis=1)


def brightness(crops, region):
    return crops[:, region[0], region[1]].mean(axis=(1, 2, 3)) / 255


# ---------------------------------------------------------------------------------------------------------- the map


LOW, HIGH = (slice(30, 40), slice(8, 18)), (slice(6, 16), slice(32, 42))  # rows, columns; middles (34.5, 12.5) ...


def two_spots():
    crop = np.zeros((S, S, 3), np.uint8)
    crop[LOW] = crop[HIGH] = 255
    return crop


def test_the_map_peaks_where_the_answer_looks_and_is_nil_elsewhere():
    found = explain.occlusion_map(lambda crops: odds(6 * brightness(crops, LOW) - 3), two_spots(), 1)
    assert found.heat.shape == (S, S) and found.heat.dtype == np.float32
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert abs(y - 34.5) <= 3 and abs(x - 12.5) <= 3  # half the distance of two covers, 2.4, and a pixel's half
    assert np.abs(np.subtract(found.place, (12.5, 34.5))).max() <= 2.5
    away = np.hypot(*(np.indices((S, S)) - np.array([34.5, 12.5])[:, None, None]))
    # a cover's deviation is 6.8; taking and giving credit makes 9.6, and 30 is 2.6 of these from the spot's border
    assert found.heat.max() > 0.5 and np.abs(found.heat[away > 30]).max() < 0.034 * found.heat.max()
    assert np.abs(found.heat[HIGH]).mean() < 0.01 * found.heat.max()
    assert found.before == pytest.approx(1 / (1 + np.exp(-3))) and found.after < 0.85


def test_what_speaks_against_is_negative():
    """The same answer, for which one spot speaks and against which the other does twice as much."""

    def classify(crops):
        return odds(2 * brightness(crops, LOW) - 4 * brightness(crops, HIGH))

    found = explain.occlusion_map(classify, two_spots(), 1)
    assert found.heat[34, 12] > 0.2 and found.heat[10, 36] < -0.4
    assert found.place[0] > 24 > found.place[1], "the upper right changes it most"
    assert found.after > found.before == pytest.approx(1 / (1 + np.exp(2)))
    other = explain.occlusion_map(classify, two_spots(), 0)
    np.testing.assert_allclose(other.heat, -found.heat, atol=1e-5)


@pytest.mark.parametrize("side", [48, 16, 1])
def test_an_equal_fall_everywhere_is_that_fall_in_every_pixel(side):
    """Any cover takes 1 off the log-odds: the mean of ones is one, at the borders too. In calls of at most BATCH."""
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    calls = []

    def classify(crops):
        assert crops.dtype == np.uint8 and crops.shape[1:] == crop.shape
        calls.append(len(crops))
        return odds(np.full(len(crops), 0.5 if len(calls) == 1 else -0.5))

    found = explain.occlusion_map(classify, crop, 1)
    np.testing.assert_allclose(found.heat, np.ones((side, side)), rtol=1e-5)
    assert (found.before, found.after) == (pytest.approx(0.6225, abs=1e-4), pytest.approx(0.3775, abs=1e-4))
    assert sum(calls) == 1 + explain.GRID**2 and max(calls) == BATCH


def test_covers_are_soft_and_one_third_wide():
    """On a chequerboard, whose blur is grey: half of the contrast is left a sixth of the side from the middle."""
    crop = np.repeat(np.indices((S, S)).sum(axis=0)[..., None] % 2 * 255, 3, axis=2).astype(np.uint8)
    seen = []

    def classify(crops):
        seen.extend(crops.astype(float))
        return odds(np.zeros(len(crops)))

    explain.occlusion_map(classify, crop, 1)
    middle = (np.array([4, 5]) + 0.5) * S / explain.GRID - 0.5  # row and column of place 45
    contrast = np.abs(seen[1 + 45][..., 0] - 127.5) / 127.5
    y, x = np.indices((S, S))
    away = np.hypot(y - middle[0], x - middle[1])
    assert contrast[away < 1].max() < 0.05 and contrast[away > 20].min() > 0.95
    assert contrast[np.abs(away - S / 6) < 0.4] == pytest.approx(0.5, abs=0.07)  # 0.4 pixels there are 0.035


def test_answers_that_are_all_or_nothing_stay_finite():
    always = explain.occlusion_map(lambda crops: np.tile([0.0, 1.0], (len(crops), 1)), two_spots(), 1)
    assert not always.heat.any() and (always.before, always.after) == (1, 1)

    def flips(crops):
        return np.eye(2)[(brightness(crops, LOW) > 0.9).astype(int)]

    assert np.isfinite(explain.occlusion_map(flips, two_spots(), 1).heat).all()


# ------------------------------------------------------------------------------------------------ the shipped model


@pytest.fixture(scope="module")
def recognise():
    return Recognizer()


def largest_face(recognise, name, shift=0):
    """The crop of a photo's largest face, cut `shift` of its pixels further right and down, and its answer's column."""
    image = read_image(PHOTOS / name)
    faces = recognise(image)
    row = np.argmax(faces.xyxy[:, 2] - faces.xyxy[:, 0])
    size, margin = recognise.card.input_size, recognise.card.crop_margin[recognise.detect.name]
    crop = crop_faces(image, faces[[row]], size + 2 * shift, margin * (1 + 2 * shift / size) + shift / size)[0]
    return crop[2 * shift :, 2 * shift :], faces.emotion[row].argmax()


def test_a_smile_is_happy_by_its_mouth(recognise):
    crop, column = largest_face(recognise, "astronaut.png")
    assert recognise.card.labels[column] == "happy"
    heat = explain.occlusion_map(recognise.classify, crop, column).heat
    y, x = np.indices(heat.shape) / heat.shape[0]
    positive = np.maximum(heat, 0)
    assert (
        y * positive
    ).sum() / positive.sum() > 0.52  # in the lower half, though every cover lowers so sure an answer
    mouth = (y > 0.6) & (y < 0.85) & (x > 0.3) & (x < 0.7)  # by eye
    assert heat[mouth].mean() > 1.5 * heat[~mouth].mean()


def randomised(card, folder, seed):
    """The fast form of a model with the values of every large array shuffled."""
    xml, weights = (shutil.copy(card.folder / name, folder) for name in ("model.xml", "model.bin"))
    values, shuffled = np.fromfile(weights, np.uint8), 0
    for data in ElementTree.parse(xml).iter("data"):
        kind = {"f16": np.float16, "f32": np.float32, "i8": np.int8}.get(data.get("element_type"))
        if kind is not None and int(data.get("size")) >= 200:
            start, size = int(data.get("offset")), int(data.get("size"))
            np.random.default_rng(seed).shuffle(values[start : start + size].view(kind))
            shuffled += size
    assert shuffled > 0.9 * len(values)
    values.tofile(weights)
    return FastRuntime(xml)


def test_random_weights_give_another_map(recognise, tmp_path):
    """Adebayo et al. (2018): a map that stays when the weights are random shows the picture, not the decision.

    A map has some ten independent places, so that single ones agree by chance (the correlations' deviation is 0.35):
    the mean of six is looked at. That a pixel's shift leaves the smile's map nearly as it is shows that there is
    something to lose.
    """
    names, head = ("astronaut.png", "grace_hopper.jpg"), next(iter(recognise.card.heads))
    faces = [largest_face(recognise, name) for name in names]
    trained = [explain.occlusion_map(recognise.classify, *face).heat for face in faces]
    smile_moved = largest_face(recognise, names[0], shift=1)[0]
    moved = explain.occlusion_map(recognise.classify, smile_moved, faces[0][1]).heat
    random, sizes = [], []
    for seed in range(3):
        network = randomised(recognise.card, tmp_path, seed)
        for face, heat in zip(faces, trained, strict=True):
            other = explain.occlusion_map(lambda crops, network=network: network(crops)[head], *face).heat
            random.append(spearmanr(heat, other, axis=None).statistic)
            sizes.append(np.abs(other).max() / np.abs(heat).max())
    assert spearmanr(trained[0], moved, axis=None).statistic > 0.7
    assert np.mean(random) < 0.5, random
    assert max(sizes) < 0.1, "what random weights answer hardly depends on the face; about 0.003 is usual"


# ------------------------------------------------------------------------------------------------------- the picture


def drawn(heat, after=0.5, place=(23.5, 23.5), emotion=4, count=1, va=None, note="", grey=128, title="face 1"):
    """draw_explanations of `count` equal grey faces."""
    views = np.full((count, SIDE, SIDE, 3), grey, np.uint8)
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.int32), (count, 1))
    va = None if va is None else np.tile(np.float32(va), (count, 1))
    faces = Faces(boxes, np.ones(count), np.eye(9, dtype=np.float32)[[emotion] * count], va, labels=EMOTIONS)
    return draw_explanations(views, faces, [Explanation(heat, 1.0, after, place)] * count, [title] * count, note=note)


def heated(picture, lines=1):
    """The right half of the first panel."""
    top = GAP + block_size(["x"] * lines, TEXT)[1]
    left = GAP + SIDE + GAP // 2
    return picture[top : top + SIDE, left : left + SIDE]


def test_colours_are_centred_at_nil_and_the_face_stays_visible():
    heat = np.zeros((S, S), np.float32)
    heat[:, :16], heat[:, 32:] = 2, -1
    shown = heated(drawn(heat)).astype(int)
    middle = 5  # a row beyond the ring's reach
    assert (shown[middle, SIDE // 2] == 128).all(), "nothing where the effect is nil"
    for x, end, strength in ((20, FOR, 1), (SIDE - 20, AGAINST, 0.5)):
        expected = 128 + explain.OPACITY * strength * (np.array(end) - 128)
        assert np.abs(shown[middle, x] - expected).max() <= 1
    faint = heated(drawn(heat / 100)).astype(int)
    assert np.abs(faint - shown)[middle, 20].max() > 50 and np.abs(faint[middle] - 128).max() < 8, "noise is no reason"


def test_the_ring_is_where_covering_changes_most():
    shown = heated(drawn(np.zeros((S, S), np.float32), place=(11.5, 35.5)))
    y, x = np.nonzero((shown < 64).all(axis=2))
    assert abs(x.mean() - 71.5) < 1 and abs(y.mean() - 215.5) < 1  # (11.5 + 0.5) * 6 - 0.5
    assert x.max() - x.min() == pytest.approx(SIDE / 3, abs=3)


def ink(picture):
    return (picture != 255).any(axis=2)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("va", [None, (0.5, -0.5)])
def test_panels_stand_in_a_grid_and_texts_fit(count, va):
    """All of equal size, none over another, none cut; the last words end inside the picture."""
    heat = np.zeros((S, S), np.float32)
    picture = drawn(heat, 1.0, emotion=EMOTIONS.index("uncertain"), count=count, va=va, note="n", title="face 1024")
    band = block_size(["x"] * (1 if va is None else 2), TEXT)[1]
    width, height = 2 * SIDE + GAP // 2 + GAP, band + SIDE + GAP
    columns, rows = {1: (1, 1), 2: (1, 2), 3: (1, 3), 20: (3, 7)}[count]
    assert picture.shape[1] == columns * width + GAP
    faces = (picture == 128).all(axis=2)
    for number in range(count):
        row, column = divmod(number, columns)
        x, y = GAP + column * width, GAP + row * height
        assert faces[y + band : y + band + SIDE, x : x + SIDE].all()
    assert faces.sum() > count * SIDE * SIDE * 1.9 and ink(picture)[rows * height + GAP :].any()
    border = ink(picture)
    assert not border[:, -GAP:].any() and not border[-GAP:].any() and not border[:, :GAP].any()
    assert block_size(["ring hidden: uncertain 100.00% to 99.99%"], TEXT)[0] < SIDE
    assert block_size(["face 1024: uncertain (surprise 38%)"], TEXT)[0] < SIDE


def test_a_small_change_has_decimals():
    pairs = [(0.97, 0.89), (0.9998, 0.9941), (0.9, 0.9), (0.99996, 0.99972), (1.0, 0.999999)]
    texts = ["97% to 89%", "100% to 99%", "90.00% to 90.00%", "100.00% to 99.97%", "100.00% to 100.00%"]
    assert [explain._change(*pair) for pair in pairs] == texts


def test_the_words(monkeypatch):
    """What every block says."""
    said = []
    before = explain.text_block
    monkeypatch.setattr(explain, "text_block", lambda lines, *rest: said.append(lines) or before(lines, *rest))
    drawn(np.zeros((S, S), np.float32), after=0.61, va=(0.5, -0.25), note="the 24 largest of 57 faces")
    assert said[:2] == [["face 1: happy 100%", "V +0.50  A -0.25"], ["ring hidden: happy 100% to 61%"]]
    assert "against" in said[2][0] and "red: spoke for" in said[3][0] and said[4][1] == "the 24 largest of 57 faces"


def test_of_a_crowd_the_largest_faces_are_shown_under_their_own_numbers(photo, monkeypatch):
    shown = []
    monkeypatch.setattr(explain, "draw_explanations", lambda *given: shown.append(given))
    monkeypatch.setattr(explain, "MOST_FACES", 2)
    sides = np.array([30, 10, 20])
    boxes = np.stack(
        [100 * np.arange(3), 100 * np.arange(3), 100 * np.arange(3) + sides, 100 * np.arange(3) + sides], 1
    )
    emotion = np.eye(9, dtype=np.float32)[[4, 5, 6]]
    faces = Faces(boxes.astype(np.int32), np.ones(3), emotion, labels=EMOTIONS)

    def crops(image, some, size=16):
        return crop_faces(image, some, size, 0.0)

    def classify(crops):
        level = crops.reshape(len(crops), -1).mean(axis=1) / 255
        return np.eye(9)[4] * level[:, None] + np.eye(9)[6] * (1 - level[:, None])

    recogniser = SimpleNamespace(crops=crops, classify=classify)
    explained_picture(recogniser, photo, faces)
    views, part, explanations, titles, scale, note = shown[0]
    assert views.shape == (2, SIDE, SIDE, 3) and part.xyxy.tolist() == boxes[[0, 2]].tolist()
    assert (titles, scale, note) == (["face 1", "face 3"], "unit", "the 2 largest of 3 faces")
    answers = classify(crops(photo, part))
    assert [each.before for each in explanations] == pytest.approx([answers[0, 4], answers[1, 6]])
    explained_picture(recogniser, photo, faces[:1], "1-7")
    assert shown[1][3:] == (["face 1"], "1-7", "")


# -------------------------------------------------------------------------------------------------- the command line


def test_option_is_of_photos_only():
    assert "--explain" in options_of("photo")
    assert "--explain" not in options_of("video") | options_of("webcam")


def test_names_keep_the_rules_of_results(tmp_path):
    names = OutputNames(tmp_path, keep=[tmp_path / "b_explained.jpg"])
    made = [names(source, ".png", "explained").name for source in ("a.png", "x/A.jpg", "b.png")]
    assert made == ["a_explained.png", "A_explained_2.png", "b_explained_2.png"]
    assert names("a.png", ".png").name == "a_fer.png"


def test_photos_are_explained(capsys, tmp_path):
    """One face, two faces, none; the annotated pictures are as without the option."""
    Image.new("RGB", (60, 40), "white").save(tmp_path / "none.png")
    inputs = (PHOTOS / "grace_hopper.jpg", PHOTOS / "two_faces.jpg", tmp_path / "none.png")
    code, out, error = run(capsys, "photo", *inputs, "--explain", "--out", tmp_path / "out")
    assert code == 0 and not error
    made = sorted(path.name for path in (tmp_path / "out").glob("*_explained.png"))
    assert made == ["grace_hopper_explained.png", "two_faces_explained.png"]
    assert [line for line in out.splitlines() if "wrote" in line] == [
        f"wrote {tmp_path / 'out' / name}" for name in made
    ]
    one, two = (read_image(tmp_path / "out" / name) for name in made)
    panel = block_size(["x"], TEXT)[1] + SIDE + GAP
    assert one.shape[1] == two.shape[1] == 2 * SIDE + GAP // 2 + 2 * GAP
    assert two.shape[0] - one.shape[0] == panel
    code, out, _ = run(capsys, "photo", inputs[0], "--out", tmp_path / "plain")
    assert code == 0 and "wrote" not in out
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["grace_hopper_fer.jpg"]
    np.testing.assert_array_equal(
        read_image(tmp_path / "plain" / "grace_hopper_fer.jpg"), read_image(tmp_path / "out" / "grace_hopper_fer.jpg")
    )
