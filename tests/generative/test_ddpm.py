"""The loss by hand, what is learned of one point and of two moons, and what must not change a sample."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.generative import ddpm
from dlcore.generative.condition import class_condition
from dlcore.generative.diffusion import SAMPLERS, NoiseSchedule, Sampling, noise_of
from dlcore.generative.editing import Editing
from dlcore.generative.schedules import SCHEDULES, alphas_cumprod, linear_betas
from dlcore.generative.unet import UNet, timestep_embedding
from dlcore.learner import example_keys
from dlcore.optim import create_optimizer, use_ema
from dlcore.run import Placement, fit, make_mesh
from tests.experiment.arguments import arguments_of
from tests.generative.one_number import Constant


class Mlp(nn.Module):
    """A predictor for points in the plane."""

    width: int = 64

    @nn.compact
    def __call__(self, x, t):
        h = jnp.concatenate([4 * x, timestep_embedding(t, 32)], -1)
        for _ in range(2):
            h = nn.silu(nn.Dense(self.width)(h))
        return nn.Dense(x.shape[-1])(h)


def images(n=8, seed=0):
    rng = np.random.default_rng(seed)
    return {"image": rng.random((n, 8, 8, 1), np.float32), "index": np.arange(n, dtype=np.int32)}


def small(optimizer=None, **settings):
    learner = ddpm.learner(
        model=UNet(width=8, channel_multipliers=(1,), attention=False),
        optimizer=optimizer or optax.sgd(0.1),
        shape=(8, 8, 1),
        **arguments_of(ddpm.learner, **{"num_timesteps": 20, "num_inference_steps": 5, "sampler": "ddim", **settings}),
    )
    return learner._replace(**{name: jax.jit(getattr(learner, name)) for name in learner._fields[:5]})


@pytest.mark.slow
@pytest.mark.covers("GE-24")
def test_the_loss_is_that_of_the_noise_that_was_drawn():
    """A constant c predicts eps with error mean((eps - c)^2): eps are the draws of the examples' keys."""
    learner = ddpm.learner(model=Constant(), optimizer=optax.sgd(0.1), shape=(8, 8, 1))
    rows = images(4)
    state = learner.init(jax.random.key(0), rows)
    keys = example_keys(state.rng, rows)
    eps = np.stack([jax.random.normal(jax.random.fold_in(k, 1), (8, 8, 1)) for k in keys])
    want = np.square(eps - 0.5).mean((1, 2, 3))
    assert learner.evaluate(state, rows)["loss"].compute() == pytest.approx(want.mean(), rel=1e-5)
    masked = {**rows, "mask": np.array([1, 0, 1, 0], np.float32)}
    masked["image"] = rows["image"].copy()
    masked["image"][1] = np.nan
    assert learner.evaluate(state, masked)["loss"].compute() == pytest.approx(want[[0, 2]].mean(), rel=1e-5)


@pytest.mark.covers("GE-24")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_forward_process_adds_its_noise_in_half_precision(dtype):
    """At abar = .9999 of x_0 = 0 the noise has deviation sqrt(1 - abar) = .01; the target of v is .99995 eps."""
    keys, x = jax.random.split(jax.random.key(0), 64), jnp.zeros((64, 64), dtype)
    t, noisy, target = jax.jit(lambda x: ddpm.diffuse(keys, x, np.array([0.9999]), "v"))(x)
    chex.assert_type([noisy, target], dtype)
    assert not t.any()
    noisy, target = (np.float64(v.astype(jnp.float32)) for v in (noisy, target))
    # 4,096 draws: their deviation is within 4 / sqrt(2 * 4096) = 4.5 % of that of the distribution.
    assert noisy.std() == pytest.approx(0.01, rel=0.045)
    np.testing.assert_allclose(0.99995 * noisy / 0.01, target, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("GE-24")
def test_the_network_is_given_the_noisy_example_and_its_step():
    """x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps with t counted from 0 and abar of the same t."""
    seen = []

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, x, t):
            jax.debug.callback(lambda x, t: seen.append((np.asarray(x), np.asarray(t))), x, t)
            return x * self.param("w", nn.initializers.zeros, ())

    learner = ddpm.learner(
        model=Spy(),
        optimizer=optax.sgd(0.1),
        shape=(8, 8, 1),
        noise_schedule=NoiseSchedule(50),
        sampling=Sampling(num_inference_steps=50),
    )
    rows = images(16)
    state = learner.init(jax.random.key(0), rows)
    jax.effects_barrier()
    seen.clear()
    learner.evaluate(state, rows)
    jax.effects_barrier()
    x, t = seen[-1]
    eps = np.stack([jax.random.normal(jax.random.fold_in(k, 1), (8, 8, 1)) for k in example_keys(state.rng, rows)])
    bar = alphas_cumprod(linear_betas(50))[t][:, None, None, None]
    np.testing.assert_allclose(x, np.sqrt(bar) * (2 * rows["image"] - 1) + np.sqrt(1 - bar) * eps, atol=1e-5)
    assert len(set(t.tolist())) > 8
    assert t.min() >= 0
    assert t.max() < 50


