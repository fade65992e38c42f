"""Learning action units: what a code is worth, figures by hand, thresholds that see no held-out row, CK+'s layout."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from fer_lib import facs
from fer_lib.action_units import BUILTIN_AUS
from fer_lib.datasets.ckplus import load_apex_frames
from fer_lib.datasets.demo import write_ck_apex, write_ckplus, write_tables
from fer_lib.errors import InputError
from fer_lib.facs import CodedFrames
from fer_lib.models import units_network
from fer_lib.splits import check_no_leak, group_folds, load_split

K = len(BUILTIN_AUS)
AU12, AU26 = BUILTIN_AUS.index(12), BUILTIN_AUS.index(26)


def write_pair(root: Path, subject: int, sequence: int, frames=(1, 9), size=(48, 48)) -> None:
    """One sequence of the release, its frames as dark as their number."""
    folder = root / "cohn-kanade-images" / f"S{subject:03d}" / f"{sequence:03d}"
    folder.mkdir(parents=True)
    for number in frames:
        Image.new("L", size, number).save(folder / f"S{subject:03d}_{sequence:03d}_{number:08d}.png")
    (root / "Emotion").mkdir(exist_ok=True)


def write_codes(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["subject,sequence,action_units", *rows]) + "\n")
    return path


def made_up(people: int = 30, seed: int = 0) -> tuple[np.ndarray, CodedFrames]:
    """Features that tell every unit, with noise, of two frames a person."""
    rng = np.random.default_rng(seed)
    intensity = np.repeat(rng.integers(0, 2, (people, K)) * 3.0, 2, axis=0)
    intensity[::2] = 0
    features = (intensity @ rng.normal(size=(K, 40)) + 0.1 * rng.normal(size=(2 * people, 40))).astype(np.float32)
    subject, emotion = np.repeat(np.arange(people), 2), ["neutral", "happy"] * people
    names = [f"{i}" for i in range(2 * people)]
    pictures = np.zeros((2 * people, 4, 4, 3), np.uint8)
    return features, CodedFrames(pictures, intensity, np.zeros((2 * people, K), bool), subject, emotion, names)


# ------------------------------------------------------------------------------------------------ codes and frames


def test_what_a_code_is_worth():
    """A letter is its intensity, none is 3; of 26 and 27 the stronger counts, and a letter more than none."""
    intensity, lettered = facs.unit_intensities({12: 5, 25: None, 26: 1, 27: 2, 14: 4})
    seen = {BUILTIN_AUS[i]: float(intensity[i]) for i in np.flatnonzero(intensity)}
    assert seen == {12: 5, 25: 3, 26: 2}
    assert [BUILTIN_AUS[i] for i in np.flatnonzero(lettered)] == [12, 26]
    assert facs.unit_intensities({27: None})[0][AU26] == 3
    assert facs.unit_intensities({26: 1, 27: None})[0][AU26] == 1
    assert not facs.unit_intensities({})[0].any()


def test_first_and_last_frames_are_read(tmp_path):
    """Of three frames the first and the last; no codes, no first frame or a single frame: left out."""
    write_pair(tmp_path, 5, 1, (1, 4, 9))
    write_pair(tmp_path, 5, 2)
    write_pair(tmp_path, 6, 1, (2, 9))
    write_pair(tmp_path, 6, 2, (1,))
    codes = write_codes(tmp_path / "c.csv", "S005,001,12e+25", "S006,001,4", "S006,002,4")
    frames = facs.coded_frames(tmp_path, codes, size=24)
    assert frames.name == ["S005_001_00000001", "S005_001_00000009"] and frames.subject.tolist() == [5, 5]
    assert frames.pictures.shape == (2, 24, 24, 3) and frames.pictures[:, 0, 0, 0].tolist() == [1, 9]
    assert frames.emotion == ["neutral", ""] and len(frames) == 2
    assert not frames.present[0].any() and frames.intensity[1, AU12] == 5 and frames.present[1].sum() == 2
    with pytest.raises(InputError, match="no sequence with a first frame, an apex and FACS codes"):
        facs.coded_frames(tmp_path)


def test_the_releases_own_codes_are_read(tmp_path):
    write_pair(tmp_path, 5, 1)
    folder = tmp_path / "FACS" / "S005" / "001"
    folder.mkdir(parents=True)
    (folder / "S005_001_00000009_facs.txt").write_text("   1.2000000e+01   4.0000000e+00\n")
    frames = facs.coded_frames(tmp_path)
    assert frames.intensity[1, AU12] == 4 and frames.lettered[1, AU12]


@pytest.mark.parametrize("size", [(64, 48), (64, 64)])
def test_size_must_not_tell_the_apex(tmp_path, size):
    write_pair(tmp_path, 5, 1)
    write_pair(tmp_path, 5, 2, size=size)
    codes = write_codes(tmp_path / "c.csv", "S005,001,12", "S005,002,12")
    with pytest.raises(InputError, match=f"S005_002_00000001.png is 64x{size[1]}; give square face crops of one size"):
        facs.coded_frames(tmp_path, codes)


def test_demo_data_is_read(tmp_path):
    write_tables(write_ck_apex(write_ckplus(tmp_path, subjects=3), subjects=3), 8, 8, subjects=3)
    frames = facs.coded_frames(tmp_path / "ckplus", tmp_path / "tables" / "ck_facs.csv")
    assert len(frames) >= 18 and frames.present[1::2].any(axis=1).mean() > 0.7 and not frames.present[::2].any()
    apex = facs.apex_frames_coded(load_apex_frames(tmp_path / "ck_apex"), tmp_path / "tables" / "ck_facs.csv")
    by_name = dict(zip(frames.name, frames.present, strict=True))
    assert len(apex) >= 8 and all((by_name[path.stem] == present).all() for path, _, present in apex)


# ------------------------------------------------------------------------------------------------ figures and folds


def test_f1_by_hand():
    """Two found, one of them right, of two there: precision and recall a half. A unit of nobody has none."""
    present = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    found = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    np.testing.assert_allclose(facs.f1_scores(present, found), [0.5, np.nan, 0])
    assert facs.mean_f1(present, found) == 0.25 and np.isnan(facs.mean_f1(present[:, 1:2], found[:, 1:2]))


def test_thresholds_by_hand():
    """Between 1 and 2 every threshold parts the two; the middle of these is taken."""
    limits = facs.best_thresholds(np.array([[False], [False], [True]]), np.array([[0.5], [1.0], [2.0]]))
    assert limits == pytest.approx([1.5], abs=0.06)


def test_ridge_is_sklearns_on_standardised_features():
    """A penalty of nearly nothing finds the line itself; a large one the mean. Constant features do no harm."""
    x = np.array([[0, 7], [1, 7], [2, 7], [5, 7]], np.float32)
    y = np.array([[1.0], [1.5], [2.0], [3.5]])
    kernel, bias = facs.fit_ridge(x, y, 1e-6)
    np.testing.assert_allclose(x @ kernel + bias, y, atol=1e-4)
    np.testing.assert_allclose(facs.linear_units(np.float32([[40, 7], [-9, 7]]), kernel, bias), [[5], [0]])
    kernel, bias = facs.fit_ridge(x, y, 1e9)
    np.testing.assert_allclose(x @ kernel + bias, np.full((4, 1), 2), atol=1e-4)


def test_folds_learn_and_see_no_held_out_row():
    features, frames = made_up()
    folds = group_folds(frames.emotion, frames.subject, 5)
    check_no_leak(folds, subject=frames.subject)
    models = facs.fold_models(features, frames, folds)
    intensity, found = facs.held_out(models, features, frames)
    assert facs.mean_f1(frames.present, found) > 0.85 and intensity.min() == 0 and intensity.max() <= 5
    held = models[0].held
    altered = features.copy()
    altered[held] = 100
    again = facs.fold_models(altered, frames, {"fold_1": held})[0]
    np.testing.assert_array_equal(again.kernel, models[0].kernel)
    np.testing.assert_array_equal(again.thresholds, models[0].thresholds)
    assert again.alpha == models[0].alpha in facs.ALPHAS


def test_features_that_say_nothing_are_not_learned():
    """Against the leak of a threshold or a scaler: noise finds what always saying yes finds, half of the apexes."""
    _, frames = made_up(people=40)
    noise = np.random.default_rng(5).normal(size=(80, 40)).astype(np.float32)
    models = facs.fold_models(noise, frames, group_folds(frames.emotion, frames.subject, 5))
    assert facs.mean_f1(frames.present, facs.held_out(models, noise, frames)[1]) < 0.5


def test_figures_by_hand():
    """AU12: found on one of two; its letters 1 to 5 are answered in reverse. Six people, the last without it."""
    _, frames = made_up(people=3)
    intensity, lettered, answered = np.zeros((6, K)), np.zeros((6, K), bool), np.zeros((6, K))
    intensity[:5, AU12], answered[:5, AU12], lettered[:5, AU12] = range(1, 6), range(5, 0, -1), True
    frames = replace(frames, intensity=intensity, lettered=lettered)
    found = np.zeros((6, K), bool)
    found[[0, 5], AU12] = True
    figures = facs.unit_figures(frames, answered, found, draws=50)
    unit = figures["units"]["AU12"]
    assert (figures["n"], figures["subjects"], unit["positives"], unit["lettered"]) == (6, 3, 5, 5)
    assert unit["r"] == pytest.approx(-1) and unit["f1"][0] == pytest.approx(2 / 7) == figures["mean_f1"][0]
    assert figures["mean_f1"][1] <= 2 / 7 <= figures["mean_f1"][2]
    assert figures["units"]["AU01"] == {"f1": None, "positives": 0, "r": None, "lettered": 0}


def test_the_head_is_the_ridge():
    """On a trunk whose features are the mean colours; intensities are cut to 0 and 5."""
    pixels = keras.Input((8, 8, 3), dtype="uint8")
    features = keras.layers.GlobalAveragePooling2D(name="features")(keras.ops.cast(pixels, "float32"))
    network = units_network(keras.Model(pixels, features), 2)
    kernel, bias = np.array([[0.01, 0], [0, -1], [0, 0]], np.float32), np.array([0.5, 7], np.float32)
    network.get_layer("au_intensity").set_weights([kernel, bias])
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    crops[0, ..., 0], crops[1, ..., 1] = 100, 200
    np.testing.assert_allclose(network.predict(crops, verbose=0)["au"], [[1.5, 5], [0.5, 0]], atol=1e-4)


def test_real_frames_and_their_folds(fer_data):
    frames = facs.coded_frames(fer_data / "ckplus", fer_data / "tables" / "ck_facs.csv")
    assert len(frames) == 426 and len(set(frames.subject.tolist())) == 88
    assert frames.present.any(axis=1).sum() == 213 and frames.lettered.sum() < 0.15 * frames.present.sum()
    folds = load_split("ck_facs", frames.name, subject=frames.subject)
    again = group_folds(frames.emotion, frames.subject, 10, 1)
    assert {fold: rows.tolist() for fold, rows in folds.items()} == {k: np.sort(v).tolist() for k, v in again.items()}
