"""Frozen means frozen: leaves, statistics, decay, optimizer state, and the gradient's cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.classification import supervised
from dlcore.cost.step_flops import step_flops
from dlcore.experiment.flags import Flags
from dlcore.models import create_model
from dlcore.nn import BatchNorm
from dlcore.optim import create_optimizer
from dlcore.optim.partial import Part, PartsAdamW, layer_parts, layers_of, partial_optimizer
from dlcore.optim.trained_parts import fit_parts, parts_of, unfold_gradual
from dlcore.setting import FlagError
from dlcore.transfer.frozen import PartlyFrozen

STEPS = 4


def batch(n=8):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(n, 8, 8, 1)).astype(np.float32)
    return {"image": image, "label": np.arange(n, dtype=np.int32) % 3, "index": np.arange(n, dtype=np.int32)}


class Block(nn.Module):
    """A linear layer of each pixel, normalized by batch statistics."""

    @nn.compact
    def __call__(self, x, train):
        return nn.relu(BatchNorm(not train, name="norm1")(nn.Dense(16, name="conv1")(x)))


class Stages(nn.Module):
    """A stem, two blocks and a head, named as those of a residual network."""

    @nn.compact
    def __call__(self, x, train=False):
        x = Block(name="stage2_block0")(nn.Dense(16, name="stem")(x), train)
        return nn.Dense(3, name="head")(Block(name="stage3_block0")(x, train).mean((1, 2)))


def learner(parts):
    model = Stages()
    tx = partial_optimizer(parts, lambda rate, start: create_optimizer("adamw", 0.01 * rate, weight_decay=0.5), STEPS)
    return supervised.learner(model=PartlyFrozen(model, parts), optimizer=tx)


def by_module(tree):
    return {name: jax.tree.leaves(leaves) for name, leaves in tree.items()}


def moved(before, after):
    return {
        name for name in before if any(not np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }


def trained(parts, steps=STEPS):
    built = learner(parts)
    state = [jax.jit(built.init)(jax.random.key(0), batch())]
    update = jax.jit(built.update)
    for _ in range(steps):
        state.append(update(state[-1], batch())[0])
    assert update._cache_size() == 1, "an unfreezing compiles nothing"
    return state


@pytest.fixture(scope="module")
def gradual():
    return trained([Part("head"), Part("stage3*", 0.1, 0.5)])


@pytest.mark.covers("TL-01", "TL-03")
def test_parts_learn_from_their_start_and_nothing_else_ever(gradual):
    params = [by_module(state.params) for state in gradual]
    assert moved(params[0], params[2]) == {"head"}
    assert moved(params[2], params[3]) == {"head", "stage3_block0"}
    assert moved(params[0], params[-1]) == {"head", "stage3_block0"}
    statistics = [by_module(state.model_state["batch_stats"]) for state in gradual]
    assert moved(statistics[0], statistics[-1]) == set(), "running statistics of all but parts that learn from step 0"


class Tower(nn.Module):
    """A normalized convolution, a stack of two blocks inside of a module, and a head, created in this order."""

    @nn.compact
    def __call__(self, x):
        self.param("token", nn.initializers.zeros, (1, 3))
        x = nn.LayerNorm(name="norm_stem")(nn.Dense(3, name="z_stem")(x))
        return nn.Dense(2, name="head")(nn.LayerNorm(name="a_norm")(Stack(name="body")(x)))


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        for k in range(2):
            x = nn.Dense(3, name=f"blocks_{k}")(x)
        return x


LAYERS = [("token", "z_stem", "norm_stem"), ("body/blocks_0",), ("body/blocks_1", "a_norm"), ("head",)]


def tower_layers():
    layers = []
    jax.eval_shape(lambda: layers.extend(layers_of(Tower().init(jax.random.key(0), jnp.zeros((1, 3)))["params"])))
    return layers


@pytest.mark.slow
@pytest.mark.covers("TL-03")
def test_layers_begin_to_learn_one_at_a_time_from_the_last():
    """Share 0.6 of 10 steps, four layers: they begin at steps 0, 2, 4, 6. SGD's first step is the rate, 1, 1/2, ..."""
    assert tower_layers() == LAYERS
    parts = layer_parts(LAYERS, 0.5, 0.6)
    shapes = jax.eval_shape(lambda: Tower().init(jax.random.key(0), jnp.zeros((1, 3)))["params"])
    params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    tx = partial_optimizer(parts, lambda rate, start: optax.sgd(rate), 10)
    state, update, began = tx.init(params), jax.jit(tx.update), {}
    for step in range(10):
        updates, state = update(params, state, params)  # gradients of 1
        for name, change in flatten_dict(jax.device_get(updates), sep="/").items():
            if np.any(change):
                began.setdefault(name.rpartition("/")[0] or name, (step, float(-change.ravel()[0])))
    assert began == {
        "head": (0, 1), "body/blocks_1": (2, 0.5), "a_norm": (2, 0.5),
        "body/blocks_0": (4, 0.25), "token": (6, 0.125), "z_stem": (6, 0.125), "norm_stem": (6, 0.125),
    }  # fmt: skip


