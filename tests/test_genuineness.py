"""Genuine or posed: folds, audit and matching by hand, the network, and answers for the faces of a picture."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import ROOT
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from test_scripts import run_notebook

from fer_lib import genuineness, models
from fer_lib.datasets.action_units import GenuinenessTable
from fer_lib.datasets.demo import write_smiles
from fer_lib.detect import make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.genuineness import BUILT_IN_COLUMNS, Genuineness
from fer_lib.images import write_image
from fer_lib.mesh import LANDMARK_COLUMNS, FaceMesh, normalised, raw
from fer_lib.posed_genuine import (
    Method,
    MlpClassifier,
    by_quantiles,
    by_spread,
    fitted,
    fold_figures,
    load_folders,
    matched_pairs,
    methods,
    out_of_fold,
    paired,
    part_of,
    permuted,
    probability_greater,
    rescaled,
    telling_columns,
    with_columns,
)
from fer_lib.runtime import load_runtime
from fer_lib.weights import GENUINENESS_TASK, KERAS_FILE, Card, load_card, save_keras


def table(features, genuine, group=None) -> GenuinenessTable:
    features = np.asarray(features, float).reshape(len(genuine), -1)
    names = tuple("abcdefgh"[: features.shape[1]])
    group = np.arange(len(genuine)) if group is None else np.asarray(group)
    return GenuinenessTable(features, names, np.asarray(genuine, bool), group)


def easy(n: int = 120, seed: int = 0) -> GenuinenessTable:
    """Column a tells the class, b is noise; every two rows are one group, and one cell is nan."""
    rng = np.random.default_rng(seed)
    genuine = np.arange(n) // 2 % 2 == 1
    features = np.stack([genuine + rng.normal(0, 0.15, n), rng.normal(0, 1, n)], axis=1)
    features[3, 1] = np.nan
    return table(features, genuine, np.arange(n) // 2)


# ------------------------------------------------------------------------------------------------ the network


def test_the_network_is_the_one_described():
    model = models.au_mlp(17, (8, 4))
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    hidden = ["Dense", "BatchNormalization", "LeakyReLU", "Dropout"]
    assert kinds == ["Normalization", *hidden, *hidden, "Dense", "Activation"]
    answers = model(np.zeros((3, 17), np.float32))
    assert list(answers) == ["genuine"] and answers["genuine"].shape == (3, 1)
    assert model.get_layer("logit").output.shape == (None, 1) and model.get_layer("norm_1").momentum == 0.9


def test_the_scaler_is_in_the_model():
    """Columns of other units give the same answers once the scaler has seen them."""
    data = easy()
    features = np.nan_to_num(data.features)
    answers = []
    for scale in (1.0, 1000.0):
        learner = MlpClassifier((8, 4), epochs=3, batch=16, seed=1).fit(scale * features + scale, data.genuine)
        answers.append(learner.predict_proba(scale * features + scale))
    np.testing.assert_allclose(*answers, atol=1e-2)  # float32 of 1000 and a tenth of a thousand
    mean = learner.model_.get_layer("scaler").mean
    np.testing.assert_allclose(np.ravel(mean), 1000 * features.mean(axis=0) + 1000, rtol=1e-4)


def test_it_learns_what_there_is_and_anew_each_time():
    data = easy()
    features = np.nan_to_num(data.features)
    learner = MlpClassifier((16, 8), dropout=0.1, epochs=20, batch=16)
    first = clone(learner).fit(features, data.genuine)
    assert (first.predict(features) == data.genuine).mean() > 0.97
    again = clone(learner).fit(features, data.genuine)
    np.testing.assert_array_equal(first.predict_proba(features), again.predict_proba(features))
    other = clone(learner).fit(features, ~data.genuine)  # nothing of the first is left
    assert (other.predict(features) == data.genuine).mean() < 0.03
    np.testing.assert_allclose(first.predict_proba(features).sum(axis=1), 1)


def test_the_rate_falls_by_a_tenth_every_two_epochs(monkeypatch):
    seen = []
    monkeypatch.setattr(keras.Model, "compile", lambda self, optimizer, *_, **__: seen.append(optimizer))
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: None)
    MlpClassifier((4, 2), rate=0.1, decay=0.02, epochs=40, batch=10).fit(np.zeros((55, 2)), np.arange(55) % 2 == 0)
    (optimizer,) = seen
    rate = optimizer._learning_rate  # of a step; 5 whole batches an epoch
    assert optimizer.weight_decay == 0.02
    np.testing.assert_allclose(
        [rate(s) for s in (0, 9, 10, 20, 199)], 0.1 * 0.9 ** np.array([0, 0, 1, 2, 19]), rtol=1e-5
    )


# ------------------------------------------------------------------------------------------------ folds


LINEAR = Method(make_pipeline(LogisticRegression()), {})


def test_every_method_learns_and_imputes():
    data = easy()
    found = methods(epochs=15)
    assert list(found) == ["MLP", "logistic regression", "boosting", "SVM", "extra trees"]
    for name, method in found.items():
        single = method.usual()
        if name == "MLP":
            single.pipeline[-1].set_params(hidden=(16, 8), batch=16)
        model, chosen = fitted(single, data)
        assert chosen == {key: values[0] for key, values in method.settings.items()}
        assert (model.predict(data.features) == data.genuine).mean() > 0.95, name


class Spy(LogisticRegression):
    """Notes which rows it learns from and answers for; column a is the row's number."""

    log = []

    def fit(self, features, genuine):
        self.log.append(("fit", self.C, np.sort(features[:, 0].astype(int)).tolist()))
        return super().fit(features, genuine)

    def predict_proba(self, features):
        self.log.append(("answer", self.C, np.sort(features[:, 0].astype(int)).tolist()))
        return super().predict_proba(features)


