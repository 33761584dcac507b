"""Bytes of a step by kind, and that recomputation makes the temporaries less."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest

from dlcore.classification import supervised
from dlcore.cost.memory import memory_report, readable, residual_bytes
from dlcore.learner import State
from dlcore.models import create_model
from dlcore.report.memory import memory_panel

BATCH = {
    "image": jax.ShapeDtypeStruct((64, 32, 32, 3), jnp.float32),
    "label": jax.ShapeDtypeStruct((64,), jnp.int32),
    "index": jax.ShapeDtypeStruct((64,), jnp.int32),
}


def kept(**fields):
    model = create_model("resnet20_cifar", num_classes=10, **fields)
    variables = jax.eval_shape(model.init, jax.random.key(0), BATCH["image"])

    def forward(variables, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    return residual_bytes(forward, variables, BATCH["image"])


@pytest.mark.weekly
@pytest.mark.covers("TR-28")
def test_remat_keeps_less():
    assert kept(remat="full") < 0.5 * kept()


@pytest.mark.covers("TR-28")
def test_residual_bytes_by_hand():
    """exp keeps its output [8, 4], x @ w keeps both x [8, 16] and w [16, 4]."""
    x, w = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32)
    assert residual_bytes(lambda w, x: jnp.exp(x @ w), w, x) == 4 * (8 * 4 + 8 * 16 + 16 * 4)
    again = residual_bytes(jax.checkpoint(lambda w, x: jnp.exp(x @ w)), w, x)
    assert again == 4 * (8 * 16 + 16 * 4), "the output of the product is computed again"


@pytest.mark.slow
@pytest.mark.covers("TR-28")
def test_a_step_by_kind():
    model = create_model("resnet8_cifar", num_classes=10)
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-3))
    state = jax.eval_shape(learner.init, jax.random.key(0), BATCH)
    count, norms = (sum(leaf.size for leaf in jax.tree.leaves(t)) for t in (state.params, state.model_state))
    found = memory_report(state, BATCH, jax.jit(learner.update).lower(state, BATCH).compile())
    assert found["parameters"] == 4 * count
    assert found["optimizer"] == 2 * 4 * count + 4, "two moments and a counter"
    assert found["batch"] == 64 * (32 * 32 * 3 + 2) * 4
    assert found["other state"] == 4 * norms + 4 + 8, "running statistics, the step and the key"
    assert found["temporaries"] > 64 * 32 * 32 * 16 * 4, "at least one map of the first stage"


def test_parts_of_a_step_are_counted_in_bytes_over_all_devices():
    """The state has six bfloat16 weights, two moments of two float32, a counter and a key of two words."""
    weights = jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)
    moments = [jax.ShapeDtypeStruct((2,), jnp.float32)] * 2
    key = jax.eval_shape(jax.random.key, 0)
    state = State(jax.ShapeDtypeStruct((), jnp.int32), key, {"w": weights}, moments)
    batch = {"image": jax.ShapeDtypeStruct((4, 5), jnp.uint8)}
    expected = {"parameters": 12, "optimizer": 16, "other state": 4 + 8, "batch": 20}
    assert memory_report(state, batch) == memory_report(state, batch, object()) == expected
    plan = SimpleNamespace(memory_analysis=lambda: SimpleNamespace(temp_size_in_bytes=7.0))
    assert memory_report(state, batch, plan) == {**expected, "temporaries": 7}
    assert memory_report(state, batch, SimpleNamespace(memory_analysis=lambda: None)) == expected
    assert memory_report({"q": weights}, batch) == {"parameters": 0, "optimizer": 0, "other state": 12, "batch": 20}


@pytest.mark.covers("TR-28")
def test_stored_bytes_of_the_loss_may_exceed_the_temporaries():
    """A small network's loss keeps images and weights, which are arguments of the compiled step: the panel says so."""
    learner = supervised.learner(model=create_model("mlp", num_classes=10, hidden=(8,)), optimizer=optax.sgd(0.1))
    state = jax.eval_shape(learner.init, jax.random.key(0), BATCH)
    stored = residual_bytes(lambda state, batch: learner.loss(state.params, state, batch)[0], state, BATCH)
    found = memory_report(state, BATCH, jax.jit(learner.update).lower(state, BATCH).compile())
    assert stored > found["temporaries"]
    row = memory_panel(found, (), stored).html.split("stored for the backward pass")[1]
    assert "weights and images included" in row
    assert "temporaries" not in row


def test_sizes_in_words():
    assert [readable(n) for n in (0, 512, 1024, 1536, 5 * 2**20, 3 * 2**30, 2**41)] == [
        "0 B",
        "512 B",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 MiB",
        "3.0 GiB",
        "2048.0 GiB",
    ]
