"""The ResNet-18 of the goldens, on which the maps of every technique are compared with PyTorch's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from tests.interpretability.style_networks import MODEL
from tests.models.parity import nhwc, read_golden, weight_rule
from tests.models.tracing import layers_traced_once


class Explained(NamedTuple):
    """A network, two images, the class to explain, and `check(name, maps)` against the golden."""

    model: Any
    variables: Any
    images: Any
    labels: Any
    check: Any

    def score(self, images):
        return self.model.apply(self.variables, images)


@pytest.fixture(scope="session")
def resnet18():
    golden, meta, weights = read_golden("tvint_resnet18")
    with layers_traced_once():
        variables = load_torch("resnet18", weights)

    def check(name, got, torch_layout=True, bound=1e-4):
        about, got = meta["outputs"][name], np.asarray(got)
        got = got.transpose(0, 3, 1, 2) if got.ndim == 4 and torch_layout else got
        assert list(got.shape) == about["shape"]
        wrong = np.abs(got.reshape(-1)[:: about["stride"]] - golden[name].reshape(-1))
        # A ReLU whose input is 1e-7 may be on in one library and off in the other.
        assert np.quantile(wrong, 0.98) < bound * about["std"], name
        assert wrong.max() < 1e-2 * about["std"], name

    images = nhwc(weight_rule().det_input(meta["inputs"]["x"]))
    return Explained(create_model("resnet18"), variables, images, jnp.full(2, meta["class"]), check)


@pytest.fixture(scope="module")
def variables():
    """The first weights of the small VGG of the transfer of a style."""
    return jax.jit(MODEL.init)(jax.random.key(3), jnp.zeros((1, 16, 16, 3)))
