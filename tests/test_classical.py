"""Classical baselines: features and clusters by hand, the file format and what it refuses, the runtime."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from fer_lib import classical
from fer_lib.classical import MajorityClusters, PipelineRuntime, flat, hog, load_pipeline, save_pipeline
from fer_lib.detect import resize
from fer_lib.errors import InputError
from fer_lib.evaluate import predict
from fer_lib.faces import FER2013_EMOTIONS
from fer_lib.metrics import apply_temperature
from fer_lib.runtime import load_runtime
from fer_lib.weights import KERAS_FILE, PIPELINE_FILE, Card, load_card


def edges(angle: float, size: int = 48) -> np.ndarray:
    """A picture whose brightness grows along one direction: 0 to the right, 90 downwards."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along = np.cos(np.radians(angle)) * x + np.sin(np.radians(angle)) * y
    return np.clip(128 + along * 96 / size, 0, 255).astype(np.uint8)


def pictures(count: int, seed: int = 0, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


# ------------------------------------------------------------------------------------------------ features


def test_hog_tells_directions_apart_with_their_sign():
    """A slope and its opposite are nine bins apart, what lies across is another; all cells say the same."""
    seen = hog(np.stack([edges(angle) for angle in (10, 100, 190)])).reshape(3, -1, classical.ORIENTATIONS)
    strongest = [np.bincount(row.argmax(axis=1)).argmax() for row in seen]
    assert len(set(strongest)) == 3
    assert (strongest[2] - strongest[0]) % classical.ORIENTATIONS == classical.ORIENTATIONS // 2
    assert seen.shape == (3, 324, 18)  # 9 by 9 blocks of 4 cells


def test_hog_hardly_minds_brightness_and_contrast():
    faint, strong = (np.clip(100 + gain * (edges(30).astype(float) - 128), 0, 255) for gain in (0.5, 1.0))
    first, second = hog(np.stack([faint, strong]).astype(np.uint8))
    assert np.corrcoef(first, second)[0, 1] > 0.9


def test_hog_of_any_size(photo):
    """Cells grow with the picture: one that was only enlarged says nearly the same."""
    small = resize(photo[100:400, 100:400, 1], 48)
    large = resize(small, 200)
    assert hog(large[None]).shape == hog(small[None]).shape == hog(pictures(1, size=5)).shape == (1, 5832)
    assert (hog(large[None]) == hog(resize(large, 204)[None])).all()
    assert np.corrcoef(hog(large[None])[0], hog(small[None])[0])[0, 1] > 0.8


def test_no_pictures_and_others():
    assert hog(pictures(0)).shape == (0, 5832) and flat(pictures(0)).shape == (0, 48 * 48)
    for other in (pictures(1).astype(float), pictures(1)[0], pictures(2)[:, :24], np.zeros((1, 48, 48, 3), np.uint8)):
        for describe in (hog, flat):
            with pytest.raises(ValueError, match=r"must be \(N, S, S\) uint8"):
                describe(other)


def test_flat_by_hand():
    assert flat(np.array([[[1, 2], [3, 255]]], np.uint8)).tolist() == [[1.0, 2.0, 3.0, 255.0]]


# ------------------------------------------------------------------------------------------------ clusters


def test_clusters_are_named_by_majority():
    """Three heaps, as many clusters as classes; one is mixed, and no cluster's number decides."""
    heaps = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 10, axis=0)
    heaps += np.random.default_rng(0).normal(0, 0.1, heaps.shape)
    labels = np.array([4] * 10 + [2] * 6 + [4] * 4 + [6] * 10)
    for seed in range(5):
        model = MajorityClusters(seed).fit(heaps, labels)
        said = model.predict([[0.2, 0.0], [8.8, 0.1], [0.1, 9.3]])
        assert said.tolist() == [4, 2, 6]
        assert len(set(model.numbers(heaps))) == 3 and model.score(heaps, labels) == 26 / 30


# ------------------------------------------------------------------------------------------------ the methods


@pytest.mark.parametrize("name", classical.methods())
def test_only_some_methods_keep_training_rows(name):
    """Twice the rows make a fitted pipeline larger by them if it keeps them."""
    method = classical.methods(components=10, factors=4)[name]
    seen, labels = method.features(pictures(84)), np.arange(84) % 7
    short, long = (len(pickle.dumps(method.pipeline.fit(seen[:n], labels[:n]))) for n in (42, 84))
    assert (long - short > 42 * 10 * 4) == method.keeps_rows


# ------------------------------------------------------------------------------------------------ the file


@pytest.fixture
def trained() -> tuple:
    """(a linear pipeline on HOG, the pictures and labels that it knows by heart)."""
    labels = np.arange(28) % 7
    return make_pipeline(RidgeClassifier(alpha=0.1)).fit(hog(pictures(28)), labels), pictures(28), labels


@pytest.fixture
def folder(trained, tmp_path):
    """A model folder with the pipeline and its card."""
    save_pipeline(trained[0], tmp_path / PIPELINE_FILE)
    names = list(FER2013_EMOTIONS)
    texts = dict.fromkeys(("preprocessing", "data", "data_terms", "label_source", "notebook", "commit"), "none")
    facts = {"seed": 0, "versions": {}, "sha256": {}, "scores": {}, "limits": [], "not_for": []}
    margins = {"haar": 0.0, "blazeface": 0.0}
    shape = {"labels": tuple(names), "heads": {"fer2013": names}, "input_size": 48, "crop_margin": margins}
    Card(name="linear", task="emotion", alignment="none", **shape, **texts, **facts).write(tmp_path)
    return tmp_path


