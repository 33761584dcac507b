"""A stage that holds the classes is found, in the network's order."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.transfer.stages import probe_stages, stage_features
from dlcore.weights import source_weights


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


@pytest.mark.covers("TL-05")
def test_a_probe_learns_from_the_bank_and_is_asked_about_the_queries(monkeypatch):
    """The queries' classes are the other way round: whoever learned from the bank is wrong about all of them."""
    rng = np.random.default_rng(0)
    label = np.arange(40, dtype=np.int32) % 2
    sign = np.where(label == 1, 1.0, -1.0)[:, None, None, None]
    image = (sign * (1 + rng.uniform(size=(40, 2, 2, 1)))).astype(np.float32)
    pooled = {"stem": image.mean((1, 2))}
    assert probe_stages(pooled, label, pooled, 1 - label) == {"stem": 0.0}
    assert probe_stages(pooled, label, {"stem": -pooled["stem"]}, label) == {"stem": 0.0}
    # The lines of fine_tuning: the bank is of training, the queries are of validation.
    splits = SimpleNamespace(
        train=Source({"image": image, "label": label}), valid=Source({"image": image, "label": 1 - label})
    )
    network = SimpleNamespace(model=Two(), variables={})
    monkeypatch.setattr(source_weights, "source_network", lambda flags: network)
    images = SimpleNamespace(preprocess=lambda facts, dtype: lambda x: x)
    run = SimpleNamespace(
        facts=Facts(class_names=("a", "b")),
        dtype=None,
        parts=SimpleNamespace(data=SimpleNamespace(images=images)),
        flags=None,
    )
    lines = source_weights.SourceWeights().messages(run, splits)
    assert "accuracy on validation images: stem 0.000, deep " in lines[0]
    assert "little data (20 labeled images of a class)" in lines[1]
