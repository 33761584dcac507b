"""WaveNet by hand, what a sample depends on, its probabilities, and the sampler's rings."""

import itertools
import wave
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.tones import PITCHES
from dlcore.generative.autoregressive import log_likelihood, sample
from dlcore.generative.sounds import DrawSounds, asked_sounds, baselines
from dlcore.generative.wave_net import WaveNet
from dlcore.main import run
from dlcore.setting import FlagError
from experiments.generative import wave_net
from tests.wiring import assert_wiring


def randomized(model, shape, scale=0.6):
    label = jnp.zeros(1, jnp.int32) if model.num_classes else None
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape), jnp.int32), label)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(scale * rng.normal(size=s.shape), jnp.float32), shapes)


def small(**fields):
    return WaveNet(**{"levels": 3, "features": 4, "skip_features": 5, "num_layers": 3, "cycle": 3, **fields})


@pytest.mark.covers("GE-31")
def test_two_layers_by_hand():
    """h_0 reads the code before; layer i adds A tanh(z_1) sigmoid(z_2), z of h_i at t and t - d, d = 1, 2."""
    model, codes, y = small(num_classes=2, num_layers=2, cycle=2), np.array([2, 0, 1, 1, 2, 0]), 1
    params = randomized(model, (1, 6, 1))
    logits = jax.jit(model.apply)({"params": params}, codes.reshape(1, 1, 6, 1), jnp.array([y]))[0, 0, :, 0]
    p = jax.tree.map(np.asarray, params)
    h = [p["embedding"]["embedding"][code] for code in (3, *codes[:-1])]
    skip = np.zeros((6, 5))
    for i, dilation in enumerate((1, 2)):
        layer, after = p[f"layers_{i}"], []
        for t in range(6):
            past = h[t - dilation] if t >= dilation else np.zeros(4)
            z = np.concatenate([past, h[t]]) @ layer["conv"]["kernel"] + layer["conv"]["bias"]
            z += layer["label"]["embedding"][y]
            out = np.tanh(z[:4]) / (1 + np.exp(-z[4:])) @ layer["out"]["kernel"] + layer["out"]["bias"]
            after.append(h[t] + out[:4])
            skip[t] += out[4:]
        h = after
    hidden = np.maximum(np.maximum(skip, 0) @ p["head"]["kernel"] + p["head"]["bias"], 0)
    np.testing.assert_allclose(logits, hidden @ p["logits"]["kernel"] + p["logits"]["bias"], rtol=2e-4, atol=1e-5)


@pytest.mark.covers("GE-31")
def test_the_probabilities_of_all_sounds_sum_to_one():
    """2^8 sounds of eight binary samples."""
    model, shape = small(levels=2), (1, 8, 1)
    sounds = jnp.array(list(itertools.product([0, 1], repeat=8))).reshape(-1, *shape)
    params = randomized(model, shape)
    nats = np.asarray(jax.jit(lambda p: log_likelihood(model, p, sounds))(params), np.float64)
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-5)
    assert nats.std() > 0.2


@pytest.mark.slow(unless=["3-3-8"])
@pytest.mark.covers("GE-31")
@pytest.mark.parametrize(("layers", "cycle", "reach"), [(3, 3, 8), (4, 2, 7)])
def test_a_sample_depends_on_those_of_the_receptive_field_and_on_no_other(layers, cycle, reach):
    """Dilations 1, 2, 4 see 1 + 7 samples; 1, 2, 1, 2 see 1 + 6."""
    model, length = small(num_layers=layers, cycle=cycle), 20
    params = randomized(model, (1, length, 1), 1.0)
    codes = jnp.asarray(np.random.default_rng(1).integers(0, 3, (1, length)))
    changed = jnp.where(jnp.eye(length, dtype=bool), (codes + 1) % 3, codes)  # row i: sample i is another
    logits = jax.jit(model.apply)({"params": params}, jnp.concatenate([codes, changed])[:, None, :, None])[:, 0, :, 0]
    differs = np.asarray(jnp.abs(logits[1:] - logits[0]).max(-1) > 1e-7)  # [changed sample, predicted sample]
    ahead = np.arange(length) - np.arange(length)[:, None]
    np.testing.assert_array_equal(differs, (ahead >= 1) & (ahead <= reach))
    assert model.receptive_field() == reach