def test_no_row_of_a_fold_is_seen_before_it_is_answered():
    n = 48
    data = table(np.arange(n), np.arange(n) // 2 % 2 == 1, np.arange(n) // 4)
    Spy.log.clear()
    answers = out_of_fold(data, Method(make_pipeline(Spy()), {"C": [0.5, 2.0]}), 3, seed=5)
    assert np.isfinite(answers.probability).all() and sorted(set(answers.fold)) == [0, 1, 2]
    assert all(set(one) == {"C"} for one in answers.chosen)
    held_out = [np.flatnonzero(answers.fold == k).tolist() for k in range(3)]
    ends = [i for i, (what, _, rows) in enumerate(Spy.log) if what == "answer" and rows in held_out]
    assert len(ends) == 3
    start = 0
    for k, end in enumerate(ends):
        seen = {row for _, _, rows in Spy.log[start:end] for row in rows}
        assert seen and not seen & set(held_out[k])  # neither to learn nor to choose settings
        start = end + 1
    for k in range(3):  # a group lies in one fold
        assert not set(data.group[answers.fold == k]) & set(data.group[answers.fold != k])


def test_settings_are_chosen_by_what_they_are_worth():
    data = easy()
    data = replace(data, features=np.nan_to_num(data.features))
    _, chosen = fitted(Method(make_pipeline(LogisticRegression()), {"C": [1e-6, 10.0]}), data)
    assert chosen == {"C": 10.0}


def test_too_few_groups_are_refused():
    data = table(np.arange(8), np.arange(8) % 2 == 0, np.arange(8) // 4)
    with pytest.raises(InputError, match="2 groups cannot make 4 folds"):
        out_of_fold(data, LINEAR, 4)


def test_fold_figures_by_hand():
    """Fold 0: two of three right, fold 1: one of one; the mean of the folds is not that of the rows."""
    data = table(np.zeros(4), [True, False, True, False])
    found = fold_figures(data, np.array([0.9, 0.2, 0.4, 0.1]), np.array([0, 0, 0, 1]))
    assert found["n"] == 4 and found["accuracy"] == 0.75 and found["folds"] == [pytest.approx(2 / 3), 1.0]
    assert found["mean"] == pytest.approx(5 / 6) and found["spread"] == pytest.approx(1 / 3 / np.sqrt(2))
    assert found["confusion"] == [[2, 0], [1, 1]] and found["recall"] == {"posed": 1.0, "genuine": 0.5}
    assert found["interval"][0] < 0.75 < found["interval"][1]


def test_parts_and_columns():
    data = replace(easy(6), female=np.arange(6) > 3, age=np.arange(6))
    some = part_of(data, np.array([4, 1]))
    assert some.age.tolist() == [4, 1] and some.female.tolist() == [True, False] and some.group.tolist() == [2, 0]
    swapped = with_columns(data, ("b", "a"))
    assert swapped.names == ("b", "a")
    np.testing.assert_array_equal(swapped.features, data.features[:, ::-1])
    assert part_of(easy(6), np.arange(6) < 2).female is None


# ------------------------------------------------------------------------------------------------ audit


def test_greater_by_hand():
    """Genuine 2, 3; posed 1, 2: of four pairs three are greater, one is a tie... 2>1, 2=2, 3>1, 3>2: 3.5 of 4."""
    genuine = np.array([True, True, False, False])
    assert probability_greater(genuine, np.array([2, 3, 1, 2])) == 3.5 / 4
    assert probability_greater(genuine, np.zeros(4)) == 0.5


def test_telling_columns_by_hand():
    data = table([[0, 1], [0, 0], [2, 0], [3, 0]], [False, False, True, True])
    found = telling_columns(data)
    assert list(found) == ["a", "b", "zeros"]
    assert found["a"]["greater"][0] == 1 and found["a"]["zero"] == {"posed": 1.0, "genuine": 0.0}
    assert found["b"]["greater"][0] == 0.25 and found["zeros"]["greater"][0] == 0.25  # 1 and 2 zeros; 1 and 1


def test_the_column_that_tells_is_missed_when_shuffled():
    data = easy()
    data = replace(data, features=np.nan_to_num(data.features))
    lost = permuted(data, out_of_fold(data, LINEAR, 3))
    assert lost["a"][0] > 0.3 and -0.05 < lost["b"][0] < 0.05 and lost["a"][1] <= lost["a"][0] <= lost["a"][2]


def test_pairs_by_hand():
    """Posed at 0, 10 and 20; genuine at 1, 9.5 and 100: two pairs, and b, which is not named, does not count."""
    data = table([[0, 0], [10, 0], [20, 0], [1, 9], [9.5, 9], [100, 9]], np.arange(6) > 2)
    pairs = matched_pairs(data, ("a",), caliper=0.1)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 3), (1, 4)]
    assert matched_pairs(data, ("a",), caliper=0.001).shape == (0, 2)
    assert matched_pairs(data, ("a", "b"), caliper=0.1).shape == (0, 2)


