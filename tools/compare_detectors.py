"""Compare the face detectors: faces found, false boxes, time, framing. Writes results/detectors.json and .md.

    FER_DATA=folder FACE_FREE=folder python tools/compare_detectors.py

FER_DATA/ck_apex holds the CK+ apex frames, one face each. FACE_FREE is a folder of pictures without a human face, such
as skimage/data of the scikit-image wheel; pictures known to show a person are left out by name.

Truth. Nobody has drawn boxes on these frames, so truth is agreement: of each detector's best-scored box on a frame
(haar with its default cascade, blazeface, dnn) those count that overlap at least one other's by IoU >= 0.5; their
coordinate-wise median is the true box. A frame where no two agree is left out, and their number is in the table. A
detector has found a face when one of its boxes overlaps the true one by IoU >= FOUND_IOU; every further box is a false
one. The other sets are made from every third frame, so that their true boxes follow from arithmetic. Counting is
fer_lib.benchmark's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fer_lib.benchmark import FOUND_IOU, TEST_FACES, agreed_boxes, detector_scores, doubled, machine  # noqa: E402
from fer_lib.detect import BlazeFaceDetector, make_detector  # noqa: E402
from fer_lib.errors import InputError  # noqa: E402
from fer_lib.images import find_images, read_image  # noqa: E402

SEED = 0
SMALL_FACE = 60  # px, of the shrunk frames
GROUPS = 30  # made-up group photos
GROUP_SIZE = (1920, 1080)
GROUP_FACES = (50, 180)  # px, smallest and largest face of a group photo
FILLED = 0.9  # share of the picture that the face fills in the tight set, as in FER2013
# of skimage/data: persons, drawings of faces, a cat (cascades may rightly fire), and things that are no photographs
NOT_FACE_FREE = {"astronaut", "camera", "lfw_subset", "phantom", "no_time_for_that_tiny", "multipage", "multipage_rgb"}
CANDIDATES = {
    "haar frontalface_alt2": ("haar", "frontalface_alt2"),
    "haar frontalface_alt": ("haar", "frontalface_alt"),
    "haar frontalface_default": ("haar", "frontalface_default"),
    "blazeface": ("blazeface", None),
    "dnn": ("dnn", None),
}
JURY = ("haar frontalface_alt", "blazeface", "dnn")
TEST_PHOTOS = {name: len(boxes) for name, boxes in TEST_FACES.items()}


def head(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a frame around a face, twice its side, and the box within it."""
    side = box[2] - box[0]
    x1, y1 = np.maximum(0, box[:2] - 0.5 * side).astype(int)
    x2, y2 = np.minimum(image.shape[1::-1], box[2:] + 0.5 * side).astype(int)
    return image[y1:y2, x1:x2], box - (x1, y1, x1, y1)


def shrunk(image, box):
    scale = SMALL_FACE / (box[2] - box[0])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), (box * scale)[None]


def tight(image, box):
    side = round((box[2] - box[0]) / FILLED)
    x, y = ((box[:2] + box[2:] - side) / 2).round().astype(int)
    move = np.float32([[1, 0, -x], [0, 1, -y]])
    return cv2.warpAffine(image, move, (side, side), borderMode=cv2.BORDER_REPLICATE), (box - (x, y, x, y))[None]


