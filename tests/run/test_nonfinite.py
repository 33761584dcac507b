"""When something turns bad: the error names the step where it began, the leaf, the operation, and spoils nothing."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, State, Sum, mask_of
from dlcore.optim import OPTIMIZERS, create_optimizer, cross_replica
from dlcore.run import Placement, Saving, fit, make_mesh
from dlcore.run.nonfinite import NonFiniteError, bad_leaves, unbounded_leaves

BAD = 5
"""The step (counted from 0) at which things go wrong."""


def placed(spmd="jit", count=1):
    return Placement(make_mesh(f"data:{count}", jax.devices()[:count]), spmd=spmd)


def learner(fault):
    """Two leaves; `fault(state, params, values)` gives the values whose mean is the loss."""
    tx = cross_replica(optax.sgd(0.01))

    def losses(params, state, batch):
        values = jnp.square(batch["x"] @ params["w"] + params["b"])
        return fault(state, params, values)

    def loss(params, state, batch):
        return losses(params, state, batch).mean(), {}

    def init(rng, batch):
        params = {"w": jax.random.normal(rng, (3,)), "b": jnp.ones(())}
        return State(jnp.int32(0), rng, params, tx.init(params))

    def update(state, batch):
        gradient = jax.grad(lambda p: loss(p, state, batch)[0])(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        values = losses(state.params, state, batch)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), {"loss": Sum.of(values)}

    def evaluate(state, batch):
        return {"loss": Sum.of(losses(state.params, state, batch), mask_of(batch))}

    return Learner(init, update, evaluate, lambda s, b: b["x"], loss)


def infinite_loss(state, params, values, bad=BAD):
    """The forward pass itself: 1 / 0."""
    return values + jnp.where(state.step == bad, 1.0 / jnp.where(state.step == bad, 0.0, 1.0), 0.0)


def bad_gradient(state, params, values):
    """A finite loss whose gradient is not: the square root of b - b. Only `b` is hit."""
    zero = jnp.abs(params["b"] - jax.lax.stop_gradient(params["b"]))
    return values + jnp.sqrt(jnp.where(state.step == BAD, zero, 1.0)) - jnp.where(state.step == BAD, 0.0, 1.0)


def fine(state, params, values):
    return values


def source(spoil=None):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    if spoil is not None:
        x[spoil] = np.nan
    return Source({"x": x}, 64)


def failing(fault=fine, pipe=None, placement=None, steps=12, learner=learner, **options):
    placement = placement or placed()
    options = {"log_every": 4, "saving": Saving(seconds=0), "progress": False, **options}
    with pytest.raises(NonFiniteError) as caught:
        fit(learner(fault), pipe or Pipeline(source(), 8), steps=steps, placement=placement, **options)
    return str(caught.value)


@pytest.mark.slow(unless=["4"])
@pytest.mark.parametrize("log_every", [1, 4, 100])
def test_a_loss_that_is_infinite_is_named_by_its_step_and_metrics(log_every):
    message = failing(infinite_loss, log_every=log_every)
    first = message.split("\n")[0]
    assert f"first at step {BAD}" in first
    assert f"step {BAD}: state and batch before it were finite" in message
    assert "'loss': inf" in message
    assert "parameters" not in message, "they do not depend on it"


def test_the_very_first_step_may_be_the_bad_one(caplog):
    message = failing(functools.partial(infinite_loss, bad=0), steps=2)
    assert "not finite at step 0: {'loss': inf}; replaying" in caplog.text
    assert "first at step 0:\n  step 0: state and batch before it were finite" in message


@pytest.mark.slow(unless=["4"])
@pytest.mark.parametrize("log_every", [1, 4, 100])
def test_a_gradient_that_is_not_finite_is_named_by_its_step_and_leaf(log_every):
    """The loss of that step is fine, that of the next is not: the step that did it is the one to be named."""
    message = failing(bad_gradient, log_every=log_every)
    assert f"first at step {BAD}" in message.split("\n")[0], message
    assert f"step {BAD}: state and batch before it were finite" in message
    assert "gradients of the loss that are not finite: b\n" in message
    assert "parameters that are not finite after it: b\n" in message
    assert "nan" not in message.split("\n")[1], "the metrics of that step were finite"


def test_the_operation_and_its_line_are_named():
    message = failing(infinite_loss)
    assert "div" in message.lower()
    assert __file__ in message


@pytest.mark.slow(only=["1", "2"])
@pytest.mark.parametrize("every", [0, 1, 2, 3])
def test_the_replay_starts_at_the_last_checkpoint(tmp_path, every):
    saving = Saving(seconds=0, steps=every, keep_last=10)
    message = failing(bad_gradient, folder=tmp_path, log_every=100, saving=saving)
    assert f"step {BAD}: state and batch before it were finite" in message
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == list(range(every, BAD + 1, every)) if every else kept == []


@pytest.mark.slow
def test_nothing_bad_is_saved_or_logged(tmp_path):
    failing(bad_gradient, folder=tmp_path, log_every=1, saving=Saving(seconds=0, steps=1))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(isinstance(row["loss"], float) for row in rows)
    assert not (tmp_path / "finished.json").exists()
    # The same again fails in the same way, and a mended learner goes on from the last good state.
    failing(bad_gradient, folder=tmp_path, log_every=1, saving=Saving(seconds=0, steps=1))
    result = fit(learner(fine), Pipeline(source(), 8), steps=12, folder=tmp_path, placement=placed(), progress=False)
    assert np.isfinite(np.asarray(result.state.params["w"])).all()
    assert result.step == 12


def test_a_batch_that_is_not_finite_is_the_culprit():
    pipe = Pipeline(source(spoil=17), 8, shuffle=False)  # rows 16..23 are batch 2
    message = failing(pipe=pipe)
    assert "first at step 2" in message
    assert "step 2: the batch itself is not finite: x" in message


def test_parameters_are_looked_at_even_where_no_metric_shows_it():
    """A metric that does not depend on the parameters stays finite for ever."""

    def blind(fault):
        base = learner(fault)

        def update(state, batch):
            state, _ = base.update(state, batch)
            return state, {"constant": Sum.of(jnp.ones(8))}

        return base._replace(update=update)

    message = failing(bad_gradient, learner=blind, log_every=3)
    assert f"first at step {BAD}" in message.split("\n")[0], message
    assert "parameters that are not finite after it: b\n" in message


def test_parameters_that_a_hook_spoils():
    def hook(step, state, metrics):
        return state.replace(params={**state.params, "w": jnp.full(3, jnp.nan)}) if step == 4 else None

    message = failing(log_every=2, hooks=[hook])
    assert "no longer finite" in message


@pytest.mark.slow
@pytest.mark.parametrize("placement", [placed(count=8), placed("pmap", 8)], ids=["mesh", "pmap"])
def test_on_several_devices(placement, tmp_path):
    message = failing(
        bad_gradient, placement=placement, folder=tmp_path, log_every=100, saving=Saving(seconds=0, steps=2)
    )
    assert f"step {BAD}: state and batch before it were finite" in message
    assert "parameters that are not finite after it: b" in message


def test_it_is_seen_between_log_lines_too(monkeypatch):
    import importlib

    monkeypatch.setattr(importlib.import_module("dlcore.run.fit"), "FOLD_EVERY", 3)
    seen = []

    class Counting(Pipeline):
        def batch_at(self, step):
            seen.append(step)
            return super().batch_at(step)

    failing(infinite_loss, pipe=Counting(source(), 8), log_every=1000, steps=1000)
    assert max(seen) < 20


def test_a_learner_without_a_loss_still_gets_its_leaf():
    message = failing(bad_gradient, learner=lambda fault: learner(fault)._replace(loss=None))
    assert "parameters that are not finite after it: b" in message
    assert "gradients of the loss" not in message


def test_bad_leaves():
    tree = {"a": np.array([1.0, np.nan]), "b": {"c": jnp.array([jnp.inf]), "d": jnp.ones(2)}, "n": np.arange(3)}
    assert bad_leaves(tree) == {"a", "b/c"}
    assert bad_leaves({"n": np.arange(3), "k": jax.random.key(0)}) == set()
    assert bad_leaves({}) == set()
    halves = {"a": jnp.array([1, jnp.nan], jnp.bfloat16), "b": jnp.array([-jnp.inf, 0]), "c": jnp.ones(2)}
    assert bad_leaves(halves) == {"a", "b"}, "NumPy cannot read bfloat16: the device checks"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_infinity_before_the_first_step_is_allowed_except_in_parameters_and_beside_a_nan(dtype):
    inf, nan = jnp.array([0, jnp.inf], dtype), jnp.array([jnp.nan, jnp.inf], dtype)
    state = State(jnp.int32(0), jnp.int32(0), {"w": inf}, {"best": inf, "broken": nan, "fine": jnp.ones(2, dtype)})
    assert unbounded_leaves(state) == {"opt_state/best"}


# The rest of the state, and the validation


def with_optimizer(tx, scale=1.0):
    """The plain learner under another optimizer, its gradients multiplied by `scale`; tx may want the loss."""
    base, tx = learner(fine), optax.with_extra_args_support(tx)

    def init(rng, batch):
        state = base.init(rng, batch)
        return state.replace(opt_state=tx.init(state.params))

    def update(state, batch):
        def value_fn(params):
            return base.loss(params, state, batch)[0]

        value, gradient = jax.value_and_grad(value_fn)(state.params)
        gradient = jax.tree.map(lambda g: g * scale, gradient)
        updates, opt_state = tx.update(
            gradient, state.opt_state, state.params, value=value, grad=gradient, value_fn=value_fn
        )
        params = optax.apply_updates(state.params, updates)
        after = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
        return after, {"loss": Sum.of(jnp.square(batch["x"]).sum(-1))}

    return base._replace(init=init, update=update, loss=None)


@pytest.mark.slow
def test_an_optimizer_that_stands_still_for_ever_is_an_error(tmp_path):
    """Squares of gradients of 1e25 are infinite in Adam's nu: every update is 0, and every number of the log fine."""
    options = {"folder": tmp_path, "log_every": 4, "saving": Saving(seconds=0, steps=1)}
    message = failing(learner=lambda fault: with_optimizer(optax.adam(0.1), 1e25), **options)
    assert "first at step 0" in message
    assert "other state that is not finite after it: opt_state/0/nu/b, opt_state/0/nu/w\n" in message
    assert "learning_rate" in message
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


