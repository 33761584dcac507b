"""A stage that holds the classes is found, in the network's order."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.transfer.stages import probe_stages, stage_features


class Two(nn.Module):
    """The first stage keeps the pixels, the second forgets which is brighter."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.features(x)

    def features(self, x, train=False):
        return {"stem": x, "deep": jnp.abs(x).sum(-1, keepdims=True)}


@pytest.mark.covers("TL-05")
def test_the_stage_that_keeps_the_classes_is_best():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    sign = np.where(label == 1, 1.0, -1.0)[:, None, None, None]
    image = (sign * (1 + rng.uniform(size=(60, 4, 4, 2)))).astype(np.float32)
    features = stage_features(Two(), {}, image, batch_size=32)
    assert list(features) == ["stem", "deep"]
    np.testing.assert_allclose(features["stem"], image.mean((1, 2)), rtol=1e-5)
    bank, queries = ({name: x[rows] for name, x in features.items()} for rows in (slice(0, 40), slice(40, 60)))
    accuracies = probe_stages(bank, label[:40], queries, label[40:])
    assert accuracies["stem"] == 1.0
    assert accuracies["deep"] < 0.8
