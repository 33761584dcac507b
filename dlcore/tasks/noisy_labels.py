"""Labeled images, of which some training labels are wrong, and what is measured beside plain cross-entropy.

data=NoisyImages(Images("digits", resizing=Resizing(), augmentation=Augmentation("none")), noise_rate=0.4),
measures=[AccuracyBesideCrossEntropy()],
"""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from dlcore.data.images import MadeOfImages
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.kits.images import classifier_panels
from dlcore.kits.self_supervised import encoders
from dlcore.learner import ModelState, Range
from dlcore.report.context import ReportContext
from dlcore.semi_supervised.noisy_labels import KeepBest, Noise, corrupt_labels, transition_matrix
from dlcore.weights.start import CLASSIFIER, Start, start_classifier

__all__ = [
    "AccuracyBesideCrossEntropy",
    "AllNetworkWeights",
    "NoisyImages",
    "log_classes_of_networks",
    "technique_panels",
]


@dataclasses.dataclass(frozen=True)
class NoisyImages(MadeOfImages):
    """Labeled images, of which some training labels are wrong.

    Args:
      images: the images by name
      noise: a wrong label is any other class, or the next one (asymmetric)
      noise_rate: share of the training labels that are wrong
    """

    noise: Annotated[Noise, "essential"] = "symmetric"
    noise_rate: Annotated[float, Range(0, 0.95), "essential"] = 0.4

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, of which the training labels are noisy.

        Args:
          seed: seed of the splits and of the noise.
          min_classes: least number of classes.
        """
        splits = self.images.load(seed, min_classes)
        transition = transition_matrix(splits.spec["num_classes"], self.noise_rate, self.noise)
        train = corrupt_labels(splits.train, transition, seed)
        noise_fraction = (train.arrays["label"] != train.arrays["hidden_label"]).mean()
        message = (
            f"{noise_fraction:.1%} of the {len(train):,} training labels are wrong ({self.noise} noise of seed "
            f"{seed}); those of validation, by which early stopping stops, and of test are right"
        )
        return splits._replace(
            train=train, spec=splits.spec | {"transition": transition.tolist()}, notes=(*splits.notes, message)
        )

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `preprocess`, `augment` and `transition`."""
        transition = transition_matrix(run.facts.num_classes, self.noise_rate, self.noise)
        return {**self.images.arguments(run), "transition": transition}


class AccuracyBesideCrossEntropy:
    """Accuracy beside that of plain cross-entropy, to the end and stopped early by the validation split."""

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"

    def hooks(self, run: Run) -> list:
        """Keep cross-entropy's network where it knows the validation split best."""
        return [KeepBest()]

    def encoder(self, run: Run) -> Encoder:
        """Describe the technique's network, of co-teaching the first, for fine-tuning."""
        return encoders.encoder(
            run, variables=lambda state: {"params": state.params["technique"], **state.model_state["technique"]}
        )

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the accuracies of the technique and of cross-entropy."""
        from dlcore.report.semi_supervised import noisy_table

        return [noisy_table(context.numbers)]

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show filters and mistakes in TensorBoard."""
        return classifier_panels.pictures(context)


class AllNetworkWeights:
    """Weights of a classifier for all networks."""

    settings = CLASSIFIER

    def check(self, run: Run) -> None:
        """Check that two networks that learn from each other do not start equal."""
        source = run.flags.init_from
        if source is not None and run.parts.technique.keywords["technique"] == "co_teaching":
            raise FlagError(
                f"--init_from={source}: both networks of --technique=co_teaching would start and stay equal; "
                f"allowed: the other techniques"
            )

    def start(self, run: Run) -> Start | None:
        """Start all networks from the weights of `--init_from`."""
        single = start_classifier(run)
        if single is None:
            return None

        def network(state: Any, name: str) -> ModelState:
            return ModelState(state.step, state.rng, state.params[name], None, state.model_state[name])

        def replace(state: Any) -> Any:
            started = {name: single.replace(network(state, name)) for name in state.params}
            params, model_state = (
                {name: getattr(one, kind) for name, one in started.items()} for kind in ("params", "model_state")
            )
            optimizer = run.parts.optimizer.build(run.steps, run.steps_per_epoch)
            plain = {"params": params["cross_entropy"], "model_state": model_state["cross_entropy"]}
            return state.replace(
                params=params,
                model_state=model_state,
                opt_state=jax.jit(optimizer.init)(params),
                kept=jax.tree.map(jnp.copy, plain),
            )

        return Start(replace, lambda state: single.check(network(state, "technique")))


def log_classes_of_networks(run: Run) -> float:
    """Compute the technique's loss of equal scores and that of cross-entropy; of co-teaching three cross-entropies.

    Returns:
      Nats.
    """
    values, plain = run.parts.technique.keywords, math.log(run.facts.num_classes)
    if values["technique"] == "generalized" and values["q"] > 0:
        return plain + (1 - math.exp(-values["q"] * plain)) / values["q"]
    return (3 if values["technique"] == "co_teaching" else 2) * plain


def technique_panels(context: ReportContext) -> list:
    """Show the panels of a classifier, of the technique.

    Returns:
      Report panels.
    """
    return classifier_panels.panels(
        context._replace(state=context.state.replace(params=context.state.params["technique"]))
    )