OPTIMIZERS_BY_NAME = {
    **{name: create_optimizer(name, 1e-3, clip_norm=1.0, ema=0.9, accumulate=2) for name in OPTIMIZERS},
    "plateau": optax.chain(optax.sgd(1e-3), optax.contrib.reduce_on_plateau()),
    "lbfgs": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
    "apply_if_finite": optax.apply_if_finite(optax.adam(1e-3), 5),
}


@pytest.mark.slow(unless=["backtracking"])
@pytest.mark.parametrize("name", OPTIMIZERS_BY_NAME)
def test_no_optimizer_is_taken_for_broken(name, tmp_path):
    """Some hold infinities by design (the best value before the first, the errors of a line search), over a resume."""
    chosen = with_optimizer(OPTIMIZERS_BY_NAME[name])
    for steps in (2, 4):
        fit(
            chosen, Pipeline(source(), 8), steps=steps, folder=tmp_path, placement=placed(), log_every=1, progress=False
        )


def with_statistics(fault):
    """The plain learner with a running mean that `fault(step)` spoils; training does not read it, validation does."""
    base = learner(fine)

    def init(rng, batch):
        state = base.init(rng, batch)
        return state.replace(opt_state={"optimizer": state.opt_state, "mean": jnp.zeros(())})

    def update(state, batch):
        after, metrics = base.update(state.replace(opt_state=state.opt_state["optimizer"]), batch)
        mean = state.opt_state["mean"] + fault(state.step)
        return after.replace(opt_state={"optimizer": after.opt_state, "mean": mean}), metrics

    def evaluate(state, batch):
        return {"loss": Sum.of(batch["x"][:, 0] + state.opt_state["mean"], mask_of(batch))}

    return base._replace(init=init, update=update, evaluate=evaluate, loss=None)


@pytest.mark.slow(unless=["12"])
@pytest.mark.parametrize("eval_every", [1, 12])
def test_running_statistics_that_are_not_finite(eval_every, tmp_path):
    options = {"folder": tmp_path, "log_every": 12, "valid": source(), "eval_every": eval_every}
    spoiled = with_statistics(lambda step: jnp.where(step == BAD, jnp.nan, 0.0))
    message = failing(learner=lambda fault: spoiled, saving=Saving(monitor="loss"), **options)
    assert f"first at step {BAD}" in message
    assert "other state that is not finite after it: opt_state/mean" in message
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(isinstance(row["loss"], float) for row in rows)
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert all(step <= BAD for step in kept)


def test_validation_that_is_not_finite_while_the_state_is(tmp_path):
    message = failing(valid=source(spoil=3), eval_every=4, folder=tmp_path)
    assert message.startswith("validation is not finite after step 4: {'loss': nan}; the state is finite")
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))
