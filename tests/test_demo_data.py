"""The drawn demo data: what action units and age do to the pixels, the votes, and that it can be learned."""

from collections import Counter
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from fer_lib.datasets import demo
from fer_lib.datasets.action_units import OPENFACE_AUS
from fer_lib.datasets.fer2013 import USAGES, VOTE_NAMES, load_fer2013
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS

# A face whose parts can be told apart by colour: blue brows, green irises, red lips on grey skin
MARKED = demo.Identity(
    hair_style="bald", skin=(150, 150, 150), hair=(0, 0, 255), iris=(0, 255, 0), lips=(255, 0, 0), wrinkles=0.0
)
SIDE = 192


def part(colour: str, action_units, scene=demo.FRONTAL, identity=MARKED) -> np.ndarray:
    """(n, 2) x, y of the pixels of a marked part; `colour` is R, G or B."""
    picture = demo.draw_face(action_units, identity, scene, SIDE).astype(int)
    own = "RGB".index(colour)
    others = np.delete(picture, own, axis=2).max(axis=2)
    return np.argwhere(picture[..., own] > others + 40)[:, ::-1]


def corner_height(action_units, right: bool) -> float:
    """Row of the outermost lip pixels on one side of the picture; smaller is higher."""
    lips = part("R", action_units)
    outermost = lips[:, 0].max() if right else lips[:, 0].min()
    return lips[np.abs(lips[:, 0] - outermost) <= 2, 1].mean()


def lip_width(action_units) -> int:
    return int(np.ptp(part("R", action_units)[:, 0]))


def brow_rows(action_units, inner: bool) -> float:
    """Mean row of the brows' inner or outer thirds."""
    brows = part("B", action_units)
    away = np.abs(brows[:, 0] - (SIDE - 1) / 2)
    near, far = np.quantile(away, (0.25, 0.75))
    return brows[away <= near if inner else away >= far, 1].mean()


def mouth_opening(action_units) -> int:
    """Rows between the highest and the lowest lip pixel of the middle columns."""
    lips = part("R", action_units)
    return int(np.ptp(lips[np.abs(lips[:, 0] - (SIDE - 1) / 2) < 4, 1]))


def grey(action_units, identity=demo.AVERAGE) -> np.ndarray:
    return cv2.cvtColor(demo.draw_face(action_units, identity, size=SIDE), cv2.COLOR_RGB2GRAY).astype(float)


def rises(values) -> bool:
    return bool((np.diff(values) > 0).all())


STEPS = (0, 0.33, 0.66, 1)


def test_lip_corners_rise_with_au12_and_fall_with_au15():
    for right in (False, True):
        assert rises([-corner_height({12: a}, right) for a in STEPS])
        assert rises([corner_height({15: a}, right) for a in STEPS])


def test_lips_stretch_with_au12_and_au20_and_narrow_with_au23():
    assert rises([lip_width({12: a}) for a in STEPS])
    assert rises([lip_width({20: a}) for a in STEPS])
    assert rises([-lip_width({23: a}) for a in STEPS])
    assert rises([-len(part("R", {24: a})) for a in STEPS])  # pressed lips show less red


def test_one_side_moves_alone():
    right_rest, left_rest = corner_height({}, True), corner_height({}, False)
    person_left = {12: (1, 0)}  # the person's left is the picture's right
    assert corner_height(person_left, True) < right_rest - 4
    assert abs(corner_height(person_left, False) - left_rest) <= 1  # the middle of the mouth pulls a little
    one, mirrored = (demo.draw_face({12: pair, 1: pair}, MARKED) for pair in ((1, 0), (0, 1)))
    assert np.abs(one[:, ::-1].astype(int) - mirrored).mean() < 0.5  # only the eyes' highlights are not mirrored


def test_iris_shows_more_with_au5_and_vanishes_with_au45():
    assert rises([len(part("G", {5: a})) for a in STEPS])
    assert rises([-len(part("G", {45: a})) for a in STEPS])
    assert len(part("G", {45: 1})) == 0
    assert len(part("G", {5: 1})) > 1.4 * len(part("G", {}))


