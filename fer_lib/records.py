"""Tables: one row per face per frame, and a row with empty cells for a frame without a face."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from itertools import islice
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
ROWS_AT_ONCE = 50_000  # of a Parquet table: about 50 MB in memory


def columns(
    va: bool = False, video: bool = False, age: bool = False, genuine: bool = False, smoothed: bool = False
) -> tuple[str, ...]:
    """The table's columns, in order. smoothed: also the emotions as they were before fer_lib.track.Smoother."""
    some = VA_COLUMNS * va + AGE_COLUMNS * age + GENUINE_COLUMNS * genuine
    return COLUMNS + some + ("measured",) * video + RAW_COLUMNS * smoothed


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

    The rows are read once, and at most ROWS_AT_ONCE of them are held. names: the columns, see columns(). Parquet's
    types depend on the names alone, so that tables of several runs can be joined. InputError for another suffix or a
    place that cannot be written.
    """
    path = Path(path)
    write = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path}: a table ends in {', '.join(SUFFIXES)}")
    with replacing(path) as temporary:
        write(temporary, ({name: _printable(value) for name, value in row.items()} for row in rows), names)


def _write_csv(path: Path, rows: Iterable[dict], names: tuple[str, ...]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(path: Path, rows: Iterable[dict], names: tuple[str, ...]) -> None:
    """As json.dumps writes the whole list, row by row."""
    with open(path, "w", encoding="utf-8") as file:
        before = "["
        for row in rows:
            text = json.dumps({name: row.get(name) for name in names}, indent=1, ensure_ascii=False)
            file.write(before + "\n " + text.replace("\n", "\n "))
            before = ","
        file.write("[]\n" if before == "[" else "\n]\n")


def _write_parquet(path: Path, rows: Iterable[dict], names: tuple[str, ...]) -> None:
    import pandas  # half a second to import: only who asks for Parquet pays it
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    types, rows, writer = {name: _parquet_type(name) for name in names}, iter(rows), None
    try:
        while (part := list(islice(rows, ROWS_AT_ONCE))) or writer is None:
            frame = pandas.DataFrame.from_records(part, columns=names).astype(types)
            table = Table.from_pandas(frame, preserve_index=False)
            writer = writer or ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def typed(row: dict) -> dict:
    """A row of a CSV table with its numbers as numbers, as it was before it was written; no key for an empty cell.

    InputError for a cell that is no number.
    """
    try:
        return {name: _type(name)(cell) for name, cell in row.items() if cell not in ("", None)}
    except ValueError as error:
        raise InputError(f"{row.get('source')}: {error}; give the table as it was written") from None


def _type(name: str) -> type:
    return str if name in TEXT_COLUMNS else int if name in WHOLE_COLUMNS else float


def _printable(value):
    """A cell as it can be written: bytes of a file name that are no UTF-8 are spelt out, such as \\udcff."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _parquet_type(name: str) -> str:
    """pandas' type of a column; each of them knows empty cells."""
    return {str: "string", int: "Int64", float: "Float64"}[_type(name)]
