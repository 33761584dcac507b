"""One contract over every learner: seven toys, one a regime, in full; every experiment by its first step.

The toys are the smallest learners that need each part of the contract. Equality across devices is tested under plain
SGD in float32: under Adam, rounding noise becomes whole steps.
"""

import dataclasses
import importlib
import json
import pathlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.parts import Measure
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Last, Learner, Max, State, Sum, example_keys, mask_of
from dlcore.modes.export import PLATFORMS, example_batch, flat_predict, trace_program
from dlcore.ops.replica import all_gather
from dlcore.optim import cross_replica
from dlcore.run import Placement, Saving, evaluate, fit, make_mesh
from dlcore.run.preemption import Preempted
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import Program
from dlcore.search.__main__ import SETTINGS
from dlcore.search.metric import monitor_mode_of
from dlcore.setting import FlagError

ROOT = pathlib.Path(__file__).parents[1]


class Toy(NamedTuple):
    """A learner, its data, and the measure that must move: `sign` is +1 where it must rise."""

    make: Any
    train: Any
    valid: Source
    measure: str
    sign: int
    steps: int = 60
    pmap: bool = True


def sgd(rate: float):
    return cross_replica(optax.sgd(rate))


def scalar_step():
    return jnp.zeros((), jnp.int32)


# 1. Supervised


def blobs(n: int = 96) -> Source:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, n).astype(np.int32)
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], np.float32)
    x = centres[label] + rng.normal(size=(n, 4)).astype(np.float32) * 0.5
    return Source({"x": x, "label": label}, n, name="blobs")


def supervised():
    tx = sgd(0.5)

    def logits(params, x):
        return x @ params["kernel"] + params["bias"]

    def loss(params, state, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(params, batch["x"]), batch["label"])
        mask = mask_of(batch)
        return (losses * mask).sum() / mask.sum(), {
            "loss": Sum.of(losses, mask),
            "largest": Max(jnp.where(mask > 0, losses, -jnp.inf).max()),
            "rate": Last(jnp.float32(0.5)),
        }

    def init(rng, batch):
        params = {"kernel": jax.random.normal(rng, (4, 3)) * 0.1, "bias": jnp.zeros(3)}
        return State(scalar_step(), rng, params, tx.init(params))

    def update(state, batch):
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def predict(state, batch):
        return logits(state.params, batch["x"])

    return Learner(init, update, lambda s, b: loss(s.params, s, b)[1], predict, loss)


# 2. Two players


def gan():
    tx = sgd(0.05)

    def fake(generator, batch, rng):
        z = jax.vmap(lambda key: jax.random.normal(key, (2,)))(example_keys(rng, batch))
        return z * 0.5 + generator["shift"]

    def score(discriminator, x):
        return x @ discriminator["w"] + discriminator["b"]

    def init(rng, batch):
        params = {
            "generator": {"shift": jnp.zeros(2)},
            "discriminator": {"w": jax.random.normal(rng, (2,)) * 0.1, "b": jnp.zeros(())},
        }
        return State(scalar_step(), rng, params, {name: tx.init(p) for name, p in params.items()})

    def distance(params, batch):
        shift = jnp.abs(params["generator"]["shift"] - 1.0).sum()
        return Sum.of(jnp.full(batch["index"].shape, shift), mask_of(batch))

    def update(state, batch):
        rng = jax.random.fold_in(state.rng, state.step)
        generator, discriminator = state.params["generator"], state.params["discriminator"]

        def d_loss(d):
            real, made = score(d, batch["x"]), score(d, fake(generator, batch, rng))
            return jax.nn.softplus(-real).mean() + jax.nn.softplus(made).mean() + 0.1 * jnp.square(d["w"]).sum()

        def g_loss(g):
            return jax.nn.softplus(-score(discriminator, fake(g, batch, rng))).mean()

        opt = dict(state.opt_state)
        grads = jax.grad(d_loss)(discriminator)
        updates, opt["discriminator"] = tx.update(grads, opt["discriminator"], discriminator)
        new_d = optax.apply_updates(discriminator, updates)
        updates, opt["generator"] = tx.update(jax.grad(g_loss)(generator), opt["generator"], generator)
        params = {"generator": optax.apply_updates(generator, updates), "discriminator": new_d}
        return state.replace(step=state.step + 1, params=params, opt_state=opt), {"distance": distance(params, batch)}

    def predict(state, batch):
        return fake(state.params["generator"], batch, state.rng)

    return Learner(init, update, lambda s, b: {"distance": distance(s.params, b)}, predict)


