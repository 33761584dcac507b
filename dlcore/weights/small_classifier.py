"""The classifier of images that a page names by `--network`, or else trains: a small one of its own images."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from flax import linen as nn

from dlcore.data import labeled_images
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Range
from dlcore.models import create_model
from dlcore.setting import FlagError, Setting
from dlcore.weights.network import NETWORK, check_fits, load_network, model_of, open_classifier
from dlcore.weights.open import Weights

__all__ = ["DEFAULT_MODEL", "SETTINGS", "Teacher", "default_model", "find_or_train"]

SETTINGS = {"network": NETWORK, "network_steps": Setting(400, "training steps of the default network", limits=Range(1))}


DEFAULT_MODEL = "resnet8_cifar"
"""The small network that is trained where none is given."""


_DATA = tuple(name for name in labeled_images.SETTINGS if name not in ("dataset", "input_size", "augment"))
"""The settings that decide which images there are, and in which split."""


def find_or_train(flags: Flags, page: Experiment | None) -> Path:
    """Find the network that `--network` names; without one, train a small classifier.

    That is a run of the page like any other, so that the next experiment finds it finished
    and measures by the same features. It reads the data as the page does, so that both carve the same splits and no
    network has seen the page's test images.

    Args:
      flags: `network`, `network_steps`, and the data's.
      page: page of a classifier of images; None trains none.

    Returns:
      The folder or file, for `load_network`.
    """
    if flags.network is not None:
        return Path(flags.network)
    if page is None:
        raise FlagError("--network=None: the page names no classifier to train; allowed: a trained network")
    words = [f"--dataset={flags.dataset}", f"--steps={flags.network_steps}", "--eval_every=100000"]
    words += [
        f"--model={DEFAULT_MODEL}",
        *(f"--model.{name}={value}" for name, value in _default_fields(flags).items()),
    ]
    words.append("--augment=none")
    words += [
        f"--{name}={flags.get(name)}" for name in ("seed", *_DATA, "runs", "progress") if flags.get(name) is not None
    ]
    return page.trained(words, "training a small classifier")


def default_model(flags: Flags, **fields: Any) -> nn.Module:
    """Build the network that `find_or_train` trains where `--network` names none.

    Args:
      flags: `smoke`.
      **fields: fields of the model, such as num_classes.
    """
    return create_model(DEFAULT_MODEL, **_default_fields(flags), **fields)


def _default_fields(flags: Flags) -> dict[str, Any]:
    return {"width": 16, "stem_stride": 2} | ({"stages": (1,)} if flags.smoke else {})


def _teacher(flags: Flags) -> Weights | None:
    """Open the teacher that `--network` names; images are normalized as it knows them."""
    return None if flags.network is None else open_classifier(flags.network, "network")


@dataclasses.dataclass(frozen=True)
class Teacher(CheckedRecord):
    """A trained classifier of the same classes, whose variables go into `teacher` of the state.

    Args:
      classifier: page that trains the teacher where `--network` names none
      network_steps: training steps of the default network
    """

    classifier: Experiment | None = None
    network_steps: Annotated[int, Range(1)] = 400

    settings: ClassVar[dict[str, Setting]] = {"network": NETWORK._replace(origin=_teacher)}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `teacher`; `start` trains the default one, so that --mode=plan need not."""
        facts, weights = run.facts, _teacher(run.flags)
        if weights is None:
            return {"teacher": default_model(run.flags, num_classes=facts.num_classes, dtype=run.dtype)}
        check_fits(weights, channels=len(facts.mean), class_names=list(facts.class_names))
        return {"teacher": model_of(weights)}

    def start(self, run: Run) -> Callable[[Any], Any]:
        """Put the teacher's variables into the state; gray images fill the channels of a teacher of colors."""
        facts = run.facts

        def replace(state: Any) -> Any:
            source = find_or_train(run.flags, self.classifier)
            network = load_network(source, channels=len(facts.mean), class_names=list(facts.class_names))
            return state.replace(teacher=network.variables)

        return replace
