"""The programs of networks that draw, read sequences and adapt, in bfloat16 and, where it differs, in training.

Their numbers are compared in float32 with their authors' code, with formulas, and with parameters that follow a rule
(tests/wiring.py). So that the default tier notices a type, an epsilon, an initializer, a rate or an order that changed,
a digest of each program is kept, as in tests/models/test_programs.py. Where one fails without a change that is meant,
`python -m tests.generative.test_programs LABEL` prints what the digest is of, for a diff of two commits. After one that
is meant, and whose slow and weekly tests pass:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/generative/test_programs.py -m "slow or not slow" -n 0
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.generative import (
    autoencoder,
    dcgan,
    dit,
    flux,
    fvbn,
    image_to_image,
    mask_git,
    mmdit,
    normalizing_flow,
    pixart,
    ring,
    sagan,
    style_gan,
    style_gan2_networks,
    super_resolution,
    unet,
    vae,
    var,
    vq_model,
    vq_vae,
    vq_vae_2,
)
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import ControlNet
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.generative.wave_net import WaveNet
from dlcore.models.gpt2 import GPT2
from dlcore.sequence.networks import CharRNN
from dlcore.sequence.patterns import PatternNet
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder
from dlcore.sequence.text_classification import TextClassifier
from dlcore.transfer.domain_adaptation import AdaptationNet, BackboneAdaptationNet
from dlcore.transfer.prototypical import PrototypicalNet
from tests.models.tracing import arrays_of, assert_digest, program_of

HALF, TRAIN = {"dtype": jnp.bfloat16}, {"train": True}
TIME, LABEL = jax.ShapeDtypeStruct((2,), jnp.float32), np.array([0, 2])
MAP = jax.ShapeDtypeStruct((2, 3, 5, 4), jnp.float32)
"""What a prior of codes is given at each of its pixels."""
PIXELS, TOKENS = np.zeros((2, 3, 5, 2), np.int32), np.array([[1, 4, 5, 6], [1, 6, 6, 2]], np.int32)
UNET = {"num_res_blocks": 1, "groups": 2, **HALF}
LEVELS = {"levels": 4, "num_classes": 3, **HALF}
CNN = PixelCNN(colors=2, features=4, num_layers=1, first_kernel=5, head_features=6, dropout=0.2, **LEVELS)
EMBEDDED = PixelCNN(4, 2, features=4, num_layers=1, first_kernel=3, head_features=6, embedding_dim=3, **HALF)
RNN = PixelRNN(colors=2, features=4, num_layers=1, first_kernel=5, head_features=6, **LEVELS)
WAVES = WaveNet(features=4, skip_features=6, num_layers=2, cycle=2, **LEVELS)


class Stages(nn.Module):
    """A backbone of one stage."""

    @nn.nowrap
    def features(self, x, train):
        return {"last": x}


def place():
    """A pixel's row, column and color."""
    return jnp.int32(1), jnp.int32(2), jnp.int32(1)


def steps(model, method, label=LABEL):
    """(model, inputs, options) of a pixel or a row by the states of those before it."""
    start = lambda key: model.init_with_output(key, PIXELS.shape, label, method="start")[0]  # noqa: E731
    cache = jax.eval_shape(start, jax.random.key(0))
    where = place() if method == "step" else jnp.int32(1)
    return model, [cache, PIXELS, where, label], {"method": method}


