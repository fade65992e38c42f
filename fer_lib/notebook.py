"""Running the numbered notebooks with papermill: unknown parameters refused, results where they belong."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from fer_lib.datasets import data_folder
from fer_lib.errors import InputError
from fer_lib.weights import ROOT

NOTEBOOKS = ROOT / "notebooks"


def find_notebook(number: str) -> Path:
    """The one notebook whose name begins with `number` ("10", or "10_best_model"). InputError lists what there is."""
    stems = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    found = [stem for stem in stems if stem == number or stem.split("_")[0] == number.zfill(2)]
    if len(found) != 1:
        raise InputError(f"no notebook {number!r}; there are {', '.join(stems)}")
    return NOTEBOOKS / f"{found[0]}.ipynb"


def notebook_parameters(path) -> dict:
    """{name: default} of the cell tagged `parameters`, which holds plain literals only."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"{path} has {len(tagged)} cells tagged parameters, not one")
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(tagged[0]).body}


def run_notebook(number: str, given: dict[str, str]) -> int:
    """Execute a notebook from the repository root. Returns the exit code: 0, or 1 when a cell failed.

    given: parameter values as text, read as Python literals where the default is no text. The executed copy goes to
    results/NN_name/ for real data and to out/NN_name/ for demo data; a copy that failed goes to out/ with its error.
    """
    import papermill

    path = find_notebook(number)
    known = notebook_parameters(path)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    values = {name: _literal(name, text, known[name]) for name, text in given.items()}
    os.chdir(ROOT)  # relative names, since papermill writes them into the executed copy
    data = values.get("DATA", known["DATA"])
    if data != "demo":
        data_folder(data)  # refuses before a kernel starts
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    failed = Path("out") / path.stem / f"{path.stem}_failed.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(str(path.relative_to(ROOT)), str(failed), values)
    except papermill.PapermillExecutionError as error:
        complaint = " ".join(f"{path.name} failed: {error.ename}: {error.evalue}".split())
        print(f"error: {complaint}; see {failed}", file=sys.stderr)
        return 1
    done = Path("out" if data == "demo" else "results") / path.stem / path.name
    done.parent.mkdir(parents=True, exist_ok=True)
    os.replace(failed, done)
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
