"""Loaders of OpenFace tables, GenuEmotion and UvA-NEMO: units, what class 1 means, groups, refusals."""

import numpy as np
import pytest

from fer_lib.datasets.action_units import (
    INTENSITY_COLUMNS,
    OPENFACE_AUS,
    OPENFACE_PRESENCE_AUS,
    PRESENCE_COLUMNS,
    SMILE_FEATURES,
    UVANEMO_TABLES,
    load_genuemotion,
    load_openface,
    load_uvanemo,
)
from fer_lib.errors import InputError


def write_table(path, columns, rows, separator=","):
    """rows: a dict per row; a column that it does not name is 0."""
    lines = [separator.join(columns)]
    lines += [separator.join(str(row.get(name.strip(), 0)) for name in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


# ------------------------------------------------------------------------------------------------ OpenFace

VIDEO = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x", *INTENSITY_COLUMNS, *PRESENCE_COLUMNS]
STILL = ["face", "confidence", "gaze_0_x", *INTENSITY_COLUMNS, *PRESENCE_COLUMNS]
ROWS = [
    dict(frame=1, timestamp="0.000", confidence="0.98", success=1, AU12_r="2.50", AU45_r="5.00", AU28_c="1.00"),
    dict(frame=2, face_id=3, timestamp="0.033", confidence="0.02", AU12_r="-nan(ind)", AU12_c="1"),
]


@pytest.mark.parametrize("blank", ["", " "])  # OpenFace 2.0 writes ", ", later ones ","
def test_openface_video_by_hand(tmp_path, blank):
    faces = load_openface(write_table(tmp_path / "a.csv", VIDEO, ROWS, "," + blank))
    expected = np.zeros(17)
    expected[OPENFACE_AUS.index(12)], expected[OPENFACE_AUS.index(45)] = 2.5, 5
    np.testing.assert_allclose(faces.intensity[0], expected)
    assert np.isnan(faces.intensity[1]).all() and not faces.presence[1].any()  # the face was lost
    assert [OPENFACE_PRESENCE_AUS[i] for i in np.flatnonzero(faces.presence[0])] == [28]
    assert faces.success.tolist() == [True, False] and faces.confidence.tolist() == pytest.approx([0.98, 0.02])
    assert faces.frame.tolist() == [1, 2] and faces.face.tolist() == [0, 3] and faces.time_s.tolist() == [0, 0.033]


@pytest.mark.parametrize("lost", ["nan", "-nan(ind)", " NaN"])
def test_no_confidence_of_a_lost_face(tmp_path, lost):
    """The other rows are kept; of a face that was found nan is refused as before."""
    path = write_table(tmp_path / "a.csv", VIDEO, [dict(success=1, confidence=1), dict(success=0, confidence=lost)])
    faces = load_openface(path)
    assert faces.confidence[0] == 1 and np.isnan(faces.confidence[1]) and faces.success.tolist() == [True, False]
    with pytest.raises(InputError, match="line 2: confidence is .*, not (from 0 to 1|a number)"):
        load_openface(write_table(path, VIDEO, [dict(success=1, confidence=lost)]))


def test_openface_still(tmp_path):
    rows = [dict(face=0, confidence=1), dict(face=1, confidence=0.9, AU01_r=1)]
    faces = load_openface(write_table(tmp_path / "a.csv", STILL, rows))
    assert faces.face.tolist() == [0, 1] and faces.frame.tolist() == [0, 0] and faces.success.all()
    assert faces.intensity[:, 0].tolist() == [0, 1]


def test_openface_table_without_a_face(tmp_path):
    faces = load_openface(write_table(tmp_path / "a.csv", STILL, []))
    assert len(faces) == 0 and faces.intensity.shape == (0, 17) and faces.presence.shape == (0, 18)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (dict(AU12_r="5.1"), "line 2: AU12_r is '5.1', not from 0 to 5"),
        (dict(AU12_r="nan"), "line 2: AU12_r is 'nan', not from 0 to 5"),
        (dict(AU12_r="high"), "line 2: AU12_r is 'high', not a number"),
        (dict(AU12_c="0.5"), "line 2: AU12_c is '0.5', not 0 or 1"),
        (dict(confidence="2"), "line 2: confidence is '2', not from 0 to 1"),
        (dict(timestamp="inf"), "line 2: timestamp is 'inf', not a finite number"),
        (dict(AU12_r="1,2"), "line 2 has .* fields, the header"),
    ],
)
def test_openface_refuses_a_value(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        load_openface(write_table(tmp_path / "a.csv", VIDEO, [dict(success=1) | row]))


def test_openface_without_action_units(tmp_path):
    for text in ("", "frame, face_id, timestamp, confidence, success\n"):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match="has no column .*; run OpenFace with -aus"):
            load_openface(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="is not a text table"):
        load_openface(tmp_path / "a.csv")


# ------------------------------------------------------------------------------------------------ GenuEmotion

GENUEMOTION = [*INTENSITY_COLUMNS, "class"]


