"""Writing results so that a final name never holds half a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_lib.errors import InputError


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
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place") from None
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


class OutputNames:
    """Output paths of one run: `<stem>_fer<suffix>` in a folder; equal stems get `_2`, `_3`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._given: set[str] = set()

    def __call__(self, source, suffix: str) -> Path:
        stem = Path(source).stem or "camera"
        name, number = f"{stem}_fer", 1
        while name.lower() in self._given:  # without case, for file systems that do not tell case apart
            number += 1
            name = f"{stem}_fer_{number}"
        self._given.add(name.lower())
        return self.folder / f"{name}{suffix}"
