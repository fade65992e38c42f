"""Action units (FACS; Ekman & Friesen 1978) of faces: from an OpenFace table, by an OpenFace binary, or built in.

    table = action_unit_table("photo.jpg")   # one row a face: source frame face_id confidence AU01_r ..
    units = ActionUnits()(image, faces)      # (N, K) of the faces that a detector found

Intensities are on OpenFace's scale, 0 (absent) to 5.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fer_lib.datasets.action_units import INTENSITY_COLUMNS, OpenFaceRows, load_openface
from fer_lib.detect import DEFAULT_DETECTOR, crop_faces, make_detector
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.images import read_image, write_image
from fer_lib.recognize import FramedModel
from fer_lib.weights import UNITS_MODEL, UNITS_TASK, task_card

FACT_COLUMNS = ("source", "frame", "face_id", "confidence")
BUILTIN_AUS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 17, 20, 23, 24, 25, 26)  # 26 stands for 26 and 27: how far the jaw drops
BUILTIN_COLUMNS = tuple(f"AU{number:02d}_r" for number in BUILTIN_AUS)
PROGRAMS = ("FaceLandmarkImg", "FeatureExtraction")  # the first one found is used
WITHIN_S = 120.0  # what OpenFace is given for a picture; it loads its models each time
OPENFACE_SIDE, OPENFACE_MARGIN = 480, 0.5  # of a face cut out for OpenFace: its own detector wants some surroundings


class BuiltInUnits:
    """weights/action_units, or another model of that task by its folder. columns: the names of its outputs.

    detector: the name of the one whose faces it is given. InputError when the model is not there.
    """

    def __init__(self, detector: str = DEFAULT_DETECTOR, model: str = UNITS_MODEL, runtime: str = "fast"):
        self._model = FramedModel(task_card(model, UNITS_TASK), detector, runtime)
        self.columns = self._model.card.labels

    def __call__(self, image: np.ndarray, faces: Faces) -> np.ndarray:
        """(N, K) float32, 0 to 5, of the faces in (H, W, 3) uint8 RGB."""
        return self._model(image, faces)["au"] if len(faces) else np.zeros((0, len(self.columns)), np.float32)


class OpenFace:
    """OpenFace 2 (Baltrusaitis et al. 2018) where its programs are on the PATH. columns: what it measures.

    FaceLandmarkImg is for stills and sees every face; where only FeatureExtraction is there, that sees one a picture.
    Each picture is one run, in a temporary folder, of at most within_s seconds. InputError when neither is there.
    """

    columns = INTENSITY_COLUMNS

    def __init__(self, within_s: float = WITHIN_S):
        found = openface_program()
        if found is None:
            raise InputError(f"no OpenFace on the PATH ({' or '.join(PROGRAMS)}); install it, or leave --openface out")
        (name, self.program), self.within_s = found, within_s
        self._stills = name == PROGRAMS[0]

    def __call__(self, image: np.ndarray, faces: Faces) -> np.ndarray:
        """(N, 17) float32, 0 to 5, of the faces in (H, W, 3) uint8 RGB, each cut out; nan where OpenFace sees none."""
        found = np.full((len(faces), len(self.columns)), np.nan, np.float32)
        for i, crop in enumerate(crop_faces(image, faces, OPENFACE_SIDE, OPENFACE_MARGIN)):
            rows = self._run(crop, f"face {i + 1}")
            if rows is not None and len(rows):  # a crowd's neighbours may be in the cut-out too
                found[i] = rows.intensity[np.nan_to_num(rows.confidence).argmax()]
        return found

    def rows(self, picture) -> OpenFaceRows:
        """The faces that OpenFace sees in a picture file. InputError: it fails, hangs, or sees none."""
        rows = self._run(read_image(picture), str(picture))
        if rows is None or not rows.success.any():
            raise InputError(f"{picture}: OpenFace wrote no table; it sees no face there, or its models are missing")
        return rows

    def _run(self, image: np.ndarray, name: str) -> OpenFaceRows | None:
        """What OpenFace writes of an image; None: nothing, which is how it tells that there is no face."""
        with tempfile.TemporaryDirectory(prefix="fer_", ignore_cleanup_errors=True) as folder:
            pictures, out = Path(folder) / "in", Path(folder) / "out"
            pictures.mkdir()
            out.mkdir()
            write_image(pictures / "picture.png", image)  # upright, in a format and of a name that OpenFace reads
            if self._stills:
                what = ["-f", str(pictures / "picture.png")]
            else:  # a folder is its way to read a still; "static": no baseline of a person, which a video has
                what = ["-fdir", str(pictures), "-au_static"]
            self._call([str(self.program), *what, "-out_dir", str(out), "-aus"], name, Path(folder))
            tables = sorted(out.glob("*.csv"))
            try:
                return load_openface(tables[0]) if tables else None
            except InputError as error:
                reason = str(error).replace(str(tables[0]), "OpenFace's table")
                raise InputError(f"{name}: {reason}") from None

    def _call(self, command: list[str], name: str, folder: Path) -> None:
        with open(folder / "messages.txt", "w+b") as messages:
            options = {"stdin": subprocess.DEVNULL, "stdout": messages, "stderr": messages, "cwd": folder}
            try:  # in a session of its own: what it starts must not outlive it
                process = subprocess.Popen(command, start_new_session=True, **options)
            except OSError as error:
                raise InputError(f"{self.program} does not start: {error.strerror}; install OpenFace again") from None
            try:
                code = process.wait(self.within_s)
            except subprocess.TimeoutExpired:
                cure = "try a smaller picture, or leave --openface out"
                raise InputError(f"{name}: OpenFace gave no answer in {self.within_s:g} s; {cure}") from None
            finally:
                _end(process)
            if code:
                messages.seek(0)
                lines = messages.read().decode(errors="replace").strip().splitlines()
                reason = lines[-1].strip() if lines else "it says nothing"
                raise InputError(f"{name}: OpenFace failed with code {code} ({reason}); is it installed whole?")


def _end(process: subprocess.Popen) -> None:
    """Kill a process and what it has started."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:  # all have ended; macOS says "not permitted" of what is only left to be waited for
            pass
    else:
        process.kill()
    process.wait()