def points(n: int = 64) -> Source:
    x = 1.0 + 0.5 * np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)
    return Source({"x": x}, n, name="points")


# 3. EMA teacher


@struct.dataclass
class TeacherState(State):
    teacher: Any
    queue: jax.Array


def teacher():
    tx = sgd(0.2)

    def init(rng, batch):
        params = {"kernel": jax.random.normal(rng, (4, 4)) * 0.3}
        return TeacherState(scalar_step(), rng, params, tx.init(params), teacher=params, queue=jnp.zeros((16, 4)))

    def losses(params, state, batch):
        return jnp.square(batch["x"] @ params["kernel"] - batch["x"] @ state.teacher["kernel"] - 0.1 * batch["x"]).sum(
            -1
        )

    def update(state, batch):
        def loss(params):
            values = losses(params, state, batch)
            return values.mean(), {"loss": Sum.of(values)}

        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        keys = all_gather(batch["x"] @ state.teacher["kernel"])
        queue = jnp.concatenate([keys, state.queue])[: state.queue.shape[0]]
        average = jax.tree.map(lambda t, p: 0.99 * t + 0.01 * p, state.teacher, params)
        return state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, teacher=average, queue=queue
        ), metrics

    def evaluate_fn(state, batch):
        return {"loss": Sum.of(losses(state.params, state, batch), mask_of(batch))}

    return Learner(init, update, evaluate_fn, lambda s, b: b["x"] @ s.teacher["kernel"])


# 4. Truncated back-propagation through time: the carry crosses batches


@struct.dataclass
class CarryState(State):
    carry: jax.Array


def recurrent():
    tx = sgd(0.1)

    def run(params, carry, x):
        def step(h, x_t):
            h = jnp.tanh(h * params["a"] + x_t * params["b"])
            return h, h * params["c"]

        carry, out = jax.lax.scan(step, carry, x.T)
        return carry, out.T

    def losses(params, carry, x):
        carry, out = run(params, carry, x)
        return jnp.square(out - 0.5 * x).mean(-1), carry

    def init(rng, batch):
        params = {"a": jnp.float32(0.1), "b": jnp.float32(0.2), "c": jnp.float32(0.3)}
        return CarryState(scalar_step(), rng, params, tx.init(params), carry=jnp.zeros(batch["x"].shape[0]))

    def update(state, batch):
        def loss(params):
            values, carry = losses(params, state.carry, batch["x"])
            return values.mean(), ({"loss": Sum.of(values)}, carry)

        (_, (metrics, carry)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, carry=carry), metrics

    def evaluate_fn(state, batch):
        zero = jnp.zeros(batch["x"].shape[0])
        return {"loss": Sum.of(losses(state.params, zero, batch["x"])[0], mask_of(batch))}

    def predict(state, batch):
        return run(state.params, jnp.zeros(batch["x"].shape[0]), batch["x"])[1]

    return Learner(init, update, evaluate_fn, predict, batched=("carry",))


class Streams:
    """Contiguous pieces of B streams: piece t of every stream is batch t."""

    def __init__(self, streams: int = 16, length: int = 8, pieces: int = 20):
        rng = np.random.default_rng(2)
        self.x = rng.normal(size=(streams, pieces, length)).astype(np.float32)
        self.settings = {"source": "streams", "length": streams * pieces}

    def batch_at(self, step):
        return {"x": self.x[:, step % self.x.shape[1]], "index": np.arange(len(self.x), dtype=np.int32)}


def sequences(n: int = 10) -> Source:
    return Source({"x": np.random.default_rng(3).normal(size=(n, 8)).astype(np.float32)}, n, name="sequences")


# 5. Reinforcement learning: the environment rolls inside update, the batch holds only indices


@struct.dataclass
class RolloutState(State):
    position: jax.Array


