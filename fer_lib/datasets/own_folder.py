"""A user's own pictures, a folder per emotion, in the form of FER2013, so that the same notebook trains on them."""

from __future__ import annotations

import numpy as np

from fer_lib.datasets.fer2013 import USAGES, VOTE_NAMES, Fer2013, load_folder
from fer_lib.errors import InputError
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS
from fer_lib.splits import group_folds

FOLDS = 10  # eight train, one chooses, one reports
RATERS = 10  # votes of each picture, all for its folder's emotion


def load_own_folder(root, seed: int = 0) -> Fer2013:
    """Face crops in folders named by EMOTIONS (or FER2013's and Kaggle's spellings) as a Fer2013.

    Equal pictures stay in one usage. A label is FER2013's id, or -1 for contempt and uncertain, which it does not know.
    InputError: as load_folder; fewer than two emotions, or none that FER2013 knows; too few pictures for every emotion
    to train, choose and report.
    """
    pictures, labels, _ = load_folder(root, EMOTIONS)
    present = np.unique(labels)
    if len(present) < 2:
        raise InputError(f"{root} has pictures of {EMOTIONS[present[0]]} alone; add a folder of another emotion")
    if not set(FER2013_EMOTIONS) & {EMOTIONS[i] for i in present}:
        raise InputError(f"{root} has none of FER2013's emotions; add a folder of {' or '.join(FER2013_EMOTIONS)}")
    ids = np.array([FER2013_EMOTIONS.index(name) if name in FER2013_EMOTIONS else -1 for name in EMOTIONS])
    votes = np.zeros((len(labels), len(VOTE_NAMES)), np.int64)
    votes[np.arange(len(labels)), labels] = RATERS
    usage = np.full(len(labels), USAGES[0], dtype=f"<U{max(map(len, USAGES))}")
    data = Fer2013(pictures, ids[labels], usage, votes)
    few = [EMOTIONS[i] for i in present if len(set(data.picture_hashes[labels == i])) < FOLDS]
    if few:
        raise InputError(f"{root} has fewer than {FOLDS} different pictures of {', '.join(few)}; add some")
    folds = group_folds(labels, data.picture_hashes, FOLDS, seed)
    for name, fold in zip(USAGES[1:], ("fold_1", "fold_2"), strict=True):
        usage[folds[fold]] = name
    for part in USAGES:
        absent = [EMOTIONS[i] for i in present if not (labels[usage == part] == i).any()]
        if absent:
            raise InputError(
                f"{root}: no picture of {', '.join(absent)} falls to {part}; add some, or try another seed"
            )
    return data
