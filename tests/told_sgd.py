"""Gradient descent that must be told the loss, as schedules by plateaus and line searches are."""

import jax
import optax


def told_sgd(rate: float) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that takes the steps of SGD, and fails where it is not told `value`."""

    def update(slopes, state, params=None, *, value, **others):
        return jax.tree.map(lambda slope: -rate * slope, slopes), state

    return optax.GradientTransformationExtraArgs(optax.sgd(rate).init, update)
