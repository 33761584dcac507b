"""A technique and its supervised baseline in one run: what the unlabeled images gain.

    gain = accuracy - accuracy_supervised

Both have the same network, initial weights, labeled batches, weak views and number of steps (Oliver et al. 2018,
arXiv:1804.09170: a baseline that was tuned less, or trained on another network, makes every technique look good).
"""

from typing import Any

import jax
from flax import struct

from dlcore.learner import Learner, Metrics, State, Sum
from dlcore.semi_supervised.two_streams import streams

__all__ = ["TwinState", "add_twin"]


@struct.dataclass
class TwinState(State):
    """Two states side by side; `params` and `opt_state` are {"technique", "supervised"}.

    Args:
      others: the other arrays of both, by the same names.
    """

    others: dict[str, Any]

    @property
    def technique(self) -> Any:
        """The technique's own state."""
        return self.states[0]

    @property
    def states(self) -> tuple[Any, Any]:
        """The states of the technique and of the twin."""
        return tuple(
            self.others[name].replace(
                step=self.step, rng=self.rng, params=self.params[name], opt_state=self.opt_state[name]
            )
            for name in NAMES
        )

    @classmethod
    def of(cls, technique: Any, supervised: Any) -> "TwinState":
        """Join two states; step and random key are the technique's.

        Args:
          technique: state of the technique.
          supervised: state of the twin.

        Returns:
          The state of both.
        """
        both = dict(zip(NAMES, (technique, supervised), strict=True))
        return cls(
            technique.step,
            technique.rng,
            params={name: state.params for name, state in both.items()},
            opt_state={name: state.opt_state for name, state in both.items()},
            others={n: state.replace(step=None, rng=None, params=None, opt_state=None) for n, state in both.items()},
        )


NAMES = ("technique", "supervised")


def add_twin(learner: Learner, supervised: Learner) -> Learner:
    """Train a supervised baseline on the labeled stream beside a technique on both.

    Args:
      learner: learner of two streams, see `dlcore.semi_supervised.two_streams`; its `evaluate` returns `accuracy`, a
        `Sum`.
      supervised: supervised learner of the labeled stream, whose `evaluate` returns `accuracy`.

    Returns:
      The learner. Training logs `accuracy_supervised`; evaluation gives `gain`, too; `predict` is the technique's. Its
      loss is the sum of both, so that each has a gradient.
    """

    def init(rng: jax.Array, batch: Any) -> TwinState:
        return TwinState.of(learner.init(rng, batch), supervised.init(rng, streams(batch)[0]))

    def update(state: TwinState, batch: Any) -> tuple[TwinState, Metrics]:
        # The technique learns from both streams, the supervised baseline from the labeled one alone.
        technique_state, baseline_state = state.states
        # Update of the technique.
        technique_state, metrics = learner.update(technique_state, batch)
        # Update of the baseline; its accuracy is logged beside.
        baseline_state, baseline_metrics = supervised.update(baseline_state, streams(batch)[0])
        state = TwinState.of(technique_state, baseline_state)
        return state, metrics | {"accuracy_supervised": baseline_metrics["accuracy"]}

    def loss(params: Any, state: TwinState, batch: Any) -> tuple[jax.Array, Metrics]:
        technique_state, baseline_state = state.states
        value, metrics = learner.loss(params["technique"], technique_state, batch)
        baseline_loss, baseline_metrics = supervised.loss(params["supervised"], baseline_state, streams(batch)[0])
        return value + baseline_loss, metrics | {"accuracy_supervised": baseline_metrics["accuracy"]}

    def evaluate(state: TwinState, batch: Any) -> Metrics:
        technique_state, baseline_state = state.states
        metrics, baseline_accuracy = (
            learner.evaluate(technique_state, batch),
            supervised.evaluate(baseline_state, batch)["accuracy"],
        )
        gain = Sum(metrics["accuracy"].total - baseline_accuracy.total, baseline_accuracy.count)
        return metrics | {"accuracy_supervised": baseline_accuracy, "gain": gain}

    def classes(state: TwinState, batch: Any) -> dict:
        technique_state, baseline_state = state.states
        technique_classes = {} if learner.classes is None else learner.classes(technique_state, batch)
        return {**technique_classes, **supervised.classes(baseline_state, streams(batch)[0])}

    return Learner(
        init=init,
        update=update,
        evaluate=evaluate,
        predict=lambda state, batch: learner.predict(state.technique, batch),
        loss=None if learner.loss is None else loss,
        classes=classes,
    )