def reinforce():
    tx = sgd(0.3)

    def rollout(params, position, keys):
        def step(position, t):
            probability = jax.nn.sigmoid(params["w"])
            key = jax.vmap(lambda k: jax.random.fold_in(k, t))(keys)
            right = jax.vmap(lambda k: jax.random.bernoulli(k, probability))(key)
            move = jnp.where(right, 1.0, -1.0)
            position = jnp.clip(position + move, -3, 3)
            log_p = jnp.where(right, jax.nn.log_sigmoid(params["w"]), jax.nn.log_sigmoid(-params["w"]))
            return position, (log_p, move)

        position, (log_p, reward) = jax.lax.scan(step, position, jnp.arange(4))
        return position, log_p, reward

    def init(rng, batch):
        params = {"w": jnp.float32(-0.5)}
        return RolloutState(scalar_step(), rng, params, tx.init(params), position=jnp.zeros(batch["index"].shape[0]))

    def update(state, batch):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)

        def loss(params):
            position, log_p, reward = rollout(params, state.position, keys)
            return -(log_p * reward).sum(0).mean(), (position, reward.sum(0))

        (_, (position, returns)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, position=position)
        return state, {"return": Sum.of(returns)}

    def evaluate_fn(state, batch):
        zero = jnp.zeros(batch["index"].shape[0])
        reward = rollout(state.params, zero, example_keys(state.rng, batch))[2]
        return {"return": Sum.of(reward.sum(0), mask_of(batch))}

    def predict(state, batch):
        return jnp.broadcast_to(jax.nn.sigmoid(state.params["w"]), batch["index"].shape)

    return Learner(init, update, evaluate_fn, predict, batched=("position",))


# 6. An image is the parameter; the batch is one style image, which no mesh divides


def image():
    tx = sgd(0.2)

    def distance(pixels, batch):
        return jnp.square(pixels - batch["style"].mean(0)).sum()

    def init(rng, batch):
        params = {"image": jax.random.uniform(rng, batch["style"].shape[1:])}
        return State(scalar_step(), rng, params, tx.init(params))

    def update(state, batch):
        value, grads = jax.value_and_grad(lambda p: distance(p["image"], batch))(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), {"loss": Sum.of(value[None])}

    def evaluate_fn(state, batch):
        return {"loss": Sum.of(jnp.full(batch["index"].shape, distance(state.params["image"], batch)), mask_of(batch))}

    def predict(state, batch):
        return jnp.broadcast_to(state.params["image"], (batch["index"].shape[0], *state.params["image"].shape))

    return Learner(init, update, evaluate_fn, predict)


def style() -> Source:
    return Source({"style": np.random.default_rng(4).uniform(size=(1, 4, 4, 3)).astype(np.float32)}, 1, name="style")


# 7. L-BFGS: the optimiser wants the loss as a function


def lbfgs():
    tx = cross_replica(optax.lbfgs(memory_size=4))
    target = np.arange(4, dtype=np.float32)

    def losses(params, batch):
        return jnp.square(batch["x"] @ (params["w"] - target))

    def init(rng, batch):
        params = {"w": jax.random.normal(rng, (4,))}
        return State(scalar_step(), rng, params, tx.init(params))

    def update(state, batch):
        def value_fn(params):
            return losses(params, batch).mean()

        value, grads = jax.value_and_grad(value_fn)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=value, grad=grads, value_fn=value_fn)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": Sum.of(losses(state.params, batch))}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate_fn(state, batch):
        return {"loss": Sum.of(losses(state.params, batch), mask_of(batch))}

    return Learner(init, update, evaluate_fn, lambda s, b: b["x"] @ s.params["w"])


TOYS = {
    "supervised": Toy(supervised, Pipeline(blobs(), 16), blobs(30), "loss", -1),
    "gan": Toy(gan, Pipeline(points(), 16), points(30), "distance", -1),
    "ema_teacher": Toy(teacher, Pipeline(blobs(), 16), blobs(30), "loss", -1, steps=20),
    "truncated_bptt": Toy(recurrent, Streams(), sequences(), "loss", -1),
    "reinforcement": Toy(reinforce, Pipeline(Source.indices(16), 16, shuffle=False), Source.indices(30), "return", 1),
    "image": Toy(image, Pipeline(style(), 1), style(), "loss", -1),
    "lbfgs": Toy(lbfgs, Pipeline(blobs(), 96, shuffle=False), blobs(30), "loss", -1, steps=6),
}

