"""The trace a notebook's run leaves: facts, figures, and the log of PrivateTest openings."""

from __future__ import annotations

import csv
import datetime
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

from fer_lib.datasets.fer2013 import Fer2013
from fer_lib.files import write_json as write_json  # notebooks say run.write_json
from fer_lib.weights import ROOT

PACKAGES = (
    "tensorflow",
    "keras",
    "openvino",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "scikit-learn",
    "scikit-learn-intelex",
    "skops",
)
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


def again(notebook: str, **given) -> str:
    """The command that runs a notebook as it runs now: `again("04_cnn_from_scratch", DATA=DATA, ..)`.

    given: values of parameters that decide the figures; those that are the notebook's defaults are left out. A data
    folder's path is told as FER_DATA.
    """
    from fer_lib.notebook import notebook_parameters

    known = notebook_parameters(ROOT / "notebooks" / f"{notebook}.ipynb")
    if given["DATA"] != "demo":
        given["DATA"] = "FER_DATA"
    changed = [f"-p {name} {shlex.quote(str(value))}" for name, value in given.items() if value != known[name]]
    return " ".join([f"python -m fer_lib notebook {notebook[:2]}", *changed])


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


def log_private_test(notebook: str, model: str, accuracy: float, path=PRIVATE_TEST_LOG) -> None:
    """Append one opening of PrivateTest: date, commit, notebook, model, accuracy.

    The same model opened again by the same notebook, in a repeated run, is not a new opening.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    opening = [notebook, model, f"{accuracy:.4f}"]
    earlier = list(csv.reader(path.read_text().splitlines())) if path.exists() else []
    if any(row[2:] == opening for row in earlier):
        return
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if not earlier:
            writer.writerow(["date", "commit", "notebook", "model", "accuracy"])
        writer.writerow([datetime.date.today().isoformat(), commit(), *opening])


def card_scores(private: dict, framing: dict, command: str, framing_command: str) -> dict[str, dict]:
    """The scores of a card from PrivateTest figures with intervals, and from choose_margin's answers by detector."""
    scores = {}
    for name, key, count in (("FER2013", "accuracy", "n"), ("FER+", "ferplus_accuracy", "ferplus_n")):
        interval = private["intervals"][key]
        if interval is None:  # a model without that head
            continue
        scores[name] = {"value": private[key], "n": private[count], "interval": interval, "command": command}
    for name, found in framing.items():
        score = {"value": found["accuracy"], "n": found["n"], "interval": found["interval"], "command": framing_command}
        scores[f"CK+ apex, {name}"] = score
    return scores
