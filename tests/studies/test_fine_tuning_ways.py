"""What each way learns and what stays bit-equal, its counts by hand, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dlcore.data.font_digits import font_digits
from experiments.studies import fine_tuning_ways as study

WIDTH = 8
MODEL = study.network(1, WIDTH)
HEAD = {"trained/head/kernel", "trained/head/bias"}
BIASES = {
    f"trained/{layer}/bias"
    for layer in (
        "patch_embed", "norm", *(f"blocks_0/{name}" for name in ("norm1", "norm2", "attn/qkv", "attn/proj")),
        "blocks_0/mlp/fc1", "blocks_0/mlp/fc2",
    )
}  # fmt: skip
QV = ("blocks_0/attn/qkv/kernel:q", "blocks_0/attn/qkv/kernel:v")
LEARNED = {
    "lora": {f"adapter/{layer}/{leaf}" for layer in QV for leaf in "ab"},
    "dora": {f"adapter/{layer}/{leaf}" for layer in QV for leaf in "abm"},
    "vpt": {"adapter/tokens"},
    "adapter": {f"adapter/blocks_0/mlp/{leaf}" for leaf in ("down", "down_bias", "up", "up_bias")},
    "bitfit": BIASES,
    "ia3": {
        f"adapter/{name}"
        for name in (
            "blocks_0/attn/qkv/kernel:k", "blocks_0/attn/qkv/kernel:v", "blocks_0/mlp/fc2/kernel:inputs"
        )
    },
}  # fmt: skip
COUNTS = {
    "head": 90,  # 8 * 10 + 10
    # patches 4 * 8 + 8, token 8, positions 17 * 8, norms 3 * 16, attention 4 * (8 * 8 + 8),
    # MLP 8 * 16 + 16 + 16 * 8 + 8
    "full": 90 + 40 + 8 + 136 + 48 + 288 + 280,
    "lora": 90 + 2 * (8 * 4 + 4 * 8),
    "dora": 90 + 2 * (8 * 4 + 4 * 8 + 8),
    "vpt": 90 + 8 * 8,
    "adapter": 90 + 8 * 4 + 4 + 4 * 8 + 8,
    "bitfit": 90 + 8 + 3 * 8 + 24 + 8 + 16 + 8,
    "ia3": 90 + 8 + 8 + 16,
}


class Compiled:
    """Stands for a compiled program."""

    temp_size_in_bytes = 5

    def memory_analysis(self):
        return self


@pytest.fixture(scope="module")
def params():
    """Random numbers in place of the encoder's, so that no gradient is zero by a zero."""
    shapes = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)


def flat(tree):
    return {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(tree).items()}


@pytest.mark.covers("PT-07")
@pytest.mark.parametrize("way", study.WAYS)
def test_parameters_and_moments_of_each_way_by_hand(way, params):
    """Adam has two moments of four bytes for each parameter that learns, and none for the others."""
    assert study.costs(way, MODEL, params, Compiled()) == (COUNTS[way], 8 * COUNTS[way], 5)


@pytest.mark.covers("PT-07")
@pytest.mark.slow
@pytest.mark.parametrize("way", study.WAYS)
def test_each_way_changes_its_own_parameters_and_no_others(way, params):
    """In three steps: a head of zeros lets gradients through from the second, and B of zeros to A from the third."""
    source = font_digits(20)
    arrays = jnp.asarray(2 * source.arrays["image"] - 1), jnp.asarray(source.arrays["label"])
    before, after = jax.jit(study.tuning(way, MODEL, 3))(params, jax.random.key(1), *arrays, 1e-2)
    own, old = flat(after.params), flat(before.params)
    changed = {path for path in own if (own[path] != old[path]).any()}
    network = flat(params)
    if way in ("head", "full"):
        assert changed == ({"head/kernel", "head/bias"} if way == "head" else set(network))
        frozen = {path: leaf for path, leaf in own.items() if path not in changed}
    else:
        assert changed == set(own) == LEARNED[way] | HEAD
        frozen = flat(after.model_state["frozen"])
        assert set(frozen) == set(network) - {path.removeprefix("trained/") for path in own}
    for path, leaf in frozen.items():
        np.testing.assert_array_equal(leaf, network[path], err_msg=path)


def test_each_way_starts_from_the_encoder_with_a_head_of_zeros(params):
    for way in ("head", "bitfit"):
        _, state = study.start(way, MODEL, params, jax.random.key(0), jnp.zeros((1, 8, 8, 1)), 1e-3, 1)
        leaves = flat(state.params if way == "head" else state.params["trained"])
        assert not leaves["head/kernel"].any()
        np.testing.assert_array_equal(leaves["patch_embed/bias"], params["patch_embed"]["bias"])


def rows(tests, valid):
    facts = {"parameters": 10, "optimizer_bytes": 80, "temporary_bytes": 7, "seconds": 0.002, "learning_rate": 0.1}
    return {way: {**facts, "test": [tests.get(way, 0.5)] * 2, "valid": [valid.get(way, 0.5)] * 2} for way in study.WAYS}


@pytest.mark.covers("PT-07")
@pytest.mark.parametrize(
    ("tests", "valid", "best", "gain", "holds"),
    [
        ({"full": 0.8, "dora": 0.82}, {"dora": 0.9}, "dora", "+2.0", True),
        ({"full": 0.8, "dora": 0.82, "vpt": 0.7}, {"vpt": 0.9}, "vpt", "-10.0", False),  # not the best on the test
        ({"full": 0.8, "head": 0.9, "ia3": 0.75}, {"head": 0.9, "ia3": 0.8}, "ia3", "-5.0", False),  # head: no adapter
    ],
)
def test_the_verdict_compares_the_adapter_that_validation_chooses_with_full(tests, valid, best, gain, holds):
    result = study.report(rows(tests, valid), 100)
    assert result.holds is holds
    assert f"Validation chooses {best}, which learns 100.0 % of the parameters and is {gain} points" in result.verdict
    np.testing.assert_allclose(result.headline.values, [tests[best]] * 2)
    assert result.headline.baseline == (pytest.approx(0.8), "full fine-tuning", "higher")
    assert set(result.numbers) == set(study.WAYS)
    assert result.numbers["full"]["test accuracy, %"] == 80.0
    assert result.numbers["full"]["milliseconds a step"] == 2.0
