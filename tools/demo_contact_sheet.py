"""Draw docs/demo_faces.jpg, a sheet of the demo data: python tools/demo_contact_sheet.py"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.datasets import demo  # noqa: E402  the path must be set first
from fer_lib.faces import EMOTIONS  # noqa: E402

SHEET = ROOT / "docs" / "demo_faces.jpg"
SEED = 7
CELL, CAPTION, TITLE = 88, 104, 24  # px
AGES = (3, 8, 15, 24, 33, 44, 56, 68, 84)


def quiet_scene(rng: np.random.Generator) -> demo.Scene:
    """A scene that packs well and prints well: without noise and blur, none too dark."""
    return replace(demo.random_scene(rng), noise=0, blur=0, exposure=1, contrast=1)


def rows() -> dict[str, list[np.ndarray]]:
    """{caption: nine faces}: each emotion on nine people by age, one life, one sequence, two smiles."""
    found = {}
    for row, emotion in enumerate(EMOTIONS):
        rng = np.random.default_rng([SEED, row])
        people = [demo.random_identity(len(AGES) * row + k, SEED, age) for k, age in enumerate(AGES)]
        found[emotion] = [
            demo.draw_face(demo.expression(emotion, 0.95, rng), person, quiet_scene(rng), CELL) for person in people
        ]
    life = (1, 4, 9, 16, 28, 45, 62, 78, 98)
    found["one person,\n1 to 98 years"] = [
        demo.draw_face({12: 0.2}, demo.random_identity(20, SEED, age), size=CELL) for age in life
    ]
    planned = demo.plan("fear", len(AGES), number=16, seed=SEED, age=30)
    found["fear, from\nneutral to apex"] = [planned.draw(k, CELL, True, noise=0, blur=0) for k in range(len(AGES))]
    person = demo.random_identity(6, SEED, 35)
    for name, dice in (("posed", 9), ("genuine", 4)):  # two that show the difference; many others hardly do
        units = demo.smile(name == "posed", np.random.default_rng(dice)).action_units
        when = np.arange(len(AGES)) * 0.4 * demo.RATE
        units = [units[int(t)] if t < len(units) else np.zeros_like(units[0]) for t in when]
        found[f"a {name} smile,\nevery 0.4 s"] = [demo.draw_face(u, person, size=CELL) for u in units]
    return found


def sheet() -> Image.Image:
    lines = rows()
    image = Image.new("RGB", (CAPTION + CELL * len(AGES), TITLE + CELL * len(lines)), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    pen.text((6, 5), "demo data: faces drawn by code, nobody's photographs", "black", font)
    for row, (caption, faces) in enumerate(lines.items()):
        top = TITLE + CELL * row
        pen.multiline_text((6, top + CELL / 2 - 14), caption, "black", font)
        image.paste(Image.fromarray(np.hstack(faces)), (CAPTION, top))
    return image


if __name__ == "__main__":
    sheet().save(SHEET, quality=88, optimize=True)
    print(f"wrote {SHEET.relative_to(ROOT)}, {SHEET.stat().st_size / 1000:.0f} kB")
