"""Frozen means frozen: leaves, statistics, decay, optimizer state, and the gradient's cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.cost.step_flops import step_flops
from dlcore.models import create_model
from dlcore.optim import create_optimizer
from dlcore.optim.partial import Part, partial_optimizer
from dlcore.transfer.frozen import PartlyFrozen

STEPS = 4


def batch(n=8):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(n, 8, 8, 1)).astype(np.float32)
    return {"image": image, "label": np.arange(n, dtype=np.int32) % 3, "index": np.arange(n, dtype=np.int32)}


def learner(parts, **fields):
    model = create_model("resnet8_cifar", num_classes=3, width=4, **fields)
    tx = partial_optimizer(
        parts,
        lambda rate, start: create_optimizer("adamw", 0.01 * rate, weight_decay=0.5),
        STEPS,
    )
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


@pytest.mark.slow
@pytest.mark.covers("TL-02")
def test_a_part_s_first_step_is_its_rate(gradual):
    """Adam's first step is the learning rate, whatever the gradient, also after two steps of waiting."""
    a, b = (state.params["stage3_block0"]["conv1"]["kernel"] for state in gradual[2:4])
    decay = 0.01 * 0.1 * 0.5 * a
    np.testing.assert_allclose(np.median(np.abs(b - a + decay)), 0.01 * 0.1, rtol=1e-3)


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
