"""A classifier as a feature extractor, and the measures of an experiment that draws images, through a small run."""

import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.splits import Splits
from dlcore.kits import classifier, generative
from experiments.classification.supervised import experiment as supervised
from experiments.generative.ddpm import experiment as ddpm_page


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["--smoke", f"--runs={runs}", "--classifier_steps=1", "--samples=6", "--noprogress"]
    return ResolvedRun(ddpm_page, resolve(ddpm_page, words))


@pytest.fixture(scope="module")
def folder(resolved):
    return classifier.run_for(resolved.flags, supervised)


def test_a_small_classifier_is_trained_once_and_found_again(resolved, folder):
    written = (folder / "result.json").stat().st_mtime_ns
    assert classifier.run_for(resolved.flags, supervised) == folder
    assert (folder / "result.json").stat().st_mtime_ns == written
    other = resolved.flags.replace(classifier=str(folder))
    assert classifier.run_for(other, supervised) == folder


def test_features_are_the_pooled_last_map_and_do_not_depend_on_the_batch(folder):
    features = classifier.features_of_run(folder, supervised)
    images = digits("test").arrays["image"][:300]
    found, probabilities = features(images)
    assert found.shape == (300, 64)
    assert probabilities.shape == (300, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(features(images[290:])[0], found[290:], rtol=1e-4, atol=1e-5)
    as_bytes = np.rint(255 * images[:4]).astype(np.uint8)
    np.testing.assert_allclose(features(as_bytes)[0], found[:4], atol=0.02)


@pytest.mark.covers("ME-10")
def test_real_images_are_nearer_than_noise(resolved, folder):
    """The experiment's own measure: real test images, then the same with noise, in the place of samples."""
    found = ddpm_page.data(resolved.flags)
    setup = resolved.setup({**found.spec, "train_size": len(found.train)})
    (measure,) = generative.evaluators(setup, found, "test", supervised)
    assert len(measure.source) == 6
    real = found.test.arrays["image"]
    noise = np.random.default_rng(0).random(real.shape, np.float32)
    same, near, far = (
        measure.finish(measure.add(None, {"sample": images}, None))["frechet_distance"]
        for images in (real, 0.7 * real + 0.3 * noise, noise)
    )
    assert same == pytest.approx(0, abs=1e-5)
    assert same < near < far


def test_a_folder_that_holds_no_classifier_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is no run of classification\.supervised"):
        classifier.features_of_run(tmp_path, supervised)


def test_samples_are_what_predict_runs_over(resolved):
    found = ddpm_page.data(resolved.flags)
    assert isinstance(found, Splits)
    assert len(found.shown) == generative.SHOWN
    assert jax.tree.leaves(found.shown.arrays) == []
    assert "6 samples" in found.notes[-1]
