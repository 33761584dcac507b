"""Weights of a classifier for a semi-supervised technique and for its supervised twin."""

from typing import Any

from dlcore.experiment.parts import Run
from dlcore.generative.two_players import PlayerState
from dlcore.learner import ModelState
from dlcore.optim.ema import init_average
from dlcore.semi_supervised.twin import TwinState
from dlcore.weights.start import CLASSIFIER, Start, start_classifier

__all__ = ["TwinWeights"]


class TwinWeights:
    """Weights of a classifier for the technique, its teacher and its baseline."""

    settings = CLASSIFIER

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `--init_from`."""
        classifier_start = start_classifier(run)
        if classifier_start is None:
            return None

        def replace(state: Any) -> Any:
            if not isinstance(state, TwinState):
                return _with_weights(classifier_start, state)
            return TwinState.of(*(_with_weights(classifier_start, part) for part in state.states))

        def check(state: Any) -> None:
            classifier_start.check(classifier_of(state.technique if isinstance(state, TwinState) else state))

        return Start(replace, check)


def classifier_of(state: Any) -> Any:
    """Return the classifier's state: a GAN's discriminator, else the state itself."""
    if not isinstance(state, PlayerState):
        return state
    params, opt_state, model_state = (
        getattr(state, name)["discriminator"] for name in ("params", "opt_state", "model_state")
    )
    return ModelState(state.step, state.rng, params, opt_state, model_state)


def _with_weights(classifier_start: Start, state: Any) -> Any:
    """Return a state whose classifier has the weights; a teacher starts as the student."""
    classifier = classifier_start.replace(classifier_of(state))
    weights = {"params": classifier.params, "model_state": classifier.model_state}
    if isinstance(state, PlayerState):
        replaced = {**weights, "opt_state": classifier.opt_state}
        classifier = state.replace(
            **{name: getattr(state, name) | {"discriminator": value} for name, value in replaced.items()}
        )
    if classifier.teacher is None:
        return classifier
    return classifier.replace(teacher=init_average(weights))
