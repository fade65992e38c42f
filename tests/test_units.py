"""Action units of pictures: an OpenFace table, a stand-in for OpenFace's programs, the built-in model; folders."""

import os
import shutil
import sys
import time

import numpy as np
import pandas
import pytest
from conftest import PHOTOS
from PIL import Image
from test_action_units import STILL, VIDEO, write_table

from fer_lib import action_units, face_tables, mesh
from fer_lib.action_units import (
    BUILTIN_COLUMNS,
    FACT_COLUMNS,
    BuiltInUnits,
    OpenFace,
    action_unit_table,
    make_units,
    openface_program,
)
from fer_lib.cli import main
from fer_lib.datasets.action_units import INTENSITY_COLUMNS, PRESENCE_COLUMNS, load_openface
from fer_lib.detect import make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.mesh import LANDMARK_COLUMNS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for OpenFace is a script with a #! line")
PHOTO = PHOTOS / "grace_hopper.jpg"

# What the real programs do, as far as it matters: the arguments they take, the files and columns that they write
STAND_IN = """#!{python}
import sys, time
from pathlib import Path
from PIL import Image

given = dict(zip(sys.argv[1:], sys.argv[2:]))
flags = set(sys.argv[1:])
out = Path(given["-out_dir"])
picture = Path(given["-f"]) if "-f" in given else next(Path(given["-fdir"]).iterdir())
assert "-aus" in flags and Image.open(picture).mode == "RGB"
names = {names!r}
Path({seen!r}).write_text(" ".join(sys.argv[1:2]) + " %dx%d" % Image.open(picture).size)
{body}
"""
STILLS = """
lines = [", ".join(["face", "confidence", *names])]
for face, confidence in enumerate({faces}):
    lines.append(", ".join([str(face), str(confidence), *["%.2f" % (face + 1)] * 17, *["1.00"] * 18]))
(out / (picture.stem + ".csv")).write_text("\\n".join(lines) + "\\n")
"""
SEQUENCE = """
assert "-au_static" in flags
header = ["frame", "face_id", "timestamp", "confidence", "success", *names]
row = ["1", "0", "0.000", "0.93", "1", *["2.50"] * 17, *["1.00"] * 18]
(out / "in.csv").write_text(",".join(header) + "\\n" + ",".join(row) + "\\n")
(out / "in_of_details.txt").write_text("Input: in")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in(program, body): put a script of that name on an otherwise empty PATH; returns what it has seen."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    seen = tmp_path / "seen.txt"

    def install(program, body):
        names = [*INTENSITY_COLUMNS, *PRESENCE_COLUMNS]
        text = STAND_IN.format(python=sys.executable, names=names, seen=str(seen), body=body)
        (folder / program).write_text(text)
        (folder / program).chmod(0o755)
        return seen

    return install


# ------------------------------------------------------------------------------------------------ an OpenFace table


def test_a_table_of_a_video(tmp_path):
    """Two faces, one of them lost; blanks after commas; presence and the rest are not needed."""
    columns = [name for name in VIDEO if name not in PRESENCE_COLUMNS]
    rows = [
        dict(frame=1, face_id=0, confidence="0.98", success=1, AU12_r="2.50"),
        dict(frame=1, face_id=1, confidence="0.03", success=0, AU12_r="1"),
    ]
    path = write_table(tmp_path / "a.csv", columns, rows, ", ")
    table = action_unit_table(path)
    assert list(table) == [*FACT_COLUMNS, *INTENSITY_COLUMNS]
    assert table[list(FACT_COLUMNS)].values.tolist() == [[str(path), 1, 0, 0.98], [str(path), 1, 1, 0.03]]
    assert table.AU12_r[0] == 2.5 and table.AU01_r[0] == 0 and table[list(INTENSITY_COLUMNS)].loc[1].isna().all()
    assert load_openface(path).presence is None


def test_intensities_alone_are_enough(tmp_path):
    table = action_unit_table(write_table(tmp_path / "a.csv", INTENSITY_COLUMNS, [{"AU45_r": 1}]))
    assert table.AU45_r.tolist() == [1] and table.confidence.isna().all() and table.frame.tolist() == [0]


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv has no rows: OpenFace has seen no face"):
        action_unit_table(write_table(tmp_path / "a.csv", STILL, []))
    with pytest.raises(InputError, match=r"a\.csv: OpenFace lost the face in every row \(success 0\); give another"):
        action_unit_table(write_table(tmp_path / "a.csv", VIDEO, [{}, {}]))
    with pytest.raises(InputError, match="has no column 'AU20_r' .*; run OpenFace with -aus"):
        action_unit_table(write_table(tmp_path / "a.csv", [name for name in STILL if name != "AU20_r"], [{}]))


# ------------------------------------------------------------------------------------------------ an OpenFace binary


def test_a_still_by_openface(stand_in):
    seen = stand_in("FaceLandmarkImg", STILLS.format(faces=[0.9, 0.975]))
    table = action_unit_table(PHOTO)  # on the PATH, it is what is used
    assert list(table) == [*FACT_COLUMNS, *INTENSITY_COLUMNS]
    assert table.source.tolist() == [str(PHOTO)] * 2 and table.face_id.tolist() == [0, 1]
    assert table.confidence.tolist() == pytest.approx([0.9, 0.975]) and table.AU12_r.tolist() == [1, 2]
    assert seen.read_text() == "-f 512x600"


def test_feature_extraction_where_that_is_all(stand_in):
    seen = stand_in("FeatureExtraction", SEQUENCE)
    table = action_unit_table(PHOTO, openface=True)
    assert table.AU06_r.tolist() == [2.5] and table.frame.tolist() == [0] and seen.read_text() == "-fdir 512x600"
    seen = stand_in("FaceLandmarkImg", STILLS.format(faces=[0.9]))
    assert action_unit_table(PHOTO).AU06_r.tolist() == [1] and seen.read_text() == "-f 512x600"


def test_a_link_of_another_name(stand_in, tmp_path):
    """It is called by its own file, as OpenFace looks for its models there, but spoken to as what it was found as."""
    seen = stand_in("FaceLandmarkImg", STILLS.format(faces=[0.9]))
    (tmp_path / "bin" / "FaceLandmarkImg").rename(tmp_path / "openface-2.2")
    (tmp_path / "bin" / "FaceLandmarkImg").symlink_to(tmp_path / "openface-2.2")
    assert openface_program() == ("FaceLandmarkImg", tmp_path / "openface-2.2")
    assert len(action_unit_table(PHOTO)) == 1 and seen.read_text() == "-f 512x600"


def test_each_given_face_is_cut_out(stand_in, photo):
    """The surest of those that OpenFace sees in the cut-out; none is nan."""
    faces = make_detector("blazeface")(photo)
    two = Faces(np.concatenate([faces.xyxy] * 2), np.ones(2, np.float32))
    seen = stand_in("FaceLandmarkImg", STILLS.format(faces=[0.3, 0.8]))
    units = OpenFace()
    found = units(photo, two)
    assert found.shape == (2, 17) and (found == 2).all() and seen.read_text() == "-f 480x480"
    assert units(photo, Faces.empty()).shape == (0, 17)
    stand_in("FaceLandmarkImg", "")
    assert np.isnan(units(photo, two)).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", r"hopper\.jpg: OpenFace wrote no table; it sees no face there"),
        (STILLS.format(faces=[]), "OpenFace wrote no table"),
        (
            'print("Could not find the face model"); sys.exit(3)',
            r"failed with code 3 \(Could not find the face model\)",
        ),
        ("sys.exit(1)", r"failed with code 1 \(it says nothing\)"),
        ('(out / "picture.csv").write_text("face, confidence")', "OpenFace's table has no column 'AU01_r'"),
        (STILLS.format(faces=[7]), "OpenFace's table line 2: confidence is '7', not from 0 to 1"),
    ],
)
def test_an_openface_that_fails(stand_in, body, message):
    stand_in("FaceLandmarkImg", body)
    with pytest.raises(InputError, match=message) as told:
        action_unit_table(PHOTO, openface=True)
    assert str(told.value).startswith(f"{PHOTO}: ") and "\n" not in str(told.value)


def test_an_openface_that_hangs(stand_in, tmp_path):
    """It is ended, with what it has started, and leaves nothing in the temporary folder."""
    started = tmp_path / "started.txt"
    child = "import sys, time, os; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"
    body = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}, {str(started)!r}]); time.sleep(300)"
    stand_in("FaceLandmarkImg", body)
    units, begun = OpenFace(within_s=4), time.monotonic()
    with pytest.raises(InputError, match=r"hopper\.jpg: OpenFace gave no answer in 4 s"):
        units.rows(PHOTO)
    assert time.monotonic() - begun < 30
    pid = int(started.read_text())
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}") or "\nState:\tZ" in open(f"/proc/{pid}/status").read():
            break
        time.sleep(0.05)
    else:
        pytest.fail("what OpenFace had started still runs")


def test_no_openface(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert openface_program() is None
    with pytest.raises(InputError, match=r"no OpenFace on the PATH \(FaceLandmarkImg or FeatureExtraction\)"):
        make_units(openface=True)


def test_an_openface_that_does_not_start(stand_in, tmp_path):
    stand_in("FaceLandmarkImg", "")
    (tmp_path / "bin" / "FaceLandmarkImg").write_text("#!/no/such/interpreter\n")
    with pytest.raises(InputError, match="does not start: No such file or directory; install OpenFace again"):
        OpenFace().rows(PHOTO)


def test_pictures_arrive_upright(stand_in, tmp_path):
    """A picture that says it lies on its side, and whose name OpenFace might not read."""
    seen = stand_in("FaceLandmarkImg", STILLS.format(faces=[0.9]))
    picture = tmp_path / "vacation 1.2 (ü).jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60)).save(picture, exif=exif)
    action_unit_table(picture)
    assert seen.read_text() == "-f 60x90"


# ------------------------------------------------------------------------------------------------ built in


@pytest.fixture
def built_in(tiny_units) -> BuiltInUnits:
    return BuiltInUnits(model=str(tiny_units))


def test_a_picture_by_the_built_in_model(built_in, photo):
    """The tiny model says 2 of AU01 and cuts what it would say of the others to 0 and 5."""
    table = action_unit_table(PHOTO, openface=False, units=built_in)
    assert list(table) == [*FACT_COLUMNS, *BUILTIN_COLUMNS] and len(table) == 1
    assert table.AU01_r[0] == pytest.approx(2, abs=0.01) and table.AU02_r[0] == 0 and table.AU04_r[0] == 5
    assert table.source[0] == str(PHOTO) and table.face_id[0] == table.frame[0] == 0 and table.confidence[0] > 0.65
    faces = make_detector("blazeface")(photo)
    assert built_in(photo, faces).shape == (1, 15) and built_in(photo, faces[[]]).shape == (0, 15)


def test_a_picture_without_a_face(built_in, tmp_path):
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png")
    table = action_unit_table(tmp_path / "a.png", units=built_in)
    assert list(table) == [*FACT_COLUMNS, *BUILTIN_COLUMNS] and len(table) == 0


@pytest.fixture
def tables(monkeypatch, built_in, tmp_path):
    """Run `units` with the tiny model and return (exit code, the two tables as text lines)."""

    def run(folder, *options):
        monkeypatch.setattr(action_units, "make_units", lambda openface, detector: OpenFace() if openface else built_in)
        paths = tmp_path / "units.csv", tmp_path / "landmarks.csv"
        code = main(["units", str(folder), "--csv", str(paths[0]), "--landmarks", str(paths[1]), *options])
        return code, *(pandas.read_csv(path) if path.exists() else None for path in paths)

    return run


def test_tables_from_posed_and_genuine(tables, tmp_path, capsys):
    """The largest face of each picture, also of one in a person's folder; a wall and a text file are told."""
    posed, genuine = tmp_path / "in" / "posed", tmp_path / "in" / "genuine"
    (posed / "anna").mkdir(parents=True)
    genuine.mkdir()
    shutil.copy(PHOTO, posed / "anna" / "a.jpg")
    shutil.copy(PHOTOS / "two_faces.jpg", genuine / "b.jpg")
    Image.new("RGB", (200, 200)).save(genuine / "wall.png")
    (genuine / "broken.jpg").write_text("no picture")
    code, units, landmarks = tables(tmp_path / "in")
    told = capsys.readouterr()
    assert code == 2 and "broken.jpg" in told.err and len(told.err.splitlines()) == 1
    assert list(units) == [*FACT_COLUMNS, *BUILTIN_COLUMNS, "class"] and units["class"].tolist() == [0, 1]
    assert list(landmarks) == [*FACT_COLUMNS, *LANDMARK_COLUMNS, "class"] and landmarks["class"].tolist() == [0, 1]
    assert units.source.tolist() == landmarks.source.tolist() == [str(posed / "anna" / "a.jpg"), str(genuine / "b.jpg")]
    assert units.AU01_r.tolist() == pytest.approx([2, 2], abs=0.01)
    assert 240 < landmarks.x1[0] < 290 and 220 < landmarks.y1[0] < 270  # the tip of the nose, by eye
    assert landmarks.x1[1] < 400  # the larger face is on the left
    lines = told.out.splitlines()
    assert lines[0] == f"{genuine / 'wall.png'}: no face found"
    assert [line.rsplit(": ", 1)[1] for line in lines[1:3]] == ["2 rows", "2 rows"]
    assert lines[3] == "left out: 1 picture without a face"


