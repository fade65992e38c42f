"""Genuine or posed in photo and webcam: what is judged, what is told and drawn, and what is missing.

The model's place is taken by a stand-in; fer_lib.genuineness has tests of its own.
"""

import os
import re
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from conftest import PHOTOS, make_film, run_script
from PIL import Image
from test_camera import RED, FakeWindow, one_face, red_film

from fer_lib import annotate
from fer_lib.camera import open_camera, run_camera, snapshot
from fer_lib.cli import main
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.images import read_image

MISSING = "there is no weights/landmark_mlp; train it from your own pictures"


class StandIn:
    """Says 0.71 of the first face, 0.2 of the second, and nothing of a third; keeps what it has seen."""

    trust = "right in 8 of 10 rows; two collections of pictures"

    def __init__(self, kind="units", openface=None, detector="blazeface"):
        if kind == "landmarks":
            raise InputError(MISSING)
        self.detector = detector
        self.seen = []
        self.__class__.last = self

    def __call__(self, image, faces):
        self.seen.append(image.copy())
        words = ["", "", "could not be measured"]
        return np.array([0.71, 0.2, np.nan], np.float32)[: len(faces)], words[: len(faces)]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "fer_lib.genuineness", SimpleNamespace(Genuineness=StandIn))


# ------------------------------------------------------------------------------------------------ words


def test_what_captions_say():
    faces = replace(one_face(None), genuine=np.array([0.71], np.float32))
    assert annotate.answers(faces) == ["happy 20%, genuine 71%"] and annotate.captions(faces) == [
        ["happy, genuine 71%"]
    ]
    posed = replace(faces, genuine=np.array([0.2], np.float32), age=np.array([30], np.float32))
    assert annotate.answers(posed) == ["happy 20%, 28-45, posed 80%"]
    assert annotate.captions(posed) == [["happy, 28-45, posed 80%"]]
    unknown = replace(faces, genuine=np.array([np.nan], np.float32))
    assert annotate.answers(unknown) == ["happy 20%"] and "genuine" not in unknown.records()[0]
    assert annotate.genuine_text(0.5) == "genuine 50%"


def test_faces_carry_it():
    faces = replace(one_face(None), genuine=np.array([0.71], np.float32))
    assert faces[[]].genuine.shape == (0,) and faces[[0]].genuine.tolist() == pytest.approx([0.71])
    assert faces.records()[0]["genuine"] == 0.71 and "genuine" not in one_face(None).records()[0]
    with pytest.raises(ValueError, match="genuine has 2 rows for 1 boxes"):
        replace(faces, genuine=np.zeros(2))


# ------------------------------------------------------------------------------------------------ photo


def test_photos_are_judged(tmp_path, capsys):
    picture, table = PHOTOS / "two_faces.jpg", tmp_path / "t.csv"
    keep = ["--out", str(tmp_path), "--csv", str(table), "--detector", "haar"]
    assert main(["photo", str(picture), "--genuine", *keep]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", genuine 71%") and lines[1].endswith(", posed 80%")
    assert lines[-1] == f"genuine or posed, from action units: {StandIn.trust}"
    rows = pandas.read_csv(table)
    assert list(rows)[-3:] == ["emotion", "confidence", "genuine"] and rows.genuine.tolist() == [0.71, 0.2]
    (seen,) = StandIn.last.seen
    np.testing.assert_array_equal(seen, read_image(picture))  # not the annotated one
    assert StandIn.last.detector == "haar"  # whose framing the model must know


