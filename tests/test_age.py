"""Age: targets and figures by hand, the median of the head, the released trunk, and --age from picture to table."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas
import pytest
from conftest import PHOTOS, make_film, one_line_error, run_script
from test_groups import people

from fer_lib import models
from fer_lib.age import age_distribution, age_figures, figures_by_group, found_faces, framed, range_numbers
from fer_lib.cli import main
from fer_lib.detect import crop_faces, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import AGE_RANGES, AGES, Faces
from fer_lib.recognize import BATCH, Recognizer
from fer_lib.runtime import export_fast
from fer_lib.weights import AGE_TASK, EYES_LEVEL, KERAS_FILE, load_card, save_keras

# ------------------------------------------------------------------------------------------------ targets and figures


def test_distribution_by_hand():
    """About 50 the bell is 1 + 0.06 * 50 = 4 years wide: at 46 and 54 it is exp(-1/2) of its top."""
    bell = age_distribution(np.array([50, 1, 116]))
    assert bell.shape == (3, len(AGES)) and bell.dtype == np.float32
    np.testing.assert_allclose(bell.sum(axis=1), 1, rtol=1e-5)
    assert [AGES[i] for i in bell.argmax(axis=1)] == [50, 1, 116]
    np.testing.assert_allclose(bell[0, [45, 53]] / bell[0, 49], np.exp(-0.5), rtol=1e-5)
    assert age_distribution(np.zeros(0)).shape == (0, len(AGES))


def test_figures_by_hand():
    """Errors 0.2, 5 and -10.6 years: 2.2 is in the range of 2, 35 in that of 30, 9.4 is not in that of 20."""
    found = age_figures(np.array([2, 30, 20]), np.array([2.2, 35, 9.4]))
    assert found["n"] == 3
    assert found["mae"][0] == pytest.approx((0.2 + 5 + 10.6) / 3) and found["bias"][0] == pytest.approx(-5.4 / 3)
    assert found["range_accuracy"][0] == pytest.approx(2 / 3)  # 9.4 is 9 years, in 3-9
    assert all(low <= value <= high for value, low, high in (found[key] for key in list(found)[1:]))
    assert range_numbers([2.44, 2.45001, 2.5, 27.6]).tolist() == [0, 1, 1, 4]  # to a tenth, as tables show it


def test_groups_by_hand():
    """Errors 1 and 0 in one decade, 2 in the other: women err 1 - 0.5 and 2 - 2 more than their decades."""
    data = people((2, True, 0), (9, False, 0), (11, True, 3))
    found = figures_by_group(data, np.array([3.0, 9, 9]), least=1)
    assert {kind: {name: it["n"] for name, it in groups.items()} for kind, groups in found.items()} == {
        "decade": {"0-9": 2, "10-19": 1},
        "sex": {"female": 2, "male": 1},
        "race": {"white": 2, "indian": 1},
    }
    assert found["decade"]["0-9"]["mae"][0] == 0.5 and found["sex"]["female"]["bias"][0] == -0.5
    assert found["race"]["indian"]["range_accuracy"][0] == 0
    assert found["sex"]["female"]["than_its_decades"][0] == pytest.approx(0.25)
    assert found["sex"]["male"]["than_its_decades"] == pytest.approx([-0.5, -0.5, -0.5])
    assert "than_its_decades" not in found["decade"]["0-9"]


def test_small_groups_are_left_out_and_the_oldest_are_one():
    data = people((90, True, 0), (99, True, 0), (110, False, 0), (30, False, 0))
    found = figures_by_group(data, np.array([90.0, 90, 90, 30]), least=2)
    assert {kind: list(groups) for kind, groups in found.items()} == {
        "decade": ["90-116"],
        "sex": ["female", "male"],
        "race": ["white"],
    }
    assert found["decade"]["90-116"]["mae"][0] == pytest.approx(29 / 3)


# ------------------------------------------------------------------------------------------------ the network


def head_answers(share: np.ndarray) -> np.ndarray:
    """The age head's answers where its softmax says `share`, (N, 116)."""
    inputs = keras.Input((4,))
    head = keras.Model(inputs, models.age_head(inputs))
    head.get_layer("age_dense").set_weights([np.zeros((4, 512)), np.zeros(512)])
    answers = []
    for row in share:
        head.get_layer("age_distribution").set_weights([np.zeros((512, 116)), np.log(np.maximum(row, 1e-30))])
        answers.append(head.predict(np.zeros((1, 4)), verbose=0)[0, 0])
    return np.array(answers)