def test_the_rows_of_a_pair_stay_together():
    """Rows 0 and 3 are a pair, 1 and 4 another, of which 1 and 5, of a third, are equal; row 6 is in none."""
    data = table(np.arange(7), np.arange(7) > 2, [10, 11, 12, 13, 14, 11, 16])
    rows, matched = paired(data, np.array([[0, 3], [1, 4], [2, 5]]))
    assert rows.tolist() == [0, 1, 2, 3, 4, 5] and matched.features[:, 0].tolist() == rows.tolist()
    a, b, c, d, e, f = matched.group.tolist()
    assert a == d != b and b == e == c == f
    assert part_of(data, rows).group.tolist() != matched.group.tolist()


# ------------------------------------------------------------------------------------------------ another scale


def test_quantiles_by_hand():
    """The middle of the source becomes the middle of the target, its ends the ends; equal values stay equal."""
    source, target = np.array([[0.0], [0], [1], [4]]), np.array([[0.0], [2], [4], [6], [8]])
    found = by_quantiles(np.array([[0.0], [0.5], [1], [4], [9]]), source, target)
    np.testing.assert_allclose(found[:, 0], [2, 4, 5, 7, 8])  # ranks 1/4, 1/2, 5/8, 7/8 and 1
    assert by_quantiles(np.zeros((0, 1)), source, target).shape == (0, 1)


