"""A run's tested weights are read from its checkpoint alone: no learner, and no state of the optimizer."""

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.learner import ModelState
from dlcore.optim.ema import ParameterEmaState, track_parameter_ema
from dlcore.rl.seeds import SeedsState
from dlcore.run.checkpoint import Checkpoints
from dlcore.semi_supervised.twin import TwinState
from dlcore.weights.open import Weights
from dlcore.weights.read import read_tested_weights
from tests.saved_runs import save_state

PARAMS = {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros((0, 3), np.float32)}}


def state_of(params=PARAMS, opt_state=(), **model_state):
    return ModelState(np.int32(4), np.zeros(2, np.uint32), params, opt_state, model_state)


def test_parameters_statistics_and_further_fields_come_back(tmp_path):
    """An array of size zero, which orbax does not save, comes back as well."""
    statistics = {"bn": {"mean": np.float32([1, 2])}}
    save_state(tmp_path, state_of(opt_state=(np.ones(5),), batch_stats=statistics))
    weights = read_tested_weights(tmp_path, fields=("step_sizes", "rng"))
    chex.assert_trees_all_equal(weights.variables, {"params": PARAMS, "batch_stats": statistics})
    assert weights.fields == {"step_sizes": {}, "rng": {}}, "a field is a tree; a state without it gives none"


def test_a_key_with_a_slash_is_one_key(tmp_path):
    """An adapter names the layers that it changes by their paths."""
    params = {"adapter": {"blocks_0/attn": {"a": np.float32([1])}}}
    save_state(tmp_path, state_of(params))
    chex.assert_trees_all_equal(read_tested_weights(tmp_path).params, params)


def test_the_average_is_that_of_the_optimizers_chain_in_the_dtype_of_the_parameters(tmp_path):
    """After one update of w = 2 by -1 the average is 0.5 * 2 + 0.5 * 1 = 1.5, for a decay of 0.5 at most."""
    params = {"w": jnp.full(3, 2, jnp.bfloat16)}
    chain = optax.chain(optax.sgd(1.0), track_parameter_ema(0.5))
    opt_state = chain.init(params)
    average = ParameterEmaState(jnp.int32(1), {"w": jnp.full(3, 1.5, jnp.float32)})
    save_state(tmp_path, state_of(params, (*opt_state[:-1], average)))
    weights = read_tested_weights(tmp_path, average=True)
    assert weights.params["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(weights.params["w"].astype(np.float32), [1.5, 1.5, 1.5])
    np.testing.assert_array_equal(read_tested_weights(tmp_path).params["w"].astype(np.float32), [2, 2, 2])


def test_each_network_with_an_optimizer_of_its_own_has_its_average(tmp_path):
    params = {name: {"w": np.float32([k])} for k, name in enumerate(("a", "b"))}
    opt_state = {name: (ParameterEmaState(np.int32(1), {"w": np.float32([k + 7])}),) for k, name in enumerate("ab")}
    save_state(tmp_path, state_of(params, opt_state))
    average = read_tested_weights(tmp_path, average=True).params
    chex.assert_trees_all_equal(average, {"a": {"w": np.float32([7])}, "b": {"w": np.float32([8])}})


def test_of_several_seeds_all_are_read(tmp_path):
    """The parameters of three agents stand along the first axis."""
    params = {"w": np.arange(3, dtype=np.float32)}
    save_state(tmp_path, SeedsState(np.int32(1), np.zeros(2, np.uint32), state_of(params)))
    chex.assert_trees_all_equal(read_tested_weights(tmp_path).params, params)


def test_beside_a_supervised_baseline_the_techniques_weights_are_read(tmp_path):
    states = [state_of({"w": np.float32([k])}, (), batch_stats={"mean": np.float32([k + 5])}) for k in range(2)]
    save_state(tmp_path, TwinState.of(*states))
    expected = {"params": {"w": np.float32([0])}, "batch_stats": {"mean": np.float32([5])}}
    chex.assert_trees_all_equal(read_tested_weights(tmp_path).variables, expected)


def test_the_best_step_is_read_and_a_damaged_one_is_replaced_by_the_newest(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", keep_last=3)
    for step, score in ((1, 0.2), (2, 0.9), (3, 0.5)):
        store.save(step, {"state": state_of({"w": np.float32([step])})}, {}, score)
    store.close()

    def read(mode):
        return read_tested_weights(tmp_path, mode=mode).params["w"].item()

    assert [read(mode) for mode in ("max", "min", None)] == [2, 1, 3]
    (tmp_path / "checkpoints" / "2" / "note" / "metadata").write_text("{")
    assert read("max") == 3
    files = [path for path in (tmp_path / "checkpoints" / "3" / "state").rglob("d/*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    assert read("max") == 1


@pytest.mark.parametrize(
    ("settings", "mode", "value"),
    [
        ({"select": "best", "ema": 0.99}, "max", 12),
        ({"select": "best", "ema": 0.99}, "min", 11),
        ({"select": "best", "ema": None}, "max", 2),
        ({"select": "last", "ema": 0.99}, "max", 13),
        ({}, "max", 3),
    ],
)
def test_a_run_is_read_as_it_was_tested(tmp_path, settings, mode, value):
    """Its best step in the sense of its task, or the last; the average, here 10 more, where it kept one."""
    store = Checkpoints(tmp_path / "checkpoints", keep_last=3)
    for step, score in ((1, 0.2), (2, 0.9), (3, 0.5)):
        average = ParameterEmaState(np.int32(1), {"w": np.float32([step + 10])})
        store.save(step, {"state": state_of({"w": np.float32([step])}, (average,))}, {}, score)
    store.close()
    found = Weights("init_from", tmp_path, page="a.page", settings=settings, monitor_mode=mode).variables()
    assert found["params"]["w"].item() == value


def test_a_flipped_bit_is_damage(tmp_path):
    save_state(tmp_path, state_of())
    path = tmp_path / "checkpoints" / "1" / "note" / "metadata"
    text = path.read_text()
    start = text.index("state/params/dense/kernel", text.index('"checksums"'))
    digit = next(i for i in range(text.index(":", start), len(text)) if text[i].isdigit())
    path.write_text(text[:digit] + str((int(text[digit]) + 1) % 9 + 1) + text[digit + 1 :])
    with pytest.raises(OSError, match=r"none of the checkpoints \[1\] .* differs from its checksum"):
        read_tested_weights(tmp_path)


def test_a_run_without_such_weights_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        read_tested_weights(tmp_path)
    save_state(tmp_path, {"q_values": np.zeros(3)})
    with pytest.raises(ValueError, match="its state has no params; allowed: a run of a learner with params"):
        read_tested_weights(tmp_path)
    save_state(tmp_path / "other", state_of())
    with pytest.raises(ValueError, match="holds 0 averages of the parameters; allowed: one"):
        read_tested_weights(tmp_path / "other", average=True)
