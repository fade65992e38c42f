"""The ConvLSTM2D of the ancestor on the blobs of fer_lib.differences, and its trainings by subject and at random.

Every training keeps its answers, so that an interrupted run goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer_lib.datasets.ckplus import CK_EMOTIONS, FrameSequence
from fer_lib.differences import NoFaceError, in_between, load_clip
from fer_lib.errors import InputError
from fer_lib.files import write_json
from fer_lib.splits import group_folds, load_split, read_parts

CLASSES = tuple(CK_EMOTIONS.values())
FOUR_CLASSES = tuple(CK_EMOTIONS[code] for code in (1, 3, 5, 7))  # the ancestor's phase 4
ROLL = 8  # pixels of 267 by which a training clip is moved: faces are not cut exactly alike


class FusedConvLSTM2D(layers.ConvLSTM2D):
    """ConvLSTM2D with ReLU, kernels of one row and no state between calls, which trains faster on CPUs.

    The same numbers but for rounding: input and state go through one convolution, and the gates are one compiled pass
    forwards and one backwards, where Keras takes some twenty. still: the first frames that are zero in every clip;
    until then all clips are in one state, which is computed once. Only for Keras on TensorFlow.
    """

    def __init__(self, *args, still: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        if self.kernel_size[0] != 1 or self.kernel_size[1] % 2 == 0 or self.strides != (1, 1):
            raise ValueError("kernels of one row and an odd width, without strides, are what is fused here")
        if keras.activations.serialize(self.activation) != "relu":
            raise ValueError("the fused gates are of ReLU")
        self.still = still

    def call(self, sequences, initial_state=None, mask=None, training=False):
        import tensorflow as tf

        kernel, recurrent = (
            tf.cast(v.value, self.compute_dtype) for v in (self.cell.kernel, self.cell.recurrent_kernel)
        )
        bias = tf.cast(self.cell.bias.value, tf.float32)
        taps, wide = kernel.shape[1], sequences.shape[3] - kernel.shape[1] + 1
        # what the kernel reads of the input beside each place, as channels of the middle column
        beside = tf.concat([sequences[:, :, :, i : i + wide] for i in range(taps)], axis=-1)
        flat = tf.reshape(kernel, (1, 1, taps * kernel.shape[2], kernel.shape[3]))
        both = tf.concat([recurrent, tf.pad(flat, [[0, 0], [taps // 2] * 2, [0, 0], [0, 0]])], axis=2)
        answer = tf.zeros((1, sequences.shape[2], wide, self.filters), self.compute_dtype)
        cell = tf.cast(answer, tf.float32)
        for step in range(sequences.shape[1]):
            if step == self.still:
                answer, cell = (tf.repeat(state, tf.shape(sequences)[0], axis=0) for state in (answer, cell))
            frame = beside[:1, step] if step < self.still else beside[:, step]
            gates = tf.nn.conv2d(tf.concat([answer, frame], axis=-1), both, 1, "SAME")
            answer, cell = _fused_gates()(gates, bias, cell)
        return answer


def _fused_gates(made: list = []):  # noqa: B006  made once, when TensorFlow is there
    """(gates (.., 4 C), bias (4 C,), cell (.., C)) to (answer, cell): an LSTM's step with ReLU, in float32 inside."""
    if made:
        return made[0]
    import tensorflow as tf

    def parts(gates, bias):
        enter, forget, candidate, leave = tf.split(tf.cast(gates, tf.float32) + bias, 4, axis=-1)
        return tf.sigmoid(enter), tf.sigmoid(forget), candidate, tf.sigmoid(leave)

    @tf.function(jit_compile=True)  # one pass over memory; convolutions, which XLA slows down, stay outside
    def forwards(gates, bias, cell):
        enter, forget, candidate, leave = parts(gates, bias)
        cell = forget * cell + enter * tf.nn.relu(candidate)
        return tf.cast(leave * tf.nn.relu(cell), gates.dtype), cell

    @tf.function(jit_compile=True)
    def backwards(gates, bias, before, after, to_answer, to_cell):
        enter, forget, candidate, leave = parts(gates, bias)
        to_answer = tf.cast(to_answer, tf.float32)
        to_cell += to_answer * leave * tf.cast(after > 0, tf.float32)
        slopes = [
            to_cell * tf.nn.relu(candidate) * enter * (1 - enter),
            to_cell * before * forget * (1 - forget),
            to_cell * enter * tf.cast(candidate > 0, tf.float32),
            to_answer * tf.nn.relu(after) * leave * (1 - leave),
        ]
        slopes = tf.concat(slopes, axis=-1)
        return tf.cast(slopes, gates.dtype), tf.reduce_sum(slopes, axis=[0, 1, 2]), to_cell * forget

    @tf.custom_gradient
    def step(gates, bias, cell):
        answer, after = forwards(gates, bias, cell)
        return (answer, after), lambda *to: backwards(gates, bias, cell, after, *to)

    made.append(step)
    return step


