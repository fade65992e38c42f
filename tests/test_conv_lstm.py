"""The ConvLSTM2D network: the fused layer against Keras's own, trainings that are kept, folds and splits."""

import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from fer_lib import conv_lstm as it
from fer_lib.datasets.ckplus import load_sequences
from fer_lib.datasets.demo import write_ckplus
from fer_lib.detect import make_detector
from fer_lib.errors import InputError
from fer_lib.splits import load_split

SETTINGS = {"seed": 3, "epochs": 2, "batch": 4, "rate": 1e-3}
SHAPE = (4, 2, 15)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    found = rng.random((10, *SHAPE)).astype(np.float32)
    found[:, 0] = 0
    return found, np.arange(10) % 3


def test_the_ancestors_network():
    """Layer by layer, and its parameters by hand: 4 gates of 64 x (3 x 65 + 1); 2 x 265 x 64 x 100 + 100; 707."""
    network = it.conv_lstm(7)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["InputLayer", "ConvLSTM2D", "Dropout", "Flatten", "Dense", "Dense"]
    lstm, dropout = network.get_layer("conv_lstm"), network.get_layer("dropout")
    assert lstm.kernel_size == (1, 3) and lstm.filters == 64 and dropout.rate == 0.5
    assert network.count_params() == 4 * 64 * (3 * 65 + 1) + 2 * 265 * 64 * 100 + 100 + 707 == 3_442_983
    assert network.input_shape == (None, 39, 2, 267, 1)
    assert it.conv_lstm(4, (39, 267, 267), it.FusedConvLSTM2D, 8).get_layer("flat").output.shape[1] == 34 * 32 * 64


@pytest.mark.parametrize("still", [0, 1])
def test_the_fused_layer_is_kerass(clips, still):
    """Answers and gradients, with frames of zeros in front told or not."""
    data, labels = clips
    theirs, ours = it.conv_lstm(3, SHAPE), it.conv_lstm(3, SHAPE, it.FusedConvLSTM2D, still=still)
    rng = np.random.default_rng(1)
    ours.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in theirs.get_weights()])  # biases too
    theirs.set_weights(ours.get_weights())
    answers, slopes = [], []
    for network in (theirs, ours):
        with tf.GradientTape() as tape:
            answer = network(data[..., None])
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, answer))
        answers.append(answer.numpy())
        slopes.append(tape.gradient(loss, network.trainable_variables))
    np.testing.assert_allclose(*answers, atol=1e-6)
    assert len(slopes[0]) == 7
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 + 1e-4 * np.abs(a).max())


@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)])
def test_what_cannot_be_fused_is_refused(kernel):
    with pytest.raises(ValueError, match="kernels of one row and an odd width"):
        it.FusedConvLSTM2D(4, kernel, activation="relu")
    with pytest.raises(ValueError, match="ReLU"):
        it.FusedConvLSTM2D(4, (1, 3))


def test_a_training_is_kept_and_begins_anew_in_each_fold(tmp_path, clips):
    data, labels = clips
    network = it.compiled(it.conv_lstm(3, SHAPE, it.FusedConvLSTM2D, still=1), 8, SETTINGS)
    ask = (network, data, labels, np.arange(8), np.array([8, 9]), SETTINGS)
    first = it.trained_answers(tmp_path / "a.json", *ask)
    assert np.shape(first["probability"]) == (2, 3) and len(first["loss"]) == 2
    np.testing.assert_allclose(np.sum(first["probability"], axis=1), 1, atol=1e-4)
    again = it.trained_answers(tmp_path / "b.json", *ask)  # the same, though the network had learned already
    np.testing.assert_allclose(again["probability"], first["probability"], atol=1e-4)
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    assert it.trained_answers(tmp_path / "a.json", *ask) == json.loads((tmp_path / "a.json").read_text())
    elsewhere = it.trained_answers(tmp_path / "a.json", network, data + 0.5, *ask[2:])
    assert elsewhere["probability"] != first["probability"]  # other clips are no reason to keep an answer
    other = it.trained_answers(tmp_path / "a.json", *ask[:-1], {**SETTINGS, "seed": 4})
    assert other["probability"] != first["probability"] and other["settings"]["seed"] == 4


def test_moving_by_hand():
    """Profiles: columns alone are mirrored; frames: mirrored as pictures. Nothing is lost, and the input is left."""
    rng = np.random.default_rng(0)
    rows = np.zeros((40, 1, 2, 40), np.float32)
    rows[..., 0, 3], rows[..., 1, 7] = 1, 2
    out = it.moved(rows, rng)
    columns, lines = out[:, 0, 0].argmax(axis=1), out[:, 0, 1].argmax(axis=1)
    assert set(np.minimum(np.abs(columns - 3), np.abs(columns - 36))) <= {0, 1} and {3, 36} & set(columns.tolist())
    assert (columns > 20).any() and (columns < 20).any() and set(lines.tolist()) == {6, 7, 8}
    assert (out.sum(axis=-1) == rows.sum(axis=-1)).all() and (rows[..., 0, 3] == 1).all()
    frames = np.zeros((40, 1, 20, 20), np.float32)
    frames[..., 2, 3] = 1
    y, x = np.array([np.argwhere(frame[0])[0] for frame in it.moved(frames, rng)]).T
    assert set(y.tolist()) == {1, 2, 3} and set(x.tolist()) == {2, 3, 4, 15, 16, 17}


