"""Tables: one row per face per frame, and a row with empty cells for a frame without a face."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, Faces, age_range
from fer_lib.files import replacing

BASE_COLUMNS = ("source", "frame", "time_s", "face_id", "x", "y", "w", "h", "face_score")
COLUMNS = (*BASE_COLUMNS, *EMOTIONS, "emotion", "confidence")
VA_COLUMNS = ("valence", "arousal")
AGE_COLUMNS = ("age", "age_range")
RAW_COLUMNS = tuple(f"{name}_raw" for name in EMOTIONS)
GENUINE_COLUMNS = ("genuine",)
SUFFIXES = (".csv", ".json", ".parquet")
TEXT_COLUMNS = ("source", "emotion", "age_range")
WHOLE_COLUMNS = ("frame", "face_id", "x", "y", "w", "h", "measured", "class")  # every other column is a real number


def columns(
    va: bool = False, video: bool = False, age: bool = False, smoothed: bool = False, genuine: bool = False
) -> tuple[str, ...]:
    """The table's columns, in order. smoothed: also the emotions as they were before fer_lib.track.Smoother."""
    more = VA_COLUMNS * va + AGE_COLUMNS * age + GENUINE_COLUMNS * genuine
    return COLUMNS + more + ("measured",) * video + RAW_COLUMNS * smoothed


def empty_record(source: str, frame: int, time_s: float) -> dict:
    """The row of a frame without a face: only these three cells are filled."""
    return {"source": source, "frame": frame, "time_s": round(time_s, 6)}


def face_records(faces: Faces, source: str = "", frame: int = 0, time_s: float = 0.0) -> list[dict]:
    """One dict per face, in plain Python values; an empty list for no face.

    x y w h are pixels of the upright picture. A class that the model does not know has no key, so its cell stays
    empty, as does `genuine`, a probability, of a face that could not be measured. Valence and arousal are in [-1, 1],
    the age is in years.
    """
    rows = []
    names, confidence = faces.top() if faces.emotion is not None else ([], [])
    for i, (x1, y1, x2, y2) in enumerate(faces.xyxy.tolist()):
        row = empty_record(source, frame, time_s)
        row["face_id"] = i if faces.track_id is None else int(faces.track_id[i])
        row |= {"x": x1, "y": y1, "w": x2 - x1, "h": y2 - y1, "face_score": round(float(faces.score[i]), 4)}
        if faces.emotion is not None:
            row |= {name: round(float(p), 6) for name, p in zip(faces.labels, faces.emotion[i], strict=True)}
            row |= {"emotion": names[i], "confidence": round(float(confidence[i]), 6)}
        if faces.emotion_raw is not None:
            raw = zip(faces.labels, faces.emotion_raw[i], strict=True)
            row |= {f"{name}_raw": round(float(p), 6) for name, p in raw}
        if faces.va is not None:
            row |= {name: round(float(v), 4) for name, v in zip(VA_COLUMNS, faces.va[i], strict=True)}
        if faces.age is not None:
            row |= {"age": round(float(faces.age[i]), 1), "age_range": age_range(faces.age[i])}
        if faces.genuine is not None and faces.genuine[i] == faces.genuine[i]:
            row["genuine"] = round(float(faces.genuine[i]), 4)
        rows.append(row)
    return rows


def write_table(path, rows: Iterable[dict], names: tuple[str, ...]) -> None:
    """Write rows as CSV, JSON (a list of rows, empty cells null) or Parquet, by the suffix; complete or not at all.

    names: the columns, see columns(). Parquet's types depend on the names alone, so that tables of several runs can
    be joined. InputError for another suffix or a place that cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: a table ends in {', '.join(SUFFIXES)}")
    rows = [{name: _printable(value) for name, value in row.items()} for row in rows]
    with replacing(path) as temporary:
        if suffix == ".csv":
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, names, restval="")
                writer.writeheader()
                writer.writerows(rows)
        elif suffix == ".json":
            table = [{name: row.get(name) for name in names} for row in rows]
            temporary.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            import pandas  # half a second to import: only who asks for Parquet pays it

            frame = pandas.DataFrame.from_records(rows, columns=names)
            frame.astype({name: _parquet_type(name) for name in names}).to_parquet(temporary, index=False)


def _printable(value):
    """A cell as it can be written: bytes of a file name that are no UTF-8 are spelt out, such as \\udcff."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _parquet_type(name: str) -> str:
    """pandas' type of a column; each of them knows empty cells."""
    return "string" if name in TEXT_COLUMNS else "Int64" if name in WHOLE_COLUMNS else "Float64"
