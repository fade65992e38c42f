"""Films with known truth, the count of mistakes by hand, and what the tracker confuses in them."""

from dataclasses import replace

import numpy as np
import pytest

from fer_lib.detect import make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.scenes import HEIGHT, WIDTH, Portrait, Role, Scene, make_scenes, mistakes, overlaps, track_scene
from fer_lib.track import Tracker


def at(**places) -> Faces:
    """Boxes of 10 px at x, by their number: at(n0=5, n2=40)."""
    boxes = [(x, 0, x + 10, 10) for x in places.values()]
    ids = np.array([int(name[1:]) for name in places], np.int32)
    return Faces(np.array(boxes, np.int32).reshape(-1, 4), np.ones(len(boxes), np.float32), track_id=ids)


def test_overlaps_by_hand():
    a = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(overlaps(a, [[5, 0, 15, 10], [0, 0, 10, 10]]), [[50 / 150, 1], [0, 0]])
    assert overlaps(a[:0], a).shape == (0, 2) and overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]


def test_mistakes_by_hand():
    """Six frames: 1 is hidden in the third, missed in the fourth and then has 0's number, while 0 gets a new one."""
    truth = [at(n0=0, n1=50)] * 2 + [at(n0=0), at(n0=0, n1=50)] + [at(n0=0, n1=50)] * 2
    tracked = [at(n7=1, n8=52)] * 2 + [at(n7=0, n9=90), at(n7=0, n8=56), at(n5=0, n7=50), at(n5=0, n7=50)]
    assert mistakes(truth, tracked) == {
        "switches": 2,
        "fragmentations": 1,
        "most_fragmentations": 1,
        "shared": 1,
        "faces": 11,
        "missed": 1,
        "false": 2,
    }
    perfect = mistakes(truth, truth)
    assert perfect == {**dict.fromkeys(perfect, 0), "fragmentations": 1, "most_fragmentations": 1, "faces": 11}
    assert not any(mistakes([], []).values()) and mistakes([at()], [at()])["faces"] == 0


def test_a_pair_lasts_while_it_overlaps_enough():
    """The nearer box of another number takes the face only when the known one is gone."""
    truth = [at(n0=0)] * 3
    tracked = [at(n4=0), at(n4=3, n6=0), at(n4=8, n6=0)]
    assert mistakes(truth[:2], tracked[:2])["switches"] == 0
    assert mistakes(truth, tracked)["switches"] == 1


def test_one_number_for_two_persons_is_told():
    truth = [at(n0=0), at(n1=0)]
    assert mistakes(truth, [at(n3=0)] * 2)["shared"] == 1 and mistakes(truth, [at(n3=0)] * 2)["switches"] == 0


def test_the_truth_of_a_scene():
    """A face of 96 px walks from x 100 to 500 behind a wall from 200 to 400; in front of him, from 1.5 s, the other."""
    portraits = make_scenes()["crossing"].portraits
    walk = Role(0, ((0, 100, 180, 1), (2, 500, 180, 1)))
    other = Role(1, ((1.5, 400, 180, 1.4), (2, 500, 180, 1.4)), identity=5)
    scene = Scene(np.arange(21) / 10, (walk, other), portraits, walls=((200, 400),), cuts=(1.0,))
    frames = list(scene)
    assert len(frames) == len(scene) and frames[0][1].shape == (HEIGHT, WIDTH, 3) and frames[0][1].dtype == np.uint8
    assert [faces.track_id.tolist() for *_, faces in frames[:5]] == [[0]] * 5, "less than half is behind the wall"
    assert [faces.track_id.tolist() for *_, faces in frames[7:15]] == [[]] * 8
    assert frames[20][2].track_id.tolist() == [5], "he stands behind the other one"
    x1, y1, x2, y2 = frames[3][2].xyxy[0]
    assert (x2 - x1, y2 - y1, (y1 + y2) / 2) == (96, 96, 180) and abs((x1 + x2) / 2 - 160) <= 4, "but for the sway"
    eight, nine, ten = (frames[i][1].astype(int) for i in (8, 9, 10))
    assert np.abs(nine - ten).mean() > 20 > np.abs(eight - nine).mean(), "the cut"
    again = list(scene)[3]
    assert (again[1] == frames[3][1]).all() and again[0] == frames[3][0] == 0.3