toys = pytest.mark.parametrize("name", TOYS)


def one_device(spmd="jit") -> Placement:
    return Placement(make_mesh("data:1", jax.devices()[:1]), spmd=spmd)


def check_trace(learner: Learner, batch: Any) -> None:
    """The state that `update` returns has the shapes and dtypes of the one that `init` makes."""
    abstract = jax.eval_shape(learner.init, jax.random.key(0), batch)
    after, _ = jax.eval_shape(learner.update, abstract, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, after)


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def check_first_step(learner: Learner, batch: Any) -> None:
    """One step runs, is finite, and counts. The init is compiled quickly: optimizing it takes longer than the step."""
    state = jax.jit(learner.init, compiler_options=QUICKLY)(jax.random.key(0), batch)
    before = int(state.step)
    state, metrics = jax.jit(learner.update)(state, batch)
    assert int(state.step) == before + 1
    for path, leaf in leaf_paths((state.params, metrics)):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert np.isfinite(np.asarray(leaf)).all(), path


def trained(toy: Toy, placement: Placement, steps: int = 3, **kwargs):
    return fit(toy.make(), toy.train, steps=steps, placement=placement, progress=False, **kwargs)


def assert_close(left: Any, right: Any, tolerance: float = 1e-6) -> None:
    for (path, a), (_, b) in zip(leaf_paths(left), leaf_paths(right), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(a).max(initial=0)), err_msg=path
        )


@toys
def test_first_step(name):
    toy = TOYS[name]
    check_trace(toy.make(), toy.train.batch_at(0))
    check_first_step(toy.make(), toy.train.batch_at(0))


@pytest.mark.slow(unless=["supervised", "ema_teacher"])
@toys
def test_one_compilation_of_update_whatever_is_logged_and_saved(name, tmp_path):
    toy = TOYS[name]
    learner, traced = toy.make(), []
    counted = learner._replace(update=lambda s, b: (traced.append(1), learner.update(s, b))[1])
    fit(
        counted,
        toy.train,
        steps=4,
        placement=one_device(),
        folder=tmp_path,
        valid=toy.valid,
        log_every=2,
        eval_every=2,
        saving=Saving(steps=1),
        progress=False,
    )
    # Once abstractly, to know the shapes of the metrics, and once to compile.
    assert len(traced) == 2


@pytest.mark.slow(unless=["supervised", "ema_teacher"])
@toys
def test_the_measure_moves(name):
    toy = TOYS[name]
    learner, placement = toy.make(), one_device()
    first = fit(learner, toy.train, steps=1, placement=placement, progress=False)
    last = fit(learner, toy.train, steps=toy.steps, placement=placement, progress=False)
    options = {"batch_size": 8, "placement": placement}
    before = evaluate(learner, first.state, toy.valid, **options)[toy.measure]
    after = evaluate(learner, last.state, toy.valid, **options)[toy.measure]
    assert toy.sign * (after - before) > 0.2 * abs(before), (before, after)


@pytest.mark.slow(unless=["supervised", "ema_teacher"])
@pytest.mark.covers("SY-01")
@toys
def test_eight_devices_equal_one(name):
    toy = TOYS[name]
    one = trained(toy, one_device())
    eight = trained(toy, Placement(make_mesh("data:8")))
    assert_close(one.state.params, eight.state.params, 2e-6 if name == "lbfgs" else 1e-6)
    for leaf in jax.tree.leaves(eight.state.params):
        assert len(leaf.sharding.device_set) == 8


@pytest.mark.slow(unless=["supervised", "ema_teacher"])
@pytest.mark.covers("SY-01")
@toys
def test_pmap_equals_one_device(name):
    toy = TOYS[name]
    one, mapped = trained(toy, one_device()), trained(toy, Placement(make_mesh("data:8"), spmd="pmap"))
    chex.assert_trees_all_equal_shapes_and_dtypes(mapped.state, one.state)
    # Near its minimum the gradient that L-BFGS stores is a small difference of terms of size 5: 3.4e-6 were measured.
    assert_close(_data(one.state), _data(mapped.state), 5e-6 if name == "lbfgs" else 1e-6)
    assert mapped.history[-1][toy.measure] == pytest.approx(one.history[-1][toy.measure], rel=1e-5, abs=1e-6)


