"""The demo data in the layouts of the released data sets: read by the real loaders, compared with the real files."""

import csv
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lib.affect import ADFES_POINTS, CLASS_POINTS
from fer_lib.datasets import demo
from fer_lib.datasets.action_units import UVANEMO_TABLES, load_genuemotion, load_uvanemo
from fer_lib.datasets.ckplus import CK_EMOTIONS, load_apex_frames, load_ck48, load_facs_codes, load_sequences
from fer_lib.datasets.fer2013 import load_fer2013
from fer_lib.datasets.utkface import load_utkface
from fer_lib.datasets.va_manifest import load_va_manifest
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.images import read_image

SEED = 3
SMALL = {  # every part, in a second or two
    "fer2013": dict(training=20, public=5, private=5),
    "ckplus": dict(subjects=4),
    "CK+48": dict(subjects=4),
    "ck_apex": dict(subjects=4),
    "utkface": dict(n=24),
    "tables": dict(clips=160, rows=200, subjects=4),
    "va": dict(subjects=6, pictures=4),
    "smiles": dict(people=4),
}
REAL = [part for part in SMALL if part not in ("va", "smiles")]  # no such data sets: these are a user's own


def write_small(folder) -> Path:
    for part, sizes in SMALL.items():
        demo.PARTS[part](folder, seed=SEED, **sizes)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_small(tmp_path_factory.mktemp("demo"))


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(folder, tmp_path):
    assert files(write_small(tmp_path)) == files(folder)


# ------------------------------------------------------------------------------------------------ the real loaders


def test_ckplus_is_read_as_whole_sequences(folder):
    found = load_sequences(folder / "ckplus")
    assert {one.subject for one in found} == {5, 8, 11, 14} and all(one.is_whole for one in found)
    lengths = {len(one.frames) for one in found}
    assert len(lengths) > 3 and min(lengths) >= 4
    assert {one.emotion for one in found} == {*CK_EMOTIONS.values(), None}
    assert read_image(found[0].frames[0]).shape == (48, 48, 3)  # as is every picture
    coded = load_facs_codes(folder / "tables" / "ck_facs.csv")
    assert set(coded) == {(one.subject, one.sequence) for one in found}
    # a picture's label and its codes come from one drawing: lip corners are pulled in smiles and contempt only
    for one in found[1:]:  # the first has an empty code, as one has in the real file
        units = coded[one.subject, one.sequence]
        assert (12 in units) or one.emotion != "happy", (one, units)
        assert (12 not in units) or one.emotion in ("happy", "contempt", None), (one, units)
    assert coded[found[0].subject, found[0].sequence] == {}


def test_ck48_holds_the_last_three_frames_of_each_labelled_sequence(folder):
    faces = load_ck48(folder / "CK+48")
    found = {(one.subject, one.sequence): one for one in load_sequences(folder / "ckplus") if one.emotion}
    assert Counter((face.subject, face.sequence) for face in faces) == dict.fromkeys(found, 3)
    for face in faces:
        own = found[face.subject, face.sequence]
        assert face.emotion == own.emotion and face.path.name in {path.name for path in own.frames[-3:]}


def test_apex_frames_show_one_face_to_the_detectors(folder):
    """Whole photographs with a face somewhere; both detectors that come with the project see each of them, and once."""
    from fer_lib.detect import make_detector

    frames = load_apex_frames(folder / "ck_apex")
    labelled = [one for one in load_sequences(folder / "ckplus") if one.emotion]
    assert [(f.subject, f.emotion) for f in frames] == [(one.subject, one.emotion) for one in labelled]
    for name in ("blazeface", "haar"):
        detector = make_detector(name)
        for frame in frames:
            image = read_image(frame.path)
            faces = detector(image)
            assert image.shape in {(490, 640, 3), (480, 640, 3)} and len(faces) == 1, (name, frame, faces.xyxy)
            side = faces.xyxy[0, 2] - faces.xyxy[0, 0]
            assert 120 < side < 300  # a face of a third of the height or so


