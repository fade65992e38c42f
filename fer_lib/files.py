"""Writing results so that a final name never holds half a file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_lib.errors import InputError


def _refusal(path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror or error}; choose another place")


def check_folder(path) -> None:
    """InputError when a folder for results is a file, or cannot be made or written; a missing one is left missing."""
    path = Path(path)
    try:
        existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    except OSError as error:
        raise _refusal(path, error) from None
    if not existing.is_dir():
        raise InputError(f"cannot write {path}: {existing} is not a folder; choose another place")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise _refusal(path, error) from None


def check_writable(path) -> None:
    """InputError when a file could not be written under this name; tells before hours of work."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name")
    check_folder(path.parent)


@contextmanager
def replacing(path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, moved onto `path` when the block succeeds, removed when not.

    Missing parent folders are made. InputError when the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise _refusal(path, error) from None
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value) -> None:
    """Write a value as readable JSON, complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OutputNames:
    """Output paths of one run: `<stem>_fer<suffix>` in a folder; equal stems get `_2`, `_3`.

    keep: the inputs of the run, which no output may overwrite.
    """

    def __init__(self, folder, keep=()):
        self.folder = Path(folder)
        self._taken: set[str] = set()
        self._keep = {Path(path).resolve() for path in keep}

    def __call__(self, source, suffix: str) -> Path:
        name, number = f"{Path(source).stem}_fer", 1
        while not self._free(name):
            number += 1
            name = f"{Path(source).stem}_fer_{number}"
        self._taken.add(name.lower())
        return self.folder / f"{name}{suffix}"

    def release(self, path: Path) -> None:
        """Give a name back that was not used after all."""
        self._taken.discard(path.stem.lower())

    def _free(self, name: str) -> bool:
        if name.lower() in self._taken:  # without case, for file systems that do not tell case apart
            return False
        place = self.folder.resolve()
        return not any(path.parent == place and path.stem.lower() == name.lower() for path in self._keep)
