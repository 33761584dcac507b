"""Whole pipelines against diffusers: the same images of a prompt from the same noise (`write_pipeline_goldens.py`)."""

import numpy as np
import pytest

from dlcore.pretrained.pipeline import open_pipeline
from tests.models.parity import GOLDENS
from tests.pretrained.pipelines import CALLS, SIZES, write_all
from tests.pretrained.test_pipeline import WORDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    write_all(folder)
    return folder


@pytest.mark.slow
@pytest.mark.covers("GE-40", "PT-11")
@pytest.mark.parametrize("kind", CALLS)
def test_a_pipeline_draws_what_diffusers_draws_from_the_same_noise(kind, folders):
    expected = np.load(GOLDENS / "pipelines.npz")[kind]
    size = SIZES["height"], SIZES["width"]
    options = {"steps": CALLS[kind].get("num_inference_steps", SIZES["num_inference_steps"]), "size": size}
    images = open_pipeline(folders / kind).draw(WORDS, count=2, guidance=CALLS[kind]["guidance_scale"], **options)
    np.testing.assert_allclose(images, expected, atol=1e-4 * expected.std())
