"""What is done on which frame, in which order, and how much is held."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS

from fer_lib import pipeline
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.pipeline import Analysis
from fer_lib.recognize import Recognizer
from fer_lib.video import Frame

HAPPY = EMOTIONS.index("happy")


def frames(times, paint=None, size=(48, 64)):
    """Frames of grey noise; paint(index) is added to it."""
    ground = np.random.default_rng(0).integers(0, 200, (*size, 3), dtype=np.uint8)
    for index, time_s in enumerate(times):
        yield Frame(index, float(time_s), ground.copy() if paint is None else paint(index, ground), None)


class InParts:
    """A recogniser made of parts, without networks: faces where `where` says, happy as the crop's brightness / 255."""

    def __init__(self, where, can_follow=True):
        self.where, self.scans, self.follows, self.batches, self.threads = where, 0, 0, [], set()
        self.detect = _Detect(self) if can_follow else self.scan

    def scan(self, image):
        self.scans += 1
        self.threads.add(threading.current_thread().name)
        return self.boxes(image)

    def boxes(self, image):
        found = self.where(image)
        xyxy = np.array(found, np.int32).reshape(-1, 4)
        return Faces(xyxy, np.ones(len(found), np.float32))

    def cut(self, image, faces):
        crops = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in faces.xyxy.tolist()]
        return (np.array([crop.mean() if crop.size else 0 for crop in crops], np.float32),)

    def read(self, crops):
        if len(crops[0]):
            self.batches.append(len(crops[0]))
        happy = crops[0] / 255
        emotion = np.zeros((len(happy), len(EMOTIONS)), np.float32)
        emotion[:, HAPPY], emotion[:, 0] = happy, 1 - happy
        return {"emotion": emotion}

    def labelled(self, faces, found):
        return replace(faces, **found, labels=EMOTIONS)


class _Detect:
    def __init__(self, owner):
        self._owner = owner

    def __call__(self, image):
        return self._owner.scan(image)

    def follow(self, image, faces):
        self._owner.follows += 1
        return self._owner.boxes(image)


def in_the_middle(image):
    return [(20, 10, 44, 34)]


def run(video, recognize, **options):
    with Analysis(video, recognize, **options) as analysis:
        return [(frame.index, faces, measured) for frame, faces, measured in analysis]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(5, 1), (10, 1), (11, 2), (25, 3), (30, 3), (50, 5), (60, 6)],
)
def test_nothing_carried_is_a_tenth_of_a_second_old(rate, expected):
    seen = run(frames(np.arange(40) / rate), InParts(in_the_middle))
    assert [index for index, _, measured in seen if measured] == list(range(0, 40, expected))
    assert [index for index, *_ in seen] == list(range(40)) and all(len(faces) == 1 for _, faces, _ in seen)


def test_variable_rate_is_measured_by_time():
    times = [0, 0.05, 0.09, 0.11, 0.5, 0.55, 0.61, 3.0, 3.01]
    seen = run(frames(times), InParts(in_the_middle))
    assert [index for index, _, measured in seen if measured] == [0, 3, 4, 6, 7]


