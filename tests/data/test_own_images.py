"""Pages that need no labels take a folder of images without class folders, and batches fit themselves to few images."""

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data.pipeline import batch_at
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from experiments import find_experiment

FAST = ["generative.vae", "generative.gan", "self_supervised.simclr", "self_supervised.rotation"]
SLOW = [
    "generative.autoencoder",
    "generative.autoencoder_kl",
    "generative.conditional_gan",
    "generative.ddpm",
    "generative.dit",
    "generative.fvbn",
    "generative.latent_diffusion",
    "generative.pixel_cnn",
    "generative.pixel_rnn",
    "generative.style_gan",
    "generative.super_resolution",
    "generative.vq_vae",
    "generative.vq_vae_prior",
    "self_supervised.colorization",
    "self_supervised.cross_channel",
    "self_supervised.deep_cluster",
    "self_supervised.dino",
    "self_supervised.exemplar",
    "self_supervised.inpainting",
    "self_supervised.jigsaw",
    "self_supervised.mae",
    "self_supervised.moco",
    "self_supervised.outpainting",
    "self_supervised.relative_patch",
    "self_supervised.super_resolution_pretext",
    "self_supervised.unrotation",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty photographs of several sizes, in no class folders."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k in range(20):
        Image.fromarray(rng.integers(0, 256, (16 + k % 3, 18, 3), np.uint8)).save(root / f"IMG_{k:02}.png")
    return root


def run_of(name, folder, *words):
    experiment = find_experiment(name)
    named = ["--dataset=folder"] if "dataset" in experiment.settings else []
    return ResolvedRun(experiment, resolve(experiment, [*named, f"--data_dir={folder}", "--image_size=16", *words]))


@pytest.mark.parametrize("page", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_page_without_need_of_labels_takes_a_flat_folder(page, folder):
    run = run_of(page, folder)
    splits = run.experiment.run(run.flags).load()
    sizes = [len(source) for source in (splits.train, splits.valid, splits.test)]
    assert sum(sizes) == 20
    assert min(sizes) > 0
    assert splits.spec.get("num_classes", 1) == 1
    setup, batch = run.training_of(splits), batch_at(run.pipelines(splits), 0)
    assert len(batch["index"]) == setup.flags.batch_size <= len(splits.train)
    # Files are kept as bytes, but a user's program gives predict images in [0, 1].
    example = run.example(setup.spec)["image"]
    assert (batch["image"].dtype, example.dtype) == (np.uint8, np.float32)
    chex.assert_equal_shape([example, batch["image"]])


@pytest.mark.parametrize("page", ["classification.supervised", "semi_supervised.fixmatch"])
def test_a_page_of_labels_refuses_a_flat_folder(page, folder):
    run = run_of(page, folder)
    with pytest.raises(ValueError, match="class folders"):
        run.experiment.run(run.flags).load()


def test_batches_fit_few_images_unless_their_size_was_given(folder):
    run = run_of("self_supervised.simclr", folder)
    splits = run.experiment.run(run.flags).load()
    count = len(splits.train)
    setup = run.training_of(splits)
    assert run.flags.batch_size > count
    assert setup.flags.batch_size == setup.spec["batch_size"] == 2 ** (count.bit_length() - 1)
    assert run.training(setup.spec).flags.batch_size == setup.flags.batch_size  # as a mode that opens the run
    assert run.eval_every(setup) >= 1
    given = run_of("self_supervised.simclr", folder, f"--batch_size={count + 1}")
    with pytest.raises(ValueError, match=rf"batch_size={count + 1}: more than the {count} examples"):
        given.pipelines(splits)
    fits = run_of("self_supervised.simclr", folder, "--batch_size=3")
    assert "batch_size" not in fits.training_of(splits).spec
    assert len(jax.tree.leaves(batch_at(fits.pipelines(splits), 0))[0]) == 3
