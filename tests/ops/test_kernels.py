"""What weight decay falls on, in every model: kernels and tables of words; no bias, scale, token, query, position or
segment.

Image classifiers are read from their manifests, and the other networks traced for their shapes, so that nothing is
computed. A parameter of a new name fails here until it is on one of the two lists.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct as Shape

from dlcore.detection.detr import DETR
from dlcore.generative import fvbn, sagan, style_gan
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.dit import DiT
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.generative.unet import UNet as DiffusionUNet
from dlcore.models import create_model
from dlcore.models.bart import BART
from dlcore.models.bert import BERT
from dlcore.models.clip import CLIP, SigLIP
from dlcore.models.gpt2 import GPT2
from dlcore.models.llama import Llama
from dlcore.models.mae import MAE, VideoMAE
from dlcore.models.t5 import T5
from dlcore.models.vision_encoder_decoder import VisionEncoderDecoder
from dlcore.nn import ConditionalInstanceNorm, LocallyConnected
from dlcore.nn.spatial_attention import LocalAttention
from dlcore.nn.transformer_xl import TransformerXL
from dlcore.ops import is_kernel
from dlcore.rl import networks as rl_networks
from dlcore.rl.model_based import Dynamics
from dlcore.segmentation.unet import UNet as SegmentationUNet
from dlcore.self_supervised.networks import DINONet
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from dlcore.vision_language.video_caption import VideoCaptioner

MANIFESTS = Path(__file__).parents[1] / "goldens" / "manifests"

TOKENS, IMAGES, LATENTS = Shape((2, 4), jnp.int32), Shape((2, 8, 8, 3), jnp.float32), Shape((2, 8), jnp.float32)
CLIPS_5D = Shape((2, 4, 8, 8, 3), jnp.float32)
LABELS, GRID = Shape((2,), jnp.int32), Shape((2, 4, 4, 1), jnp.int32)

SMALL = {"width": 8, "num_heads": 2}
VISION = {"image_size": 8, "patch_size": 4}
CLIPS = VISION | {
    "vision_depth": 1,
    "vision_width": 8,
    "vision_heads": 2,
    "text_depth": 1,
    "text_width": 8,
    "text_heads": 2,
}
SEQ2SEQ = SMALL | {"vocab_size": 9, "encoder_layers": 1, "decoder_layers": 1, "mlp_features": 8}

NETWORKS = {
    "gpt2": (lambda: GPT2(9, 4, 1, 2, 8), (TOKENS,)),
    "llama": (lambda: Llama(9, 4, 1, 2, 2, 8, 8), (TOKENS,)),
    "bert": (lambda: BERT(9, 4, 1, 2, 8, 8), (TOKENS,)),
    "bart": (lambda: BART(**SEQ2SEQ, window=4, head_bias=True), (TOKENS, TOKENS)),
    "t5": (lambda: T5(**SEQ2SEQ, head_features=4), (TOKENS, TOKENS)),
    "transformer_xl": (lambda: TransformerXL(9, 1, 2, 8, 0), (TransformerXL(9, 1, 2, 8, 0).start(2), TOKENS)),
    "vit_gpt2": (lambda: VisionEncoderDecoder(**SEQ2SEQ, **VISION, window=4), (IMAGES, TOKENS)),
    "captions": (
        lambda: CaptionTransformer(create_model("resnet8_cifar"), 9, 8, 8, 2),
        (Shape((2, 32, 32, 3), jnp.float32), TOKENS),
    ),
    "clip": (lambda: CLIP(9, 8, window=4, embedding_size=4, **CLIPS), (IMAGES, TOKENS)),
    "siglip": (lambda: SigLIP(9, 8, window=4, **CLIPS), (IMAGES, TOKENS)),
    "mae": (lambda: MAE(3, 4, 1, 8, 2, 8, 1, 8, 2, 8), (IMAGES, Shape((2, 4), jnp.float32))),
    "detr": (lambda: DETR(create_model("resnet8_cifar"), 3, "stage3", 5, 8, 2, 8, 1, 1), (IMAGES,)),
    "dit": (lambda: DiT(8, 1, 2, num_classes=3), (IMAGES, LABELS, LABELS)),
    "fvbn": (lambda: fvbn.FVBN(2, 3), (GRID, LABELS)),
    "nade": (lambda: fvbn.NADE(2, 3, 8), (GRID, LABELS)),
    "made": (lambda: fvbn.MADE(2, 3, (8,)), (GRID, LABELS)),
    "sagan": (lambda: sagan.Generator((8, 8, 3), 3, 4), (LATENTS, LABELS)),
    "stylegan": (lambda: style_gan.Generator((8, 8, 3), 4), (Shape((2, 200), jnp.float32),)),
    "dynamics": (lambda: Dynamics(3, 4, 2), (Shape((2, 4, 8), jnp.float32),)),
    "styles": (lambda: ConditionalInstanceNorm(3), (IMAGES, LABELS)),
    "locally_connected": (lambda: LocallyConnected(4, (3, 3)), (IMAGES,)),
    "local_attention": (lambda: LocalAttention(1), (IMAGES,)),
    "dino": (lambda: DINONet(create_model("resnet8_cifar"), 8, 8, 4), (IMAGES,)),
    "pixel_cnn": (
        lambda: PixelCNN(2, 1, num_classes=3, features=4, num_layers=1, head_features=4, embedding_dim=2),
        (GRID, LABELS),
    ),
    "pixel_rnn": (lambda: PixelRNN(2, 1, 3, features=4, num_layers=1, head_features=4), (GRID, LABELS)),
    "diffusion_unet": (lambda: DiffusionUNet(8), (IMAGES, LABELS)),
    "conditional_unet": (
        lambda: ConditionalUNet((8, 8), num_classes=3),
        (IMAGES, LABELS, LABELS, Shape((2, 3, 8), jnp.float32)),
    ),
    "segmentation_unet": (lambda: SegmentationUNet(3, (4, 8)), (IMAGES,)),
    "ppo": (lambda: rl_networks.ActorCritic(2, 4), (Shape((2, 3), jnp.float32),)),
    "continuous_ppo": (lambda: rl_networks.GaussianActorCritic(2, 4), (Shape((2, 3), jnp.float32),)),
    "recurrent_ppo": (
        lambda: rl_networks.RecurrentActorCritic(2, 0, 4),
        ((Shape((2, 4), jnp.float32),) * 2, Shape((2, 3), jnp.float32)),
    ),
    "sac": (lambda: rl_networks.SquashedActor(2, 4), (Shape((2, 3), jnp.float32),)),
    "twin_critic": (lambda: rl_networks.TwinCritic(1, 4), (Shape((2, 3), jnp.float32),) * 2),
    "dqn": (lambda: rl_networks.QNetwork(2, 4), (Shape((2, 4, 4, 1), jnp.float32),)),
    "caption_rnn": (
        lambda: CaptionRNN(create_model("resnet8_cifar"), 9, "lstm", "initial", 4, 4, 2, 4),
        (Shape((2, 32, 32, 3), jnp.float32), TOKENS),
    ),
    "show_attend_tell": (
        lambda: ShowAttendTell(create_model("resnet8_cifar"), 9, 1.0, 4, 4, 4, 4),
        (Shape((2, 32, 32, 3), jnp.float32), TOKENS),
    ),
    "video_captions": (lambda: VideoCaptioner(9, (8, 8, 8), (2, 2, 1), 4, 4), (CLIPS_5D, TOKENS)),
    "video_mae": (lambda: VideoMAE(3, 4, 1, 8, 2, 8, 1, 8, 2, 8), (CLIPS_5D, Shape((2, 8), jnp.float32))),
}

LARGER = [
    "captions",
    "conditional_unet",
    "detr",
    "diffusion_unet",
    "pixel_rnn",
    "sagan",
    "show_attend_tell",
    "vit_gpt2",
]
"""Networks of the slow tier: they take longer."""

KEPT = {
    "gpt2": {"wpe/embedding"},
    "llama": set(),
    "bert": {"position_embeddings/embedding", "token_type_embeddings/embedding"},
    "bart": {"decoder_positions/embedding", "encoder_positions/embedding"},
    "t5": {"decoder_bias/embedding", "encoder_bias/embedding"},
    "transformer_xl": {"attn_0/content_bias", "attn_0/position_bias"},
    "vit_gpt2": {"encoder/cls_token", "encoder/pos_embed/embedding", "wpe/embedding"},
    "captions": {"place/embedding", "position/embedding"},
    "clip": {"class_token", "text_positions/embedding", "vision_positions/embedding"},
    "siglip": {"probe", "text_positions/embedding", "vision_positions/embedding"},
    "mae": {"cls_token", "mask_token"},
    "detr": {"query_positions"},
    "dit": set(),
    "fvbn": {"bias"},
    "nade": {"bias", "hidden_bias"},
    "made": set(),
    "sagan": {f"up1_norm{i}/{name}" for i in (0, 1) for name in ("bias", "scale")},
    "stylegan": {"synthesis/constant"},
    "dynamics": {"bias0", "bias1", "bias2"},
    "styles": {"bias", "scale"},
    "locally_connected": {"bias"},
    "local_attention": {"relative_position_bias"},
    "video_mae": {"mask_token"},
    "diffusion_unet": {f"middle_attention/attention/{name}/bias" for name in ("key", "query", "value")},
}
"""Parameters of several axes that do not decay; of the networks that are not here, none but the biases of copies."""

WORDS = {
    "class_embedding",
    "embed",
    "embed_tokens",
    "embedding",
    "label",
    "shared",
    "token_embed",
    "word_embeddings",
    "wte",
}
"""Tables of words, classes and levels, which decay as kernels do."""
OTHERS = {"classes", "decoder", "encoder", "prototypes"}
"""Further last words of parameters that decay: of DiT's classes, NADE's kernels, and DINO's prototypes."""


