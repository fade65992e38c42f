"""Running the numbered notebooks with papermill: unknown parameters refused, results where they belong."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from tqdm import tqdm

from fer_lib.datasets import data_folder
from fer_lib.errors import InputError
from fer_lib.weights import ROOT

NOTEBOOKS = ROOT / "notebooks"


def find_notebooks(number: str) -> list[Path]:
    """The notebook whose name begins with `number` ("10", or "10_best_model"), or each one for "all", in order.

    InputError lists what there is.
    """
    paths = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    found = [path for path in paths if number in ("all", path.stem) or path.stem.split("_")[0] == number.zfill(2)]
    if not found:
        raise InputError(f"no notebook {number!r}; there are {', '.join(path.stem for path in paths)}, and all")
    return found


def notebook_parameters(path) -> dict:
    """{name: default} of the cell tagged `parameters`, which holds plain literals only."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"{path} has {len(tagged)} cells tagged parameters, not one")
    values = {}
    for node in ast.parse(tagged[0]).body:
        name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node)
        try:
            values[name] = ast.literal_eval(node.value)
        except (AttributeError, ValueError):
            raise InputError(f"{path}: {name} in its parameters cell is no plain literal") from None
    return values


def run_notebooks(number: str, given: dict[str, str]) -> int:
    """Execute one notebook, or "all", from the repository root. Returns 0, or 1 when a cell of one of them failed.

    given: parameter values as text, read as Python literals where the default is no text. The executed copy goes to
    results/NN_name/ for real data and to out/NN_name/ for demo data; a copy that failed goes to out/ with its error.
    InputError, before any is run: no such notebook, a parameter that one of them does not have, no such data folder.
    """
    planned = [(path, _values(path, given)) for path in find_notebooks(number)]
    os.chdir(ROOT)  # relative names, since papermill writes them into the executed copy
    for _, values in planned:
        if values["DATA"] != "demo":
            data_folder(values["DATA"])  # refuses before a kernel starts
    return max(_execute(path, values) for path, values in planned)


def _values(path: Path, given: dict[str, str]) -> dict:
    """The parameters to pass: those given, and DATA."""
    known = notebook_parameters(path)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    return {"DATA": known["DATA"]} | {name: _literal(name, text, known[name]) for name, text in given.items()}


class _AboveTheBar:
    """What the cells print, above papermill's bar: in a training of an hour the bar alone stands still."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout, end="")

    def flush(self) -> None:
        sys.stdout.flush()


def _execute(path: Path, values: dict) -> int:
    import papermill

    running = Path("out") / path.stem / f"{path.stem}_failed.ipynb"
    running.parent.mkdir(parents=True, exist_ok=True)
    quiet = ["--log-level=CRITICAL"]  # neither its advice about encryption nor its own trace after Ctrl-C
    cells = {"stdout_file": _AboveTheBar(), "extra_arguments": quiet, "progress_bar": {"desc": path.stem}}
    try:
        papermill.execute_notebook(str(path.relative_to(ROOT)), str(running), values, **cells)
    except papermill.PapermillExecutionError as error:
        complaint = " ".join(f"{path.name} failed: {error.ename}: {error.evalue}".split())
        print(f"error: {complaint}; see {running}", file=sys.stderr)
        return 1
    done = Path("out" if values["DATA"] == "demo" else "results") / path.stem / path.name
    done.parent.mkdir(parents=True, exist_ok=True)
    os.replace(running, done)
    print(f"wrote {done.parent}")
    return 0


def _literal(name: str, text: str, default):
    """Text from the command line as the kind of value the default is. InputError when it is not one."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
        raise InputError(f"{name} {text!r} is not a value like {default!r}")
    return value
