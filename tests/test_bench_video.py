"""What the video benchmark writes, on films of half a second, and the README's table of it."""

from __future__ import annotations

import json
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import bench_video  # noqa: E402  the path must be set first
import update_readme  # noqa: E402


class StubPeer:
    """Answers as fer_lib.peer.Peer does."""

    def __call__(self, task, name, *rest):
        assert (task, name) == ("video", "fer") and len(rest) == 2
        return {"frames": 10, "seconds": 0.5, "faces": 10}


def test_films_other_model_and_photo(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(bench_video, "SIZES", {"192x108": (192, 108), "160x120": (160, 120)})
    monkeypatch.setattr(bench_video, "OTHER_MODEL", str(tiny_model))
    monkeypatch.setattr(bench_video, "OTHER_FILM", "160x120")
    monkeypatch.setattr(bench_video, "_photo_s", lambda folder: 1.25)
    found = bench_video.measure(tmp_path, StubPeer(), rounds=2, seconds=0.5)
    assert list(found["films"]) == ["192x108", "160x120"]
    for film in found["films"].values():
        assert film["fer"] == {"frames_per_s": 20.0, "faces": 10.0}
        assert film["ours"]["frames_per_s"] > 0 and film["ours"]["core_ms"] > 0
        assert list(film["ours"]["stages_ms"]) == ["read", "track", "classify", "draw", "write"]
    assert found["other_model"]["frames_per_s"] > 0 and found["photo"] == {"after_other_work_s": 1.25, "again_s": 1.25}

    facts = {"rounds": 2, "cpu": "a CPU", "cores": 2, "load_average_before": 0.1}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "benchmark.json").write_text(json.dumps(facts | found))
    monkeypatch.setattr(update_readme, "ROOT", tmp_path)
    table = update_readme.video_table()
    assert "| 192x108 | " in table and " | 20 | " in table and "1.25 s" in table and "2 turns" in table


def test_medians():
    turns = [{"a": 1.0, "b": {"c": 5.0}}, {"a": 3.0, "b": {"c": 1.0}}, {"a": 2.0, "b": {"c": 9.0}}]
    assert bench_video.medians(turns) == {"a": 2.0, "b": {"c": 5.0}}
