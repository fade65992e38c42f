"""The emotions of a video beside what was acted: the list, the largest face of each frame, and scores by hand."""

import numpy as np
import pytest
from conftest import make_film

from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, Faces, over_emotions
from fer_lib.timeline import Acted, asked, follow, load_acted, score_acted


def test_the_list_is_read(tmp_path):
    path = tmp_path / "acted.csv"
    path.write_text("start,end,emotion\n0,1.5,happy\n\n 2 , 3 , sad\n")
    assert load_acted(path) == [Acted(0, 1.5, "happy"), Acted(2, 3, "sad")]
    path.write_text("start,end,emotion\n")
    assert load_acted(path) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,1,happy", "line 2: end is '1', not after its start, 1"),
        ("1,x,happy", "end is 'x', not a number"),
        ("-1,2,happy", "start is '-1', not from 0"),
        ("0,2,joy", "emotion is 'joy', not one of anger, contempt"),
        ("0,2", "line 2 has 2 fields"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, row, words):
    path = tmp_path / "acted.csv"
    path.write_text(f"start,end,emotion\n{row}\n")
    with pytest.raises(InputError, match=words):
        load_acted(path)


def test_over_all_emotions_by_hand():
    seven = np.arange(7)[None] / 21
    nine = over_emotions(seven, FER2013_EMOTIONS)
    assert nine.shape == (1, 9) and nine[0, EMOTIONS.index("contempt")] == nine[0, EMOTIONS.index("uncertain")] == 0
    np.testing.assert_allclose([nine[0, EMOTIONS.index(name)] for name in FER2013_EMOTIONS], seven[0], rtol=1e-6)


class Stub:
    """Says its emotion of every face; sees a small and a large face in light pictures, none in dark ones."""

    def __init__(self, emotion: str, labels=EMOTIONS):
        self.card, self.emotion, self.seen = self, emotion, []
        self.labels = labels

    def detect(self, image) -> Faces:
        boxes = [(0, 0, 4, 4), (2, 2, 30, 30)] if image.mean() > 100 else []
        return Faces(np.array(boxes, np.int32).reshape(-1, 4), np.ones(len(boxes), np.float32))

    def crops(self, image, faces):
        self.seen += faces.xyxy.tolist()
        return np.zeros((len(faces), 4, 4, 3), np.uint8)

    def classify(self, crops):
        return np.eye(len(self.labels), dtype=np.float32)[[self.labels.index(self.emotion)] * len(crops)]


def test_the_largest_face_of_each_frame(tmp_path):
    one, other = Stub("happy"), Stub("sad", FER2013_EMOTIONS)
    ask = {"a": asked(one), "b": asked(other)}
    times, found = follow(make_film(tmp_path / "a.mp4", np.full((32, 32, 3), 200, np.uint8), 3), one.detect, ask)
    np.testing.assert_allclose(times, [0, 0.04, 0.08], atol=1e-6)
    assert one.seen == other.seen == [[2, 2, 30, 30]] * 3
    assert [EMOTIONS[i] for i in found["a"].argmax(axis=1)] == ["happy"] * 3
    assert [EMOTIONS[i] for i in found["b"].argmax(axis=1)] == ["sad"] * 3
    dark = make_film(tmp_path / "b.mp4", np.full((32, 32, 3), 20, np.uint8), 2)
    times, found = follow(dark, one.detect, {"a": asked(one)})
    assert found["a"].shape == (2, 9) and np.isnan(found["a"]).all()


def test_scores_by_hand():
    """Six frames a second apart: happy, happy, sad, none, sad, sad."""
    happy, sad = (np.eye(9)[EMOTIONS.index(name)] for name in ("happy", "sad"))
    probability = np.stack([happy, 0.6 * happy + 0.4 * sad, sad, np.full(9, np.nan), sad, sad])
    times = np.arange(6.0)
    acted = [Acted(0, 3, "happy"), Acted(3, 5, "sad"), Acted(5, 9, "happy"), Acted(20, 21, "sad")]
    assert score_acted(times, probability, acted) == {"frames": 5, "frames_right": 3, "rows": 4, "rows_right": 2}
    assert score_acted(times, probability, []) == {"frames": 0, "frames_right": 0, "rows": 0, "rows_right": 0}
