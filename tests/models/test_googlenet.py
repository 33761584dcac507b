"""GoogLeNet against torchvision, its modules by hand, and what its auxiliary heads do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, load_torch
from dlcore.models.googlenet import (
    MODULES,
    AuxiliaryHead,
    GoogLeNet,
    Inception,
    NaiveInception,
    auxiliary_loss,
    standardized_to_symmetric,
)
from dlcore.ops import conv_macs, im2col, max_pool
from tests.models.cost import stages_of
from tests.models.parity import check_golden, check_output, parameter_count, read_golden
from tests.models.training import compiled, draw, losses

SMALL = {"width_mult": 0.05, "stem": "cifar", "num_classes": 2, "modules": ("3a", "4a", "4d", "5a")}


def heads_in_use(model, x):
    return model.auxiliary(x, train=False)


def in_use(model, variables, x):
    return model.apply(variables, x, method=heads_in_use)


@pytest.mark.weekly
@pytest.mark.covers("ZO-07", "ZO-09")
def test_googlenet_equals_torchvision():
    pooled = {"maxpool1": lambda maps: max_pool(maps["conv1"], (3, 3), (2, 2), ceil_mode=True)}
    _, heads = check_golden(
        "tv_googlenet", "googlenet", pooled, method=lambda model, x: model.auxiliary(x, train=False)
    )
    golden, meta, _ = read_golden("tv_googlenet")
    assert list(heads) == ["aux1", "aux2"]
    for name, logits in heads.items():
        check_output(golden, meta, name, logits)


@pytest.mark.slow
@pytest.mark.covers("ZO-07")
def test_parameter_counts():
    assert parameter_count("googlenet", aux=False) == 6_624_904
    assert parameter_count("googlenet") == 13_004_888


def module_parameters(**fields):
    x = jnp.zeros((1, 28, 28, 192))
    module = Inception(MODULES["3a"], **fields)
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, False))
    chex.assert_shape(out, (1, 28, 28, 256))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.covers("ZO-07")
def test_module_3a_in_both_forms():
    # 64 192 + 96 192 + 9 128 96 + 16 192 + 9 32 16 + 32 192 = 155,136; batch norm 2 (64 + 96 + 128 + 16 + 32 + 32)
    assert module_parameters() == 155_136 + 736 == 155_872
    # with 25 32 16 in place of 9 32 16: 163,328; a bias for each of the 368 channels
    assert module_parameters(batch_norm=False, largest_kernel=5) == 163_328 + 368 == 163_696


@pytest.mark.slow
@pytest.mark.covers("ZO-07")
def test_nine_modules_22_layers_and_one_dense_layer():
    model, x = create_model("googlenet", aux=False), jnp.zeros((1, 224, 224, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    modules = {name for name in params if name.startswith("inception")}
    assert modules == {f"inception{n}" for n in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")}
    depths = [2 if "branch2_1" in params[name] else 1 for name in modules]
    stem = sum(name.startswith("conv") for name in params)
    assert stem + sum(depths) + ("head" in params) == 22
    chex.assert_shape(params["head"]["kernel"], (1024, 1000))  # on the average of the last map
    info = stages_of(create_model("googlenet"))
    strides = {name: stage["stride"] for name, stage in info.items()}
    assert strides == {"conv1": 2, "conv3": 4} | {name: {"3": 8, "4": 16, "5": 32}[name[9]] for name in sorted(modules)}
    assert [info[f"inception{name}"]["channels"] for name in MODULES] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


@pytest.mark.weekly
@pytest.mark.covers("ZO-08")
def test_the_naive_module_with_the_goldens_weights():
    """Its 1x1 branch is that of 3b in the golden; the other kernels are drawn by the golden's rule."""
    _, _, weights = read_golden("tv_googlenet")
    golden = load_torch("googlenet", weights)
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 7, 6, 256)))
    module = NaiveInception((128, 192, 96))
    variables = draw(module, x, False)
    ours, theirs = variables["params"], golden["params"]["inception3b"]
    ours["branch1"], ours["branch2"]["bn"] = theirs["branch1"], theirs["branch2_1"]["bn"]
    ours["branch3"]["bn"] = theirs["branch3_1"]["bn"]
    stats, known = variables["batch_stats"], golden["batch_stats"]["inception3b"]
    stats["branch1"], stats["branch2"], stats["branch3"] = (known[n] for n in ("branch1", "branch2_1", "branch3_1"))
    out = np.asarray(jax.jit(lambda v: module.apply(v, x, False))(variables))
    chex.assert_shape(out, (2, 7, 6, 128 + 192 + 96 + 256))

    def by_hand(name, size):
        kernel, bn, running = ours[name]["conv"]["kernel"], ours[name]["bn"], stats[name]["bn"]
        rows = np.asarray(im2col(x, (size, size), padding=size // 2), np.float64)
        y = (rows @ np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])).reshape(2, 7, 6, -1)
        y = (y - running["mean"]) / np.sqrt(running["var"] + 1e-3) * bn["scale"] + bn["bias"]
        return np.maximum(y, 0)

    want = [by_hand("branch1", 1), by_hand("branch2", 3), by_hand("branch3", 5)]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    want.append(np.max([padded[:, i : i + 7, j : j + 6] for i in range(3) for j in range(3)], 0))
    np.testing.assert_allclose(out, np.concatenate(want, -1), atol=1e-4)
    published = {n: golden[n]["inception3b"] for n in golden}
    bottlenecked = compiled(Inception(MODULES["3b"]), published, x, False)
    np.testing.assert_allclose(out[..., :128], bottlenecked[..., :128], atol=1e-5)


