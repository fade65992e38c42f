"""Data sets: each module reads the files people download; no training code."""

from __future__ import annotations

import os
from pathlib import Path

from fer_lib.errors import InputError


def data_folder(data: str, seed: int = 1) -> Path:
    """The folder behind a notebook's DATA: "demo" (drawn afresh under out/), "FER_DATA" (the variable), or a path.

    InputError when there is no such folder.
    """
    if data == "demo":
        from fer_lib.datasets.demo import write_fer2013

        folder = Path("out") / "demo_data"
        write_fer2013(folder, training=320, public=96, private=96, seed=seed)  # enough to show that a notebook runs
        return folder
    if data == "FER_DATA" and not os.environ.get("FER_DATA"):
        raise InputError("FER_DATA is not set; set it to the folder that holds fer2013/, ck_apex/ and so on")
    folder = Path(os.environ["FER_DATA"] if data == "FER_DATA" else data)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; DATA is demo, FER_DATA or the folder that holds fer2013/ and so on")
    return folder
