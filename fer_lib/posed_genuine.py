"""Genuine or posed: what is learned from a table, by folds that share nothing, and what its columns give away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from fer_lib.datasets.action_units import GenuinenessTable
from fer_lib.errors import InputError
from fer_lib.face_tables import CLASSES, labelled_pictures
from fer_lib.files import sha256
from fer_lib.framing import largest
from fer_lib.images import read_image
from fer_lib.metrics import bootstrap_interval, classification
from fer_lib.splits import check_no_leak, group_folds

INNER_FOLDS = 3  # that choose the settings of a fold
FALL, FALL_EPOCHS = 0.9, 2  # the ancestor's text: the rate falls by 10 % every 2 epochs


class MlpClassifier(ClassifierMixin, BaseEstimator):
    """fer_lib.models.au_mlp as a scikit-learn classifier: each fit builds network and scaler anew.

    Adam with decoupled weight decay, binary cross-entropy on the logit. After fit, `model_` is the Keras model.
    """

    def __init__(self, hidden=(256, 128), dropout=0.5, rate=5e-3, decay=0.1, epochs=40, batch=128, seed=0):
        self.hidden = hidden
        self.dropout = dropout
        self.rate = rate
        self.decay = decay
        self.epochs = epochs
        self.batch = batch
        self.seed = seed

    def fit(self, features, genuine):
        """(N, K) finite numbers and (N,) bool."""
        import keras  # here, as those who only answer need no TensorFlow

        from fer_lib.models import au_mlp

        keras.utils.set_random_seed(self.seed)
        features, genuine = np.asarray(features, np.float32), np.asarray(genuine)
        self.classes_ = np.array([False, True])
        self.model_ = au_mlp(features.shape[1], self.hidden, self.dropout)
        self.model_.get_layer("scaler").adapt(features)
        learner = keras.Model(self.model_.input, self.model_.get_layer("logit").output)
        batch = min(self.batch, len(features))
        steps = len(features) // batch  # a ragged last batch would only add noise
        rate = keras.optimizers.schedules.ExponentialDecay(self.rate, FALL_EPOCHS * steps, FALL, staircase=True)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=self.decay)
        # no XLA: it takes longer to compile so small a network than to train it
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        learner.compile(optimizer, loss, steps_per_execution=steps, jit_compile=False)
        random = np.random.default_rng(self.seed)
        rows = np.concatenate([random.permutation(len(features))[: steps * batch] for _ in range(self.epochs)])
        # all epochs as one: Keras takes longer to begin an epoch than to run one of so few rows
        learner.fit(features[rows], genuine[rows].astype(np.float32), batch, epochs=1, shuffle=False, verbose=0)
        return self

    def predict_proba(self, features) -> np.ndarray:
        """(N, 2) probabilities of posed and genuine."""
        answers = self.model_(np.asarray(features, np.float32), training=False)["genuine"]
        genuine = np.asarray(answers, np.float64)[:, 0]
        return np.stack([1 - genuine, genuine], axis=1)

    def predict(self, features) -> np.ndarray:
        """(N,) bool."""
        return self.predict_proba(features)[:, 1] > 0.5


@dataclass(frozen=True)
class Method:
    """An unfitted pipeline, and the settings of its last step among which each fold chooses."""

    pipeline: Pipeline
    settings: dict[str, list]  # values to choose from by name, the usual one first; {}: as it is
    tried: int = INNER_FOLDS  # of the folds that choose, how many are; fewer where learning is slow

    def usual(self) -> Method:
        """The method with nothing to choose."""
        return replace(self, settings={name: values[:1] for name, values in self.settings.items()})


def methods(seed: int = 0, epochs: int = 40) -> dict[str, Method]:
    """The MLP and what it is compared with. nan is replaced by the mean of the rows that train.

    The MLP's settings are chosen by one of three folds: a network takes seconds, the others hundredths.
    """

    def filled(*steps) -> Pipeline:
        return make_pipeline(SimpleImputer(keep_empty_features=True), *steps)

    forest = ExtraTreesClassifier(400, min_samples_leaf=2, random_state=seed)
    machine = CalibratedClassifierCV(SVC(random_state=seed), ensemble=False)
    boosting = HistGradientBoostingClassifier(learning_rate=0.05, max_iter=200, early_stopping=False, random_state=seed)
    linear = LogisticRegression(max_iter=5000)
    found = {
        "MLP": (filled(MlpClassifier(epochs=epochs, seed=seed)), {"dropout": [0.5, 0.3]}, 1),
        "logistic regression": (filled(StandardScaler(), linear), {"C": [0.3, 0.003, 0.03, 3]}),
        "boosting": (make_pipeline(boosting), {"max_leaf_nodes": [4, 8]}),
        "SVM": (filled(StandardScaler(), machine), {"estimator__C": [1, 0.3, 3, 10]}),
        "extra trees": (filled(forest), {"max_features": [0.3, "sqrt"]}),
    }
    return {name: Method(*parts) for name, parts in found.items()}


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a method says of N rows, each by a model that has not seen it."""

    probability: np.ndarray  # (N,) float64 of genuine
    fold: np.ndarray  # (N,) int from 0
    chosen: tuple[dict, ...]  # the settings of each fold
    models: tuple[Pipeline, ...]  # of each fold


