"""Figure of dlcore.semi_supervised.two_streams; its docstring is the caption."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.semi_supervised.two_streams import averaging, ramp_up, snapshots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["two_streams"]


def two_streams() -> "Figure":
    """What the techniques of two streams share: a weight that rises, and a teacher that follows the student.

    Left: the weight of the unlabeled loss by the length T of its ramp, from 0.007 to 1; half-way it is 0.29. Right: one
    weight of a noisy student (gray), the teacher that averages it (blue), and the one that copies it every 50 steps
    (green).
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    steps = jnp.arange(300)
    for length, color, style in ((0, GRAY, ":"), (100, VERMILION, "--"), (200, BLUE, "-")):
        left.plot(steps, jax.vmap(lambda t, n=length: ramp_up(t, n))(steps), style, color=color, label=f"T = {length}")
    student = 1 - jnp.exp(-steps / 60) + 0.1 * jax.random.normal(jax.random.key(0), (300,))
    right.plot(steps, student, ".", color=GRAY, markersize=3, label="student")
    rows = ((averaging(0.95), BLUE, "-", "average"), (snapshots(50), GREEN, "--", "snapshot"))
    for teacher, color, style, name in rows:
        right.plot(steps, _followed(teacher.follow, student), style, color=color, label=name)
    left.set(xlabel="step", ylabel="weight of the unlabeled loss")
    right.set(xlabel="step", ylabel="one weight of a network")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def _followed(follow: Callable, student: jax.Array) -> jax.Array:
    """Values of a teacher after each step of the student, [T]."""

    def step(teacher, now):
        teacher = follow(teacher, *now)
        return teacher, teacher

    return jax.lax.scan(step, student[0], (student, jnp.arange(1, len(student) + 1)))[1]
