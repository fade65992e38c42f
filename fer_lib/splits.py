"""Which samples train, choose and report: files that name the samples, and the refusal of a leak.

    parts = load_split("ck_apex", names, subject=subjects, picture=hashes)   # {"choose": rows, "report": rows}

A split file (`splits/<name>.json`, written by tools/make_splits.py) holds `data` (which data set), `rule`, `seed` and
`command` (how it was made), `apart` (what never stands in two parts), `parts` {part: samples} and `left_out`
{reason: samples}. Samples are a list of names, or, when they are known by their row in a file alone, one string of row
numbers from 0: "0-17 19 21-40".

Parts in memory are {part: (n,) int row numbers}.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from fer_lib.errors import InputError
from fer_lib.files import write_json
from fer_lib.weights import ROOT

SPLITS = ROOT / "splits"


def load_split(split, names, **apart) -> dict[str, np.ndarray]:
    """The parts of a split file for data at hand: {part: (n,) int rows of `names`}.

    split: the name of a file in splits/, or the path of a .json file. names: the samples' names in the data's order, or
    range(n) when the file names rows. apart: for each thing that the file keeps apart, and any other, one hashable
    value per sample, such as subject=[..], picture=[SHA-256 of each].

    InputError when a sample is named twice, the data lacks one, the file says nothing about one, or something stands
    in two parts. ValueError when a thing that the file keeps apart is not given.
    """
    path = Path(split) if str(split).endswith(".json") else SPLITS / f"{split}.json"
    file, parts, left_out = _read(path)
    _check_apart(path, file, len(names), apart)
    row = {name: i for i, name in enumerate(names)}
    if len(row) < len(names):
        raise InputError(f"the data for {path.name} holds two samples of one name; remove one of them")
    named = set()
    for name in chain(*parts.values(), *left_out.values()):
        if name in named:
            raise InputError(f"{path} names {name} twice; make it again: {file['command']}")
        named.add(name)
    if lacking := sorted(named - set(row)):
        raise InputError(f"the data lacks {_first(lacking)} of {path.name}; it must be {file['data']}")
    if silent := sorted(set(row) - named):
        raise InputError(f"{path.name} says nothing about {_first(silent)} of the data; it must be {file['data']}")
    rows = {part: np.array([row[name] for name in listed], dtype=int) for part, listed in parts.items()}
    check_no_leak(rows, **apart)
    return rows


def read_parts(split: str) -> dict[str, list]:
    """{part: samples} of a file in splits/, by its name; for data of which it is not known whether it is the file's."""
    return _read(SPLITS / f"{split}.json")[1]


def check_no_leak(parts: dict[str, np.ndarray], **apart) -> None:
    """InputError when a row, or anything of `apart`, stands in two parts.

    parts: {part: (n,) int rows}. apart: {what: one hashable value per row of the data}, such as subject=[..].
    """
    rows = range(max((int(row) for row in chain(*parts.values())), default=-1) + 1)
    for what, values in {"row": rows, **apart}.items():
        values, where = list(values), {}
        for part, own in parts.items():
            for value in dict.fromkeys(values[row] for row in own):
                if where.setdefault(value, part) != part:
                    message = f"a leak: {what} {value} stands in {where[value]} and in {part}; leave it out of one"
                    raise InputError(message)


def group_folds(labels, groups, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """n folds of the rows, {"fold_1": (m,) int rows, ..}: no group in two folds, labels as even as that allows.

    labels: (N,) classes; groups: (N,) hashable, such as subjects. InputError when there are fewer groups than folds.
    """
    number: dict = {}
    group = [number.setdefault(name, len(number)) for name in groups]  # scikit-learn takes no tuples
    if len(number) < n:
        raise InputError(f"{len(number)} groups cannot make {n} folds; ask for fewer folds")
    folds = StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(group, labels, group)
    return {f"fold_{i}": rows for i, (_, rows) in enumerate(folds, 1)}


def write_split(
    path, data: str, rule: str, command: str, parts, left_out=None, apart=(), seed: int | None = None
) -> None:
    """Write a split file; parts and left_out: {part or reason: names, or row numbers as ints}.

    data, rule and command are for the reader. apart: the things that load_split must be given to keep apart.
    """
    file = {"data": data, "rule": rule, "seed": seed, "command": command, "apart": list(apart)}
    file["parts"] = {part: _listed(samples) for part, samples in parts.items()}
    file["left_out"] = {reason: _listed(samples) for reason, samples in (left_out or {}).items()}
    write_json(path, file)


def _check_apart(path: Path, file: dict, n: int, apart: dict) -> None:
    if missing := [what for what in file["apart"] if what not in apart]:
        raise ValueError(f"{path.name} keeps {', '.join(missing)} apart; give {missing[0]}=, one value per sample")
    for what, values in apart.items():
        if len(values) != n:
            raise ValueError(f"{len(values)} values of {what} for {n} samples")


def _read(path: Path) -> tuple[dict, dict[str, list], dict[str, list]]:
    """(the file, its parts, what it leaves out), samples as names or ints."""
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        parts, left_out = ({key: _samples(listed) for key, listed in file[k].items()} for k in ("parts", "left_out"))
        if not parts or not {"data", "command", "apart"} <= file.keys():
            raise ValueError
    except FileNotFoundError:
        there = ", ".join(sorted(p.stem for p in SPLITS.glob("*.json")))
        raise InputError(f"{path}: no such split file; there are {there}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no split file; make it again with tools/make_splits.py") from None
    return file, parts, left_out


def _samples(listed) -> list:
    if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
        return listed
    if not re.fullmatch(r"(\d+(-\d+)?( |$))*", listed):
        raise ValueError
    ends = [(first, last or first) for first, last in re.findall(r"(\d+)(?:-(\d+))?", listed)]
    return [row for first, last in ends for row in range(int(first), int(last) + 1)]


def _listed(samples) -> list[str] | str:
    """Names as they are, row numbers as one string of ranges."""
    samples = list(samples)
    if not samples or isinstance(samples[0], str):
        return samples
    rows = np.sort(samples)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _first(samples: list) -> str:
    return f"{samples[0]}" + (f" and {len(samples) - 1} more" if len(samples) > 1 else "")
