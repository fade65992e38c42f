"""Write the README's figures from the files that runs wrote, and its pictures with the default model.

    python tools/update_readme.py

A test holds the figures to the files.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.weights import DEFAULT_MODEL, load_card  # noqa: E402  the path must be set first

README = ROOT / "README.md"


def model_table() -> str:
    """The default model's figures, from its notebook's metrics.json and its card."""
    metrics = json.loads((ROOT / "results" / "10_best_model" / "metrics.json").read_text())
    private = metrics["PrivateTest"]
    card = load_card(DEFAULT_MODEL)
    rows = [
        ("FER2013 PrivateTest, `fer2013` head", "accuracy", "n"),
        ("the same without the pictures that stand in Training", "accuracy_without_duplicates", None),
        ("FER+ test rows, `emotion` head", "ferplus_accuracy", "ferplus_n"),
    ]
    lines = ["| test | n | accuracy | 95 % interval |", "|---|---|---|---|"]
    for title, key, count in rows:
        low, high = private["intervals"][key]
        n = private[count] if count else ""
        lines.append(f"| {title} | {n} | {private[key]:.1%} | {low:.1%} to {high:.1%} |")
    for name, score in card.scores.items():
        if name.startswith("CK+"):
            low, high = score["interval"]
            lines.append(f"| {name} detector | {score['n']} | {score['value']:.1%} | {low:.1%} to {high:.1%} |")
    epochs = json.loads((ROOT / "results" / "10_best_model" / "run.json").read_text())["epochs"]
    minutes = sum(epoch["seconds"] for epoch in epochs) / 60
    notes = f"""
FER2013's own label is the one most FER+ raters gave in {metrics["label_agreement"]:.1%} of its pictures, which is why
one output cannot serve both. CK+ apex: full-size frames of subjects with odd numbers, best of CK+'s seven classes; the
model was not trained on CK+, subjects with even numbers chose the crop. {len(epochs)} epochs took {minutes:.0f} minutes
on two CPU cores, no GPU."""
    return "\n".join([*lines, notes])


def detector_table() -> str:
    return (ROOT / "results" / "detectors.md").read_text().split("\n", 2)[2].strip()  # without its title


def rendered(text: str) -> str:
    """The README with each `<!-- name -->...<!-- /name -->` block filled."""
    for name, table in (("model", model_table), ("detectors", detector_table)):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.S)
        text, count = pattern.subn(lambda match, table=table: match[1] + table() + match[2], text)
        if count != 1:
            raise SystemExit(f"README.md has {count} blocks named {name}, not one")
    return text


def draw_pictures(folder: Path) -> None:
    """two_faces.jpg, annotated, and four frames of the annotated demo video side by side."""
    from fer_lib import Recognizer, draw_faces, read_image, write_image
    from fer_lib.demo_video import make_demo_video
    from fer_lib.video import VideoReader

    recognise = Recognizer(va=True)
    photos = ROOT / "test_photo"
    image = read_image(photos / "two_faces.jpg")
    write_image(folder / "two_faces.jpg", draw_faces(image, recognise(image)))
    with tempfile.TemporaryDirectory() as temporary:
        video = make_demo_video([photos / "astronaut.png", photos / "grace_hopper.jpg"], Path(temporary) / "demo.mp4")
        with VideoReader(video) as frames:
            shown = [(frame.image, recognise(frame.image)) for frame in frames if frame.index in (40, 100, 150, 215)]
    if [len(faces) for _, faces in shown] != [1, 1, 0, 2]:
        raise SystemExit("the README says: a face, another, none, both; choose other frames")
    strip = np.hstack([draw_faces(image, faces) for image, faces in shown])
    write_image(folder / "video.jpg", strip)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
    draw_pictures(ROOT / "docs")