def test_median_by_hand():
    """All at 30: its middle. Two halves: the border. A quarter, a half, a quarter: the middle of the second."""
    share = np.zeros((5, 116))
    share[0, 29] = 1
    share[1, [9, 10]] = 0.5
    share[2, [19, 29, 59]] = 0.25, 0.5, 0.25
    share[3, [19, 29]] = 0.4, 0.6  # a sixth into year 30: 29.5 + 1/6
    share[4] = 1 / 116
    np.testing.assert_allclose(head_answers(share), [30, 10.5, 30, 29.5 + 1 / 6, 58.5], atol=1e-3)


def write_graph(folder: Path, blocks: int, seed: int = 0) -> tuple[Path, dict]:
    """faceres-deep's two files for a trunk of so many blocks, with random weights: (the .json, the arrays)."""
    rng, shapes, before = np.random.default_rng(seed), {}, 32
    shapes["conv1/convolution/merged_input"], shapes["conv1_bn/batchnorm_1/sub"] = (3, 3, 3, 32), (32,)
    for i, (filters, _) in enumerate(models.MOBILENET_BLOCKS[:blocks], start=1):
        shapes[f"conv_dw_{i}/depthwise_kernel"] = (3, 3, before, 1)
        shapes[f"conv_dw_{i}_bn/batchnorm_1/mul"] = shapes[f"conv_dw_{i}_bn/batchnorm_1/sub"] = (before,)
        shapes[f"conv_pw_{i}/convolution/merged_input"] = (1, 1, before, filters)
        shapes[f"conv_pw_{i}_bn/batchnorm_1/sub"] = (filters,)
        before = filters
    shapes["age_pred/kernel"], shapes["conv1_relu/Cast"] = (256, 100), ()
    arrays = {name: rng.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}
    entries = [{"name": name, "shape": list(a.shape), "dtype": "float32"} for name, a in arrays.items()]
    (folder / "faceres.bin").write_bytes(b"".join(array.tobytes() for array in arrays.values()))
    manifest = {"modelTopology": {}, "weightsManifest": [{"paths": ["faceres.bin"], "weights": entries}]}
    (folder / "faceres.json").write_text(json.dumps(manifest))
    return folder / "faceres.json", arrays


def test_the_released_trunk_is_read(tmp_path):
    """One separable block, against the same sums by hand at one place."""
    path, arrays = write_graph(tmp_path, 1)
    network = models.age_network(32, models.MOBILENET_BLOCKS[:1])
    assert models.load_faceres(network, path) == 3
    for name in ("conv1", "conv_pw_1"):
        kernel, offset = network.get_layer(name).get_weights()
        np.testing.assert_array_equal(kernel, arrays[f"{name}/convolution/merged_input"])
        np.testing.assert_array_equal(offset, arrays[f"{name}_bn/batchnorm_1/sub"])
    picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    before, after = (network.get_layer(name).output for name in ("conv1", "conv_dw_1"))
    x, y = keras.Model(network.input, [before, after]).predict(picture, verbose=0)
    kernel, scale, offset = (arrays[f"conv_dw_1{end}"] for end in ENDS)
    by_hand = (x[0, 4:7, 4:7] * kernel[..., 0]).sum(axis=(0, 1)) * scale + offset
    np.testing.assert_allclose(y[0, 5, 5], np.clip(by_hand, 0, 6), atol=1e-3)
    centred = picture[0, 10:13, 10:13, ::-1] - np.array(models.BGR_MEAN)
    kernel, offset = arrays["conv1/convolution/merged_input"], arrays["conv1_bn/batchnorm_1/sub"]
    by_hand = np.einsum("abc,abcd->d", centred, kernel) + offset  # even sides: "same" with stride 2 pads at the end
    np.testing.assert_allclose(x[0, 5, 5], np.clip(by_hand, 0, 6), atol=1e-3)


