"""Parts that several tables have in common: a data set as a source or as rows, a training, an error in percent."""

import functools
from typing import Any

import jax
import numpy as np

from dlcore.data.pipeline import Pipeline, steps_per_epoch
from dlcore.data.source import Source
from dlcore.data.tfds_source import tfds_source
from dlcore.learner import Learner
from dlcore.run.evaluate import predict
from dlcore.run.fit import fit
from experiments.simple.method import data_dir

__all__ = ["digits", "draw_head", "error", "pixels", "source", "subset", "train"]


@functools.cache
def source(name: str, split: str = "train") -> Source:
    """Load a split of mnist, fashion_mnist or cifar10: `image` [N, H, W, C] uint8, `label` [N] int32.

    Args:
      name: name of the data set.
      split: train or test.
    """
    return tfds_source(name, split, data_dir())


@functools.cache
def pixels(name: str, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Load a split as rows of numbers: [N, H W C] float32 in [0, 1], and labels [N] int32."""
    images, labels = source(name, split).arrays["image"], source(name, split).arrays["label"]
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels


def digits(split: str, first: int, last: int) -> Source:
    """Select images of MNIST without their labels.

    Args:
      split: train or test.
      first: the first image.
      last: the image behind the last one.
    """
    return Source({"image": np.asarray(source("mnist", split).arrays["image"][first:last])}, name=f"mnist {split}")


def subset(whole: Source, rows: np.ndarray, **arrays: np.ndarray) -> Source:
    """Select examples of a source.

    Args:
      whole: source to select from.
      rows: [M] int or [N] bool, which examples.
      **arrays: [M, ...], arrays of these names in place of the source's.
    """
    return Source({name: array[rows] for name, array in whole.arrays.items()} | arrays, name=whole.name)


def draw_head(state: Any) -> Any:
    """Draw the weights of the output layer, which dlcore's networks start at zero: a `start` of `fit`.

    Glorot & Bengio 2010, as in the networks of other libraries; a zero start learns slower in the first epoch.
    """
    head = state.params["head"]
    shape = head["kernel"].shape
    kernel = jax.nn.initializers.glorot_uniform()(jax.random.fold_in(state.rng, 1), shape)
    return state.replace(params={**state.params, "head": {**head, "kernel": kernel}})


def train(
    learner: Learner, examples: Any, *, epochs: float = 0, steps: int = 0, batch_size: int, seed: int, **options: Any
) -> Any:
    """Train a learner in memory.

    Args:
      learner: learner to train.
      examples: source to train on.
      epochs: length of the training in passes over the source.
      steps: its length in steps, where epochs is 0.
      batch_size: examples of a step.
      seed: of the weights and of the order of the examples.
      **options: of `fit`.

    Returns:
      The learner's last state.
    """
    steps = round(epochs * steps_per_epoch(len(examples), batch_size)) or steps
    batches = Pipeline(examples, batch_size, seed=seed)
    return fit(learner, batches, steps=steps, seed=seed, progress=False, **options).state


def error(learner: Learner, state: Any, examples: Source) -> float:
    """Measure the share of a source that a classifier gets wrong, in percent."""
    outputs = predict(learner, state, examples, batch_size=1000)
    return 100 * float(np.mean(outputs["logits"].argmax(-1) != examples.arrays["label"]))
