import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.inputs import check_clips, check_images


class Reader(nn.Module):
    """A network of images of 4 to 8 pixels, or of clips of at least 3 frames of 4 x 4, that only checks them."""

    clips: bool = False

    def __call__(self, x):
        if self.clips:
            return check_clips(self, x, "stem/conv", (3, 4))
        return check_images(self, x, "stem/conv", 4, 8)


@pytest.mark.parametrize(
    ("clips", "fitting", "wrong"),
    [
        (
            False,
            [(2, 4, 8, 5), (1, 8, 4, 5)],
            {
                (4, 8, 5): r"x.shape=\(4, 8, 5\): Reader takes images; allowed: \[B, H, W, C\]",
                (2, 3, 8, 5): "images of 3x8 do not fit Reader; allowed: 4x4 to 8x8 pixels",
                (2, 4, 3, 5): "images of 4x3 do not fit Reader",
                (2, 9, 4, 5): "images of 9x4 do not fit Reader",
                (2, 4, 9, 5): "images of 4x9 do not fit Reader",
                (2, 4, 8, 3): "3 channels do not fit; allowed: 5 channels",
            },
        ),
        (
            True,
            [(1, 3, 4, 9, 5), (2, 4, 9, 4, 5)],
            {
                (3, 4, 9, 5): r"x.shape=\(3, 4, 9, 5\): no clips; allowed: \[B, T, H, W, C\]",
                (7, 2, 4, 9, 5): "clips too small; allowed: at least 3 frames of 4x4",
                (7, 3, 3, 9, 5): "clips too small",
                (7, 3, 4, 3, 5): "clips too small",
                (2, 3, 4, 9, 3): "3 channels do not fit; allowed: 5 channels",
            },
        ),
    ],
)
def test_a_shape_that_a_network_cannot_read_is_named(clips, fitting, wrong):
    """The kernel of the first convolution reads 5 channels and gives 6; without parameters any number is read."""
    built = {"params": {"stem": {"conv": {"kernel": np.zeros((1, 1, 5, 6))}}}}
    read = Reader(clips).apply
    for shape in fitting:
        read(built, np.zeros(shape))
    for shape, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            read(built, np.zeros(shape))
    read({}, np.zeros((*fitting[0][:-1], 3)))
    read({"params": {"stem": {}}}, np.zeros((*fitting[0][:-1], 3)))


SMALLEST = {
    1: "efficientnet_b0 fastvit_t8 maxvit_t mnasnet0_5 mobilenetv1_100 mobilenet_v2 mobilenet_v3_large "
    "mobilenetv4_conv_small mobilevit_s nf_resnet50 pvt_v2_b0 regnet_x_400mf repvgg_a0 resnet18 resnetv2_50 "
    "shufflenet_v2_x0_5 xception41",
    4: "densenet100_cifar resnet8_cifar swin_t small_cnn",
    7: "legacy_xception",
    8: "lenet5 nin_cifar",
    9: "all_cnn_c",
    14: "dinov2_small",
    16: "mixer_s16_224 vit_b_16 vitdet_b",
    25: "squeezenet1_1",
    29: "densenet121 squeezenet1_0",
    31: "googlenet",
    32: "hiera_tiny_224 convnext_tiny vgg11",
    53: "zfnet",
    63: "alexnet",
    67: "alexnet_two_tower",
    75: "inception_v3",
}
"""{least side in pixels: networks}."""


@pytest.mark.parametrize(("side", "name"), [(side, name) for side, names in SMALLEST.items() for name in names.split()])
def test_an_image_that_is_too_low_for_a_network_is_named(side, name):
    model = create_model(name)
    problem = rf"images of {side - 1}x{side} do not fit \w+; allowed: (at least )?{side}x{side}( to 32x32)? pixels"
    with pytest.raises(ValueError, match=problem):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, side - 1, side, 3), float))
    if name.startswith(("alexnet", "squeezenet")):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, side, side, 3), float))


