import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, list_models
from dlcore.models.resnet_cifar import BasicBlock, CifarResNet, shortcut_a
from tests.models.training import compiled, draw


def images(batch=4, size=8):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), jnp.float32)


def shapes_of(name, **fields):
    return jax.eval_shape(create_model(name, **fields).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def loss_and_gradient(model, variables, x):
    def loss(params):
        logits, updates = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.square(logits - 1).sum(), updates

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])


def small(**fields):
    return CifarResNet(stages=(1, 1), width=4, head_init=nn.initializers.lecun_normal(), **fields)


def assert_trees_close(got, want, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, float(jnp.abs(b).max())))


@pytest.mark.slow(unless=["resnet20_cifar-269722", "plain20_cifar-269722"])
@pytest.mark.covers("ZO-12")
@pytest.mark.parametrize(
    ("name", "count"),
    # stem 432, blocks 9 c^2 and 18 c^2, batch norm 2 a channel, head 650; for ResNet-20:
    # 432 + 6 2304 + (4608 + 5 9216) + (18432 + 5 36864) + 2 (7 16 + 6 32 + 6 64) + 650 = 269,722
    [("resnet20_cifar", 269_722), ("resnet56_cifar", 853_018), ("plain20_cifar", 269_722), ("plain56_cifar", 853_018)],
)
def test_parameter_count(name, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(name)["params"])) == count


@pytest.mark.slow(unless=["resnet8_cifar", "resnet20_cifar", "plain20_cifar"])
@pytest.mark.parametrize("name", [*list_models("resnet*_cifar"), *list_models("plain*_cifar")])
def test_a_name_states_the_number_of_layers(name):
    depth = int("".join(filter(str.isdigit, name)))
    kernels = [path for path, _ in jax.tree.leaves_with_path(shapes_of(name)["params"]) if path[-1].key == "kernel"]
    assert len(kernels) == depth
    assert create_model(name).skip == name.startswith("resnet")


@pytest.mark.covers("ZO-12")
def test_shortcut_takes_every_second_pixel_and_adds_zero_channels():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)  # rows 1 2 3 4, 5 6 7 8, 9 10 11 12, 13 14 15 16
    got = shortcut_a(x, 4, 2)[0]
    np.testing.assert_array_equal(got[..., 1], [[1, 3], [9, 11]])
    np.testing.assert_array_equal(got[..., [0, 2, 3]], jnp.zeros((2, 2, 3)))
    doubled = shortcut_a(jnp.concatenate([x, -x], -1), 4, 2)[0]
    np.testing.assert_array_equal(doubled[0, 1], [0, 3, -3, 0])
    np.testing.assert_array_equal(shortcut_a(x, 1, 1), x)
    chex.assert_shape(shortcut_a(jnp.ones((1, 5, 3, 2)), 4, 2), (1, 3, 2, 4))
    with pytest.raises(ValueError, match=r"features=1: .*at least the 2 of x"):
        shortcut_a(jnp.ones((1, 4, 4, 2)), 1, 1)


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("ZO-12")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_adds_its_shortcut_before_the_last_relu(stride):
    x = images()
    block = BasicBlock(6, stride=stride)
    variables = draw(block, x, False)
    plain = BasicBlock(6, stride=stride, skip=False)
    residual, rectified = compiled(block, variables, x, False), compiled(plain, variables, x, False)
    shapes = jax.eval_shape(lambda: plain.init(jax.random.key(0), x, False))
    assert jax.tree.structure(shapes) == jax.tree.structure(variables)
    residual, rectified, shortcut = np.array(residual), np.array(rectified), np.array(shortcut_a(x, 6, stride))
    branch = np.maximum(rectified, 0)
    open_ = rectified > 0  # where the branch is positive relu hides nothing, and the sum is seen whole
    want = np.maximum(branch + shortcut, 0)
    np.testing.assert_allclose(residual[open_], want[open_], rtol=1e-5, atol=1e-5)
    assert open_.mean() > 0.2


def test_a_block_with_zero_scale_is_its_shortcut():
    x = images()
    for skip, want in ((True, jax.nn.relu(shortcut_a(x, 6, 2))), (False, jnp.zeros((4, 4, 4, 6)))):
        block = BasicBlock(6, stride=2, skip=skip, zero_init_residual=True)
        got, _ = block.init_with_output(jax.random.key(0), x, True)
        np.testing.assert_array_equal(got, want)


@pytest.mark.slow
def test_stages():
    model = CifarResNet(stages=(1, 2, 1), width=4)
    variables = jax.jit(model.init)(jax.random.key(0), images())
    assert set(variables["params"]) == {
        "stem_conv",
        "stem_bn",
        "stage1_block0",
        "stage2_block0",
        "stage2_block1",
        "stage3_block0",
        "head",
    }
    assert set(variables["params"]["stage2_block1"]) == {"conv1", "bn1", "conv2", "bn2"}
    maps = jax.jit(lambda v: model.apply(v, images(), method="features"))(variables)
    assert {name: m.shape for name, m in maps.items()} == {
        "stem": (4, 8, 8, 4),
        "stage1": (4, 8, 8, 4),
        "stage2": (4, 4, 4, 8),
        "stage3": (4, 2, 2, 16),
    }
    variables["params"]["head"] = {"kernel": jnp.eye(16, 10), "bias": jnp.arange(10.0)}
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, images()),
        maps["stage3"].mean((1, 2))[:, :10] + jnp.arange(10),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.slow