ENDS = ("/depthwise_kernel", "_bn/batchnorm_1/mul", "_bn/batchnorm_1/sub")


def test_another_trunk_is_refused(tmp_path):
    path, _ = write_graph(tmp_path, 2)
    with pytest.raises(ValueError, match="differ in 2 layers: conv_dw_2, conv_pw_2"):
        models.load_faceres(models.age_network(32, models.MOBILENET_BLOCKS[:1]), path)


def test_the_whole_trunk_has_its_parameters():
    pixels = keras.Input((64, 64, 3))
    trunk = keras.Model(pixels, models.mobilenet_v1(pixels))
    assert trunk.count_params() == 3_196_032 and trunk.output.shape == (None, 1024)


# ------------------------------------------------------------------------------------------------ faces cut closely


def test_close_pictures_are_widened(photo):
    """Haar finds no face whose chin is cut off; with the edges repeated it does."""
    face = photo[60:290, 130:360]
    chip = cv2.resize(face, (200, 200), interpolation=cv2.INTER_AREA)
    detect = make_detector("haar")
    wide, (found,) = found_faces(chip[None], detect)
    assert wide.shape == (1, 300, 300, 3) and (wide[0, 50:250, 50:250] == chip).all() and len(found) == 1
    assert framed(wide, [found], 64, 0.1).shape == (1, 64, 64, 3)
    assert framed(np.concatenate([wide, wide]), [found, Faces.empty()], 64, 0.1).shape == (1, 64, 64, 3)


# ------------------------------------------------------------------------------------------------ --age


@pytest.fixture(scope="module")
def age_model(tiny_model, tmp_path_factory) -> str:
    """A folder of an age model that says 30.0 of every face."""
    folder = tmp_path_factory.mktemp("weights") / "thirty"
    folder.mkdir()
    network = models.age_network(32, models.MOBILENET_BLOCKS[:1])
    share = np.zeros(116)
    share[29] = 1
    network.get_layer("age_distribution").set_weights([np.zeros((512, 116)), np.log(share + 1e-30)])
    save_keras(network, folder / KERAS_FILE)
    export_fast(folder / KERAS_FILE, folder)
    card = load_card(str(tiny_model))
    card = replace(card, name="thirty", task=AGE_TASK, labels=("years",), heads={"age": ["years"]}, input_size=32)
    card.write(folder)
    return str(folder)


def test_longer_weights_than_the_graph_tells_of_are_refused(tmp_path):
    path, _ = write_graph(tmp_path, 1)
    weights = tmp_path / "faceres.bin"
    weights.write_bytes(weights.read_bytes() + bytes(4))
    with pytest.raises(ValueError, match=r"describes \d+ bytes, its weights are \d+"):
        models.load_faceres(models.age_network(32, models.MOBILENET_BLOCKS[:1]), path)


@pytest.mark.parametrize("runtime", ["fast", "keras"])
def test_every_face_gets_an_age(tiny_model, age_model, photo, runtime):
    faces = Recognizer(str(tiny_model), "blazeface", runtime=runtime, age=age_model)(photo)
    np.testing.assert_allclose(faces.age, [30], atol=0.01)
    row = faces.records()[0]
    assert (row["age"], row["age_range"]) == (30.0, "28-45")
    empty = Recognizer(str(tiny_model), "blazeface", age=age_model)(np.zeros((90, 90, 3), np.uint8))
    assert empty.age.shape == (0,) and faces[[]].age.shape == (0,)
    assert Recognizer(str(tiny_model), "blazeface")(photo).age is None


def test_the_age_model_has_a_crop_of_its_own(tiny_model, age_model, photo, tmp_path):
    recognise = Recognizer(str(tiny_model), "blazeface", age=age_model)
    faces = recognise.detect(photo)
    assert recognise.crops(photo, faces).shape == (1, 16, 16, 3)
    assert recognise._age.crops(photo, faces).shape == (1, 32, 32, 3)
    card = json.loads((Path(age_model) / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"crop_margin": {"haar": 0.0}}))
    for name in card["sha256"]:
        (tmp_path / name).write_bytes((Path(age_model) / name).read_bytes())
    with pytest.raises(InputError, match="thirty has no crop margin for blazeface; choose one of haar"):
        Recognizer(str(tiny_model), "blazeface", age=str(tmp_path))


