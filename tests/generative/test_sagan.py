"""A class reaches both players: batch norm and projection by hand, kernels of norm 1, attention, one step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import gan, sagan
from dlcore.generative.condition import class_condition
from dlcore.generative.sagan import Discriminator, Generator
from dlcore.learner import example_keys
from tests.generative.by_rule import check_filled, filled
from tests.wiring import assert_wiring


class ClassShift(nn.Module):
    """G(z, y) = z + shift_y."""

    @nn.compact
    def __call__(self, z, y, train=False):
        return z + self.param("shift", nn.initializers.zeros, (3, z.shape[-1]))[y]


class ClassLine(nn.Module):
    """logit = w_y . x."""

    @nn.compact
    def __call__(self, x, y, train=False):
        return (x * self.param("w", nn.initializers.constant(0.3), (3, x.shape[-1]))[y]).sum(-1)


@pytest.mark.slow
@pytest.mark.covers("GE-16")
def test_a_conditional_step_by_hand():
    """Hinge slopes: only the rows of the batch's classes move, D first and then G against the new D."""
    learner = gan.learner(
        generator=ClassShift(),
        discriminator=ClassLine(),
        generator_optimizer=optax.sgd(0.5),
        discriminator_optimizer=optax.sgd(0.5),
        condition=class_condition(3),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        loss="hinge",
        latent_dim=2,
    )
    x = np.random.default_rng(0).normal(0, 0.1, (4, 2)).astype(np.float32)
    y = np.array([0, 2, 2, 0])
    rows = {"point": x, "label": y, "index": np.arange(4, dtype=np.int32)}
    state = learner.init(jax.random.key(0), rows)
    after, metrics = jax.jit(learner.update)(state, rows)
    rng = jax.random.fold_in(state.rng, 0)
    z = np.stack([jax.random.normal(k, (2,)) for k in example_keys(jax.random.fold_in(rng, 0), rows)])
    w = np.full((3, 2), 0.3, np.float32)
    real, fake = (x * w[y]).sum(-1), (z * w[y]).sum(-1)
    loss = np.maximum(0, 1 - real) + np.maximum(0, 1 + fake)
    assert metrics["d_loss"].compute() == pytest.approx(loss.mean(), rel=1e-5)
    slopes = -x * (real < 1)[:, None] + z * (fake > -1)[:, None]
    for row, slope in zip(y, slopes, strict=True):
        w[row] -= 0.5 * slope / 4
    np.testing.assert_allclose(after.params["discriminator"]["w"], w, rtol=1e-4)
    shift = np.zeros((3, 2))
    for row in y:
        shift[row] += 0.5 * w[row] / 4
    np.testing.assert_allclose(after.params["generator"]["shift"], shift, rtol=1e-4)
    assert learner.classes(state, rows) == {"label": 3}
    moved = learner.predict(after, {**rows, "label": np.array([1, 1, 1, 1])})["sample"]
    np.testing.assert_allclose(learner.predict(after, rows)["sample"] - moved, shift[y], atol=1e-6)


@pytest.mark.slow
def test_latents_that_are_given_and_walks_between_two():
    learner = gan.learner(
        generator=ClassShift(),
        discriminator=ClassLine(),
        generator_optimizer=optax.sgd(0.5),
        discriminator_optimizer=optax.sgd(0.5),
        condition=class_condition(3),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        latent_dim=2,
    )
    rows = {"label": np.zeros(2, np.int32), "index": np.arange(2, dtype=np.int32)}
    state = learner.init(jax.random.key(0), {**rows, "point": np.zeros((2, 2), np.float32)})
    drawn = learner.predict(state, rows)["sample"]
    walk = {**rows, "ends": np.array([[0, 1], [0, 1]]), "share": np.array([0.0, 1.0], np.float32)}
    np.testing.assert_allclose(learner.predict(state, walk)["sample"], drawn, atol=1e-5)
    given = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(learner.predict(state, {**rows, "latent": given})["decoded"], given)