@pytest.mark.weekly
def test_the_initial_loss_of_the_unet_is_one():
    learner = small(num_timesteps=1000)
    rows = images(128)
    state = learner.init(jax.random.key(0), rows)
    assert float(learner.loss(state.params, state, rows)[0]) == pytest.approx(1.0, abs=0.05)


class Sloped(nn.Module):
    """Predicts a x_t + b t + c y."""

    @nn.compact
    def __call__(self, x, t, y):
        a, b, c = (self.param(name, nn.initializers.ones, ()) for name in "abc")
        return a * x + (b * t + c * y)[:, None, None, None]


@pytest.mark.slow(unless=["sample"])
@pytest.mark.covers("GE-24", "GE-26")
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_one_update_by_hand(prediction):
    """x_t = sqrt(A) x + sqrt(1 - A) eps, A = prod (1 - beta); half of the labels become K = 3, that of none.

    An evaluation keeps all labels.
    """
    learner = ddpm.learner(
        model=Sloped(),
        optimizer=optax.sgd(0.1),
        shape=(1, 2, 1),
        condition=class_condition(3),
        prediction=prediction,
        condition_dropout=0.5,
        sampling=Sampling(num_inference_steps=5),
    )
    image, label = np.random.default_rng(1).random((4, 1, 2, 1), np.float32), np.array([1, 2, 1, 2], np.int32)
    rows = {"image": image, "label": label, "index": np.arange(4, dtype=np.int32)}
    params = {"a": np.float32(0.8), "b": np.float32(0.001), "c": np.float32(0.3)}
    state = ddpm.DiffusionState(np.int32(3), jax.random.key(1), params, optax.sgd(0.1).init(params), {})

    def draws(key):
        t = jax.random.randint(jax.random.fold_in(key, 0), (), 0, 1000)
        noise = jax.random.normal(jax.random.fold_in(key, 1), (1, 2, 1))
        return t, noise, jax.random.bernoulli(jax.random.fold_in(key, 3), 0.5)

    @jax.jit
    def step(state):
        keys = [example_keys(key, rows) for key in (jax.random.fold_in(state.rng, state.step), state.rng)]
        drawn = [jax.vmap(draws)(key) for key in keys]
        return learner.update(state, rows)[0].params, learner.evaluate(state, rows)["loss"], drawn

    def predicted(t, eps, label):
        """(Noisy images, steps, labels, errors), [4, 1, 2, 1] or to broadcast."""
        bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[t].reshape(4, 1, 1, 1)
        x, y, t = 2 * image - 1, label.reshape(4, 1, 1, 1), t.reshape(4, 1, 1, 1)
        noisy = np.sqrt(bar) * x + np.sqrt(1 - bar) * eps
        target = {"epsilon": eps, "v": np.sqrt(bar) * eps - np.sqrt(1 - bar) * x, "sample": x}[prediction]
        return noisy, t, y, 0.8 * noisy + 0.001 * t + 0.3 * y - target

    after, evaluated, ((t, eps, is_lost), (other_t, other_eps, would_be)) = jax.device_get(step(state))
    assert 0 < is_lost.sum() < 4
    assert would_be.any()
    noisy, t, y, error = predicted(t, eps, np.where(is_lost, 3, label))
    slope = 2 * error / 8
    assert evaluated.compute() == pytest.approx(np.square(predicted(other_t, other_eps, label)[3]).mean(), rel=1e-4)
    want = {"a": 0.8, "b": 0.001, "c": 0.3}
    for name, factor in (("a", noisy), ("b", t), ("c", y)):
        want[name] -= 0.1 * (slope * factor).sum()
    assert after == pytest.approx(want, rel=1e-4)


