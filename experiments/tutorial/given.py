"""What every lesson is given: the data set that was asked for, in three parts, and how long it may take.

    --dataset=fashion_mnist --data_dir=DIR        other images
    --small                                       seconds, to see that everything works

The digits lie in the order of their writers. Their validation part is the last quarter of the training examples: people
whose hand was not seen in training, as those of the test part will be. Of other data sets `EXAMPLES` are used to train
on and as many as it says to validate, drawn at random by `dlcore.data.image_classification.load`.
"""

import argparse
import sys
from typing import NamedTuple, TypeVar

import jax

from dlcore.data.digits import digits
from dlcore.data.image_classification import Splits, load
from dlcore.data.source import Source

__all__ = ["Given", "given", "pixels", "remember_programs", "splits"]

T = TypeVar("T")
EXAMPLES, VALID = 5000, 1000
SMALL = 120


class Given(NamedTuple):
    """dataset, data_dir: what is learnt. small: to see in seconds that everything works; its numbers mean nothing."""

    dataset: str = "digits"
    data_dir: str | None = None
    small: bool = False

    def pick(self, full: T, small: T) -> T:
        """The value of a real run, or that of a small one."""
        return small if self.small else full


def given(argv: list[str] | None = None) -> Given:
    """The flags of the command line; an unknown one ends the program with the list of those that are known."""
    parser = argparse.ArgumentParser(description="A lesson of the tutorial.", allow_abbrev=False)
    parser.add_argument("--dataset", default="digits", help="digits (embedded), mnist, fashion_mnist, cifar10")
    parser.add_argument("--data_dir", help="where the data set was prepared")
    parser.add_argument("--small", action="store_true", help="a few examples and steps, in seconds")
    return Given(**vars(parser.parse_args(sys.argv[1:] if argv is None else argv)))


def splits(flags: Given) -> Splits:
    """Training, validation and test examples.

    Raises:
      ValueError, FileNotFoundError: as `dlcore.data.image_classification.load`.
    """
    if flags.dataset == "digits":
        whole = digits("train")
        first = round(0.75 * len(whole))
        parts = whole.take(first), whole.subset(slice(first, None)), digits("test")
        data = Splits(*parts, whole.class_names, whole.arrays["image"].shape[1:])
    else:
        data = load(flags.dataset, flags.data_dir, seed=0)
        data = data._replace(train=data.train.take(EXAMPLES), valid=data.valid.take(VALID))
    if flags.small:
        data = data._replace(**{name: getattr(data, name).take(SMALL) for name in ("train", "valid", "test")})
    return data


def pixels(source: Source):
    """(images [N, H, W, C] float32 in [0, 1], labels [N])."""
    image = source.arrays["image"]
    return (image.astype("float32") / 255 if image.dtype == "uint8" else image), source.arrays["label"]


def remember_programs(folder: str = ".cache/tutorial") -> None:
    """Keep compiled programs in a folder, so that what was compiled once is not compiled for the next seed or run.

    Where jax was told of another folder (JAX_COMPILATION_CACHE_DIR), that one stays.
    """
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
