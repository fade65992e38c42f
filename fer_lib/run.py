"""The trace a notebook's run leaves: facts, figures, and the log of PrivateTest openings."""

from __future__ import annotations

import csv
import datetime
import json
import subprocess
from importlib.metadata import version
from pathlib import Path

from fer_lib.datasets.fer2013 import Fer2013
from fer_lib.files import replacing
from fer_lib.weights import ROOT

PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "opencv-python", "opencv-python-headless")
PRIVATE_TEST_LOG = ROOT / "results" / "private_test_log.csv"


def commit() -> str:
    """The commit of the code, with "+changes" when the working tree's code differs from it; "unknown" outside git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "fer_lib", "notebooks"], cwd=ROOT).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed else "")


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide the figures."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def facts(seed: int, model, data: Fer2013) -> dict:
    """What must be known to repeat a run: seed, commit, versions, parameter count, data fingerprint."""
    return {
        "seed": seed,
        "commit": commit(),
        "versions": versions(),
        "parameters": int(model.count_params()),
        "data_rows": len(data),
        "data_sha256": data.fingerprint(),
    }


def write_json(path, value) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def log_private_test(notebook: str, model: str, accuracy: float, path=PRIVATE_TEST_LOG) -> None:
    """Append one opening of PrivateTest: date, commit, notebook, model, accuracy."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["date", "commit", "notebook", "model", "accuracy"])
        writer.writerow([datetime.date.today().isoformat(), commit(), notebook, model, f"{accuracy:.4f}"])
