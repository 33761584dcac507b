"""An ensemble of trained classifiers: the mean of their probabilities.

    p(x) = 1/K sum_k softmax(f_k(x))

Hansen & Salamon 1990. -log is convex, so its loss is at most the members' mean loss, for every example.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.evaluators.test_time_augmentation import by_probabilities
from dlcore.learner import Batch, Learner

__all__ = ["ensemble"]


def ensemble(learners: Sequence[Learner], example: Batch) -> Learner:
    """Build a classifier that averages the probabilities of several.

    Args:
      learners: K learners whose `predict` returns `probabilities` [B, C].
      example: a batch with `label` [B] and the learners' inputs.

    Returns:
      The first learner with the ensemble's `evaluate` and `predict`, see `by_probabilities`; its state is the tuple of
      the K states.
    """
    widths = []
    for number, learner in enumerate(learners):
        if not hasattr(learner, "predict"):
            raise ValueError(
                f"learners[{number}]={type(learner).__name__}: no learner; allowed: learners of classifiers"
            )
        outputs = jax.eval_shape(
            lambda b, member=learner: member.predict(member.init(jax.random.key(0), b), b), example
        )
        probs = outputs.get("probabilities")
        if "label" not in example or probs is None or probs.ndim != 2:
            raise ValueError(f"run: number {number + 1} is no classifier; allowed: one run, or several of classifiers")
        widths.append(probs.shape[1])
    if len(set(widths)) != 1:
        raise ValueError(f"run: classifiers of {widths} classes; allowed: of as many")

    def probabilities(states: tuple, batch: Batch) -> jax.Array:
        pairs = zip(learners, states, strict=True)
        members: list[Any] = [learner.predict(state, batch)["probabilities"] for learner, state in pairs]
        return jnp.stack(members).mean(0)

    return by_probabilities(learners[0], probabilities)