def test_the_truth_of_a_dissolve():
    """Within 0.4 s about the cut both shots show, each as it stands there; the truth is that which shows more."""
    scene = make_scenes()["dissolves"]
    frames = list(scene)
    inside = [i for i, (time_s, *_) in enumerate(frames) if scene.fading(time_s) == 1.5]
    assert inside == list(range(33, 43)) and scene.fading(1.28) is None and scene.fading(2.9) == 3.0
    assert [frames[i][2].track_id.tolist() for i in (37, 38)] == [[0], [1]]
    cut = replace(scene, fade_s=0.0)
    first, later = (next(iter(replace(cut, times=np.array([t]))))[1].astype(float) for t in (1.485, 1.5))
    share = (frames[35][0] - 1.5) / 0.4 + 0.5
    np.testing.assert_allclose(frames[35][1], (1 - share) * first + share * later, atol=0.51)
    truth, tracked = track_scene(scene, TruthDetector(scene), Tracker())
    assert len(truth) == len(tracked) == len(frames) - 10 - 9, "what shows two truths is not counted"


def test_a_portrait_of_an_unknown_picture(tmp_path):
    with pytest.raises(InputError, match="where is the face"):
        Portrait(tmp_path / "x.png")


class TruthDetector:
    """Finds each true face of a scene, in the order of their places."""

    def __init__(self, scene):
        self._frames = iter([faces for *_, faces in scene])

    def __call__(self, image):
        faces = next(self._frames)
        return replace(faces[np.argsort(faces.xyxy[:, 0])], track_id=None)


def test_each_kind_of_mistake_is_seen_in_a_scene():
    """Trackers that are wrong on purpose."""

    class ByPlace(Tracker):
        def __call__(self, faces, time_s, image=None):
            return replace(faces, track_id=np.arange(len(faces), dtype=np.int32))

    class Fresh(Tracker):
        def __call__(self, faces, time_s, image=None):
            found = super().__call__(faces, time_s, image)
            return replace(found, track_id=found.track_id + 10 * (time_s > 2))

    scene = make_scenes(rate=10)["crossing"]
    assert mistakes(*track_scene(scene, TruthDetector(scene), ByPlace()))["switches"] >= 2
    found = mistakes(*track_scene(scene, TruthDetector(scene), Fresh()))
    assert (found["switches"], found["shared"]) == (2, 0)


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(rate=12.5)


@pytest.fixture(scope="module")
def blazeface():
    return make_detector("blazeface")


@pytest.mark.parametrize("name", list(make_scenes(rate=1)))
def test_no_switches_with_the_default_detector(scenes, blazeface, name):
    """Issue: no switch when faces cross, at most one fragmentation per face with a second of occlusion."""
    found = mistakes(*track_scene(scenes[name], blazeface, Tracker()))
    assert found["switches"] == found["shared"] == 0, found
    assert found["most_fragmentations"] <= (0 if name == "still camera" else 1), found
    assert found["missed"] <= 0.05 * found["faces"], "the pictures are good enough to find the faces in"


def test_no_switches_between_detections(blazeface):
    """Every third frame of 25 a second is looked at; the rest is motion."""
    for name in ("crossing", "dissolves"):
        found = mistakes(*track_scene(make_scenes()[name], blazeface, Tracker(), every=3))
        assert found["switches"] == found["shared"] == 0 and found["most_fragmentations"] <= 1, (name, found)
        assert found["missed"] <= 0.05 * found["faces"]
