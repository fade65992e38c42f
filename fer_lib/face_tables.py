"""Tables of action units and of landmarks from a folder of pictures, for training on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_lib.action_units import FACT_COLUMNS, BuiltInUnits, OpenFace
from fer_lib.datasets.action_units import GENUEMOTION_CLASSES
from fer_lib.errors import InputError
from fer_lib.faces import Faces
from fer_lib.framing import largest
from fer_lib.images import SUFFIXES, find_images, read_image
from fer_lib.mesh import LANDMARK_COLUMNS, FaceMesh, raw

CLASS_COLUMN = "class"
CLASSES = {name: int(code) for code, name in GENUEMOTION_CLASSES.items()}  # 0 posed, 1 genuine


@dataclass
class FaceTables:
    """Rows as they come, one a face; a table holds only the faces that could be measured for it.

    units: what fer_lib.action_units.make_units gives; mesh: None for no landmarks; detect: what make_detector gives.
    """

    detect: object
    units: BuiltInUnits | OpenFace
    mesh: FaceMesh | None = None
    unit_rows: list[dict] = field(default_factory=list)
    landmark_rows: list[dict] = field(default_factory=list)
    pictures: int = 0
    faceless: int = 0  # pictures without a face
    unmeasured: dict[str, int] = field(default_factory=lambda: {"action units": 0, "landmarks": 0})  # faces left out

    def add(self, path: Path, label: int | None = None) -> int:
        """A picture's faces; with a label (0 posed, 1 genuine) the largest alone, as it is whom the label means.

        Returns how many there are.

        InputError when the picture cannot be read or OpenFace fails.
        """
        image = read_image(path)
        faces = self.detect(image)
        faces = faces if label is None else largest(faces)
        units = self.units(image, faces)
        points = raw(self.mesh(image, faces)) if self.mesh is not None else None
        self.pictures += 1
        self.faceless += not len(faces)
        own = {} if label is None else {CLASS_COLUMN: label}
        self._keep(self.unit_rows, "action units", path, faces, self.units.columns, units, own)
        if points is not None:
            self._keep(self.landmark_rows, "landmarks", path, faces, LANDMARK_COLUMNS, points, own)
        return len(faces)

    def _keep(self, rows: list, what: str, path: Path, faces: Faces, names, numbers: np.ndarray, own: dict) -> None:
        for i, values in enumerate(numbers.astype(float).round(4).tolist()):
            if np.isfinite(values).all():
                facts = (str(path), 0, i, round(float(faces.score[i]), 4))
                cells = dict(zip((*FACT_COLUMNS, *names), (*facts, *values), strict=True))
                rows.append(cells | own)
            else:
                self.unmeasured[what] += 1

    def unit_columns(self, labelled: bool) -> tuple[str, ...]:
        return (*FACT_COLUMNS, *self.units.columns, *(CLASS_COLUMN,) * labelled)

    @staticmethod
    def landmark_columns(labelled: bool) -> tuple[str, ...]:
        return (*FACT_COLUMNS, *LANDMARK_COLUMNS, *(CLASS_COLUMN,) * labelled)


def labelled_pictures(folder) -> list[tuple[Path, int | None]]:
    """[(picture, label)] of a folder that holds posed/ and genuine/ (0, 1), or of one with pictures (label None).

    Pictures may lie in folders within posed/ and genuine/, one a person. InputError: only one of the two is there, or
    one holds no picture; there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with pictures, or with posed/ and genuine/ that hold them")
    there = [name for name in CLASSES if (folder / name).is_dir()]
    if not there:
        return [(path, None) for path in find_images(folder)]
    if len(there) < len(CLASSES):
        raise InputError(f"{folder} holds {there[0]}/ alone; it needs both, {' and '.join(f'{n}/' for n in CLASSES)}")
    found = []
    for name, label in CLASSES.items():
        home = folder / name
        files = sorted(p for p in (*home.glob("*"), *home.glob("*/*")) if p.suffix.lower() in SUFFIXES and p.is_file())
        files = [path for path in files if path.name[0] != "."]
        if not files:
            raise InputError(f"{home}: no pictures in this folder; add some")
        found += [(path, label) for path in files]
    return found
