"""Writing results so that a final name never holds half a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from fer_lib.errors import InputError

PART = re.compile(r"\..+\.part-(\d+)(\.\w+)?")  # replacing's temporary names; the number is the process
LEFTOVER_S = 600.0  # a part untouched for so long, whose process is gone, is what a killed run has left


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

    Missing parent folders are made. What killed runs have left in the folder is removed. InputError when the place
    cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.resolve())
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


@cache  # once a process and folder: a run may write a thousand pictures into one
def _remove_leftovers(folder: Path) -> None:
    for part in folder.iterdir():
        made_by = PART.fullmatch(part.name)
        with suppress(OSError):  # Windows removes no file that is open
            if made_by and time.time() - part.stat().st_mtime > LEFTOVER_S and not _runs(int(made_by[1])):
                part.unlink()


def remove_parts(folder, process: int) -> None:
    """Remove what a process that was killed has left half-written in a folder."""
    for part in Path(folder).iterdir() if Path(folder).is_dir() else ():
        made_by = PART.fullmatch(part.name)
        if made_by and int(made_by[1]) == process:
            part.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    if os.name == "nt":  # where kill ends the process whatever the signal; see _remove_leftovers
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, and SIGTERM where it has a handler, wait until the block is done; only the main thread has signals."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    came = []
    for number in handlers:
        signal.signal(number, lambda *given: came.append(given))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            handlers[number](number, frame)


def write_json(path, value) -> None:
    """Write a value as readable JSON, complete or not at all; nan, which JSON has no word for, as null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def sha256(path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OutputNames:
    """Output paths of one run: `<stem>_<ending><suffix>` in a folder; equal stems get `_2`, `_3`.

    keep: the inputs of the run, which no output may overwrite.
    """

    def __init__(self, folder, keep=()):
        self.folder = Path(folder)
        self._taken: set[str] = set()
        self._keep = {Path(os.path.realpath(path)) for path in keep}  # Path.resolve raises for a link to itself

    def __call__(self, source, suffix: str, ending: str = "fer") -> Path:
        name, number = f"{Path(source).stem}_{ending}", 1
        while not self._free(name):
            number += 1
            name = f"{Path(source).stem}_{ending}_{number}"
        self._taken.add(name.lower())
        return self.folder / f"{name}{suffix}"

    def _free(self, name: str) -> bool:
        if name.lower() in self._taken:  # without case, for file systems that do not tell case apart
            return False
        place = Path(os.path.realpath(self.folder))
        return not any(path.parent == place and path.stem.lower() == name.lower() for path in self._keep)