def test_spread_by_hand():
    """A half of the target is 0, so the lower half of the source becomes 0; then both spread alike, at most 5."""
    source, target = np.array([[1.0], [1], [3], [3]]), np.array([[0.0], [0], [4], [4]])
    np.testing.assert_allclose(by_spread(np.array([[0.0], [1], [2], [3], [9]]), source, target)[:, 0], [0, 0, 0, 4, 5])
    rng = np.random.default_rng(0)
    many = by_spread(one := rng.uniform(0, 5, (4000, 2)), one, two := np.maximum(rng.normal(-0.2, 1, (4000, 2)), 0))
    np.testing.assert_allclose((many == 0).mean(axis=0), (two == 0).mean(axis=0), atol=0.01)
    np.testing.assert_allclose(many.std(axis=0), two.std(axis=0), rtol=0.02)


def test_a_network_behind_its_scale():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    behind = rescaled(network, np.array([1.0, 0.5]), np.array([2.0, 0.5]))
    units = np.array([[0.0, 0.5], [2, 4.5], [9, 1]], np.float32)
    expected = network(np.array([[0.0, 0], [2, 2], [5, 0.25]], np.float32))  # (unit - zero) * factor, from 0 to 5
    np.testing.assert_allclose(behind(units), expected, atol=1e-5)


# ------------------------------------------------------------------------------------------------ a user's folders


def fake_mesh(image, faces):
    """One face a picture, unless it is black; its points are the mean grey level."""
    grey = image.mean()
    return np.full((len(faces), 468, 2), grey if grey > 20 else np.nan, np.float32)


def fake_detect(image):
    return Faces(np.array([[0, 0, 4, 4]], np.int32), np.ones(1, np.float32)) if image.mean() > 1 else Faces.empty()


@pytest.fixture
def folders(tmp_path):
    """Two pictures in posed/, one of anna's; one of anna's in genuine/ beside two that show no face."""
    levels = {"posed/a.png": 50, "posed/anna/1.png": 60, "genuine/anna/2.png": 70, "genuine/b.png": 0}
    levels |= {"genuine/c.png": 10, "genuine/d.png": 50}
    for name, level in levels.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, np.full((8, 8, 3), level, np.uint8))
    (tmp_path / "posed" / "notes.txt").write_text("no picture")
    return tmp_path


def test_folders_of_pictures(folders):
    found = load_folders(folders, fake_detect, fake_mesh)
    assert [path.name for path in found.path] == ["a.png", "1.png", "2.png", "d.png"] and found.faceless == 2
    assert found.genuine.tolist() == [False, False, True, True]
    a, anna, too, d = found.group.tolist()
    assert anna == too and a == d != anna  # a person; one picture under two names
    data = found.table(raw, LANDMARK_COLUMNS)
    assert data.features.shape == (4, 936) and data.features[:, 5].tolist() == [50, 60, 70, 50]


def test_folders_that_cannot_be_used(folders, tmp_path):
    for name in ("anna/2.png", "d.png"):
        (folders / "genuine" / name).unlink()
    with pytest.raises(InputError, match="genuine has no picture with a face; add some"):
        load_folders(folders, fake_detect, fake_mesh)
    with pytest.raises(InputError, match="holds no folders posed/ and genuine/; give a folder that does"):
        load_folders(tmp_path / "posed" / "anna", fake_detect, fake_mesh)


def test_drawn_smiles_are_found_and_the_posed_are_nearer(tmp_path):
    """Raw points tell how near a face is, normalised ones do not."""
    write_smiles(tmp_path, people=3, seed=2)
    found = load_folders(tmp_path / "smiles", make_detector(), FaceMesh())
    assert found.faceless == 0 and found.genuine.tolist() == [False] * 3 + [True] * 3
    assert found.group.tolist() == [0, 1, 2] * 2  # a person's two smiles
    apart = {}  # the eyes' outer corners
    for numbers in (raw, normalised):
        points = numbers(found.points).reshape(-1, 468, 2)
        apart[numbers] = np.linalg.norm(points[:, 263] - points[:, 33], axis=1)
    assert apart[raw][:3].min() > apart[raw][3:].max() and (apart[raw][:3] / apart[raw][3:]).min() > 1.2
    np.testing.assert_allclose(apart[normalised][:3], apart[normalised][3:], rtol=0.04)  # of one person


