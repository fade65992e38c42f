"""Text tables with a header, and the numbers in them; every refusal names the file, the line and what to do."""

from __future__ import annotations

import csv
import math
import reprlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

from fer_lib.errors import InputError


def read_columns(
    path, columns, optional=(), delimiter=",", cure="download it again", exact=False, kind="text table"
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, {column: cell}) of each row of a text table with a header.

    Header names are matched without case and surrounding blanks (OpenFace writes ", AU01_r"); `optional` columns that
    the file does not have are left out, columns that nobody asks for are ignored. Cells are stripped and blank lines
    skipped, unless `exact`: for a file whose rows belong to those of another by their place.

    InputError: no file, a column that is missing or there twice, a row of another length, or not text; `kind` is what
    the message calls the file, `cure` what it tells to do. OSError when the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for its writer
        raise InputError(f"{path}: not a file; give a csv file")
    csv.field_size_limit(1 << 24)
    with open(path, newline="", encoding="utf-8-sig") as file:  # Excel begins its files with a byte order mark
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            places = _places(path, header, columns, optional, delimiter, cure)
            for row in reader:
                if not (row or exact):
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path} line {reader.line_num} has {len(row)} fields, the header {len(header)}; {cure}"
                    )
                cells = {name: row[place] for name, place in places.items()}
                yield reader.line_num, cells if exact else {name: cell.strip() for name, cell in cells.items()}
        except (UnicodeDecodeError, csv.Error):
            raise InputError(f"{path} is not a {kind}; {cure}") from None


def _places(path: Path, header: list[str], columns, optional, delimiter: str, cure: str) -> dict[str, int]:
    """{column: its place in the header}."""
    places = {}
    for name in (*columns, *optional):
        count = header.count(name.lower())
        if count > 1:
            raise InputError(f"{path} has several columns {name!r}; remove all but one")
        if count:
            places[name] = header.index(name.lower())
        elif name not in optional:
            has = textwrap.shorten(", ".join(header), 200, placeholder=" ...") or "empty"
            raise InputError(f"{path} has no column {name!r} in its first line ({delimiter!r} between): {has}; {cure}")
    return places


def refusal(where: str, name: str, value, wanted: str, cure="download or write the table again") -> InputError:
    """where: the file and the line, with which the message begins."""
    return InputError(f"{where}: {name} is {reprlib.repr(value)}, not {wanted}; {cure}")


def numbers(where: str, row: dict, names, low=-math.inf, high=math.inf, **cure) -> list[float]:
    """The named values of a row as finite numbers in [low, high]; InputError, as of `refusal`, else."""
    found = []
    for name in names:
        try:
            found.append(float(row[name]))
        except (ValueError, OverflowError):  # of text, and of a json's whole number of 400 digits
            raise refusal(where, name, row[name], "a number", **cure) from None
        if not (math.isfinite(found[-1]) and low <= found[-1] <= high):
            wanted = "a finite number" if math.isinf(low) else f"from {low} to {high}"
            raise refusal(where, name, row[name], wanted, **cure)
    return found