@pytest.mark.covers("ZO-08")
def test_the_naive_module_costs_more_and_widens_every_time():
    x = jnp.zeros((1, 28, 28, 192))
    module = NaiveInception((64, 128, 32), batch_norm=False)
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, False))
    assert out.shape[-1] == 64 + 128 + 32 + 192 == 416  # 256 with bottlenecks
    kernels = {name: layer["conv"]["kernel"] for name, layer in variables["params"].items()}
    assert {name: kernel.shape[:2] for name, kernel in kernels.items()} == {
        "branch1": (1, 1),
        "branch2": (3, 3),
        "branch3": (5, 5),
    }
    # 192 (64 + 9 128 + 25 32) = 387,072 weights at 28 x 28 places, beside 163,328
    naive = sum(conv_macs(28, k.shape[2], k.shape[3], k.shape[:2]) for k in kernels.values())
    paper = Inception(MODULES["3a"], largest_kernel=5, batch_norm=False)
    shapes = jax.eval_shape(lambda: paper.init(jax.random.key(0), x, False))["params"].values()
    frugal = sum(conv_macs(28, *k.shape[2:], k.shape[:2]) for k in (layer["conv"]["kernel"] for layer in shapes))
    assert (naive, frugal) == (387_072 * 784, 163_328 * 784)
    assert naive > 2.3 * frugal


@pytest.fixture(scope="module")
def small():
    """A model, random variables, a batch, and the compiled logits and heads in use."""
    model = GoogLeNet(**SMALL)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), x), np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: np.abs(rng.normal(size=leaf.shape)).astype(np.float32), shapes)
    return model, variables, x, jax.jit(lambda variables: in_use(model, variables, x))


@pytest.mark.slow
@pytest.mark.covers("ZO-09")
def test_auxiliary_heads_are_absent_in_use(small):
    model, variables, x, _ = small
    assert {"aux1", "aux2"} <= set(variables["params"])
    without = {n: {k: v for k, v in tree.items() if not k.startswith("aux")} for n, tree in variables.items()}
    bare = model.clone(aux=False)
    shapes = jax.eval_shape(bare.init, jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, without)
    for used in (model, bare):
        chex.assert_shape(jax.eval_shape(used.apply, without, x), (2, 2))  # nothing asks for their parameters
    with pytest.raises(ValueError, match="aux=False"):
        jax.eval_shape(lambda: in_use(bare, without, x))


@pytest.mark.slow
@pytest.mark.covers("ZO-09")
def test_the_heads_stand_behind_4a_and_4d(small):
    """A nan in a layer comes out wherever its map goes."""
    _, variables, _, run = small
    logits, heads = run(variables)
    assert np.isfinite(logits).all()
    assert {name: head.shape for name, head in heads.items()} == {"aux1": (2, 2), "aux2": (2, 2)}
    reached = {}
    for name in variables["params"]:
        params = {**variables["params"], name: jax.tree.map(lambda p: p * np.nan, variables["params"][name])}
        logits, heads = run({**variables, "params": params})
        values = {"logits": logits, **heads}
        reached[name] = {output for output, value in values.items() if not np.isfinite(value).all()}
    assert reached == {
        "conv1": {"aux1", "aux2", "logits"},
        "inception3a": {"aux1", "aux2", "logits"},
        "inception4a": {"aux1", "aux2", "logits"},
        "inception4d": {"aux2", "logits"},
        "inception5a": {"logits"},
        "head": {"logits"},
        "aux1": {"aux1"},
        "aux2": {"aux2"},
    }


