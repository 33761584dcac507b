"""Collectives over the replicas, which leave nothing in a program of one."""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import replica
from dlcore.ops.replica import REPLICA

DLCORE = Path(__file__).resolve().parents[2] / "dlcore"
FUNCTIONS = [replica.pmean, replica.psum, replica.all_gather, replica.local_rows]


def over_replicas(function, x):
    return jax.vmap(function, axis_name=REPLICA)(x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_is_left_in_a_program_of_one(function):
    x = jnp.arange(6.0).reshape(3, 2)
    assert function(x) is x
    assert not jax.make_jaxpr(function)(x).eqns
    # A mapped axis of another name is another's.
    np.testing.assert_array_equal(jax.vmap(function, axis_name="data")(x), x)


def test_one_replica_is_number_0_of_1_and_keeps_its_key():
    key = jax.random.key(0)
    assert not replica.is_replicated()
    assert (replica.replica_count(), replica.replica_index()) == (1, 0)
    assert replica.replica_key(key) is key


def test_a_jitted_function_is_traced_anew_where_the_axis_is_bound():
    mean, x = jax.jit(replica.pmean), jnp.array([1.0, 3.0])
    np.testing.assert_array_equal(mean(x[0]), 1)
    np.testing.assert_array_equal(over_replicas(mean, x), [2, 2])
    np.testing.assert_array_equal(mean(x[1]), 3)


def test_means_sums_and_counts_of_replicas():
    """Two replicas, (1, 2) and (3, 6): means (2, 4), sums (4, 8)."""
    x = jnp.array([[1.0, 2], [3, 6]])
    mean, total = over_replicas(lambda x: (replica.pmean(x), replica.psum({"x": x})["x"]), x)
    np.testing.assert_array_equal(mean, [[2, 4], [2, 4]])
    np.testing.assert_array_equal(total, [[4, 8], [4, 8]])
    counted = over_replicas(lambda x: (replica.replica_count(), replica.replica_index(), replica.is_replicated()), x)
    np.testing.assert_array_equal(np.stack(counted), [[2, 2], [0, 1], [True, True]])


def test_gathered_rows_stand_in_the_replicas_order_and_come_back():
    x = jnp.arange(12.0).reshape(3, 2, 2)
    everywhere, back = over_replicas(lambda x: (replica.all_gather(x), replica.local_rows(replica.all_gather(x))), x)
    for rows in everywhere:
        np.testing.assert_array_equal(rows, x.reshape(6, 2))
    np.testing.assert_array_equal(back, x)


def test_each_replica_has_a_key_of_its_own():
    keys = over_replicas(lambda _: jax.random.key_data(replica.replica_key(jax.random.key(0))), jnp.zeros(3))
    assert len({tuple(key) for key in np.asarray(keys).tolist()}) == 3


def test_no_function_takes_the_name_of_the_mapped_axis():
    """Modules have the field `axis_name`, to keep batch statistics apart; whatever else asks `dlcore.ops.replica`."""
    found = []
    for file in sorted(DLCORE.rglob("*.py")):
        room, text = file.relative_to(DLCORE).parts[0], file.read_text()
        if room in ("nn", "models") or not re.search(r"\baxis(_name)?\s*:.*\bstr\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.arg) and node.arg in ("axis", "axis_name") and node.annotation is not None:
                found += [f"{file.name}:{node.lineno}"] * ("str" in ast.unparse(node.annotation))
    assert not found
