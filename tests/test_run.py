"""The trace of a run: its log of PrivateTest openings, its JSON files and the commit in them."""

from __future__ import annotations

import csv
import datetime
import json
import re

import pytest

from fer_lib import run
from fer_lib.errors import InputError


def rows_of(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_each_opening_of_private_test_is_logged_once(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "commit", lambda: "abc123")
    path = tmp_path / "results" / "log.csv"
    today = datetime.date.today().isoformat()
    run.log_private_test("10_best_model", "fer", 0.71234, path)
    header = ["date", "commit", "notebook", "model", "accuracy"]
    first = [today, "abc123", "10_best_model", "fer", "0.7123"]
    assert rows_of(path) == [header, first]

    monkeypatch.setattr(run, "commit", lambda: "def456")  # the same figure again, from a later commit
    run.log_private_test("10_best_model", "fer", 0.71234, path)
    assert rows_of(path) == [header, first]

    others = [("04_cnn", "fer", 0.71234), ("10_best_model", "cnn", 0.71234), ("10_best_model", "fer", 0.5)]
    for notebook, model, accuracy in others:
        run.log_private_test(notebook, model, accuracy, path)
    assert rows_of(path) == [header, first] + [[today, "def456", n, m, f"{a:.4f}"] for n, m, a in others]


def test_scores_of_a_card_are_those_there_are():
    """With its n, interval and command each; a model without the emotion head has no FER+ score."""
    found = {"accuracy": 0.7, "n": 90, "ferplus_accuracy": None, "ferplus_n": None}
    found["intervals"] = {"accuracy": (0.6, 0.8), "ferplus_accuracy": None}
    framing = {"haar": {"accuracy": 0.5, "n": 8, "interval": (0.1, 0.9), "margin": 0.0}}
    scores = run.card_scores(found, framing, "one", "two")
    assert scores == {
        "FER2013": {"value": 0.7, "n": 90, "interval": (0.6, 0.8), "command": "one"},
        "CK+ apex, haar": {"value": 0.5, "n": 8, "interval": (0.1, 0.9), "command": "two"},
    }


def test_write_json_is_whole_and_readable(tmp_path):
    path = tmp_path / "new" / "run.json"
    run.write_json(path, {"name": "Grüße", "scores": (1, 0.5, float("nan"))})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Grüße", "scores": [1, 0.5, None]}
    assert "Grüße" in path.read_text(encoding="utf-8") and path.read_text(encoding="utf-8").endswith("}\n")
    with pytest.raises(TypeError):
        run.write_json(path, object())
    assert json.loads(path.read_text(encoding="utf-8"))["scores"] == [1, 0.5, None]  # the old one is not harmed
    with pytest.raises(InputError, match="cannot write"):
        run.write_json(path / "run.json", {})
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


def test_commit_names_the_code_and_is_unknown_outside_git(tmp_path, monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", run.commit())
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run.commit() == "unknown"
    monkeypatch.setenv("PATH", "")  # without the program git
    assert run.commit() == "unknown"


def test_the_command_that_runs_it_again():
    """Defaults are left out, a data folder's path too."""
    name = "04_cnn_from_scratch"
    assert run.again(name, DATA="demo", SEED=1) == "python -m fer_lib notebook 04"
    told = run.again(name, DATA="/home/me/data", EXPORT="same", NETWORKS="small_cnn large_cnn", TAUGHT=0)
    told, end = told.split(" -p NETWORKS ")
    assert told == "python -m fer_lib notebook 04 -p DATA FER_DATA -p EXPORT same"
    assert end == "'small_cnn large_cnn' -p TAUGHT 0"
