"""Data sets: each module reads the files people download; no training code."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from fer_lib.errors import InputError


def data_folder(data: str, seed: int = 1, parts: Iterable[str] = ("fer2013",)) -> Path:
    """The folder behind a notebook's DATA: "demo" (drawn afresh under out/), "FER_DATA" (the variable), or a path.

    parts: what "demo" draws, names of fer_lib.datasets.demo.PARTS; nothing else is left in out/demo_data, so that a
    notebook finds what it asked for, in one version. InputError: there is no such folder or part.
    """
    if data == "demo":
        from fer_lib.datasets.demo import write_demo

        folder = Path("out") / "demo_data"
        shutil.rmtree(folder, ignore_errors=True)
        return write_demo(folder, parts, seed)
    if data == "FER_DATA" and not os.environ.get("FER_DATA"):
        raise InputError("FER_DATA is not set; set it to the folder that holds fer2013/, ck_apex/ and so on")
    folder = Path(os.environ["FER_DATA"] if data == "FER_DATA" else data)
    if not data or not folder.is_dir():
        raise InputError(f"{folder} is no folder; DATA is demo, FER_DATA or the folder that holds fer2013/ and so on")
    return folder