def conv_lstm(
    classes: int,
    shape: tuple[int, int, int] = (39, 2, 267),
    lstm: type[layers.Layer] = layers.ConvLSTM2D,
    shrink: int = 1,
    **options,
) -> keras.Model:
    """The ConvLSTM ancestor's network: (N, *shape, 1) blobs to (N, classes) probabilities.

    ConvLSTM2D (Shi et al. 2015) of 64 filters, kernel (1, 3), ReLU, whose last answer goes through Dropout 0.5, Dense
    100 with ReLU, and a softmax. shape: frames, height, width; by default phase 3's, whose frames are the column and
    the row means. lstm, options: FusedConvLSTM2D and its options for training. shrink: ours, for frames that do not fit
    into memory: a convolution, one filter of shrink x shrink pixels in steps of its size, reduces each frame first.
    """
    clip = keras.Input((*shape, 1), name="clip")
    x = clip
    if shrink > 1:
        reduce = layers.Conv2D(1, shrink, shrink, "same", name="shrink")
        x = layers.TimeDistributed(reduce, name="shrink_frames")(x)
    x = lstm(64, (1, 3), activation="relu", name="conv_lstm", **options)(x)
    x = layers.Flatten(name="flat")(layers.Dropout(0.5, name="dropout")(x))
    x = layers.Dense(100, "relu", name="dense")(x)
    return keras.Model(clip, layers.Dense(classes, "softmax", dtype="float32", name="emotion")(x), name="conv_lstm")


def with_both_ends(sequences: list[FrameSequence]) -> tuple[list[FrameSequence], dict[str, int]]:
    """The labelled sequences that hold their first frame and the labelled one, and how many were left out for what."""
    labelled = [one for one in sequences if one.emotion in CLASSES]
    usable = [one for one in labelled if one.has_both_ends]
    single = sum(len(one.frames) < 2 for one in labelled)
    left_out = {
        "without a label": len(sequences) - len(labelled),
        "labelled, of one frame": single,
        "labelled, without frame 1 or the labelled one": len(labelled) - len(usable) - single,
    }
    if not usable:
        raise InputError(f"none of {len(sequences)} sequences has a label and both its ends; unpack the release again")
    return usable, left_out


