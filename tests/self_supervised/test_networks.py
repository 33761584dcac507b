"""The encoder over a backbone: average of the last map, heads by version, embeddings of length 1."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.augment import recipes
from dlcore.experiment.resolve import resolve
from dlcore.models import create_model
from dlcore.self_supervised import dino, ibot, mae, moco, nnclr, siamese, simclr, swav
from dlcore.self_supervised.networks import DINONet, Embedder, PatchDINONet, encode_views, init_variables, unit
from dlcore.self_supervised.patch_predictors import PatchViT, patch_learner
from tests.wiring import assert_wiring


def toy(head):
    model = Embedder(create_model("resnet8_cifar", num_classes=1, width=4), head, 6)
    return model, init_variables(model, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.weekly
@pytest.mark.covers("SS-16")
def test_version_two_adds_a_hidden_layer_to_version_one():
    shapes = {head: set(toy(head)[1]["params"]) for head in ("linear", "mlp", "mlp_norm")}
    assert shapes["mlp"] - shapes["linear"] == {"hidden"}
    assert shapes["linear"] <= shapes["mlp"]
    assert shapes["mlp_norm"] - shapes["mlp"] == {"hidden_bn"}


@pytest.mark.slow
@pytest.mark.covers("SS-16")
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_of_both_versions_by_hand(head):
    """Version 1: z = W h + b. Version 2: z = W max(0, V h + c) + b, V square. Both to length 1."""
    model, variables = toy(head)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda w: jnp.asarray(w + 0.3 * rng.normal(size=w.shape), w.dtype), variables)
    out = model.apply(variables, jax.random.normal(jax.random.key(1), (3, 8, 8, 1)))
    h, params = np.asarray(out["features"], np.float64), variables["params"]
    if head == "mlp":
        chex.assert_shape(params["hidden"]["kernel"], (16, 16))
        h = np.maximum(h @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    z = h @ params["projection"]["kernel"] + params["projection"]["bias"]
    np.testing.assert_allclose(out["embeddings"], z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.covers("SS-16")
def test_the_page_trains_version_two(monkeypatch):
    """Chen et al. 2020: a hidden layer in the head, blur with chance .5 and deviation .1 to 2, cosine, tau = .2."""
    from experiments.self_supervised.moco import experiment

    blurs = []
    monkeypatch.setattr(recipes.jitter, "random_blur", lambda *settings: blurs.append(settings) or (lambda k, x: x))
    recipes.contrastive_augmentation("color")
    assert blurs == [((0.1, 2.0), 0.5)]
    assert Embedder.head == "mlp"
    flags = resolve(experiment, [])
    assert (flags.temperature, flags["embedder.head"], flags.schedule) == (0.2, "mlp", "cosine")


@pytest.mark.slow
def test_features_are_the_average_of_the_last_map_and_embeddings_have_length_one():
    model, variables = toy("mlp")
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    out = model.apply(variables, x)
    backbone = {name: tree["backbone"] for name, tree in variables.items()}
    maps = model.backbone.apply(backbone, x, method="features")
    np.testing.assert_allclose(out["features"], maps["stage3"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(out["embeddings"], axis=-1), 1, rtol=1e-5)
    chex.assert_shape(out["features"], (3, 16))
    chex.assert_shape(out["embeddings"], (3, 6))


def test_a_zero_vector_stays_zero_with_a_finite_gradient():
    value, gradient = jax.jit(jax.value_and_grad(lambda z: unit(z).sum()))(np.zeros(3, np.float32))
    assert value == 0
    assert np.isfinite(gradient).all()


def test_the_wiring_of_patch_vi_t_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PatchViT(4, 1, 8, 2, 12), (1, 8, 8, 3), [17.0266, -22.9074])


class Flat(nn.Module):
    """Features of one map, twice the image; a class token, the mean; patches, hidden ones at the mask token."""

    num_classes: int = 0
    patch_size: int = 1
    width: int = 3
    position_features: int = 0

    def features(self, x, train=False):
        return {"first": x, "last": 2 * x}

    def __call__(self, x, train=False):
        return x.mean((1, 2))

    def tokens(self, x, train, masked, mask_token):
        patches = x.reshape(len(x), -1, x.shape[-1])
        return x.mean((1, 2)), jnp.where(masked[..., None], mask_token, patches)


IMAGES = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype(np.float32)


def drawn(model, *args):
    """Parameters of normal numbers, and the output for them, of one program."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *args)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    return params, jax.jit(lambda p: model.apply({"params": p}, *args))(params)


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def test_the_head_of_moco_is_linear_or_has_a_hidden_layer():
    h = 2 * IMAGES.mean((1, 2))
    params, out = drawn(Embedder(Flat(num_classes=1), "linear", 4), IMAGES)
    np.testing.assert_allclose(out["features"], h, rtol=1e-5)
    np.testing.assert_allclose(out["embeddings"], unit(dense(params["projection"], h)), rtol=1e-4)
    params, out = drawn(Embedder(Flat(num_classes=1), "mlp", 4), IMAGES)
    z = dense(params["projection"], np.maximum(dense(params["hidden"], h), 0))
    np.testing.assert_allclose(out["embeddings"], unit(z), rtol=1e-4)
    normed = Embedder(Flat(num_classes=1), "mlp_norm", 4)
    shapes = jax.eval_shape(normed.init, jax.random.key(0), IMAGES)
    assert set(shapes["params"]["hidden"]) == {"kernel"}  # batch norm has the bias
    assert set(shapes["batch_stats"]) == {"hidden_bn"}