def fitted(method: Method, table: GenuinenessTable, seed: int = 0) -> tuple[Pipeline, dict]:
    """(the method's pipeline, fitted on all rows of the table; the settings that the table's own folds chose).

    Chosen by log loss in INNER_FOLDS folds of groups: of so few rows it tells more than accuracy. InputError when there
    are fewer groups than that.
    """
    last = method.pipeline.steps[-1][0]
    settings = {f"{last}__{name}": values for name, values in method.settings.items()}
    with threadpool_limits(1):  # on so few rows threads only wait for each other
        if all(len(values) == 1 for values in settings.values()):
            single = {name: value for name, (value,) in settings.items()}
            model = clone(method.pipeline).set_params(**single).fit(table.features, table.genuine)
        else:
            parts = list(group_folds(table.genuine, table.group, INNER_FOLDS, seed).values())
            folds = [(np.setdiff1d(np.arange(len(table)), part), part) for part in parts[: method.tried]]
            search = GridSearchCV(clone(method.pipeline), settings, scoring="neg_log_loss", cv=folds)
            model = search.fit(table.features, table.genuine).best_estimator_
    chosen = model.get_params()
    return model, {name: chosen[f"{last}__{name}"] for name in method.settings}


def part_of(table: GenuinenessTable, rows) -> GenuinenessTable:
    """The table's rows, by number or mask."""
    columns = ("features", "genuine", "group", "female", "age")
    values = {name: getattr(table, name) for name in columns}
    return replace(table, **{name: None if value is None else value[rows] for name, value in values.items()})


def with_columns(table: GenuinenessTable, names) -> GenuinenessTable:
    """The table with some of its columns, in the order of the names."""
    places = [table.names.index(name) for name in names]
    return replace(table, features=table.features[:, places], names=tuple(names))


def out_of_fold(table: GenuinenessTable, method: Method, folds: int, seed: int = 0) -> OutOfFold:
    """Cross-validation in so many folds of groups; each fold's rows are answered by a model of the others alone.

    The model's imputation, scaler and settings come from the other folds too. InputError when there are fewer groups
    than folds.
    """
    parts = group_folds(table.genuine, table.group, folds, seed)
    check_no_leak(parts, group=table.group)
    probability, fold, chosen, models = np.full(len(table), np.nan), np.zeros(len(table), int), [], []
    for i, rows in enumerate(parts.values()):
        others = part_of(table, np.setdiff1d(np.arange(len(table)), rows))
        model, settings = fitted(method, others, seed)
        probability[rows], fold[rows] = model.predict_proba(table.features[rows])[:, 1], i
        models.append(model)
        chosen.append(settings)
    return OutOfFold(probability, fold, tuple(chosen), tuple(models))


