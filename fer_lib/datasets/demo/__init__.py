"""Demo data made by code from nothing: drawn faces driven by FACS action units, seeded, with no outside picture in it.

    stills(n, seed)              labelled pictures with graded votes, by identity
    sequence(emotion, frames)    one person from neutral to apex
    smile(posed, rng)            the action units of a posed or genuine smile over time
    write_demo(folder, parts)    the same in the files of FER2013, CK+, UTKFace, a valence manifest, tables
    draw_face(..)                one face: action units, an identity and a scene in, a picture out

What is learned from these drawings says nothing about real faces: write "demo" beside every figure made from them.
"""

from fer_lib.datasets.demo.drawing import (
    ACTION_UNITS,
    AVERAGE,
    FRONTAL,
    HAIR_STYLES,
    Identity,
    Scene,
    action_unit_array,
    draw_face,
)
from fer_lib.datasets.demo.dynamics import (
    RATE,
    Plan,
    Sequence,
    Smile,
    facs_code,
    openface_intensities,
    phase_features,
    plan,
    sequence,
    smile,
    smile_signals,
)
from fer_lib.datasets.demo.layouts import (
    PARTS,
    fer2013_stills,
    write_ck48,
    write_ck_apex,
    write_ckplus,
    write_demo,
    write_fer2013,
    write_fer2013_folders,
    write_smiles,
    write_tables,
    write_utkface,
    write_va,
)
from fer_lib.datasets.demo.people import (
    CONFUSIONS,
    PROTOTYPES,
    RATERS,
    Stills,
    expression,
    random_identity,
    random_scene,
    sampled_label,
    stills,
    vote_probabilities,
)

__all__ = [
    "ACTION_UNITS",
    "AVERAGE",
    "CONFUSIONS",
    "FRONTAL",
    "HAIR_STYLES",
    "PARTS",
    "PROTOTYPES",
    "RATE",
    "RATERS",
    "Identity",
    "Plan",
    "Scene",
    "Sequence",
    "Smile",
    "Stills",
    "action_unit_array",
    "draw_face",
    "expression",
    "facs_code",
    "fer2013_stills",
    "openface_intensities",
    "phase_features",
    "plan",
    "random_identity",
    "random_scene",
    "sampled_label",
    "sequence",
    "smile",
    "smile_signals",
    "stills",
    "vote_probabilities",
    "write_ck48",
    "write_ck_apex",
    "write_ckplus",
    "write_demo",
    "write_fer2013",
    "write_fer2013_folders",
    "write_smiles",
    "write_tables",
    "write_utkface",
    "write_va",
]
