"""What learns and what stays to the bit, the loss with its prior term by hand, the new word, the similarity by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.subjects import subject_images
from dlcore.experiment.resolve import resolve
from dlcore.generative import personalization
from dlcore.generative.ddpm import simple_loss
from dlcore.generative.denoising import DiffusionState
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.personalization import (
    PersonalizationState,
    add_token,
    object_pixels,
    start_from,
    subject_similarity,
)
from dlcore.generative.text_to_image import TextUNet, WordEncoder
from dlcore.nn.position import sinusoidal_encoding
from dlcore.setting import FlagError
from dlcore.transfer.lora import LoRA
from experiments.generative.personalization import experiment

TOKEN, RATE, WEIGHT = 6, 0.5, 3.0
CLASS_TOKENS = np.array([[1, 4], [1, 5], [2, 4]])
SCHEDULE = NoiseSchedule(num_timesteps=10)


class TinyUNet(nn.Module):
    """x W + context V."""

    @nn.compact
    def __call__(self, x, t, label, context, control=None):
        text = nn.Dense(3, use_bias=False, name="to_v")(context.mean(1))
        return nn.Dense(3, use_bias=False, name="to_q")(x) + text[:, None, None]


def learner_of(technique="dreambooth", **options):
    model = TextUNet(WordEncoder(7, 4, 0, 2), TinyUNet())
    return personalization.learner(
        **{
            "model": model,
            "optimizer": optax.sgd(RATE),
            "shape": (2, 2, 3),
            "token": TOKEN,
            "class_tokens": CLASS_TOKENS,
            "technique": technique,
            "prior_weight": WEIGHT,
            "lora": LoRA(rank=2, alpha=2.0, targets=("unet/to_*",)),
            "noise_schedule": SCHEDULE,
            "sampling": Sampling(num_inference_steps=2),
            **options,
        }
    )


@pytest.fixture(scope="module")
def base():
    """Parameters of the trained network: a table of six words and two kernels."""
    rng = np.random.default_rng(0)
    values = {
        "words": {"embed": {"embedding": (6, 4)}, "norm": {"scale": (4,), "bias": (4,)}},
        "unet": {"to_v": {"kernel": (4, 3)}, "to_q": {"kernel": (3, 3)}},
    }
    is_shape = lambda leaf: isinstance(leaf, tuple)  # noqa: E731
    return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), values, is_leaf=is_shape)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    tokens = np.array([[1, TOKEN], [2, TOKEN]], np.int32)
    return {"image": rng.random((2, 2, 2, 3), np.float32), "tokens": tokens, "index": np.arange(2, dtype=np.int32)}


def state_of(learner, base, batch):
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0))
    class_image = jax.random.uniform(jax.random.key(3), (3, 2, 2, 3))
    params = add_token(base, jax.random.key(1))
    started = start_from(state, params, optax.sgd(RATE))
    chex.assert_trees_all_equal_shapes(started, state)
    return started.replace(class_image=class_image)


def full_loss(params, state, batch, prior_weight):
    """The two terms apart, with the network written out: no piece of the learner."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(state.rng, state.step), i))(batch["index"])
    rows = jnp.stack([jax.random.randint(jax.random.fold_in(key, 4), (), 0, 3) for key in keys])
    class_keys = jnp.stack([jax.random.fold_in(key, 5) for key in keys])

    def network(x, t, tokens):
        h = params["words"]["embed"]["embedding"][tokens] + sinusoidal_encoding(2, 4)
        h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)
        h = h * params["words"]["norm"]["scale"] + params["words"]["norm"]["bias"]
        return x @ params["unet"]["to_q"]["kernel"] + (h.mean(1) @ params["unet"]["to_v"]["kernel"])[:, None, None]

    alphas = SCHEDULE.alphas_cumprod()
    subject = simple_loss(network, keys, 2 * batch["image"] - 1, (batch["tokens"],), alphas)
    tokens = jnp.asarray(CLASS_TOKENS)[rows]
    prior = simple_loss(network, class_keys, 2 * state.class_image[rows] - 1, (tokens,), alphas)
    return subject.mean() + prior_weight * prior.mean(), (subject, prior)


slopes = jax.jit(jax.grad(full_loss, has_aux=True))


