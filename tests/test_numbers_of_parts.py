"""Numbers of small parts of learners: out of their range, they are refused before anything is computed."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.flow_matching import solve_flow
from dlcore.rl.dynamic_programming import action_values
from dlcore.rl.environments import epsilon_greedy
from dlcore.rl.model_based import cross_entropy_method
from dlcore.self_supervised.fill_in import random_square
from dlcore.self_supervised.jigsaw import jigsaw
from dlcore.self_supervised.moco import enqueue
from dlcore.semi_supervised.class_balance import class_thresholds, init_class_means
from dlcore.semi_supervised.mixmatch import sharpen
from dlcore.semi_supervised.two_streams import averaging

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: averaging(2.0), "decay=2.*allowed"),
        (lambda: sharpen(jnp.array([0.5, 2.0]), 0.5), r"p\[1\]=2"),
        (lambda: init_class_means(0), "num_classes=0"),
        (lambda: class_thresholds(2.0, jnp.ones(3)), "threshold=2"),
        (lambda: jigsaw(gap=-1), "gap=-1"),
        (lambda: jigsaw(jitter=0.5), "jitter=0.5"),
        (lambda: jigsaw(grid=4), "grid=4"),
        (lambda: random_square(KEY, 8, 8, 2.0), "fraction=2"),
        (lambda: action_values(SimpleNamespace(num_states=4), np.zeros(3)), r"values=.*3.*allowed: \[4\]"),
        (
            lambda: epsilon_greedy(SimpleNamespace(num_actions=4), jax.random.split(KEY, 2), np.zeros((2, 9)), 0.1),
            r"values=.*9.*allowed: \[N, 4\]",
        ),
        (lambda: solve_flow(lambda x, t: x, jnp.ones(2), np.array([0.0, 0.5, 1.0])), "times=.*do not fall"),
    ],
)
def test_a_number_out_of_range_is_refused(call, error):
    with pytest.raises(ValueError, match=error):
        call()


def test_a_queue_of_numpy_takes_keys():
    queue, pointer = enqueue(np.zeros((3, 1), np.float32), jnp.int32(2), np.array([[1.0], [2.0]], np.float32))
    np.testing.assert_array_equal(queue, [[2], [0], [1]])
    assert pointer == 1


def test_a_candidate_without_a_score_is_never_the_best():
    """Of the candidates those below 0 have no score; the mean follows the best of the others."""
    best = cross_entropy_method(
        lambda x: jnp.where(x[:, 0] < 0, jnp.nan, -x[:, 0]), KEY, jnp.array([0.5]), population=50, num_elites=1
    )
    assert 0 <= best[0] <= 0.1