@pytest.mark.slow(unless=["supervised", "ema_teacher"])
@toys
def test_evaluation_does_not_depend_on_batch_size_or_mesh(name):
    toy = TOYS[name]
    result = trained(toy, one_device())
    learner = toy.make()
    values = [
        evaluate(learner, jax.device_get(result.state), toy.valid, batch_size=size, placement=placement)[toy.measure]
        for size, placement in ((7, one_device()), (64, one_device()), (16, Placement(make_mesh("data:8"))))
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("SY-13")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
@toys
def test_resumed_equals_uninterrupted_bit_for_bit(name, spmd, tmp_path):
    toy = TOYS[name]
    placement = Placement(make_mesh("data:8"), spmd=spmd)
    options = {"log_every": 4, "valid": toy.valid, "eval_every": 3, "saving": Saving(steps=2, monitor=toy.measure)}

    class Interrupt:
        memory = {"calls": 0}

        def __call__(self, step, state, metrics):
            self.memory = {"calls": self.memory["calls"] + 1}

    def interrupted_batch(step):
        if step == 6:
            raise Preempted(step)
        return batch_at(toy.train, step)

    class Stopping:
        settings = toy.train.settings
        batch_at = staticmethod(interrupted_batch)

    hooks = [Interrupt(), Interrupt(), Interrupt()]
    whole = trained(toy, placement, 10, folder=tmp_path / "whole", hooks=hooks[:1], **options)
    cut = toy._replace(train=Stopping())
    with pytest.raises(Preempted):
        trained(cut, placement, 10, folder=tmp_path / "cut", hooks=hooks[1:2], **options)
    resumed = trained(toy, placement, 10, folder=tmp_path / "cut", hooks=hooks[2:], **options)
    chex.assert_trees_all_equal(_data(whole.state), _data(resumed.state))
    assert _timeless(whole.history) == _timeless(resumed.history)
    assert hooks[0].memory == hooks[2].memory
    assert hooks[0].memory["calls"] == 6  # after steps 3, 4, 6, 8, 9 and 10


def _data(state):
    keys = jax.dtypes.prng_key
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x), state)


def _timeless(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_second")} for row in history]


PAGES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in (ROOT / "experiments").glob("*/*.py")
    if path.name != "__init__.py" and path.parent.name not in ("bench", "studies", "recipes")
)


EVERY_RUN = [
    *("classification.supervised", "detection.yolo", "generative.ddpm", "generative.gan", "rl.a2c", "segmentation.fcn"),
    *("self_supervised.simclr", "semi_supervised.fixmatch", "sequence.language_model", "transfer.fine_tuning"),
    *("video.classification", "vision3d.pointnet"),
]
"""A page of most topics. The other pages are compiled and exported in the weekly tier; test_page_wiring.py traces
all."""


def smoke_job(name: str) -> ResolvedRun | None:
    experiment = getattr(importlib.import_module(f"experiments.{name}"), "experiment", None)
    return ResolvedRun(experiment, resolve(experiment, ["--smoke"])) if isinstance(experiment, Experiment) else None


def first_batch(resolved: ResolvedRun) -> tuple[Splits, Any]:
    data = resolved.experiment.run(resolved.flags).load()
    assert data.spec.get("dataset"), "the ledger takes no row without"
    return data, batch_at(resolved.pipelines(data), 0)


@pytest.mark.slow
@pytest.mark.weekly(unless=EVERY_RUN)
@pytest.mark.user_compile
@pytest.mark.parametrize("name", PAGES)
def test_every_page_takes_a_first_step(name):
    resolved = smoke_job(name)
    if resolved is None:
        return
    data, batch = first_batch(resolved)
    check_first_step(resolved.training_of(data).build(), batch)
    check_half_precision(resolved.experiment, data, batch)


NO_EXAMPLE = {name for name in PAGES if name.startswith("rl.")}
"""Pages whose runs take no batch, so that `--mode=export` refuses them."""


QUICK_EXPORTS = ["sequence.language_model"]