class ByClass(nn.Module):
    """Predicts x times its class's own number."""

    @nn.compact
    def __call__(self, x, t, label):
        return x * nn.Embed(4, 1, embedding_init=lambda *_: jnp.arange(4.0)[:, None] / 4)(label)[:, :, None, None]


def by_class(**settings):
    settings = {"num_timesteps": 20, "num_inference_steps": 3, "sampler": "ddim", **settings}
    return ddpm.learner(
        model=ByClass(),
        optimizer=optax.sgd(1.0),
        shape=(2, 2, 1),
        condition=class_condition(3),
        **arguments_of(ddpm.learner, **settings),
    )


LABELED = {
    "image": np.random.default_rng(0).random((6, 2, 2, 1), np.float32),
    "label": np.array([0, 1, 2, 0, 1, 2], np.int32),
    "index": np.arange(6, dtype=np.int32),
}


@pytest.mark.slow
@pytest.mark.covers("GE-26")
def test_training_drops_conditions_and_evaluation_none():
    """Only rows of `Embed` that were seen get a gradient: all of them the null class under a dropout of 1."""

    def moved(dropout):
        learner = by_class(condition_dropout=dropout)
        state = learner.init(jax.random.key(0), LABELED)
        table = jax.jit(learner.update)(state, LABELED)[0].params["Embed_0"]["embedding"][:, 0]
        return (np.abs(table - np.arange(4) / 4) > 1e-6).tolist(), learner.evaluate(state, LABELED)["loss"].compute()

    (none, loss), (every, same) = moved(0.0), moved(1.0)
    assert none == [True, True, True, False]
    assert every == [False, False, False, True]
    assert loss == same


@pytest.mark.slow
@pytest.mark.covers("GE-26", "GE-29")
def test_guided_samples_lie_on_the_line_of_both_predictions():
    """eps = x w(y): guidance w draws as a class whose number is 3/4 + w (y - 3) / 4; 0 as the null class, 1 as y."""
    state = by_class().init(jax.random.key(0), LABELED)
    rows = {"label": LABELED["label"], "index": LABELED["index"]}
    draw = {w: jax.jit(by_class(guidance=w, clip_sample=False).predict)(state, rows)["sample"] for w in (0.0, 0.5, 1.0)}
    null = jax.jit(by_class(clip_sample=False).predict)(state, {**rows, "label": np.full(6, 3, np.int32)})["sample"]
    np.testing.assert_array_equal(draw[0.0], null)
    assert np.abs(draw[1.0] - draw[0.0]).max() > 1e-3
    between = jax.tree.map(lambda leaf: (leaf + leaf[3]) / 2, state.params)
    half = jax.jit(by_class(clip_sample=False).predict)(state.replace(params=between), rows)["sample"]
    np.testing.assert_allclose(draw[0.5], half, atol=1e-5)


@pytest.mark.covers("GE-29")
def test_predict_draws_between_two_indices():
    learner = by_class(clip_sample=False)
    state = jax.jit(learner.init)(jax.random.key(0), LABELED)
    rows = {"label": np.zeros(6, np.int32), "index": np.arange(6, dtype=np.int32)}
    alone = jax.jit(learner.predict)(state, rows)["sample"]
    walk = {
        **rows,
        "ends": np.tile(np.array([[2, 4]], np.int32), (6, 1)),
        "share": np.linspace(0, 1, 6, dtype=np.float32),
    }
    path = jax.jit(learner.predict)(state, walk)["sample"]
    np.testing.assert_allclose(path[0], alone[2], atol=1e-5)
    np.testing.assert_allclose(path[-1], alone[4], atol=1e-5)
    assert np.abs(path[2] - path[0]).max() > 1e-3