def test_a_stem_of_stride_two_halves_every_map():
    model = CifarResNet(stages=(1, 1, 1), width=4, stem_stride=2)
    variables = jax.jit(model.init)(jax.random.key(0), images())
    maps = jax.jit(lambda v: model.apply(v, images(), method="features"))(variables)
    assert {n: m.shape[1:] for n, m in maps.items()} == {
        "stem": (4, 4, 4),
        "stage1": (4, 4, 4),
        "stage2": (2, 2, 8),
        "stage3": (1, 1, 16),
    }


@pytest.mark.slow
def test_training_uses_and_updates_batch_statistics():
    model = small()
    variables = jax.jit(model.init)(jax.random.key(0), images())
    apply = jax.jit(model.apply, static_argnames=("train", "mutable"))
    logits, updates = apply(variables, images(), train=True, mutable=("batch_stats",))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), updates["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(moved))
    assert len(jax.tree.leaves(moved)) == 2 * 5
    assert not np.allclose(logits, apply(variables, images()), atol=1e-3)


@pytest.mark.slow
def test_kernels_are_he_normal_by_fan_out():
    params = jax.jit(create_model("resnet8_cifar", width=64).init)(jax.random.key(0), images())["params"]
    for name, features in (("stage1_block0", 64), ("stage2_block0", 128)):
        kernel = params[name]["conv1"]["kernel"]
        assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (9 * features)), rel=0.02)


@pytest.mark.weekly
def test_remat_changes_neither_names_nor_gradients():
    plain, remat = small(), small(remat="full")
    variables = jax.jit(plain.init)(jax.random.key(0), images())
    assert jax.tree.structure(jax.eval_shape(remat.init, jax.random.key(0), images())) == jax.tree.structure(variables)
    ours, theirs = (jax.jit(loss_and_gradient, static_argnums=0).trace(m, variables, images()) for m in (remat, plain))
    assert str(ours.jaxpr).count("prevent_cse=") == 2
    assert "prevent_cse=" not in str(theirs.jaxpr)
    assert_trees_close(*(m.lower().compile()(variables, images()) for m in (ours, theirs)))


@pytest.mark.weekly
def test_under_pmap_the_step_is_that_of_the_whole_batch():
    whole, split = small(), small(axis_name="data")
    x = images(batch=8)
    variables = jax.jit(whole.init)(jax.random.key(0), x)
    (loss, updates), gradient = jax.jit(loss_and_gradient, static_argnums=0)(whole, variables, x)
    (losses, got_updates), gradients = jax.pmap(
        lambda x: loss_and_gradient(split, variables, x), axis_name="data", devices=jax.devices()[:2]
    )(x.reshape(2, 4, 8, 8, 3))
    assert float(losses.sum()) == pytest.approx(float(loss), rel=1e-5)
    assert_trees_close(jax.tree.map(lambda v: v[1], got_updates), updates)
    assert_trees_close(jax.tree.map(lambda v: v.sum(0), gradients), gradient, 1e-4)


@pytest.mark.weekly
def test_it_learns_its_batch():
    model = CifarResNet(stages=(1, 1), width=16)
    x, labels = images(batch=16), jnp.arange(16) % 10
    variables = jax.jit(model.init)(jax.random.key(0), x)

    def step(variables, _):
        def loss(params):
            logits, updates = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return {"params": jax.tree.map(lambda p, g: p - 0.5 * g, variables["params"], gradient), **updates}, value

    _, losses = jax.jit(lambda v: jax.lax.scan(step, v, None, 60))(variables)
    assert float(losses[0]) == pytest.approx(np.log(10), abs=1e-6)
    assert float(losses[-1]) < 0.2


@pytest.mark.slow
@pytest.mark.covers("RG-10")
def test_dropped_branches_leave_the_shortcut_and_the_others_are_divided():
    """Two blocks, the last with drop_path 0.5: of the examples half have relu(shortcut), half relu(2 y + shortcut)."""
    x = jnp.abs(images(batch=40))
    plain, dropping = BasicBlock(3), BasicBlock(3, drop_path=0.5)
    variables = draw(plain, x, True)
    apply = {"train": True, "mutable": ["batch_stats"]}
    y = plain.apply(variables, x, **apply)[0]
    got = dropping.apply(variables, x, rngs={"dropout": jax.random.key(0)}, **apply)[0]
    is_dropped = np.abs(got - x).max((1, 2, 3)) < 1e-6
    assert 10 < is_dropped.sum() < 30
    branch, state = plain.apply(variables, x, capture_intermediates=True, **apply)
    branch = state["intermediates"]["bn2"]["__call__"][0]
    np.testing.assert_allclose(y, nn.relu(branch + x), atol=1e-5)
    np.testing.assert_allclose(got[~is_dropped], nn.relu(2 * branch + x)[~is_dropped], atol=1e-5)
    np.testing.assert_allclose(dropping.apply(variables, x, False), plain.apply(variables, x, False), atol=1e-6)


@pytest.mark.covers("RG-10")
def test_the_probability_to_drop_rises_to_the_last_block():
    model = CifarResNet(stages=(1, 2), width=4, drop_path=0.6)
    rates = {}

    def record(next_call, args, kwargs, context):
        if isinstance(context.module, BasicBlock):
            rates[context.module.name] = context.module.drop_path
        return next_call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(model.init, jax.random.key(0), images())
    assert rates == pytest.approx({"stage1_block0": 0.2, "stage2_block0": 0.4, "stage2_block1": 0.6})