def test_every_nth_frame_is_analysed_and_the_others_carry():
    def brighter(index, ground):
        return np.full_like(ground, 5 * index)

    seen = run(frames(np.arange(20) / 25, brighter), InParts(in_the_middle), every=4, smooth_s=0)
    assert [index for index, _, measured in seen if measured] == [0, 4, 8, 12, 16]
    for index, faces, _ in seen:
        assert faces.emotion[0, HAPPY] == pytest.approx(5 * (index // 4 * 4) / 255, abs=1e-6)
        assert faces.track_id.tolist() == [0] and faces.emotion_raw is None
    everything = run(frames(np.arange(20) / 25, brighter), InParts(in_the_middle), every=1)
    assert all(measured for *_, measured in everything)


def test_a_plain_callable_is_asked_for_each_analysed_frame():
    def recognize(image):
        asked.append(1)
        return InParts(in_the_middle).boxes(image)

    for every, count in ((None, 9), (1, 9), (3, 3)):
        asked = []
        seen = run(frames(np.arange(9) / 25), recognize, every=every)
        assert len(asked) == sum(measured for *_, measured in seen) == count
        assert all(faces.track_id.tolist() == [0] for _, faces, _ in seen)


def test_smoothed_and_raw_on_measured_frames_and_both_carried():
    def blink(index, ground):
        return np.full_like(ground, 255 if index >= 3 else 0)

    seen = run(frames(np.arange(6) / 25, blink), InParts(in_the_middle), smooth_s=0.3)
    happy = [float(faces.emotion[0, HAPPY]) for _, faces, _ in seen]
    raw = [float(faces.emotion_raw[0, HAPPY]) for _, faces, _ in seen]
    share = 1 - np.exp(-0.12 / 0.3)  # frame 3 is measured, 0.12 s after frame 0
    assert happy == pytest.approx([0, 0, 0, share, share, share]) and raw == [0, 0, 0, 1, 1, 1]


def test_boxes_move_on_between():
    """A face that goes to the right by 2 px a frame, looked at on each third: elsewhere it is where it should be."""
    times = np.arange(30) / 25
    video = [replace(frame, image=frame.image) for frame in frames(times, size=(48, 160))]
    for frame in video:
        frame.image[0, 0, 0] = frame.index
    moving = InParts(lambda image: [(2 * int(image[0, 0, 0]) + 10, 10, 2 * int(image[0, 0, 0]) + 34, 34)])
    seen = run(video, moving)
    assert len(seen) == 30 and 8 < sum(measured for *_, measured in seen) < 14
    for index, faces, _ in seen[9:]:
        assert abs(int(faces.xyxy[0, 0]) - (2 * index + 10)) <= 3


def test_new_faces_are_looked_for_within_half_a_second():
    for rate in (3, 7, 11, 24, 25, 30, 60):
        seen = InParts(lambda image: [], can_follow=True)
        run(frames(np.arange(4 * rate) / rate), seen)
        assert seen.scans >= 4 / 0.5 - 1, rate  # 4 s

    times = np.arange(50) / 25

    def appears(index, ground):
        image = ground.copy()
        image[0, 0] = 255 if index >= 1 else 0  # right after the first search
        return image

    recognize = InParts(lambda image: in_the_middle(image) if image[0, 0, 0] == 255 else [])
    recognize.detect.follow = lambda image, faces: faces
    first = next(index for index, faces, _ in run(frames(times, appears), recognize) if len(faces))
    assert times[first] - times[1] <= 0.5


def test_detector_that_can_follow_searches_rarely():
    still, searching = InParts(in_the_middle), InParts(in_the_middle, can_follow=False)
    for recognize in (still, searching):
        assert len(run(frames(np.arange(50) / 25), recognize)) == 50
    assert still.scans + still.follows == searching.scans == 17  # analysed frames of 2 s
    assert still.scans <= 5


def test_cut_is_searched_at_once():
    grounds = [np.random.default_rng(seed).integers(0, 255, (3, 4, 3)) for seed in (1, 2)]

    def scene(index, ground):
        big = np.kron(grounds[index >= 7], np.ones((16, 16, 1)))
        return np.ascontiguousarray(big.astype(np.uint8))

    recognize = InParts(in_the_middle)
    seen = run(frames(np.arange(12) / 25, scene), recognize)
    assert [index for index, _, measured in seen if measured] == [0, 3, 6, 7, 10]
    assert recognize.scans == 2 and all(len(faces) == 1 for _, faces, _ in seen)


def test_a_dissolve_is_analysed_until_the_new_face_has_its_number():
    """Dark to bright noise over 0.3 s: analysed at once where another seems to have come, whose smoothing starts."""

    def fade(index, ground):
        share = np.clip((index - 11) / 8, 0, 1)
        return np.round((1 - share) * ground / 4 + share * (255 - np.rot90(ground, 2) / 4)).astype(np.uint8)

    seen = run(frames(np.arange(30) / 25, fade), InParts(in_the_middle))
    begun = next(index for index, faces, _ in seen if faces.track_id.tolist() == [1])
    assert 15 <= begun <= 18, "just past the middle"
    measured = [index for index, _, done in seen if done]
    assert {begun - 1, begun} <= set(measured) and len(measured) <= 12
    faces = seen[begun][1]
    np.testing.assert_array_equal(faces.emotion, faces.emotion_raw)
    assert [it.track_id.tolist() for _, it, _ in seen] == [[0]] * begun + [[1]] * (30 - begun)


def test_lost_face_is_searched_for():
    def hidden(index, ground):
        image = ground.copy()
        image[0, 0] = 255 if 3 <= index < 12 else 0
        return image

    recognize = InParts(lambda image: [] if image[0, 0, 0] == 255 else in_the_middle(image))
    seen = run(frames(np.arange(20) / 25, hidden), recognize)
    assert [len(faces) for _, faces, _ in seen] == [1] * 3 + [0] * 9 + [1] * 8  # found on frame 12, which is analysed
    assert {int(track) for _, faces, _ in seen for track in faces.track_id} == {0}


def test_crops_of_several_frames_go_in_one_batch():
    recognize = InParts(in_the_middle)
    run(frames(np.arange(60) / 10), recognize)
    assert recognize.batches == [8] * 7 + [4]
    crowd = InParts(lambda image: [(x, 10, x + 12, 22) for x in (0, 16, 32, 48)])
    seen = run(frames(np.arange(6) / 10), crowd)
    assert crowd.batches == [8, 8, 8] and all(len(faces) == 4 for _, faces, _ in seen)


def test_frames_held_are_bounded_by_their_size(monkeypatch):
    """Also where the batch never fills: it must not wait for itself."""
    for size, most in (((48, 64), 6), ((96, 128), 4)):
        monkeypatch.setattr(pipeline, "IN_FLIGHT_BYTES", 6 * 48 * 64 * 3)
        read, ahead = [], []

        def counted(size=size, read=read):
            for frame in frames(np.arange(30) / 10, size=size):
                read.append(frame.index)
                yield frame

        with Analysis(counted(), InParts(in_the_middle)) as analysis:
            for frame, *_ in analysis:
                ahead.append(len(read) - frame.index)
        assert len(ahead) == 30 and max(ahead) <= most + 1


def test_same_video_gives_the_same_faces():
    def turn():
        recognize = InParts(in_the_middle)
        seen = run(frames(np.arange(50) / 24), recognize)
        return [(index, faces.xyxy.tolist(), faces.emotion.tolist(), measured) for index, faces, measured in seen]

    assert turn() == turn()


def test_no_frames_and_no_faces():
    assert run([], InParts(in_the_middle)) == []
    seen = run(frames(np.arange(8) / 25), InParts(lambda image: []))
    assert [(len(faces), measured) for _, faces, measured in seen] == [(0, index % 3 == 0) for index in range(8)]


@pytest.mark.parametrize("part", ["detect", "cut", "read"])
def test_error_in_a_thread_comes_after_the_frames_before_it(part):
    recognize, calls = InParts(in_the_middle, can_follow=False), []
    real = getattr(recognize, part)

    def failing(*given):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("model")
        return real(*given)

    setattr(recognize, part, failing)
    seen = []
    with pytest.raises(RuntimeError, match="model"), Analysis(frames(np.arange(40) / 10), recognize) as analysis:
        seen.extend(frame.index for frame, *_ in analysis)
    assert seen == list(range(16 if part == "read" else 2))  # the third batch of eight, the third frame
    assert not [thread for thread in threading.enumerate() if "classify" in thread.name]


def test_error_of_the_reader_comes_after_its_frames():
    def cut_off():
        yield from frames(np.arange(5) / 25)
        raise InputError("cut off")

    seen = []
    with pytest.raises(InputError, match="cut off"), Analysis(cut_off(), InParts(in_the_middle)) as analysis:
        seen.extend(frame.index for frame, *_ in analysis)
    assert seen == [0, 1, 2, 3, 4]


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    with Analysis(frames(np.arange(10_000) / 25), InParts(in_the_middle)) as analysis:
        for frame, *_ in analysis:
            if frame.index == 5:
                break
    assert threading.active_count() == before


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("every", -3), ("smooth_s", -0.1), ("smooth_s", np.nan)])
def test_wrong_settings(name, value):
    with pytest.raises(InputError, match="--every|--smooth"):
        Analysis([], InParts(in_the_middle), **{name: value})