@pytest.mark.covers("GE-31")
def test_the_rings_give_the_logits_of_whole_passes():
    """Of sounds of 2 x 3 x 2 samples in raster order; what stands at a place and after it is not read."""
    model, shape = small(num_classes=2, cycle=2), (2, 2, 3, 2)
    params, label = randomized(model, shape[1:]), np.array([0, 1])
    codes = np.random.default_rng(2).integers(0, 3, shape)
    places = np.stack(np.unravel_index(np.arange(12), shape[1:]), -1)

    @jax.jit
    def run(params, codes):
        def one(cache, place):
            t = (place[0] * 3 + place[1]) * 2 + place[2]
            known = jnp.where(np.arange(12) < t, codes.reshape(2, 12), 2).reshape(shape)
            return model.apply({"params": params}, cache, known, tuple(place), label, method="step")

        cache = model.apply({"params": params}, shape, label, method="start")
        return jax.lax.scan(one, cache, places)[1], model.apply({"params": params}, codes, label)

    steps, whole = run(params, codes)
    np.testing.assert_allclose(steps.swapaxes(0, 1), whole.reshape(2, 12, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-31")
def test_the_rings_draw_the_same_sounds_as_whole_passes():
    model, shape = small(num_classes=2, num_layers=5), (1, 12, 1)
    params, keys, label = randomized(model, shape), jax.random.split(jax.random.key(1), 6), jnp.arange(6) % 2

    @jax.jit
    def draw(params):
        return [sample(model, params, keys, shape, label=label, cached=cached) for cached in (True, False)]

    rings, passes = draw(params)
    np.testing.assert_array_equal(rings, passes)
    assert len(np.unique(np.asarray(rings).reshape(6, -1), axis=0)) > 3


@pytest.mark.weekly
def test_the_loss_starts_at_a_uniform_guess_and_half_precision_samples():
    model = small(levels=7, dtype=jnp.bfloat16)
    x = jnp.zeros((1, 1, 9, 1), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    assert float(log_likelihood(model, params, x)[0]) == pytest.approx(-9 * np.log(7), rel=1e-5)
    shapes = jax.eval_shape(lambda p: sample(model, p, jax.random.split(jax.random.key(0), 2), (1, 9, 1)), params)
    assert (shapes.shape, shapes.dtype) == ((2, 1, 9, 1), jnp.int32)


# The experiment


@pytest.mark.covers("GE-31")
def test_the_bits_of_the_models_without_a_network_by_hand():
    """Training tones 0 1 0 1 0 1 0 1 of two codes: a sample is certain given the one before it, a fair coin without.

    The 2-gram's smoothing of 0.05 leaves (4 + 0.05) / (4 + 0.1) after a 0, and (3 + 0.05) / (3 + 0.1) after a 1."""
    codes = np.array([[0, 1, 0, 1, 0, 1, 0, 1]])
    bits = baselines(codes, codes, codes[:, :5], 2)
    assert bits["uniform"] == 1
    assert bits["frequencies of codes"] == pytest.approx(1)
    (name, value) = list(bits.items())[-1]
    assert name == "2-gram", "longer contexts are rarer, so that smoothing leaves them less certain"
    assert value == pytest.approx(-(2 * np.log2(4.05 / 4.1) + 2 * np.log2(3.05 / 3.1)) / 4)
    biased = np.array([[1, 1, 1, 0]])
    assert baselines(codes, codes, biased, 2)["2-gram"] > 2, "it is the test tones that are measured"


@pytest.mark.weekly
@pytest.mark.covers("GE-31")
def test_the_report_plays_the_tones_and_predict_writes_them(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(wave_net.experiment, ["--smoke", "--steps=1", "--eval_every=1", f"--run_dir={folder}"]) == 0
    report = (folder / "report.html").read_text()
    assert report.count('<audio controls style="width: 16em" src="data:audio/wav;base64,') == 24
    assert "media-src data:" in report
    words = ["--mode=predict", f"--run={folder}", "--num_drawn=2", f"--output={tmp_path / 'tones'}"]
    assert run(wave_net.experiment, words) == 0
    assert capsys.readouterr().out.count("-log p = ") == 2
    with wave.open(str(tmp_path / "tones" / "tone_001.wav")) as file:
        assert (file.getnframes(), file.getframerate(), file.getsampwidth()) == (64, 4000, 2)


@pytest.mark.covers("GE-31")
def test_asked_pitches_are_the_labels():
    parts = SimpleNamespace(network=SimpleNamespace(conditional=True))
    run = SimpleNamespace(facts=Facts(dataset="tones", class_names=PITCHES), parts=parts)
    source, names = DrawSounds(num_drawn=2, sample_pitch="C4").samples(run)
    np.testing.assert_array_equal(source.arrays["label"], [3, 3])
    assert names == ["tone_000", "tone_001"]
    np.testing.assert_array_equal(asked_sounds(14).arrays["label"][[0, 1, 12]], [0, 1, 0])
    with pytest.raises(FlagError, match="sample_pitch=H2: no class of the run; allowed: A3"):
        DrawSounds(sample_pitch="H2").samples(run)


@pytest.mark.slow
def test_the_wiring_of_wave_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        WaveNet(4, 3, features=4, skip_features=6, num_layers=3, cycle=2),
        np.arange(16).reshape(2, 8) % 4,
        np.array([0, 2]),
        [11.8989, -0.984004],
    )
