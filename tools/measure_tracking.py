"""How often faces change their numbers in made films, and what smoothing costs: writes results/tracking.json.

    python tools/measure_tracking.py

The films (fer_lib.scenes) pose one difficulty each and have a known truth. Looked at: every frame, then every third, as
video_fer.py does at 25 frames/s; beside it a baseline that numbers the faces of each frame from left to right. The
flicker (fer_lib.flicker) is that of a made face whose expression is known, under several time constants.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib import run  # noqa: E402  the path must be set first
from fer_lib.detect import make_detector  # noqa: E402
from fer_lib.flicker import smoothing_table  # noqa: E402
from fer_lib.scenes import make_scenes, mistakes, track_scene  # noqa: E402
from fer_lib.track import SMOOTH_S, Tracker  # noqa: E402

RATE, EVERY = 25.0, 3  # frames/s; every third frame is looked at when what a face shows is at most 0.1 s old


class ByPlace(Tracker):
    """The baseline: a face's number is its place from left to right."""

    def __call__(self, faces, time_s, image=None):
        return replace(faces, track_id=np.arange(len(faces), dtype=np.int32))


def measure(rate: float = RATE, seconds: float = 600.0) -> dict:
    """{"scenes": {name: {tracker: mistakes}}, "smoothing": rows of smoothing_table over `seconds`}."""
    detect, found = make_detector(), {}
    for name, scene in make_scenes(rate=rate).items():
        found[name] = {
            "every frame": mistakes(*track_scene(scene, detect, Tracker())),
            "every third": mistakes(*track_scene(scene, detect, Tracker(), every=EVERY)),
            "by place": mistakes(*track_scene(scene, detect, ByPlace())),
        }
    return {"scenes": found, "smoothing": smoothing_table(seconds=seconds, rate=rate), "default_smooth_s": SMOOTH_S}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the tracker and the smoothing on made films.")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "tracking.json", help="where to write")
    options = parser.parse_args()
    facts = {"made_by": "tools/measure_tracking.py", "commit": run.commit(), "versions": run.versions()}
    run.write_json(options.json, facts | measure())
    print(f"wrote {options.json}")
