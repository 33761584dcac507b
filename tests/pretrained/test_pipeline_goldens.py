"""Whole pipelines against diffusers: the same images of a prompt from the same noise (`write_pipeline_goldens.py`)."""

import numpy as np
import pytest

from dlcore.pretrained.pipeline import open_pipeline
from tests.models.parity import GOLDENS
from tests.pretrained.pipelines import DRAWN, SIZES, write_all
from tests.pretrained.test_pipeline import WORDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    write_all(folder)
    return folder


@pytest.mark.slow
@pytest.mark.covers("GE-40", "PT-11")
@pytest.mark.parametrize("name", DRAWN)
def test_a_pipeline_draws_what_diffusers_draws_from_the_same_noise(name, folders):
    expected = np.load(GOLDENS / "pipelines.npz")[name]
    call = SIZES | DRAWN[name][2]
    options = {"steps": call["num_inference_steps"], "size": (call["height"], call["width"])}
    images = open_pipeline(folders / name).draw(WORDS, count=2, guidance=call["guidance_scale"], **options)
    np.testing.assert_allclose(images, expected, atol=1e-4 * expected.std())
