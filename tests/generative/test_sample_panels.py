"""What the panels of samples show, with drawing and network replaced: captions, columns, pairs and directions."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.generative import sample_panels


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Panels are their arguments, and nothing is compiled."""
    for name in ("sample_grid", "sample_rows", "sample_path", "picture_grid"):
        monkeypatch.setattr(f"dlcore.report.generative.{name}", lambda *rest, **more: (*rest, *more.values()))
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: history)
    monkeypatch.setattr(sample_panels.jax, "jit", lambda function, **rest: function)


def context(**fields):
    flags = types.SimpleNamespace(network=None, smoke=False, network_steps=300, num_samples=2000)
    test = Source({"image": np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)})
    defaults = {
        "flags": flags,
        "data": types.SimpleNamespace(test=test, train=test, shown=Source({"label": np.arange(3)})),
        "spec": {"num_classes": 3, "class_names": ["a", "b", "c"]},
        "numbers": {"frechet_distance": 1.234},
        "outputs": {"sample": np.zeros((10, 1, 1, 1))},
        "history": "curves",
        "state": "state",
    }
    return types.SimpleNamespace(**(defaults | fields))


def test_a_column_a_class_has_whole_rows():
    samples, history, real = sample_panels.panels(context())
    assert (len(samples[0]), samples[3]) == (9, 3)
    assert samples[2] == (
        "The first 9, unselected. A column a class: a, b, c. "
        "Fréchet distance 1.23 over 2,000 samples and 100 test images."
    )
    assert (history, len(real[0]), real[1]) == ("curves", sample_panels.NUM_SHOWN, "Real images")
    for num_classes in (1, 17):
        samples = sample_panels.panels(context(spec={"num_classes": num_classes}, numbers={}))[0]
        assert (samples[2:], len(samples[0])) == (("The first 10, unselected.", 8), 10)
    two = {"num_classes": 2, "class_names": ["a", "b"]}
    assert sample_panels.panels(context(spec=two))[0][3] == 2
    sixteen = {"num_classes": 16, "class_names": range(16)}
    assert sample_panels.panels(context(spec=sixteen, outputs={"sample": np.zeros((40, 1))}))[0][3] == 16


def test_a_distance_says_its_network_and_how_long_it_trained():
    spec = {"num_classes": 3, "about": {"frechet_distance": "vgg, 500 samples, 400 real"}}
    text = "500 samples and 400 test images, in the features of vgg"
    assert sample_panels._counts(context().flags, context(spec=spec)) == f"{text} (300 steps)"
    for change in ({"network": "folder"}, {"smoke": True}):
        flags = types.SimpleNamespace(**{**vars(context().flags), **change})
        assert sample_panels._counts(flags, context(spec=spec)) == text
    assert sample_panels._counts(context().flags, context(spec={**spec, "num_classes": 1})) == text


def test_samples_stand_above_their_nearest_training_images(monkeypatch):
    def nearest(images, train):
        assert len(images) == 64
        distances = np.full(64, 0.5 if images[1, 0, 0, 0] == 0 else 3.25)
        return np.arange(64) + 1, distances

    monkeypatch.setattr("dlcore.report.generative.nearest_images", nearest)
    rows, title, caption = sample_panels.nearest_training(context(outputs={"sample": np.zeros((70, 1, 1, 1))}))
    assert title == "Are samples copies?"
    assert rows["nearest training images"].ravel().tolist() == list(range(1, 13))
    assert len(rows["samples"]) == 12
    assert "of 100 images: on average 0.50 from samples and 3.25 from test images, over 64 each" in caption


def test_the_first_images_walk_to_the_next_ones():
    def predict(state, batch):
        assert batch["other"].ravel().tolist() == list(range(6, 12))
        assert batch["image"].ravel().tolist() == list(range(6))
        return {"path": np.arange(12).reshape(6, 2)}

    path, title, _ = sample_panels.interpolations(context(learner=types.SimpleNamespace(predict=predict)))
    assert (path.shape, path[1, 2], title) == ((2, 6), 5, "Interpolation")


def decoder():
    def predict(state, batch):
        if "latent" not in batch:
            return {"features": np.stack([batch["factors"][:, 0], -batch["factors"][:, 1]], 1)}
        assert batch["index"].tolist() == list(range(len(batch["latent"])))
        return {"decoded": batch["latent"][:, :1, None, None]}

    return types.SimpleNamespace(predict=predict)


def test_the_dimensions_of_the_largest_kl_are_traversed():
    outputs = {"kl": np.array([[0.0, 1.0, 0.017], [0.0, 3.0, 0.017]]), "features": np.array([[9.0, 7, 5], [0, 0, 0]])}
    spec = {"image_shape": [1, 1, 1]}
    images, title, caption = sample_panels.traversals(context(outputs=outputs, spec=spec, learner=decoder()))
    assert title == "Latent traversal"
    assert images.shape == (9, 3, 1, 1, 1)
    # Rows of dimensions 1, 2 and 0; what is decoded is dimension 0, which is 9 unless it is the one that varies.
    np.testing.assert_allclose(images[:, 0, 0, 0, 0], 9)
    np.testing.assert_allclose(images[:, 2, 0, 0, 0], np.linspace(-2.5, 2.5, 9))
    assert "a dimension a row: 1 (2.00), 2 (0.02), 0 (0.00); in" in caption
    assert "2 of 3 dimensions have more than 0.01 nats." in caption


