"""Both modes of differentiation through a trilinear form, against NumPy's contractions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops.trilinear import contract

TENSOR = np.random.default_rng(0).integers(-3, 4, (2, 3, 4)).astype(np.float32)
LETTERS = "ijk"


class Form(NamedTuple):
    """sum_ijk T_ijk a_i b_j c_k."""

    def compute(self, output, a, b):
        x, y = (letter for i, letter in enumerate(LETTERS) if i != output)
        return jnp.einsum(f"ijk,{x},{y}->{LETTERS[output]}", jnp.asarray(TENSOR), a, b)


def conv(a, b):
    return contract(Form(), 2, a, b)


def vectors(seed):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(-3, 4, n).astype(np.float32) for n in TENSOR.shape)


def test_a_jvp_is_the_sum_of_both_terms():
    (a, b, _), (da, db, _) = vectors(1), vectors(2)
    y, dy = jax.jit(lambda *v: jax.jvp(conv, v[:2], v[2:]))(a, b, da, db)
    np.testing.assert_array_equal(y, np.einsum("ijk,i,j", TENSOR, a, b))
    np.testing.assert_array_equal(dy, np.einsum("ijk,i,j", TENSOR, da, b) + np.einsum("ijk,i,j", TENSOR, a, db))
    alone = jax.jvp(lambda a: conv(a, b), (a,), (da,))[1]
    np.testing.assert_array_equal(alone, np.einsum("ijk,i,j", TENSOR, da, b))


def test_second_derivatives_of_every_mixture():
    # f = |y|^2 / 2 of y = T(a, b): df/da = T(y, b), and d2f/da2 = T_b T_b^T, with T_b = sum_j T_ijk b_j of shape [i, k]
    a, b, _ = vectors(1)
    of_b = np.einsum("ijk,j->ik", TENSOR, b)
    f = lambda a: (conv(a, b) ** 2).sum() / 2  # noqa: E731
    for outer in (jax.jacfwd, jax.jacrev):
        for inner in (jax.jacfwd, jax.jacrev):
            np.testing.assert_array_equal(jax.jit(outer(inner(f)))(a), of_b @ of_b.T)


def test_vmap_of_a_gradient_and_gradient_of_a_vmap():
    # The gradient by a shared b sums over the examples: sum_n sum_ik T_ijk a_ni g_nk
    (a, b, g), (a2, _, g2) = vectors(1), vectors(2)
    many, cotangents = np.stack([a, a2]), np.stack([g, g2])
    want = np.einsum("ijk,ni,nk->nj", TENSOR, many, cotangents)
    each = jax.jit(jax.vmap(jax.grad(lambda b, a, g: conv(a, b) @ g), (None, 0, 0)))(b, many, cotangents)
    np.testing.assert_array_equal(each, want)
    total = lambda b: (jax.vmap(conv, (0, None))(many, b) * cotangents).sum()  # noqa: E731
    np.testing.assert_array_equal(jax.jit(jax.grad(total))(b), want.sum(0))


def test_two_nested_vmaps_differentiated_twice():
    # y[m, n] = T(a_n, b_m);  f = |y|^2 / 2;  d2f/db_m db_m v = sum_n T_an (T_an^T v), T_a = sum_i T_ijk a_i: [j, k]
    (a, b, _), (a2, b2, _), (_, v, _) = vectors(1), vectors(2), vectors(3)
    left, right, directions = np.stack([a, a2, a - a2]), np.stack([b, b2]), np.stack([v, -2 * v])
    outer = jax.vmap(jax.vmap(conv, (0, None)), (None, 0))
    gradient = jax.grad(lambda right: (outer(left, right) ** 2).sum() / 2)
    product = jax.jit(lambda right, v: jax.jvp(gradient, (right,), (v,))[1])(right, directions)
    of_a = np.einsum("ijk,ni->njk", TENSOR, left)
    np.testing.assert_array_equal(product, np.einsum("njk,nlk,ml->mj", of_a, of_a, directions))


def test_the_programs_show_what_they_compute():
    a, b, _ = vectors(1)
    text = str(jax.make_jaxpr(lambda a, b: jax.jvp(conv, (a, b), (a, b)))(a, b))
    assert text.count("dot_general[") >= 3
    assert "contract[" in text
    assert "contract[" not in str(jax.make_jaxpr(jax.grad(lambda a: conv(a, b).sum()))(a))


@pytest.mark.parametrize("output", range(3))
def test_a_linear_function_and_its_transpose(output):
    a, b, c = vectors(4)
    x, y = (v for i, v in enumerate((a, b, c)) if i != output)
    f = lambda x: contract(Form(), output, x, y)  # noqa: E731
    g = np.asarray(f(x)) + 1
    (back,) = jax.linear_transpose(jax.linearize(f, x)[1], x)(g)
    assert float(back @ x) == float(g @ np.asarray(f(x)))
