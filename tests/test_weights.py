"""Model folders: cards, verified files, the fast form held to Keras, and everything that can be wrong with them."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from conftest import run_script

from fer_lib import runtime
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.runtime import load_runtime
from fer_lib.weights import (
    DEFAULT_MODEL,
    EYES_LEVEL,
    FAST_FILES,
    KERAS_FILE,
    check_name,
    checked_file,
    load_card,
    model_names,
    round_weights,
    save_keras,
)


@pytest.fixture
def model(tiny_model, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "tiny")


def change_card(model, change):
    card = json.loads((model / "card.json").read_text())
    change(card)
    (model / "card.json").write_text(json.dumps(card))


def use_labels(card, labels):
    card["labels"] = card["heads"]["emotion"] = labels


def test_another_task_has_its_own_labels(model):
    """And the bounds of the margin are allowed."""
    change_card(model, lambda card: use_labels(card, ["acted", "felt"]))
    change_card(model, lambda card: card.update(task="genuineness", crop_margin={"haar": -0.4, "dnn": 2}))
    assert load_card(str(model)).labels == ("acted", "felt")


def crops(n, size):
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_card_round_trip(model):
    card = load_card(str(model))
    assert card.labels == tuple(card.heads["emotion"]) and card.input_size == 16
    assert set(card.sha256) == {KERAS_FILE, *FAST_FILES}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fast_form_agrees_with_keras(tiny_model, n):
    """Float32 arithmetic in another order, float16 weights in both: 1e-4 of a probability is generous."""
    card = load_card(str(tiny_model))
    fast, reference = (load_runtime(card, kind)(crops(n, 16)) for kind in ("fast", "keras"))
    assert set(fast) == {"emotion", "fer2013"}
    for head in fast:
        np.testing.assert_allclose(fast[head], reference[head], atol=1e-4)
        np.testing.assert_allclose(fast[head].sum(axis=1), 1, atol=1e-5)


def test_the_shipped_default_agrees_with_keras():
    card = load_card(DEFAULT_MODEL)
    batch = crops(4, card.input_size)
    fast, reference = (load_runtime(card, kind)(batch) for kind in ("fast", "keras"))
    for head in card.heads:
        np.testing.assert_allclose(fast[head], reference[head], atol=1e-3)


def test_grey_and_colour_of_equal_luma_are_equal(tiny_model):
    """Preprocessing is inside the model: it takes colour out by Rec. 601."""
    classify = load_runtime(load_card(str(tiny_model)))
    colour = np.full((1, 16, 16, 3), (255, 0, 0), np.uint8)
    grey = np.full((1, 16, 16, 3), 76, np.uint8)  # 0.299 * 255 = 76.2
    np.testing.assert_allclose(classify(colour)["emotion"], classify(grey)["emotion"], atol=1e-3)


@pytest.mark.parametrize("kind", ["fast", "keras"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated or altered"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "truncated or altered"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "LFS"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_damaged_weights(model, kind, damage, message):
    damage(model / (KERAS_FILE if kind == "keras" else FAST_FILES[1]))
    with pytest.raises(InputError, match=message):
        load_runtime(load_card(str(model)), kind)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.pop("labels"),
        lambda card: card.update(surplus=1),
        lambda card: card.update(input_size="48"),
        lambda card: card.update(heads={}),
        lambda card: card.update(labels=["happy"]),
        lambda card: card.update(crop_margin=0.1),
        lambda card: use_labels(card, [*EMOTIONS[:8], "anger"]),
        lambda card: use_labels(card, [*EMOTIONS[:8], "bored"]),
        lambda card: use_labels(card, []),
        lambda card: use_labels(card, [*EMOTIONS[:8], 3]),
        lambda card: use_labels(card, [EMOTIONS[1], EMOTIONS[0], *EMOTIONS[2:]]),
        lambda card: card["heads"].update(fer2013=list(FER2013_EMOTIONS[::-1])),
        lambda card: card["heads"].update(fer2013=sorted(FER2013_EMOTIONS)),  # the other order of the contract
        lambda card: card["crop_margin"].update(haar="0.1"),
        lambda card: card["crop_margin"].update(haar=float("nan")),
        lambda card: card["crop_margin"].update(haar=True),
        lambda card: card["crop_margin"].update(haar=-0.41),
        lambda card: card["crop_margin"].update(haar=2.1),
        lambda card: card.update(input_size=True),
        lambda card: card.update(input_size=0),
        lambda card: card.update(input_size=1025),
        lambda card: card.update(input_size=48.0),
        lambda card: card["heads"].update(fer2013="anger"),
        lambda card: card["heads"].update(fer2013=[1, 2]),
        lambda card: card["heads"].update(fer2013=[["anger"]]),
        lambda card: card["heads"].update(fer2013=["anger", "anger"]),
        lambda card: card["scores"]["random"].pop("value"),
        lambda card: card["scores"]["random"].update(value="0.1"),
        lambda card: card["scores"]["random"].update(value=float("nan")),
        lambda card: card["scores"]["random"].update(n=1.5),
        lambda card: card["scores"]["random"].update(interval=[0.1]),
        lambda card: card["scores"]["random"].update(interval=[0.1, None]),
        lambda card: card["scores"]["random"].pop("interval"),
        lambda card: card["scores"]["random"].pop("command"),
        lambda card: card["scores"].update(random=0.5),
        lambda card: card.update(name=3),
        lambda card: card.update(name="../../elsewhere"),
        lambda card: card.update(task=None),
        lambda card: card.update(alignment="an upright square around the detector's box"),
        lambda card: card.update(alignment=None),
        lambda card: card.update(alignment=[EYES_LEVEL]),
        lambda card: card.update(prior={name: 0.1 for name in EMOTIONS[1:]}),
        lambda card: card.update(prior={name: 0.1 for name in (*EMOTIONS, "bored")}),
        lambda card: card.update(prior=dict.fromkeys(EMOTIONS, 0.1) | {"fear": 0}),
        lambda card: card.update(prior=dict.fromkeys(EMOTIONS, 0.1) | {"fear": float("nan")}),
        lambda card: card.update(prior=dict.fromkeys(EMOTIONS, 0.1) | {"fear": "0.1"}),
        lambda card: card.update(prior=list(EMOTIONS)),
        lambda card: card.update(prior=None),
        lambda card: card.update(prior=dict.fromkeys(EMOTIONS, 0.2)),
        lambda card: card.update(prior=dict.fromkeys(EMOTIONS, 1 / 8) | {"fear": 1e-300}),
        lambda card: card.update(uncertain_below=-0.1),
        lambda card: card.update(uncertain_below=1),
        lambda card: card.update(uncertain_below=float("nan")),
        lambda card: card.update(uncertain_below="0.3"),
        lambda card: card.update(uncertain_below=None),
    ],
)
def test_damaged_card(model, change):
    change_card(model, change)
    with pytest.raises(InputError, match="damaged") as error:
        load_card(str(model))
    assert "\n" not in str(error.value)


def test_a_card_of_before_priors_and_uncertain(model):
    change_card(model, lambda card: [card.pop(key) for key in ("uncertain_below", "prior")])
    card = load_card(str(model))
    assert (card.uncertain_below, card.prior, card.alignment) == (0.0, {}, "none")


def test_alignment_prior_and_threshold_are_kept(model):
    prior = dict.fromkeys(EMOTIONS, 0.1) | {"fear": 0.2}
    change_card(model, lambda card: card.update(alignment=EYES_LEVEL, prior=prior, uncertain_below=0.99))
    load_card(str(model)).write(model)
    card = load_card(str(model))
    assert (card.uncertain_below, card.prior, card.alignment) == (0.99, prior, EYES_LEVEL)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_card_that_is_no_json(model, text):
    (model / "card.json").write_text(text)
    with pytest.raises(InputError, match="damaged"):
        load_card(str(model))


@pytest.mark.parametrize("labels", [FER2013_EMOTIONS, EMOTIONS[:8], sorted(FER2013_EMOTIONS)])
def test_a_model_with_fewer_emotions(model, labels):
    change_card(model, lambda card: card.update(labels=list(labels), heads={"emotion": list(labels)}))
    assert load_card(str(model)).labels == tuple(labels)


def test_a_file_the_card_does_not_know(model):
    with pytest.raises(InputError, match="not listed"):
        checked_file(load_card(str(model)), "other.bin")


@pytest.mark.parametrize("name", ["../mine", "sub/mine", ".hidden", "-p", "a b", "ä", "mine/"])
def test_names_that_no_folder_of_weights_has(name):
    with pytest.raises(InputError, match="cannot name a model; give letters, digits, - and _"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "mine", "Mine_2-b", "vggface_resnet50"])
def test_names_of_models(name):
    check_name(name)


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match=DEFAULT_MODEL):
        load_card("no_such_model")
    with pytest.raises(InputError, match="fast, quick, keras"):
        load_runtime(load_card(DEFAULT_MODEL), "tflite")
    assert DEFAULT_MODEL in model_names()


def test_first_use_exports_into_the_cache(model, tmp_path, monkeypatch, capsys):
    """A model that ships no fast form gets one, once; the model's own folder is left alone."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    expected = load_runtime(load_card(str(model)))(crops(2, 16))
    for name in FAST_FILES:
        (model / name).unlink()
    card = load_card(str(model))
    card.write(model)
    before = sorted(model.iterdir())
    card = load_card(str(model))
    got = load_runtime(card)(crops(2, 16))
    assert capsys.readouterr().err == f"preparing {card.name} for this machine, once; it takes some seconds\n"
    np.testing.assert_allclose(got["emotion"], expected["emotion"], atol=1e-4)
    made = next((tmp_path / "cache" / "exported").iterdir())
    stamp = (made / FAST_FILES[0]).stat().st_mtime_ns
    load_runtime(card)
    assert (made / FAST_FILES[0]).stat().st_mtime_ns == stamp and sorted(model.iterdir()) == before
    assert capsys.readouterr().err == ""


