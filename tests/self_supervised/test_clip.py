"""A step by hand, the scale at its largest value, classes by prompts, and data that lacks a side."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.source import Source
from dlcore.evaluators.zero_shot import zero_shot
from dlcore.learner import Learner, State
from dlcore.losses import clip_loss
from dlcore.models.clip import CLIP, SigLIP
from dlcore.self_supervised import clip

MODEL = CLIP(
    8, 2, window=6, image_size=8, patch_size=4, embedding_size=4, vision_depth=1, vision_width=8, vision_heads=2,
    text_depth=1, text_width=8, text_heads=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def started():
    learner = clip.learner(model=MODEL, optimizer=optax.sgd(0.1))
    rng = np.random.default_rng(0)
    captions = np.full((3, 1, 6), 0, np.int32)
    captions[:, 0, :4] = [[1, 4, 5, 2], [1, 6, 2, 0], [1, 7, 4, 2]]
    rows = {"image": rng.random((3, 8, 8, 3), np.float32), "captions": captions, "index": np.arange(3)}
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    return learner, rows, state, jax.jit(learner.update)


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_an_update_by_hand(started):
    _, rows, state, update = started

    def by_hand(params):
        seen, read, scale = MODEL.apply({"params": params}, rows["image"], rows["captions"][:, 0])
        s = scale * seen @ read.T
        own = jnp.arange(3)
        return -(jax.nn.log_softmax(s)[own, own].mean() + jax.nn.log_softmax(s.T)[own, own].mean()) / 2

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    after, metrics = update(state, rows)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params, want)
    seen, read, scale = MODEL.apply({"params": state.params}, rows["image"], rows["captions"][:, 0])
    assert float(clip_loss(seen, read, 1 / scale)) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.slow
def test_training_images_are_augmented_and_others_are_not(started):
    plain, rows, state, update = started
    learner = clip.learner(model=MODEL, optimizer=optax.sgd(0.1), augment=lambda key, image: image[:, ::-1])
    mirrored = {**rows, "image": rows["image"][:, :, ::-1]}
    _, metrics = jax.jit(learner.update)(state, rows)
    assert metrics["loss"].compute() == pytest.approx(update(state, mirrored)[1]["loss"].compute(), rel=1e-5)
    assert metrics["loss"].compute() != pytest.approx(update(state, rows)[1]["loss"].compute(), rel=1e-4)
    for name, value in plain.predict(state, rows).items():
        np.testing.assert_array_equal(learner.predict(state, rows)[name], value)


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_the_scale_stays_at_most_100(started):
    _, rows, state, update = started
    far = state.replace(params={**state.params, "logit_scale": jnp.float32(6.0)})
    after, _ = update(far, rows)
    assert float(after.params["logit_scale"]) == pytest.approx(np.log(100), rel=1e-6)


@pytest.mark.slow
def test_an_update_of_siglip_by_hand(started):
    _, rows, *_ = started
    fields = {
        name: getattr(MODEL, name) for name in ("window", "image_size", "patch_size", "vision_width", "text_width")
    }
    model = SigLIP(8, 2, **fields, vision_depth=1, vision_heads=2, text_depth=1, text_heads=2)
    learner = clip.learner(model=model, optimizer=optax.sgd(0.1), loss="sigmoid")
    state = jax.jit(learner.init)(jax.random.key(0), rows)

    def by_hand(params):
        s = model.apply({"params": params}, rows["image"], rows["captions"][:, 0], method="logits")
        return -jax.nn.log_sigmoid(jnp.where(jnp.eye(3) > 0, s, -s)).sum() / 3

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    after, metrics = jax.jit(learner.update)(state, rows)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    want["logit_scale"] = jnp.minimum(want["logit_scale"], np.log(100))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params, want)
    assert float(gradient["logit_bias"][0]) != 0


@pytest.mark.weekly
@pytest.mark.covers("SS-20")
def test_zero_shot_takes_the_class_of_the_nearest_prompts(started):
    *_, state, _ = started
    prompts = np.asarray([[[1, 4, 5, 2], [1, 4, 2, 0]], [[1, 6, 2, 0], [1, 6, 7, 2]]], np.int32)
    vectors = clip.class_vectors(MODEL, state.params, jnp.asarray(prompts))
    one = MODEL.apply({"params": state.params}, prompts[1], method="encode_text").sum(0)
    np.testing.assert_allclose(vectors[1], one / np.linalg.norm(one), atol=1e-5)


def test_a_text_without_an_end_token_is_no_text():
    """It would be read at its start token, alike for all texts: an error, and NaN where it is traced."""
    texts = jnp.array([[1, 4, 5, 2], [1, 4, 5, 6]])
    shapes = jax.eval_shape(lambda key: MODEL.init(key, texts, method="encode_text"), jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    encode = jax.jit(lambda tokens: MODEL.apply(variables, tokens, method="encode_text"))
    vectors = encode(texts)
    assert np.isfinite(vectors[0]).all()
    assert np.isnan(vectors[1]).all()
    with pytest.raises(ValueError, match=r"tokens\[1\]: no end token 2; allowed: texts that have one"):
        clip.class_vectors(MODEL, variables["params"], texts[None])
    with pytest.raises(ValueError, match=r"inputs\[0, 1\]=-1: out of range; allowed: 0 to 7"):
        clip.class_vectors(MODEL, variables["params"], jnp.array([[[1, -1, 2, 0]]]))


@pytest.mark.covers("SS-20")
def test_the_share_of_images_whose_nearest_class_is_theirs():
    source = Source({"label": np.arange(3)})
    images, label = np.asarray([[2.0, 1], [1, 2], [3, 1]]), np.asarray([0, 1, 1])
    for key, name, options in (("clip", "zero_shot", {}), ("image", "own", {"key": "image", "name": "own"})):
        evaluator = zero_shot(source, lambda state: state * np.eye(3, 2), **options)
        assert (evaluator.source, evaluator.names) == (source, (name,))
        acc = evaluator.start(2)
        for rows in (slice(0, 2), slice(2, 3)):
            acc = evaluator.add(acc, {key: images[rows]}, {"label": label[rows]})
        assert evaluator.finish(acc) == {name: pytest.approx(2 / 3)}


@pytest.mark.slow
def test_captions_without_images_are_refused(started):
    learner, rows, *_ = started
    for name in ("image", "captions"):
        less = {key: value for key, value in rows.items() if key != name}
        with pytest.raises(ValueError, match=rf"batch=\[.*\]: no {name}; allowed: images with captions"):
            learner.init(jax.random.key(0), less)


@pytest.fixture
def retrieval(monkeypatch):
    """The arguments that `retrieval.learner` gets; its update changes nothing."""
    arguments = {}

    def learner(**given):
        arguments.update(given)
        return Learner(lambda rng, batch: None, lambda state, batch: (state, {"loss": 1.0}), None, None)

    monkeypatch.setattr(clip.retrieval, "learner", learner)
    return arguments


@pytest.mark.covers("SS-20")
def test_the_learned_scale_is_cut_at_100(retrieval):
    learner = clip.learner(model=None, optimizer=None)
    for scale, expected in ((6.0, np.log(100)), (2.0, 2.0)):
        state = State(np.int32(0), None, {"logit_scale": scale, "other": 7.0}, None)
        after, metrics = learner.update(state, {})
        assert after.params == {"logit_scale": pytest.approx(expected), "other": 7.0}
        assert metrics == {"loss": 1.0}


def test_a_batch_without_images_or_captions_is_refused(retrieval):
    learner = clip.learner(model=None, optimizer=None)
    for name, other in (("image", "captions"), ("captions", "image")):
        with pytest.raises(ValueError, match=rf"batch=\['{other}'\]: no {name}; allowed: images with captions"):
            learner.init(None, {other: 2})


def test_the_contrast_of_the_sigmoid_loss_by_hand(retrieval):
    """-log sigma of 5 times the cosine less 2, and of its opposite where the pair is another's; the mean of images."""
    clip.learner(model=None, optimizer=None, loss="sigmoid")
    images, texts = jnp.eye(2), jnp.float32([[0.6, 0.8], [0, 1]])
    found = retrieval["contrast"]({"logit_bias": jnp.float32([-2])}, images, texts, jnp.float32([5]), None)
    z = 5 * np.array([[0.6, 0], [0.8, 1]]) - 2
    expected = np.log1p(np.exp([-z[0, 0], z[0, 1], z[1, 0], -z[1, 1]])).sum() / 2
    assert np.mean(found) == pytest.approx(expected, rel=1e-5)


def test_a_class_is_the_mean_of_its_prompts_at_length_one():
    """A prompt's vector is its first two tokens: (0, 4) and (6, 4) have the mean (3, 4), of length 5."""
    model = SimpleNamespace(apply=lambda variables, tokens, method: variables["params"] * tokens[:, :2])
    found = clip.class_vectors(model, 2.0, jnp.array([[[0, 4, 9], [6, 4, 9]], [[1, 0, 9], [1, 0, 9]]]))
    np.testing.assert_allclose(found, [[0.6, 0.8], [1, 0]], rtol=1e-6)
