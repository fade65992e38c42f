"""Manifests of pictures with measured valence and arousal: a csv or json of one's own, AffectNet's, AFEW-VA's."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lib.datasets.tables import numbers, read_columns, refusal
from fer_lib.errors import InputError
from fer_lib.files import sha256

LABELS = ("valence", "arousal")
GROUPS = ("subject", "video")  # the first that is given is what must not cross a split
AFFECTNET_PATH = "subDirectory_filePath"  # AffectNet's column of paths (Mollahosseini, Hasani & Mahoor 2019)
AFFECTNET_NO_LABEL = [-2.0, -2.0]
AFEW_VA_SCALE = 10.0  # AFEW-VA's labels are from -10 to 10 (Kossaifi et al. 2017)
CURE = "mend the manifest"


@dataclass(frozen=True, eq=False)
class VaManifest:
    """N pictures with measured valence and arousal, in the manifest's order; the pictures stay on disk."""

    path: list[Path]  # N
    va: np.ndarray  # (N, 2) float32 in [-1, 1], valence and arousal
    group: np.ndarray  # (N,) str, what must not cross a split: subject or video, else the path as the manifest has it
    source: str  # where the labels come from, for a card's label_source
    unlabelled: int = 0  # AffectNet's rows without a label, which are left out

    def __len__(self) -> int:
        return len(self.path)

    def fingerprint(self) -> str:
        """SHA-256 over the picture files, labels and groups. OSError when a picture cannot be read."""
        rows = "\n".join(f"{sha256(path)} {group}" for path, group in zip(self.path, self.group, strict=True))
        return hashlib.sha256(rows.encode() + self.va.tobytes()).hexdigest()


def load_va_manifest(path) -> VaManifest:
    """Read pictures and their measured valence and arousal; paths in a manifest are relative to it.

    path: one of
    - a csv with the columns path, valence, arousal, in [-1, 1], and perhaps subject or video; others are ignored
    - AffectNet's csv, in the folder where its paths begin: subDirectory_filePath stands for path, and rows with -2 for
      valence and arousal, which means no label, are left out
    - a json: a list of objects with the keys path, valence, arousal, and perhaps subject or video
    - AFEW-VA's json of a video, its pictures <frame>.png beside it, on its own scale of -10 to 10
    - a folder with such json files in it or in its sub-folders, as AFEW-VA is unpacked

    InputError, with file and line or row: no such file, a column missing or there twice, a value that is no number or
    outside the scale, a picture that is not there, no rows. OSError: a file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give a csv or json with path, valence and arousal")
    root, scale, kind = path.parent, 1.0, "the manifest"
    if path.is_dir():
        root, scale, kind = path, AFEW_VA_SCALE, "AFEW-VA"
        files = sorted(file for file in path.rglob("[!.]*.json") if file.is_file())
        rows = [row for file in files for row in _video_rows(file, _read_json(file), root)]
    elif path.suffix.lower() != ".json":
        optional = ("path", AFFECTNET_PATH, *GROUPS)
        table = read_columns(path, LABELS, optional, cure="give a csv with path, valence and arousal")
        rows = [(f"{path} line {line}", cells) for line, cells in table]
        kind = "AffectNet" if rows and AFFECTNET_PATH in rows[0][1] else kind
    elif isinstance(content := _read_json(path), list):
        wheres = [f"{path} row {number}" for number in range(1, len(content) + 1)]
        rows = [(where, _labelled(where, cells)) for where, cells in zip(wheres, content, strict=True)]
    else:
        scale, kind = AFEW_VA_SCALE, "AFEW-VA"
        rows = _video_rows(path, content, root)
    return _manifest(path, root, rows, scale, f"valence and arousal of {kind} ({path.resolve().name})")


def _manifest(path: Path, root: Path, rows: list[tuple[str, dict]], scale: float, source: str) -> VaManifest:
    """rows: (where it stands, {column: value}) of each, its path relative to root, its labels from -scale to scale."""
    columns = set().union(*(cells for _, cells in rows))
    grouped = next((name for name in GROUPS if name in columns), None)
    pictures, va, groups, unlabelled = [], [], [], 0
    for where, cells in rows:
        if AFFECTNET_PATH in cells and numbers(where, cells, LABELS, cure=CURE) == AFFECTNET_NO_LABEL:
            unlabelled += 1
            continue
        va.append(numbers(where, cells, LABELS, -scale, scale, cure=f"{CURE}, or bring its values to this scale"))
        name = _name(where, cells, "path" if "path" in cells else AFFECTNET_PATH)
        pictures.append(root / name)
        if not os.path.isfile(pictures[-1]):  # unlike Path's, it also answers for names that no file can have
            raise InputError(f"{where}: there is no picture {name!r} in {root}; {CURE}, or put the picture there")
        groups.append(_name(where, cells, grouped) if grouped else os.path.normpath(name))
    if not pictures:
        without = f" but {unlabelled} without a label" if unlabelled else ""
        raise InputError(f"{path} has no rows{without}; give a manifest with path, valence and arousal")
    return VaManifest(pictures, (np.array(va) / scale).astype(np.float32), np.array(groups), source, unlabelled)


def _name(where: str, cells: dict, column: str) -> str:
    """A path, subject or video: text that is not empty, or a number in a json."""
    value = cells.get(column, "")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        what = "path" if column == AFFECTNET_PATH else column
        raise InputError(f"{where} has no {what}; every row needs one: {CURE}")
    return str(value).strip()


def _read_json(path: Path):
    """The content; InputError when it is no json, or has a key twice in one object."""
    if not path.is_file():  # opening a pipe would wait for its writer
        raise InputError(f"{path}: not a file; give a json file")
    try:
        return json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:  # of the first kind are those of the decoders and of _without_doubles
        raise InputError(f"{path} cannot be read as json ({error}); {CURE}") from None


def _without_doubles(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice in one object")
    return found


def _labelled(where: str, cells) -> dict:
    """The object itself; InputError unless it has numbers for valence and arousal."""
    if not isinstance(cells, dict) or not cells.keys() >= set(LABELS):
        raise InputError(f"{where} is no object with valence and arousal; {CURE}")
    for name in LABELS:
        if type(cells[name]) not in (int, float):  # true and "0.5" would be read as numbers
            raise refusal(where, name, cells[name], "a number", CURE)
    return cells


def _video_rows(path: Path, content, root: Path) -> list[tuple[str, dict]]:
    """The rows of one of AFEW-VA's json files, as `_manifest` takes them."""
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, dict):
        raise InputError(f"{path} is neither a list of objects nor a video of AFEW-VA with its frames; {CURE}")
    folder, video, rows = path.parent.relative_to(root), content.get("video_id", path.stem), []
    for frame, cells in frames.items():
        where = f"{path} frame {frame!r}"
        labels = {name: _labelled(where, cells)[name] for name in LABELS}
        rows.append((where, {"path": str(folder / f"{frame}.png"), "video": video} | labels))
    return rows