def test_a_detector_the_model_was_not_framed_for(model):
    from fer_lib.recognize import Recognizer

    change_card(model, lambda card: card["crop_margin"].pop("haar"))
    Recognizer(str(model), "blazeface")
    with pytest.raises(InputError, match="blazeface, dnn"):
        Recognizer(str(model), "haar")


def test_more_faces_than_one_batch(model, monkeypatch):
    """Every face keeps its own row when a crowd is classified in parts."""
    from fer_lib import recognize

    image = crops(1, 64)[0]
    boxes = np.array([[x, y, x + 16, y + 16] for y in (0, 16, 32) for x in (0, 16, 32)], np.int32)
    recognise = recognize.Recognizer(str(model))
    found = recognize.Faces(boxes, np.ones(len(boxes), np.float32))
    recognise.detect = lambda image: found
    whole = recognise(image).emotion
    monkeypatch.setattr(recognize, "BATCH", 4)
    np.testing.assert_allclose(recognise(image).emotion, whole, atol=1e-6)
    assert len({row.tobytes() for row in whole}) == 9


def test_a_checkout_without_weights(tmp_path):
    with pytest.raises(InputError, match="git checkout -- weights"):
        load_card(DEFAULT_MODEL, tmp_path / "weights")
    with pytest.raises(InputError, match="unknown model"):
        load_card("a" * 5000)