def test_lids_move_as_named():
    def lids(action_units):
        rows = part("G", action_units)[:, 1]
        return rows.min(), rows.max()

    upper, lower = lids({})
    assert lids({5: 1})[0] <= upper - 3  # the upper lid lifts
    for number in (6, 7):  # both lids close in, the lower one most
        assert lids({number: 1})[0] >= upper + 1 and lids({number: 1})[1] <= lower - 2, number


def test_brows_move_as_named():
    assert rises([-brow_rows({1: a, 2: a}, inner=True) for a in STEPS])
    assert rises([-brow_rows({1: a, 2: a}, inner=False) for a in STEPS])
    assert rises([brow_rows({4: a}, inner=True) for a in STEPS])
    # AU 1 alone tilts the brows one way, AU 2 alone the other
    rest = brow_rows({}, True) - brow_rows({}, False)
    assert brow_rows({1: 1}, True) - brow_rows({1: 1}, False) < rest - 3
    assert brow_rows({2: 1}, True) - brow_rows({2: 1}, False) > rest + 3


def test_mouth_opens_with_25_26_27_in_this_order():
    assert rises([mouth_opening(a) for a in ({}, {25: 1}, {26: 1}, {27: 1})])
    assert rises([mouth_opening({27: a}) for a in STEPS])


def test_every_action_unit_changes_the_picture_and_more_when_stronger():
    rest = grey({})
    for number in demo.ACTION_UNITS:
        half, full = (np.abs(grey({number: a}) - rest).mean() for a in (0.5, 1))
        assert full > half > 0.05, (number, half, full)  # 0.05 grey levels: about the area of one short fold


def test_wrinkles_and_beard_darken():
    old, young = grey({}, replace(demo.AVERAGE, wrinkles=1.0)), grey({})
    for rows, columns in (
        (slice(40, 62), slice(60, 132)),
        (slice(94, 100), slice(60, 74)),
        (slice(112, 136), slice(50, 80)),
    ):
        assert old[rows, columns].mean() < young[rows, columns].mean() - 0.5  # forehead, pouches, fold beside the nose
    assert grey({}, replace(demo.AVERAGE, beard=0.8)).mean() < grey({}).mean() - 1


def test_pose_light_and_zoom_act_as_named():
    def lips(**scene):
        return part("R", {}, replace(demo.FRONTAL, **scene)).mean(axis=0)

    x, y = lips()
    assert lips(yaw=20)[0] > x + 5 and lips(yaw=-20)[0] < x - 5
    assert lips(pitch=10)[1] < y - 3 and lips(pitch=-10)[1] > y + 3
    assert lips(roll=10)[0] < x - 3  # clockwise: the chin swings to the left of the picture
    assert lips(shift=(0.1, 0))[0] == pytest.approx(x + 0.1 * SIDE, abs=1)
    assert len(part("R", {}, replace(demo.FRONTAL, zoom=1.2))) > 1.3 * len(part("R", {}))  # 1.44 but for the rims
    lit = demo.draw_face({}, scene=replace(demo.FRONTAL, light=(-0.4, 0)), size=64).astype(float)
    assert lit[:, :32].mean() > lit[:, 32:].mean() + 20


def test_blur_and_noise():
    sharp = demo.draw_face({}, size=48).astype(float)
    blurred = demo.draw_face({}, scene=replace(demo.FRONTAL, blur=0.04), size=48).astype(float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.7 * np.abs(np.diff(sharp, axis=1)).mean()
    noisy = [demo.draw_face({}, scene=replace(demo.FRONTAL, noise=6, noise_seed=k), size=48) for k in (1, 1, 2)]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])
    assert 4.5 < (noisy[0] - sharp)[..., 0].std() < 6.5  # 6, less what is cut off at 0 and 255