@pytest.mark.covers("GE-16")
def test_batch_norm_by_class_scales_and_shifts_by_row():
    layer = sagan.ConditionalBatchNorm(2)
    x = np.array([[1.0], [3.0]], np.float32)
    variables = layer.init(jax.random.key(0), x, jnp.zeros(2, jnp.int32))
    params = {"scale": jnp.array([[2.0], [5.0]]), "bias": jnp.array([[0.5], [-1.0]])}
    y, _ = layer.apply({**variables, "params": params}, x, jnp.array([1, 0]), train=True, mutable=["batch_stats"])
    # (1 - 2) / 1 = -1 times 5 minus 1, and 1 times 2 plus 0.5.
    np.testing.assert_allclose(y, [[-6.0], [2.5]], atol=1e-4)
    outside = layer.apply({**variables, "params": params}, x, jnp.array([2, 0]))
    assert np.isnan(outside[0]).all()
    assert np.isfinite(outside[1]).all()


@pytest.fixture(scope="module")
def networks():
    judge, draw = sagan.Discriminator(3, width=2), sagan.Generator((8, 8, 1), 3, width=2)
    x, y = jax.random.normal(jax.random.key(0), (4, 8, 8, 1)), jnp.array([0, 1, 2, 0])
    return judge, draw, x, y, jax.jit(judge.init)(jax.random.key(1), x, y)


@pytest.mark.weekly
@pytest.mark.covers("GE-22")
def test_kernels_of_the_discriminator_have_norm_one(networks):
    """After power iterations the first layer's kernel, as it is applied, has the largest singular value 1."""
    judge, _, x, y, variables = networks
    apply = jax.jit(lambda v: judge.apply(v, x, y, train=True, mutable=["batch_stats"])[1])
    for _ in range(30):
        variables = {**variables, **apply(variables)}
    (stats,) = (leaf for name, leaf in variables["batch_stats"]["SpectralNorm_0"].items() if name.endswith("sigma"))
    kernel = np.asarray(variables["params"]["down0_conv0"]["kernel"]).reshape(-1, 2)
    assert stats == pytest.approx(np.linalg.svd(kernel, compute_uv=False)[0], rel=1e-3)
    scaled = jax.tree.map(lambda leaf: 3 * leaf if leaf.ndim > 1 else leaf, variables["params"])
    judged = jax.jit(judge.apply)
    logits = judged(variables, x, y)
    np.testing.assert_allclose(judged({**variables, "params": scaled}, x, y), logits, rtol=1e-3, atol=1e-4)


@pytest.mark.weekly
@pytest.mark.covers("GE-22")
def test_the_projection_and_the_attention_of_both_players(networks):
    """The class enters the logit linearly by its vector, and attention the map by gamma, 0 at first."""
    judge, draw, x, y, variables = networks
    table = variables["params"]["classes"]["embedding"]
    zeroed = {**variables["params"], "classes": {"embedding": jnp.zeros_like(table)}}
    blind = jax.jit(lambda params, y: judge.apply({**variables, "params": params}, x, y))
    np.testing.assert_allclose(blind(zeroed, y), blind(zeroed, 0 * y), rtol=1e-5)
    assert np.abs(blind(variables["params"], y) - blind(variables["params"], (y + 1) % 3)).min() > 1e-6
    for network, inputs in ((judge, (x, y)), (draw, (jax.random.normal(jax.random.key(2), (4, 5)), y))):
        weights, apply = jax.jit(network.init)(jax.random.key(3), *inputs), jax.jit(network.apply)
        assert weights["params"]["attention"]["gamma"] == 0
        far = jax.tree.map(lambda leaf: leaf, weights)
        far["params"]["attention"]["gamma"] = jnp.array(2.0)
        assert np.abs(apply(weights, *inputs) - apply(far, *inputs)).max() > 1e-7
    images = apply(weights, *inputs)
    chex.assert_shape(images, (4, 8, 8, 1))
    assert np.abs(images).max() < 1


