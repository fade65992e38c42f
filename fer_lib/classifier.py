"""Steps that the notebooks of two-headed classifiers share: targets, scores that choose, calibration, reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from fer_lib import plots
from fer_lib.datasets.fer2013 import Fer2013
from fer_lib.errors import InputError
from fer_lib.evaluate import fer2013_probability, ferplus_rows, figures, intervals, predict
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, UNCERTAIN
from fer_lib.files import replacing
from fer_lib.metrics import (
    apply_temperature,
    bootstrap_interval,
    classification,
    expected_calibration_error,
    recall_intervals,
    temperature,
    uncertain_threshold,
)
from fer_lib.models import scale_logits
from fer_lib.regressor import trunk_runtime
from fer_lib.runtime import load_runtime
from fer_lib.weights import KERAS_FILE, Card, checked_file, load_card

LEAST_PRIOR = 1e-5
HEADS = {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)}


def two_head_targets(
    rows: Fer2013, smoothing: float = 0.1, taught: dict | None = None, share: float = 0.0
) -> dict[str, np.ndarray]:
    """{"emotion": (N, 9), "fer2013": (N, 7)} float32 distributions to train on.

    The votes, and the original labels, smoothed since each is only one person's; of a row without such a label (-1)
    nothing is known, so every class is as probable. taught: a teacher's answers for the rows, which make up `share` of
    the targets. InputError for a share beyond 0 to 1, and for rows that FER+ calls not a face.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a teacher's share of {share}: give 0 to 1")
    votes, is_face = rows.emotion_distribution()
    if not is_face.all():
        raise InputError(f"{(~is_face).sum()} rows are not faces; leave them out of training")
    classes = len(FER2013_EMOTIONS)
    original = (1 - smoothing) * np.eye(classes)[rows.label] + smoothing / classes
    original[rows.label < 0] = 1 / classes
    own = {"emotion": votes, "fer2013": original}
    mixed = {head: (1 - share) * array + (share * taught[head] if share else 0) for head, array in own.items()}
    return {head: array.astype(np.float32) for head, array in mixed.items()}


def teacher_answers(rows: Fer2013, teacher: Card, folder, features: bool = True) -> dict[str, np.ndarray]:
    """{"emotion": (N, 9), "fer2013": (N, 7), "features": (N, F), ...} of a shipped model for the rows' pictures.

    Kept in folder, under a name made from the model's weights and the rows. features: its trunk's, too, which takes an
    export of its own.
    """
    name = "taught" if features else "answers"
    kept = Path(folder) / f"{name}-{teacher.sha256[KERAS_FILE][:8]}-{rows.fingerprint()[:8]}.npz"
    if not kept.exists():
        if features:
            runtime = trunk_runtime(keras.saving.load_model(checked_file(teacher, KERAS_FILE), compile=False))
        else:
            runtime = load_runtime(teacher)
        with replacing(kept) as temporary:
            np.savez(temporary, **predict(runtime, rows.pixels, teacher.input_size))
    return dict(np.load(kept))


def with_hint(network: keras.Model, width: int) -> keras.Model:
    """The network with one output more, "hint": (N, width), linear on its layer "features"; for training alone.

    It is to answer what another network's trunk does, in units of hint_targets(): a thousand numbers a picture say more
    than two labels (Romero et al. 2015, FitNets).
    """
    hint = layers.Dense(width, dtype="float32", name="hint")(network.get_layer("features").output)
    return keras.Model(network.input, {**network.output, "hint": hint}, name=network.name)


def without_hint(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, {head: network.output[head] for head in HEADS}, name=network.name)


def hint_targets(features: np.ndarray) -> np.ndarray:
    """(N, F) features of another trunk, each in units of its own spread about its mean; a constant one is 0."""
    features = features.astype(np.float32)
    return (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)