@pytest.mark.slow(unless=QUICK_EXPORTS)
@pytest.mark.weekly(unless=EVERY_RUN)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_exported_with_a_free_batch(name):
    """`predict` of the page under --smoke is lowered for all platforms, or refused in one line; the example of a batch
    gives the state that training has."""
    resolved = smoke_job(name)
    if resolved is None:
        return
    data, trained_on = first_batch(resolved)
    setup = resolved.training_of(data)
    learner, key = setup.build(), jax.random.key(0)
    example = resolved.example(json.loads(json.dumps(setup.spec)))
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(learner.init, key, example), jax.eval_shape(learner.init, key, trained_on)
    )
    if name in NO_EXAMPLE:
        with pytest.raises(FlagError, match=f"--mode=export: {name} gives no example of a batch; allowed: the other"):
            example_batch(resolved, setup.spec)
        return
    batch = example_batch(resolved, setup.spec)
    function, weights = flat_predict(learner, jax.eval_shape(learner.init, jax.random.key(0), batch))
    program, _, inputs = trace_program(function, weights, batch)
    assert inputs
    assert program.platforms == PLATFORMS
    assert all(str(leaf.shape[0]) == "batch" for leaf in program.out_avals)


@pytest.mark.parametrize("topic", sorted({name.split(".")[0] for name in PAGES}))
def test_the_search_knows_every_page(topic):
    jobs = {name: smoke_job(name) for name in PAGES if name.split(".")[0] == topic}
    for name, resolved in jobs.items():
        if resolved is not None:
            experiment = resolved.experiment
            assert not {*resolved.flags} & {*SETTINGS}, name
            if experiment.parts.monitor is not None:
                without_monitor = dataclasses.replace(experiment, measures=[Measure("none of them")])
                assert monitor_mode_of(experiment.parts.monitor, without_monitor) == experiment.parts.mode, name


def check_half_precision(experiment: Experiment, data: Splits, batch: Any) -> None:
    """`--precision=bf16` changes what is computed, or is refused."""
    words = ["--smoke", "--precision=bf16"]
    if "precision" in experiment.settings:
        with pytest.raises(FlagError, match="--precision=bf16: unknown; allowed: f32"):
            resolve(experiment, words)
        return
    half = ResolvedRun(experiment, resolve(experiment, words))
    learner = half.training_of(data).build()
    program, state = jax.make_jaxpr(learner.init, return_shape=True)(jax.random.key(0), batch)
    if "bf16[" not in str(program):  # it reads shapes alone: the update is the program to look at
        assert "bf16[" in str(jax.make_jaxpr(learner.update)(state, batch))


class Move(NamedTuple):
    """Which measure of training moves which way (+1 up, -1 down) in how many steps, with which flags."""

    measure: str = "loss"
    sign: int = -1
    steps: int = 40
    flags: tuple[str, ...] = ()


def moves(move: Move, **pages: str) -> dict[str, Move]:
    """One move of the pages of topics."""
    return {f"{topic}.{page}": move for topic, names in pages.items() for page in names.split()}


MOVES = {
    "classification.hard_attention": Move(flags=("--batch_size=64", "--num_scenes=512", "--network.width=8")),
    "classification.supervised": Move("accuracy", 1, 40, ("--batch_size=64",)),
    **moves(
        Move(flags=("--batch_size=64",)),
        classification="distillation",
        generative="autoencoder_kl ddpm dit latent_diffusion text_to_image",
    ),
    "detection.center_net": Move("heat_map", -1, 30),
    "detection.detr": Move("classification", -1, 40),
    **moves(
        Move("classification", -1, 30),
        detection="deformable_detr d_fine rt_detr fcos retinanet single_stage ssd yolo_anchor_free",
    ),
    "detection.yolo": Move("coordinates", -1, 30),
    **moves(Move("d_loss", -1, 20), generative="conditional_gan style_gan style_gan2"),
    "generative.cycle_gan": Move("cycle_l1", -1, 40),
    "generative.gan": Move("d_loss", -1, 10),
    "generative.personalization": Move(steps=120, flags=("--learning_rate=1e-2",)),
    "generative.ring_gan": Move("d_loss", -1, 10),
    **moves(
        Move(steps=10), interpretability="class_image feature_inversion style_transfer texture_synthesis unit_images"
    ),
    "rl.a2c": Move("return", 1, 60, ("--batch_size=16",)),
    "rl.recurrent_ppo": Move("value_loss", -1, 30, ("--num_steps=32", "--batch_size=16", "--normalize_reward")),
    "rl.sac": Move("q", -1, 30, ("--buffer_size=256", "--minibatch_size=64")),
    "rl.td3": Move("q", -1, 30, ("--buffer_size=256", "--minibatch_size=64")),
    "rl.dqn": Move("q", 1, 60, ("--num_steps=16", "--buffer_size=256", "--minibatch_size=64")),
    "rl.gail": Move("d_loss"),
    "rl.model_based": Move(flags=("--num_updates=20", "--minibatch_size=32")),
    "rl.ppo": Move("return", 1, 60, ("--num_steps=32", "--batch_size=16")),
    "rl.q_learning": Move("td_error", -1, 40, ("--num_steps=50", "--batch_size=16")),
    **moves(
        Move(steps=120, flags=("--model.width=16", "--batch_size=64")),
        self_supervised="audio_visual deep_cluster exemplar frame_order jigsaw relative_patch",
    ),
    "self_supervised.dino": Move("center_norm", 1, 10),
    "self_supervised.moco": Move(steps=120, flags=("--model.width=16", "--batch_size=64", "--queue_size=256")),
}
"""Of experiments whose loss does not fall in 40 steps as it is."""