@pytest.mark.parametrize("size", [8, 48, 97, 256])
def test_any_size(size):
    picture = demo.draw_face({12: 0.5}, size=size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    reference = cv2.resize(demo.draw_face({12: 0.5}, size=256), (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - reference).mean() < 5  # the same drawing; lines are whole pixels wide


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: demo.draw_face({3: 1}), "cannot be drawn"),
        (lambda: demo.draw_face({12: 1.2}), "0-1"),
        (lambda: demo.draw_face({12: (0.5, -0.1)}), "0-1"),
        (lambda: demo.draw_face({12: float("nan")}), "0-1"),
        (lambda: demo.draw_face(np.zeros(20)), "must be"),
        (lambda: demo.draw_face({}, size=7), "at least 8"),
        (lambda: demo.expression("joy", 1, np.random.default_rng(0)), "unknown emotion"),
        (lambda: demo.stills(0), "at least one"),
        (lambda: demo.stills(3, people=range(0)), "at least one"),
        (lambda: demo.fer2013_stills(5, 0, 5), "needs a row"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_prototypes_name_every_emotion_and_only_known_units():
    assert set(demo.PROTOTYPES) | {"uncertain"} == set(EMOTIONS)
    rng = np.random.default_rng(0)
    for emotion, forms in demo.PROTOTYPES.items():
        for form in forms:
            assert set(form) <= set(demo.ACTION_UNITS), emotion
        array = demo.expression(emotion, 1.0, rng)
        named = {number for form in forms for number in form}
        strong = {n for n, row in zip(demo.ACTION_UNITS, array.max(axis=1), strict=True) if row > 0.1}
        assert strong <= named and bool(strong) == (emotion != "neutral")
        assert demo.expression(emotion, 0.3, rng).max() <= 0.3 + 1e-9
    sides = {tuple(demo.expression("contempt", 1.0, rng).sum(axis=0).argsort()) for _ in range(20)}
    assert sides == {(0, 1), (1, 0)}  # either side of the face
    assert demo.expression("uncertain", 1.0, rng).max() <= 0.5


def test_scenes_vary_in_every_field():
    rng = np.random.default_rng(0)
    scenes = [demo.random_scene(rng) for _ in range(100)]
    limits = {"yaw": (-25, 25), "pitch": (-14, 14), "roll": (-14, 14), "zoom": (0.96, 1.16), "shift": (-0.03, 0.03)}
    limits |= {"gaze": (-1, 1), "light": (-0.45, 0.45), "exposure": (0.75, 1.12), "contrast": (0.8, 1.15)}
    limits |= {"noise": (0, 6), "blur": (0, 0.012), "background": (0, 255), "noise_seed": (0, 1 << 31)}
    for field in fields(demo.Scene):
        values = np.array([getattr(scene, field.name) for scene in scenes], float).reshape(100, -1)
        low, high = limits[field.name]
        assert low <= values.min() and values.max() <= high, field.name
        assert (np.ptp(values, axis=0) > 0.4 * (high - low)).all(), field.name  # light comes from above: half of it


def test_same_seed_same_data_another_seed_another():
    first, again, other = demo.stills(12, 5), demo.stills(12, 5), demo.stills(12, 6)
    for name in ("pictures", "emotion", "intensity", "votes", "label", "identity", "action_units"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
        assert not np.array_equal(getattr(first, name), getattr(other, name)) or name == "identity", name
    assert demo.random_identity(3, 5) == demo.random_identity(3, 5) != demo.random_identity(3, 6)


def test_stills_shapes_and_equal_parts():
    data = demo.stills(27, 1, size=32, people=range(4, 7))
    assert len(data) == 27
    assert data.pictures.shape == (27, 32, 32) and data.pictures.dtype == np.uint8
    assert data.action_units.shape == (27, len(demo.ACTION_UNITS), 2) and data.action_units.dtype == np.float32
    assert set(Counter(data.emotion.tolist()).values()) == {3}
    assert set(data.identity.tolist()) == {4, 5, 6}
    assert (data.intensity[data.emotion == EMOTIONS.index("neutral")] == 0).all()
    assert demo.stills(2, size=24, colour=True).pictures.shape == (2, 24, 24, 3)
    assert len(demo.stills(1)) == 1


def test_votes_are_ten_and_follow_the_intensity():
    data = demo.stills(360, 2, size=8)
    assert (data.votes.sum(axis=1) == demo.RATERS).all() and data.votes.shape == (360, len(VOTE_NAMES))
    own = data.votes[np.arange(360), data.emotion]
    named = ~np.isin(data.emotion, [EMOTIONS.index("neutral"), EMOTIONS.index("uncertain")])
    strong, weak = named & (data.intensity > 0.8), named & (data.intensity < 0.5)
    assert strong.sum() > 20 and weak.sum() > 10
    assert own[strong].mean() > 8 and own[weak].mean() < 6
    neutral = data.votes[:, EMOTIONS.index("neutral")]
    assert neutral[weak].mean() > neutral[strong].mean() + 1.5
    assert data.votes[:, VOTE_NAMES.index("NF")].sum() > 0  # some raters see no face in the worst pictures


def test_vote_probabilities():
    for emotion in EMOTIONS:
        for intensity in (0.0, 0.5, 1.0):
            chance = demo.vote_probabilities(emotion, intensity)
            assert chance.sum() == pytest.approx(1) and (chance >= 0).all()
    at = [demo.vote_probabilities("fear", i)[EMOTIONS.index("fear")] for i in (0.2, 0.4, 0.6, 0.8, 1)]
    assert rises(at)
    middling = demo.vote_probabilities("fear", 0.5)
    assert middling[EMOTIONS.index("surprise")] > 2 * middling[EMOTIONS.index("disgust")]
    assert demo.vote_probabilities("happy", 1, clarity=0.3)[EMOTIONS.index("uncertain")] > 0.5


def test_seven_class_label_is_one_of_the_votes():
    rng = np.random.default_rng(0)
    votes = np.zeros(10, int)
    votes[[EMOTIONS.index("contempt"), EMOTIONS.index("happy"), EMOTIONS.index("sad")]] = 5, 4, 1
    drawn = Counter(demo.sampled_label(votes, rng) for _ in range(500))
    assert set(drawn) == {FER2013_EMOTIONS.index("happy"), FER2013_EMOTIONS.index("sad")}
    assert 360 < drawn[FER2013_EMOTIONS.index("happy")] < 440  # 400 expected, standard deviation 9
    unseen = np.zeros(10, int)
    unseen[-1] = 10
    assert FER2013_EMOTIONS[demo.sampled_label(unseen, rng)] == "neutral"
    data = demo.stills(180, 3, size=8)
    majority = data.votes[:, [EMOTIONS.index(name) for name in FER2013_EMOTIONS]].argmax(axis=1)
    assert 0.6 < (data.label == majority).mean() < 0.99  # the two label sets agree mostly, not always


def test_files_load_with_counts_votes_and_copies(tmp_path):
    folder = demo.write_fer2013(tmp_path / "new", training=40, public=8, private=9, seed=4)
    data = load_fer2013(folder / "fer2013" / "fer2013.csv", folder / "fer2013" / "fer2013new.csv")
    assert [int((data.usage == usage).sum()) for usage in USAGES] == [40, 8, 9]
    assert list(data.usage) == sorted(data.usage, key=USAGES.index)  # official order
    drawn = demo.fer2013_stills(40, 8, 9, seed=4)
    for name, loaded in (("pictures", data.pixels), ("label", data.label), ("votes", data.votes)):
        assert np.array_equal(np.concatenate([getattr(drawn[usage], name) for usage in USAGES]), loaded), name
    assert len(data.training()) == 38  # two copies, one of each test part, are dropped
    assert data.in_training("PublicTest").sum() == 1 and data.in_training("PrivateTest").sum() == 1
    assert (data.votes.sum(axis=1) == 10).all()
    head = (folder / "fer2013" / "fer2013new.csv").read_text().splitlines()[0]
    assert head == (
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    )  # Microsoft's
    again = demo.write_fer2013(tmp_path / "again", training=40, public=8, private=9, seed=4)
    for name in ("fer2013.csv", "fer2013new.csv"):
        assert (folder / "fer2013" / name).read_bytes() == (again / "fer2013" / name).read_bytes()


def test_smallest_files(tmp_path):
    folder = demo.write_fer2013(tmp_path, 1, 1, 1)
    data = load_fer2013(folder / "fer2013" / "fer2013.csv", folder / "fer2013" / "fer2013new.csv")
    assert len(data) == 3 and len(data.training()) == 1


def test_nobody_is_in_two_parts():
    parts = demo.fer2013_stills(60, 16, 16, seed=2)
    test = [set(parts[usage].identity.tolist()) for usage in USAGES[1:]]
    assert not test[0] & test[1]
    pictures = {p.tobytes() for usage in USAGES[1:] for p in parts[usage].pictures}
    training = parts["Training"]
    originals = np.array([p.tobytes() not in pictures for p in training.pictures])
    assert originals.sum() == 58
    assert not set(training.identity[originals].tolist()) & (test[0] | test[1])
    everyone = {demo.random_identity(k, 2) for k in range(40)}
    assert len(everyone) == 40  # and different numbers are different faces


# ------------------------------------------------------------------------------------------------ ages


def marked_at(age: float, number: int) -> demo.Identity:
    """A random person's shapes at an age, in the colours of MARKED."""
    person = demo.random_identity(number, 5, age)
    return replace(
        MARKED, **{name: getattr(person, name) for name in SHAPES}, wrinkles=person.wrinkles, hair_style="bald"
    )


SHAPES = ("eye_size", "eye_height", "chin_length", "lip_fullness", "cheeks", "sag", "nose_length", "mouth_width")


def iris(age: float, number: int) -> np.ndarray:
    return part("G", {}, identity=marked_at(age, number))


def test_age_shows_in_the_drawing():
    people = range(4)
    for number in people:
        child, adult, old = (iris(age, number) for age in (3, 30, 85))
        assert child[:, 1].mean() > adult[:, 1].mean() + 5  # a child's eyes sit lower in the face
        assert len(child) > 1.2 * len(adult) > 1.2 * len(old)  # and are large; an old person's lids hang over them
        lips = [len(part("R", {}, identity=marked_at(age, number))) for age in (30, 85)]
        assert lips[1] < 0.85 * lips[0]
        lines = [np.abs(np.diff(grey({}, marked_at(age, number))[96:140, 50:140], axis=0)).mean() for age in (30, 85)]
        assert lines[1] > lines[0] + 0.3
    hair = [np.mean([demo.random_identity(k, 5, age).hair for k in range(30)]) for age in (30, 55, 80)]
    assert rises(hair) and hair[-1] > 180  # grey levels; white is 255


def test_a_person_keeps_what_does_not_age():
    young, old = demo.random_identity(3, 5, 8), demo.random_identity(3, 5, 80)
    assert (young.iris, young.eye_spacing, young.eye_tilt) == (old.iris, old.eye_spacing, old.eye_tilt)
    assert (young.age, old.age) == (8, 80)
    assert all(demo.random_identity(k, 5, age).beard == 0 for k in range(30) for age in (1, 15))
    drawn = [demo.random_identity(k, 5).age for k in range(200)]
    assert 14 <= min(drawn) < 20 and 60 < max(drawn) <= 70
    same_age = {demo.random_identity(k, 5, 60).wrinkles for k in range(10)}
    assert len(same_age) == 10  # people age unlike each other


@pytest.mark.parametrize("age", [0, 0.9, 110.1, float("nan")])
def test_impossible_age_is_refused(age):
    with pytest.raises(ValueError, match="1 to 110"):
        demo.random_identity(0, 0, age)


def test_every_age_is_drawn():
    for age in (1, 2.9, 19, 110):
        assert demo.draw_face({12: 1}, demo.random_identity(1, 0, age), size=16).shape == (16, 16, 3)


# ------------------------------------------------------------------------------------------------ sequences


def test_a_sequence_goes_from_neutral_to_the_apex():
    run = demo.sequence("surprise", 7, number=2, seed=3)
    assert run.pictures.shape == (7, 48, 48) and run.pictures.dtype == np.uint8
    assert run.action_units.shape == (7, len(demo.ACTION_UNITS), 2) and run.action_units.dtype == np.float32
    assert (run.action_units[0] == 0).all()
    shown = run.action_units[-1].max(axis=1) > 0.2
    assert shown.sum() >= 3 and (np.diff(run.action_units[:, shown], axis=0) > 0).all()
    assert (run.emotion, run.identity) == ("surprise", 2)
    still = demo.sequence("neutral", 7, number=2, seed=3)
    assert still.action_units.max() < 0.1  # no more than a resting face
    assert demo.sequence("fear", 2, size=24, colour=True).pictures.shape == (2, 24, 24, 3)


def test_muscles_do_not_start_together():
    units = demo.plan("surprise", 9, number=1, seed=4).action_units[..., 0]
    shown = units[-1] > 0.2
    share = units[4, shown] / units[-1, shown]  # of their apex, half way
    assert shown.sum() >= 3 and np.ptp(share) > 0.05


def test_a_sequence_is_one_take():
    """Same person, a camera that hardly moves; grain that is new in each frame."""
    planned = demo.plan("neutral", 9, number=1, seed=4)
    first, last = planned.scenes[0], planned.scenes[-1]
    assert (first.light, first.exposure, first.background) == (last.light, last.exposure, last.background)
    assert len({scene.noise_seed for scene in planned.scenes}) == 9
    angles = np.array([(scene.yaw, scene.pitch, scene.roll) for scene in planned.scenes])
    assert 0 < np.ptp(angles, axis=0).max() < 6 and np.abs(np.diff(angles, axis=0)).max() < 2  # degrees
    assert planned.draw(3, zoom=0.5).mean() != planned.draw(3).mean()


def test_same_arguments_same_sequence():
    first, again, other = (demo.sequence("happy", 4, number=1, seed=seed) for seed in (2, 2, 3))
    assert np.array_equal(first.pictures, again.pictures)
    assert not np.array_equal(first.action_units, other.action_units)


@pytest.mark.parametrize("emotion, frames, words", [("joy", 3, "unknown emotion"), ("happy", 1, "at least two")])
def test_impossible_sequence_is_refused(emotion, frames, words):
    with pytest.raises(ValueError, match=words):
        demo.sequence(emotion, frames)


# ------------------------------------------------------------------------------------------------ smiles


def of(made: demo.Smile, number: int) -> np.ndarray:
    """(T, 2) intensities of one action unit."""
    return made.action_units[:, demo.ACTION_UNITS.index(number)]


def smile_summary(made: demo.Smile) -> list[float]:
    """Frames of the onset and the offset, frames of the apex, difference of the sides, unsteadiness, peak of AU 6."""
    start, stop, end = made.ends
    corner = of(made, 12)
    peak = corner.max(axis=0)
    return [start, end - stop, stop - start, 1 - peak.min() / peak.max(), corner[start:stop].std(), of(made, 6).max()]


def test_posed_smiles_differ_from_genuine_ones_as_published():
    rng = np.random.default_rng(0)
    posed, genuine = (np.array([smile_summary(demo.smile(kind, rng)) for _ in range(300)]) for kind in (True, False))
    effect = (posed.mean(axis=0) - genuine.mean(axis=0)) / np.sqrt((posed.var(axis=0) + genuine.var(axis=0)) / 2)
    # faster on and off, longer on top, less symmetric, less steady, less AU 6; the standard error is 0.08
    assert (effect * [-1, -1, 1, 1, 1, -1] > 0.3).all(), effect
    assert (np.quantile(posed, 0.9, axis=0) > np.quantile(genuine, 0.1, axis=0)).all()  # and every sign overlaps
    assert (np.quantile(genuine, 0.9, axis=0) > np.quantile(posed, 0.1, axis=0)).all()


@pytest.mark.parametrize("posed", [True, False])
def test_a_smile_comes_and_goes(posed):
    made = demo.smile(posed, np.random.default_rng(1))
    start, stop, end = made.ends
    corner = of(made, 12).mean(axis=1)
    assert made.action_units.shape == (end, len(demo.ACTION_UNITS), 2) and made.posed == posed
    assert 0 < start < stop < end and made.action_units.min() >= 0 and made.action_units.max() <= 1
    assert corner[0] < 0.1 > corner[-1]
    assert rises(corner[: start - 1]) and corner[start:stop].min() > 0.8 * corner.max()
    again = demo.smile(posed, np.random.default_rng(1))
    assert np.array_equal(made.action_units, again.action_units)


def test_signals_are_the_mouth_and_the_lids():
    made = demo.smile(False, np.random.default_rng(3))
    signals = demo.smile_signals(made, np.random.default_rng(0))
    assert {name: values.shape for name, values in signals.items()} == {
        "lip": (made.ends[2], 2),
        "eye": (made.ends[2], 2),
    }
    assert np.corrcoef(signals["lip"][:, 0], of(made, 12)[:, 0])[0, 1] > 0.99
    assert np.corrcoef(signals["eye"][:, 0], of(made, 6)[:, 0])[0, 1] < -0.5  # the lids close as the cheeks rise


def test_phase_features_by_hand():
    # steps 0.1, 0.2, -0.1, -0.05; speeds 5, 10, -5, -2.5; their changes 0, 5, -15, 2.5
    middle = np.array([0, 0.1, 0.3, 0.2, 0.15])
    values = demo.phase_features(np.stack([middle + 0.01, middle - 0.01], axis=1))
    expected = [0.08, 0.08, 0.16, 0.5, 0.5, 0.2, 0.0375, 0.15, 0.075, 0.1376893, 0.3, 0.15, 0.15, 2 / 3, 1 / 3]
    expected += [10, 5, 7.5, 3.75, 5, 2.5, 2.5, -6.25, 1.875, 0.02]
    assert values == pytest.approx(expected)
    assert (demo.phase_features(np.full((3, 2), 0.4)) == 0).all()  # no movement, no feature
    with pytest.raises(ValueError, match="at least two"):
        demo.phase_features(np.zeros((1, 2)))


class Loaded:
    """A die that always shows the same: what the codes are without the luck."""

    def __init__(self, value):
        self.value = value

    def uniform(self, *bounds):
        return self.value

    def normal(self, mean, spread, n):
        return np.full(n, mean)


def test_facs_codes_as_a_coder_writes_them():
    units = demo.action_unit_array({1: 0.1, 12: 1, 14: (0.9, 0.1), 20: (0, 0.3), 25: 0.5})
    assert demo.facs_code(units, Loaded(0.9)) == "12+L14+R20+25"
    assert demo.facs_code(units, Loaded(0.0)) == "12e+L14e+R20b+25c"
    assert demo.facs_code(demo.action_unit_array({}), Loaded(0.9)) == ""


def test_openface_intensities():
    units = demo.action_unit_array({6: 0.5, 12: (1, 0.6), 24: 1})
    measured = demo.openface_intensities(units, Loaded(0.8))  # a gain of 0.8, no noise
    expected = dict.fromkeys(OPENFACE_AUS, 0) | {6: 0.8 * 2.5 - 0.3, 12: 0.8 * 4 - 0.3}  # AU 24 is not among them
    assert measured == pytest.approx(list(expected.values()))
    noisy = np.array([demo.openface_intensities(units, np.random.default_rng(k)) for k in range(200)])
    assert noisy.min() == 0 and noisy.max() <= 5 and np.array_equal(noisy, np.round(noisy, 2))


# ------------------------------------------------------------------------------------------------ learning


def small_network():
    """Three convolutions, 44,000 parameters, seeded."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((48, 48, 1)), layers.Rescaling(1 / 127.5, -1)])
    for filters in (16, 32, 64):
        network.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        network.add(layers.BatchNormalization(momentum=0.8))  # few steps
        network.add(layers.ReLU())
        network.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dropout(0.5), layers.Dense(len(EMOTIONS), "softmax")):
        network.add(layer)
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return network


def test_a_small_network_learns_the_expressions_and_not_shuffled_labels():
    training = demo.stills(720, 1, people=range(180))
    test = demo.stills(225, 1, people=range(180, 240))  # other people
    both = np.concatenate([training.pictures, training.pictures[:, :, ::-1]])[..., None]  # mirrored too

    def accuracy(labels) -> float:
        network = small_network()
        network.fit(both, np.tile(labels, 2), batch_size=32, epochs=10, verbose=0)
        return network.evaluate(test.pictures[..., None], test.emotion, verbose=0)[1]

    learned = accuracy(training.emotion)
    control = accuracy(np.random.default_rng(0).permutation(training.emotion))
    # chance is 1/9, its standard deviation over 225 pictures 0.021
    assert learned > 0.45, learned
    assert control < 0.20, control


GRADIENTS = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)


def gradients(pictures) -> np.ndarray:
    return np.stack([GRADIENTS.compute(picture).ravel() for picture in pictures])


def test_ages_are_learned_on_new_people():
    from sklearn.linear_model import Ridge

    def faces(people):
        rng = np.random.default_rng(people.start)
        ages = rng.uniform(1, 110, len(people))
        pictures = [
            cv2.cvtColor(
                demo.draw_face({}, demo.random_identity(k, 3, age), demo.random_scene(rng), 48), cv2.COLOR_RGB2GRAY
            )
            for k, age in zip(people, ages, strict=True)
        ]
        return gradients(pictures), ages

    (x, age), (x_test, age_test) = faces(range(240)), faces(range(240, 320))

    def error(ages) -> float:
        return np.abs(Ridge(2.0).fit(x, ages).predict(x_test) - age_test).mean()

    constant = np.abs(np.median(age) - age_test).mean()  # about 27 years
    assert error(age) < 0.6 * constant, (error(age), constant)
    assert error(np.random.default_rng(0).permutation(age)) > 0.85 * constant


def test_the_direction_of_a_sequence_is_learned_on_new_people():
    from sklearn.linear_model import LogisticRegression

    def change(people) -> np.ndarray:
        """(n, features): apex less neutral; the sequence run backwards is its negative."""
        plans = [demo.plan(list(demo.PROTOTYPES)[k % 4], 6, k, seed=2) for k in people]  # anger to fear
        return gradients([p.draw(5) for p in plans]) - gradients([p.draw(0) for p in plans])

    x, x_test = change(range(120)), change(range(120, 200))
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], len(x))

    def forward(labels) -> float:
        model = LogisticRegression(fit_intercept=False).fit(x * signs[:, None], labels)
        return (model.predict(x_test) == 1).mean()

    assert forward(signs) > 0.8, forward(signs)
    assert 0.3 < forward(rng.permutation(signs)) < 0.7


def test_posed_smiles_are_told_from_genuine_ones_but_not_always():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    posed = np.arange(1200) % 2 == 0
    x = np.array([smile_summary(demo.smile(bool(kind), rng)) for kind in posed])

    def accuracy(labels) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:600], labels[:600])
        return model.score(x[600:], posed[600:])

    assert 0.75 < accuracy(posed) < 0.92, accuracy(posed)  # 600 smiles: a standard deviation of 0.016
    assert 0.35 < accuracy(rng.permutation(posed)) < 0.65
