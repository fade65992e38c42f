"""Running the numbered notebooks with papermill: unknown parameters refused, results where they belong."""

from __future__ import annotations

import ast
import os
from pathlib import Path

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

    given: parameter values as text, read as Python literals where they are. The executed copy goes to
    results/NN_name/ for real data and to out/NN_name/ for demo data; after a failure it holds the error.
    """
    import papermill

    path = find_notebook(number)
    known = notebook_parameters(path)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    values = {name: _literal(text, known[name]) for name, text in given.items()}
    data = values.get("DATA", known.get("DATA"))
    folder = Path("out" if data == "demo" else "results") / path.stem
    os.chdir(ROOT)  # relative names, since papermill writes them into the executed copy
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(str(path.relative_to(ROOT)), str(folder / path.name), values)
    except papermill.PapermillExecutionError as error:
        print(f"error: {path.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}")
        return 1
    print(f"wrote {folder}")
    return 0


def _literal(text: str, default):
    """Text from the command line as the kind of value the default is. InputError when it is not one."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise InputError(f"{text!r} is not a value like {default!r}") from None
    return value