@pytest.mark.parametrize("kind", ["fast", "keras"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input_size": 48}, "takes 16 pixels .* 48 and"),
        ({"heads": {"emotion": list(EMOTIONS)}}, "fer2013"),
        ({"heads": {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS[:6])}}, "'fer2013': 6"),
        ({"heads": {"emotion": list(EMOTIONS), "other": list(FER2013_EMOTIONS)}}, "other"),
    ],
)
def test_a_card_of_another_model(model, kind, change, says):
    change_card(model, lambda card: card.update(change))
    with pytest.raises(InputError, match=f"its card says.*{says}|{says}.*git checkout") as error:
        load_runtime(load_card(str(model)), kind)
    assert "\n" not in str(error.value)


@pytest.fixture
def keras_only(model, tmp_path, monkeypatch):
    """The card of a model that ships no fast form, with an empty cache at tmp_path/cache."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    for name in FAST_FILES:
        (model / name).unlink()
    load_card(str(model)).write(model)
    return load_card(str(model))


@pytest.mark.parametrize("damage", ["cut bin", "cut xml", "no xml", "no hashes", "other hashes"])
def test_a_damaged_export_is_made_again(keras_only, tmp_path, damage):
    expected = load_runtime(keras_only)(crops(2, 16))["emotion"]
    made = next((tmp_path / "cache" / "exported").iterdir())
    file = made / {"bin": "model.bin", "xml": "model.xml", "hashes": "sha256.json"}[damage.split()[1]]
    if damage.startswith("no"):
        file.unlink()
    elif damage == "other hashes":
        file.write_text("[]")
    else:
        file.write_bytes(file.read_bytes()[:-9])
    np.testing.assert_array_equal(load_runtime(keras_only)(crops(2, 16))["emotion"], expected)
    assert sorted(p.name for p in made.iterdir()) == ["model.bin", "model.xml", "sha256.json"]
    assert list(made.parent.iterdir()) == [made]


def test_two_processes_export_at_once(keras_only, tmp_path, monkeypatch):
    """The other one is done while this one still exports."""

    def overtaken(source, folder):
        monkeypatch.setattr(runtime, "export_fast", export)
        runtime._exported(keras_only)
        export(source, folder)

    export = runtime.export_fast
    monkeypatch.setattr(runtime, "export_fast", overtaken)
    assert load_runtime(keras_only)(crops(2, 16))["emotion"].shape == (2, 9)
    assert len(list((tmp_path / "cache" / "exported").iterdir())) == 1


def test_a_cache_that_cannot_be_written(keras_only, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match="FER_CACHE"):
        load_runtime(keras_only)


def test_an_export_that_cannot_be_loaded_is_not_in_git(keras_only, monkeypatch):
    def nonsense(source, folder):
        for name in FAST_FILES:
            (folder / name).write_text("nonsense")

    monkeypatch.setattr(runtime, "export_fast", nonsense)
    with pytest.raises(InputError, match="cannot be loaded .*; delete .*cache") as error:
        load_runtime(keras_only)
    assert "git" not in str(error.value)


def test_the_export_says_one_line(keras_only, tmp_path):
    """TensorFlow tells its life on standard error unless asked not to before the import."""
    code = (
        "import sys; from fer_lib.weights import *; from fer_lib.runtime import *; load_runtime(load_card(sys.argv[1]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = run_script("-c", code, keras_only.folder, env=environment)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.startswith("preparing ") and done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------------------ rounded weights


@pytest.fixture(scope="module")
def network():
    """Two convolutions, the second's answer times 0.17 as in an Inception residual, and a dense head on them."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3), dtype="uint8", name="pixels")
    x = keras.layers.Conv2D(32, 3, activation="relu")(keras.layers.Rescaling(1 / 128, -1)(pixels))
    start = {"kernel_initializer": "he_normal", "bias_initializer": "normal"}
    y = keras.layers.Conv2D(32, 5, padding="same", **start, name="long")(x)
    x = keras.layers.Add()([x, keras.layers.Rescaling(0.17)(y)])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(x))
    model = keras.Model(pixels, {"head": keras.layers.Dense(4, "softmax", name="head")(x)})
    model.get_layer("long").kernel.assign(model.get_layer("long").kernel * np.linspace(0.001, 30, 32))
    return model