@pytest.mark.covers("ZO-09")
def test_the_loss_of_the_auxiliary_heads_weighs_three_tenths():
    # -log softmax of class 0: (0, 0) log 2 = .693147; (log 3, 0) log 4/3 = .287682; (0, log 4) log 5 = 1.609438
    logits = np.float32([[0, 0], [np.log(3), 0]])
    heads = {"aux1": np.float32([[0, np.log(4)], [0, 0]]), "aux2": np.zeros((2, 2), np.float32)}
    label = np.array([0, 0])
    main, first, second = (0.693147 + 0.287682) / 2, (1.609438 + 0.693147) / 2, 0.693147

    @jax.jit
    def run(logits, heads):
        one_hot = np.eye(2, dtype=np.float32)[label]
        usual = [auxiliary_loss(logits, heads, target) for target in (label, one_hot)]
        return *usual, auxiliary_loss(logits, heads, label, weight=1.0), auxiliary_loss(logits, {}, label)

    thirds = main + 0.3 * (first + second)
    np.testing.assert_allclose(run(logits, heads), [thirds, thirds, main + first + second, main], rtol=1e-5)


@pytest.mark.slow
def test_published_weights_take_symmetric_pixels():
    x = jax.random.uniform(jax.random.key(0), (1, 8, 8, 3))
    model = GoogLeNet(**SMALL | {"modules": ()}, aux=False, head_init=nn.initializers.normal(1.0))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    standardized = (x - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])
    got = compiled(model.clone(transform_input=True), variables, standardized)
    np.testing.assert_allclose(got, compiled(model, variables, 2 * x - 1), rtol=1e-4)


@pytest.mark.slow
def test_dropout_acts_in_training_alone():
    model = create_model("googlenet")
    assert (model.dropout, model.aux_dropout) == (0.2, 0.7)
    x = jnp.ones((1, 4, 4, 3))
    last = {"head_init": nn.initializers.ones, "batch_norm": False, "dropout": 1.0}
    for model in (
        GoogLeNet(modules=(), stem="cifar", aux=False, width_mult=0.02, **last),
        AuxiliaryHead(2, 4, 8, **last),
    ):
        variables = jax.tree.map(jnp.ones_like, draw(model, x, False))
        assert jnp.abs(compiled(model, variables, x, False)).min() > 1
        drop = lambda v, model=model: model.apply(v, x, True, rngs={"dropout": jax.random.key(1)})  # noqa: E731
        np.testing.assert_array_equal(jax.jit(drop)(variables), 1)  # the bias of the head alone


@pytest.mark.slow
@pytest.mark.weekly(unless=["False"])
@pytest.mark.parametrize("norm", [True, False])
def test_it_learns(norm):
    model = GoogLeNet(**SMALL | {"modules": ("5a",)}, batch_norm=norm, dropout=0.0, aux=False)
    values = losses(model, 4, steps=20, rate=0.003)
    assert values[0] == pytest.approx(np.log(2))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.slow
def test_bad_input_is_named():
    for stem, smallest in (("imagenet", 31), ("cifar", 4)):
        model = GoogLeNet(stem=stem)
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            model.init(jax.random.key(0), jnp.zeros((1, smallest - 1, 40, 3)))
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, smallest, smallest, 3)))
    with pytest.raises(ValueError, match="unknown or twice; allowed: 3a, "):
        GoogLeNet(modules=("3a", "6a")).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_pixels_standardized_by_imagenet_become_those_within_one_of_zero():
    """p = (0, .5, 1) becomes 2 p - 1 = (-1, 0, 1)."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    found = standardized_to_symmetric((np.float32([0, 0.5, 1]) - mean) / std)
    np.testing.assert_allclose(found, [-1, 0, 1], atol=1e-6)
