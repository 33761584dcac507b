"""Networks start from the spreads that their papers name, and where a branch must not count at first, from zeros."""

import numpy as np
import pytest

from dlcore.generative import (
    conditional_unet,
    control_net,
    dcgan,
    dit,
    fvbn,
    image_to_image,
    mask_git,
    mmdit,
    pixart,
    pixel_cnn,
    pixel_rnn,
    sagan,
    style_gan,
    style_gan2_networks,
    super_resolution,
    text_to_image,
    unet,
    var,
    wave_net,
)
from dlcore.sequence.networks import CharRNN
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder
from dlcore.video.raft_network import RAFT
from dlcore.vision3d.mesh_rcnn import MeshRCNN
from dlcore.vision3d.pixel2mesh import Pixel2Mesh
from dlcore.vision3d.pointnet import PointNet
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.networks import PairLayer, SentenceEncoder
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from tests.starting_weights import EMBEDDING, HE, HE_OUT, XAVIER, assert_starting_spreads
from tests.vision3d.test_pixel2mesh import TINY
from tests.vision_language.test_caption_rnn import Patches

IMAGE, LABEL, TIME = (2, 8, 8, 3), np.array([0, 2]), np.array([3.0, 700.0], np.float32)
PIXELS, TOKENS = np.zeros((2, 4, 4, 1), np.int32), np.array([[1, 4, 5, 6], [1, 6, 6, 2]], np.int32)
CUT = 0.02 * 0.8796
"""Deviation of N(0, .02^2) without what is farther than two deviations."""
PERCEPTRONS = {"(ff|ff_context)/fc": XAVIER}

