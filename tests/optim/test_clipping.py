"""Clipping: the numbers of the notes, optax, and torch's clip_grad_norm_."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.optim import clip_by_norm, clip_by_value

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_optim.npz")


def clipped(tx, gradients):
    return tx.update(gradients, tx.init(gradients))[0]


@pytest.mark.covers("OP-17")
def test_by_norm_takes_the_root_of_the_sum_of_squares():
    # ‖[3, 4]‖ = 5: [3, 4] / 5 = [.6, .8]. Without the root 25 would be compared: [3, 4] / 25 = [.12, .16].
    gradients = {"a": jnp.float32(3), "b": {"c": jnp.array([4.0])}}
    for tx in (clip_by_norm(1.0), optax.clip_by_global_norm(1.0)):
        got = clipped(tx, gradients)
        assert [float(got["a"]), float(got["b"]["c"][0])] == pytest.approx([0.6, 0.8], rel=1e-6)
    # 5 <= 6 and stays, although 25 > 6.
    assert float(clipped(clip_by_norm(6.0), gradients)["a"]) == 3.0


@pytest.mark.slow(only=["0"])
@pytest.mark.covers("OP-17")
@pytest.mark.parametrize("seed", range(3))
def test_by_norm_is_optaxs(seed):
    gradients = [jax.random.normal(jax.random.key(seed), shape) for shape in ((3, 2), (5,), ())]
    for limit in (0.1, 1.0, 100.0):
        got, want = clipped(clip_by_norm(limit), gradients), clipped(optax.clip_by_global_norm(limit), gradients)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.covers("OP-18")
def test_by_value_caps_each_derivative():
    got = clipped(clip_by_value(1.0), {"a": jnp.array([3.0, -0.5]), "b": jnp.array(-4.0)})
    np.testing.assert_array_equal(got["a"], [1.0, -0.5])
    assert float(got["b"]) == -1.0


def test_other_norms():
    gradients = [jnp.array([3.0, -4.0]), jnp.array([1.0])]
    np.testing.assert_allclose(clipped(clip_by_norm(2.0, jnp.inf), gradients)[0], [1.5, -2.0])  # largest 4: halved
    np.testing.assert_allclose(clipped(clip_by_norm(2.0, 1), gradients)[0], [0.75, -1.0])  # sum 8: a quarter
    halves = [jnp.array([30_000, 40_000, 40_000], jnp.float16)]  # 64,031 is in float16, the sum of squares is not
    np.testing.assert_allclose(
        clipped(clip_by_norm(1.0), halves)[0], [3 / 41**0.5, 4 / 41**0.5, 4 / 41**0.5], rtol=2e-3
    )


@pytest.mark.parametrize("order", [2.0, jnp.inf])
def test_torchs_clipping_which_adds_a_millionth_to_the_norm(order):
    name = f"clip_grad_norm.{order}"
    names = sorted(k.split("/in.")[1] for k in GOLDEN.files if k.startswith(f"{name}/in."))
    assert names, json.loads(str(GOLDEN["meta"]))["cases"][name]
    got = clipped(clip_by_norm(1.5, order), {n: jnp.asarray(GOLDEN[f"{name}/in.{n}"], jnp.float32) for n in names})
    for n in names:
        np.testing.assert_allclose(got[n], GOLDEN[f"{name}/out.{n}"], rtol=2e-6)


def test_nothing_to_clip_and_what_is_refused():
    zero = clipped(clip_by_norm(1.0), [jnp.zeros(3), jnp.zeros(())])
    assert all(np.isfinite(g).all() for g in zero)
    for arguments, message in (
        ((0.0,), "limit=0.0: out of range; allowed: above 0"),
        ((1.0, -1), "order=-1: out of range; allowed: above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            clip_by_norm(*arguments)
