"""The encoder that fine-tuning and other measures take from a learner's state, and the check of a queue."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.models import create_model
from dlcore.models.vit import ViT
from dlcore.self_supervised import encoders
from dlcore.self_supervised.queue import check_queue
from dlcore.setting import FlagError

SPEC = {"image_shape": (2, 2, 1), "mean": [0.5], "std": [0.25], "dataset": "digits"}


class Scaled(nn.Module):
    """Maps of x and of x times a learned factor."""

    @nn.compact
    def features(self, x, train=False):
        return {"first": x, "last": x * self.param("factor", nn.initializers.ones, ())}

    @nn.compact
    def other(self, x, train=False):
        return -x


def setup_of(**flags):
    flags = {"augment": "none", "image_size": None, "model": "x", **flags}
    return SimpleNamespace(flags=Flags(flags), spec=SPEC, dtype=jnp.float32)


def test_an_encoder_reads_the_trained_backbone_of_a_state_and_averages_its_last_map():
    encoder = encoders.encoder(setup_of(), Scaled())
    state = SimpleNamespace(
        params={"backbone": {"factor": jnp.float32(3.0)}, "head": {"factor": jnp.float32(5.0)}},
        model_state={"batch_stats": {"head": {}}},
    )
    assert jax.tree.map(float, encoder.variables(state)) == {"params": {"factor": 3.0}}
    # (0.75 - 0.5) / 0.25 = 1 in each pixel, times 3.
    x = encoder.prepare(np.full((1, 2, 2, 1), 0.75, np.float32))
    features, _ = encoder.apply(encoder.variables(state), x, None)
    np.testing.assert_allclose(features, [[3.0]], rtol=1e-6)
    assert encoder.augment is None


def test_an_encoder_takes_what_it_is_given_in_place_of_the_backbone():
    encoder = encoders.encoder(
        setup_of(augment="crop_flip"),
        Scaled(),
        lambda state: {"params": {"factor": state}},
        lambda images: images + 1,
        method="other",
        read=lambda x: x[:, 0, 0],
    )
    np.testing.assert_array_equal(encoder.prepare(np.zeros(1)), [1])
    features, _ = encoder.apply({"params": {}}, np.ones((1, 2, 2, 1), np.float32), None)
    np.testing.assert_array_equal(features, [[-1]])
    assert encoder.augment is not None


VIT = {"image_size": 4, "patch_size": 2, "depth": 1, "width": 6, "num_heads": 1, "mlp_features": 2}


def test_the_encoder_of_a_vit_is_its_class_token_and_of_others_the_mean_of_the_last_map(monkeypatch):
    built = []

    def build(setup, **fields):
        built.append(fields)
        return ViT(**{**VIT, **fields}) if setup.flags.model == "vit" else create_model("resnet8_cifar", **fields)

    monkeypatch.setattr(encoders.described_model, "build", build)
    monkeypatch.setitem(SPEC, "image_shape", (4, 4, 1))
    assert encoders.backbone_without_head(setup_of(model="vit"), drop_path=0.5).num_classes == 0
    assert encoders.backbone_without_head(setup_of(model="resnet")).num_classes == 1
    encoder = encoders.backbone_encoder(setup_of(model="vit"))
    assert built == [{"num_classes": 1, "drop_path": 0.5}, {"num_classes": 1}, {"num_classes": 1, "axis_name": None}]

    def features(encoder):
        return jax.eval_shape(lambda: encoder.apply(encoder.init(jax.random.key(0)), jnp.ones((3, 4, 4, 1)), None)[0])

    chex.assert_shape(features(encoder), (3, 6))
    # The last map of this residual network has 64 channels.
    chex.assert_shape(features(encoders.backbone_encoder(setup_of(model="resnet"))), (3, 64))
    built.clear()
    encoders.encoder(setup_of(model="resnet"))
    assert built == [{"num_classes": 1, "axis_name": None}], "a head of one class is the least"


def test_a_queue_holds_a_batch_and_fits_into_memory():
    check_queue(Flags({"queue_size": 64, "batch_size": 64}), 8)
    with pytest.raises(FlagError, match="--queue_size=63: smaller than a batch; allowed: at least 64"):
        check_queue(Flags({"queue_size": 63, "batch_size": 64}), 8)
    # 10^12 rows of 250 numbers of 4 bytes: 10^15 bytes.
    with pytest.raises(FlagError, match=r"--queue_size=1000000000000: takes 1,000,000\.0 GB or more"):
        check_queue(Flags({"queue_size": 10**12, "batch_size": 64}), 250)