@pytest.fixture(scope="module")
def rounded(network):
    import keras

    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    round_weights(model, least=0)
    return model


def test_rounding_by_hand():
    """One column a channel: steps of 1, where 3.4 and -64.6 err; of 1, where 128.4 is cut, since steps of 2 err more;
    of 1/8; of nothing; and of 2^-24, float16's least."""
    import keras

    least = 2.0**-24
    columns = {
        "whole": ([127, 3.4, -64.6, 0], [127, 3, -65, 0]),
        "cut": ([-128.4, 1, 3, 5], [-127, 1, 3, 5]),
        "even": ([254, 2.6, -6, 0], [254, 2, -6, 0]),
        "eighths": ([15.8, 1 / 16 + 0.01, -1, 0], [15.75, 0.125, -1, 0]),
        "nothing": ([0] * 4, [0] * 4),
        "tiny": ([1.4 * least, -0.4 * least, 0.6 * least, 0], [least, 0, least, 0]),
    }
    given, expected = (np.array([column[i] for column in columns.values()], np.float32).T for i in (0, 1))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    bias = np.full(6, 0.3, np.float32)
    model.set_weights([given, bias])
    with np.errstate(divide="raise", invalid="raise"):
        round_weights(model, least=0)
    assert model.get_weights()[0].T.tolist() == expected.T.tolist()
    assert model.get_weights()[1].tolist() == bias.tolist()