STILL = {"generative.control_net"}
"""Experiments whose loss does not move from initial weights: they steer a network of another run, zero before it."""


def test_every_move_is_of_an_experiment():
    assert all(smoke_job(name) is not None for name in MOVES)


@pytest.mark.weekly
@pytest.mark.parametrize("name", PAGES)
def test_the_measure_of_a_page_moves(name):
    """The mean of its last quarter of training steps beats that of its first."""
    if smoke_job(name) is None or name in STILL:
        return
    move = MOVES.get(name, Move())
    experiment = importlib.import_module(f"experiments.{name}").experiment
    resolved = ResolvedRun(
        experiment, resolve(experiment, ["--smoke", f"--steps={move.steps}", "--log_every=1", *move.flags])
    )
    data = experiment.run(resolved.flags).load()
    learner = resolved.training_of(data).build()
    result = fit(
        learner, resolved.pipelines(data), steps=move.steps, log_every=1, placement=one_device(), progress=False
    )
    values = [row[move.measure] for row in result.history if row.get(move.measure) is not None]
    quarter = max(1, len(values) // 4)
    assert move.sign * (np.mean(values[-quarter:]) - np.mean(values[:quarter])) > 0, values


@pytest.mark.weekly
@pytest.mark.parametrize("name", PAGES)
def test_every_page_in_full(name, tmp_path):
    resolved = smoke_job(name)
    if resolved is None:
        return
    data = resolved.experiment.run(resolved.flags).load()
    spec = data.facts
    pipelines = resolved.pipelines(data)
    averages = {"ema": None} if "ema" in resolved.experiment.settings else {}  # a learner's own `ema` takes no None
    plain = resolved.flags.replace(**{k: v for k, v in {"optimizer": "sgd", **averages}.items() if k in resolved.flags})

    def learner(placement):
        return resolved.training(spec, plain.replace(spmd=placement.spmd)).build()

    placements = (one_device(), Placement(make_mesh("data:8")))
    one, eight = (fit(learner(p), pipelines, steps=2, placement=p, progress=False) for p in placements)
    assert_close(one.state.params, eight.state.params, 1e-5)
    options = {"placement": one_device(), "progress": False, "saving": Saving(steps=1)}
    whole = fit(learner(one_device()), pipelines, steps=4, folder=tmp_path / "whole", **options)
    fit(learner(one_device()), pipelines, steps=2, folder=tmp_path / "cut", **options)
    resumed = fit(learner(one_device()), pipelines, steps=4, folder=tmp_path / "cut", **options)
    chex.assert_trees_all_equal(_data(whole.state), _data(resumed.state))


def test_avals_that_change_are_named():
    learner = TOYS["supervised"].make()

    def update(state, batch):
        state, metrics = learner.update(state, batch)
        return state.replace(params={**state.params, "bias": state.params["bias"].astype(jnp.bfloat16)}), metrics

    batch = TOYS["supervised"].train.batch_at(0)
    with pytest.raises(ValueError, match=r"params/bias from float32\[3\] to bfloat16\[3\]"):
        Program(learner._replace(update=update), batch, one_device(), 0)