def test_recognizer_in_parts_says_what_it_says_at_once(tiny_model, photo):
    recognize = Recognizer(str(tiny_model), va=True)
    image = np.ascontiguousarray(photo[:, :, :])
    (index, faces, measured), *_ = run([Frame(0, 0.0, image, None)], recognize, smooth_s=0)
    whole = recognize(image)
    assert measured and faces.labels == whole.labels and faces.uncertain_below == whole.uncertain_below
    assert (faces.xyxy == whole.xyxy).all() and np.allclose(faces.emotion, whole.emotion, atol=1e-5)
    assert np.allclose(faces.va, whole.va, atol=1e-5)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from fer_lib.recognize import Recognizer
from fer_lib.video import VideoWriter, annotate_video

source, out = Path(sys.argv[1]) / "long.mp4", Path(sys.argv[1]) / "out.mp4"
portrait = np.asarray(Image.open(sys.argv[3]).convert("RGB").resize((64, 74)))
with VideoWriter(source, 80, 74) as writer:
    for index in range(10_000):
        image = np.full((74, 80, 3), 90, np.uint8)
        image[:, index // 10 % 16 : index // 10 % 16 + 64] = portrait
        writer.write(image, index / 25)
recognize = Recognizer(sys.argv[2], va=True, runtime="quick")


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def look(rows):
    if rows[0]["frame"] in (1_000, 9_999):
        print(resident_mb(), len(rows))


annotate_video(source, recognize, out, table_path=out.with_suffix(".csv"), on_rows=look, every=40, progress=False)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident size is read from /proc")
def test_memory_does_not_grow(tiny_model, tmp_path):
    """From detection to the annotated file; the default model, no tiny one, has grown by 2 MB on such a film."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), str(tiny_model), str(PHOTOS / "grace_hopper.jpg")],
        cwd=Path(pipeline.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    early, one, late, other = map(float, done.stdout.split())
    assert one == other == 1  # a face
    assert late - early < 50