def test_rounded_kernels(network, rounded):
    """Eight bits a channel, exact as float16, off by at most half of the coarser step; once more changes nothing."""
    import keras

    for given, w in zip(network.get_weights(), rounded.get_weights(), strict=True):
        if given.ndim == 1:
            assert (w == given).all()
            continue
        given, w = (array.reshape(-1, array.shape[-1]) for array in (given, w))
        step = 2.0 ** np.floor(np.log2(np.abs(given).max(axis=0) / 127))  # the finer one; the coarser is twice that
        levels = w / step
        assert (levels == np.rint(levels)).all() and (np.abs(levels) <= 254).all()
        assert all(np.abs(channel).max() <= 127 or (channel % 2 == 0).all() for channel in levels.T)
        assert (w.astype(np.float16) == w).all() and w.dtype == np.float32
        assert (np.sqrt(((w - given) ** 2).mean(axis=0)) <= step).all()
        assert len(w) < 100 or len(np.unique(levels)) > 200, "eight bits, not fewer"
    again = keras.models.clone_model(rounded)
    again.set_weights(rounded.get_weights())
    round_weights(again, least=0)
    for w, once in zip(again.get_weights(), rounded.get_weights(), strict=True):
        assert (w == once).all()


def test_small_kernels_are_not_rounded():
    """Of kernels of 90 and 99 weights; by default neither is rounded."""
    import keras

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(9), keras.layers.Dense(11)])
    before = model.get_weights()
    round_weights(model)
    assert (model.get_weights()[2] == before[2]).all()
    round_weights(model, least=99)
    assert (model.get_weights()[0] == before[0]).all() and (model.get_weights()[2] != before[2]).any()