def fold_figures(table: GenuinenessTable, probability: np.ndarray, fold: np.ndarray) -> dict:
    """fer_lib.metrics.classification() of all rows, the accuracy's interval, and each fold's accuracy.

    probability: (N,) of genuine; fold: (N,) int. The bootstrap draws groups; "mean" and "spread" are the folds' mean
    and standard deviation (of a sample).
    """
    figures = classification(
        table.genuine.astype(int), np.stack([1 - probability, probability], axis=1), tuple(CLASSES)
    )
    right = (probability > 0.5) == table.genuine
    by_fold = [float(right[fold == i].mean()) for i in np.unique(fold)]
    figures["interval"] = bootstrap_interval(right, groups=table.group)
    return figures | {"folds": by_fold, "mean": float(np.mean(by_fold)), "spread": float(np.std(by_fold, ddof=1))}


# ------------------------------------------------------------------------------------------------------------- audit


def probability_greater(genuine, values) -> float:
    """How often a genuine row's value is above a posed row's, ties counting half: the area under the ROC curve.

    genuine: (N,) bool; values: (N,). 0.5: the value says nothing; nan: the rows are all of one class.
    """
    ranks, n = rankdata(values), int(np.sum(genuine))
    if n in (0, len(values)):
        return float("nan")
    return float((ranks[genuine].sum() - n * (n + 1) / 2) / (n * (len(values) - n)))


def telling_columns(table: GenuinenessTable) -> dict[str, dict]:
    """{column: what it says alone}: "greater", probability_greater with its interval, and "zero", by class.

    "zero" is {class: share of rows in which the column is 0}, which for OpenFace is what it did not see. The entry
    "zeros", the last one, is how many columns of a row are 0. The columns must be finite.
    """
    found = {}
    columns = dict(zip(table.names, table.features.T, strict=True)) | {"zeros": (table.features == 0).sum(axis=1)}
    for name, values in columns.items():
        interval = bootstrap_interval(table.genuine, values, figure=probability_greater, groups=table.group, draws=200)
        zero = {label: float((values[table.genuine == i] == 0).mean()) for i, label in enumerate(CLASSES)}
        found[name] = {"greater": [probability_greater(table.genuine, values), *interval], "zero": zero}
    return found


def permuted(table: GenuinenessTable, answers: OutOfFold, repeats: int = 5, seed: int = 0) -> dict[str, list[float]]:
    """{column: [accuracy lost, lowest, highest fold]} when the column of the rows of a fold is shuffled.

    The loss is the mean over folds, each the mean of so many shuffles (Breiman 2001). A column that another one can
    stand in for loses little.
    """
    lost = []
    for i, model in enumerate(answers.models):
        rows = answers.fold == i
        found = permutation_importance(
            model, table.features[rows], table.genuine[rows], scoring="accuracy", n_repeats=repeats, random_state=seed
        )
        lost.append(found.importances_mean)
    lost = np.array(lost)
    ends = zip(lost.mean(axis=0), lost.min(axis=0), lost.max(axis=0), strict=True)
    return {name: [float(value) for value in values] for name, values in zip(table.names, ends, strict=True)}


def matched_pairs(table: GenuinenessTable, names, caliper: float) -> np.ndarray:
    """(P, 2) int: pairs of a posed and a genuine row that are alike in the named columns; no row is in two.

    Alike: Euclidean distance, each column divided by its standard deviation, of at most `caliper`. Pairs are those of
    the least total distance (optimal matching; Rosenbaum 1989), of which the wider ones are dropped then.
    """
    columns = with_columns(table, names).features
    scaled = columns / np.maximum(columns.std(axis=0), 1e-9)
    posed, genuine = np.flatnonzero(~table.genuine), np.flatnonzero(table.genuine)
    distance = np.sqrt(((scaled[posed][:, None] - scaled[genuine]) ** 2).sum(axis=2))
    # far rows must not draw near ones away from each other: beyond the caliper all distances are one
    first, second = linear_sum_assignment(np.minimum(distance, 2 * caliper + 1))
    near = distance[first, second] <= caliper
    return np.stack([posed[first[near]], genuine[second[near]]], axis=1)


