"""The fuzzing harness: a few of its cases, and whether its oracle sees the faults that are planted here."""

import csv
import json
import shutil
import sys
from dataclasses import replace

import fuzz
import pytest
from conftest import run_script
from fuzz import Case, Done

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the harness forks")


def test_a_few_cases(tmp_path):
    """In a process of its own, as this one may have threads, which do not survive a fork."""
    done = run_script("tests/fuzz.py", "--count", 25, "--seed", 1, "--keep", tmp_path, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "25 cases, 0 findings" in done.stdout and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "corpus"
    fuzz.build_corpus(folder)
    fuzz.write_baseline(folder, folder.parent / "untouched")
    return folder


def test_a_seed_gives_the_same_case_again(corpus, tmp_path):
    cases = [
        [fuzz.make_case(number, seed, corpus, tmp_path / name / str(number)) for number in range(10)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    for one, again in zip(*cases[:2], strict=True):
        assert (one.kind, one.what, one.arguments, one.given) == (again.kind, again.what, again.arguments, again.given)
        assert content(one.folder) == content(again.folder)
    assert [case.what for case in cases[0]] != [case.what for case in cases[2]]


def content(folder):
    """What lies in a folder; links and pipes by their kind alone."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_symlink()
        for path in folder.rglob("*")
    }


# ------------------------------------------------------------------------------------- sound runs, then planted faults


@pytest.fixture(scope="module")
def sound(corpus, tmp_path_factory):
    """{kind: (case, how it ended)} of four unharmed inputs."""
    model = ["--model", str(corpus / "tiny")]
    results = ["--out", "out", "--csv", "t.csv", *model]
    tables = [
        "--data",
        "fer2013.csv",
        "--ferplus",
        "fer2013new.csv",
        "--split",
        "Training",
        "--json",
        "out/report.json",
    ]
    runs = {}
    for kind, whole, arguments in (
        ("picture", "pictures/plain.jpg", ["photo", "plain.jpg", "good.png", *results]),
        ("video", "videos/plain.mp4", ["video", "plain.mp4", *results]),
        ("table", "fer2013/fer2013.csv", ["evaluate", *tables, *model]),
        ("card", "tiny", ["photo", "face.png", "--out", "out", "--csv", "t.csv", "--model", "model"]),
    ):
        folder = tmp_path_factory.mktemp(kind)
        for path in (corpus / whole, corpus / "good.png", corpus / "face.png", corpus / "fer2013/fer2013new.csv"):
            if path.is_file():
                shutil.copy(path, folder)
        given = arguments[1] if kind in ("picture", "video") else "fer2013.csv" if kind == "table" else "model"
        if kind == "card":
            shutil.copytree(corpus / "tiny", folder / "model")
        case = Case(0, kind, "unchanged", folder, arguments, given, corpus / whole, unharmed=True, corpus=corpus)
        runs[kind] = case, fuzz.run_process(case, fuzz.command(case))
    return runs


@pytest.mark.parametrize("kind", ["picture", "video", "table", "card"])
def test_a_sound_run_is_no_finding(sound, kind):
    case, done = sound[kind]
    assert done.code == 0 and fuzz.judge(case, done) == "", done.err


def endings(**changes):
    return lambda folder, done: replace(done, **changes)


def remove(name):
    return lambda folder, done: (folder / name).unlink()


def put(name, make):
    """make(the old bytes) under this name; None is no file yet."""

    def plant(folder, done):
        path = folder / name
        path.write_bytes(make(path.read_bytes() if path.exists() else None))

    return plant


def rows(name, change):
    """A table after change(its rows as lists, the header among them)."""

    def plant(folder, done):
        for path in (folder / name, *(folder / "out").glob("*.csv")):
            with open(path, newline="") as file:
                table = list(csv.reader(file))
            change(table)
            with open(path, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(table)

    return plant


def set_cell(column, value):
    return lambda table: table[1].__setitem__(table[0].index(column), value)


def swap_classes(table):
    """As if the card's labels were swapped."""
    best = max(map(table[0].index, fuzz.EMOTIONS), key=lambda column: float(table[1][column]))
    other = table[0].index("fear" if table[0][best] == "happy" else "happy")
    table[1][best], table[1][other] = table[1][other], table[1][best]
    table[1][table[0].index("emotion")] = table[0][other]


def report(printed_too=True, **changes):
    """Other figures in the report."""

    def plant(folder, done):
        text = json.dumps(json.loads(done.out) | changes)
        (folder / "out" / "report.json").write_text(text)
        return replace(done, out=text) if printed_too else done

    return plant


def without_middle(data):
    return data[: len(data) // 2] + data[len(data) // 2 + 300 :]


def scratched(data):
    """Other bytes in the middle, where a frame is, and over its end."""
    return data[: len(data) // 2] + b"\xff" * 4000 + data[len(data) // 2 + 4000 :]


def small_picture(_):
    return b"P6 2 1 255 " + bytes(6)


@pytest.mark.parametrize(
    ("kind", "plant", "says"),
    [
        ("picture", endings(code=None), "in time"),
        ("picture", endings(code=1), "exit code 1:"),
        ("picture", endings(code=-11), "exit code -11:"),
        ("picture", endings(code=2, err="error: plain.jpg: no\nTraceback (most recent"), "traceback"),
        ("picture", endings(err="libpng warning: x\n"), "noise"),
        ("picture", endings(err="error: plain.jpg: no\n"), "1 error lines"),
        ("picture", endings(code=2), "0 error lines"),
        ("picture", endings(code=2, err="error: plain.jpg: no\nerror: plain.jpg: no\n"), "2 error lines"),
        ("picture", endings(code=2, err="error: a picture is damaged\n"), "does not name"),
        ("picture", endings(code=2, err="error: plain.jpg: no\n"), "exit code 2 leaves"),
        ("picture", remove("out/plain_fer.jpg"), "exit code 0 leaves"),
        ("picture", remove("out/good_fer.png"), "exit code 0 leaves"),
        ("picture", put(".t.part-7.csv", lambda _: b""), "half-written"),
        ("picture", put("out/plain_fer.jpg", small_picture), "annotated picture is not"),
        ("picture", put("plain.jpg", without_middle), "without a word"),
        ("picture", put("plain.jpg", lambda data: data[:5000]), "Pillow cannot read"),
        ("picture", rows("t.csv", lambda table: [row.pop(3) for row in table]), "columns"),
        ("picture", rows("t.csv", lambda table: table.pop()), "rows"),
        ("picture", rows("t.csv", set_cell("anger", "0.9")), "probabilities"),
        ("picture", rows("t.csv", set_cell("emotion", "contempt")), "emotion contempt"),
        ("picture", rows("t.csv", set_cell("w", "900")), "a box beyond"),
        ("video", remove("out/plain_fer.csv"), "leaves"),
        ("video", put("out/plain_fer.mp4", scratched), "annotated video is damaged"),
        ("video", put("plain.mp4", without_middle), "as if all were well"),
        ("video", rows("t.csv", lambda table: [table.pop(), table.pop()]), "frames in the video"),
        ("video", rows("t.csv", set_cell("time_s", "0.05")), "times"),
        ("table", report(n=11), "n is 11"),
        ("table", report(ferplus_accuracy=None), "ferplus_accuracy is None"),
        ("table", report(accuracy=float("nan")), "NaN in the report"),
        ("table", report(printed_too=False, n=11), "not what was printed"),
        ("table", put("fer2013.csv", lambda data: data.replace(b" ", b" +", 1)), "scored, though"),
        ("table", put("fer2013.csv", lambda data: data.replace(b"\n", b",emotion\n")), "scored, though 2 columns"),
        ("card", rows("t.csv", swap_classes), ", was"),
    ],
)
def test_planted_faults_are_found(sound, tmp_path, kind, plant, says):
    case, done = sound[kind]
    folder = shutil.copytree(case.folder, tmp_path / "case")
    done = plant(folder, done) or done
    finding = fuzz.judge(replace(case, folder=folder, unharmed=False), done)
    assert says in finding, finding


def test_a_refusal_of_an_unharmed_input_is_found(sound, tmp_path):
    case = replace(sound["picture"][0], folder=tmp_path, given="a.jpg")
    assert "leaves []" in fuzz.judge(case, Done(2, "", "error: a.jpg: no\n"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good_fer.png").touch()
    assert "refused though unharmed" in fuzz.judge(case, Done(2, "", "error: a.jpg: no\n"))


def test_a_video_cut_in_half_is_found(sound, tmp_path):
    """The same run, had the original been longer."""
    from fer_lib.demo_video import make_demo_video

    case, done = sound["video"]
    longer = make_demo_video([case.corpus / "face.png"], tmp_path / "a.mp4", seconds=6, size=(64, 48), rate=10)
    assert "30 of 60 frames without a word" in fuzz.judge(replace(case, whole=longer), done)
    assert fuzz.judge(replace(case, whole=longer), replace(done, err="plain.mp4: half of it\n")) == ""


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import time; time.sleep(60)", "did not end in time"),
        ("{}['x']", "traceback: KeyError"),
        ("import os; os.abort()", "exit code -6:"),
        ("pass", "leaves []"),
        ("open('out/plain_fer.jpg', 'wb').write(b'half')", "leaves"),
    ],
)
def test_scripts_that_misbehave(sound, tmp_path, program, says):
    case = replace(sound["picture"][0], folder=tmp_path)
    (tmp_path / "out").mkdir()
    done = fuzz.run_process(case, [sys.executable, "-S", "-c", program], limit_s=1.5)
    assert says in fuzz.judge(case, done)
