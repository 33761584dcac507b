"""Split MNIST, class-incremental: what a memory of a few images a class gives, against Avalanche's reruns."""

import numpy as np

from dlcore.classification import supervised
from dlcore.data.augment import to_float
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from dlcore.optim import create_optimizer
from dlcore.run.evaluate import evaluate
from dlcore.run.fit import fit
from dlcore.transfer.continual import Recipe, TaskData, learn_in_turn
from experiments.papers.table import Run, Table
from experiments.papers.training import source

__all__ = ["TABLES"]


def _greedy_sampler(seed: int) -> float:
    """GDumb: a network trained anew on the balanced memory after the last task."""
    train, rng = source("mnist"), np.random.default_rng(seed)
    labels = np.asarray(train.arrays["label"])
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), 440, replace=False) for c in range(10)])
    memory = Source({"image": train.arrays["image"][rows], "label": labels[rows]}, name="memory")
    learner = supervised.learner(
        model=MLP(hidden=(400, 400)), optimizer=create_optimizer("sgd", 0.1, momentum=0.0), preprocess=to_float
    )
    state = fit(learner, Pipeline(memory, 16, seed=seed), steps=2750, seed=seed, progress=False).state
    return 100 * float(evaluate(learner, state, source("mnist", "test"))["accuracy"])


def _tasks(split: str, rng: np.random.Generator) -> TaskData:
    """MNIST in an order of the seed's, by which batches and memory differ."""
    arrays = source("mnist", split).arrays
    order = rng.permutation(len(arrays["label"]))
    return TaskData(arrays["image"][order].astype(np.float32) / 255, np.asarray(arrays["label"])[order])


def _online_replay(seed: int) -> float:
    rng = np.random.default_rng(seed)
    accuracies = learn_in_turn(
        MLP(hidden=(512,)),
        _tasks("train", rng),
        _tasks("test", rng),
        scenario="class",
        strategy="replay",
        recipe=Recipe(steps=1200, batch_size=10, buffer=100),
    )
    return 100 * float(accuracies[0, -1].mean())


TABLES = (
    Table(
        key="avalanche-split-mnist",
        paper="Carta et al., Avalanche: continual-learning baselines",
        place="README, Split MNIST, class-incremental",
        source="ContinualAI/reproducible-continual-learning README.md@4900462; settings of experiments/split_mnist/ "
        "gdumb.py@2f05f40 and online_replay.py@5f40ab9",
        setting="Five tasks of two digits, accuracy over all ten at the end. GDumb: 4,400 stored images, two layers of "
        "400, 10 epochs of SGD at 0.1 in batches of 16. Online replay: one pass, 10 images and 10 stored ones a step, "
        "1,000 stored images, a layer of 512, SGD at 0.1.",
        metric="accuracy, %",
        better="higher",
        margin=1.5,
        runs=(
            Run("GDumb", _greedy_sampler, 97.0),
            Run(
                "online replay",
                _online_replay,
                92.0,
                differs="Adam at 1e-3, which starts anew with each task; no dropout; images of a task are drawn with "
                "replacement; all tasks have the same weight in the loss",
            ),
        ),
        differs="the memory is the same number of random images of each class.",
        verdict="Online replay is met. GDumb is not: 4,400 images teach the network 94.7 % here, 2.3 points less.",
    ),
)