def test_factors_are_edited_by_one_and_a_half_deviations(monkeypatch):
    monkeypatch.setattr(
        "dlcore.generative.latents.attribute_direction", lambda codes, factor: (codes[:, 0] * factor).mean()
    )
    monkeypatch.setattr(
        "dlcore.generative.latents.edit",
        lambda first, direction, amounts: first + direction * jnp.asarray(amounts)[:, None],
    )
    factors = np.array([[0.0, 1], [2, 1], [0, 5], [2, 5]])
    train = Source({"factors": factors})
    fields = {
        "data": types.SimpleNamespace(train=train),
        "outputs": {"features": np.array([[10.0, 20]])},
        "spec": {"factors": ["x", "size"]},
        "learner": decoder(),
    }
    pictures, title, _ = sample_panels.edits(context(**fields))
    # Deviations of 1 and 2. The direction of x is the mean of x times x, 2; that of the size that of x times it, 3.
    assert (list(pictures), title) == (["x, by -1.50 to 1.50", "size, by -3.00 to 3.00"], "Editing")
    np.testing.assert_allclose(pictures["x, by -1.50 to 1.50"].ravel(), 10 + 2 * np.linspace(-1.5, 1.5, 7))
    np.testing.assert_allclose(pictures["size, by -3.00 to 3.00"].ravel(), 10 + 3 * np.linspace(-3, 3, 7))


def test_directions_are_fitted_on_two_thousand_training_images(monkeypatch):
    counts = []

    def direction(codes, factor):
        counts.append((len(codes), len(factor)))
        return codes[0]

    monkeypatch.setattr("dlcore.generative.latents.attribute_direction", direction)
    for count in (2003, 5):
        fields = {
            "data": types.SimpleNamespace(train=Source({"factors": np.arange(2.0 * count).reshape(count, 2)})),
            "outputs": {"features": np.array([[10.0, 20]])},
            "spec": {"factors": ["x"]},
            "learner": decoder(),
        }
        sample_panels.edits(context(**fields))
    assert counts == [(2000, 2000), (5, 5)]


def test_samples_are_filmed_eight_a_row(monkeypatch):
    monkeypatch.setattr("dlcore.report.filming.film_hooks", lambda *rest: rest)
    run, batch, picture, title = sample_panels.FilmSamples().report_hooks("run")
    assert (run, title) == ("run", "Samples by step")
    assert batch["index"].tolist() == list(range(sample_panels.NUM_SHOWN))
    assert picture({"sample": "images"}) == ("images", 8)
    assert sample_panels.pictures(context(outputs={"sample": "images"})) == {"samples": ("images", 8)}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_each_sampler_starts_from_the_same_noise(monkeypatch, ema):
    """Of 100 time steps DPM-Solver++ takes 15, DDIM 50 and DDPM all."""

    def sample(denoise, keys, shape, alphas, sampler, num_inference_steps, clip_sample, prediction, return_trajectory):
        assert (shape, alphas, clip_sample, prediction, return_trajectory) == ((1, 1, 1), "alphas", True, "noise", True)
        assert denoise(jnp.zeros((2, 3)), 7).tolist() == [[7 if ema is None else 17] * 3] * 2
        steps = jnp.arange(num_inference_steps + 1.0)[:, None] + len(sampler) / 10
        return None, jnp.broadcast_to(steps, (num_inference_steps + 1, len(keys)))

    monkeypatch.setattr(sample_panels.diffusion, "sample", sample)
    monkeypatch.setattr(sample_panels, "denormalize", lambda x: 2 * x)
    monkeypatch.setattr(sample_panels, "parameter_ema", lambda opt_state, params: params + 10)
    monkeypatch.setattr(sample_panels, "panels", lambda context: ["samples", "curves"])
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [floor])
    monkeypatch.setattr("dlcore.report.film.film", lambda *rest: rest)
    schedule = types.SimpleNamespace(alphas_cumprod=lambda: "alphas")
    flags = types.SimpleNamespace(
        ema=ema,
        num_timesteps=100,
        clip_sample=True,
        prediction="noise",
        group=lambda name: {"noise_schedule": schedule},
    )
    model = types.SimpleNamespace(apply=lambda variables, x, t: x + t[:, None] + variables["params"])
    import jax

    fields = {"flags": flags, "spec": {"image_shape": [1, 1, 1]}}
    state = types.SimpleNamespace(opt_state=None, params=0, rng=jax.random.key(0))
    samples, moving, path, rows, floor, curves = sample_panels.diffusion_panels(context(**fields, state=state), model)
    assert (samples, floor, curves) == ("samples", None, "curves")
    assert moving[1:] == ("From noise to samples, as a film", "50 steps of DDIM, sixteen samples.", 100)
    assert (len(moving[0]), len(moving[0][0][0]), moving[0][0][1]) == (51, 16, 4)
    columns = [0, 4, 8, 12, 17, 21, 25, 29, 33, 38, 42, 46, 50]
    np.testing.assert_allclose(path[0], 2 * (np.array(columns)[:, None] + 0.4) * np.ones(6), rtol=1e-6)
    assert path[1] == f"DDIM after {', '.join(map(str, columns))} of 50 steps."
    ends = {name: float(images[0]) for name, images in rows[0].items()}
    assert ends == pytest.approx({"dpmpp, 15 steps": 31.0, "ddim, 50 steps": 100.8, "ddpm, 100 steps": 200.8})
