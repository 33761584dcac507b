"""FLOPs of a training step: hand-counted products, loops in full, gradients, recomputation, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from dlcore.cost.layers import layer_costs, total
from dlcore.cost.step_flops import StepFlops, step_flops
from dlcore.models import create_model

B, M, K, N = 4, 8, 16, 32


def of(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_a_product_counts_two_flops_for_each_pair():
    found = step_flops(lambda x, w: jnp.tanh(x @ w) + 1, of(B, K), of(K, N))
    assert found == StepFlops(4 * 16 * 32)
    assert found.flops == 4096


def mlp(params, x, scanned, remat=False):
    def layer(x, w):
        return jnp.tanh(x @ w), None

    layer = jax.checkpoint(layer) if remat else layer
    if scanned:
        return jax.lax.scan(layer, x, params)[0]
    for w in params:
        x, _ = layer(x, w)
    return x


@pytest.mark.parametrize("gradient", [False, True])
def test_a_scanned_network_counts_as_the_unrolled_one(gradient):
    def function(scanned):
        def loss(params, x):
            return mlp(params, x, scanned).sum()

        return jax.grad(loss) if gradient else loss

    args = of(5, K, K), of(B, K)
    unrolled, scanned = (step_flops(function(s), *args) for s in (False, True))
    forward = 5 * B * K * K
    # backward: each layer once more for its weights and once for its input; unrolled, the first layer's is not wanted
    assert unrolled.macs == (3 * forward - B * K * K if gradient else forward)
    assert scanned.macs == (3 * forward if gradient else forward)


def test_the_gradient_of_a_dense_layer_is_three_times_its_forward():
    def loss(w, x):
        return jnp.square(x @ w).sum()

    forward = B * K * N
    assert step_flops(loss, of(K, N), of(B, K)).macs == forward
    assert step_flops(jax.grad(loss), of(K, N), of(B, K)).macs == 2 * forward  # no gradient to the input
    assert step_flops(jax.grad(loss, argnums=(0, 1)), of(K, N), of(B, K)).macs == 3 * forward


@pytest.mark.parametrize("scanned", [False, True])
def test_recomputation_adds_a_forward(scanned):
    def grad(remat):
        return jax.value_and_grad(lambda params, x: mlp(params, x, scanned, remat).sum(), argnums=(0, 1))

    forward = 5 * B * K * K
    assert step_flops(grad(False), of(5, K, K), of(B, K)).macs == 3 * forward
    assert step_flops(grad(True), of(5, K, K), of(B, K)).macs == 4 * forward


def test_of_a_while_one_turn_counts_and_that_is_said():
    def function(x, w):
        return jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: x @ w, x)

    assert step_flops(function, of(K, K), of(K, K)) == StepFlops(K**3, 1)
    assert step_flops(lambda x: jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: 2 * x, x), of(K)).loops == 0

    def thrice(x, w):
        return jax.lax.scan(lambda x, _: (function(x, w), None), x, None, 3)[0]

    inside = step_flops(thrice, of(K, K), of(K, K))
    assert inside == StepFlops(3 * K**3, 1)


def test_the_dearest_branch_counts():
    def function(x, w, v):
        return jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: x @ w @ v)

    assert step_flops(function, of(B, K), of(K, K), of(K, K)).macs == 2 * B * K * K


def test_custom_derivatives_jit_and_vmap_are_opened():
    @jax.custom_vjp
    def product(x, w):
        return jax.jit(jnp.matmul)(x, w)

    product.defvjp(lambda x, w: (product(x, w), (x, w)), lambda kept, d: (d @ kept[1].T, kept[0].T @ d))
    assert step_flops(product, of(B, K), of(K, N)).macs == B * K * N
    both = jax.grad(lambda x, w: jnp.square(product(x, w)).sum(), argnums=(0, 1))
    assert step_flops(both, of(B, K), of(K, N)).macs == 3 * B * K * N
    assert step_flops(jax.vmap(product, (0, None)), of(7, B, K), of(K, N)).macs == 7 * B * K * N


def test_every_device_of_a_shard_map_counts():
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    data, none = PartitionSpec("data"), PartitionSpec()
    function = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(data, none), out_specs=data)
    assert step_flops(function, of(B, K), of(K, N)).macs == B * K * N  # a quarter on each of four
    mapped = jax.pmap(lambda x, w: x @ w, in_axes=(0, None), devices=jax.devices()[:4])
    assert step_flops(mapped, of(4, B, K), of(K, N)).macs == 4 * B * K * N


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 1, 1), (3, 2, 1), (3, 1, 8), (1, 1, 1)])
def test_both_gradients_of_a_convolution_cost_what_it_costs(kernel, stride, groups):
    """y: [2, 8 / s, 8 / s, 8], each output a product for each tap and channel of its group; padding counts."""

    def conv(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    x, w = of(2, 8, 8, 8), of(kernel, kernel, 8 // groups, 8)
    forward = 2 * (8 // stride) ** 2 * 8 * kernel**2 * (8 // groups)
    assert step_flops(conv, x, w).macs == forward

    def loss(x, w):
        return jnp.square(conv(x, w)).sum()

    assert step_flops(jax.grad(loss, argnums=1), x, w).macs == 2 * forward
    assert step_flops(jax.grad(loss, argnums=(0, 1)), x, w).macs == 3 * forward


def test_unused_products_cost_no_flops():
    def function(x, w):
        jax.jit(jnp.matmul)(x, w)
        return x + 1

    assert step_flops(function, of(B, K), of(K, N)) == StepFlops(0)
    # of a linear function the backward pass needs no forward one
    assert step_flops(jax.grad(lambda w, x: (x @ w).sum()), of(K, N), of(B, K)).macs == B * K * N


def test_a_model_costs_what_its_layers_cost():
    model, x = create_model("resnet8_cifar", num_classes=10), of(2, 8, 8, 1)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), x)
    assert step_flops(model.apply, variables, x).macs == total(layer_costs(model, x)).macs
