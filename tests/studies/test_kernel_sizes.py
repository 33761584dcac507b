"""The planted tasks, and the verdict on kernels of two sizes."""

import chex
import jax
import numpy as np
import pytest

from experiments.studies import kernel_sizes as study


def test_patterns_are_near_or_far_and_say_the_class():
    images, labels = study.draw("near", 400, 0)
    chex.assert_shape(images, (400, 13, 13, 1))
    bright = [np.argwhere(image[..., 0] > 1.4) for image in images]
    clean = [(b, label) for b, label in zip(bright, labels, strict=True) if len(b) == 2]
    assert len(clean) > 300
    assert all(np.abs(b[0] - b[1]).max() == 1 and (b[0, 1] > b[1, 1]) == label for b, label in clean)
    images, labels = study.draw("far", 400, 0)
    bright = [np.argwhere(image[..., 0] > 1.4) for image in images]
    clean = [(b, label) for b, label in zip(bright, labels, strict=True) if len(b) == 2]
    assert len(clean) > 300
    assert all(b[0, 0] == b[1, 0] and b[1, 1] - b[0, 1] == study.DISTANCES[label] for b, label in clean)


GOOD = {
    ("near", 3): [0.99, 0.98], ("near", 9): [0.85, 0.84], ("far", 3): [0.52, 0.51], ("far", 9): [0.97, 0.98],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped.
        ({(task, side): GOOD[task, 12 - side] for task, side in GOOD}, False),
        ({("near", 3): GOOD["near", 9], ("near", 9): GOOD["near", 3]}, False),
        ({("far", 9): [0.97, 0.5]}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report({arm: np.array(values) for arm, values in (GOOD | changes).items()})
    assert result.holds is holds


@pytest.mark.parametrize(("side", "count"), [(3, 64), (9, 9)])
def test_each_network_has_kernels_of_its_side_and_about_as_many_weights(side, count):
    """64 kernels of 9 weights are 576, 9 of 81 are 729."""
    shapes = jax.eval_shape(lambda: study.Net(side).init(jax.random.key(0), np.zeros((1, 13, 13, 1)), False))
    chex.assert_shape(shapes["params"]["conv"]["kernel"], (side, side, 1, count))