@pytest.mark.parametrize("done", [0, 1])
def test_units_interrupted(tables, tmp_path, monkeypatch, capsys, done):
    """What was measured so far is written; before the first row there is nothing to write."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        shutil.copy(PHOTO, tmp_path / "in" / f"{name}.jpg")
    add, seen = face_tables.FaceTables.add, []

    def stop(self, path, label):
        seen.append(path)
        if len(seen) > done:
            raise KeyboardInterrupt
        return add(self, path, label)

    monkeypatch.setattr(face_tables.FaceTables, "add", stop)
    code, units, landmarks = tables(tmp_path / "in")
    assert code == 130 and "interrupted" in capsys.readouterr().err
    assert (units is None) == (landmarks is None) == (not done) and (not done or len(units) == 1)


def test_progress_of_units_is_told(tables, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    shutil.copy(PHOTO, tmp_path / "in")
    monkeypatch.setattr("fer_lib.video.PROGRESS_EVERY_S", 0)
    assert tables(tmp_path / "in")[0] == 0
    assert f"{tmp_path / 'in'}: 1 of 1 pictures, " in capsys.readouterr().err


def test_a_plain_folder_has_no_class(tables, tmp_path, monkeypatch, capsys):
    """Every face; one that the mesh does not take for a face is in one table alone."""
    (tmp_path / "in").mkdir()
    shutil.copy(PHOTOS / "two_faces.jpg", tmp_path / "in")
    look = mesh.FaceMesh.__call__

    def half_blind(self, image, faces):
        points = look(self, image, faces)
        points[1] = np.nan
        return points

    monkeypatch.setattr(mesh.FaceMesh, "__call__", half_blind)
    code, units, landmarks = tables(tmp_path / "in")
    assert code == 0 and "class" not in units and units.face_id.tolist() == [0, 1]
    assert landmarks.face_id.tolist() == [0] and "class" not in landmarks
    assert capsys.readouterr().out.splitlines()[-1] == "left out: 1 face without landmarks"


def test_tables_by_openface(tables, stand_in, tmp_path):
    stand_in("FaceLandmarkImg", STILLS.format(faces=[0.9]))
    (tmp_path / "in").mkdir()
    shutil.copy(PHOTO, tmp_path / "in")
    code, units, _ = tables(tmp_path / "in", "--openface")
    assert code == 0 and list(units) == [*FACT_COLUMNS, *INTENSITY_COLUMNS] and units.AU10_r.tolist() == [1]


def test_folders_that_give_no_table(tables, tmp_path, capsys):
    def refused(folder, *options):
        code, units, landmarks = tables(folder, *options)
        told = capsys.readouterr().err.strip().splitlines()
        assert code == 2 and units is None and landmarks is None and len(told) == 1
        return told[0]

    assert "none is no folder; give one with pictures" in refused(tmp_path / "none")
    (tmp_path / "in" / "posed").mkdir(parents=True)
    assert "in holds posed/ alone; it needs both, posed/ and genuine/" in refused(tmp_path / "in")
    (tmp_path / "in" / "genuine").mkdir()
    assert "posed: no pictures in this folder" in refused(tmp_path / "in")
    (tmp_path / "walls").mkdir()
    Image.new("RGB", (200, 200)).save(tmp_path / "walls" / "wall.png")
    assert "walls: no face with action units in 1 picture" in refused(tmp_path / "walls")
    assert "a.txt: the name must end in .csv" in refused(tmp_path / "walls", "--csv", str(tmp_path / "a.txt"))
    same = tmp_path / "walls" / ".." / "units.csv"
    assert "are one file, " in refused(tmp_path / "walls", "--landmarks", str(same))


def test_another_task_is_refused(tiny_model):
    with pytest.raises(InputError, match="is a model for emotion, not for action units"):
        BuiltInUnits(model=str(tiny_model))
