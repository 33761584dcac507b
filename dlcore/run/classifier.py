"""A trained classifier as a feature extractor: a run of the classification page, given or trained for the purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.learner import Range
from dlcore.run import classify
from dlcore.run.flags import Flags, Setting
from dlcore.run.page import Job, Page, Setup, resolve
from dlcore.run.progress import say
from dlcore.run.train import restore_state, train

__all__ = ["SETTINGS", "Features", "classifier_of_run", "features_of_run", "run_for"]

SETTINGS = {
    "classifier": Setting(
        None, "folder of a run of experiments.classification.supervised; none: a small one is trained first", str | None
    ),
    "classifier_steps": Setting(400, "training steps of that small classifier", limits=Range(1)),
}

Features = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Images [B, H, W, C], uint8 or in [0, 1] -> (features [B, D], class probabilities [B, K])."""

_SMALL = ("--model=resnet8_cifar", "--model.width=16", "--model.stem_stride=2", "--augment=none", "--batch_size=128")


def run_for(flags: Flags, page: Page) -> Path:
    """The folder of the classifier that a page's flags ask for; without one, a small one is trained beside the runs.

    It is a run of `page` like any other, so that the next page finds it finished, and measures by the same features.
    """
    if flags.classifier is not None:
        return Path(flags.classifier)
    words = [f"--dataset={flags.dataset}", f"--steps={flags.classifier_steps}", "--eval_every=100000", *_SMALL]
    words += [f"--{name}={flags.get(name)}" for name in ("data_dir", "image_size", "runs") if flags.get(name)]
    words += [f"--progress={flags.progress}"]
    job = Job(page, resolve(page, words))
    if not (job.folder / "result.json").exists():
        say(f"training a small classifier for its features: {job.folder}")
        train(job)
    return job.folder


def features_of_run(folder: Path | str, page: Page) -> Features:
    """The average-pooled last map of a finished run's classifier, and its class probabilities.

    Raises:
      ValueError: the folder holds no run of `page`.
      FileNotFoundError: there is no checkpoint in it.
    """
    setup, variables = classifier_of_run(folder, page)
    return _extractor(classify.model(setup), classify.preprocess(setup), variables)


def classifier_of_run(folder: Path | str, page: Page) -> tuple[Setup, Any]:
    """(setup, variables on the host) of a run's classifier, the averaged parameters where the run keeps an average.

    Raises:
      ValueError: the folder holds no run of `page`.
      FileNotFoundError: there is no checkpoint in it.
    """
    from dlcore.optim import parameter_ema

    job = Job(page, resolve(page, [f"--run={folder}"])) if (Path(folder) / "config.json").exists() else None
    config = job and job.config()
    if config is None or config["page"] != page.name:
        raise ValueError(f"{str(folder)!r} is no run of {page.name}")
    setup = job.setup(config["spec"])
    _, state = restore_state(job, page.build(setup), page.example(config["spec"]), job.flags.select)
    params = parameter_ema(state.opt_state, state.params) if job.flags.ema else state.params
    return setup, jax.tree.map(np.asarray, jax.device_get({"params": params, **state.model_state}))


def _extractor(model: Any, preprocess: Callable, variables: Any) -> Features:
    @jax.jit
    def apply(variables, images):
        x = preprocess(images)
        maps = model.apply(variables, x, train=False, method="features")
        last = maps[list(maps)[-1]]
        return last.reshape(last.shape[0], -1, last.shape[-1]).mean(1), jax.nn.softmax(model.apply(variables, x))

    def features(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In pieces of 256, so that one shape is compiled."""
        parts = []
        for first in range(0, len(images), 256):
            piece = np.asarray(images[first : first + 256])
            rows = len(piece)
            piece = np.concatenate([piece, np.zeros((256 - rows, *piece.shape[1:]), piece.dtype)])
            parts.append([np.asarray(x)[:rows] for x in apply(variables, piece)])
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    return features
