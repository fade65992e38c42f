"""The notebook runner, on notebooks of a few lines."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from fer_lib import notebook
from fer_lib.errors import InputError

PARAMETERS = 'DATA = "demo"\nEPOCHS = 2\nLEARNING_RATE = 1e-3\nEXPORT = ""'


def write(folder, name, *cells, parameters=PARAMETERS):
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[first, *map(new_code_cell, cells)], metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A repository of our own with a folder for notebooks; the runner works there."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    monkeypatch.setattr(notebook, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)  # and back afterwards: the runner changes it too
    return tmp_path


def texts(path) -> str:
    """All that an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_parameters_reach_the_cells_and_the_copy_lies_with_the_demo_data(workshop, capfd):
    write(workshop / "notebooks", "03_it_works", "print('hello', EPOCHS * 2, LEARNING_RATE, EXPORT + '!', DATA)")
    assert notebook.run_notebooks("3", {"EPOCHS": "21", "LEARNING_RATE": "1", "EXPORT": "me"}) == 0
    copy = workshop / "out" / "03_it_works" / "03_it_works.ipynb"
    assert texts(copy) == "hello 42 1 me! demo\n"
    assert not copy.with_name("03_it_works_failed.ipynb").exists() and not (workshop / "results").exists()
    out, error = capfd.readouterr()
    assert "hello 42" in out and "wrote out/03_it_works" in out
    assert "03_it_works: 100%" in error and "3/3" in error  # the bar; the parameters given are a cell
    assert "encryption" not in error  # the kernel's advice


def test_real_data_go_to_results(workshop, tmp_path):
    write(workshop / "notebooks", "04_real", "print(DATA)")
    (tmp_path / "data").mkdir()
    assert notebook.run_notebooks("04", {"DATA": str(tmp_path / "data")}) == 0
    assert "data" in texts(workshop / "results" / "04_real" / "04_real.ipynb")


def test_a_part_of_the_networks_leaves_results_alone(workshop, tmp_path):
    """results/ has the figures of all of them together; whatever their order."""
    parameters = PARAMETERS + '\nNETWORKS = "small large"'
    write(workshop / "notebooks", "04_real", "print(NETWORKS)", parameters=parameters)
    (tmp_path / "data").mkdir()
    for networks, home in (("large", "out"), ("large small", "results")):
        assert notebook.run_notebooks("04", {"DATA": str(tmp_path / "data"), "NETWORKS": networks}) == 0
        assert texts(workshop / home / "04_real" / "04_real.ipynb") == f"{networks}\n"
        assert (workshop / "results").exists() == (home == "results")


