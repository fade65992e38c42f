"""Running the numbered notebooks with papermill: unknown parameters refused, results where they belong."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from tqdm import tqdm

from fer_lib.datasets import data_folder
from fer_lib.errors import InputError
from fer_lib.messages import complain, say
from fer_lib.weights import ROOT

NOTEBOOKS = ROOT / "notebooks"
# Parameters that name a user's own data: what comes of it is no result of ours
OWN_DATA = ("PICTURES", "MANIFEST", "VIDEO", "FOLDERS")
PATHS = (*OWN_DATA, "ACTED", "CHECKPOINTS", "INIT")  # besides DATA; INIT may also be a word


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
    """{name: default} of the cell tagged `parameters`, which holds plain literals only, DATA among them."""
    import nbformat

    try:
        cells = nbformat.read(path, as_version=4).cells
    except ValueError as error:  # of JSON, or of the notebook format
        raise InputError(f"{path} is no notebook ({str(error).splitlines()[0]}); restore it from git") from None
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"{path} has {len(tagged)} cells tagged parameters, not one")
    values = {}
    for line in tagged[0].splitlines():
        try:
            for node in ast.parse(line).body:
                (target,) = node.targets
                values[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError, SyntaxError):  # papermill reads this cell line by line too
            raise InputError(f"{path}: {line!r} in its parameters cell is not: NAME = plain literal") from None
    if "DATA" not in values:
        raise InputError(f"{path} has no parameter DATA")
    return values


def run_notebooks(number: str, given: dict[str, str]) -> int:
    """Execute one notebook, or "all", from the repository root. Returns 0, or 1 when a cell of one of them failed.

    given: parameter values as text, read as Python literals where the default is no text. The executed copy goes to
    results/NN_name/ for real data and to out/NN_name/ for demo data, a user's own, and a part of the notebook's work; a
    copy that failed goes to out/ with its error.
    InputError, before any is run: no such notebook, a parameter that one of them does not have, no such data folder.
    """
    planned = [(path, _values(path, given)) for path in find_notebooks(number)]
    for _, values in planned:
        if values["DATA"] != "demo":
            data_folder(values["DATA"])  # refuses before a kernel starts
        named = [name for name in PATHS if values.get(name) and (name != "INIT" or os.path.exists(values[name]))]
        for name in named if values["DATA"] in ("demo", "FER_DATA") else ["DATA", *named]:
            if not os.path.isabs(values[name]):
                values[name] = os.path.relpath(values[name], ROOT)
    os.chdir(ROOT)  # relative names, since papermill writes them into the executed copy
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
        try:
            tqdm.write(text, file=sys.stdout, end="")
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has gone (`| head`): the work goes on in silence
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def flush(self) -> None:  # papermill asks after each write
        pass


def _execute(path: Path, values: dict) -> int:
    import papermill
    from nbclient.exceptions import DeadKernelError

    running = Path("out") / path.stem / f"{path.stem}_failed.ipynb"
    running.parent.mkdir(parents=True, exist_ok=True)
    quiet = ["--log-level=CRITICAL"]  # neither its advice about encryption nor its own trace after Ctrl-C
    cells = {"stdout_file": _AboveTheBar(), "extra_arguments": quiet, "progress_bar": {"desc": path.stem}}
    try:
        papermill.execute_notebook(str(path.relative_to(ROOT)), str(running), values, **cells)
    except papermill.PapermillExecutionError as error:
        complain(f"{path.name} failed: {error.ename}: {error.evalue}; see {running}")
        return 1
    except DeadKernelError:
        cause = "its Python process died; of too little memory, or of a crash in a library"
        _note_death(running, cause)
        complain(f"{path.name} failed: {cause}; see {running}")
        return 1
    every = notebook_parameters(path).get("NETWORKS", "").split()
    own = values["DATA"] == "demo" or any(values.get(name) for name in OWN_DATA)
    part = "NETWORKS" in values and set(values["NETWORKS"].split()) != set(every)  # results/ has all of them together
    done = Path("out" if own or part else "results") / path.stem / path.name
    done.parent.mkdir(parents=True, exist_ok=True)
    os.replace(running, done)
    say(f"wrote {done.parent}")
    return 0


def _note_death(copy: Path, cause: str) -> None:
    """The error into the last cell that began, where papermill leaves an exception itself."""
    import nbformat

    book = nbformat.read(copy, as_version=4)
    ran = [cell for cell in book.cells if cell.cell_type == "code" and cell.metadata.papermill.start_time]
    for cell in ran[-1:]:
        cell.outputs.append(nbformat.v4.new_output("error", ename="DeadKernelError", evalue=cause, traceback=[cause]))
    nbformat.write(book, copy)


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