def test_gradual_unfreezing_refuses_numbers_out_of_range():
    with pytest.raises(ValueError, match="out of range; allowed: a decay above 0 and at most 1, a fraction of the run"):
        layer_parts(LAYERS, 0.0, 0.5)


def test_parts_of_a_page_unfold_to_layers():
    def init():
        return Tower().init(jax.random.key(0), jnp.zeros((1, 3)))

    unfolded = unfold_gradual(Flags({"parts": ("gradual:0.5@0.6",)}), init).parts
    assert unfolded[0] == "head:1.0@0.0"
    assert [text.partition(":")[0] for text in unfolded[1:4]] == ["body/blocks_1", "a_norm", "body/blocks_0"]
    assert parts_of(Flags({"parts": unfolded}))[-1] == Part("norm_stem", 0.125, 0.6)
    with pytest.raises(
        FlagError, match=r"--parts=gradual: decay=1, fraction=0: out of range; .*such as gradual:0.4@0.5"
    ):
        unfold_gradual(Flags({"parts": ("gradual",)}), init)
    with pytest.raises(FlagError, match=r"--parts=head,gradual@0.5: more than gradual; allowed: gradual:DECAY@SHARE"):
        unfold_gradual(Flags({"parts": ("head", "gradual@0.5")}), init)


@pytest.mark.slow
@pytest.mark.covers("TL-02")
def test_a_part_s_first_step_is_its_rate(gradual):
    """Adam's first step is the learning rate, whatever the gradient, also after two steps of waiting.

    Weights from and to units that no example switches on have no gradient, and only decay."""
    a, b = (np.asarray(state.params["stage3_block0"]["conv1"]["kernel"]) for state in gradual[2:4])
    step = np.abs(b - a + 0.01 * 0.1 * 0.5 * a)
    learned = step > 1e-6
    assert learned.mean() > 0.2
    np.testing.assert_allclose(step[learned], 0.01 * 0.1, rtol=0.01)


@pytest.mark.slow
def test_the_optimizer_keeps_nothing_of_frozen_leaves(gradual):
    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    params = gradual[0].params
    learns = size(params["head"]) + size(params["stage3_block0"])
    assert 2 * learns <= size(gradual[0].opt_state) <= 2 * learns + 8


@pytest.mark.slow
def test_statistics_of_parts_that_learn_from_the_start_are_tracked():
    first, last = trained([Part("head"), Part("stage3*")], 1)
    statistics = [by_module(state.model_state["batch_stats"]) for state in (first, last)]
    assert moved(*statistics) == {"stage3_block0"}


@pytest.mark.slow
def test_the_gradient_of_frozen_layers_is_not_computed():
    def flops(parts):
        built = learner(parts)
        state = jax.eval_shape(built.init, jax.random.key(0), batch())
        return step_flops(built.update, state, batch()).macs

    everything, head = flops([Part("*")]), flops([Part("head")])
    assert head < 0.4 * everything, "a forward pass, of three"


@pytest.mark.weekly
def test_the_rest_of_the_network_is_as_in_use():
    """With everything frozen but the head, training computes the logits of evaluation, dropout and all."""
    parts = [Part("head")]
    model = create_model(
        "vit_s_16", num_classes=3, image_size=16, patch_size=8, width=8, depth=1, num_heads=2, dropout=0.5
    )
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = model.init(jax.random.key(0), x)
    frozen = PartlyFrozen(model, parts)
    rngs = {"dropout": jax.random.key(2)}
    np.testing.assert_array_equal(
        frozen.apply(variables, x, train=True, rngs=rngs), model.apply(variables, x, train=False)
    )
    assert hasattr(frozen, "auxiliary") == hasattr(model, "auxiliary")
    gradients = jax.grad(lambda p: jnp.square(frozen.apply({"params": p}, x, train=False) - 1).sum())(
        variables["params"]
    )
    norms = {name: float(optax.tree.norm(leaves)) for name, leaves in gradients.items()}
    assert norms.pop("head") > 0
    assert not any(norms.values())