@pytest.mark.covers("GE-22")
def test_the_projection_sums_over_places_and_channels():
    """Every kernel is 0, and the skips' bias 1: the last map of 4 x 4 places and 4 channels is 1, f is 16 in each.

    The head's weights of 1 give 64; a class vector of halves adds .5 times 64, one of minus ones takes 64."""
    judge, x = sagan.Discriminator(2, width=2, attention=False, spectral_norm=False), np.zeros((2, 8, 8, 1), np.float32)
    shapes = jax.eval_shape(judge.init, jax.random.key(0), x, np.array([0, 1]))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params = variables["params"]
    params["down1_skip"]["bias"][:] = 1
    params["head"]["kernel"][:] = 1
    params["classes"]["embedding"][:] = [[0.5], [-1]]
    np.testing.assert_allclose(jax.jit(judge.apply)(variables, x, np.array([0, 1])), [96, 0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("GE-22")
def test_both_players_by_the_weight_rule():
    labels = np.array([0, 2], np.int32)
    drawn = filled(sagan.Generator((8, 8, 1), 3, width=2), (2, 5), labels=labels)
    judged = filled(sagan.Discriminator(3, width=2), (2, 8, 8, 1), labels=labels)
    check_filled(drawn, 582, (2, 8, 8, 1), [-0.255867, 0.207413, -0.095233, -0.063878])
    check_filled(judged, 324, (2,), [1.3501, 1.04223, 2.39233, 0.30787])


@pytest.mark.covers("GE-22")
def test_adaptive_batch_norm_scales_and_shifts_by_a_vector():
    """The channel of 1 and 3 is -1 and 1; scales 1 + 2 v and biases -v of v = 1 and 3: -1 * 3 - 1 and 1 * 7 - 3."""
    layer, x, v = sagan.AdaptiveBatchNorm(), np.array([[1.0], [3.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    variables = layer.init(jax.random.key(0), x, v)
    params = {"scale": {"kernel": jnp.array([[2.0]])}, "bias": {"kernel": jnp.array([[-1.0]])}}
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, params)
    y, _ = layer.apply({**variables, "params": params}, x, v, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, [[-4.0], [4.0]], atol=1e-4)


def shapes_of(num_classes=3, latent_dim=7, **fields):
    generator = sagan.Generator((8, 8, 1), num_classes, width=2, attention=False, spectral_norm=False, **fields)
    z, y = jnp.zeros((2, latent_dim)), jnp.zeros(2, jnp.int32) if num_classes else None
    return generator, jax.eval_shape(generator.init, jax.random.key(0), z, y)["params"]


@pytest.mark.covers("GE-22")
def test_biggan_has_one_table_of_classes_for_all_blocks():
    """8 x 8 pixels are one block, 4 channels to 2: norms of 4 and 2 channels."""

    def count(params):
        return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))

    plain, shared = (shapes_of(class_embedding=size)[1] for size in (0, 5))
    # A scale and a bias by class in each norm: 2 * 3 * (4 + 2) = 36. A table of 3 x 5, maps of 2 * 5 * (4 + 2) = 60.
    assert count(shared) - count(plain) == 15 + 60 - 36
    chex.assert_shape(shared["classes"]["embedding"], (3, 5))
    assert sum("embedding" in jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(shared)) == 1
    # A seventh number of noise: 4 of 7 go to the stem, 3 to the block, whose maps read 5 + 3.
    split = shapes_of(class_embedding=5, split_latent=True)[1]
    assert split["stem"]["kernel"].shape[0] == 4
    chex.assert_shape(split["up1_norm0"]["scale"]["kernel"], (8, 4))
    chex.assert_shape(split["up1_norm1"]["bias"]["kernel"], (8, 2))
    # Without classes the norms read the noise alone.
    chex.assert_shape(shapes_of(0, split_latent=True)[1]["up1_norm0"]["scale"]["kernel"], (3, 4))


@pytest.mark.covers("GE-22")
def test_a_block_reads_its_own_part_of_the_noise():
    """With the maps of the second part at 0, that part does nothing; with the stem at 0, the first does nothing."""
    generator, shapes = shapes_of(latent_dim=4, class_embedding=2, split_latent=True)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    stats = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((2, 4)), jnp.zeros(2, jnp.int32))["batch_stats"]
    stats = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), stats)
    base = np.array([0.5, -1.0, 0.3, 0.8], np.float32)
    z = np.stack([base, base * [9, 9, 1, 1], base * [1, 1, 9, 9], base]).astype(np.float32)
    y = np.array([0, 0, 0, 1])
    draw = jax.jit(lambda params: generator.apply({"params": params, "batch_stats": stats}, z, y))

    def moved(params):
        images = np.asarray(draw(params))
        return [bool(np.abs(image - images[0]).max() > 1e-4) for image in images[1:]]

    assert moved(params) == [True, True, True]
    blocks = {
        name: {k: {"kernel": v["kernel"].copy()} for k, v in params[name].items()}
        for name in ("up1_norm0", "up1_norm1")
    }
    for block in blocks.values():
        for leaf in block.values():
            leaf["kernel"][2:] = 0  # after the two numbers of the class
    assert moved({**params, **blocks}) == [True, False, True]
    stem = {**params["stem"], "kernel": np.zeros_like(params["stem"]["kernel"])}
    assert moved({**params, "stem": stem}) == [False, True, True]