def test_genuemotion_class_1_is_genuine(tmp_path):
    rows = [{"AU06_r": 1.2, "class": 1}, {"AU45_r": 3, "class": 0}, {"AU06_r": 1.2, "class": 1}]
    table = load_genuemotion(write_table(tmp_path / "g.csv", GENUEMOTION, rows, ";"))
    assert table.genuine.tolist() == [True, False, True] and table.features.shape == (3, 17) and len(table) == 3
    assert table.features[:, table.names.index("AU06_r")].tolist() == [1.2, 0, 1.2]
    assert table.group[0] == table.group[2] != table.group[1]  # equal rows stay together
    assert table.female is None and table.age is None


def test_blanks_around_a_class(tmp_path):
    table = load_genuemotion(write_table(tmp_path / "g.csv", GENUEMOTION, [{"class": 1}, {"class": 0}], " ; "))
    assert table.genuine.tolist() == [True, False]


def test_genuemotion_refusals(tmp_path):
    path = tmp_path / "g.csv"
    with pytest.raises(InputError, match="has no rows"):
        load_genuemotion(write_table(path, GENUEMOTION, [], ";"))
    with pytest.raises(InputError, match=r"no column 'AU01_r' in its first line \(';' between\)"):
        load_genuemotion(write_table(path, GENUEMOTION, [{}], ","))
    with pytest.raises(InputError, match=r"line 3: class is '2', not 0 \(posed\) or 1 \(genuine\)"):
        load_genuemotion(write_table(path, GENUEMOTION, [{}, {"class": 2}], ";"))
    with pytest.raises(InputError, match="line 2: AU45_r is '-1', not from 0 to 5"):
        load_genuemotion(write_table(path, GENUEMOTION, [{"AU45_r": -1}], ";"))


# ------------------------------------------------------------------------------------------------ UvA-NEMO


def uvanemo_columns(*phases):
    return ["class", "gender", "age", *(f"{phase}_{feature}" for phase in phases for feature in SMILE_FEATURES)]


def test_uvanemo_class_1_is_posed(tmp_path):
    rows = [
        {"class": 1, "gender": 1, "age": 30, "onset_duration_full": -0.5, "onset_std_amplitude": "nan"},
        {"class": 0, "gender": 0, "age": 30},
        {"class": 0, "gender": 1, "age": 30},
    ]
    write_table(tmp_path / "lip_onset.csv", uvanemo_columns("onset"), rows)
    table = load_uvanemo(tmp_path, "lip_onset")
    assert table.genuine.tolist() == [False, True, True]
    assert table.female.tolist() == [True, False, True] and table.age.tolist() == [30, 30, 30]
    assert table.group[0] == table.group[2] != table.group[1]  # one gender and age
    assert table.names == tuple(uvanemo_columns("onset")[3:]) and table.features.shape == (3, 25)
    expected = np.zeros(25)
    expected[SMILE_FEATURES.index("duration_full")], expected[SMILE_FEATURES.index("std_amplitude")] = -0.5, np.nan
    np.testing.assert_array_equal(table.features[0], expected)


def test_uvanemo_total_has_all_three_phases(tmp_path):
    write_table(tmp_path / "eye_total.csv", uvanemo_columns("onset", "apex", "offset"), [{"age": 8}])
    table = load_uvanemo(tmp_path, "eye_total")
    assert table.features.shape == (1, 75) and table.names[25] == "apex_duration_positive"


def test_uvanemo_refusals(tmp_path):
    with pytest.raises(InputError, match="no UvA-NEMO table 'eyes'; choose from eye_onset, "):
        load_uvanemo(tmp_path, "eyes")
    with pytest.raises(InputError, match="eye_apex.csv is missing; give the folder"):
        load_uvanemo(tmp_path, "eye_apex")
    path = tmp_path / "eye_apex.csv"
    for row, message in (
        ({"class": "posed"}, r"class is 'posed', not 0 \(spontaneous\) or 1 \(posed\)"),
        ({"gender": 2}, "gender is '2'"),
        ({"age": 0}, "age is '0', not from 1 to 120"),
        ({"age": 30, "apex_net_amplitude": "inf"}, "apex_net_amplitude is 'inf', not a finite number"),
    ):
        with pytest.raises(InputError, match=f"line 2: {message}"):
            load_uvanemo(write_table(path, uvanemo_columns("apex"), [{"age": 30} | row]).parent, "eye_apex")
    with pytest.raises(InputError, match="has no rows"):
        load_uvanemo(write_table(path, uvanemo_columns("apex"), []).parent, "eye_apex")


# ------------------------------------------------------------------------------------------------ the real ones


def test_real_genuemotion(fer_data):
    table = load_genuemotion(fer_data / "tables/genuemotion_aus.csv")
    assert (int((~table.genuine).sum()), int(table.genuine.sum())) == (1207, 1151)
    assert len(set(table.group)) == 2338  # 20 rows repeat another


def test_real_uvanemo(fer_data):
    assert len(UVANEMO_TABLES) == 8
    for which in UVANEMO_TABLES:
        table = load_uvanemo(fer_data / "tables/uvanemo", which)
        assert table.features.shape == (1236, 75 if which.endswith("total") else 25)
        assert (int(table.genuine.sum()), int(table.female.sum()), len(set(table.group))) == (595, 613, 108)
        assert np.isnan(table.features).sum() == which.endswith(("onset", "total"))  # one onset of a single frame