def test_a_network_without_a_condition_is_not_guided():
    with pytest.raises(ValueError, match=r"guidance=2\.0: the network takes no condition; allowed: 1"):
        small(guidance=2.0)


def test_classes_are_checked():
    learner = by_class()
    assert learner.classes(None, None) == {"label": 3}
    assert small().classes is None


def moons(n, seed):
    from sklearn.datasets import make_moons

    x, _ = make_moons(n, noise=0.05, random_state=seed)
    return ((x - [0.5, 0.25]) / 4 + 0.5).astype(np.float32)


def mmd(x, y, scale=0.1):
    def kernel(a, b):
        return np.exp(-np.square(a[:, None] - b[None]).sum(-1) / (2 * scale**2)).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


@pytest.mark.slow
@pytest.mark.covers("GE-24")
def test_two_moons_are_learned():
    learner = ddpm.learner(
        model=Mlp(),
        optimizer=create_optimizer("adam", 3e-3, ema=0.99),
        shape=(2,),
        noise_schedule=NoiseSchedule(100),
        sampling=Sampling("ddim", 25),
    )
    learner = use_ema(learner)
    train = Pipeline(Source({"image": moons(2048, 0)}), 256)
    batch = Source.indices(500)[:]

    def distance(state):
        return mmd(np.asarray(jax.jit(learner.predict)(state, batch)["sample"]), moons(500, 1))

    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    first, last = (fit(learner, train, steps=n, placement=placement, progress=False).state for n in (1, 600))
    assert distance(last) < 0.2 * distance(first), (distance(first), distance(last))


@pytest.mark.weekly
def test_samples_do_not_depend_on_their_batch():
    learner = small(sampler="ddpm")
    state = learner.init(jax.random.key(0), images())
    predict = learner.predict
    five = predict(state, Source.indices(5)[:])["sample"]
    chex.assert_shape(five, (5, 8, 8, 1))
    assert five.min() >= 0
    assert five.max() <= 1
    np.testing.assert_allclose(predict(state, Source.indices(5)[[3, 1]])["sample"], five[np.array([3, 1])], atol=1e-5)


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    source = Pipeline(Source({"image": images(16)["image"]}), 8)
    one = Placement(make_mesh("data:1", jax.devices()[:1]))
    eight = Placement(make_mesh("data:8"), spmd=spmd)
    left, right = (
        fit(small(optax.sgd(0.1)), source, steps=2, placement=p, progress=False).state.params for p in (one, eight)
    )
    chex.assert_trees_all_close(left, right, atol=1e-6)


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="num_inference_steps=30: too many; allowed: at most num_timesteps=20"):
        small(num_inference_steps=30)


def test_a_first_step_that_would_blow_up_is_named():
    """Cosine betas end in pure noise, so that x0 = (x - eps) / 5e-5 unless it is clipped or v is predicted."""
    many = {"num_timesteps": 1000, "num_inference_steps": 50, "beta_schedule": "cosine", "clip_sample": False}
    with pytest.raises(ValueError, match=r"spacing=trailing .*multiplies the error .* by \d{3}; allowed"):
        small(**many, spacing="trailing")
    for other in (
        {"prediction": "v"},
        {"clip_sample": True},
        {"beta_schedule": "scaled_linear"},
        {"spacing": "leading"},
    ):
        small(**{**many, "spacing": "trailing", **other})


@pytest.mark.weekly
def test_a_batch_of_nothing_but_padding_is_finite():
    learner = small()
    rows = {**images(2), "mask": np.zeros(2, np.float32)}
    state, metrics = learner.update(learner.init(jax.random.key(0), rows), rows)
    assert metrics["loss"].compute() is None
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


class Scaled(nn.Module):
    """Predicts a multiple of what it sees."""

    @nn.compact
    def __call__(self, x, t):
        return x * self.param("w", nn.initializers.ones, ())


