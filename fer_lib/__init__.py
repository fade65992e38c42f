"""Facial expression recognition: find faces, name their emotion, draw and tabulate it.

from fer_lib import Recognizer, draw_faces, read_image
image = read_image("photo.jpg")     # (H, W, 3) uint8 RGB
faces = Recognizer()(image)
faces.records(), draw_faces(image, faces)
"""

import sys
from importlib import import_module

__version__ = "0.1.0"

# OpenVINO would report each import to Google Analytics, from a forked process; without this package it reports nothing.
sys.modules.setdefault("openvino_telemetry", None)

_HOME = {
    "Recognizer": "fer_lib.recognize",
    "Faces": "fer_lib.faces",
    "EMOTIONS": "fer_lib.faces",
    "FER2013_EMOTIONS": "fer_lib.faces",
    "draw_faces": "fer_lib.annotate",
    "read_image": "fer_lib.images",
    "write_image": "fer_lib.images",
    "InputError": "fer_lib.errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):  # imported on first use, so that `python -m fer_lib --help` is quick
    if name not in _HOME:
        raise AttributeError(f"module 'fer_lib' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