def test_apex_frames_are_drawn_at_the_apex(tmp_path, monkeypatch):
    drawn, draw = [], demo.Plan.draw

    def noted(plan, frame, **view):
        drawn.append((plan, view))
        return draw(plan, frame, **view)

    monkeypatch.setattr(demo.Plan, "draw", noted)
    demo.write_ck_apex(tmp_path, subjects=1, seed=SEED)
    frames = load_apex_frames(tmp_path / "ck_apex")
    for frame, (plan, view) in zip(frames, drawn, strict=True):
        last = len(plan.scenes) - 1
        assert int(frame.path.stem[-8:]) == last + 1  # counted from 1
        expected = draw(plan, last, **view)[75:565]  # 490 of 640 rows
        assert np.array_equal(cv2.imread(str(frame.path), cv2.IMREAD_GRAYSCALE), expected)


def test_utkface_with_its_oddities(folder):
    data = load_utkface(folder / "utkface")
    assert len(data) == 24 and len(data.skipped) == 1  # 24 pictures, one of them twice, one without race
    assert len(set(data.group.tolist())) == 23
    assert data.pictures(48).shape == (24, 48, 48, 3)
    times = [path.name.split("_")[3].split(".")[0] for path in data.path]
    assert Counter(map(len, times)) == {17: 23, 16: 1}
    assert data.age.min() < 10 and data.age.max() > 60 and 0 < data.female.mean() < 1