VIT = {"image_size": 4, "patch_size": 2, "depth": 1, "width": 8, "num_heads": 2, "mlp_features": 12, "num_classes": 3}
PAIR = {"image_size": 4, "patch_size": 2, "window": 5, "embedding_size": 6} | {
    f"{part}_{what}": size for part in ("vision", "text") for what, size in (("depth", 1), ("width", 8), ("heads", 2))
}
MAE = {"patch_size": 2, "depth": 1, "width": 8, "num_heads": 2, "mlp_features": 12, "decoder_depth": 1}
MAE |= {"decoder_width": 8, "decoder_heads": 1, "decoder_features": 10}
IMAGE, TOKENS = (1, 4, 4, 3), (1, 5)


@pytest.mark.parametrize(
    ("name", "fields", "shapes", "message"),
    [
        ("clip_vit_b_32", PAIR, [(1, 4, 5, 3), TOKENS], r"images.shape=.*: patches do not cover it; allowed: "),
        ("clip_vit_b_32", PAIR, [(4, 4, 3), TOKENS], r"images.shape=\(4, 4, 3\): patches do not cover"),
        (
            "clip_vit_b_32",
            PAIR | {"image_size": 5},
            [IMAGE, TOKENS],
            "patch_size=2: no divisor; allowed: of image_size=5",
        ),
        ("mae_vit_b_16", MAE, [(2, 4, 6, 3), (2, 5)], r"noise.shape=\(2, 5\): allowed: \(2, 6\), a number for each"),
        ("mae_vit_b_16", MAE, [(2, 4, 6, 3), (1, 6)], r"noise.shape=\(1, 6\): allowed: \(2, 6\), a number for each"),
        ("mae_vit_b_16", MAE | {"table_size": 4}, [(2, 4, 6, 3), (2, 6)], r"x: images of \(4, 6\); allowed: sides of "),
        ("videomae_vit_b_16", MAE, [(1, 3, 4, 4, 3), (1, 4)], r"do not cover the clip; .* multiples of \(2, 2, 2\)"),
        ("videomae_vit_b_16", MAE, [(1, 2, 5, 4, 3), (1, 4)], r"do not cover the clip; .* multiples of \(2, 2, 2\)"),
        ("videomae_vit_b_16", MAE, [(2, 4, 4, 3), (1, 4)], r"x.shape=\(2, 4, 4, 3\): patches do not cover the clip"),
        ("resnet18", {"groups": 2}, [(1, 32, 32, 3)], "groups=2, base_width=64: no basic block; allowed: 1, 64"),
        ("resnet18", {"base_width": 32}, [(1, 32, 32, 3)], "groups=1, base_width=32: no basic block"),
        ("mixer_s16_224", {}, [(1, 16, 24, 3)], "patches do not cover the image; allowed: multiples of 16"),
        ("alexnet", {"towers": 3}, [(1, 67, 67, 3)], "towers=3: .*allowed: 1, 2"),
        ("swin_t", {"num_heads": (3, 6)}, [IMAGE], r"num_heads=\(3, 6\): wrong length; allowed: one a stage, 4"),
        ("beit_base_patch16_224", {**VIT, "pool": "max"}, [IMAGE], "pool='max': unknown; allowed: mean, token, none"),
        ("cait_xxs24_224", {**VIT, "pool": "mean"}, [IMAGE], "pool='mean': unknown; allowed: token"),
        ("deit_tiny_patch16_224", {**VIT, "pool": "mean"}, [IMAGE], "pool='mean': .*allowed: token"),
        ("ijepa_vith14_1k", {**VIT, "pool": "token"}, [IMAGE], "pool='token': unknown; allowed: mean"),
        ("vit_b_16", {**VIT, "pool": "max"}, [IMAGE], "pool='max': unknown; allowed: token, mean"),
        ("cait_xxs24_224", {**VIT, "layer_scale": None}, [IMAGE], r"layer_scale=None: .*allowed: a number"),
        ("bart_base", {"window": 16}, [(1, 17), (1, 3)], r"encoder: 17 tokens, .*; allowed: at most window=16"),
        ("bert_base", {"window": 8}, [(1, 9)], r"tokens.shape=\(1, 9\): 9 tokens; allowed: at most window=8"),
        ("convnext_tiny", {"widths": (4, 8)}, [(1, 32, 32, 3)], r"widths=\(4, 8\): .*one for each of 4"),
        ("hiera_tiny_224", {"num_heads": (1, 2)}, [(1, 32, 32, 3)], r"num_heads=\(1, 2\): wrong length; allowed: 4"),
        ("lenet5", {"activation": "odd"}, [(1, 28, 28, 1)], "activation='odd': unknown; allowed: "),
        ("lenet5", {"pooling": "odd"}, [(1, 28, 28, 1)], "pooling='odd': unknown; allowed: "),
        ("mobilenetv1_100", {"stem": "tiny"}, [(1, 32, 32, 3)], "stem='tiny': unknown; allowed: imagenet, cifar"),
        ("mobilevit_s", {"depths": (1, 1)}, [(1, 64, 64, 3)], r"depths=\(1, 1\): wrong length; allowed: 3 numbers"),
        ("mvit_v2_s", {}, [(1, 32, 32, 3)], r"x\.shape=\(1, 32, 32, 3\): no clips; allowed: \[B, T, H, W, C\]"),
        ("swin3d_t", {"num_heads": (1,)}, [(1, 4, 16, 16, 3)], "num_heads=.*wrong length"),
        ("swin_v2_t", {"pretrained_window": (4,)}, [IMAGE], "pretrained_window=.*wrong length; allowed: one a stage"),
        ("vitdet_b", {"global_blocks": (12,)}, [IMAGE], r"global_blocks=\(12,\): no such blocks; allowed: 0 to 11"),
        ("vivit_b_16x2", {}, [(1, 8, 224, 224, 3)], r"x\.shape=\(1, 8, 224, 224, 3\): no clips of this network"),
        ("mlp", {}, [(5,)], r"x.shape=\(5,\): no batch of examples; allowed: \[B, ...\]"),
        ("beit_base_patch16_224", {**VIT, "position_features": 2}, [IMAGE], "position_features=2: out of range"),
        ("beit_base_patch16_224", {**VIT, "pool": "none"}, [IMAGE], "num_classes=3: pool='none' leaves the head"),
        ("vit_b_16", {**VIT, "image_size": 5}, [IMAGE], "image_size=5: no multiple; allowed: of patch_size=2"),
        ("vit_b_16", VIT, [(1, 5, 4, 3)], r"x.shape=\(1, 5, 4, 3\): patches do not cover the image"),
    ],
)
def test_fields_and_inputs_that_a_network_cannot_have_are_named(name, fields, shapes, message):
    floats = name in ("mlp", "mae_vit_b_16")
    inputs = [jax.ShapeDtypeStruct(shape, float if floats or len(shape) > 2 else int) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda *x: create_model(name, **fields).init(jax.random.key(0), *x), *inputs)