def split(leaves):
    """({path of a parameter of several axes that decays}, {path of one that does not})."""
    decays, stays = set(), set()
    for path, leaf in leaves:
        if leaf.ndim > 1:
            (decays if is_kernel(path, leaf) else stays).add("/".join(part.key for part in path))
    return decays, stays


def named_kernel(path):
    *parents, last = path.split("/")
    table = last == "embedding" and bool(parents) and parents[-1] in WORDS | OTHERS
    return last.split("_")[-1].rstrip("0123456789") in {"kernel"} or last in OTHERS or table


@pytest.mark.slow(only=LARGER)
@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_of_networks_decay_and_other_parameters_do_not(name):
    build, inputs = NETWORKS[name]
    params = jax.eval_shape(build().init, jax.random.key(0), *inputs)["params"]
    decays, stays = split(jax.tree_util.tree_leaves_with_path(params))
    copies = {path for path in stays if path.startswith("networks/") and path.endswith("/bias")}  # of TwinCritic
    assert stays - copies == KEPT.get(name, set())
    assert not [path for path in decays if not named_kernel(path)]


def test_only_kernels_of_image_classifiers_decay():
    """By the manifests, whose lines are "params/stem/kernel": "float32[3,3,3,16]"."""
    left, number = set(), 0
    for file in MANIFESTS.glob("*.json"):
        if file.name != "digests.json":
            entries = {path: text for path, text in json.loads(file.read_text()).items() if path.startswith("params/")}
            leaves = [
                (tuple(map(jax.tree_util.DictKey, path.split("/")[1:])), np.empty((0,) * (1 + text.count(","))))
                for path, text in entries.items()
            ]
            decays, stays = split(leaves)
            assert all(path.split("/")[-1] == "kernel" for path in decays), file.name
            left |= {re.sub(r".*(?=bias_table|logit_scale|rel_pos)", "", re.sub(r"_\d+", "", path)) for path in stays}
            number += 1
    assert number > 40
    tables = {"pos_embed/embedding", "bias_table/embedding", "rel_pos/rows", "rel_pos/columns"}
    tables |= {"rel_pos_table/embedding", "stages_blocks_attn/attention_biases"}
    tables |= {"stages_downsample_attn_downsample/attention_biases"}  # of LeViT
    affine = {f"{norm}/{name}" for norm in ("norm", "blocks/norm1", "blocks/norm2") for name in ("alpha", "beta")}
    tokens = {"cls_token", "register_tokens", "stages_cls_token", "class_pos_emb"}  # of CvT and MLCD
    tokens |= {f"patch_embeddings_{name}" for name in ("cls_token", "position_embeddings")}  # of PVT
    assert left == tables | affine | tokens | {"logit_scale", "blocks/attn/temperature"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Dense_0/kernel", True),
        ("position_2/kernel", True),
        ("query/kernel", True),
        ("token/embedding", True),
        ("words/embedding", True),
        ("debias/weight", True),
        ("mixed_bias_weight", True),
        ("hidden0_bias", False),
        ("bias0", False),
        ("bias_table/embedding", False),
        ("content_bias/embedding", False),
        ("norm/scale", False),
        ("cls_token", False),
        ("tokens_2", False),
        ("probe", False),
        ("queries", False),
        ("input/constant", False),
        ("wpe/embedding", False),
        ("text_positions/embedding", False),
        ("pos_embed0/embedding", False),
        ("token_type_embeddings/embedding", False),
        ("segment/table", False),
        ("place/table", False),
        ("2", True),
        ("", True),
    ],
)
def test_names_of_matrices_say_whether_they_are_kernels(path, expected):
    keys = tuple(jax.tree_util.DictKey(name) for name in path.split("/") if name)
    assert is_kernel(keys, np.zeros((2, 3))) is expected
    assert is_kernel((jax.tree_util.SequenceKey(4), *keys), np.zeros((2, 3, 4))) is expected
    assert not is_kernel(keys, np.zeros(3))