def test_valence_and_arousal_are_those_of_the_drawing(tmp_path, monkeypatch):
    """Every label lies on the ray of its emotion, as far out as the action units are strong; a picture is its row's."""
    drawn, draw = [], demo.layouts.draw_face

    def noted(units, identity, scene, size):
        drawn.append((units, identity, draw(units, identity, scene, size)))
        return drawn[-1][2]

    monkeypatch.setattr(demo.layouts, "draw_face", noted)
    data = load_va_manifest(demo.write_va(tmp_path, subjects=12, pictures=4, seed=SEED) / "va" / "manifest.csv")
    assert len(data) == len(drawn) == 48 and data.unlabelled == 0
    assert data.group.tolist() == [f"S{row // 4:03d}" for row in range(48)]
    smile = demo.ACTION_UNITS.index(12)
    for row, (units, identity, picture) in enumerate(drawn):
        assert identity == demo.random_identity(row // 4, SEED)
        assert np.array_equal(read_image(data.path[row]), picture)
        point = CLASS_POINTS[row % 8]
        length = np.linalg.norm(data.va[row]) / max(np.linalg.norm(point), 1e-9)
        assert data.va[row] == pytest.approx(length * point, abs=1e-4)  # four decimals in the csv
        if EMOTIONS[row % 8] == "neutral":
            assert data.va[row].tolist() == [0, 0]
        else:
            # expression() takes 75 % or more of a unit, of that 93 % or more a side; the weakest prototype's is 0.9
            assert 0.62 * length <= units.max() <= length + 1e-3
        assert (data.va[row, 0] > 0.1) == (units[smile].min() > 0.1)  # lip corners up on both sides: a smile


def test_tables_are_read_and_can_be_learned(folder):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(table, genuine) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
        return cross_val_score(model, table.features, genuine, groups=table.group, cv=GroupKFold(5)).mean()

    root = folder / "tables"
    rng = np.random.default_rng(0)
    smiles = load_uvanemo(root / "uvanemo", "lip_total"), "onset_duration_full"
    for table, larger in (smiles, (load_genuemotion(root / "genuemotion_aus.csv"), "AU06_r")):
        sign = table.features[:, table.names.index(larger)]
        assert sign[table.genuine].mean() > 1.1 * sign[~table.genuine].mean()  # the class is the right way round
        assert 0.4 < table.genuine.mean() < 0.6 and np.isfinite(table.features).all()
        assert 0.65 < accuracy(table, table.genuine) < 0.95, accuracy(table, table.genuine)
        assert 0.35 < accuracy(table, rng.permutation(table.genuine)) < 0.65
    sizes = {which: load_uvanemo(root / "uvanemo", which).features.shape for which in UVANEMO_TABLES}
    assert sizes == {which: (159, 75 if which.endswith("total") else 25) for which in UVANEMO_TABLES}


def test_eye_and_lip_rows_cannot_be_joined(folder):
    """As in the real files the tables are shuffled differently, and the list names a few clips more."""
    ages = [load_uvanemo(folder / "tables" / "uvanemo", f"{part}_onset").age.tolist() for part in ("eye", "lip")]
    assert ages[0] != ages[1] and sorted(ages[0]) == sorted(ages[1])
    lines = (folder / "tables" / "uvanemo" / "detail_file.txt").read_text().splitlines()
    assert len(lines) == 160 and len({line.split("\t")[1] for line in lines}) == 40  # four clips a subject


def test_adfes_holds_the_published_means(folder):
    with open(folder / "tables" / "adfes_valence_arousal.csv", newline="") as file:
        rows = {
            row["emotion"]: (float(row["valence_mean"]), float(row["arousal_mean"])) for row in csv.DictReader(file)
        }
    names = {"joy": "happy", "sadness": "sad"}
    expected = {name: point for name, point in ADFES_POINTS.items() if name not in ("neutral", "uncertain")}
    assert {names.get(name, name): point for name, point in rows.items()} == expected


def test_kaggle_folders_hold_the_rows_of_the_csv(folder, tmp_path):
    root = demo.write_fer2013_folders(tmp_path, seed=SEED, **SMALL["fer2013"]) / "fer2013"
    data = load_fer2013(folder / "fer2013" / "fer2013.csv", folder / "fer2013" / "fer2013new.csv")
    for split, rows in (("train", data.usage == "Training"), ("test", data.usage != "Training")):
        found = {path.relative_to(root / split): cv2.imread(str(path), -1) for path in root.glob(f"{split}/*/*.png")}
        assert len(found) == rows.sum()
        counts = Counter()
        for picture, label in zip(data.pixels[rows], data.label[rows], strict=True):
            name = FER2013_EMOTIONS[label].replace("anger", "angry")
            assert np.array_equal(found[Path(name) / f"im{counts[name]}.png"], picture)
            counts[name] += 1


# ------------------------------------------------------------------------------------------------ write_demo


def test_write_demo_leaves_what_is_there_alone(tmp_path):
    assert demo.write_demo(tmp_path, ["tables"], seed=1) == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DEMO.txt", "tables"]
    before = files(tmp_path)
    with pytest.raises(InputError, match="there already"):
        demo.write_demo(tmp_path, ["utkface", "tables"], seed=2)
    with pytest.raises(InputError, match="no demo part 'uvanemo'; there are fer2013, ckplus"):
        demo.write_demo(tmp_path, ["CK+48", "uvanemo"])
    assert files(tmp_path) == before  # nothing was begun either
    assert demo.write_demo(tmp_path / "empty", []) == tmp_path / "empty" and not (tmp_path / "empty").exists()


def test_write_demo_says_what_is_drawn(tmp_path, monkeypatch):
    for part in ("utkface", "tables", "CK+48"):
        monkeypatch.setitem(demo.PARTS, part, lambda folder, seed: None)
    demo.write_demo(tmp_path / "a", ["utkface", "tables"])
    demo.write_demo(tmp_path / "a", ["CK+48"])
    note = "drawn by fer_lib.datasets.demo, no real faces; write demo beside every figure made from them\n"
    assert (tmp_path / "a" / "DEMO.txt").read_text() == f"utkface, tables: {note}CK+48: {note}"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda to: demo.write_ckplus(to, subjects=0), "at least one subject"),
        (lambda to: demo.write_utkface(to, n=0), "at least one picture"),
        (lambda to: demo.write_va(to, subjects=0), "at least one subject"),
        (lambda to: demo.write_smiles(to, people=0), "at least one person"),
        (lambda to: demo.write_va(to, pictures=0), "at least one subject and one picture"),
        (lambda to: demo.write_tables(to, clips=7), "at least 8 clips"),
        (lambda to: demo.write_fer2013_folders(to, training=0), "needs a row"),
    ],
)
def test_empty_parts_are_refused(tmp_path, call, words):
    with pytest.raises(ValueError, match=words):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_smallest_parts(tmp_path):
    demo.write_utkface(tmp_path, n=1)
    assert len(load_utkface(tmp_path / "utkface")) == 1  # no oddities among so few
    demo.write_va(tmp_path, subjects=1, pictures=1)
    assert len(load_va_manifest(tmp_path / "va" / "manifest.csv")) == 1
    demo.write_ckplus(tmp_path, subjects=1)
    assert {one.subject for one in load_sequences(tmp_path / "ckplus")} == {5}


