"""One compiled step: its carry, its record of what was not finite, donation, pmap's shapes, no second compilation."""

import contextlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dlcore.learner import Last, Learner, Max, State, Sum
from dlcore.optim import cross_replica
from dlcore.run import Placement, make_mesh
from dlcore.run.pmap import program_for
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import all_finite

COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *args, **kwargs: COMPILED.append(event) if event.endswith("backend_compile_duration") else None
)


@contextlib.contextmanager
def compilations():
    """A list that holds, at the end, one entry a backend compilation inside the block."""
    before = len(COMPILED)
    found: list[str] = []
    yield found
    found.extend(COMPILED[before:])


@struct.dataclass
class Carried(State):
    """carry: one row an example. keys: an array of typed keys, a row an example too. teacher: shaped as params."""

    carry: jax.Array
    keys: jax.Array
    teacher: Any


def one_device(spmd="jit"):
    return Placement(make_mesh("data:1", jax.devices()[:1]), spmd=spmd)


def eight(spmd="jit"):
    return Placement(make_mesh("data:8"), spmd=spmd)


def regression(metrics=lambda state, batch, losses: {}, init=None) -> Learner:
    """w x ~ y by SGD; the carry adds up each stream's losses."""
    tx = cross_replica(optax.sgd(0.1, momentum=0.9))

    def losses(params, batch):
        return jnp.square(batch["x"] @ params["w"] + params["b"] - batch["y"])

    def start(rng, batch):
        params = {"w": jax.random.normal(rng, (3,)), "b": jnp.zeros(())}
        rows = batch["x"].shape[0]
        keys = jax.vmap(lambda i: jax.random.fold_in(rng, i))(jnp.arange(rows))
        return Carried(jnp.int32(0), rng, params, tx.init(params), jnp.zeros(rows), keys, teacher=params)

    def update(state, batch):
        values = losses(state.params, batch)
        gradient = jax.grad(lambda p: losses(p, batch).mean())(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        after = state.replace(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            carry=state.carry + values,
            teacher=jax.tree.map(lambda t, p: 0.9 * t + 0.1 * p, state.teacher, params),
        )
        return after, {"loss": Sum.of(values), **metrics(state, batch, values)}

    return Learner(
        init or start,
        update,
        lambda s, b: {"loss": Sum.of(losses(s.params, b))},
        lambda s, b: b["x"],
        batched=("carry", "keys"),
    )


def batch(step=0, rows=16):
    rng = np.random.default_rng(step)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    return {"x": x, "y": x.sum(-1), "index": np.arange(rows, dtype=np.int32)}


def program_of(placement, **kwargs):
    program = program_for(regression(**kwargs), batch(), placement, 0)
    program.compile()
    return program


def steps(program, carry, count):
    for step in range(count):
        carry = program.step(carry, program.put(batch(step)))
    return carry


def data(tree):
    def plain(x):
        return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return jax.tree.map(plain, tree)


# Placements


def test_placements_that_cannot_be():
    with pytest.raises(ValueError, match="spmd='xmap': unknown; allowed: jit, pmap"):
        Placement(make_mesh(), spmd="xmap")
    with pytest.raises(ValueError, match="spmd='pmap': replicates parameters"):
        Placement(make_mesh(), "fsdp", "pmap")
    with pytest.raises(ValueError, match="spmd='pmap': replicates parameters"):
        Placement(make_mesh("data:4,model:2"), spmd="pmap")
    assert Placement(make_mesh("data:4,model:2")).data_size == 4


@pytest.mark.slow
def test_every_placement_starts_from_the_same_bits():
    first = program_for(regression(), batch(), one_device(), 0).init(batch()).state
    for placement in (eight(), eight("pmap"), Placement(make_mesh("data:4,model:2"), "fsdp+tensor")):
        other = program_for(regression(), batch(), placement, 0).init(batch()).state
        chex.assert_trees_all_equal(data(first), data(other))
    moved = program_for(regression(), batch(), one_device(), 1).init(batch()).state
    assert not np.allclose(moved.params["w"], first.params["w"])


# Donation


def test_the_carry_is_donated_and_an_undonated_step_leaves_it_alone():
    program = program_of(one_device())
    carry = program.init(batch())
    kept = program.undonated()(carry, program.put(batch()))
    assert not carry.state.params["w"].is_deleted()
    after = program.step(carry, program.put(batch()))
    assert carry.state.params["w"].is_deleted()
    chex.assert_trees_all_equal(data(kept), data(after))


@pytest.mark.slow(only=["one"])
@pytest.mark.parametrize("placement", [one_device(), eight()], ids=["one", "eight"])
def test_a_start_that_aliases_leaves_survives_donation(placement):
    """`teacher=params` outside jit is one buffer twice; donated so, eight CPU devices end in a segfault."""
    program = program_of(placement)

    def start(state):
        return state.replace(teacher=state.params, params={**state.params, "b": state.params["b"]})

    carry = program.init(batch(), start)
    buffers = [
        shard.data.unsafe_buffer_pointer()
        for _, leaf in leaf_paths((carry.state.params, carry.state.teacher))
        for shard in leaf.addressable_shards
    ]
    assert len(set(buffers)) == len(buffers)
    after = steps(program, carry, 2)
    assert np.isfinite(np.asarray(after.state.teacher["w"])).all()


def test_start_may_give_numpy_arrays_and_must_keep_shapes_and_dtypes():
    program = program_of(eight())
    carry = program.init(batch(), lambda s: s.replace(params={"w": np.ones(3, np.float32), "b": np.float32(2.0)}))
    np.testing.assert_array_equal(carry.state.params["w"], np.ones(3))
    steps(program, carry, 1)
    with pytest.raises(ValueError, match=r"start changes params/w from float32\[3\] to float64\[3\]"):
        program.init(batch(), lambda s: s.replace(params={"w": np.ones(3), "b": np.float32(2.0)}))
    with pytest.raises(ValueError, match=r"start changes params/b from float32\[\] to float\[\]"):
        program.init(batch(), lambda s: s.replace(params={"w": np.ones(3, np.float32), "b": 2.0}))
    with pytest.raises(ValueError, match=r"start changes params/w from float32\[3\] to float32\[4\]"):
        program.init(batch(), lambda s: s.replace(params={"w": np.ones(4, np.float32), "b": np.float32(2.0)}))
    with pytest.raises(ValueError, match=r"start changes the structure of the state: .*params/extra"):
        program.init(batch(), lambda s: s.replace(params={**s.params, "extra": np.ones(1)}))


def test_an_update_that_loses_or_adds_a_leaf_is_named():
    learner = regression()

    def update(state, batch):
        state, metrics = learner.update(state, batch)
        return state.replace(params={**state.params, "momentum": jnp.zeros(2)}), metrics

    with pytest.raises(ValueError, match=r"update changes the structure of the state: params/momentum"):
        program_for(learner._replace(update=update), batch(), one_device(), 0)


# Compilation


def test_weak_types_do_not_compile_twice():
    """Python numbers in the first state are weakly typed, and an update makes them strong."""

    def init(rng, batch):
        state = regression().init(rng, batch)
        return state.replace(step=jnp.asarray(0), params={"w": state.params["w"], "b": jnp.asarray(0.0) * 1.0})

    program = program_of(one_device(), init=init)
    carry = program.init(batch())
    assert not any(getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves(carry))
    carry = program.step(carry, program.put(batch()))
    with compilations() as found:
        steps(program, carry, 3)
    assert not found
    assert program.traces == 1


@pytest.mark.slow(unless=["jit"])
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_logging_compiles_nothing_after_the_first_time(spmd):
    """Taking the sums at a log step must not build a new function each time."""
    program = program_of(eight(spmd))
    carry = program.split(program.init(batch()))
    for _ in range(2):
        carry = steps(program, carry, 1)
        _, carry = program.take_sums(carry)
        program.join(carry)
    with compilations() as found:
        for _ in range(5):
            carry = steps(program, carry, 1)
            _, carry = program.take_sums(carry)
            program.join(carry)
    assert not found, f"{len(found)} compilations in five log steps"


def test_hooks_that_return_a_state_compile_nothing_after_the_first_time():
    program = program_of(one_device())
    state = program.place(program.init(batch()).state)
    with compilations() as found:
        for _ in range(3):
            state = program.place(state)
    assert not found


def test_wide_host_dtypes_are_cast_and_other_shapes_refused():
    wide = {**batch(), "x": batch()["x"].astype(np.float64), "index": np.arange(16)}
    program = program_for(regression(), wide, one_device(), 0)
    program.compile()
    carry = program.init(wide)
    with compilations() as found:
        carry = program.step(carry, program.put(wide))
    assert not found
    with pytest.raises(TypeError):
        program.step(carry, program.put(batch(rows=8)))


# Sums and the record


def test_sums_add_up_and_start_again():
    program = program_of(one_device(), metrics=lambda s, b, v: {"top": Max(v.max()), "t": Last(s.step)})
    carry = steps(program, program.init(batch()), 3)
    sums, carry = program.take_sums(carry)
    assert int(sums["loss"].count) == 48
    assert int(sums["t"].value) == 2
    assert isinstance(sums["loss"].total, np.ndarray | np.generic)
    again, carry = program.take_sums(carry)
    assert again["loss"].compute() is None
    assert again["top"].compute() is None
    carry = program.step(carry, program.put(batch()))
    assert int(program.take_sums(carry)[0]["loss"].count) == 16


def spoiled(at, value):
    """A metric that is `value` at the steps `at` and 1 elsewhere."""

    def metrics(state, batch, losses):
        hit = jnp.isin(state.step, jnp.array(at))
        return {"spoiled": Sum.of(jnp.where(hit, value, 1.0)[None])}

    return metrics


@pytest.mark.slow(unless=["inf-jit"])
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_bad_step_is_kept_with_its_metrics(value, spmd):
    program = program_of(eight(spmd), metrics=spoiled([2, 4], value))
    carry = steps(program, program.split(program.init(batch())), 2)
    assert int(program.join(carry).bad_step) == -1
    for step in range(2, 6):
        carry = program.step(carry, program.put(batch(step)))
        _, carry = program.take_sums(carry)
    joined = program.join(carry)
    assert int(joined.bad_step) == 2
    assert not np.isfinite(joined.bad["spoiled"].compute())
    wanted = program_of(one_device(), metrics=spoiled([2, 4], value))
    other = steps(wanted, wanted.init(batch()), 3)
    assert joined.bad["loss"].compute() == pytest.approx(other.bad["loss"].compute(), rel=1e-5)


def test_blanks_and_integers_are_not_bad():
    """Nothing was counted: a zero count, or a largest value of nothing, is blank and not an error."""

    def metrics(state, batch, losses):
        nothing = jnp.zeros(losses.shape)
        return {
            "mean": Sum.of(jnp.full(losses.shape, jnp.nan), nothing),
            "largest": Max(jnp.where(nothing > 0, losses, -jnp.inf).max()),
            "count": Sum(jnp.int32(3)),
            "most": Max(jnp.where(nothing > 0, 1, jnp.iinfo(jnp.int32).min).max().astype(jnp.int32)),
        }

    program = program_of(one_device(), metrics=metrics)
    carry = steps(program, program.init(batch()), 2)
    assert int(carry.bad_step) == -1
    sums, _ = program.take_sums(carry)
    assert {name: sums[name].compute() for name in sums if name != "loss"} == {
        "mean": None,
        "largest": None,
        "count": 6,
        "most": None,
    }


def test_a_largest_value_of_plus_infinity_is_bad():
    program = program_of(one_device(), metrics=lambda s, b, v: {"top": Max(jnp.float32(jnp.inf))})
    assert int(steps(program, program.init(batch()), 1).bad_step) == 0


def test_finite_looks_at_floats_alone():
    assert all_finite({"a": jnp.ones(2), "n": jnp.arange(3)})
    assert not all_finite({"a": jnp.array([1.0, jnp.nan])})
    assert not all_finite({"a": jnp.array([jnp.inf]), "n": jnp.arange(3)})
    assert all_finite({"n": jnp.arange(3)})


# pmap's shapes


@pytest.mark.slow
def test_split_and_join_are_inverse():
    program = program_of(eight("pmap"))
    carry = steps(program, program.split(program.init(batch())), 2)
    joined = program.join(carry)
    chex.assert_shape(joined.state.carry, (16,))
    chex.assert_shape(joined.state.keys, (16,))
    chex.assert_shape(joined.state.params["w"], (3,))
    chex.assert_trees_all_equal_shapes_and_dtypes(joined, program.abstract_carry)
    stacked = program.split(joined)
    chex.assert_shape(stacked.state.carry, (8, 2))
    chex.assert_shape(stacked.state.params["w"], (8, 3))
    chex.assert_trees_all_equal(data(stacked), data(carry))
    chex.assert_trees_all_equal(data(program.join(stacked)), data(joined))


def test_rows_keep_their_order_over_replicas():
    """Each stream's carry meets its own rows of the batch, under jit and pmap alike."""
    one, mapped = program_of(one_device()), program_of(eight("pmap"))
    left = steps(one, one.init(batch()), 3).state
    right = mapped.join(steps(mapped, mapped.split(mapped.init(batch())), 3)).state
    np.testing.assert_allclose(left.carry, right.carry, rtol=1e-5)
    chex.assert_trees_all_equal(data(left.keys), data(right.keys))


@pytest.mark.slow
def test_metrics_of_replicas_are_joined():
    def metrics(state, batch, losses):
        return {"top": Max(batch["index"].max()), "rows": Sum(jnp.int32(losses.shape[0])), "lr": Last(jnp.float32(0.1))}

    mapped = program_of(eight("pmap"), metrics=metrics)
    carry = steps(mapped, mapped.split(mapped.init(batch())), 2)
    sums, carry = mapped.take_sums(carry)
    assert sums["top"].compute() == 15
    assert sums["rows"].compute() == 2 * 16
    assert sums["lr"].compute() == pytest.approx(0.1)
    one = program_of(one_device(), metrics=metrics)
    want, _ = one.take_sums(steps(one, one.init(batch()), 2))
    assert sums["loss"].compute() == pytest.approx(want["loss"].compute(), rel=1e-5)
    assert int(sums["loss"].count) == 32
    assert mapped.take_sums(carry)[0]["rows"].compute() == 0


def test_a_batch_leaf_that_does_not_divide_goes_to_every_replica():
    def metrics(state, batch, losses):
        return {"style": Max(batch["style"].sum())}

    placement = eight("pmap")
    rows = {**batch(), "style": np.full((1, 4), 2.0, np.float32)}
    program = program_for(regression(metrics), rows, placement, 0)
    program.compile()
    carry = program.step(program.split(program.init(rows)), program.put(rows))
    assert program.take_sums(carry)[0]["style"].compute() == 8.0


def test_batched_leaves_that_do_not_divide():
    rows = batch(rows=12)
    placement = eight("pmap")
    with pytest.raises(ValueError, match="carry has 12 rows, which do not divide over 8 devices"):
        program_for(regression(), rows, placement, 0)
    program = program_for(regression(), rows, eight("jit"), 0)
    program.compile()
    assert program.state_shardings.carry.is_fully_replicated