def test_a_pipeline_is_a_model_like_any_other(folder, trained):
    """The card lists it, the runtime answers by it, and its answers are the pipeline's."""
    pipeline, known, labels = trained
    card = load_card(str(folder))
    assert set(card.sha256) == {PIPELINE_FILE}
    outputs = predict(load_runtime(card), known, 48)["fer2013"]
    assert outputs.dtype == np.float32 and outputs.shape == (28, 7)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    assert (outputs.argmax(axis=1) == pipeline.predict(hog(known))).all() and (outputs.argmax(axis=1) == labels).all()
    assert load_runtime(card)(np.zeros((0, 48, 48, 3), np.uint8))["fer2013"].shape == (0, 7)
    with pytest.raises(InputError, match="leave --runtime out"):
        load_runtime(card, "keras")


def test_a_folder_is_one_model(folder):
    """A card that lists a network and a pipeline leaves open which of them answers."""
    (folder / KERAS_FILE).write_bytes(b"a network")
    load_card(str(folder)).write(folder)
    with pytest.raises(InputError, match="a network and a pipeline"):
        load_card(str(folder))


def test_scaled_scores_answer_the_same(trained):
    pipeline, known, _ = trained
    before = classical.probabilities(pipeline, hog(known))
    classical.scale_scores(pipeline, 2.5)
    np.testing.assert_allclose(classical.probabilities(pipeline, hog(known)), apply_temperature(before, 2.5), atol=1e-5)


class Harmful:
    """What a pickle would run: it writes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_file_runs_no_code(folder, tmp_path):
    """Neither a pickle nor a type that skops does not know is opened; damage is one line."""
    (tmp_path / "pickled.skops").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    skops.io.dump(make_pipeline(MajorityClusters()), tmp_path / "own.skops")
    whole = (folder / PIPELINE_FILE).read_bytes()
    (tmp_path / "short.skops").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.skops").write_bytes(b"")
    for name in ("pickled", "own", "short", "empty", "absent"):
        with pytest.raises(InputError, match="cannot be loaded .*; restore it") as error:
            load_pipeline(tmp_path / f"{name}.skops")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()
    pickle.loads((tmp_path / "pickled.skops").read_bytes()).close()
    assert (tmp_path / "harm").exists()  # it would have


def test_the_file_holds_arrays_and_names(folder):
    with zipfile.ZipFile(folder / PIPELINE_FILE) as file:
        names = file.namelist()
        assert "schema.json" in names and {Path(name).suffix for name in names} <= {".json", ".npy"}
        assert "coef_" in file.read("schema.json").decode()


def test_colour_is_seen_as_grey(folder):
    """Rec. 601, of RGB: a red picture is darker than a green one."""
    colour = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    grey = np.rint(colour @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    classify = PipelineRuntime(folder / PIPELINE_FILE)
    seen, expected, swapped = (
        classify(pictures)["fer2013"]
        for pictures in (colour, np.repeat(grey[..., None], 3, axis=-1), colour[..., ::-1])
    )
    assert np.abs(seen - expected).max() < 0.2 * np.abs(swapped - expected).max()  # OpenCV rounds in fixed point


def test_a_damaged_model_is_refused(folder):
    card = load_card(str(folder))
    (folder / PIPELINE_FILE).write_bytes(b"other")
    with pytest.raises(InputError, match="altered"):
        load_runtime(card)


def test_other_pipelines_are_refused(tmp_path):
    """Of two classes, on other features, without a score a class, or no pipeline: one line, not a traceback."""
    known, labels = hog(pictures(28)), np.arange(28) % 7
    odd = {
        "two": make_pipeline(RidgeClassifier()).fit(known, labels > 3),
        "pixels": make_pipeline(RidgeClassifier()).fit(flat(pictures(28)), labels),
        "silent": make_pipeline(KNeighborsClassifier()).fit(known, labels),
        "list": [1, 2, 3],
        "named": make_pipeline(RidgeClassifier()).fit(known, np.array(FER2013_EMOTIONS)[labels]),
        "keeps rows": make_pipeline(SVC()).fit(known, labels),
        "diverged": make_pipeline(RidgeClassifier()).fit(known, labels),
    }
    odd["diverged"][-1].coef_[:] = np.nan
    for name, pipeline in odd.items():
        save_pipeline(pipeline, tmp_path / f"{name}.skops")
        with pytest.raises(InputError, match="no linear pipeline on HOG"):
            PipelineRuntime(tmp_path / f"{name}.skops")


def test_a_card_of_other_classes_is_refused(folder, trained):
    """A pipeline of six classes beside a card of seven."""
    pipeline, known, labels = trained
    save_pipeline(
        make_pipeline(RidgeClassifier()).fit(hog(known[labels < 6]), labels[labels < 6]), folder / PIPELINE_FILE
    )
    load_card(str(folder)).write(folder)
    with pytest.raises(InputError, match="its card says"):
        load_runtime(load_card(str(folder)))
