"""PyTorch's networks of the bench compute what ours do from the same weights."""

import jax
import numpy as np
import pytest

from dlcore.generative.image_to_image import PatchDiscriminator, ResidualGenerator
from experiments.bench.image_to_image import patch_forward, residual_forward, torch_network


@pytest.mark.parametrize("kind", ["residual", "patch"])
def test_pytorch_translates_and_judges_as_ours_do(kind):
    torch = pytest.importorskip("torch")
    network, forward = {
        "residual": (ResidualGenerator(3, 2, depth=1, num_blocks=1), residual_forward(1, 1)),
        "patch": (PatchDiscriminator(2, depth=1), patch_forward(1)),
    }[kind]
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    ours = np.asarray(jax.jit(network.apply)(variables, x))
    theirs = torch_network(variables["params"], forward)[0](torch.tensor(x.transpose(0, 3, 1, 2)))
    theirs = theirs.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(theirs if kind == "residual" else theirs[..., 0], ours, atol=1e-5)