def terminal(**settings):
    return ddpm.learner(
        model=Scaled(), optimizer=optax.sgd(0.1), shape=(2, 1, 1),
        noise_schedule=NoiseSchedule(2, zero_terminal_snr=True),
        **arguments_of(
            ddpm.learner, **{"prediction": "sample", "num_inference_steps": 2, "spacing": "trailing"} | settings
        ),
    )  # fmt: skip


@pytest.mark.covers("GE-24")
def test_the_last_timestep_is_noise_alone_where_its_snr_is_zero():
    """The first of two timesteps keeps its abar; the second, rescaled, shows eps and nothing of the example."""
    learner = terminal()
    rows = {"image": np.random.default_rng(0).random((6, 2, 1, 1), np.float32), "index": np.arange(6)}

    @jax.jit
    def measured():
        state = learner.init(jax.random.key(0), rows)
        keys = example_keys(state.rng, rows)
        t = jax.vmap(lambda k: jax.random.randint(jax.random.fold_in(k, 0), (), 0, 2))(keys)
        eps = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 1), (2, 1, 1)))(keys)
        return learner.loss(state.params, state, rows)[0], t, eps

    loss, t, eps = map(np.asarray, measured())
    assert set(t) == {0, 1}
    abar = np.where(t == 0, 1 - SCHEDULES["linear"](2)[0], 0.0).reshape(6, 1, 1, 1)
    x = 2 * rows["image"] - 1
    noisy = np.sqrt(abar) * x + np.sqrt(1 - abar) * eps
    assert float(loss) == pytest.approx(np.square(x - noisy).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_starts_from_noise_alone(sampler):
    learner = terminal(sampler=sampler, prediction="v")
    rows = {"image": np.zeros((2, 2, 1, 1), np.float32), "index": np.arange(2)}
    state = learner.init(jax.random.key(0), rows)
    assert np.isfinite(jax.jit(learner.predict)(state, {"index": np.arange(2)})["sample"]).all()


def test_settings_that_zero_terminal_snr_excludes_are_refused():
    with pytest.raises(ValueError, match=r"prediction=epsilon: .*zero_terminal_snr=True; allowed: v, sample"):
        terminal(prediction="epsilon")
    with pytest.raises(ValueError, match=r"sigmas='karras': timestep 1 is noise alone, .* allowed: 'training', or"):
        terminal(sigmas="karras")
    terminal(sigmas="karras", spacing="leading", num_inference_steps=1)  # starts at timestep 0
    with pytest.raises(ValueError, match=r"spacing=leading: sampling starts at timestep 0, where abar=0\.95 of signal"):
        terminal(spacing="leading", num_inference_steps=1)
    with pytest.raises(ValueError, match=r"min_snr_gamma=0\.0: out of range"):
        terminal(min_snr_gamma=0.0)


@pytest.mark.covers("GE-41")
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_min_snr_weights_by_hand(prediction):
    """abar = .9, .5, .2: SNR = 9, 1, .25; with gamma = 5 of the clean example min(SNR, 5) = 5, 1, .25."""
    weights = {"epsilon": [5 / 9, 1, 1], "v": [5 / 10, 1 / 2, 0.25 / 1.25], "sample": [5, 1, 0.25]}[prediction]
    alphas = np.array([0.9, 0.5, 0.2])
    np.testing.assert_allclose(ddpm.min_snr_weight(alphas, 5.0, prediction), weights, rtol=1e-6)
    # abar = 0, where samples start, has the weight 1, as in the authors' program; abar = 1 the limit of the weights.
    weight = jax.jit(ddpm.min_snr_weight, static_argnums=2)
    for gamma in (0.25, 1.0, 5.0, 20.0):
        ends = [1, {"epsilon": 0, "v": 0, "sample": gamma}[prediction]]
        np.testing.assert_allclose(weight(np.array([0.0, 1.0]), jnp.float32(gamma), prediction), ends)
    np.testing.assert_allclose(weight(np.float16([0, 0.5]), 5.0, prediction), [1, weights[1]])
    # The loss of each example is weighted by that of its timestep.
    keys = jax.random.split(jax.random.key(0), 8)

    @jax.jit
    def run(x):
        plain, weighted = (
            ddpm.simple_loss(lambda x, t: 0.3 * x, keys, x, (), alphas, prediction, gamma) for gamma in (None, 5.0)
        )
        return plain, weighted, ddpm.diffuse(keys, x, alphas)[0]

    plain, weighted, t = jax.device_get(run(np.ones((8, 2), np.float32)))
    np.testing.assert_allclose(weighted, np.array(weights)[t] * plain, rtol=1e-5)


@pytest.mark.covers("GE-42")
def test_predict_edits_what_is_masked_and_leaves_the_pixels_of_the_rest():
    """Strength 1/2 of four steps: from abar of timestep 250 on, by noise of .5 everywhere; levels of 255 stay."""
    technique = ddpm.learner(
        model=Constant(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), editing=Editing("sdedit", 0.5),
        sampling=Sampling("ddim", num_inference_steps=4, clip_sample=False),
    )  # fmt: skip
    original = np.array([0, 100, 200, 255, 30, 60, 90, 120], np.uint8).reshape(2, 2, 2, 1)
    mask = np.array([1, 0, 0, 1, 1, 1, 0, 0]).reshape(original.shape)
    batch = {"image": original, "original": original, "edit_mask": mask, "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        return technique.predict(state, batch)["sample"], noise_of(example_keys(state.rng, batch), (2, 2, 1))(-1)

    sample, noise = jax.device_get(run())
    bars, images = alphas_cumprod(linear_betas(1000)), original / 255
    x = np.sqrt(bars[250]) * (2 * images - 1) + np.sqrt(1 - bars[250]) * noise
    for bar, after in ((bars[250], bars[0]), (bars[0], 1)):
        x0 = (x - np.sqrt(1 - bar) * 0.5) / np.sqrt(bar)
        x = np.sqrt(after) * x0 + np.sqrt(1 - after) * 0.5
    np.testing.assert_allclose(sample, np.where(mask, np.clip((x + 1) / 2, 0, 1), images), atol=1e-4)


class Labels(nn.Module):
    """Predicts a tenth of the class at the first place, and twice as much at the second."""

    @nn.compact
    def __call__(self, x, t, label):
        return self.param("value", nn.initializers.ones, ()) * 0.1 * label[:, None] * jnp.array([1.0, 2.0])


@pytest.mark.covers("GE-26", "GE-43")
def test_samples_are_guided_in_the_lower_half_of_the_timesteps_and_rescaled_in_part():
    """Steps at 500, above .5 999, and 0. There (10 + 3 (y - 10)) / 10 comes half way to the deviation of y / 10."""
    technique = ddpm.learner(
        model=Labels(), optimizer=optax.sgd(0.1), shape=(2,), condition=class_condition(10),
        encode=lambda params, keys, batch: batch["x"], decode=lambda params, x: x,
        sampling=Sampling(
            "ddim", 2, clip_sample=False, guidance=3.0, guidance_interval=(0.0, 0.5), guidance_rescale=0.5
        ),
    )  # fmt: skip
    batch = {"x": np.zeros((2, 2), np.float32), "label": np.array([2, 9]), "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        return technique.predict(state, batch)["sample"], noise_of(example_keys(state.rng, batch), (2,))(-1)

    sample, x = jax.device_get(run())
    y, bars = np.array([[2], [9]]), alphas_cumprod(linear_betas(1000))
    guided = (10 + 3 * (y - 10)) / 10
    for bar, after, eps in (
        (bars[500], bars[0], y / 10), (bars[0], 1, 0.5 * guided + 0.5 * y / 10 * np.sign(guided)),
    ):  # fmt: skip
        x0 = (x - np.sqrt(1 - bar) * eps * [1, 2]) / np.sqrt(bar)
        x = np.sqrt(after) * x0 + np.sqrt(1 - after) * eps * [1, 2]
    np.testing.assert_allclose(sample, x, atol=1e-3)