def moved(clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, T, H, W) clips, half of them mirrored, each moved by a few pixels sideways or, of frames, in both directions.

    Of profiles (H = 2) the row of column means is mirrored alone; both rows move, each by its own shift.
    """
    out = clips.copy()
    flat = clips.shape[2] == 2
    most = max(1, round(ROLL * clips.shape[3] / 267))
    for clip in out:
        if rng.random() < 0.5:
            columns = clip[:, :1] if flat else clip
            columns[:] = columns[..., ::-1].copy()
        across, down = rng.integers(-most, most + 1, 2)
        if flat:
            clip[:, 0], clip[:, 1] = np.roll(clip[:, 0], across, axis=-1), np.roll(clip[:, 1], down, axis=-1)
        else:
            clip[:] = np.roll(clip, (across, down), axis=(3 - 1, 2 - 1))
    return out


def compiled(network: keras.Model, rows: int, settings: dict) -> keras.Model:
    """The network ready for trained_answers() on `rows` clips: Adam, climbing for a tenth of the steps, then falling.

    settings: epochs, batch and rate, see trained_answers.
    """
    steps = settings["epochs"] * (rows // min(settings["batch"], rows))
    rise = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        settings["rate"] / 10, steps - rise, warmup_target=settings["rate"], warmup_steps=rise
    )
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    network.begun_with = [(variable, np.array(variable)) for variable in _state(network)]
    return network


def _state(network: keras.Model) -> list:
    """All that a training changes: weights, the optimiser's moments and steps, and where dropout's lots stand."""
    return [*network.variables, *network.optimizer.variables]


def trained_answers(
    kept: Path, network: keras.Model, clips: np.ndarray, labels: np.ndarray, train, test, settings: dict
) -> dict:
    """Train a network on some clips and answer others: {"probability": (n, C) list, "loss": [..], "seconds": float}.

    clips (N, T, H, W) float, labels (N,) int, train and test row numbers. network: from compiled(); whatever it has
    learned before is undone first, so that one network, which takes long to build, serves all folds. settings: seed,
    epochs, batch, rate, and whatever else decides. Kept as JSON in `kept`, which is used instead when its settings and
    the clips are the same.
    """
    parts = (clips[train], labels[train], clips[test])
    seen = hashlib.sha256(b"".join(hashlib.sha256(part.tobytes()).digest() for part in parts)).hexdigest()
    named = {**settings, "train": len(train), "test": np.asarray(test).tolist(), "sha256": seen}
    if kept.exists():
        found = json.loads(kept.read_text())
        if found["settings"] == named:
            return found
    keras.utils.set_random_seed(settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    for variable, value in network.begun_with:
        variable.assign(value)
    batch = min(settings["batch"], len(train))
    begun, losses = time.monotonic(), []
    for _ in range(settings["epochs"]):
        rows = rng.permutation(train)[: len(train) // batch * batch]  # a ragged last batch would be compiled anew
        part = moved(clips[rows], rng)[..., None]
        losses.append(float(network.fit(part, labels[rows], batch, shuffle=False, verbose=0).history["loss"][0]))
    answers = network.predict(clips[test][..., None], batch_size=batch, verbose=0)
    seconds = time.monotonic() - begun
    found = {"settings": named, "seconds": round(seconds, 1), "loss": [round(loss, 4) for loss in losses]}
    found["probability"] = np.round(answers.astype(float), 5).tolist()
    write_json(kept, found)
    return found


def subject_folds(sequences: list[FrameSequence], n: int, seed: int) -> dict[str, np.ndarray]:
    """The folds of splits/ckplus.json where these are its sequences; of others, such as the whole release, new ones."""
    names, subjects = [one.name for one in sequences], [one.subject for one in sequences]
    if names == sorted(name for part in read_parts("ckplus").values() for name in part):
        return load_split("ckplus", names, subject=subjects)
    return group_folds([one.emotion for one in sequences], subjects, n, seed)


def true_clip(sequence: FrameSequence, detect, frames: int) -> np.ndarray:
    """(T, 267, 267) uint8: the sequence's own frames where it is whole, else `frames` from its first to its last one.

    Those in between are made up by optical flow, see fer_lib.differences.in_between. NoFaceError as load_clip has it.
    """
    if sequence.is_whole:
        return load_clip(list(sequence.frames), detect)
    return in_between(*load_clip([sequence.frames[0], sequence.frames[-1]], detect), frames)


def true_clips(sequences: list[FrameSequence], detect, frames: int) -> tuple[list[FrameSequence], list[np.ndarray]]:
    """The sequences in which a face is found, and the true_clip of each. InputError when there is none."""
    found = []
    for sequence in sequences:
        with contextlib.suppress(NoFaceError):
            found.append((sequence, true_clip(sequence, detect, frames)))
    if not found:
        raise InputError(f"no face found in any of {len(sequences)} sequences; choose another detector")
    return tuple(map(list, zip(*found, strict=True)))


def choose_threshold(clips: dict, labels: np.ndarray, groups, choices, seed: int) -> tuple[str, int]:
    """The (kind, threshold) of `choices` whose profiles tell the labels best, by three folds of the groups.

    clips: {(kind, threshold): (N, T, 2, S)}. A ridge regression on the clip's mean profile stands for the network,
    which would take an hour to ask.
    """
    folds = group_folds(labels, groups, 3, seed)
    right = {}
    for choice in choices:
        mean = clips[choice].mean(axis=1).reshape(len(labels), -1)
        found = []
        for rows in folds.values():
            train = np.setdiff1d(np.arange(len(labels)), rows)
            model = make_pipeline(StandardScaler(), RidgeClassifier(1000.0)).fit(mean[train], labels[train])
            found.append(model.predict(mean[rows]) == labels[rows])
        right[choice] = float(np.concatenate(found).mean())
    return max(right, key=right.get)


def balanced_halves(labels: np.ndarray, each: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) rows as the ancestor drew them: `each` of every class, a share of them to test, of any subject."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)])
    rows = rng.permutation(rows)
    cut = round(share * len(rows))
    return rows[cut:], rows[:cut]


def by_subject_instead(rows: np.ndarray, labels: np.ndarray, groups, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) of the same rows, one third to test, with no group on both sides: see balanced_halves."""
    test = group_folds(labels[rows], groups[rows], 3, seed)["fold_1"]
    return np.delete(rows, test), rows[test]