def gradient_of(state, base, batch, prior_weight):
    params, plain = add_token(base, jax.random.key(1)), dict.fromkeys(("params", "locked", "opt_state"))
    return slopes(params, state.replace(**plain), batch, prior_weight)  # one program for all techniques


@pytest.mark.covers("PT-08")
def test_one_update_of_dreambooth_by_hand(base, batch):
    """W' = W - 0.5 (dL_subject + 3 dL_prior) / dW of the U-Net; the words stay to the bit."""
    learner = learner_of()
    state = state_of(learner, base, batch)

    @jax.jit
    def run(state):
        start = state.replace(rng=jax.random.fold_in(state.rng, state.step))  # the update draws by this key
        return (
            *learner.update(state, batch),
            learner.evaluate(start, batch),
            learner.loss(state.params, start, batch)[0],
        )

    after, metrics, measured, loss = run(state)
    gradient, (subject, prior) = gradient_of(state, base, batch, WEIGHT)
    assert measured["loss"].compute() == pytest.approx(float(subject.mean()), rel=1e-4)
    assert float(loss) == pytest.approx(float(subject.mean() + WEIGHT * prior.mean()), rel=1e-4)
    for name in ("to_q", "to_v"):
        expected = base["unet"][name]["kernel"] - RATE * gradient["unet"][name]["kernel"]
        np.testing.assert_allclose(after.params["unet"][name]["kernel"], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after.locked, state.locked)
    np.testing.assert_array_equal(after.class_image, state.class_image)
    assert float(metrics["loss"].compute()) == pytest.approx(float(subject.mean()), rel=1e-4)
    assert float(metrics["prior_loss"].compute()) == pytest.approx(float(prior.mean()), rel=1e-4)


@pytest.mark.covers("PT-08")
def test_textual_inversion_moves_one_row_of_the_table(base, batch):
    """e' = e - 0.5 dL / de of the new word, without a prior term; the words beside it have a gradient, and stay."""
    learner = learner_of("textual_inversion")
    state = state_of(learner, base, batch)
    after, metrics = jax.jit(learner.update)(state, batch)
    gradient, _ = gradient_of(state, base, batch, 0.0)
    rows = gradient["words"]["embed"]["embedding"]
    assert (np.abs(rows).max(1) > 0).tolist() == [False, True, True, False, False, False, True]
    start = add_token(base, jax.random.key(1))["words"]["embed"]["embedding"][TOKEN]
    np.testing.assert_allclose(after.params["adapter"]["embedding"], start - RATE * rows[TOKEN], rtol=1e-4, atol=1e-5)
    (row,) = jax.tree.leaves(after.params)
    chex.assert_shape(row, (4,))
    jax.tree.map(np.testing.assert_array_equal, after.locked, state.locked)
    jax.tree.map(np.testing.assert_array_equal, after.locked["frozen"]["unet"], base["unet"])
    assert set(metrics) == {"loss"}


@pytest.mark.slow
@pytest.mark.covers("PT-08")
def test_lora_starts_as_the_base_and_moves_its_matrices_alone(base, batch):
    """B = 0: the first loss is that of the whole U-Net; dL/dB = A^T dL/dW (alpha / r = 1), and dL/dA = 0."""
    learner = learner_of("lora")
    state = state_of(learner, base, batch)
    after, metrics = jax.jit(learner.update)(state, batch)
    gradient, (subject, _) = gradient_of(state, base, batch, WEIGHT)
    assert float(metrics["loss"].compute()) == pytest.approx(float(subject.mean()), rel=1e-4)
    for name in ("to_q", "to_v"):
        before, now = (s.params["adapter"][f"unet/{name}/kernel"] for s in (state, after))
        np.testing.assert_array_equal(before["a"], now["a"])
        expected = -RATE * before["a"].T @ gradient["unet"][name]["kernel"]
        np.testing.assert_allclose(now["b"], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after.locked, state.locked)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_parts_of_kernels_are_those_of_the_trained_network(start, base, batch):
    """Before a step the network is the given one, W - s A B + s A B = W."""
    lora = LoRA(rank=2, alpha=2.0, targets=("unet/to_*",), dora=True, start=start)
    state = state_of(learner_of("lora", lora=lora), base, batch)
    merged = lora.merge(state.locked["frozen"], state.params["adapter"])
    chex.assert_trees_all_close(merged["unet"], base["unet"], atol=1e-5)
    assert all(np.abs(new["b"]).max() > 0.1 for new in state.params["adapter"].values())