CASES = {
    "dit": (
        dit.DiT(width=8, depth=1, num_heads=2, num_classes=3), IMAGE, TIME, LABEL,
        {"modulation/kernel|proj_out": 0, "conditioning/.*(kernel|embedding)": 0.02, "kernel": XAVIER},
    ),
    "unet": (
        unet.UNet(width=8, channel_multipliers=(1,), patch_size=2), IMAGE, TIME,
        {"conv2/kernel|out/kernel|head/kernel": 0, "attention/(query|key|value)/kernel": None},
    ),
    "conditional_unet": (
        conditional_unet.ConditionalUNet((4,), num_res_blocks=1, attention_levels=(0,), groups=2, num_heads=2),
        (1, 4, 2, 3), np.array([700.0]), (1, 4, 6),
        {"conv2/kernel|attention/to_out_0/kernel|conv_out/kernel": 0},
    ),
    "control_net": (
        control_net.ControlNet((4,), num_res_blocks=1, attention_levels=(), groups=2, hint_channels=(4, 4)),
        (1, 4, 2, 3), np.array([700.0]), (1, 8, 4, 1),
        {"controlnet_(down|mid).*kernel|(conv_out|conv2|to_out_0)/kernel": 0},
    ),
    "words": (
        text_to_image.WordEncoder(9, width=8, depth=1, num_heads=2), TOKENS,
        {"embed/": 1, "(attn|mlp).*kernel": XAVIER},
    ),
    "pixart": (
        pixart.PixArt(width=16, depth=1, num_heads=2), (2, 8, 8, 4), TIME, (2, 3, 6),
        {"scale_shift_table": EMBEDDING, "attn2/to_out_0/kernel|proj_out/kernel": 0, "ff/.*kernel": XAVIER},
    ),
    "mmdit": (
        mmdit.MMDiT(width=16, depth=1, num_heads=2, max_grid=12, base_grid=4),
        (1, 8, 8, 4), TIME[:1], (1, 3, 6), (1, 5),
        {"linear/kernel|proj_out/kernel": 0, "ff.*kernel": XAVIER},
    ),
    "scales": (
        var.ScaleTransformer(5, (1, 2), width=8, depth=1, num_heads=2),
        [np.ones((2, 1, 1, 4), np.float32), np.ones((2, 2, 2, 4), np.float32)],
        {"logits/kernel": 0, "start|position|kernel": CUT},
    ),
    "codes": (
        mask_git.CodeTransformer(5, width=8, depth=1, num_heads=2), np.zeros((2, 3, 3), np.int32),
        {"logits/kernel": 0, "position": 0.02, "embedding|kernel": CUT},
    ),
    "dcgan": (dcgan.Generator((8, 8, 3), width=4), (2, 6), {"kernel": 0.02}),
    "dcgan_discriminator": (dcgan.Discriminator(width=4), IMAGE, {"kernel": 0.02}),
    "sagan": (
        sagan.Generator((8, 8, 3), 3, width=4, class_embedding=5, split_latent=True), (2, 12), LABEL,
        {"classes/embedding": 1, "(stem|up1_.*|head)/kernel": XAVIER},
    ),
    "sagan_discriminator": (
        sagan.Discriminator(3, width=4), IMAGE, LABEL,
        {"classes/embedding|(down._.*|head)/kernel|^embedding": XAVIER},
    ),
    "style_gan": (style_gan.Generator((8, 8, 3), width=4), (2, 200), {"constant": None}),
    "style_gan2": (
        style_gan2_networks.Generator((8, 8, 1), width=2, mapping_depth=1), (2, 200),
        {"mapping/kernel": 100, "constant": 1, "affine/bias": None},
    ),
    "pix2pix": (image_to_image.UNetGenerator(1, width=2, depth=2), IMAGE, {"kernel": 0.02}),
    "pix2pix_without_norm": (image_to_image.UNetGenerator(1, width=2, depth=2, norm=False), IMAGE, {}),
    "cycle_gan": (image_to_image.ResidualGenerator(1, width=2, depth=1, num_blocks=1), IMAGE, {"kernel": 0.02}),
    "patches": (image_to_image.PatchDiscriminator(width=2, depth=2), IMAGE, {"kernel": 0.02}),
    "srresnet": (super_resolution.SRResNet(width=2, num_blocks=1), IMAGE, {"head/kernel": 1e-3}),
    "pixel_cnn": (
        pixel_cnn.PixelCNN(4, 1, 3, features=4, num_layers=1, first_kernel=5, head_features=6), PIXELS, LABEL,
        {"label/embedding": EMBEDDING, "logits.*kernel": 0},
    ),
    "pixel_rnn": (
        pixel_rnn.PixelRNN(4, 1, 3, features=4, num_layers=1, first_kernel=5, head_features=6), PIXELS, LABEL,
        {"label/embedding": EMBEDDING, "logits.*kernel": 0},
    ),
    "wave_net": (wave_net.WaveNet(4), TOKENS % 4, {"embedding": EMBEDDING, "logits/kernel": 0}),
    "fvbn": (fvbn.FVBN(2), PIXELS, {"kernel": 0}),
    "nade": (fvbn.NADE(2), PIXELS, {"encoder": 32**-0.5, "decoder": 0}),
    "made": (fvbn.MADE(2), PIXELS, {"hidden._kernel": HE, "(output|direct)_kernel": 0}),
    "pointnet": (PointNet(4), (2, 8, 3), False, {"matrix/kernel": 0}),
    "raft": (RAFT(num_updates=1), (1, 64, 64, 3), (1, 64, 64, 3), {"(feature|context)_encoder/.*kernel": HE_OUT}),
    "mesh_rcnn": (MeshRCNN(1, widths=(4, 4), features=4, blocks=0), (1, 16, 16, 3), {"move./kernel": 0}),
    "pixel2mesh": (Pixel2Mesh(**TINY), (1, 16, 16, 3), {"move./kernel": 0}),
    "char_rnn": (
        CharRNN(7, 4, cell="rnn"), CharRNN(7, 4, cell="rnn").start(2), TOKENS,
        {"head/kernel": 0, "input_kernel": 1, "hidden": None},
    ),
    "char_rnn_of_embeddings": (
        CharRNN(7, 4, cell="rnn", embedding_dim=3), CharRNN(7, 4, cell="rnn").start(2), TOKENS,
        {"head/kernel": 0, "embed/": 1, "hidden": None},
    ),
    "encoder_decoder": (
        RecurrentEncoderDecoder(7, 5, "additive", 3, 4), TOKENS % 5, TOKENS,
        {"embed": 0.5, "attend": XAVIER, "readout/kernel": 0, "hidden": None},
    ),
    "caption_rnn": (
        CaptionRNN(Patches(), 7, "rnn", hidden_size=4), (2, 4, 4, 3), TOKENS,
        {"embed": 1, "hidden": None},
    ),
    "caption_transformer": (
        CaptionTransformer(Patches(), 7, width=8, num_heads=2, decoder_layers=1), (2, 4, 4, 3), TOKENS,
        {"embed|position": 0.02, "(attn|mlp).*kernel": XAVIER},
    ),
    "show_attend_tell": (
        ShowAttendTell(Patches(), 7), (2, 4, 4, 3), TOKENS, {"embed": 1, "attend.*kernel": XAVIER, "hidden": None},
    ),
    "sentences": (SentenceEncoder(7), TOKENS, {"embed": 1, "hidden": None}),
    "pairs": (PairLayer(7), (2, 4, 3), (2, 5), {}),
}  # fmt: skip
SLOW = [
    "raft",
    "mesh_rcnn",
    "pixel2mesh",
    "unet",
    "conditional_unet",
    "sagan",
    "sagan_discriminator",
    "dit",
    "control_net",
    "pixart",
    # tests/generative/test_programs.py has the initializers of these.
    "mmdit",
    "scales",
    "codes",
    "style_gan",
    "style_gan2",
    "pix2pix",
    "cycle_gan",
    "patches",
    "srresnet",
    "pixel_cnn",
    "pixel_rnn",
    "wave_net",
    "encoder_decoder",
]


@pytest.mark.slow(only=SLOW)
@pytest.mark.parametrize("name", CASES)
def test_a_network_starts_from_the_spreads_of_its_paper(name):
    assert_starting_spreads(*CASES[name])