class Switched(nn.Module):
    """Layers that are told of training in their fields, and others in the call."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(0.5, deterministic=not train, name="drop")(x)
        x = nn.Dropout(0.5, name="drop_called")(x, deterministic=not train)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.BatchNorm(name="norm_called")(x, use_running_average=not train)


def test_layers_are_in_use_wherever_they_are_told_of_training():
    """Running means of 1 and 2 and variances of 1: what is frozen gives x - 3, whatever the dropout."""
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    shapes = jax.eval_shape(lambda: Switched().init(jax.random.key(0), x, False))
    params = jax.tree.map(lambda s: np.ones(s.shape), shapes["params"])
    params = {name: layer | {"bias": 0 * layer["bias"]} for name, layer in params.items()}
    statistics = {name: {"mean": np.full(2, k), "var": np.ones(2)} for k, name in ((1, "norm"), (2, "norm_called"))}
    variables, rngs = {"params": params, "batch_stats": statistics}, {"dropout": jax.random.key(1)}
    frozen, learning = PartlyFrozen(Switched(), [Part("head")]), PartlyFrozen(Switched(), [Part("*")])

    @jax.jit
    def run(variables):
        return [model.apply(variables, x, True, rngs=rngs, mutable=["batch_stats"]) for model in (frozen, learning)]

    (out, kept), (_, moved) = run(variables)
    np.testing.assert_allclose(out, x - 3, atol=1e-4)
    for name in statistics:
        np.testing.assert_array_equal(kept["batch_stats"][name]["mean"], statistics[name]["mean"])
        assert np.abs(moved["batch_stats"][name]["mean"] - statistics[name]["mean"]).min() > 1e-3


def test_each_flag_reaches_the_optimizer_of_each_part(monkeypatch):
    """Of 8 steps the second part begins after 4; the rate falls linearly from 0.5, or a tenth of it, to 0."""
    asked = []

    def create_optimizer(name, rate, **rest):
        asked.append((name, [round(float(rate(k)), 4) for k in (0, 2)], rest))
        return optax.scale_by_learning_rate(rate)

    monkeypatch.setattr("dlcore.optim.partial.create_optimizer", create_optimizer)
    flags = {
        "parts": ("head", "*:0.1@0.5"), "optimizer": "adam", "learning_rate": 0.5, "momentum": 0.8,
        "second_momentum": 0.7, "weight_decay": 0.2, "clip_value": 4.0, "clip_norm": None, "layer_decay": None,
        "schedule": "linear", "warmup": 0.0,
    }  # fmt: skip
    tx = PartsAdamW(**flags).build(8)
    rest = {"momentum": 0.8, "second_momentum": 0.7, "weight_decay": 0.2, "clip_value": 4.0}
    assert asked == [("adam", [0.5, 0.375], rest), ("adam", [0.025, 0.0125], rest)]
    params = {"head": jnp.ones(()), "blocks_0": {"w": jnp.ones(())}}
    updates, _ = tx.update(params, tx.init(params), params)
    assert jax.tree.map(float, updates) == {"head": -0.5, "blocks_0": {"w": 0.0}}
    decayed = PartsAdamW(**{**flags, "layer_decay": 0.5, "parts": ("*",)}).build(8)
    updates, _ = decayed.update(params, decayed.init(params), params)
    assert jax.tree.map(float, updates) == {"head": -0.5, "blocks_0": {"w": -0.25}}
    # A gradient of (1, 1) has the norm sqrt 2: clipped to sqrt(1/2), it is halved.
    clipped = PartsAdamW(**{**flags, "clip_norm": 0.5**0.5, "parts": ("*",)}).build(8)
    updates, _ = clipped.update(params, clipped.init(params), params)
    np.testing.assert_allclose(updates["head"], -0.25, rtol=1e-6)


def test_a_gradual_unfreezing_is_left_to_the_pages_that_ask_for_it():
    flags = Flags({"parts": ("head", "*:0.5@0.25")})
    assert unfold_gradual(flags, None) is flags


def test_the_parts_of_a_page_name_the_last_blocks_of_another_network():
    """Of eight blocks and an embedding, nine layers, the last two; what names something stays as it is."""
    kernel, bias = jnp.zeros((2, 2)), jnp.zeros(2)
    blocks = {f"blocks_{i}": {"kernel": kernel} for i in range(8)}

    def init():
        return {"params": {"embed": {"kernel": kernel}, **blocks, "norm": {"bias": bias}, "head": {"kernel": kernel}}}

    own = Flags({"parts": ("head:10", "*4_*@0.2", "*:0.3@0.4")})
    fitted = fit_parts(own, init).parts
    late = ("blocks_6:1.0@0.2", "blocks_7:1.0@0.2", "norm:1.0@0.2")
    assert fitted == ("head:10.0@0.0", *late, "*:0.3@0.4")
    stages = Flags({"parts": ("head", "blocks_4*", "*/bias")})
    assert fit_parts(stages, init) is stages