def test_models_keep_to_their_task(tiny_model, age_model):
    with pytest.raises(InputError, match="is a model for age, not for emotion; choose one of .*facenet"):
        Recognizer(age_model)
    with pytest.raises(InputError, match="is a model for emotion, not for age"):
        Recognizer(str(tiny_model), age=str(tiny_model))


def test_scripts_tell_the_age(tmp_path):
    picture = PHOTOS / "two_faces.jpg"
    done = run_script("foto_fer.py", picture, "--age", "--out", tmp_path, "--csv", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0].endswith("emotion,confidence,age,age_range") and len(lines) == 3
    told_faces = [line for line in done.stdout.splitlines() if ": face " in line]
    for line, told in zip(lines[1:], told_faces, strict=True):
        years, its_range = line.split(",")[-2:]
        assert 15 < float(years) < 90 and told.endswith(f"%, {its_range}")
    error = one_line_error(run_script("foto_fer.py", picture, "--model", "age", "--out", tmp_path))
    assert "age is a model for age, not for emotion; choose one of" in error


def test_a_crowd_gets_its_ages(tiny_model, age_model):
    """More faces than go into one call."""
    recognise = Recognizer(str(tiny_model), "blazeface", age=age_model)
    boxes = np.array([[x, 0, x + 10, 10] for x in range(BATCH + 3)], np.int32)
    recognise.detect = lambda image: Faces(boxes, np.ones(len(boxes), np.float32))
    np.testing.assert_allclose(recognise(np.zeros((20, 60, 3), np.uint8)).age, [30] * len(boxes), atol=0.01)


def test_the_age_models_own_framing_is_used(tiny_model, age_model, photo, tmp_path):
    """Another margin and alignment in its card are other crops."""
    card = load_card(age_model)
    replace(card, name="wide", crop_margin={"blazeface": 0.5}, alignment=EYES_LEVEL).write(age_model)
    try:
        wide = Recognizer(str(tiny_model), "blazeface", age=age_model)
        faces = replace(wide.detect(photo), roll=np.array([20.0], np.float32))
        expected = crop_faces(photo, faces, 32, 0.5, level=True)
        np.testing.assert_array_equal(wide._age.crops(photo, faces), expected)
        assert (crop_faces(photo, faces, 32, 0.5) != expected).any()
    finally:
        card.write(age_model)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_videos_and_cameras_tell_the_age(tmp_path, photo, suffix):
    """In every table; a frame without a face has no age."""
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    shown, empty = photo[:height, :width], np.zeros((height, width, 3), np.uint8)
    films = [make_film(tmp_path / f"{i}.mp4", picture, 1) for i, picture in enumerate((shown, empty))]
    table = tmp_path / f"t.{suffix}"
    read = {"csv": pandas.read_csv, "json": pandas.read_json, "parquet": pandas.read_parquet}[suffix]
    keep = ["--age", "--out", tmp_path / "out", f"--{suffix}", table]
    for script, inputs in {"video_fer.py": films, "webcam_fer.py": ["--camera", films[0]]}.items():
        done = run_script(script, *inputs, *keep)
        assert done.returncode == 0, done.stderr
        rows = read(table)
        assert 15 < rows.age[0] < 90 and rows.age_range[0] in AGE_RANGES
        if script == "video_fer.py":
            assert pandas.isna(rows.age.iloc[-1]) and pandas.isna(rows.age_range.iloc[-1])


def test_a_missing_age_model_is_told(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"there is no model '.*none' for age; choose one of age"):
        Recognizer(str(tiny_model), age=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"there is no model 'nosuch' for emotion; choose one of .*facenet") as told:
        Recognizer("nosuch")
    assert " age" not in str(told.value).split("choose")[1]


def test_years_are_no_percentage(capsys):
    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("age ")]
    assert re.search(r"mean error in years, \w+ \d\.\d \(n", line) and "%" not in line.split("years")[1]