def dino_head(params, h, prefix=""):
    """Two layers of GELU, a unit vector, and its cosines with the prototypes."""
    for layer in ("head0", "head1"):
        z = dense(params[prefix + layer], h)
        h = z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    z = dense(params[prefix + "head2"], h)
    z, prototypes = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (z, params[prefix + "prototypes"]))
    return z, z @ prototypes.T


@pytest.mark.parametrize("separate", [False, True])
def test_the_heads_of_dino_on_the_class_token_and_on_patches_by_hand(separate):
    masked = np.array([[True, False, False, False], [False, False, True, True]])
    model = PatchDINONet(Flat(), 5, 4, 3, separate_heads=separate)
    params, out = drawn(model, IMAGES, False, masked)
    z, logits = dino_head(params, IMAGES.mean((1, 2)))
    np.testing.assert_allclose(out["embeddings"], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["logits"], logits, rtol=1e-4, atol=1e-5)
    patches = np.where(masked[..., None], params["mask_token"], IMAGES.reshape(2, 4, 3))
    _, logits = dino_head(params, patches, "patch_" if separate else "")
    np.testing.assert_allclose(out["patch_logits"], logits, rtol=1e-4, atol=1e-5)
    assert model.grid(IMAGES) == (2, 2)


def test_the_head_of_dino_on_an_image_takes_the_class_token_and_may_be_normed():
    params, out = drawn(DINONet(Flat(), 5, 4, 3), IMAGES)
    np.testing.assert_allclose(out["features"], IMAGES.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(out["logits"], dino_head(params, IMAGES.mean((1, 2)))[1], rtol=1e-4, atol=1e-5)
    shapes = jax.eval_shape(DINONet(Flat(), 5, 4, 3, batch_norm=True).init, jax.random.key(0), IMAGES)
    assert set(shapes["batch_stats"]) == {"head0_bn", "head1_bn"}


def test_normed_heads_by_hand():
    """In training, by the statistics of the batch: of MoCo before its ReLU, of DINO before each GELU."""
    models = Embedder(Flat(num_classes=1), "mlp_norm", 4), DINONet(Flat(), 5, 4, 3, batch_norm=True)
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32)
    shapes = [jax.eval_shape(model.init, jax.random.key(0), x)["params"] for model in models]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    moco, dino = jax.jit(
        lambda params: [
            model.apply({"params": p}, x, True, mutable=["batch_stats"])[0]
            for model, p in zip(models, params, strict=True)
        ]
    )(params)

    def norm(layer, z):
        return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) * layer["scale"] + layer["bias"]

    h = x.mean((1, 2))
    z = np.maximum(norm(params[0]["hidden_bn"], dense(params[0]["hidden"], 2 * h)), 0)
    np.testing.assert_allclose(moco["embeddings"], unit(dense(params[0]["projection"], z)), rtol=1e-3, atol=1e-4)
    for layer in ("head0", "head1"):
        z = norm(params[1][layer + "_bn"], dense(params[1][layer], h))
        h = z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    z = dense(params[1]["head2"], h)
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    np.testing.assert_allclose(dino["embeddings"], z, rtol=1e-3, atol=1e-4)


def test_views_of_several_sizes_are_encoded_in_their_order():
    class Sums(nn.Module):
        def __call__(self, x, train=False):
            return {"logits": x.sum((1, 2)), "features": -x.sum((1, 2))}

    large, small = np.arange(8.0).reshape(2, 2, 2, 1, 1), np.arange(6.0).reshape(3, 2, 1, 1, 1)
    out, state = encode_views(Sums(), lambda x: 10 * x, {}, {}, [large, small])
    # 10 (0 + 1), 10 (2 + 3) of the first view of both images, and so on.
    np.testing.assert_array_equal(out[..., 0], [[10, 50], [90, 130], [0, 10], [20, 30], [40, 50]])
    assert state == {}
    out, _ = encode_views(Sums(), lambda x: x, {}, {}, [small], output="features")
    np.testing.assert_array_equal(out[..., 0], [[0, -1], [-2, -3], [-4, -5]])