CASES = {
    "autoencoder": lambda: (autoencoder.Autoencoder((8, 12, 1), (8,), 3, nn.sigmoid, (4, 6), **HALF), [(2, 8, 12, 1)]),
    "autoencoder_kl": lambda: (AutoencoderKL((4, 8), latent_channels=3, groups=2, **HALF), [(2, 4, 6, 3)]),
    "char_rnn": lambda: (CharRNN(7, 4, 2, embedding_dim=3, **HALF), [CharRNN(7, 4, 2).start(2), TOKENS]),
    "classifier": lambda: (TextClassifier(GPT2(7, 5, 1, 2, 8, **HALF), 3, dropout=0.2, **HALF), [TOKENS], TRAIN),
    "code_transformer": lambda: (
        mask_git.CodeTransformer(5, width=8, depth=1, num_heads=2, dropout=0.2, **HALF), [np.zeros((2, 2, 3), int)],
        TRAIN,
    ),
    "conditional_unet": lambda: (
        ConditionalUNet((4, 8), attention_levels=(0,), num_heads=2, num_classes=3, size_features=2,
            resnet_time_scale_shift="scale_shift", **UNET),
        [(2, 4, 6, 3), TIME, LABEL, (2, 3, 6), None, (jax.ShapeDtypeStruct((2, 3), jnp.float32),) * 2],
    ),
    "control_net": lambda: (
        ControlNet((4,), attention_levels=(), hint_channels=(3, 5), **UNET), [(2, 2, 4, 3), TIME, (2, 4, 8, 1)]
    ),
    "dcgan": lambda: (dcgan.Generator((8, 16, 1), width=2, **HALF), [(2, 5)], TRAIN),
    "dcgan_discriminator": lambda: (dcgan.Discriminator(width=2, **HALF), [(2, 16, 8, 1)], TRAIN),
    "dit": lambda: (
        dit.DiT(8, 2, 2, num_classes=3, shared_embedding=False, ends_at_period=True, **HALF),
        [(2, 4, 6, 3), TIME, LABEL],
    ),
    "encoder_decoder": lambda: (
        RecurrentEncoderDecoder(9, 8, "additive", 3, 4, dropout_rate=0.2, **HALF), [TOKENS, TOKENS[:, :3]], TRAIN
    ),
    "flow": lambda: (normalizing_flow.NormalizingFlow((4, 8, 1), num_steps=2, width=4), [(2, 4, 8, 1)]),
    "flux": lambda: (
        flux.Flux(16, 1, 1, 2, (2, 2, 4), has_guidance=True, **HALF),
        [(2, 6, 4), TIME, (2, 3, 5), (2, 6), flux.image_positions(2, 3), None, TIME],
    ),
    "fvbn": lambda: (fvbn.FVBN(**LEVELS), [PIXELS, LABEL]),
    "fvbn_step": lambda: steps(fvbn.FVBN(**LEVELS), "step"),
    "made": lambda: (fvbn.MADE(hidden_sizes=(5, 4), **LEVELS), [PIXELS, LABEL]),
    "mmdit": lambda: (
        mmdit.MMDiT(16, 2, 2, max_grid=8, base_grid=4, norm_keys=True, **HALF), [(2, 4, 6, 4), TIME, (2, 3, 6), (2, 5)]
    ),
    "nade": lambda: (fvbn.NADE(hidden_size=5, **LEVELS), [PIXELS, LABEL]),
    "nade_step": lambda: steps(fvbn.NADE(hidden_size=5, **LEVELS), "step"),
    "one_to_one": lambda: (PatternNet(3, 0, False, 4, 4, **HALF), [(2, 1, 3)], {"pattern": "one_to_one"}),
    "one_hot_rnn": lambda: (CharRNN(7, 4, cell="rnn", **HALF), [CharRNN(7, 4, cell="rnn").start(2), TOKENS]),
    "one_vector": lambda: (RecurrentEncoderDecoder(9, None, "none", 3, 4, **HALF), [TOKENS, TOKENS[:, :3]]),
    "one_to_many": lambda: (
        PatternNet(3, 5, True, 4, 4, feedback="zeros", **HALF), [TOKENS[:, :1]], {"pattern": "one_to_many"}
    ),
    "many_to_one": lambda: (
        PatternNet(3, 0, False, 4, 4, bidirectional=True, learned_carry=True, **HALF),
        [(2, 5, 3), np.array([5, 2])], {"pattern": "many_to_one"},
    ),
    "delayed": lambda: (
        PatternNet(3, 0, True, 4, 4, num_layers=2, **HALF), [(2, 5, 3), np.array([5, 2])],
        {"pattern": "many_to_many_delayed"},
    ),
    "patches": lambda: (image_to_image.PatchDiscriminator(1, 4, **HALF), [(2, 16, 32, 3)]),
    "pix2pix": lambda: (image_to_image.UNetGenerator(2, 1, 5, **HALF), [(2, 32, 64, 1)]),
    "pixart": lambda: (
        pixart.PixArt(16, 1, 2, base_grid=4, position_scale=2.0, **HALF), [(2, 4, 6, 4), TIME, (2, 3, 6)]
    ),
    "pixel_cnn": lambda: (CNN, [PIXELS, LABEL], TRAIN),
    "pixel_cnn_embedded": lambda: (EMBEDDED, [PIXELS]),
    "pixel_cnn_map_row": lambda: steps(EMBEDDED, "row", MAP),
    "pixel_cnn_map_step": lambda: steps(EMBEDDED, "step", MAP),
    "pixel_cnn_row": lambda: steps(CNN, "row"),
    "pixel_cnn_step": lambda: steps(CNN, "step"),
    "pixel_rnn": lambda: (RNN, [PIXELS, LABEL]),
    "pixel_rnn_row": lambda: steps(RNN, "row"),
    "pixel_rnn_step": lambda: steps(RNN, "step"),
    "prototypes": lambda: (PrototypicalNet(4, 2, **HALF), [(2, 6, 8, 1), (2, 3)], TRAIN),
    "residual": lambda: (image_to_image.ResidualGenerator(2, 2, 1, 1, **HALF), [(2, 4, 8, 1)]),
    "ring": lambda: (ring.PointGenerator(4, 2), [(3, 5)], TRAIN),
    "ring_discriminator": lambda: (ring.PointDiscriminator(4, 2), [(3, 2)], TRAIN),
    "sagan": lambda: (
        sagan.Generator((8, 16, 3), 3, 2, class_embedding=5, split_latent=True, **HALF), [(2, 12), LABEL], TRAIN
    ),
    "sagan_by_class": lambda: (
        sagan.Generator((4, 6, 1), 3, 2, attention=False, spectral_norm=False, **HALF), [(2, 5), LABEL], TRAIN
    ),
    "sagan_discriminator": lambda: (sagan.Discriminator(3, 2, **HALF), [(2, 8, 16, 3), LABEL], TRAIN),
    "sagan_without_classes": lambda: (sagan.Generator((8, 6, 1), width=2, attention=False, **HALF), [(2, 3)]),
    "sagan_judge_of_all": lambda: (sagan.Discriminator(width=2, attention=False, **HALF), [(2, 8, 6, 1)]),
    "scales": lambda: (
        var.ScaleTransformer(5, (1, 2), 8, 1, 2, dropout=0.2, **HALF),
        [[np.ones((2, 1, 1, 4), np.float32), np.ones((2, 2, 2, 4), np.float32)]], TRAIN,
    ),
    "srresnet": lambda: (super_resolution.SRResNet(4, 2, 1, **HALF), [(1, 2, 3, 3)]),
    "style_gan": lambda: (style_gan.Generator((8, 16, 1), 2, 2, **HALF), [(2, 3 + 320)], TRAIN),
    "style_gan2": lambda: (style_gan2_networks.Generator((8, 16, 1), 2, 2, **HALF), [(2, 3 + 288)], TRAIN),
    "style_gan2_discriminator": lambda: (style_gan2_networks.Discriminator(2, 2, **HALF), [(4, 8, 16, 3)], TRAIN),
    "top_condition": lambda: (vq_vae_2.TopCondition(5, 4, **HALF), [np.zeros((2, 2, 3), int)]),
    "unet": lambda: (unet.UNet(4, (1, 2), patch_size=2, **HALF), [(2, 4, 8, 3), TIME]),
    "vae": lambda: (vae.VAE((8, 12, 1), (8,), 3, "gaussian", (4, 6), **HALF), [(2, 8, 12, 1)]),
    "vae_dense": lambda: (vae.VAE((2, 3, 1), (8,), 3, **HALF), [(2, 2, 3, 1)]),
    "vq_model": lambda: (vq_model.VQModel((4, 6, 3), (4, 8), embedding_dim=3, groups=2, **HALF), [(2, 4, 6, 3)]),
    "vq_vae": lambda: (vq_vae.VQVAE((8, 12, 2), 4, 3, 1, 1, **HALF), [(2, 8, 12, 2)]),
    "vq_vae_2": lambda: (vq_vae_2.VQVAE2((8, 12, 2), 4, 3, 1, 1, **HALF), [(2, 8, 12, 2)]),
    "wave_net": lambda: (WAVES, [PIXELS, LABEL]),
    "wave_net_step": lambda: steps(WAVES, "step"),
    "adaptation": lambda: (AdaptationNet(3, (2, 4), 5, **HALF), [(2, 4, 8, 3)]),
    "backbone_adaptation": lambda: (BackboneAdaptationNet(Stages(), 3, 5, **HALF), [(2, 4, 8, 3)]),
}  # fmt: skip


def program(label):
    """The program of a network as text, and the names and shapes of its variables."""
    network, inputs, *options = CASES[label]()
    text, variables = program_of(network, *arrays_of(inputs), **(options[0] if options else {}))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    names = [f"{jax.tree_util.keystr(path, simple=True, separator='/')}: {leaf.shape}" for path, leaf in leaves]
    return "\n".join([text, *names])


@pytest.mark.slow(only=["sagan_judge_of_all", "vq_model"])
@pytest.mark.parametrize("label", CASES)
def test_the_program_has_the_digest_of_the_one_whose_numbers_were_compared(label):
    assert_digest("generative_programs.json", label, program(label))


if __name__ == "__main__":
    print(*map(program, sys.argv[1:]), sep="\n")
