"""Names that must be spelled alike everywhere: labels, columns, options, files, card keys."""

import csv
import json
import re
from dataclasses import fields, replace

import nbformat
import numpy as np
import pytest
from conftest import ROOT

from fer_lib import affect, annotate, cli, fetch, records, run
from fer_lib.datasets import fer2013
from fer_lib.detect import DETECTORS
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, Faces
from fer_lib.files import OutputNames
from fer_lib.notebook import notebook_parameters
from fer_lib.track import SMOOTH_S
from fer_lib.weights import DEFAULT_MODEL, FAST_FILES, KERAS_FILE, PIPELINE_FILE, WEIGHTS, Card, load_card, model_names

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def options_of(command):
    """The option strings of one command's parser."""
    return {option for action in cli._parsers()[1][command]._actions for option in action.option_strings}


def test_top_level():
    for name in "notebooks fer_lib haarcascades weights test_photo foto_fer.py video_fer.py webcam_fer.py".split():
        assert (ROOT / name).exists()
    assert (ROOT / "requirements.txt").exists() and (ROOT / "README.md").exists()
    for script in ("foto_fer.py", "video_fer.py", "webcam_fer.py"):
        assert len((ROOT / script).read_text().splitlines()) <= 60


def test_labels():
    assert EMOTIONS == tuple("anger contempt disgust fear happy neutral sad surprise uncertain".split())
    assert FER2013_EMOTIONS == tuple("anger disgust fear happy sad surprise neutral".split())
    plus = fer2013.FERPLUS_COLUMNS
    assert (plus["happiness"], plus["sadness"], plus["unknown"]) == ("happy", "sad", "uncertain")
    assert "NF" not in EMOTIONS and fer2013.VOTE_NAMES[-1] == "NF"


def test_valence_scale_and_colours():
    assert affect.to_seven(np.array([-1.0, 0.5])).tolist() == [1, 5.5]
    colours = [annotate.box_colour(v) for v in (-0.051, -0.05, 0.05, 0.051, None)]
    assert colours == [annotate.RED, annotate.GREY, annotate.GREY, annotate.GREEN, annotate.GREEN]


def test_columns():
    base = "source frame time_s face_id x y w h face_score".split()
    assert list(records.columns()) == [*base, *EMOTIONS, "emotion", "confidence"]
    assert list(records.columns(va=True))[-2:] == ["valence", "arousal"]
    assert records.columns(va=True, video=True, age=True)[-5:] == ("valence", "arousal", "age", "age_range", "measured")
    raw = [f"{name}_raw" for name in EMOTIONS]
    assert list(records.columns(video=True, smoothed=True)) == [*records.columns(video=True), *raw]
    assert records.empty_record("a", 0, 0.0) == {"source": "a", "frame": 0, "time_s": 0.0}
    faces = Faces(np.array([[1, 2, 4, 8]], np.int32), np.ones(1), np.eye(9)[:1], np.zeros((1, 2)), labels=EMOTIONS)
    assert list(faces.records("a")[0]) == list(records.columns(va=True))
    aged = replace(faces, age=np.array([30.04], np.float32))
    assert list(aged.records("a")[0]) == list(records.columns(va=True, age=True))
    assert (aged.records()[0]["age"], aged.records()[0]["age_range"]) == (30.0, "28-45")
    assert annotate.answers(aged) == ["anger 100%, 28-45"] and annotate.captions(aged)[0][0] == "anger, 28-45"
    judged = replace(aged, genuine=np.array([0.3], np.float32))
    assert list(judged.records("a")[0]) == list(records.columns(va=True, age=True, genuine=True))
    assert records.columns(age=True, genuine=True, video=True)[-4:] == ("age", "age_range", "genuine", "measured")
    assert annotate.answers(judged) == ["anger 100%, 28-45, posed 70%"]
    assert records.SUFFIXES == (".csv", ".json", ".parquet")


def test_output_names(tmp_path):
    names = OutputNames("out")
    assert [str(names(x, ".png")) for x in ("a.png", "b/a.png", "c/a.png")] == [
        "out/a_fer.png",
        "out/a_fer_2.png",
        "out/a_fer_3.png",
    ]


