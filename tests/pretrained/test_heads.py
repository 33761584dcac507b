"""from_pretrained with another number of classes: a new head, or none, whose output is what the head would see."""

from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import SingleDeviceSharding

from dlcore.learner import root_key
from dlcore.pretrained import from_pretrained

HUB = Path(__file__).parents[1] / "goldens" / "hub"
CLASSIFIERS = (
    *("facebook--convnextv2-tiny", "google--vit-tiny", "microsoft--beit-tiny", "microsoft--resnet-tiny"),
    *("microsoft--swin-tiny", "microsoft--swinv2-tiny", "timm--convnextv2_atto.tiny"),
    *("timm--eva02_tiny_patch14_224.tiny", "timm--resnet18.tiny", "timm--vit_small_patch14_reg4_dinov2.tiny"),
    "timm--vit_tiny_patch16_224.tiny",
)
QUICK = ["google--vit-tiny"]


def images_of(net) -> np.ndarray:
    side = getattr(net.model, "image_size", 64)
    return np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)


@pytest.mark.slow(unless=QUICK)
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_without_classes_the_output_is_what_the_head_would_see(name):
    """The published head, by NumPy on that output, gives the published logits."""
    net, headless = from_pretrained(HUB / name), from_pretrained(HUB / name, num_classes=0)
    assert "head" not in headless.variables["params"]
    assert headless.classes is None
    (key,) = (key.split("|")[0] for key in net.family.inputs)
    inputs = {key: images_of(net)}
    (pooled,) = headless(**inputs).values()
    assert list(headless(**inputs)) == ["pooler_output"]
    head = net.variables["params"]["head"]
    logits = np.asarray(pooled, np.float64) @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"])
    np.testing.assert_allclose(net(**inputs)["logits"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_deit_without_classes_gives_the_mean_of_its_two_tokens():
    """Where both heads are the identity, the logits, their mean, are the mean of what the heads see."""
    net, headless = (from_pretrained(HUB / "facebook--deit-tiny", num_classes=n) for n in (32, 0))
    assert not {"head", "head_dist"} & headless.variables["params"].keys()
    identity = {"kernel": np.eye(32, dtype=np.float32), "bias": np.zeros(32, np.float32)}
    net.variables = {"params": {**net.variables["params"], "head": identity, "head_dist": identity}}
    images = images_of(net)
    pooled = headless(pixel_values=images)["pooler_output"]
    np.testing.assert_allclose(pooled, net(pixel_values=images)["logits"], rtol=1e-5, atol=1e-6)


PLACED: dict[str, tuple[int, ...]] = {}


def place(path, shape):
    PLACED[path] = shape
    return SingleDeviceSharding(jax.devices()[1])


@pytest.fixture(scope="module")
def encoder():
    options = {"head_init": nn.initializers.normal(1.0), "sharding": place}
    return from_pretrained(HUB / "facebook--dinov2-tiny", num_classes=3, **options)


def test_an_encoder_gets_a_head_of_initial_values(encoder):
    """Those of the key 0, as of a run without a seed; the arrays of the head go to their shards too."""
    head = encoder.variables["params"]["head"]
    images = np.zeros((1, encoder.model.image_size, encoder.model.image_size, 3), np.float32)
    initial = jax.jit(lambda key: encoder.model.init(key, images)["params"]["head"])(root_key(0))
    chex.assert_trees_all_close(head, initial, rtol=1e-6)
    assert np.abs(head["kernel"]).min() > 0
    assert {path: shape for path, shape in PLACED.items() if "head" in path} == {
        "params/head/kernel": (32, 3),
        "params/head/bias": (3,),
    }
    published = dict(from_pretrained(HUB / "facebook--dinov2-tiny").variables["params"])
    rest = {key: value for key, value in encoder.variables["params"].items() if key != "head"}
    chex.assert_trees_all_equal(rest, published)
    assert {next(iter(leaf.devices())) for leaf in jax.tree.leaves(encoder.variables)} == {jax.devices()[1]}


@pytest.mark.slow
def test_an_encoder_with_a_head_gives_its_tokens_and_logits(encoder):
    outputs = encoder(pixel_values=images_of(encoder))
    chex.assert_shape(outputs["logits"], (2, 3))
    assert outputs.keys() == {"last_hidden_state", "logits"}


def test_a_network_of_clips_without_classes_has_the_published_arrays_but_for_the_head():
    net, headless = (from_pretrained(HUB / "facebook--timesformer-tiny", num_classes=n) for n in (None, 0))
    params = dict(net.variables["params"])
    assert params.pop("head")["kernel"].any()
    chex.assert_trees_all_equal(headless.variables, {"params": params})
    assert headless.fields["num_classes"] == headless.model.num_classes == 0
    assert (net.classes is None, headless.classes) == (False, None)
