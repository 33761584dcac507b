"""Data by name, the files that predict writes, and panels, from a model without parameters."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data.factor_shapes import factor_shapes
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.generative import images_or_factors, sample_panels, shown_reconstructions
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.modes.predict import MODE
from experiments.generative.vae import experiment
from tests.overriding import inputs_of, samples_of


def flags(*words):
    return resolve(experiment, list(words))


def test_factors_have_the_same_test_split_in_every_run():
    one, other = (experiment.run(flags("--dataset=factors", "--num_images=20", f"--seed={s}")).load() for s in (0, 1))
    np.testing.assert_array_equal(one.test.arrays["image"], other.test.arrays["image"])
    assert one.spec["image_shape"] == [16, 16, 1]
    assert (len(one.train), len(one.valid), len(one.test)) == (20, 8, 8)
    assert not np.array_equal(one.train.arrays["image"][:8], one.test.arrays["image"])


def test_images_that_are_no_intensities_are_refused(monkeypatch):
    splits = experiment.run(flags()).load()
    bright = Source({"image": 2 * splits.train.arrays["image"]})
    monkeypatch.setattr(images_or_factors.Images, "load", lambda *rest: splits._replace(train=bright))
    with pytest.raises(ValueError, match=r"train images: values from 0 to 2, and a likelihood needs intensities"):
        experiment.run(flags()).load()


def test_predict_reads_files_in_pairs_and_writes_pictures(tmp_path):
    for k in range(3):
        Image.fromarray(np.full((8, 8), 100 * k, np.uint8)).save(tmp_path / f"{k}.png")
    spec = {"image_shape": [8, 8, 1]}
    asked = resolve(experiment, [f"--input={tmp_path}"], MODE.settings)
    source, names = inputs_of(experiment, asked, spec)
    np.testing.assert_array_equal(source.arrays["other"], source.arrays["image"][[1, 2, 0]])
    outputs = {
        "reconstruction": np.full((3, 8, 8, 1), 0.5),
        "path": np.zeros((3, 8, 8, 8, 1)),
        "sample": np.zeros((3, 8, 8, 1)),
        "psnr": np.array([12.34, 20.0, 30.0]),
    }
    assert experiment.use.describe(outputs, Facts.of(spec))[0] == {
        "psnr": 12.34,
        "text": "reconstructed at 12.3 dB",
    }
    written = experiment.use.write(tmp_path / "out", outputs, source, names, Facts.of(spec))
    assert {path.name for path in written} == {
        *(f"{k}_{kind}.png" for k in range(3) for kind in ("reconstruction", "path")),
        "samples.png",
    }
    picture = np.asarray(Image.open(tmp_path / "out" / "1_reconstruction.png"))
    height, width = picture.shape
    assert picture[height // 2, width // 4] == 100
    assert abs(int(picture[height // 2, 3 * width // 4]) - 127) <= 1
    assert height == 256, "small pictures are enlarged"


def test_a_single_file_has_no_path_and_noise_stands_between_it_and_its_reconstruction(tmp_path):
    """Pictures of one pixel, three in a row with a gap between two, become 256 pixels high."""
    outputs = {
        "noisy": np.full((1, 1, 1, 1), 0.2),
        "reconstruction": np.ones((1, 1, 1, 1)),
        "path": np.ones((1, 2, 1, 1, 1)),
    }
    source = Source({"image": np.array([[[[0.4]]]], np.float32)})
    (file,) = experiment.use.write(tmp_path, outputs, source, ["a.png"], Facts.of({}))
    picture = np.asarray(Image.open(file))
    assert (file.name, picture.shape) == ("a_reconstruction.png", (256, 5 * 256))
    assert picture[0, ::512].tolist() == [102, 51, 255]
    large = {"reconstruction": np.ones((1, 300, 1, 1))}
    (file,) = experiment.use.write(
        tmp_path, large, Source({"image": np.ones((1, 300, 1, 1), np.float32)}), ["b.png"], Facts.of({})
    )
    assert Image.open(file).size == (3, 300)


def test_samples_are_drawn_by_number_where_no_file_is_given(tmp_path):
    source, names = samples_of(experiment, flags("--num_drawn=3"), {})
    assert (len(source), names) == (3, ["sample 0", "sample 1", "sample 2"])
    outputs = {"sample": np.zeros((3, 8, 8, 1))}
    assert experiment.use.describe(outputs, Facts.of({})) == [{"mean": 0.0, "text": "8 x 8 pixels, mean 0.000"}] * 3
    written = experiment.use.write(tmp_path, outputs, source, names, Facts.of({}))
    assert [path.name for path in written] == [*(f"{k}_sample_{k}.png" for k in range(3)), "samples.png"]


@pytest.fixture
def context():
    """Codes are (mean brightness of the left half, of the right half); a decoder fills the halves."""

    def decode(z):
        halves = jnp.repeat(z[:, None, :, None], 4, 2)
        return jnp.broadcast_to(halves, (len(z), 8, 8, 1))

    def predict(state, batch):
        if "latent" in batch:
            return {"decoded": decode(batch["latent"])}
        image = jnp.asarray(batch["image"])
        z = jnp.stack([image[:, :, :4].mean((1, 2, 3)), image[:, :, 4:].mean((1, 2, 3))], -1)
        outputs = {"features": z, "kl": jnp.array([[0.2, 3.0]]).repeat(len(z), 0), "reconstruction": decode(z)}
        outputs["sample"] = image
        if "other" in batch:
            ends = jnp.stack([decode(z), decode(z[::-1])], 1)
            outputs["path"] = ends
        return outputs

    train, test = factor_shapes(40, 0, 8), factor_shapes(20, 1, 8)
    outputs = {k: np.asarray(v) for k, v in predict(None, test[:]).items()}
    spec = {"image_shape": [8, 8, 1], "factors": ["x", "y", "radius", "brightness"]}
    data = SimpleNamespace(train=train, test=test)
    return SimpleNamespace(
        data=data, outputs=outputs, spec=spec, state=None, learner=SimpleNamespace(predict=predict), history=[]
    )


def test_nearest_training_images_tell_copies(context):
    """Samples that are test images are as far as test images; those of the training split are at 0."""
    panel = sample_panels.nearest_training(context)
    assert panel.title == "Are samples copies?"
    first, second = panel.subtitle.split("on average ")[1].split(" from samples and ")
    assert float(first) == float(second.split()[0]) > 0
    context.outputs["sample"] = context.data.train.arrays["image"][:20]
    assert "0.00 from samples" in sample_panels.nearest_training(context).subtitle


def test_a_traversal_takes_the_dimensions_that_say_most(context):
    note = sample_panels.traversals(context).subtitle
    assert "1 (3.00), 0 (0.20)" in note
    assert "2 of 2 dimensions" in note


def test_all_panels_are_there(context):
    shown = Reconstructions().panels(context, None)
    assert shown[0].subtitle == "The first 20, unselected."
    titles = [panel.title for panel in shown]
    assert titles[:6] == [
        "Samples",
        "Reconstructions",
        "Are samples copies?",
        "Interpolation",
        "Latent traversal",
        "Editing",
    ]
    plain = {k: v for k, v in context.outputs.items() if k in ("reconstruction", "features")}
    context.outputs = plain
    context.spec = {"image_shape": [8, 8, 1]}
    assert [panel.title for panel in Reconstructions().panels(context, None)][:2] == [
        "Reconstructions",
        "Interpolation",
    ]


def test_twelve_images_stand_above_their_noise_and_reconstructions_and_64_samples_are_shown(monkeypatch, bare_panels):
    monkeypatch.setattr("dlcore.report.generative.sample_grid", lambda *rest: rest)
    monkeypatch.setattr(shown_reconstructions.sample_panels, "nearest_training", lambda context: "nearest")
    numbers = np.arange(70)
    outputs = {"noisy": 100 + numbers, "reconstruction": 200 + numbers, "sample": 300 + numbers}
    context = SimpleNamespace(
        data=SimpleNamespace(test=Source({"image": numbers})), outputs=outputs, spec={}, history="curves"
    )
    (samples, *texts), (rows, *_), nearest, curves = Reconstructions().panels(context, None)
    assert (samples.tolist(), texts) == ([*range(300, 364)], ["Samples", "The first 64, unselected."])
    assert {name: values.tolist() for name, values in rows.items()} == {
        "test images": [*range(12)], "with noise": [*range(100, 112)], "reconstructed": [*range(200, 212)]
    }  # fmt: skip
    assert (nearest, curves) == ("nearest", "curves")


def test_the_first_64_reconstructions_stand_eight_in_a_row():
    images = np.arange(70, dtype=np.float32).reshape(70, 1, 1, 1) / 255
    picture = Reconstructions().pictures(SimpleNamespace(outputs={"reconstruction": images}))["reconstructions"]
    assert picture.shape == (15, 15, 1)  # 8 pixels with one between two
    np.testing.assert_array_equal(picture[::2, ::2, 0], np.arange(64).reshape(8, 8))