def group(frames, boxes, background, random):
    """A picture of GROUP_SIZE with six heads of different sizes, one in each cell of a 3x2 grid."""
    width, height = GROUP_SIZE
    picture = cv2.resize(background, GROUP_SIZE, interpolation=cv2.INTER_LINEAR)
    true = []
    for cell, i in enumerate(random.choice(len(frames), 6, replace=False)):
        part, box = head(frames[i], boxes[i])
        face = np.exp(random.uniform(*np.log(GROUP_FACES)))
        scale = face / (box[2] - box[0])
        part = cv2.resize(
            part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        x = cell % 3 * width // 3 + random.integers(0, width // 3 - part.shape[1])
        y = cell // 3 * height // 2 + random.integers(0, height // 2 - part.shape[0])
        picture[y : y + part.shape[0], x : x + part.shape[1]] = part
        true.append(box * scale + (x, y, x, y))
    return picture, np.array(true)


def framing(detector, frames, points) -> dict:
    """Medians over frames of side / distance of the eyes, and of eye and mouth positions in the box, 0 to 1."""
    rows = []
    for image, point in zip(frames, points, strict=True):
        found = detector(image)
        if point is None or not len(found):
            continue
        x1, y1, x2, y2 = found.xyxy[found.score.argmax()].astype(float)
        side, left, top = max(x2 - x1, y2 - y1), (x1 + x2) / 2, (y1 + y2) / 2
        eyes, mouth = point[:2].mean(axis=0), point[3]
        distance = np.linalg.norm(point[0] - point[1])
        rows.append(
            (
                side / distance,
                (eyes[0] - left) / side + 0.5,
                (eyes[1] - top) / side + 0.5,
                (mouth[1] - top) / side + 0.5,
            )
        )
    middle, spread = np.median(rows, axis=0), np.std(rows, axis=0)
    names = ("side_per_eye_distance", "eyes_x", "eyes_y", "mouth_y")
    return {name: [round(float(m), 3), round(float(s), 3)] for name, m, s in zip(names, middle, spread, strict=True)}


def face_free(folder: Path) -> list[np.ndarray]:
    """The pictures of a folder, as they are and doubled in size, so that small textures count as well."""
    return doubled([read_image(path) for path in find_images(folder) if path.stem not in NOT_FACE_FREE])


def main() -> None:
    detectors = {}
    for name, (kind, cascade) in CANDIDATES.items():
        detectors[name] = make_detector(kind, cascade)
    if "FER_DATA" not in os.environ or "FACE_FREE" not in os.environ:
        raise InputError("set FER_DATA and FACE_FREE; see the top of tools/compare_detectors.py")
    before = machine()
    random = np.random.default_rng(SEED)
    frames = [read_image(path) for path in sorted((Path(os.environ["FER_DATA"]) / "ck_apex").rglob("*.png"))]
    boxes, kept = agreed_boxes([detectors[name] for name in JURY], frames)
    left_out = len(frames) - len(kept)
    frames = [frames[i] for i in kept]
    free = face_free(Path(os.environ["FACE_FREE"]))
    backgrounds = [p for p in free if min(p.shape[:2]) >= 400]
    photos = ROOT / "test_photo"
    sets = {
        "CK+ frames": [(frame, box[None]) for frame, box in zip(frames, boxes, strict=True)],
        f"shrunk to {SMALL_FACE} px faces": [
            shrunk(frame, box) for frame, box in zip(frames[::3], boxes[::3], strict=True)
        ],
        f"face fills {FILLED:.0%}": [tight(frame, box) for frame, box in zip(frames[::3], boxes[::3], strict=True)],
        "groups of six, 1920x1080": [
            group(frames[::3], boxes[::3], backgrounds[i % len(backgrounds)], random) for i in range(GROUPS)
        ],
        "no face": [(picture, np.zeros((0, 4))) for picture in free],
    }
    scores = {title: detector_scores(detectors, pictures, SEED) for title, pictures in sets.items()}
    results = {name: {title: scores[title][name] for title in sets} for name in detectors}
    for name, find in detectors.items():
        counts = {photo: len(find(read_image(photos / photo))) for photo in TEST_PHOTOS}
        results[name]["test_photo"] = {"boxes": counts, "expected": TEST_PHOTOS}
        huge = cv2.resize(sets["groups of six, 1920x1080"][0][0], (12000, 9000), interpolation=cv2.INTER_LINEAR)
        results[name]["12000x9000"] = {
            "ms": detector_scores({name: find}, [(huge, np.zeros((0, 4)))])[name]["median_ms"]
        }
    blaze = BlazeFaceDetector()
    points = []
    for frame in frames[::3]:
        rows, scores = blaze.find(frame)
        points.append(rows[scores.argmax(), 4:].reshape(6, 2) if len(rows) else None)
    for name, find in detectors.items():
        results[name]["framing"] = framing(find, frames[::3], points)
    report = {
        "made_by": "tools/compare_detectors.py",
        "seed": SEED,
        "frames_left_out_for_want_of_agreement": left_out,
        "found_iou": FOUND_IOU,
        "cpu": f"{before['cpu']}, {before['cores']} cores",
        "load_average_before": before["load_average_before"],
        "opencv": cv2.__version__,
        "detectors": results,
    }
    (ROOT / "results" / "detectors.json").write_text(json.dumps(report, indent=1) + "\n")
    (ROOT / "results" / "detectors.md").write_text(table(report, list(sets)))
    print(table(report, list(sets)))


def table(report: dict, titles: list[str]) -> str:
    """The report as Markdown."""
    results = report["detectors"]
    some = next(iter(results.values()))
    lines = [
        "# Face detectors compared",
        "",
        "Written by `tools/compare_detectors.py`, whose head says how the true boxes are defined; the figures in full",
        "are in `detectors.json`. Cells: faces found / false boxes / median ms per picture.",
        "",
        "| detector | " + " | ".join(f"{title} ({some[title]['pictures']} pictures)" for title in titles) + " |",
        "|---|" + "---|" * len(titles),
    ]
    for name, result in results.items():
        cells = []
        for title in titles:
            cell = result[title]
            rate = "" if cell["rate"] is None else f"{cell['rate']:.1%} / "
            cells.append(f"{rate}{cell['false_boxes']} / {cell['median_ms']:.0f} ms")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"CK+ frames left out because no two detectors agree: {report['frames_left_out_for_want_of_agreement']}.",
        f"Times: {report['cpu']}, load average {report['load_average_before']} before the run; use them as ratios.",
        "",
        "| detector | boxes on " + ", ".join(f"{p} ({n})" for p, n in TEST_PHOTOS.items()) + " | 12000x9000 photo |",
        "|---|---|---|",
    ]
    for name, result in results.items():
        counts = ", ".join(str(n) for n in result["test_photo"]["boxes"].values())
        lines.append(f"| {name} | {counts} | {result['12000x9000']['ms']:.0f} ms |")
    lines += [
        "",
        "Framing on the CK+ frames, median (standard deviation); eyes and mouth by BlazeFace's key points, positions",
        "as share of the box:",
        "",
        "| detector | side / distance of the eyes | eyes x | eyes y | mouth y |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{m:.2f} ({s:.2f})" for m, s in result["framing"].values()) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