def test_a_failure_leaves_the_copy_with_its_error_and_the_others_run(workshop, capfd):
    write(workshop / "notebooks", "01_breaks", "print('so far')", "1 / 0", "print('never')")
    write(workshop / "notebooks", "02_runs", "print('I run')")
    earlier = workshop / "out" / "01_breaks" / "01_breaks.ipynb"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("an earlier success")
    assert notebook.run_notebooks("all", {}) == 1
    failed = nbformat.read(earlier.with_name("01_breaks_failed.ipynb"), as_version=4)
    errors = [o.ename for cell in failed.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert errors == ["ZeroDivisionError"] and "never" not in texts(earlier.with_name("01_breaks_failed.ipynb"))
    assert earlier.read_text() == "an earlier success"
    assert "I run" in texts(workshop / "out" / "02_runs" / "02_runs.ipynb")
    error = capfd.readouterr().err
    assert "error: 01_breaks.ipynb failed: ZeroDivisionError: division by zero; see out/01_breaks/" in error


def test_nothing_runs_when_one_of_all_cannot(workshop, capfd):
    """A parameter must be known to every notebook it is given to."""
    write(workshop / "notebooks", "01_first", "print('must not run')")
    write(workshop / "notebooks", "02_other", parameters='DATA = "demo"')
    with pytest.raises(InputError, match="02_other.ipynb has no parameter EPOCHS; it has DATA"):
        notebook.run_notebooks("all", {"EPOCHS": "1"})
    with pytest.raises(InputError, match="is no folder"):
        notebook.run_notebooks("01", {"DATA": "gone"})
    assert "must not run" not in capfd.readouterr().out and not (workshop / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("EPOCH", "1", "no parameter EPOCH; it has DATA, EPOCHS, LEARNING_RATE, EXPORT"),
        ("EPOCHS", "1.5", "EPOCHS '1.5' is not a value like 2"),
        ("EPOCHS", "__import__('os')", "is not a value like 2"),
        ("LEARNING_RATE", "fast", "LEARNING_RATE 'fast' is not a value like 0.001"),
    ],
)
def test_wrong_parameters_are_refused(workshop, name, text, complaint):
    write(workshop / "notebooks", "01_first", "print('must not run')")
    with pytest.raises(InputError, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        notebook.run_notebooks("1", {name: text})


def test_which_notebooks_there_are(workshop):
    for name in ("02_b", "01_a", "10_c"):
        write(workshop / "notebooks", name)
    (workshop / "notebooks" / "Untitled.ipynb").write_text("{}")
    assert [path.stem for path in notebook.find_notebooks("all")] == ["01_a", "02_b", "10_c"]
    assert [path.stem for path in notebook.find_notebooks("1")] == ["01_a"]
    assert [path.stem for path in notebook.find_notebooks("10_c")] == ["10_c"]
    with pytest.raises(InputError, match="no notebook '3'; there are 01_a, 02_b, 10_c, and all"):
        notebook.find_notebooks("3")


def test_the_parameters_cell_is_one_of_plain_literals(workshop):
    folder = workshop / "notebooks"
    write(folder, "01_two")
    book = nbformat.read(folder / "01_two.ipynb", as_version=4)
    book.cells.append(new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    nbformat.write(book, folder / "01_two.ipynb")
    with pytest.raises(InputError, match="has 2 cells tagged parameters, not one"):
        notebook.notebook_parameters(folder / "01_two.ipynb")
    for name, parameters, complaint in (
        ("02_derived", 'DATA = "demo"\nTWICE = 2 * 21', "'TWICE = 2 \\* 21' in its parameters cell is not"),
        ("03_twofold", 'DATA = "demo"\nA = B = 4', "'A = B = 4' in its parameters cell is not"),
        ("04_unfinished", 'DATA = "demo"\nA =', "'A =' in its parameters cell is not"),
        ("05_without", "SEED = 1", "has no parameter DATA"),
    ):
        write(folder, name, parameters=parameters)
        with pytest.raises(InputError, match=complaint):
            notebook.notebook_parameters(folder / f"{name}.ipynb")
    (folder / "06_text.ipynb").write_text("no JSON")
    with pytest.raises(InputError, match="06_text.ipynb is no notebook"):
        notebook.notebook_parameters(folder / "06_text.ipynb")


def test_a_kernel_that_dies_is_noted_in_the_copy_and_the_others_run(workshop, capfd):
    """As when the memory is not enough."""
    write(workshop / "notebooks", "01_dies", "print('so far')", "import os\nos._exit(3)", "print('never')")
    write(workshop / "notebooks", "02_runs", "print('I run')")
    assert notebook.run_notebooks("all", {}) == 1
    failed = nbformat.read(workshop / "out" / "01_dies" / "01_dies_failed.ipynb", as_version=4)
    errors = [[o.ename for o in cell.get("outputs", []) if o.output_type == "error"] for cell in failed.cells]
    assert [names for names, cell in zip(errors, failed.cells, strict=True) if "_exit" in cell.source] == [
        ["DeadKernelError"]
    ]
    assert sum(map(len, errors)) == 1
    assert "I run" in texts(workshop / "out" / "02_runs" / "02_runs.ipynb")
    error = capfd.readouterr().err
    assert "error: 01_dies.ipynb failed: its Python process died" in error and "Traceback" not in error


def test_a_relative_folder_counts_from_where_the_user_stands(workshop, monkeypatch):
    write(workshop / "notebooks", "04_real", "import os\nprint(os.listdir(DATA))")
    (workshop / "notebooks" / "data").mkdir()
    (workshop / "notebooks" / "data" / "here").touch()
    monkeypatch.chdir(workshop / "notebooks")
    assert notebook.run_notebooks("04", {"DATA": "data"}) == 0
    assert "['here']" in texts(workshop / "results" / "04_real" / "04_real.ipynb")
    with pytest.raises(InputError, match="is no folder"):
        notebook.run_notebooks("04", {"DATA": ""})


def test_other_paths_count_from_there_too(workshop, monkeypatch):
    parameters = PARAMETERS + '\nPICTURES = ""\nCHECKPOINTS = ""\nINIT = "word"'
    write(workshop / "notebooks", "04_own", "print(PICTURES, CHECKPOINTS, INIT, EXPORT)", parameters=parameters)
    (workshop / "below").mkdir()
    monkeypatch.chdir(workshop / "below")
    assert notebook.run_notebooks("04", {"PICTURES": "faces", "INIT": "word", "EXPORT": "mine"}) == 0
    assert "below/faces  word mine" in texts(workshop / "out" / "04_own" / "04_own.ipynb")
    (workshop / "below" / "model.keras").touch()
    monkeypatch.chdir(workshop / "below")
    assert notebook.run_notebooks("04", {"CHECKPOINTS": "kept", "INIT": "model.keras"}) == 0
    assert " below/kept below/model.keras " in texts(workshop / "out" / "04_own" / "04_own.ipynb")


def test_what_comes_of_a_users_own_pictures_is_no_result_of_ours(workshop):
    write(workshop / "notebooks", "04_own", "print(PICTURES)", parameters=PARAMETERS + '\nPICTURES = ""')
    (workshop / "data").mkdir()
    assert notebook.run_notebooks("04", {"DATA": "data", "PICTURES": "faces"}) == 0
    assert (workshop / "out" / "04_own" / "04_own.ipynb").exists() and not (workshop / "results").exists()


def test_a_reader_that_goes_does_not_stop_it(workshop):
    write(workshop / "notebooks", "01_talks", "for i in range(3000):\n    print('line', i, flush=True)")
    with start_here() as running:
        running.stdout.readline()
        running.stdout.close()
        error = running.stderr.read()
    assert running.returncode == 0, error
    assert (workshop / "out" / "01_talks" / "01_talks.ipynb").exists() and "error" not in error


def start_here() -> subprocess.Popen:
    """`python -m fer_lib notebook 1` in a process of its own, whose repository is the current folder."""
    code = (
        "import pathlib, sys; from fer_lib import cli, notebook; "
        "notebook.ROOT = pathlib.Path.cwd(); notebook.NOTEBOOKS = notebook.ROOT / 'notebooks'; "
        "sys.exit(cli.main(['notebook', '1']))"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, **streams)


def test_ctrl_c_stops_the_kernel_and_exits_130(workshop, ctrl_c_is_heeded):
    """In a process of its own; the kernel must not live on."""
    write(
        workshop / "notebooks", "01_long", "import os, time\nprint('kernel', os.getpid(), flush=True)\ntime.sleep(120)"
    )
    running = start_here()
    line = running.stdout.readline()
    while "kernel" not in line:
        assert running.poll() is None, running.stderr.read()
        line = running.stdout.readline()
    kernel = int(line.split()[-1])
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130, error
    assert error.splitlines()[-1] == "error: interrupted; what was done so far is kept" and "Traceback" not in error
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and os.path.exists(f"/proc/{kernel}"):
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{kernel}")
    assert json.loads((workshop / "out" / "01_long" / "01_long_failed.ipynb").read_text())["cells"]
