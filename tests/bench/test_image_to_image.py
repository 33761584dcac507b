"""Both sides of the bench compute the same images from the same weights."""

import pytest

from experiments.bench.image_to_image import measure


@pytest.mark.covers("GE-20")
def test_pytorch_translates_as_ours_does():
    pytest.importorskip("torch")
    result = measure(side=16, width=2, num_blocks=1, num_steps=1, num_repeats=1)
    assert result.numbers["cycle_gan: largest difference of outputs"] < 1e-4
    assert result.numbers["cycle_gan, torch over ours"] > 0
