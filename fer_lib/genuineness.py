"""Genuine or posed, in scripts: how probably the expression of a face is genuine, and how far to trust that.

From the action units of our own estimator it is no better than a guess, and says so: notebook 06 measures that.
"""

from __future__ import annotations

import numpy as np

from fer_lib.action_units import BUILTIN_COLUMNS, make_units
from fer_lib.datasets.action_units import INTENSITY_COLUMNS
from fer_lib.detect import DEFAULT_DETECTOR
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.mesh import LANDMARK_COLUMNS, FaceMesh, normalised
from fer_lib.runtime import load_runtime
from fer_lib.weights import GENUINENESS_TASK, WEIGHTS, task_card

KINDS = ("units", "landmarks")  # what Genuineness answers from
OPENFACE_MODEL, BUILT_IN_MODEL = "au_mlp", "au_mlp_builtin"  # by what measured the units
LANDMARK_MODEL = "landmark_mlp"
TRAIN = "python -m fer_lib notebook 06 -p FOLDERS DIR -p EXPORT same, where DIR holds posed/ and genuine/"
# Of the columns that OpenFace measures, those that the built-in estimator answers too
BUILT_IN_COLUMNS = tuple(name for name in BUILTIN_COLUMNS if name in INTENSITY_COLUMNS)
OPENFACE_HOME = "github.com/TadasBaltrusaitis/OpenFace"
NEEDED = f"for more put OpenFace's FaceLandmarkImg on the PATH ({OPENFACE_HOME})"
UNMEASURED = "could not be measured"
SHOWN = 0.5  # the intensity from which a unit is named: half of FACS's A, a trace


class Genuineness:
    """How probably the expression of a face is genuine: `probability, words = Genuineness()(image, faces)`.

    kind: "units" or "landmarks". Units are OpenFace's where it is on the PATH, read by weights/au_mlp, or else those of
    weights/action_units, read by weights/au_mlp_builtin; openface: True or False asks for one of them. Landmarks are
    the face mesh's, read by weights/landmark_mlp, which a user trains from folders of posed and genuine pictures.
    detector: the name of the one that finds the faces. model: another model, by name or folder, of the same inputs.
    trust: a line on how far to trust the answers. InputError: the model, or what measures for it, is not there.
    """

    def __init__(
        self,
        kind: str = "units",
        openface: bool | None = None,
        detector: str = DEFAULT_DETECTOR,
        model: str | None = None,
        runtime: str = "fast",
    ):
        if kind not in KINDS:
            raise InputError(f"unknown kind {kind!r} of genuineness; there are {', '.join(KINDS)}")
        if kind == "landmarks":
            name = model or LANDMARK_MODEL
            if not model and not (WEIGHTS / LANDMARK_MODEL / "card.json").is_file():
                raise InputError(f"there is no weights/{LANDMARK_MODEL}; train it from your own pictures: {TRAIN}")
            mesh, columns = FaceMesh(), LANDMARK_COLUMNS
            self._measure = lambda image, faces: normalised(mesh(image, faces))
        else:
            self._measure = make_units(openface, detector)
            columns = self._measure.columns
            name = model or (OPENFACE_MODEL if columns == INTENSITY_COLUMNS else BUILT_IN_MODEL)
        self.card, self._columns = task_card(name, GENUINENESS_TASK), columns
        if lacking := [column for column in self.card.inputs if column not in columns] or not self.card.inputs:
            told = ", ".join(lacking[:3]) if self.card.inputs else "columns that its card does not name"
            raise InputError(f"{self.card.name} wants {told}, which {kind} do not have; choose a model of {kind}")
        self._places = [columns.index(column) for column in self.card.inputs]
        self._guess = name == BUILT_IN_MODEL
        self._run = load_runtime(self.card, runtime)

    def __call__(self, image: np.ndarray, faces: Faces) -> tuple[np.ndarray, list[str]]:
        """((N,) float32, words of each) for the faces in (H, W, 3) uint8 RGB.

        nan where a face could not be measured, as the words then say. Words of our own units are those that show.
        """
        every = self._measure(image, faces)
        measured = every[:, self._places].astype(np.float32)
        probability, known = np.full(len(faces), np.nan, np.float32), np.isfinite(measured).all(axis=1)
        if known.any():
            probability[known] = self._run(measured[known])["genuine"][:, 0]
        shown = [units_text(self._columns, row) if self._guess else "" for row in every]
        return probability, [text if one else UNMEASURED for text, one in zip(shown, known, strict=True)]

    @property
    def trust(self) -> str:
        if self._guess:
            return f"no better than a guess: {self.card.limits[0]}; {NEEDED}"
        (title, score), *_ = self.card.scores.items()
        return f"right in {score['value']:.0%} of {score['n']} rows ({title}); {self.card.limits[0]}"


def units_text(columns, intensities) -> str:
    """ "AU06 2.1, AU12 3.4": the units that show, of ("AU01_r", ..) and their (K,) intensities."""
    pairs = zip(columns, intensities, strict=True)
    return (
        ", ".join(f"{name.removesuffix('_r')} {value:.1f}" for name, value in pairs if value >= SHOWN)
        or "no unit shows"
    )
