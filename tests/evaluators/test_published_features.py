"""A published network gives the features of the Fréchet distance: a classifier, or an encoder without a head."""

from pathlib import Path

import chex
import numpy as np
import pytest

from dlcore.evaluators import image_generation
from dlcore.experiment.flags import Flags
from dlcore.pretrained import from_pretrained
from dlcore.weights.network import feature_extractor

HUB = Path(__file__).parents[1] / "goldens" / "hub"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "classes"), [("timm--resnet18.tiny", "resnet18", 5), ("facebook--dinov2-tiny", None, None)]
)
def test_a_published_network_gives_the_features(name, model, classes):
    folder = str(HUB / name)
    flags = Flags({"frechet_network": folder, "network": None, "smoke": True})
    origin = image_generation.origin(flags)
    assert not origin.initializes
    assert model in (None, origin.model)
    published = from_pretrained(folder)
    side = published.preprocess.crop or published.preprocess.size
    images = np.random.default_rng(0).integers(0, 256, (3, *side, 3), np.uint8)
    network = image_generation.network_of(flags, {"image_shape": [*side, 3], "num_classes": 3})
    features, probabilities = feature_extractor(network)(images)
    pixels = (images / 255 - np.array(published.preprocess.mean)) / np.array(published.preprocess.std)
    maps = published.model.apply(published.variables, pixels.astype(np.float32), method="features")
    expected = np.asarray(maps[list(maps)[-1]]).mean((1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3 * expected.std())
    if classes is None:
        assert probabilities is None
    else:
        chex.assert_shape(probabilities, (3, classes))