def test_inputs_of_another_size_than_a_network_was_built_with_are_named():
    """An MLP of 16 numbers; a Mixer of four patches."""
    mlp, mixer = create_model("mlp", hidden=(3,)), create_model("mixer_s16_224", depth=1, width=8)
    kernels = {"kernel": np.zeros((16, 3))}, {"mlp_tokens": {"fc1": {"kernel": np.zeros((4, 5))}}}
    with pytest.raises(ValueError, match=r"x.shape=\(1, 17\): examples do not fit this MLP; allowed: 16 numbers each"):
        mlp.apply({"params": {"dense1": kernels[0]}}, np.zeros((1, 17)))
    with pytest.raises(ValueError, match=r"x.shape=\(1, 32, 48, 3\): 6 patches do not fit this Mixer; allowed: 4"):
        mixer.apply({"params": {"blocks_0": kernels[1]}}, np.zeros((1, 32, 48, 3)))
    without = create_model("mlp", hidden=())
    with pytest.raises(ValueError, match="examples do not fit this MLP; allowed: 16 numbers each"):
        without.apply({"params": {"head": kernels[0]}}, np.zeros((1, 17)))


FITTING = {"lenet5": (1, 28, 28, 1), "resnet8_cifar": (1, 8, 8, 3), "mlp": (1, 4, 4, 1)}


@pytest.fixture(scope="module")
def built():
    return {
        name: (create_model(name), jax.jit(create_model(name).init)(jax.random.key(0), jnp.zeros(shape)))
        for name, shape in FITTING.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTING)
def test_images_of_allowed_shapes_pass(built, name):
    model, variables = built[name]
    chex.assert_shape(jax.eval_shape(model.apply, variables, jnp.zeros((2, *FITTING[name][1:]))), (2, 10))
