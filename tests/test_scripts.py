"""The scripts as a user runs them: real photographs, folders, videos, and every bad input of which we know."""

import csv
import json
import os
import re
import resource
import runpy
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import PHOTOS, ROOT, make_film, one_line_error, run_script
from PIL import Image

from fer_lib import camera, cli, peer
from fer_lib.datasets.demo import stills, write_va
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.images import read_image
from fer_lib.messages import CONTROL
from fer_lib.recognize import balanced
from fer_lib.records import columns
from fer_lib.video import Progress
from fer_lib.weights import DEFAULT_MODEL, WEIGHTS, load_card, model_names

HOPPER = PHOTOS / "grace_hopper.jpg"


def run(capsys, *arguments):
    """The command line in this process: (exit code, stdout, stderr)."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def refused(capsys, *arguments) -> str:
    """Exit code 2 and one line on stderr; returns it."""
    code, _, error = run(capsys, *arguments)
    assert code == 2 and error.count("\n") == 1 and error.startswith("error: "), (code, error)
    return error


@pytest.fixture(scope="module")
def short_video(tmp_path_factory):
    """A second of real faces, 25 frames, 320x180."""
    from fer_lib.demo_video import make_demo_video

    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return make_demo_video([PHOTOS / "astronaut.png", HOPPER], path, seconds=1, size=(320, 180))


# ---------------------------------------------------------------------------------------------------------- it works


def test_both_real_faces_are_found_and_labelled(capsys, tmp_path):
    """Astronaut smiles broadly; the officer does not. One face each, in the right place."""
    code, out, _ = run(
        capsys, "photo", PHOTOS / "astronaut.png", HOPPER, "--out", tmp_path, "--csv", tmp_path / "t.csv"
    )
    assert code == 0 and out.count(": face ") == 2
    rows = list(csv.DictReader(open(tmp_path / "t.csv")))
    assert [row["emotion"] for row in rows][0] == "happy" and rows[1]["emotion"] in ("neutral", "sad", "uncertain")
    for row, (x, y) in zip(rows, [(224, 115), (268, 215)], strict=True):  # the tip of the nose, by eye
        assert 0 < x - int(row["x"]) < int(row["w"]) and 0 < y - int(row["y"]) < int(row["h"])
        assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-4)
    assert read_image(tmp_path / "astronaut_fer.png").shape == read_image(PHOTOS / "astronaut.png").shape
    assert (tmp_path / "grace_hopper_fer.jpg").exists()


def test_folder_mood_is_the_mean_over_faces(capsys, tmp_path):
    code, out, _ = run(capsys, "photo", PHOTOS, "va", "--out", tmp_path, "--json", tmp_path / "t.json")
    assert code == 0
    rows = json.loads((tmp_path / "t.json").read_text())
    mood = next(line for line in out.splitlines() if "group mood" in line)
    mean = {name: np.mean([row[name] for row in rows]) for name in EMOTIONS}
    best = max(mean, key=mean.get)
    assert f"of {len(rows)} faces: {best} {mean[best]:.0%}" in mood
    assert f"V {np.mean([row['valence'] for row in rows]):+.2f}" in mood


def labelled(capsys, tmp_path, *arguments, command="photo") -> tuple[str, list[dict]]:
    """(stdout, the table's rows) of a run that goes well."""
    code, out, error = run(capsys, command, *arguments, "--out", tmp_path, "--csv", tmp_path / "t.csv")
    assert code == 0, error
    with open(tmp_path / "t.csv", newline="") as file:
        return out, list(csv.DictReader(file))


@pytest.fixture
def unsure_model(tiny_model, tmp_path):
    """Random weights, about 0.11 for each emotion, with a card that calls them uncertain and knows a prior."""
    folder = shutil.copytree(tiny_model, tmp_path / "unsure")
    card = json.loads((folder / "card.json").read_text())
    prior = {name: (10 if name in ("happy", "neutral") else 1) / 27 for name in EMOTIONS}
    (folder / "card.json").write_text(json.dumps(card | {"uncertain_below": 0.9, "prior": prior}))
    return folder


def test_uncertain_below(capsys, tmp_path):
    """Her smile is surer than 0.6 and no emotion is certain."""
    smile = PHOTOS / "astronaut.png"
    for limit, says in (("1", r"uncertain \(happy (\d+)%\)\n"), ("0", r"happy (\d+)%\n"), ("0.6", r"happy (\d+)%\n")):
        out, (row,) = labelled(capsys, tmp_path, smile, "--uncertain-below", limit)
        shown = re.search(r": face 1 at \d+,\d+ \d+x\d+: " + says, out)
        assert shown and row["emotion"] == ("uncertain" if limit == "1" else "happy"), out
        assert float(row["confidence"]) == float(row["happy"]) == pytest.approx(int(shown[1]) / 100, abs=0.0051)
    for limit in ("-0.01", "1.01", "nan", "inf"):
        line = refused(capsys, "photo", smile, f"--uncertain-below={limit}", "--out", tmp_path / "none")
        assert "--uncertain-below must be a probability, 0 to 1" in line
    assert "--uncertain-below" in refused(capsys, "photo", smile, "--uncertain-below", "half")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["photo", "video"])