def test_commands_and_options():
    assert list(cli._parsers()[1]) == "photo video webcam units evaluate models fetch notebook".split()
    shared = set("--out --csv --json --parquet --va --va-scale --model --detector --cascade --min-face".split())
    shared |= {"--uncertain-below", "--balanced", "--age"}
    assert shared | {"--show", "--explain", "--genuine"} <= options_of("photo") and shared <= options_of("video")
    several = {"--jobs", "--dask", "--resume", "--summary", "--plot", "--report", "--sequence"}
    assert several | {"--smooth", "--every"} <= options_of("video")
    assert shared | {"--camera", "--snapshot", "--smooth"} <= options_of("webcam")
    helps = [" ".join(cli._parsers()[1][name].format_help().split()) for name in ("video", "webcam")]
    assert all(f"(default {SMOOTH_S}, 0:" in text for text in helps)
    assert set("--model --data --split --ferplus --json".split()) <= options_of("evaluate")
    assert DETECTORS == ("haar", "blazeface", "dnn")
    assert (cli.OK, cli.WRONG, cli.INTERRUPTED) == (0, 2, 130)


def test_fetch_names():
    assert set(fetch.DOWNLOADS) == {"vggface", "facenet", "res10", "imagenet", "faceres"}


def test_evaluate_keys():
    from fer_lib.evaluate import figures

    data = fer2013.Fer2013(
        np.arange(2 * 48 * 48, dtype=np.uint8).reshape(2, 48, 48) // np.array([[[1]], [[2]]], np.uint8),
        np.array([0, 3]),
        np.array(["PrivateTest"] * 2),
        np.array([[10] + [0] * 9, [0, 0, 0, 0, 10, 0, 0, 0, 0, 0]]),
    )
    heads = {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)}
    outputs = {"emotion": np.eye(9)[[0, 4]], "fer2013": np.eye(7)[[0, 3]]}
    report = {"model": "x", **figures(outputs, data, "PrivateTest", heads)}
    keys = (
        "model n accuracy accuracy_without_duplicates macro_f1 weighted_precision weighted_recall recall confusion "
        "ece ferplus_n ferplus_accuracy ferplus_macro_f1 ferplus_ece"
    ).split()
    assert list(report) == keys
    assert list(report["recall"]) == list(FER2013_EMOTIONS) and report["accuracy"] == report["ferplus_accuracy"] == 1
    assert np.shape(report["confusion"]) == (7, 7)
    alone = figures({"fer2013": outputs["fer2013"]}, data, "PrivateTest", {"fer2013": list(FER2013_EMOTIONS)})
    assert alone["ferplus_accuracy"] is None and alone["accuracy"] == 1


def test_cards():
    keys = (
        "name task labels heads input_size crop_margin alignment preprocessing data data_terms label_source notebook "
        "commit seed versions sha256 scores limits not_for uncertain_below prior inputs trunk"
    ).split()
    assert [field.name for field in fields(Card)][:-1] == keys
    assert (KERAS_FILE, FAST_FILES) == ("model.keras", ("model.xml", "model.bin"))
    assert PIPELINE_FILE == "model.skops"
    assert DEFAULT_MODEL in model_names()
    for name in model_names():
        assert set(json.loads((WEIGHTS / name / "card.json").read_text())) == set(keys)
        card = load_card(name)
        assert card.name == name and (ROOT / card.notebook).exists()
        assert all({"value", "n", "interval", "command"} <= set(score) for score in card.scores.values())
        assert any("hiring" in text for text in card.not_for)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path):
    book = nbformat.read(path, as_version=4)
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem) and book.metadata.kernelspec.name == "python3"
    parameters = notebook_parameters(path)
    assert parameters["DATA"] == "demo" and {"SEED", "EPOCHS"} <= set(parameters) and parameters["EXPORT"] == ""
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert len(cell.source.splitlines()) <= 25 and not re.search(r"^(class |!)", cell.source, re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_results_are_those_of_the_notebook(path):
    """The executed copy has the cells of the source, ran without an error, and lies beside its metrics."""
    folder = ROOT / "results" / path.stem
    book, executed = (nbformat.read(p, as_version=4) for p in (path, folder / path.name))
    own = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    assert [c.source for c in own] == [c.source for c in book.cells]
    outputs = [output for c in own if c.cell_type == "code" for output in c.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert (folder / "metrics.json").exists() and (folder / "run.json").exists()


def test_nothing_names_a_machine():
    """Executed notebooks, results and cards hold no path of the machine that made them."""
    for path in [*ROOT.glob("results/**/*"), *ROOT.glob("weights/*/card.json"), *ROOT.glob("*.md")]:
        if path.suffix in (".json", ".ipynb", ".md", ".csv"):
            assert not re.search(r"(?<![\w.])/(home|root|tmp|var|work|Users)/", path.read_text()), path


def test_private_test_log():
    rows = list(csv.reader(open(run.PRIVATE_TEST_LOG)))
    assert rows[0] == ["date", "commit", "notebook", "model", "accuracy"] and len(rows) > 1
    assert run.PRIVATE_TEST_LOG == ROOT / "results" / "private_test_log.csv"