# ------------------------------------------------------------------------------------------------ in scripts


def model_folder(folder, columns, name="thirty", percent=30.0) -> str:
    """A model of so many columns that answers `percent` when all are 0 and more when the first is greater."""
    model = models.au_mlp(len(columns), (4, 2))
    kernel = model.get_layer("logit")
    kernel.set_weights([np.zeros((2, 1)), np.array([np.log(percent / (100 - percent))])])
    folder.mkdir()
    save_keras(model, folder / KERAS_FILE)
    texts = dict.fromkeys("preprocessing data data_terms label_source notebook commit".split(), "none")
    score = {"value": 0.871, "n": 2358, "interval": [0.85, 0.89], "command": "none"}
    limits, not_for = ["its classes are two collections of pictures"], ["anything"]
    facts = {"seed": 0, "versions": {}, "sha256": {}, "scores": {"four folds": score}}
    heads = {"genuine": ["genuine"]}
    framing = {"input_size": 1, "crop_margin": {}, "alignment": "none", "inputs": list(columns)}
    card = Card(
        name, GENUINENESS_TASK, ("genuine",), heads, limits=limits, not_for=not_for, **framing, **facts, **texts
    )
    card.write(folder)
    return str(folder)


class FakeUnits:
    """Ten columns; the second face cannot be measured."""

    columns = ("AU99_r", *BUILT_IN_COLUMNS)

    def __call__(self, image, faces):
        found = np.zeros((len(faces), len(self.columns)), np.float32)
        found[1:2] = np.nan
        return found


def boxes(n: int) -> Faces:
    return Faces(np.tile(np.array([[0, 0, 9, 9]], np.int32), (n, 1)), np.ones(n, np.float32))


@pytest.mark.parametrize("runtime", ["fast", "keras"])
def test_faces_get_a_probability(tmp_path, monkeypatch, runtime):
    folder = model_folder(tmp_path / "m", BUILT_IN_COLUMNS)
    monkeypatch.setattr(genuineness, "make_units", lambda openface, detector: FakeUnits())
    judge = Genuineness("units", model=folder, runtime=runtime)
    picture = np.zeros((9, 9, 3), np.uint8)
    answers, words = judge(picture, boxes(3))
    assert words == ["", "could not be measured", ""]
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, [0.3, np.nan, 0.3], atol=1e-3)
    answers, words = judge(picture, boxes(0))
    assert answers.shape == (0,) and words == []
    assert judge.trust == "right in 87% of 2358 rows (four folds); its classes are two collections of pictures"


def test_columns_are_taken_by_name(tmp_path, monkeypatch):
    folder = model_folder(tmp_path / "m", ("b", "a"))
    network = load_card(folder)
    monkeypatch.setattr(FakeUnits, "columns", ("a", "x", "b"))
    monkeypatch.setattr(FakeUnits, "__call__", lambda self, image, faces: np.array([[1.0, 9.0, 2.0]]))
    monkeypatch.setattr(genuineness, "make_units", lambda openface, detector: FakeUnits())
    judge, seen = Genuineness(model=folder), []
    judge._run = lambda columns: seen.append(columns) or {"genuine": np.zeros((1, 1))}
    judge(np.zeros((9, 9, 3), np.uint8), boxes(1))
    assert seen[0].tolist() == [[2, 1]] and network.inputs == ["b", "a"]