def test_the_card_says_what_is_uncertain_unless_the_user_does(capsys, tmp_path, unsure_model, short_video, command):
    source = HOPPER if command == "photo" else short_video
    by_card, by_user = (
        [
            row
            for row in labelled(capsys, tmp_path, source, "--model", unsure_model, *more, command=command)[1]
            if row["x"]
        ]
        for more in ((), ("--uncertain-below", "0"))
    )
    assert {row["emotion"] for row in by_card} == {"uncertain"}
    for row, same in zip(by_card, by_user, strict=True):
        assert same["emotion"] == max(EMOTIONS, key=lambda name: float(row[name]))
        assert {**same, "emotion": "uncertain"} == row


def test_balanced(capsys, tmp_path, unsure_model, tiny_model):
    """Happy and neutral ten times as frequent as the others: so much less likely when all are equally so."""
    _, (plain,) = labelled(capsys, tmp_path, HOPPER, "--model", unsure_model)
    _, (equal,) = labelled(capsys, tmp_path, HOPPER, "--model", unsure_model, "--balanced")
    expected = balanced(
        np.array([[float(plain[name]) for name in EMOTIONS]]),
        EMOTIONS,
        {name: 10 if name in ("happy", "neutral") else 1 for name in EMOTIONS},
    )
    assert [float(equal[name]) for name in EMOTIONS] == pytest.approx(expected[0].tolist(), abs=1e-5)
    line = refused(capsys, "photo", HOPPER, "--model", tiny_model, "--balanced", "--out", tmp_path / "none")
    assert "the card of tiny has no prior" in line and not (tmp_path / "none").exists()


def test_the_word_va_is_an_option_and_dot_slash_va_a_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(HOPPER, "va")
    code, out, _ = run(capsys, "photo", HOPPER, "va")
    assert code == 0 and ", V " in out and out.count(": face ") == 1
    code, out, _ = run(capsys, "photo", "./va")
    assert code == 0 and ", V " not in out and out.startswith("va: face 1")
    assert "no pictures given" in refused(capsys, "photo", "va")


def test_va_scale(capsys, tmp_path):
    _, unit, _ = run(capsys, "photo", HOPPER, "va", "--out", tmp_path)
    _, seven, _ = run(capsys, "photo", HOPPER, "va", "--out", tmp_path, "--va-scale", "1-7")
    value, shown = float(unit.split(", V ")[1].split()[0]), float(seven.split(", V ")[1].split()[0])
    assert shown == pytest.approx(3 * value + 4, abs=0.07)


def test_group_of_results_with_equal_stems(capsys, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (200, 150), "white").save(tmp_path / folder / "x.png")
    code, out, _ = run(capsys, "photo", tmp_path / "a/x.png", tmp_path / "b/x.png", "--out", tmp_path / "out")
    assert code == 0 and out.count("no face found") == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["x_fer.png", "x_fer_2.png"]


def kinds(tmp_path):
    """Unusual but valid pictures, by name."""
    face = Image.open(HOPPER).convert("RGB")
    yield "grey.png", face.convert("L"), {}
    yield "deep.png", Image.fromarray(np.asarray(face.convert("L"), np.uint16) * 257), {}
    alpha = face.copy()
    alpha.putalpha(200)
    yield "alpha.png", alpha, {}
    yield "cmyk.jpg", face.convert("CMYK"), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rotated.jpg", face.rotate(90, expand=True), {"exif": exif}
    yield "dot.png", Image.new("RGB", (1, 1)), {}
    large = Image.new("RGB", (12000, 9000), (90, 120, 150))
    large.paste(face.resize((5120, 6000)), (3000, 2000))
    yield "large.jpg", large, {"quality": 80}


def test_unusual_pictures_are_processed(capsys, tmp_path):
    found = {}
    for name, image, options in kinds(tmp_path):
        image.save(tmp_path / name, **options)
        code, out, error = run(capsys, "photo", tmp_path / name, "--out", tmp_path / "out")
        assert code == 0 and not error, (name, error)
        found[name] = out.count(": face ")
    assert found == {name: 0 if name == "dot.png" else 1 for name in found}
    assert read_image(tmp_path / "out" / "rotated_fer.jpg").shape == read_image(HOPPER).shape