def test_what_float16_cannot_hold_is_kept(tmp_path):
    """The variances of a batch norm behind raw pixels, for example, of which infinity would come."""
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    norm = model.layers[0]
    norm.set_weights([np.full(4, 1.5), np.zeros(4), np.full(4, -70_001.0), np.array([1.0, 65_504.0, 65_536.0, 1e9])])
    save_keras(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for saved, own in zip(loaded.layers[0].get_weights(), norm.get_weights(), strict=True):
        assert np.array_equal(saved, own)
    assert not np.array_equal(loaded.layers[1].get_weights()[0], model.layers[1].get_weights()[0])  # as float16


def test_a_saved_model_is_the_same_bytes_each_time(rounded, network, tmp_path):
    """Without the time of saving; float16 holds rounded weights exactly and packs them tighter."""
    import h5py
    import keras

    for name in ("a", "b"):
        save_keras(rounded, tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    save_keras(network, tmp_path / "exact.keras")
    sizes = []
    for name, model in (("a", rounded), ("exact", network)):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            assert {item.date_time for item in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            assert "date_saved" not in json.loads(file.read("metadata.json"))
            with h5py.File(file.open("model.weights.h5")) as weights:
                kernel = weights["layers/conv2d_1/vars/0"]
                assert kernel.dtype == np.float16
                sizes.append(kernel.id.get_storage_size())
        for w, saved in zip(
            model.get_weights(), keras.saving.load_model(tmp_path / f"{name}.keras").weights, strict=True
        ):
            assert (np.asarray(saved) == w.astype(np.float16)).all()
    assert sizes[0] < 0.8 * sizes[1] < 0.8 * 2 * 32 * 32 * 25  # two bytes a weight


@pytest.fixture(scope="module")
def exported(network, rounded, tmp_path_factory):
    """{"rounded" | "exact": folder with the Keras file and its export}."""
    folders = {}
    for name, model in (("rounded", rounded), ("exact", network)):
        folders[name] = tmp_path_factory.mktemp(name)
        save_keras(model, folders[name] / KERAS_FILE)
        runtime.export_fast(folders[name] / KERAS_FILE, folders[name])
    return folders


def stored(xml) -> dict[tuple[int, ...], str]:
    """{shape of each matrix or kernel: OpenVINO's name of its type}."""
    nodes = runtime.openvino_core().read_model(xml).get_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    return {tuple(c.shape): c.get_element_type().get_type_name() for c in constants if c.data.size > 100}


@pytest.mark.parametrize(("name", "tolerance"), [("rounded", 1e-5), ("exact", 2e-4)])  # float16 has eleven bits
def test_an_export_answers_as_keras_does(exported, name, tolerance):
    """Also where a factor of 0.17 was folded into a kernel: its steps are no powers of two then."""
    fast = runtime.FastRuntime(exported[name] / FAST_FILES[0])
    reference = runtime.KerasRuntime(exported[name] / KERAS_FILE)
    batch = crops(8, 16) // np.arange(1, 9, dtype=np.uint8)[:, None, None, None]
    np.testing.assert_allclose(fast(batch)["head"], reference(batch)["head"], atol=tolerance)
    assert np.ptp(reference(batch)["head"], axis=0).max() > 0.05, "the answers differ by picture"


def test_rounded_convolutions_are_exported_as_int8(exported, network):
    """The rest beside them is small and stays as it is; a model without rounded ones is float16 throughout."""
    floats = 4 * network.count_params()
    sizes = {name: (folder / FAST_FILES[1]).stat().st_size / floats for name, folder in exported.items()}
    assert sizes == {"rounded": pytest.approx(0.25, abs=0.03), "exact": pytest.approx(0.5, abs=0.03)}
    kernels = {(32, 3, 3, 3), (32, 32, 5, 5)}
    for name, convolutions, dense in (("rounded", "i8", "f32"), ("exact", "f16", "f16")):
        types = stored(exported[name] / FAST_FILES[0])
        assert types == dict.fromkeys(kernels, convolutions) | {(4, 32): dense}, name


def test_steps_by_hand():
    rows = np.array(
        [[0, 0, 0], [127, -3, 64], [-0.17 * 127, 0.17 * 3, 0.17], [-(2.0**-14), 2.0**-14 / 127, 0]], np.float32
    )
    assert runtime._steps(rows) == pytest.approx([1, 1, 0.17, 2.0**-14 / 127])
    coarse = np.array([[-2, 4, 6]], np.float32)  # any step that fits will do
    whole = coarse / runtime._steps(coarse)
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-4)
    assert np.abs(whole).max() <= 127
    assert runtime._steps(np.array([[0, 0, 0], [1, 0.5, 1 / np.pi]], np.float32)) is None
    assert runtime._steps(np.array([[128, 1, 3]], np.float32)) is None  # nine bits