@pytest.mark.parametrize("token", [6, 7])
def test_each_of_two_new_words_starts_from_its_own_row(base, batch, token):
    """Rows 6 and 7 start as words 2 and 5; before a step the network is the given one."""
    params = add_token(add_token(base, jax.random.key(1), 2), jax.random.key(1), 5)
    model = TextUNet(WordEncoder(8, 4, 0, 2), TinyUNet())
    learner = learner_of("textual_inversion", token=token, model=model)
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch)
    started = start_from(shapes, params, optax.sgd(RATE))
    row = started.params["adapter"]["embedding"]
    np.testing.assert_array_equal(row, base["words"]["embed"]["embedding"][{6: 2, 7: 5}[token]])
    merged = personalization.TokenEmbedding(token).merge(started.locked["frozen"], started.params["adapter"])
    chex.assert_trees_all_equal(merged, params)


def test_a_new_word_is_a_row_behind_the_table(base):
    table = base["words"]["embed"]["embedding"]
    for initializer in (None, 2):
        new = add_token(base, jax.random.key(0), initializer)["words"]["embed"]["embedding"]
        np.testing.assert_array_equal(new[:6], table)
        chex.assert_shape(new, (7, 4))
        assert (new[6] == table[2]).all() == (initializer == 2)
    with pytest.raises(ValueError, match=r"^initializer=6: no token; allowed: 0 to 5"):
        add_token(base, jax.random.key(0), 6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"^class_tokens: no prompt of the class; allowed"):
        learner_of(class_tokens=np.zeros((0, 2), int))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--token=red"], "--token=red: no new word"),
        (["--token=two words"], "--token=two words: no new word"),
        (["--initializer=orange"], "--initializer=orange: in no caption; allowed: .*yellow"),
        (["--subject_images=0"], "subject_images=0"),
        (["--prior_weight=-1"], "prior_weight=-1"),
    ],
)
def test_bad_settings_are_named_before_any_work(words, message):
    with pytest.raises(FlagError, match=message):
        experiment.run(resolve(experiment, words)).check()


def test_similarity_by_hand():
    """Gray 0.5; the object is one pixel, red by (0.5, -0.5, -0.5) or blue by (-0.5, -0.5, 0.5): cosine -1 / 3."""
    images = np.full((3, 6, 6, 3), 0.5, np.float32)
    images[0, 1, 1], images[1, 4, 2] = (1, 0, 0), (0, 0, 1)
    crops = object_pixels(images, 2).reshape(3, 4, 3)
    assert np.abs(crops).sum((1, 2)).tolist() == [1.5, 1.5, 0.0]
    # It is the middle of nine; levels of 255 are the same image, but for their rounding.
    nine = object_pixels(images, 3).reshape(3, 9, 3)
    np.testing.assert_allclose(nine[0], [*[[0] * 3] * 4, [0.5, -0.5, -0.5], *[[0] * 3] * 4], atol=1e-6)
    levels = np.round(255 * images).astype(np.uint8)
    np.testing.assert_allclose(object_pixels(levels, 3).reshape(3, 9, 3), nine, atol=1 / 255)
    measure = subject_similarity(images[:1], None, 2)
    value = lambda sample: measure.finish(measure.add(None, {"sample": sample}, {}))["subject_similarity"]  # noqa: E731
    assert value(images[:1]) == pytest.approx(1)
    assert value(images[:2]) == pytest.approx((1 - 1 / 3) / 2)
    assert value(images[2:]) == 0


def test_the_subject_is_orange_around_blue():
    images = subject_images(4, 0, 16, 2).astype(int)
    for i, (x, y) in enumerate([(4, 4), (12, 4), (4, 12), (12, 12)]):
        core, rim = images[i, y, x], images[i, y, x - 3]
        assert core[2] > core[0] + 60
        assert rim[0] > rim[2] + 60


def test_the_state_is_one_of_diffusion():
    assert issubclass(PersonalizationState, DiffusionState)