def network_answers(network, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """{head: (N, C)} of a Keras model for (N, S, S) grey uint8 pictures of any size."""
    return predict(lambda crops: network.predict(crops, verbose=0), pixels, network.input_shape[1])


def by_head(outputs: dict[str, np.ndarray], rows: Fer2013) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{head: (truth (n,), probability (n, C))} on the rows that have a label for it; a head without any is left out."""
    known = rows.label >= 0
    pairs = {"fer2013": (rows.label[known], fer2013_probability(outputs, HEADS)[known])}
    if rows.votes is not None and "emotion" in outputs:
        pairs["emotion"] = ferplus_rows(outputs, rows)
    return {head: pair for head, pair in pairs.items() if len(pair[0])}


def public_score(outputs: dict[str, np.ndarray], public: Fer2013) -> dict[str, float]:
    """What chooses epochs and settings: each head's accuracy on PublicTest, and their mean as "score"."""
    pairs = by_head(outputs, public)
    if not pairs:
        raise InputError("no PublicTest row has a label; there is nothing to choose by")
    right = {head: float((probability.argmax(axis=1) == truth).mean()) for head, (truth, probability) in pairs.items()}
    named = {"fer2013": "public_fer2013", "emotion": "public_ferplus"}
    return {named[head]: share for head, share in right.items()} | {"score": float(np.mean(list(right.values())))}


@dataclass(frozen=True)
class Calibration:
    """What calibrate() found on PublicTest."""

    temperatures: dict[str, float]  # by head
    uncertain_below: float  # as Card.uncertain_below
    prior: dict[str, float]  # as Card.prior


def calibrate(model, public: Fer2013, shown: np.ndarray) -> Calibration:
    """Divide the logits of a model's heads, in place, by the temperatures of calibration(); no answer changes."""
    found = calibration(network_answers(model, public.pixels), public, shown)
    scale_logits(model, found.temperatures)
    return found


def calibration(answers: dict[str, np.ndarray], public: Fer2013, shown: np.ndarray | None = None) -> Calibration:
    """The temperatures that fit the answers for PublicTest best.

    Then, for the head that is shown, `emotion` where there is one: the confidence below which at most half of the best
    guesses are right, where most raters agree; of the `fer2013` head a half, since its confidences are shares of right
    answers themselves and nobody has sorted out its wrong labels. And for --balanced the share of each class in (N, C)
    `shown`, what that head was trained on, sharpened as the answers are; of a model that was not trained to give such
    shares, None: the mean of its answers.
    """
    temperatures = {head: temperature(*pair) for head, pair in by_head(answers, public).items()}
    head, below = next(head for head in HEADS if head in answers), 0.5
    scaled = apply_temperature(answers[head], temperatures[head])
    if head == "emotion":
        truth = public.ferplus_majority()
        agreed = truth >= 0
        below = uncertain_threshold(scaled.max(axis=1)[agreed], (scaled.argmax(axis=1) == truth)[agreed])
    prior = scaled.mean(axis=0)
    if shown is not None:
        prior = apply_temperature(shown.mean(axis=0)[None], temperatures[head])[0]
    prior = np.maximum(prior, LEAST_PRIOR)  # of an emotion that no picture shows
    prior /= prior.sum()
    return Calibration(temperatures, below, dict(zip(HEADS[head], prior.tolist(), strict=True)))


def uncertain_figures(truth, probability, below: float) -> dict[str, float | None]:
    """How many of n answers are called uncertain, and how many of these, and of the others, are right all the same.

    truth (n,), probability (n, C). Returns share, right and right_others; None where there are none.
    """
    right, unsure = probability.argmax(axis=1) == truth, probability.max(axis=1) < below
    means = {"share": unsure, "right": right[unsure], "right_others": right[~unsure]}
    return {key: float(rows.mean()) if len(rows) else None for key, rows in means.items()}


def make_card(
    name: str,
    heads: dict[str, list[str]],
    size: int,
    framing: dict[str, dict],
    calibration: Calibration,
    facts: dict,
    texts: dict,
    notebook: str,
) -> Card:
    """The card of an emotion classifier, still without scores and its files' hashes.

    heads: as in a card, size: of its input; framing: choose_margins(), where it is empty the default model's margins
    stand in; facts: run.facts(); texts: the card's keys in words; notebook: its name.
    """
    default = load_card()
    margins = {detector: found["margin"] for detector, found in framing.items()} or default.crop_margin
    return Card(
        name=name,
        task="emotion",
        labels=tuple(next(iter(heads.values()))),
        heads=heads,
        input_size=size,
        crop_margin=margins,
        alignment=default.alignment,
        notebook=f"notebooks/{notebook}.ipynb",
        commit=facts["commit"],
        seed=facts["seed"],
        versions=facts["versions"],
        uncertain_below=calibration.uncertain_below,
        prior=calibration.prior,
        scores={},
        sha256={},
        **texts,
    )


def split_report(outputs: dict[str, np.ndarray], data: Fer2013, split: str) -> dict:
    """evaluate.figures() of one split with its intervals."""
    heads = {head: HEADS[head] for head in HEADS if head in outputs}
    return figures(outputs, data, split, heads) | {"intervals": intervals(outputs, data, split, heads)}


def head_reports(outputs, rows: Fer2013, temperatures: dict[str, float], folder: Path, title: str) -> dict[str, dict]:
    """{head: its figures}, with confusion, recall and reliability plots written to folder. title: of the data."""
    return {
        head: _head_report(head, *pair, temperatures[head], folder, f"{title}, {head} head")
        for head, pair in by_head(outputs, rows).items()
    }


def _head_report(head: str, truth, probability, divided: float, folder: Path, title: str) -> dict:
    labels = [name for name in HEADS[head] if name != UNCERTAIN]
    report = classification(truth, probability, labels)
    plots.save(plots.confusion(report["confusion"], labels, title), folder / f"confusion_{head}.png")
    plots.save(plots.recall({"": report["confusion"]}, labels, title), folder / f"recall_{head}.png")
    before = apply_temperature(probability, 1 / divided)
    pair = {f"before, temperature {divided:.2f}": before, "as shipped": probability}
    plots.save(plots.reliability(truth, pair, title), folder / f"reliability_{head}.png")
    report["recall_intervals"] = recall_intervals(truth, probability.argmax(axis=1), labels)
    report["ece_interval"] = bootstrap_interval(truth, probability, figure=expected_calibration_error, draws=500)
    return report | {"ece_before": expected_calibration_error(truth, before), "temperature": divided}