def test_one_photo_is_quick_and_needs_no_tensorflow(tmp_path):
    """At most 2.5 s as a whole process on two cores; the best of five, as other work may run here."""
    took = [np.inf]
    while min(took) > 2.5 and len(took) <= 5:
        begun = time.monotonic()
        done = run_script("foto_fer.py", HOPPER, "--out", tmp_path)
        took.append(time.monotonic() - begun)
        assert done.returncode == 0, done.stderr
    assert min(took) <= 2.5, took
    program = (
        "import sys; from fer_lib.cli import main; "
        f"code = main(['photo', {str(HOPPER)!r}, 'va', '--out', {str(tmp_path)!r}]); "
        "print([name for name in ('tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = run_script("-c", program)
    assert done.stdout.splitlines()[-1] == "[]"


def test_openvino_reports_nothing():
    """Nor does it fork a process for that, which would hear of Ctrl-C."""
    program = (
        "import multiprocessing, sys; multiprocessing.Process.start = lambda process: print('started'); "
        "import fer_lib, openvino.tools.ovc.telemetry_utils as used; print(used.tm.__name__)"
    )
    assert run_script("-c", program).stdout == "openvino.tools.ovc.telemetry_stub\n"


def test_library(photo):
    from fer_lib import Recognizer, draw_faces

    recognise = Recognizer(va=True)
    faces = recognise(photo)
    assert len(faces) == 1 and faces.emotion.shape == (1, 9) and faces.va.shape == (1, 2)
    assert list(faces.records()[0]) == list(columns(va=True))
    assert draw_faces(photo, faces).shape == photo.shape
    nothing = recognise(np.full((90, 120, 3), 255, np.uint8))
    assert len(nothing) == 0 and nothing.records() == [] and nothing.emotion.shape == (0, 9)
    for wrong in (photo[..., 0], photo / 255, "photo.jpg"):
        with pytest.raises(ValueError, match="RGB uint8"):
            recognise(wrong)


def test_keras_and_fast_agree_on_a_photo(photo):
    from fer_lib import Recognizer

    fast, reference = (Recognizer(runtime=kind)(photo) for kind in ("fast", "keras"))
    np.testing.assert_allclose(fast.emotion, reference.emotion, atol=1e-3)


def test_video(capsys, tmp_path, short_video):
    code, out, error = run(capsys, "video", short_video, "va", "--out", tmp_path, "--json", tmp_path / "all.json")
    assert code == 0 and "25 frames" in out, error
    rows = list(csv.DictReader(open(tmp_path / "clip_fer.csv")))
    assert list(rows[0]) == list(columns(va=True, video=True, smoothed=True))
    assert {int(row["frame"]) for row in rows if row["measured"] == "0"} > {1, 2}
    assert sorted({int(row["frame"]) for row in rows}) == list(range(25))
    assert float(rows[-1]["time_s"]) == pytest.approx(24 / 25)
    assert any(row["emotion"] == "happy" for row in rows)
    assert len(json.loads((tmp_path / "all.json").read_text())) == len(rows)
    from fer_lib.video import VideoReader

    with VideoReader(tmp_path / "clip_fer.mp4") as video:
        assert (video.width, video.height, len(list(video))) == (320, 180, 25)


def test_video_every_nth_frame_without_smoothing(capsys, tmp_path, short_video, tiny_model):
    options = ("--model", tiny_model, "--smooth", "0", "--every", "5", "--out", tmp_path)
    code, _, error = run(capsys, "video", short_video, *options)
    assert code == 0, error
    rows = list(csv.DictReader(open(tmp_path / "clip_fer.csv")))
    assert list(rows[0]) == list(columns(video=True))
    assert {int(row["frame"]) for row in rows if row["measured"] == "1"} == set(range(0, 25, 5))
    assert {int(row["frame"]) for row in rows} == set(range(25))
    for wrong in (("--every", "0"), ("--every", "two"), ("--smooth=-1",), ("--smooth", "nan")):
        assert wrong[0].split("=")[0] in refused(capsys, "video", short_video, *wrong, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_camera_without_a_screen_writes_instead(tmp_path, short_video):
    nowhere = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = run_script("webcam_fer.py", "va", "--camera", short_video, "--out", tmp_path, env=nowhere)
    if sys.platform.startswith("linux"):
        assert done.returncode == 0 and "no screen" in done.stderr, done.stderr
        assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".mp4"]


def test_models_lists_what_is_there(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0 and out.splitlines()[0].split() == ["name", "task", "size", "score"]
    assert len(out.splitlines()) == 1 + len(model_names()) and f"{DEFAULT_MODEL} (default)" in out and "%" in out
    value = load_card().scores["CCC, valence"]["value"]
    assert f"CCC, valence {value:.3f} (n = " in out  # no share of anything


def test_evaluate(capsys, tmp_path):
    """On demo data, the contract's keys and a file that holds what was printed."""
    from fer_lib.datasets.demo import write_fer2013

    write_fer2013(tmp_path, training=20, public=10, private=20, seed=1)
    csv_file, votes = tmp_path / "fer2013/fer2013.csv", tmp_path / "fer2013/fer2013new.csv"
    common = ("evaluate", "--model", DEFAULT_MODEL, "--data", csv_file)
    code, out, error = run(capsys, *common, "--ferplus", votes, "--json", tmp_path / "e.json")
    report = json.loads(out)
    assert code == 0 and report == json.loads((tmp_path / "e.json").read_text()) and report["n"] == 20, error
    assert report["ferplus_accuracy"] is not None
    code, out, _ = run(capsys, *common, "--split", "PublicTest")
    assert json.loads(out)["n"] == 10 and json.loads(out)["ferplus_accuracy"] is None
    assert "Training, PublicTest, PrivateTest" in refused(capsys, *common, "--split", "Test")
    assert "no such file" in refused(capsys, *common[:-1], tmp_path / "none.csv")
    assert "no column" in refused(capsys, *common[:-1], votes)


def test_the_shipped_figures_are_reproduced(capsys, fer_data):
    """The card's and metrics.json's figures come out of `evaluate` again, and reach the targets of the first slice."""
    folder = fer_data / "fer2013"
    plus = ("--ferplus", folder / "fer2013new.csv")
    code, out, error = run(capsys, "evaluate", "--model", DEFAULT_MODEL, "--data", folder / "fer2013.csv", *plus)
    assert code == 0, error
    report = json.loads(out)
    metrics = json.loads((ROOT / "results/10_best_model/metrics.json").read_text())["PrivateTest"]
    assert (report["n"], report["ferplus_n"]) == (3589, 3153)
    for key in ("accuracy", "accuracy_without_duplicates", "macro_f1", "ferplus_accuracy"):
        assert report[key] == pytest.approx(metrics[key], abs=0.001)  # another CPU may round three faces otherwise
    assert report["accuracy"] >= 0.705 and report["ferplus_accuracy"] >= 0.82


def test_words_after_an_option_are_inputs_too(capsys, tmp_path):
    code, out, _ = run(capsys, "photo", HOPPER, "--out", tmp_path, PHOTOS / "astronaut.png", "va")
    assert code == 0 and out.count(", V ") == 2


def test_no_input_of_the_run_is_overwritten(capsys, tmp_path):
    """a_fer.jpg is another photograph of the user's, in the folder that is also the output folder."""
    shutil.copy(HOPPER, tmp_path / "a.jpg")
    Image.open(PHOTOS / "astronaut.png").save(tmp_path / "a_fer.jpg")
    before = (tmp_path / "a_fer.jpg").read_bytes()
    code, out, _ = run(capsys, "photo", tmp_path, "--out", tmp_path)
    assert code == 0 and (tmp_path / "a_fer.jpg").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a_fer.jpg", "a_fer_2.jpg", "a_fer_fer.jpg"]


def test_a_failed_video_keeps_its_name(capsys, tmp_path, short_video):
    missing = tmp_path / "none" / short_video.name
    code, out, error = run(capsys, "video", missing, short_video, "--out", tmp_path / "out")
    assert code == 2 and sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip_fer_2.csv", "clip_fer_2.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and /dev/full are Unix")
def test_the_reader_of_the_output_may_leave(tmp_path):
    """`| true`: all pictures are still done, and the table is written."""
    command = (
        f"{sys.executable} foto_fer.py {PHOTOS} --out {tmp_path} --csv {tmp_path}/t.csv | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert len(list(tmp_path.glob("*_fer.*"))) == 3 and (tmp_path / "t.csv").exists()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "foto_fer.py", HOPPER, "--out", tmp_path],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_names_that_the_terminal_cannot_show(tmp_path):
    odd = tmp_path / "日本 'x' \udcff.jpg"
    shutil.copy(HOPPER, odd)
    latin = os.environ | {"PYTHONIOENCODING": "cp1252"}
    arguments = [sys.executable, "foto_fer.py", odd, "--out", tmp_path / "out", "--csv", tmp_path / "t.csv"]
    done = subprocess.run(arguments, cwd=ROOT, env=latin, capture_output=True, timeout=120)
    assert done.returncode == 0 and b"face 1" in done.stdout, done.stderr
    assert len((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()) == 2


def run_notebook(capsys, *arguments) -> None:
    """It must end well, with no more work than two cores do in 90 seconds; a busy machine may take longer over it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, _, error = run(capsys, "notebook", *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert code == 0, error
    assert 0 < seconds < 2 * 90, f"{arguments[0]} took {seconds:.0f} s of CPU time"


def test_notebook_on_demo_data(capsys):
    """End to end; what it writes lies under out/ and is called demo."""
    code, _, error = run(capsys, "notebook", "10", "-p", "SEED", "2")
    assert code == 0, error
    folder = ROOT / "out" / "10_best_model"
    assert {"10_best_model.ipynb", "metrics.json", "run.json", "history.png"} <= {p.name for p in folder.iterdir()}
    card = json.loads((folder / "model" / "card.json").read_text())
    assert card["name"] == "demo" and "demo" in card["data"] and all("demo" in name for name in card["scores"])
    assert json.loads((folder / "metrics.json").read_text())["data"] == "demo"
    code, out, _ = run(capsys, "photo", HOPPER, "--model", folder / "model", "--out", folder)
    assert code == 0 and "face 1" in out


def test_the_vggface_notebook_on_demo_data(capsys, tmp_path):
    """From random numbers, since a demo run downloads nothing; its model is one for the scripts."""
    folder = ROOT / "out" / "01_vggface_classifier"
    run_notebook(capsys, "01", "-p", "CHECKPOINTS", tmp_path)
    assert any(tmp_path.iterdir())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["data"] == "demo data" and metrics["init"] == "none" and metrics["PrivateTest"]["n"] == 96
    card = json.loads((folder / "model" / "card.json").read_text())
    assert set(card["heads"]) == {"emotion", "fer2013"} and all("demo" in name for name in card["scores"])
    code, out, _ = run(capsys, "photo", HOPPER, "--model", folder / "model", "--out", folder)
    assert code == 0 and "face 1" in out


def test_the_valence_arousal_notebook_on_demo_data(capsys):
    """The default model's copy answers with one output more; the model in weights/ stays what it is."""
    card = (ROOT / "weights" / "facenet" / "card.json").read_bytes()
    run_notebook(capsys, "03", "-p", "EXPORT", "same")  # on demo data never into weights/
    folder = ROOT / "out" / "03_valence_arousal"
    found = json.loads((folder / "metrics.json").read_text())["models"]["facenet"]
    assert set(found) >= {"regressor", "expected", "constant", "ratio"} and found["constant"]["valence"]["ccc"] == 0
    assert json.loads((folder / "facenet" / "card.json").read_text())["heads"]["va"] == ["valence", "arousal"]
    assert (ROOT / "weights" / "facenet" / "card.json").read_bytes() == card
    code, out, _ = run(capsys, "photo", HOPPER, "--va", "--model", folder / "facenet", "--out", folder)
    assert code == 0 and "face 1" in out


def test_the_vggface_notebook_on_a_users_own_pictures(capsys, tmp_path):
    """From random numbers, one step: what is asked is that it runs to the end, and says whose pictures these are."""
    drawn = stills(600, seed=3)
    for name in ("happy", "contempt"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for row in np.flatnonzero(drawn.emotion == EMOTIONS.index(name))[:12]:
            Image.fromarray(drawn.pictures[row]).save(tmp_path / "faces" / name / f"{row}.png")
    code, out, error = run(
        capsys, "notebook", "01", "-p", "PICTURES", tmp_path / "faces", "-p", "INIT", "none", "-p", "EPOCHS", 1
    )
    assert code == 0, error
    folder = ROOT / "out" / "01_vggface_classifier"
    card = json.loads((folder / "model" / "card.json").read_text())
    assert "user's own" in card["data"] and all(key.startswith("faces, ") for key in card["scores"])
    assert json.loads((folder / "metrics.json").read_text())["PrivateTest"]["ferplus_n"] > 0


def test_the_valence_arousal_notebook_on_measured_labels(capsys, tmp_path):
    write_va(tmp_path, subjects=20, pictures=2, seed=4)
    options = ("-p", "MANIFEST", tmp_path / "va" / "manifest.csv", "-p", "MODELS", DEFAULT_MODEL)
    run_notebook(capsys, "03", *options, "-p", "EPOCHS", 2)
    folder = ROOT / "out" / "03_valence_arousal"
    card = json.loads((folder / DEFAULT_MODEL / "card.json").read_text())
    assert "manifest.csv" in card["label_source"] and "Output va: " in card["data"]
    assert card["commit"] == load_card().commit  # of the classifier, which is what it was
    write_va(tmp_path, subjects=9, pictures=1, seed=4)
    code, _, error = run(capsys, "notebook", "03", *options)
    assert code == 1 and "subjects or videos; give ten or more" in error


def test_the_cnn_notebook_on_demo_data(capsys):
    """All four end to end, each a model for the scripts whose scores are called demo; weights/ stays as it is."""
    before = sorted(WEIGHTS.rglob("*"))
    run_notebook(capsys, "04", "-p", "EXPORT", "same")
    folder = ROOT / "out" / "04_cnn_from_scratch"
    found = json.loads((folder / "metrics.json").read_text())["networks"]
    assert set(found) == {"small_cnn", "emotion_cnn", "large_cnn", "resnet_cnn"}
    for name in found:
        card = json.loads((folder / name / "card.json").read_text())
        assert card["heads"] == {"fer2013": list(FER2013_EMOTIONS)} and all("demo" in key for key in card["scores"])
        assert card["uncertain_below"] == 0.5 and set(found[name]["weak"]) == {"disgust", "surprise"}
    assert sorted(WEIGHTS.rglob("*")) == before
    code, out, _ = run(capsys, "photo", HOPPER, "--model", folder / "small_cnn", "--out", folder)
    assert code == 0 and "face 1" in out


def test_wrong_parameters_of_the_cnn_notebook(capsys):
    for name, value, cure in (
        ("NETWORKS", "tiny_cnn", "give one or more of small_cnn"),
        ("EXPORT", "mine", "give same"),
        ("TAUGHT", "1.5", "give a share"),
    ):
        code, _, error = run(capsys, "notebook", "04", "-p", name, value)
        assert code == 1 and cure in error


def test_the_sequence_notebook_on_demo_data(capsys, tmp_path):
    """All phases, the true difference and the ancestor's split; the reader's folder. Trainings are kept."""
    options = ("-p", "CHECKPOINTS", tmp_path, "-p", "EXPORT", "sequence")  # on demo data never into weights/
    run_notebook(capsys, "05", *options)
    folder = ROOT / "out" / "05_convlstm_ckplus"
    metrics = json.loads((folder / "metrics.json").read_text())
    phases = {f"phase {phase}, {how}" for phase in "34" for how in ("wrap", "few, at random", "few, by subject")}
    phases |= {"phase 1, fold 1", "phase 2, fold 1", "phase 3, true difference"}
    phases |= {f"own, {what}" for what in ("seven classes", "four classes", "neutral too")}
    assert phases < set(metrics) and metrics["data"]["whole"] == metrics["data"]["n"] == 30
    assert metrics["blobs"]["absolute_above_127"] == 0 and metrics["gigabytes"]["267"] > metrics["gigabytes"]["34"] > 0
    card = json.loads((folder / "sequence" / "card.json").read_text())
    assert card["task"] == "sequence" and "demo" in card["data"] and all("demo" in name for name in card["scores"])
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"phase3_wrap_fold_1.json", "phase1_fold_1.json", "phase4_few_at_random_0.json"} <= kept
    code, _, error = run(capsys, "notebook", "05", "-p", "PHASES", "5")
    assert code == 1 and "give some of 1 2 3 4" in error


def test_the_classical_notebook_on_demo_data(capsys):
    """Every method gives figures; the best that keeps no rows is a model for the scripts, without a pickle."""
    run_notebook(capsys, "07", "-p", "EXPORT", "hog_quadratic")  # on demo data never into weights/
    folder = ROOT / "out" / "07_classical_baselines"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert len(metrics["PrivateTest"]) == 9 and set(metrics["balanced"]["k-NN"]) == {"48", "200", "gain"}
    clusters = metrics["K-Means"]["all of Training, 48 pixels"]
    assert len(metrics["K-Means"]) == 2
    assert clusters["named_by_majority"] == metrics["PublicTest"]["K-Means"]["accuracy"]
    linear, _ = names = ("HOG + linear SVM", "HOG + quadratic, mirrored")
    better = max(names, key=lambda name: metrics["PublicTest"][name]["accuracy"])
    shipped = metrics["shipped"]
    assert shipped["method"] == better and shipped["accuracy"] == metrics["PrivateTest"][better]["accuracy"]
    card = json.loads((folder / "model" / "card.json").read_text())
    assert card["name"] == "model" and ("LinearSVC" in card["preprocessing"]) == (better == linear)
    assert set(card["sha256"]) == {"model.skops"} and all("demo" in key for key in card["scores"])
    code, out, _ = run(capsys, "photo", HOPPER, "--model", folder / "model", "--out", folder)
    assert code == 0 and "face 1" in out


def test_the_age_notebook_on_demo_data(capsys):
    """Split, heads, margins and tables; the model answers --age; a model for something else is not overwritten."""
    run_notebook(capsys, "08", "-p", "EXPORT", "age")  # on demo data never into weights/
    folder = ROOT / "out" / "08_age"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["trunks"]) == {"faceres", DEFAULT_MODEL} and set(metrics["groups"]) == {"decade", "sex", "race"}
    assert {"whole pictures", "constant", "blazeface"} <= set(metrics["report"]) and len(metrics["time"]) == 3
    card = json.loads((folder / "model" / "card.json").read_text())
    assert card["task"] == "age" and card["heads"] == {"age": ["years"]} and "blazeface" in card["crop_margin"]
    assert all("demo" in key for key in card["scores"]) and not any("{" in text for text in card["limits"])
    code, _, error = run(capsys, "notebook", "08", "-p", "EXPORT", DEFAULT_MODEL)
    assert code == 1 and "is a model for emotion, not for age" in error


def test_the_comparison_notebook_on_demo_data(capsys, tmp_path):
    """Ours, and the peer where it is set up; then a video with a list of what was acted in it."""
    run_notebook(capsys, "09")
    folder = ROOT / "out" / "09_compare"
    found = json.loads((folder / "metrics.json").read_text())["models"]
    assert set(found) == {DEFAULT_MODEL} | (set(peer.PEERS) if peer.there() else set())
    ours = found[DEFAULT_MODEL]
    assert ours["fer2013"]["n"] == 96 and 0 < ours["ferplus"]["accuracy"] < 1 and ours["crop"]["median_ms"] > 0
    film = make_film(tmp_path / "film.mp4", read_image(HOPPER)[:512], 4)
    (tmp_path / "acted.csv").write_text("start,end,emotion\n0,0.08,neutral\n0.08,1,happy\n")
    run_notebook(capsys, "09", "-p", "VIDEO", film, "-p", "ACTED", tmp_path / "acted.csv")
    acted = json.loads((folder / "metrics.json").read_text())["video"]["acted"][DEFAULT_MODEL]
    assert acted == {"frames": 4, "frames_right": 2, "rows": 2, "rows_right": 1}
    code, _, error = run(capsys, "notebook", "09", "-p", "ACTED", tmp_path / "acted.csv")
    assert code == 1 and "give that too" in error


def test_a_failing_notebook_leaves_the_results(capsys, tmp_path, monkeypatch):
    done = ROOT / "results" / "10_best_model" / "10_best_model.ipynb"
    before = done.read_bytes()
    assert "no folder" in refused(capsys, "notebook", "10", "-p", "DATA", tmp_path / "none")
    monkeypatch.delenv("FER_DATA", raising=False)
    assert "FER_DATA is not set" in refused(capsys, "notebook", "10", "-p", "DATA", "FER_DATA")
    code, _, error = run(capsys, "notebook", "10", "-p", "DATA", tmp_path)  # a folder without data: fails in a cell
    assert code == 1 and "failed" in error
    assert done.read_bytes() == before
    assert "not a value like" in refused(capsys, "notebook", "10", "-p", "EPOCHS", "1.5")


# ------------------------------------------------------------------------------------------------------- it refuses


def test_bad_pictures(capsys, tmp_path):
    """Each is one line with the file's name; nothing is written; the good ones beside them are still done."""
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(HOPPER.read_bytes()[:20000])
    for name in ("none.jpg", "text.jpg", "empty.jpg", "cut.jpg"):
        assert name in refused(capsys, "photo", tmp_path / name, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    code, out, error = run(capsys, "photo", tmp_path / "text.jpg", HOPPER, "--out", tmp_path / "out")
    assert code == 2 and "face 1" in out and error.count("\n") == 1
    (tmp_path / "folder").mkdir()
    assert "no pictures" in refused(capsys, "photo", tmp_path / "folder", "--out", tmp_path / "out")


def test_a_damaged_jpeg_is_labelled_with_a_note(capsys, tmp_path):
    """A piece is missing in the middle: what is left can be looked at, but not without a word."""
    data = HOPPER.read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:50_000] + data[52_000:])
    code, out, error = run(capsys, "photo", tmp_path / "a.jpg", "--out", tmp_path / "out")
    assert code == 0 and "a.jpg: face 1" in out and (tmp_path / "out" / "a_fer.jpg").exists()
    assert error.count("\n") == 1 and "a.jpg: may be damaged (Corrupt JPEG data" in error


def test_control_characters_of_a_name_do_not_reach_the_terminal(capsys, tmp_path, short_video, tiny_model):
    """They could clear it, or put other words in the place of ours. In tables they stand as they are."""
    name = "a\x1b[2J\rb\x9bc\n.{}"
    shown = r"a\x1b[2J\x0db\x9bc\x0a."
    picture = shutil.copy(HOPPER, tmp_path / name.format("jpg"))
    film = shutil.copy(short_video, tmp_path / name.format("mp4"))
    options = ("--model", tiny_model, "--out", tmp_path / "out")
    for command, path in (("photo", picture), ("video", film)):
        code, out, error = run(capsys, command, path, *options, "--csv", tmp_path / "t.csv")
        assert code == 0 and shown in out and not CONTROL.search((out + error).replace("\n", "")), (out, error)
        with open(tmp_path / "t.csv", newline="") as file:
            assert next(csv.DictReader(file))["source"] == str(path)
    error = refused(capsys, "video", tmp_path / "none\x1b[31m\rnone", *options)
    assert r"none\x1b[31m none" in error
    with Progress("a\x1b[2J", 2) as bar:
        bar._said -= 60
        bar.step()
    assert r"a\x1b[2J: 1 of 2 frames" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["foto_fer.py", "video_fer.py", "webcam_fer.py"])
def test_ctrl_c_while_a_script_begins(capsys, monkeypatch, script):
    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert stop.value.code == 130 and capsys.readouterr().err == "error: interrupted; nothing was done\n"


def test_ctrl_c_before_the_first_picture_of_a_camera(capsys, tmp_path, monkeypatch):
    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(camera, "run_camera", interrupt)
    (tmp_path / "t.csv").write_text("of an earlier run")
    code, _, error = run(capsys, "webcam", "--out", tmp_path / "out", "--csv", tmp_path / "t.csv")
    assert code == 130 and not (tmp_path / "out").exists()
    assert error == "error: interrupted; nothing is kept but what was said to be saved or recorded\n"
    assert (tmp_path / "t.csv").read_text() == "of an earlier run"


def test_bad_picture_as_a_process():
    assert "no such file" in one_line_error(run_script("foto_fer.py", "none.jpg"))


@pytest.mark.parametrize("kind", ["missing", "noise", "empty", "cut off"])
def test_bad_videos(capsys, tmp_path, short_video, kind):
    path = tmp_path / "v.mp4"
    if kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(50000))
    elif kind == "empty":
        path.touch()
    elif kind == "cut off":
        path.write_bytes(short_video.read_bytes()[: short_video.stat().st_size // 2])
    table = tmp_path / "all.csv"
    assert "v.mp4" in refused(capsys, "video", path, "--out", tmp_path / "out", "--csv", table)
    assert not (tmp_path / "out").exists() and not table.exists()
    table.write_text("of an earlier run")
    for command in ("video", "photo"):
        assert "v.mp4" in refused(capsys, command, path, "--out", tmp_path / "out", "--csv", table)
    assert table.read_text() == "of an earlier run"


def test_no_camera():
    assert "camera 97 does not open" in one_line_error(run_script("webcam_fer.py", "--camera", "97"))


def test_unwritable_output(capsys, tmp_path, short_video):
    (tmp_path / "file").touch()
    assert "cannot write" in refused(capsys, "photo", HOPPER, "--out", tmp_path / "file" / "out")
    assert "cannot write" in refused(capsys, "video", short_video, "--out", tmp_path / "file" / "out")
    assert "cannot write" in refused(capsys, "photo", HOPPER, "--out", tmp_path, "--csv", tmp_path / "file" / "t.csv")
    assert not list(tmp_path.glob("*_fer.*")), "told before any work was done"


def test_names_that_are_not_known(capsys, tmp_path):
    out = ("--out", tmp_path)
    assert DEFAULT_MODEL in refused(capsys, "photo", HOPPER, "--model", "vgg", *out)
    assert "haar, blazeface, dnn" in refused(capsys, "photo", HOPPER, "--detector", "mtcnn", *out)
    assert "frontalface_alt2" in refused(capsys, "photo", HOPPER, "--cascade", "nose", *out)
    assert "must end in .csv" in refused(capsys, "photo", HOPPER, "--csv", tmp_path / "t.txt", *out)
    assert "res10" in refused(capsys, "fetch", "res11")
    assert "10_best_model" in refused(capsys, "notebook", "77")
    assert "EPOCHS" in refused(capsys, "notebook", "10", "-p", "EPOCH", "3")
    for wrong in ((), ("foto",), ("photo",), ("photo", HOPPER, "--min-face", "x"), ("webcam", "vaa")):
        refused(capsys, *wrong)


def test_damaged_weights(capsys, tmp_path):
    model = shutil.copytree(WEIGHTS / DEFAULT_MODEL, tmp_path / "model")
    weights = model / "model.bin"
    whole = weights.read_bytes()
    for content, word in (
        (whole[: len(whole) // 2], "truncated or altered"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "truncated or altered"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "LFS"),
    ):
        weights.write_bytes(content)
        assert word in refused(capsys, "photo", HOPPER, "--model", model, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_packages():
    """A Python that has none of the requirements: one line that says how to get them."""
    assert "tools/setup_venv.py" in one_line_error(run_script("-S", "foto_fer.py", HOPPER))
