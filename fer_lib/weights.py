"""Model folders: `weights/<name>/` holds the Keras model, for the default one also its fast form, and card.json.

A model of classical learning is a scikit-learn pipeline in skops's format instead.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import tempfile
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.files import replacing, sha256, write_json

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights"
DEFAULT_MODEL = "facenet"
AGE_MODEL = "age"
EMOTION_TASK, AGE_TASK = "emotion", "age"  # of cards
UNITS_MODEL, UNITS_TASK = "action_units", "action units"
KERAS_FILE = "model.keras"
FAST_FILES = ("model.xml", "model.bin")  # OpenVINO's intermediate representation
PIPELINE_FILE = "model.skops"
EYES_LEVEL = "eyes level"  # crops are turned with the head where the detector knows its roll
ALIGNMENTS = ("none", EYES_LEVEL)
SMALL_KERNEL = 50_000  # weights; FaceNet's 46 smaller ones hold 2 % of its weights and make half of rounding's harm
MARGINS = (-0.4, 2.0)  # beyond these a crop would hold a fifth of the box, or be five times as wide
LARGEST_INPUT = 1024  # pixels
LFS_HEADER = b"version https://git-lfs.github.com/spec"


@dataclass(frozen=True)
class Card:
    """What a model is, where it comes from, how good it is and what it must not be used for."""

    name: str
    task: str
    labels: tuple[str, ...]  # names of the shown head's outputs, in order
    heads: dict[str, list[str]]  # every output and its names; the first is the one shown
    input_size: int  # pixels of the square crop
    crop_margin: dict[str, float]  # by detector: share of the box's side added on each side
    alignment: str
    preprocessing: str
    data: str
    data_terms: str
    label_source: str
    notebook: str
    commit: str
    seed: int
    versions: dict[str, str]
    sha256: dict[str, str]  # by file name
    scores: dict[str, dict]  # each with value, n, interval and command
    limits: list[str]
    not_for: list[str]
    uncertain_below: float = 0.0  # a face whose highest probability is below this is called uncertain
    prior: dict[str, float] = field(default_factory=dict)  # what --balanced divides the labels by; empty: not known
    folder: Path = field(default=WEIGHTS, compare=False)

    def write(self, folder) -> None:
        """Write card.json, with the SHA-256 of the model files that lie in the folder now."""
        folder = Path(folder)
        values = asdict(self)
        values.pop("folder")
        files = [folder / name for name in (KERAS_FILE, *FAST_FILES, PIPELINE_FILE)]
        values["sha256"] = {file.name: sha256(file) for file in files if file.exists()}
        write_json(folder / "card.json", values)


def model_names(root=WEIGHTS) -> list[str]:
    return sorted(path.parent.name for path in Path(root).glob("*/card.json"))


def check_name(name: str) -> None:
    """InputError for a name that no folder of weights/ can have; the empty one, of what is not exported, is sound."""
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise InputError(f"EXPORT {name!r} cannot name a model; give letters, digits, - and _")


def load_card(name: str = DEFAULT_MODEL, root=WEIGHTS) -> Card:
    """The card of a shipped model by name, or of a model folder by path. InputError when there is none or it is bad."""
    folder = Path(root) / name if name in model_names(root) else Path(name)
    path = folder / "card.json"
    if not os.path.isfile(path):  # unlike Path.is_file, also False for a name that is too long
        known = ", ".join(model_names(root))
        raise InputError(
            f"unknown model {name!r}; there are {known}"
            if known
            else f"unknown model {name!r}: {root} holds no models; restore them with: git checkout -- weights"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["labels"] = tuple(values["labels"])
        card = Card(**values, folder=folder)
        _check(card)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace("Card.__init__() ", "")
        raise InputError(f"{path} is damaged ({reason}); restore it with: git checkout -- {folder}") from None
    return card


def task_card(name: str, task: str, root=WEIGHTS) -> Card:
    """load_card() of a model for one task. InputError when there is none, or it is for another."""
    there = name in model_names(root) or os.path.isfile(Path(name) / "card.json")
    card = load_card(name, root) if there else None
    if card and card.task == task:
        return card
    # the other cards are read for the message alone, not at every start
    fitting = [other for other in model_names(root) if load_card(other, root).task == task]
    choice = f"choose one of {', '.join(fitting)}" if fitting else "restore one with: git checkout -- weights"
    if card:
        raise InputError(f"{name} is a model for {card.task}, not for {task}; {choice}")
    raise InputError(f"there is no model {name!r} for {task}; {choice}")


def _check(card: Card) -> None:
    """ValueError naming the first key whose value cannot be used; AttributeError or TypeError for a wrong type."""
    sound = {
        "name": isinstance(card.name, str) and Path(card.name).name == card.name,  # it names a folder of the cache
        "task": isinstance(card.task, str),
        "labels": len(set(card.labels)) == len(card.labels) > 0,
        "heads": bool(card.heads) and all(_is_names(names) for names in card.heads.values()),
        "labels or heads": list(card.labels) == next(iter(card.heads.values()), None),
        "labels, not all emotions": card.task != EMOTION_TASK or set(card.labels) <= set(EMOTIONS),
        "order of the heads' emotions": all(_in_order(head, names) for head, names in card.heads.items()),
        "input_size": type(card.input_size) is int and 1 <= card.input_size <= LARGEST_INPUT,
        "crop_margin": all(_is_number(m) and MARGINS[0] <= m <= MARGINS[1] for m in card.crop_margin.values()),
        "alignment": card.alignment in ALIGNMENTS,
        "prior": card.prior == {} or (set(card.prior) == set(card.labels) and _is_prior(list(card.prior.values()))),
        "uncertain_below": _is_number(card.uncertain_below) and 0 <= card.uncertain_below < 1,
        "sha256": all(isinstance(value, str) for value in card.sha256.values()),
        "sha256, a network and a pipeline": not {KERAS_FILE, PIPELINE_FILE} <= set(card.sha256),
        "scores": all(_is_score(score) for score in card.scores.values()),
    }
    for key, good in sound.items():
        if not good:
            raise ValueError(key)


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_prior(shares: list) -> bool:
    return all(_is_number(p) and p >= 1e-6 for p in shares) and abs(sum(shares) - 1) < 1e-3


def _is_names(names) -> bool:
    return isinstance(names, list) and all(isinstance(n, str) for n in names) and len(set(names)) == len(names) > 0


def _in_order(head: str, names: list) -> bool:
    """Whether a head's emotions stand in the contract's order, so that swapped names are found; others are not held."""
    orders = (FER2013_EMOTIONS,) if head == "fer2013" else (EMOTIONS, FER2013_EMOTIONS)
    return not set(names) <= set(EMOTIONS) or any(names == [n for n in order if n in names] for order in orders)


def _is_score(score: dict) -> bool:
    low, high = score.get("interval", ())
    numbers = all(_is_number(value) for value in (score.get("value"), low, high))
    return numbers and type(score.get("n")) is int and isinstance(score.get("command"), str)


def checked_file(card: Card, name: str) -> Path:
    """The path of a model file after its SHA-256 was compared with the card. InputError when it differs."""
    path = card.folder / name
    cure = f"restore it with: git checkout -- {card.folder}"
    if name not in card.sha256:
        raise InputError(f"{path} is not listed in the card of {card.name}; {cure}")
    if not path.is_file():
        raise InputError(f"{path} is missing; {cure}")
    with open(path, "rb") as file:
        if file.read(len(LFS_HEADER)) == LFS_HEADER:
            raise InputError(f"{path} is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
    if sha256(path) != card.sha256[name]:
        raise InputError(f"{path} is truncated or altered (its SHA-256 is not the card's); {cure}")
    return path


def round_weights(model, least: int = SMALL_KERNEL) -> None:
    """Round the kernels of a Keras model, in place, to 8 bits a weight: an integer in +-127 times a power of two.

    The power is the one of an output channel (the last axis) that errs least. Such weights are exact in int8 and in
    float16, which packs tighter then, so that both files of a model are small and hold the same numbers.
    Vectors, such as biases, and kernels of fewer than `least` weights are left alone.
    """
    model.set_weights([w if w.ndim < 2 or w.size < least else _rounded(w) for w in model.get_weights()])


def _rounded(kernel: np.ndarray) -> np.ndarray:
    axes = tuple(range(kernel.ndim - 1))
    largest = np.abs(kernel).max(axis=axes)
    up = 2.0 ** np.ceil(np.log2(np.maximum(largest, 127 * 2.0**-24) / 127))  # 2^-24: the smallest step of float16
    best, least = None, np.inf
    for scale in (up, up / 2):  # the finer one cuts the largest weights off
        scale = np.maximum(scale, 2.0**-24)
        candidate = np.clip(np.rint(kernel / scale), -127, 127) * scale
        error = ((candidate - kernel) ** 2).sum(axis=axes)
        best = candidate if best is None else np.where(error < least, candidate, best)
        least = np.minimum(error, least)
    return best.astype(kernel.dtype)


def save_keras(model, path) -> None:
    """Save a Keras model as .keras with its weights as packed float16; load_model reads them back as float32.

    What float16 cannot hold stays float32: the variances of a batch norm behind raw pixels go beyond its 65,504. The
    same model gives the same bytes.
    """
    import h5py

    with tempfile.TemporaryDirectory() as temporary:
        full, weights = Path(temporary) / "full.keras", Path(temporary) / "weights.h5"
        model.save(full)
        with replacing(path) as half, zipfile.ZipFile(full) as source, zipfile.ZipFile(half, "w") as target:
            with h5py.File(io.BytesIO(source.read("model.weights.h5"))) as old, h5py.File(weights, "w") as new:
                _copy_as_half(old, new)
            metadata = json.loads(source.read("metadata.json"))
            metadata.pop("date_saved", None)
            contents = {name: source.read(name) for name in sorted(source.namelist())}
            contents |= {"metadata.json": json.dumps(metadata), "model.weights.h5": weights.read_bytes()}
            for name, content in contents.items():
                target.writestr(zipfile.ZipInfo(name), content)  # the time stamp of a ZipInfo is always the same


def _copy_as_half(old, new) -> None:
    """Copy an HDF5 group with its attributes; float32 arrays become float16 where that holds them, packed."""
    import h5py

    new.attrs.update(old.attrs)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy_as_half(item, new.create_group(name))
        else:
            values = item[()]
            if item.dtype == "float32" and np.abs(values).max(initial=0) <= np.finfo("float16").max:
                values = values.astype("float16")
            packed = {"compression": "gzip", "shuffle": True} if values.ndim else {}
            new.create_dataset(name, data=values, **packed).attrs.update(item.attrs)