class Wide(nn.Module):
    """All outputs that a learner asks for, by a weight whose rows are the numbers of an image."""

    @nn.compact
    def __call__(self, x, train=False):
        h = x.reshape(len(x), -1)
        z = h @ self.param("w", nn.initializers.normal(1.0), (h.shape[-1], 3))
        prototypes = self.param("prototypes", nn.initializers.normal(1.0), (4, 3))
        return {"features": h, "embeddings": z, "logits": z @ prototypes.T}


def twice(images):
    return jnp.concatenate([images, images], -1)


CROPS = {"augment_local": max, "teacher_momentum": lambda step: 0.9}


LEARNERS = {
    "siamese": lambda **parts: siamese.siamese_learner(**parts, compare=None),
    "momentum": lambda **parts: siamese.momentum_learner(**parts, compare=None, momentum=None),
    "simclr": simclr.learner,
    "moco": lambda **parts: moco.learner(**parts, queue_size=7),
    "nnclr": lambda **parts: nnclr.learner(**parts, queue_size=7),
    "swav": lambda **parts: swav.learner(**parts, augment_local=max, queue_size=7),
    "dino": lambda **parts: dino.learner(**parts, **CROPS),
    "ibot": lambda **parts: ibot.learner(**parts, **CROPS),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_weights_start_from_prepared_images(name):
    """Of four numbers an image, which preparation doubles; queues hold as many rows as asked for."""
    learner = LEARNERS[name](model=Wide(), optimizer=optax.sgd(0.1), augment=max, preprocess=twice)
    state = jax.eval_shape(learner.init, jax.random.key(0), {"image": IMAGES[..., :1], "index": np.arange(2)})
    chex.assert_shape(state.params["w"], (8, 3))
    if hasattr(state, "queue"):
        assert state.queue.shape[-2:] == (7, 3)


def test_weights_of_patch_learners_start_from_one_prepared_image_and_teachers_from_all():
    learner = patch_learner(
        model=None, init_params=lambda key, images: images, init_teacher=lambda key, images: images, losses=None,
        optimizer=optax.sgd(0.1), preprocess=twice,
    )  # fmt: skip
    state = jax.eval_shape(learner.init, jax.random.key(0), {"image": IMAGES})
    assert (state.params.shape, state.teacher_params.shape) == ((1, 2, 2, 6), (2, 2, 2, 6))
    key_of = lambda key, images: jax.random.key_data(key)  # noqa: E731
    learner = patch_learner(model=None, init_params=key_of, init_teacher=key_of, losses=None, optimizer=optax.sgd(0.1))
    state = learner.init(jax.random.key(7), {"image": IMAGES})
    for found, k in ((state.params, 1), (state.teacher_params, 2)):
        np.testing.assert_array_equal(found, jax.random.key_data(jax.random.fold_in(jax.random.key(7), 2**31 - k)))


class Started:
    """A model whose parameters are the key that they start from."""

    def init(self, key, x, *_, **__):
        return {"params": {"key": jax.random.key_data(key), "prototypes": np.zeros((4, 3), np.float32)}}

    def grid(self, x):
        return 2, 2

    def apply(self, variables, x, **_):
        return {"embeddings": jnp.zeros((len(x), 3))}


@pytest.mark.parametrize("name", [*LEARNERS, "mae"])
def test_weights_and_queue_start_from_the_last_keys_of_the_seed_and_a_step_keeps_the_seed(name):
    """Measured runs can be started again; a step draws from the seed and its own number."""
    seed = jax.random.key(7)
    weights, queue = (jax.random.fold_in(seed, 2**31 - k) for k in (1, 2))
    build = (LEARNERS | {"mae": mae.learner})[name]
    learner = build(model=Started(), optimizer=optax.sgd(0.1), augment=max, preprocess=np.asarray)
    state = learner.init(seed, {"image": IMAGES, "index": np.arange(2)})
    np.testing.assert_array_equal(state.params["key"], jax.random.key_data(weights))
    assert (state.rng, int(state.step)) == (seed, 0)
    if name in ("moco", "nnclr"):
        drawn = np.asarray(jax.random.normal(queue, (7, 3)))
        np.testing.assert_allclose(state.queue, drawn / np.linalg.norm(drawn, axis=1, keepdims=True), rtol=1e-5)