def test_settings_of_biggan_that_do_not_fit():
    with pytest.raises(ValueError, match="class_embedding=4: there is no class"):
        shapes_of(num_classes=0, class_embedding=4)


@pytest.mark.weekly
@pytest.mark.covers("GE-22")
def test_biggans_generator_trains_with_both_flags():
    """A step of both players: the table and the maps of both norms move, and no leaf is NaN."""
    learner = gan.learner(
        generator=sagan.Generator((8, 8, 1), 3, width=2, class_embedding=4, split_latent=True),
        discriminator=sagan.Discriminator(3, width=2),
        generator_optimizer=optax.sgd(0.1),
        discriminator_optimizer=optax.sgd(0.1),
        condition=class_condition(3),
        loss="hinge",
        latent_dim=6,
        orthogonal=1e-4,
    )
    rows = {"image": np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype(np.float32)}
    rows |= {"label": np.array([0, 2, 2, 0]), "index": np.arange(4, dtype=np.int32)}
    state = learner.init(jax.random.key(0), rows)
    after, _ = jax.jit(learner.update)(state, rows)
    before, new = state.params["generator"], after.params["generator"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
    for path in (("classes", "embedding"), ("up1_norm0", "scale", "kernel"), ("up1_norm1", "bias", "kernel")):
        a, b = before, new
        for name in path:
            a, b = a[name], b[name]
        assert np.abs(a - b).max() > 0, path


@pytest.mark.slow
def test_the_wiring_of_generator_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        Generator((8, 16, 3), 3, width=4, class_embedding=5, split_latent=True),
        (2, 12),
        np.array([0, 2]),
        [14.9523, 3.13093],
    )


@pytest.mark.slow
def test_the_wiring_of_networks_without_classes_is_as_it_was():
    """Regressions: the numbers hold the code as it was."""
    assert_wiring(Generator((8, 16, 1), width=2, attention=False), (2, 3), [4.90989, -0.105899])
    assert_wiring(Discriminator(width=2, attention=False), (2, 8, 16, 1), [5.86315, 5.9008])


@pytest.mark.slow
def test_the_wiring_of_a_discriminator_of_classes_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(Discriminator(3, width=2), (2, 8, 16, 1), np.array([0, 2]), [7.70374, -0.490833])
