"""Training shared by the notebooks: augmentation, batches, and a fit that resumes after an interruption."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import keras
import numpy as np

from fer_lib.errors import InputError
from fer_lib.files import write_json

# Ranges of the light augmentation: what keeps a 48-pixel face a face of the same expression
ROTATION_DEGREES = 12.0
ZOOM = 0.15
SHIFT = 0.06  # of the side
GAIN = 0.3
OFFSET = 25.0  # grey levels
ERASE_PROBABILITY = 0.3
ERASE_AREA = (0.02, 0.15)
TELL_EVERY = 60  # seconds, of a long epoch
MIXUP_SHARE = 0.5  # of the batches: the other half keeps faces as sharp as they are at inference


def augment(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """One (S, S) uint8 picture, flipped, turned, zoomed, shifted, relit and partly erased: (size, size) uint8.

    One affine warp does all the geometry and the change of size, so that the picture is interpolated once.
    """
    side = picture.shape[0]
    angle = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES))
    scale = side / size * np.exp(rng.uniform(-ZOOM, ZOOM))
    mirror = rng.choice((-1.0, 1.0))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
    centre_in = (side - 1) / 2 + side * rng.uniform(-SHIFT, SHIFT, 2)
    offset = centre_in - matrix @ np.full(2, (size - 1) / 2)
    warp = np.column_stack([matrix, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(picture, warp, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    out = cv2.convertScaleAbs(
        np.maximum(out * rng.uniform(1 - GAIN, 1 + GAIN) + rng.uniform(-OFFSET, OFFSET), 0)
    )  # saturates at 255
    if rng.random() < ERASE_PROBABILITY:
        area, ratio = rng.uniform(*ERASE_AREA), np.exp(rng.uniform(-0.7, 0.7))
        h, w = int(size * min(1, np.sqrt(area * ratio))), int(size * min(1, np.sqrt(area / ratio)))
        y, x = rng.integers(0, size - h + 1), rng.integers(0, size - w + 1)
        out[y : y + h, x : x + w] = rng.integers(0, 256)
    return out


def mix(images: np.ndarray, targets: dict[str, np.ndarray], alpha: float, rng: np.random.Generator):
    """Mixup (Zhang et al. 2018): every picture and its targets averaged with those of another row of the batch.

    images (N, S, S, 3) uint8, targets a dict of (N, C) distributions. One share for the batch, from Beta(alpha, alpha)
    and at least a half, so that a row stays mostly itself.
    """
    share = rng.beta(alpha, alpha)
    share = np.float32(max(share, 1 - share))
    other = rng.permutation(len(images))
    mixed = cv2.addWeighted(images, float(share), images[other], float(1 - share), 0)
    return mixed, {head: share * array + (1 - share) * array[other] for head, array in targets.items()}


class Rows(keras.utils.PyDataset):
    """Shuffled batches of numbers, such as cached features; the same seed and epoch give the same, resumed or not.

    inputs (N, ...) and targets (N, ...).
    """

    def __init__(self, inputs, targets, batch_size, seed, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.targets, self.batch_size, self.seed = inputs, targets, batch_size, seed
        self.start(epoch=0)

    def start(self, epoch: int):
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.inputs))

    def on_epoch_end(self):
        self.start(self.epoch + 1)

    def __len__(self) -> int:
        return max(1, len(self.inputs) // self.batch_size)  # a ragged last batch would only add noise

    def rows(self, index: int) -> np.ndarray:
        return self.order[index * self.batch_size : (index + 1) * self.batch_size]

    def __getitem__(self, index: int):
        rows = self.rows(index)
        return self.inputs[rows], self.targets[rows]


class Batches(Rows):
    """Shuffled, augmented training batches of pictures; repeatable like Rows."""

    def __init__(self, pictures, targets, size, batch_size, seed, weights=None, mixup=0.0, **kwargs):
        """pictures (N, S, S) uint8; targets and weights: dicts of arrays with N rows, keyed by head.

        mixup: the alpha of mix(), for half of the batches; 0 mixes none. ValueError for mixup and weights together.
        """
        if mixup and weights is not None:
            raise ValueError("a mixed picture has no weight of its own; give mixup or weights")
        super().__init__(pictures, targets, batch_size, seed, **kwargs)
        self.weights, self.size, self.mixup = weights, size, mixup

    def __getitem__(self, index: int):
        rows = self.rows(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        grey = np.stack([augment(self.inputs[row], self.size, rng) for row in rows])
        images = np.repeat(grey[..., None], 3, axis=-1)
        targets = {head: array[rows] for head, array in self.targets.items()}
        if self.mixup and rng.random() < MIXUP_SHARE:
            images, targets = mix(images, targets, self.mixup, rng)
        if self.weights is None:
            return images, targets
        return images, targets, {head: array[rows] for head, array in self.weights.items()}


def ccc_loss(truth, predicted):
    """1 - Lin's CCC over the rows of a batch, mean of the columns of (N, C): a loss for Keras, in [0, 2].

    Squared error rewards answers near the mean when little is known; concordance asks for the right spread too.
    """
    ops = keras.ops
    truth, predicted = ops.cast(truth, "float32"), ops.cast(predicted, "float32")
    mean_t, mean_p = ops.mean(truth, axis=0), ops.mean(predicted, axis=0)
    covariance = ops.mean((truth - mean_t) * (predicted - mean_p), axis=0)
    spread = ops.var(truth, axis=0) + ops.var(predicted, axis=0) + ops.square(mean_t - mean_p)
    return 1 - ops.mean(2 * covariance / (spread + 1e-8))


def adamw(rate: float, steps: int, decay: float, average: float = 0.0) -> keras.optimizers.AdamW:
    """AdamW (Loshchilov & Hutter 2019) whose rate climbs to `rate` in a twentieth of the steps and falls as a cosine.

    Gradients are clipped to norm 1. average: momentum of a moving average of the weights, which fit() scores and keeps
    in place of the weights themselves; 0 keeps none.
    """
    warm_up = steps // 20
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps - warm_up, warmup_target=rate, warmup_steps=warm_up)
    averaging = {"use_ema": True, "ema_momentum": average} if average else {}
    return keras.optimizers.AdamW(schedule, weight_decay=decay, clipnorm=1.0, **averaging)


class _Checkpoint(keras.callbacks.Callback):
    """After each epoch: score it, save weights and optimiser, and then, in one step, the history that names them.

    An optimiser with use_ema averages the weights over the steps: between epochs the average is in the model, and so
    it is what is scored and saved; during an epoch it is in the optimiser.
    """

    def __init__(self, folder: Path, score, history: list[dict]):
        super().__init__()
        self.folder, self.score, self.history = folder, score, history
        self.averaged = bool(history)  # whether the average is in the model, as it is after a resume

    def on_epoch_begin(self, epoch, logs=None):
        if self.averaged:
            self._swap_average()
        self.began = self.told = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.told > TELL_EVERY:
            self.told = time.monotonic()
            done = f"{batch + 1} of {self.params['steps']} batches"
            print(f"epoch {len(self.history) + 1}: {done}, loss {logs['loss']:.4g}", flush=True)

    def _swap_average(self):
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer.use_ema:
            trained = self.model.trainable_variables
            for variable, average in zip(trained, optimizer._model_variables_moving_average, strict=True):
                value = keras.ops.convert_to_numpy(variable)
                variable.assign(average)
                average.assign(value)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.began
        self._swap_average()
        self.averaged = True
        row = {"epoch": epoch + 1, "seconds": round(seconds, 1), **{k: float(v) for k, v in (logs or {}).items()}}
        row |= self.score(self.model)
        self.history.append(row)
        self.model.save_weights(_weights(self.folder, epoch + 1))
        write_json(self.folder / "history.json", self.history)
        needed = {_weights(self.folder, epoch + 1), _weights(self.folder, best_epoch(self.history))}
        for path in set(self.folder.glob("*.weights.h5")) - needed:
            path.unlink()
        print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)


def _weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:03d}.weights.h5"


def best_epoch(history: list[dict]) -> int:
    """The first epoch, counted from 1, with the highest score."""
    return max(history, key=lambda row: row["score"])["epoch"]


def fit(model, batches: Batches, epochs: int, folder, score, settings: dict) -> list[dict]:
    """Train to `epochs`, going on from `folder` if it holds an interrupted run; ends with the best epoch's weights.

    score(model) -> dict with a key "score", the one that picks the epoch. settings: what decides the run, as JSON
    values; InputError when the folder holds a run with others. Returns the history, a dict per epoch.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    noted, log = folder / "settings.json", folder / "history.json"
    if noted.exists() and json.loads(noted.read_text()) != settings:
        raise InputError(f"{folder} holds a run with other settings ({noted.read_text()}); give another folder")
    write_json(noted, settings)
    history = json.loads(log.read_text()) if log.exists() else []
    if history:
        print(f"{len(history)} of {epochs} epochs are in {folder} already", flush=True)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(_weights(folder, len(history)))
        batches.start(epoch=len(history))
    if len(history) < epochs:
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=len(history),
            callbacks=[_Checkpoint(folder, score, history)],
            shuffle=False,  # Batches has its own order, the same after a resume
            verbose=0,  # _Checkpoint prints a line an epoch, and one a minute
        )
    if history:
        model.load_weights(_weights(folder, best_epoch(history)))
    return history