# ------------------------------------------------------------------------------------------------ the real files


def patterns(root: Path, part: str) -> set[str]:
    """The names of a part's files with # for every digit."""
    return {re.sub(r"\d", "#", str(p.relative_to(root))) for p in (root / part).rglob("*") if p.is_file()}


def test_names_are_those_of_the_real_files(folder, fer_data):
    for part in REAL:
        ours, real = patterns(folder, part), patterns(fer_data, part)
        # Kaggle's folders may stand beside the csv; the real ages and lengths are more than a few pictures can show
        assert ours <= real, (part, ours - real)
        if part not in ("fer2013", "utkface"):
            assert ours == real, (part, real - ours)


def test_tables_are_written_as_the_real_ones(folder, fer_data):
    tables = sorted(path.relative_to(folder) for part in REAL for path in (folder / part).rglob("*.csv"))
    assert len(tables) == 2 + 8 + 3
    for path in tables:
        with open(folder / path, "rb") as ours, open(fer_data / path, "rb") as real:
            assert ours.readline() == real.readline(), path  # header, separators, line ending
            if path.stem not in ("ck_facs", "adfes_valence_arousal"):  # text and empty cells
                first, second = (re.sub(rb"-?[0-9.]+(e-\d+)?", b"#", next(file)) for file in (ours, real))
                assert first == second, path
    details = Path("tables", "uvanemo", "detail_file.txt")
    forms = [
        {re.sub(rb"\d+", b"#", line) for line in (root / details).read_bytes().splitlines(True)}
        for root in (folder, fer_data)
    ]
    assert forms[0] <= forms[1], forms[0] - forms[1]


def test_labels_and_pictures_are_stored_as_the_real_ones(folder, fer_data):
    for part, depth in (("ckplus/Emotion", "*/*/*.txt"), ("ck_apex/emotion", "*.txt")):
        ours, real = ({path.read_bytes() for path in (root / part).glob(depth)} for root in (folder, fer_data))
        assert ours == real == {b"   %d.0000000e+00\n" % code for code in range(1, 8)}, part
    for part in ("ckplus", "CK+48", "ck_apex", "utkface"):
        shapes = []
        for root in (folder, fer_data):
            found = sorted(path for path in (root / part).rglob("*") if path.suffix in (".png", ".jpg"))[:400]
            shapes.append({cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in found})
        assert shapes[0] <= shapes[1], (part, shapes)


def test_features_mean_what_the_real_ones_mean(folder, fer_data):
    """The relations between columns that phase_features claims to share with the released tables."""
    for root in (folder, fer_data):
        for which in ("lip_onset", "eye_apex"):
            table = load_uvanemo(root / "tables" / "uvanemo", which)
            phase = which.split("_")[1]
            names = [name.removeprefix(f"{phase}_") for name in table.names]
            value = dict(zip(names, table.features.T, strict=True))
            steps = 25 * value["duration_positive"]
            assert value["total_amplitude_positive"] == pytest.approx(steps * value["mean_amplitude_positive"])
            assert value["maximum_speed_positive"] == pytest.approx(50 * value["maximum_amplitude"].clip(0), abs=1e-9)
            gained, lost = value["total_amplitude_positive"], value["total_amplitude_negative"]
            assert value["net_amplitude"] == pytest.approx(gained - lost, abs=1e-9)
            assert value["amplitude_ratio_positive"] == pytest.approx(gained / (gained + lost))
            assert value["duration_full"] == pytest.approx(value["duration_positive"] + value["duration_negative"])