def test_what_genuineness_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(genuineness, "make_units", lambda openface, detector: FakeUnits())
    with pytest.raises(InputError, match="unknown kind 'eyes' of genuineness; there are units, landmarks"):
        Genuineness("eyes")
    with pytest.raises(InputError, match="wants AU10_r, which units do not have; choose a model of units"):
        Genuineness(model=model_folder(tmp_path / "other", ("AU12_r", "AU10_r")))
    monkeypatch.setattr(genuineness, "WEIGHTS", tmp_path)
    with pytest.raises(
        InputError, match="there is no weights/landmark_mlp; train it from your own pictures: p"
    ) as told:
        Genuineness("landmarks")
    assert "\n" not in str(told.value)


def test_a_model_of_other_columns_than_its_card(tmp_path):
    folder = model_folder(tmp_path / "m", ("a", "b", "c"))
    card = load_card(folder)
    assert load_runtime(card)(np.zeros((2, 3), np.float32))["genuine"].shape == (2, 1)
    with pytest.raises(InputError, match="the model takes 3 columns and gives .*, its card says 2 and"):
        load_runtime(replace(card, inputs=["a", "b"]))


@pytest.mark.parametrize("change", [{"inputs": ["a", "a"]}, {"inputs": "ab"}, {"inputs": [1]}, {"input_size": 9}])
def test_damaged_inputs(tmp_path, change):
    folder = model_folder(tmp_path / "m", ("a", "b"))
    path = tmp_path / "m" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="card.json is damaged .inputs"):
        load_card(folder)


def test_landmarks_of_a_photograph(tmp_path, photo):
    """The mesh's own points, normalised, go into a model of 936 columns; a picture without a face has no answer."""
    judge = Genuineness("landmarks", model=model_folder(tmp_path / "m", LANDMARK_COLUMNS))
    faces = make_detector()(photo)
    np.testing.assert_allclose(judge(photo, faces)[0], [0.3], atol=1e-3)
    answers, words = judge(np.zeros_like(photo), faces)
    assert np.isnan(answers).all() and words == ["could not be measured"]


def test_our_own_units_are_a_guess(monkeypatch):
    """They are told beside it, from half a trace on."""
    monkeypatch.setattr(genuineness, "make_units", lambda openface, detector: FakeUnits())
    picture, judge = np.zeros((9, 9, 3), np.uint8), Genuineness()
    answers, words = judge(picture, boxes(2))
    assert 0 < answers[0] < 1 and np.isnan(answers[1]) and words == ["no unit shows", "could not be measured"]
    assert judge.trust.startswith("no better than a guess: ") and "put OpenFace's FaceLandmarkImg on" in judge.trust
    assert judge.card.limits[0] in judge.trust and "\n" not in judge.trust
    assert genuineness.units_text(("AU06_r", "AU12_r", "AU25_r"), [0.5, 0.49, 3.26]) == "AU06 0.5, AU25 3.3"


def test_the_built_in_columns_are_those_in_common():
    numbers = "01 02 04 05 06 07 09 12 15 17 20 23 25 26".split()
    assert BUILT_IN_COLUMNS == tuple(f"AU{number}_r" for number in numbers)


# ------------------------------------------------------------------------------------------------ the notebook


def test_the_notebook_runs_on_demo_data(capsys):
    """End to end; what it writes lies under out/ and is called demo, and the landmark model is not in weights/."""
    run_notebook(capsys, "06")
    folder = ROOT / "out" / "06_genuineness_mlp"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["data"] == "demo data" and metrics["landmarks"]["data"] == "demo data"
    methods = metrics["genuemotion"]["methods"]
    assert list(methods) == ["MLP", "logistic regression", "boosting"] and methods["MLP"]["accuracy"] > 0.6
    assert list(metrics["uvanemo"]["lip_total"])[-1] == "mean of three"
    for name, columns in (("au_mlp", 17), ("au_mlp_builtin", 14), ("landmark_mlp", 936)):
        card = load_card(str(folder / name))
        assert len(card.inputs) == columns and all(title.startswith("demo data") for title in card.scores)
        answer = load_runtime(card)(np.zeros((1, columns), np.float32))["genuine"]
        assert 0 < answer[0, 0] < 1