def test_photos_without_it_have_no_column(tmp_path, capsys):
    assert (
        main(["photo", str(PHOTOS / "grace_hopper.jpg"), "--out", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 0
    )
    told = capsys.readouterr().out
    assert "genuine" not in told and "posed" not in told
    assert "genuine" not in pandas.read_csv(tmp_path / "t.csv")


def test_no_face_no_trust_line(tmp_path, capsys):
    Image.new("RGB", (90, 60)).save(tmp_path / "wall.png")
    assert main(["photo", str(tmp_path / "wall.png"), "--genuine", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "no face found" in told and StandIn.trust not in told


def test_a_photo_with_an_unmeasured_face(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(StandIn, "__call__", lambda self, image, faces: (np.array([np.nan]), ["could not be measured"]))
    assert main(["photo", str(PHOTOS / "grace_hopper.jpg"), "--genuine", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("%; could not be measured")


# ------------------------------------------------------------------------------------------------ the shipped weights


def no_openface() -> dict:
    """The environment with a PATH on which there is no OpenFace."""
    return os.environ | {"PATH": os.path.dirname(sys.executable)}


def test_a_photo_with_the_shipped_weights(tmp_path):
    """Our own units are told beside the guess; a smile's are among them."""
    table = tmp_path / "t.csv"
    done = run_script(
        "foto_fer.py", PHOTOS / "astronaut.png", "--genuine", "--out", tmp_path, "--csv", table, env=no_openface()
    )
    assert done.returncode == 0, done.stderr
    face, _, last = done.stdout.splitlines()
    assert (
        re.search(r"; AU\d\d \d\.\d(, AU\d\d \d\.\d)*$", face)
        and all(unit in face for unit in ("AU06", "AU12", "AU25"))
        and re.search(r", (genuine|posed) \d+%; AU", face)
    )
    assert last.startswith("genuine or posed, from action units: no better than a guess: ") and "OpenFace" in last
    assert 0 < pandas.read_csv(table).genuine.item() < 1


def test_a_snapshot_with_the_shipped_weights(tmp_path):
    film = make_film(tmp_path / "film.mp4", read_image(PHOTOS / "astronaut.png"), 2)
    done = run_script(
        "webcam_fer.py", "--camera", film, "--snapshot", "a", "--out", tmp_path / "out", env=no_openface()
    )
    assert done.returncode == 0, done.stderr
    face, trust, wrote = done.stdout.splitlines()
    assert (
        "AU12 " in face
        and "AU15" not in face
        and "no better than a guess: " in trust
        and (tmp_path / "out" / "film_fer.png").is_file()
    )


def test_a_missing_model_is_one_line(tmp_path, capsys, monkeypatch):
    def nothing(kind, detector):
        raise InputError("there is no model 'au_mlp' for genuineness")

    monkeypatch.setitem(sys.modules, "fer_lib.genuineness", SimpleNamespace(Genuineness=nothing))
    assert main(["photo", str(PHOTOS / "grace_hopper.jpg"), "--genuine", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: there is no model 'au_mlp' for genuineness\n"
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ webcam, keys


@pytest.fixture
def film(tmp_path):
    """Ten seconds, so that a busy machine does not miss its frames."""
    (tmp_path / "in").mkdir()
    return red_film(tmp_path / "in" / "film.mp4", 500)


class PausedWindow(FakeWindow):
    """Lets `waits` questions for a key pass unanswered once a face was judged."""

    def __init__(self, keys, waits=0, **more):
        super().__init__(keys, **more)
        self.waits = waits

    def key(self):
        if self.waits and "a" not in self.keys:
            self.waits -= 1
            return ""
        return super().key()


def test_key_a_freezes_the_clean_frame(film, tmp_path):
    """Seven looks at the keyboard show one and the same picture; then any key goes on."""
    window = PausedWindow(["", "a", "x", "", "", "q"], waits=7)
    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=window)
    assert summary.frames == 5 and len(window.shown) == 7  # "measuring ..." and the frozen one beside each frame
    (seen,) = StandIn.last.seen
    assert np.abs(seen.astype(int) - RED).max() < 25  # no box, no caption in it
    measuring, frozen, before = window.shown[2], window.shown[3], window.shown[1]
    assert (frozen != before).any() and (frozen != measuring).any() and not list(tmp_path.glob("out/*"))


def test_the_frozen_frame_is_saved_and_quit(film, tmp_path):
    """s saves what is shown, twice under two names, and holds it; q ends the run."""
    window = FakeWindow(["a", "s", "s", "Q", "", ""])

    def draw(image, faces):
        return np.full_like(image, 99 if faces.genuine is not None else 7)

    summary = run_camera(film, one_face, out=tmp_path / "out", open_window=window, draw=draw)
    assert summary.frames == 1 and window.keys == ["", ""] and window.closed
    assert [path.name for path in summary.saved] == ["film_fer.png", "film_fer_2.png"]
    assert (read_image(summary.saved[0]) == 99).all()  # the judged picture, without the notice


def test_a_face_that_could_not_be_measured_is_told(film, tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr("fer_lib.camera._noted", lambda image, text: texts.append(text) or image)
    three = Faces(np.tile(one_face(None).xyxy, (3, 1)), np.ones(3, np.float32))
    run_camera(film, lambda image: three, out=tmp_path, open_window=FakeWindow(["a", "q"]), draw=lambda image, _: image)
    assert any(text.startswith(f"face 3: could not be measured; {StandIn.trust} (s saves") for text in texts)


def test_the_frozen_picture_says_what_and_how_sure(film, tmp_path, monkeypatch):
    texts, drawn = [], []
    monkeypatch.setattr("fer_lib.camera._noted", lambda image, text: texts.append(text) or image)

    def draw(image, faces):
        drawn.append(annotate.captions(faces))
        return image

    run_camera(film, one_face, out=tmp_path, open_window=FakeWindow(["A", "x", "q"]), draw=draw)
    assert "measuring ..." in texts and f"{StandIn.trust} (s saves, q quits, any other key: live again)" in texts
    assert drawn[1] == [["happy, genuine 71%"]] and drawn[2] == [["happy 20%"]]


def test_no_face_is_told(film, tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr("fer_lib.camera._noted", lambda image, text: texts.append(text) or image)
    empty = one_face(None)[[]]
    run_camera(film, lambda image: empty, out=tmp_path, open_window=FakeWindow(["a", "x", "q"]))
    assert "no face to judge (s saves, q quits, any other key: live again)" in texts
    assert not any(StandIn.trust in text for text in texts)


def test_key_l_without_weights_goes_on(film, tmp_path, monkeypatch, capsys):
    """One line in the window, and the frames go on without another key."""
    texts = []
    monkeypatch.setattr("fer_lib.camera._noted", lambda image, text: texts.append(text) or image)
    summary = run_camera(film, one_face, out=tmp_path, open_window=FakeWindow(["l", "", "", "q"]))
    assert summary.frames == 4 and texts.count(MISSING) == 3
    assert capsys.readouterr().err.splitlines().count(MISSING) == 1


def test_a_long_line_stays_inside_the_picture():
    from fer_lib.camera import _noted

    image = np.full((120, 160, 3), 200, np.uint8)
    one, many = _noted(image, "short"), _noted(image, "a line that is far too long for so narrow a window")
    heights = [int((picture != 200).any(axis=(1, 2)).sum()) for picture in (one, many)]
    assert heights[1] > 1.7 * heights[0] and (many[:, -1] < 250).all()  # no letter on the edge


def test_a_played_file_waits(film):
    """While the picture is frozen, the film's clock stands still: nothing is passed over."""
    with open_camera(film) as camera:
        camera.read(paced=True)
        time.sleep(1.5)
        camera.skip(1.5)
        _, time_s = camera.read(paced=True)
        assert time_s < 1.2


# ------------------------------------------------------------------------------------------------ webcam, no screen


def test_a_snapshot_takes_the_first_frame_with_a_face(tmp_path):
    film = make_film(tmp_path / "film.mp4", np.full((80, 96, 3), RED, np.uint8), 6)
    seen = []

    def third(image):
        seen.append(image)
        return one_face(image) if len(seen) > 2 else one_face(image)[[]]

    taken = snapshot(film, third, "units", out=tmp_path / "out", judge=StandIn)
    assert (taken.frame, taken.trust, taken.path.name) == (2, StandIn.trust, "film_fer.png")
    assert taken.time_s == pytest.approx(0.08)
    assert taken.faces.genuine.tolist() == pytest.approx([0.71]) and taken.words == [""]
    assert (read_image(taken.path) != seen[2]).any()
    np.testing.assert_array_equal(StandIn.last.seen[0], seen[2])


def test_snapshot_refusals(tmp_path):
    film = make_film(tmp_path / "film.mp4", np.full((80, 96, 3), RED, np.uint8), 3)
    with pytest.raises(InputError, match=r"film\.mp4: no face in its 3 frames"):
        snapshot(film, lambda image: Faces.empty(), "units", out=tmp_path / "out")
    for source in (film, tmp_path / "none.mp4"):  # told before a camera is opened
        with pytest.raises(InputError, match="there is no weights/landmark_mlp"):
            snapshot(source, one_face, "landmarks", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_snapshot_from_the_command_line(photo, tmp_path, capsys):
    film = make_film(tmp_path / "film.mp4", photo[:600, :512], 2)
    table = tmp_path / "t.csv"
    keep = ["--out", str(tmp_path / "out"), "--csv", str(table)]
    assert main(["webcam", "--camera", str(film), "--snapshot", "a", *keep]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{film} frame 0: face 1 at ") and told[0].endswith("%, genuine 71%")
    assert told[1] == f"genuine or posed, from action units: {StandIn.trust}"
    assert (tmp_path / "out" / "film_fer.png").is_file() and told[2].endswith("film_fer.png")
    rows = pandas.read_csv(table)
    assert list(rows)[-2:] == ["genuine", "measured"] and rows.genuine.tolist() == [0.71]
    assert main(["webcam", "--camera", str(film), "--snapshot", "l", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: {MISSING}\n"