def openface_program() -> tuple[str, Path] | None:
    """(which of PROGRAMS is used, its file), None when the PATH has none."""
    for name in PROGRAMS:
        path = shutil.which(name)
        if path:
            return name, Path(os.path.realpath(path))  # OpenFace looks for its models beside its file
    return None


def make_units(openface: bool | None = None, detector: str = DEFAULT_DETECTOR) -> BuiltInUnits | OpenFace:
    """What measures action units of given faces. openface: None stands for "where it is on the PATH"."""
    if openface is None:
        openface = openface_program() is not None
    return OpenFace() if openface else BuiltInUnits(detector)


def action_unit_table(source, openface: bool | None = None, units: BuiltInUnits | OpenFace | None = None, detect=None):
    """The action units of a picture's faces, or of an OpenFace table, as a pandas table with one row a face.

    source: a picture, or a .csv that OpenFace wrote. openface: measure pictures by OpenFace (True), by the built-in
    model (False), or by OpenFace where it is on the PATH (None). units, detect: what make_units and make_detector gave,
    for many pictures; detect finds the faces for the built-in model.

    Columns: `source frame face_id confidence`, then AUxx_r, 0 to 5: OpenFace's 17, or the built-in model's 15. frame
    is the table's own number, 0 of a picture. confidence is OpenFace's or the detector's. A row in which OpenFace lost
    the face (success 0) has empty units; a picture in which the detector finds no face has no row.
    InputError: a picture or table that cannot be used, a table without rows or all of success 0, an OpenFace that is
    not there or fails.
    """
    source = Path(source)
    if source.suffix.lower() == ".csv":
        rows = load_openface(source)
        if not len(rows):
            raise InputError(f"{source} has no rows: OpenFace has seen no face; give another table")
        if not rows.success.any():
            raise InputError(f"{source}: OpenFace lost the face in every row (success 0); give another table")
        return _table(source, rows.frame, rows.face, rows.confidence, rows.intensity, OpenFace)
    units = units or make_units(openface)
    if isinstance(units, OpenFace):
        rows = units.rows(source)
        return _table(source, np.zeros_like(rows.frame), rows.face, rows.confidence, rows.intensity, units)
    image = read_image(source)
    faces = (detect or make_detector())(image)
    return _table(source, np.zeros(len(faces), int), np.arange(len(faces)), faces.score, units(image, faces), units)


def _table(source: Path, frame, face, confidence, intensity: np.ndarray, units):
    import pandas  # half a second to import, which a picture's annotation does not need

    facts = {
        "source": str(source),
        "frame": frame,
        "face_id": face,
        "confidence": np.asarray(confidence, float).round(4),
    }
    cells = dict(zip(units.columns, np.asarray(intensity, float).round(4).T, strict=True))
    return pandas.DataFrame(facts | cells, columns=[*FACT_COLUMNS, *units.columns])