def paired(table: GenuinenessTable, pairs: np.ndarray) -> tuple[np.ndarray, GenuinenessTable]:
    """((2 P,) int, the rows that are in (P, 2) pairs; their table, in which both rows of a pair are one group).

    What was one group stays one, so that pairs which share a group are one too.
    """
    rows = np.sort(pairs.ravel())
    matched = part_of(table, rows)
    nodes = np.unique(matched.group, return_inverse=True)[1].ravel()
    first, second = nodes[np.searchsorted(rows, pairs)].T
    links = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(nodes.max() + 1,) * 2)
    return rows, replace(matched, group=connected_components(links, directed=False)[1].astype(np.int64)[nodes])


# ------------------------------------------------------------------------------------------------------- another scale


def by_quantiles(values: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N, K) values, column by column at the quantile of target (T, K) that they are at in source (S, K)."""
    found = np.zeros(values.shape)
    for column, out in enumerate(found.T):
        known, asked = np.sort(source[:, column]), values[:, column]
        below, upto = (np.searchsorted(known, asked, side) for side in ("left", "right"))
        out[:] = np.quantile(target[:, column], (below + upto) / (2 * len(known)))  # the middle of equal values
    return found


def by_spread(values: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N, K) values, 0 to 5, of which as many would be 0 in source (S, K) as in target (T, K), and with its spread."""
    zero, factor = spread_scale(source, target)
    return np.clip((values - zero) * factor, 0, 5)


def spread_scale(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(zero (K,), factor (K,)) of by_spread."""
    shares = (target == 0).mean(axis=0)
    zero = np.array([np.quantile(known, share) for known, share in zip(source.T, shares, strict=True)])
    return zero, target.std(axis=0) / np.maximum(np.maximum(source - zero, 0).std(axis=0), 1e-9)


def rescaled(network, zero: np.ndarray, factor: np.ndarray):
    """The Keras network behind the scale of by_spread, so that a model file holds both."""
    import keras

    units = keras.Input(network.input_shape[1:], name="units")
    scale = keras.layers.Normalization(mean=zero, variance=1 / np.square(factor), name="scale")
    return keras.Model(units, network(keras.layers.ReLU(5.0, name="intensity")(scale(units))), name=network.name)


# ------------------------------------------------------------------------------------------------- a user's own folders


@dataclass(frozen=True, eq=False)
class FolderFaces:
    """N pictures of a user's folders, the largest face of each."""

    path: tuple[Path, ...]
    points: np.ndarray  # (N, 468, 2) float32, the face mesh in pixels
    genuine: np.ndarray  # (N,) bool
    group: np.ndarray  # (N,) int64, of one person or of equal files
    faceless: int  # pictures without a face, which are left out

    def table(self, numbers, names) -> GenuinenessTable:
        """A table of the points' numbers: fer_lib.mesh.normalised or raw; names: of its columns."""
        return GenuinenessTable(numbers(self.points), tuple(names), self.genuine, self.group)


def load_folders(root, detect, mesh) -> FolderFaces:
    """The faces of the pictures under root/posed and root/genuine, and in folders in these.

    detect and mesh: what make_detector and fer_lib.mesh.FaceMesh give. Pictures in folders of one name under both, such
    as posed/anna and genuine/anna, are one group: name the folders after the persons. Equal files are one group too.
    InputError: a folder is not there, or no picture in it has a face; a picture cannot be read.
    """
    pictures, faces = labelled_pictures(root), []
    if None in (label for _, label in pictures):
        raise InputError(f"{root} holds no folders posed/ and genuine/; give a folder that does")
    for path, label in pictures:
        image = read_image(path)
        points = mesh(image, largest(detect(image)))
        if len(points) and np.isfinite(points).all():
            group = sha256(path) if path.parent.name in CLASSES else path.parent.name
            faces.append((path, points[0], bool(label), group))
    for name, label in CLASSES.items():
        if not any(genuine == bool(label) for _, _, genuine, _ in faces):
            raise InputError(f"{Path(root) / name} has no picture with a face; add some")
    paths, points, genuine, groups = zip(*faces, strict=True)
    number = np.unique(groups, return_inverse=True)[1].ravel()
    return FolderFaces(paths, np.stack(points), np.array(genuine), number, len(pictures) - len(faces))
