"""oneDNN's convolutions and products: equal to XLA's, chosen where they are known to work, and left out elsewhere.

The tests' processes keep compiled programs on disk, which these cannot be; so a process without does the work.
"""

import json
import os
import subprocess
import sys

import pytest

from dlcore.ops import has_onednn
from dlcore.ops.cpu import onednn

pytestmark = pytest.mark.skipif(not has_onednn(), reason="this jaxlib's oneDNN was not tried")

PROGRAM = """
import json, tempfile
import jax, jax.numpy as jnp, numpy as np
from flax import linen as nn
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from dlcore.cost.compiled import compiled_cost
from dlcore.cost.profiled_operations import hot_operations, trace_times
from dlcore.cost.roofline import CHIPS
from dlcore.ops import conv_general_dilated, use_onednn, disable_onednn

use_onednn()
D = ("NHWC", "HWIO", "NHWC")

def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)

def convolve(strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1, gaps=(1, 1)):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, padding, gaps, dilation, D, groups)

def called(f, *args, **how):
    return "__onednn" in jax.jit(lambda *args: f(*args), **how).lower(*args).as_text()

def difference(f, *args):
    ours = jax.jit(lambda *args: f(*args))(*args)
    with disable_onednn():
        theirs = jax.jit(lambda *args: f(*args))(*args)
    return max(float(jnp.abs(a - b).max() / jnp.abs(b).max())
               for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))

x, w = normal(0, 4, 24, 20, 16), normal(1, 3, 3, 16, 32)
windows = {
    "same": convolve(),
    "strided": convolve((2, 1)),
    "uneven padding": convolve(padding=((0, 2), (3, 1))),
    "dilated": convolve(padding="VALID", dilation=(2, 3)),
    "loop": lambda x, w: lax.fori_loop(0, 2, lambda _, y: convolve()(x + y.mean(), w), convolve()(x, w)),
    "mapped": lambda x, w: jax.vmap(convolve(), (0, None))(jnp.stack([x, 2 * x]), w),
    "mapped kernels": lambda x, w: jax.vmap(convolve(), (None, 0))(x, jnp.stack([w, 2 * w])),
    "gradients": jax.grad(lambda x, w: jnp.sin(conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=D)).sum(),
                          (0, 1)),
}
small = x[:1, :8, :8]
left = {
    "small": (convolve(), small, w),
    "large kernel": (convolve(padding="VALID"), x, normal(2, 8, 8, 16, 32)),
    "negative padding": (convolve(padding=((-1, 2), (1, 1))), x, w),
    "groups": (convolve(groups=2), x, w[:, :, :8]),
    "gaps": (convolve(padding=((1, 1), (1, 1)), gaps=(2, 2)), x, w),
    "bfloat16": (convolve(), x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)),
    "channels first": (lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME"), x.transpose(0, 3, 1, 2),
                       w.transpose(3, 2, 0, 1)),
    "1-D": (lambda x, w: lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
            normal(3, 4, 480, 16), normal(4, 3, 16, 128)),
}
a, b = normal(5, 200, 96), normal(6, 96, 120)
q, k = normal(7, 3, 40, 4, 32), normal(8, 3, 50, 4, 32)
parts, kernels = normal(9, 2, 1, 60, 5, 1, 20), normal(10, 5, 1, 20, 70)

def attend(q, k):
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
    return jnp.einsum("bhts,bshd->bthd", weights, jnp.sin(k))

def slope(f):
    return jax.grad(lambda *args: jnp.sin(f(*args)).sum(), (0, 1))

products = {
    "plain": (lambda a, b: a @ b, a, b),
    "second transposed": (lambda a, b: a @ b.T, a, b.T),
    "both transposed": (lambda a, b: a.T @ b.T, a.T, b.T),
    "first transposed": (lambda a, b: a.T @ b, a.T, b),
    "sums over rows": (lambda a, b: lax.dot_general(a, b, (((0,), (0,)), ((), ()))), a.T, b),
    "gradients": (slope(lambda a, b: a @ b), a, b),
    "gradients, transposed": (slope(lambda a, b: a @ b.T), a, b.T),
    "attention": (attend, q, k),
    "gradients of attention": (slope(attend), q, k),
    "patches": (lambda x, w: lax.dot_general(x, w, (((3, 4, 5), (0, 1, 2)), ((), ()))), parts, kernels),
    "in other orders": (lambda x, w: jnp.einsum("abcdef,dfbg->gcae", x, w), parts, kernels.transpose(0, 2, 1, 3)),
    "mapped": (lambda a, b: jax.vmap(jnp.matmul, (2, 1), 1)(jnp.stack([a, 2 * a], 2), jnp.stack([b, b - 1], 1)), a, b),
    "loop": (lambda a, b: lax.fori_loop(0, 2, lambda _, y: (a + y.mean()) @ b, a @ b), a, b),
    "highest precision": (lambda a, b: jnp.matmul(a, b, precision="highest"), a, b),
}
left_products = {
    "small": (lambda a, b: a[:20] @ b, a, b),
    "of a vector": (lambda a, b: a @ b[:, 0], jnp.tile(a, (60, 1)), b),
    "few rows": (lambda a, b: a[:20] @ b, normal(13, 20, 800), normal(14, 800, 90)),
    "one row": (lambda a, b: a @ b, normal(11, 1, 2000), normal(12, 2000, 300)),
    "bfloat16": (lambda a, b: a @ b, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)),
    "wider result": (lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), a.astype(jnp.bfloat16),
                     b.astype(jnp.bfloat16)),
    "an algorithm": (lambda a, b: lax.dot(a, b, precision="BF16_BF16_F32"), a, b),
}
program = jax.jit(lambda x, w, a, b: (convolve()(x, w), a @ b, a.T @ a[:, :60])).lower(x, w, a, b).compile()
with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
        jax.block_until_ready(program(x, w, a, b))
    hot = hot_operations(trace_times(folder), program.as_text(), 1, CHIPS["h100"])
mesh = jax.make_mesh((2,), ("data",))
spread = NamedSharding(mesh, PartitionSpec("data"))
exported = jax.export.export(jax.jit(convolve()))(x, w)
free = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("n"), 96), jnp.float32)
product = jax.export.export(jax.jit(lambda a, b: a @ b), platforms=("cpu", "cuda", "tpu"))(free, b)
result = {
    "called": {name: called(f, x, w) for name, f in windows.items()},
    "difference": {name: difference(f, x, w) for name, f in windows.items()},
    "left": {name: called(*case) for name, case in left.items()},
    "products called": {name: called(*case) for name, case in products.items()},
    "products' difference": {name: difference(*case) for name, case in products.items()},
    "products left": {name: called(*case) for name, case in left_products.items()},
    "copies": jax.jit(lambda a, b: jnp.einsum("md,nd->mn", a, b)).lower(a, b.T).compile().as_text().count(" copy("),
    "two devices": called(convolve(), jax.device_put(x, spread), w),
    "product on two devices": called(lambda a, b: a @ b, jax.device_put(a, spread), b),
    "exported": "__onednn" in exported.mlir_module() + product.mlir_module(),
    "exported difference": float(jnp.abs(exported.call(x, w) - convolve()(x, w)).max()),
    "profiled": [(row.opcode, row.flops) for row in hot],
    "flops": compiled_cost(nn.Conv(32, (3, 3), use_bias=False), jax.ShapeDtypeStruct(x.shape, x.dtype)).flops,
}
with disable_onednn():
    result["without"] = called(convolve(), x, w) or called(lambda a, b: a @ b, a, b)
jax.config.update("jax_compilation_cache_dir", "unused")
result["saved"] = called(convolve(), x, w) or called(lambda a, b: a @ b, a, b)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def result():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPIL", "JAX_PERS"))}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.weekly
def test_results_equal_those_of_xla(result):
    assert set(result["called"].values()) == {True}
    assert max(result["difference"].values()) < 1e-5, result["difference"]
    assert [name for name, called in result["products called"].items() if not called] == []
    assert max(result["products' difference"].values()) < 1e-5, result["products' difference"]
    assert result["copies"] == 0


@pytest.mark.weekly
def test_unsupported_operations_stay_with_xla(result):
    assert set(result["left"].values()) == {False}, result["left"]
    assert set(result["products left"].values()) == {False}, result["products left"]
    for name in ("two devices", "product on two devices", "exported", "without", "saved"):
        assert result[name] is False, name
    assert result["exported difference"] < 1e-4


@pytest.mark.slow
def test_the_flops_of_a_compiled_model_are_those_without_it(result):
    taps = (3 * 24 - 2) * (3 * 20 - 2)  # of one channel; those on padding do not count
    assert result["flops"] == 2 * 4 * taps * 16 * 32


@pytest.mark.slow
def test_a_profile_knows_what_it_is_and_its_products(result):
    assert ["convolution", 2 * 4 * 24 * 20 * 9 * 16 * 32] in result["profiled"]
    assert ["dot", 2 * 200 * 96 * 120] in result["profiled"]
    assert ["dot", 2 * 96 * 200 * 60] in result["profiled"]


def test_it_keeps_out_of_untried_versions(monkeypatch):
    monkeypatch.setattr(onednn, "version", lambda package: "0.12.0" if package == "jaxlib" else "0.10.2")
    assert not onednn.has_onednn()
    monkeypatch.setattr(onednn.mlir, "register_lowering", lambda *args, **kwargs: pytest.fail("registered"))
    onednn.use_onednn()