def test_the_threshold_that_tells_the_labels(clips):
    labels = np.repeat([0, 1], 12)
    rng = np.random.default_rng(0)
    noise = rng.random((24, 3, 2, 10))
    telling = noise + labels[:, None, None, None]
    choices = {("absolute", 1): noise, ("signed", 2): telling, ("signed", 3): rng.random((24, 3, 2, 10))}
    assert it.choose_threshold(choices, labels, range(24), list(choices), 0) == ("signed", 2)


def test_the_ancestors_split():
    labels = np.array([0] * 9 + [1] * 5 + [2] * 5)
    train, test = it.balanced_halves(labels, 4, 0.25, 0)
    both = np.concatenate([train, test])
    assert len(train) == 9 and len(test) == 3 and len(set(both.tolist())) == 12
    assert np.bincount(labels[both]).tolist() == [4, 4, 4]
    assert (it.balanced_halves(labels, 4, 0.25, 1)[1] != test).any()


def test_the_same_clips_by_subject():
    labels, subjects = np.repeat([0, 1, 2], 8), np.arange(24) // 2
    rows = np.delete(np.arange(24), [5, 11])
    train, test = it.by_subject_instead(rows, labels, subjects, 0)
    assert sorted([*train, *test]) == rows.tolist() and 4 <= len(test) <= 10
    assert not set(subjects[train]) & set(subjects[test])


def test_which_sequences_are_used(tmp_path):
    """Unlabelled ones and those of one frame are counted; a gap in the numbers makes a sequence no whole one."""
    root = write_ckplus(tmp_path, subjects=4) / "ckplus"
    every = load_sequences(root)
    usable, left_out = it.with_both_ends(every)
    unlabelled = sum(one.emotion is None for one in every)
    assert list(left_out.values()) == [unlabelled, 0, 0] and unlabelled > 0
    assert len(usable) == len(every) - unlabelled and all(one.is_whole for one in usable)
    whole, gap = usable[0], usable[1]
    for path in whole.frames[1:]:
        path.unlink()
    gap.frames[1].unlink()
    usable, left_out = it.with_both_ends(load_sequences(root))
    assert left_out["labelled, of one frame"] == 1 and not usable[0].is_whole
    assert it.true_clip(usable[0], None, 5).shape == (5, 267, 267)  # made up between its two ends
    assert len(it.true_clip(usable[1], None, 5)) == len(usable[1].frames)
    usable[1].frames[-1].unlink()  # the labelled one
    usable[2].frames[0].unlink()
    fewer, left_out = it.with_both_ends(load_sequences(root))
    assert left_out["labelled, without frame 1 or the labelled one"] == 2 and len(fewer) == len(usable) - 2
    with pytest.raises(InputError, match="none of 1 sequences has a label and both its ends"):
        it.with_both_ends([one for one in every if one.emotion is None][:1])


def test_a_sequence_without_a_face_is_left_out(tmp_path):
    """Of larger frames alone: small ones are crops, in which no detector is asked."""
    usable, _ = it.with_both_ends(load_sequences(write_ckplus(tmp_path, subjects=2) / "ckplus"))
    for path in usable[1].frames:
        cv2.imwrite(str(path), np.full((200, 200), 90, np.uint8))
    detect = make_detector("blazeface")
    found, clips = it.true_clips(usable, detect, 5)
    assert [one.name for one in found] == [one.name for one in usable if one is not usable[1]]
    assert len(clips) == len(found) and clips[0].shape[1:] == (267, 267)
    with pytest.raises(InputError, match="no face found in any of 1 sequences; choose another detector"):
        it.true_clips(usable[1:2], detect, 5)


def test_folds_keep_subjects_apart(tmp_path):
    usable, _ = it.with_both_ends(load_sequences(write_ckplus(tmp_path, subjects=6) / "ckplus"))
    folds = it.subject_folds(usable, 3, 0)
    owners = [{usable[row].subject for row in rows} for rows in folds.values()]
    assert len(folds) == 3 and sum(map(len, owners)) == 6 == len(set.union(*owners))


def test_the_committed_folds_are_of_the_data(fer_data):
    usable, left_out = it.with_both_ends(load_sequences(fer_data / "ckplus"))
    assert len(usable) == 309 and left_out["labelled, of one frame"] == 6
    names, subjects = [one.name for one in usable], [one.subject for one in usable]
    folds, theirs = it.subject_folds(usable, 10, 99), load_split("ckplus", names, subject=subjects)
    assert all((folds[fold] == theirs[fold]).all() for fold in theirs) and len(theirs) == 10
