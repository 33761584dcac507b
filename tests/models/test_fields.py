"""Fields that make no network are named where it is built, and so are sizes that its helpers cannot have."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, efficientnet, feature_info, list_models
from dlcore.models.clip_resnet import ModifiedResNet
from dlcore.models.decoder_only import DecoderOnly
from dlcore.models.dinov3 import center_angles
from dlcore.models.fields import CheckedFields
from dlcore.models.googlenet import NaiveInception, auxiliary_loss
from dlcore.models.mae import visible_count
from dlcore.models.maxvit import join_sets, sets_of_pixels
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.mobilevit import fold, unfold
from dlcore.models.mvit import distance_indices
from dlcore.models.normalization import normalization
from dlcore.models.regnet import quantized_widths
from dlcore.models.repvgg import identity_kernel
from dlcore.models.resnet import SqueezeExcitation
from dlcore.models.resnet_cifar import shortcut_a
from dlcore.models.rope_vit import mixed_frequencies
from dlcore.models.shufflenet_v2 import channel_shuffle
from dlcore.models.swin import join_windows, shift_mask, windows
from dlcore.models.transformer import Transformer
from dlcore.models.vjepa2 import clip_angles
from dlcore.pretrained.packing import patch_processor_of_transformers
from dlcore.pretrained.processor import Processor, processor_of_timm, processor_of_transformers

NAN = math.nan


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("resnet18", {"stages": (0, 1)}, r"stages\[0\]=0: out of range; allowed: at least 1"),
        ("resnet18", {"stages": ()}, r"stages=\(\): empty; allowed: at least one element"),
        ("resnet18", {"stages": 2}, "stages=2: no tuple; allowed: tuples"),
        ("resnet18", {"stages": (10_001,)}, r"stages\[0\]=10001: too large; allowed: at most 10000"),
        ("resnet18", {"use_se": 1}, "use_se=1: no bool; allowed: True, False"),
        ("resnet18", {"head_init": 0.0}, "head_init=0.0: no initializer; allowed: functions"),
        ("resnet18", {"block": "basic"}, "block='basic': no layer; allowed: classes of flax"),
        ("resnet18", {"axis_name": 3}, "axis_name=3: no word; allowed: words"),
        ("vit_b_16", {"epsilon": -1.0}, "epsilon=-1.0: out of range; allowed: at least 0"),
        ("vit_b_16", {"drop_path": None}, "drop_path=None: no finite number"),
        ("vit_b_16", {"depth": 10**6}, "depth=1000000: too large; allowed: at most 10000"),
        ("vit_b_16", {"width": 2**31}, "width=2147483648: too large; allowed: at most 2147483647"),
        ("vit_b_16", {"epsilon": "x"}, "epsilon='x': no finite number; allowed: finite numbers"),
        ("vit_b_16", {"dtype": np.int32}, r"dtype=<class 'numpy.int32'>: no floats; allowed: such as jnp\.bfloat16"),
        ("vit_b_16", {"dtype": "x"}, "dtype='x': no floats"),
        ("vit_b_16", {"position_features": -1}, "position_features=-1: out of range; allowed: at least 0"),
        ("resnet18", {"num_classes": -1}, "num_classes=-1: out of range; allowed: at least 0"),
        ("resnet18", {"stages": (1, 1.5, 1, 1)}, r"stages\[1\]=1.5: no whole number; allowed: integers"),
        ("mlp", {"hidden": ("x",)}, r"hidden\[0\]='x': no whole number; allowed: integers"),
        ("mobilenet_v2", {"width_mult": 0.0}, r"width_mult=0.0: out of range; allowed: at least 0\.01"),
        ("mobilenet_v2", {"settings": ((1, 16, 1),)}, r"settings\[0\]=\(1, 16, 1\): 3 elements; allowed: 4"),
        ("mobilenet_v3_large", {"settings": ((3, 16),)}, r"settings\[0\]=\(3, 16\): no BlockSetting; allowed: BlockS"),
        (
            "efficientnet_b0",
            {"settings": (efficientnet.B0[0]._replace(layers=-1),)},
            r"settings\[0\].layers=-1: out of range; allowed: at least 1",
        ),
        ("googlenet", {"aux_dropout": 2.0}, "aux_dropout=2.0: out of range; allowed: at least 0, at most 1"),
        ("alexnet", {"widths": (64, 192)}, r"widths=\(64, 192\): 2 elements; allowed: 5"),
        ("bart_base", {"pad_token": -1}, "pad_token=-1: out of range; allowed: at least 0"),
        ("vivit_b_16x2", {"tubelet": (2, 16)}, r"tubelet=\(2, 16\): 2 elements; allowed: 3"),
        ("fcn_resnet50", {"backbone": "resnet50"}, "backbone='resnet50': no network; allowed: a Module"),
    ],
)
def test_a_field_that_makes_no_network_is_named(name, fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        create_model(name, **fields)


class Setting(NamedTuple):
    kind: str = "conv"
    rate: float = 0.5


class Checked(CheckedFields):
    names: tuple[str, ...] = ("a",)
    setting: Setting = Setting()
    hidden: tuple[int, ...] = (3,)
    anything: Any = None
    either: int | tuple[int, ...] = 1
    few: tuple[int, ...] = ()


def test_fields_of_any_network_are_checked_and_what_they_may_be_is_kept():
    for fields in (
        {"names": ["b", "c"], "few": (), "hidden": ()},
        {"anything": "x", "either": (2, 3), "setting": Setting(rate=1)},
        {"hidden": (np.int64(2),), "few": [1]},
    ):
        assert {key: getattr(Checked(**fields), key) for key in fields} == fields
    for fields, message in (
        ({"names": ("a", 3)}, r"names\[1\]=3: no word; allowed: words"),
        ({"names": ()}, r"names=\(\): empty"),
        ({"setting": ("conv", 0.5)}, r"setting=\('conv', 0.5\): no Setting; allowed: Setting\(...\)"),
        ({"setting": Setting(rate=NAN)}, "setting.rate=nan: no finite number"),
        ({"setting": Setting(kind=3)}, "setting.kind=3: no word"),
        ({"few": (0,)}, r"few\[0\]=0: out of range"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            Checked(**fields)
    rates = jax.vmap(lambda rate: Checked(setting=Setting(rate=rate)).setting.rate)(jnp.array([-1.0, NAN]))
    np.testing.assert_array_equal(rates, [-1.0, NAN])


def test_layers_and_networks_without_a_name_are_checked_too():
    for build, message in (
        (lambda: SqueezeExcitation(0), "features=0: out of range; allowed: at least 1"),
        (lambda: NaiveInception((2, -3, 4)), r"widths\[1\]=-3: out of range"),
        (lambda: Transformer(9, None, 8, 2, 12, 0, 1), "encoder_layers=0: out of range"),
        (lambda: Transformer(9.5, None, 8, 2, 12, 1, 1), "vocab_size=9.5: no whole number"),
        (lambda: create_model("resnet18").clone(width=0), "width=0: out of range"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            build()


MAP = np.zeros((1, 4, 6, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: windows(MAP, 0), "size=0: too small; allowed: at least 1"),
        (lambda: windows(MAP, 2.5), "size=2.5: no whole number"),
        (lambda: windows(MAP, 4), r"size=4: does not cover a map of sides \(4, 6\); allowed: a divisor of each side"),
        (lambda: windows(MAP[0, 0], (2, 2)), r"size=\(2, 2\): does not cover"),
        (lambda: join_windows(np.zeros((1, 6, 4, 2)), (4, -6), 2), "size=2: does not cover"),
        (lambda: join_windows(np.zeros((1, 4, 6, 2)), (4, 6), 2), r"x=float32\[1, 4, 6, 2\]: wrong shape or dtype"),
        (lambda: shift_mask((4, 6), 2, (2, 0)), r"shift=\(2, 0\): not within a window; allowed: for each axis, 0 to 1"),
        (lambda: shift_mask((4, 6), 2, (1,)), r"shift=\(1,\): not within"),
        (lambda: shift_mask((4,), (2, 2), (1,)), r"size=\(2, 2\): does not cover a map of sides \(4,\)"),
        (lambda: sets_of_pixels(MAP, 4, "grid"), "width=6: not covered by sets of 4; allowed: multiples of size=4"),
        (lambda: join_sets(np.zeros((1, 6, 4, 2)), -1, 6, 2, "grid"), "height=-1: too small; allowed: at least 1"),
        (lambda: join_sets(np.zeros((1, 6, 4, 2)), 6, 6, 2, "grid"), "x=.*: wrong shape or dtype"),
        (lambda: unfold(MAP, -2), "size=-2: too small"),
        (lambda: fold(np.zeros((1, 4, 6, 2)), 4.5, 6, 2), "height=4.5: no whole number"),
        (lambda: round_channels(NAN), "channels=nan: no count"),
        (lambda: round_channels(32, 0), "divisor=0: too small"),
        (lambda: distance_indices(0, 2), "queries=0: too small"),
        (lambda: distance_indices(2, 2.5), "keys=2.5: no whole number"),
        (lambda: clip_angles((2, 2), 14), r"grid=\(2, 2\): 2 axes; allowed: \(times, rows, columns\)"),
        (lambda: clip_angles((2, 0, 2), 14), "grid, rows=0: too small"),
        (lambda: clip_angles((2, 2, 2), 14, NAN), "period=nan: out of range; allowed: above 0"),
        (lambda: center_angles((0, 2), 4), "grid=0: too small"),
        (lambda: mixed_frequencies(jax.random.key(0), (1, 1, 1, 2)), r"shape=\(1, 1, 1, 2\): no table of frequencies"),
        (lambda: mixed_frequencies(jax.random.key(0), (2, 1, 1, 2), period=-1.0), "period=-1: out of range"),
        (lambda: identity_kernel((3, 3, 2)), r"shape=\(3, 3, 2\): no kernel; allowed: \(k, k, C / groups, C\)"),
        (lambda: identity_kernel((2, 2, 2, 4)), "shape=.*: no middle, or unequal groups; allowed: an odd k"),
        (lambda: shortcut_a(MAP, 4, 0), "stride=0: out of range"),
        (lambda: channel_shuffle(MAP, 0.5), "groups=0.5: no whole number"),
        (lambda: quantized_widths(-1, 8, 8.0, 2.0, 4), "depth=-1: too small"),
        (lambda: quantized_widths(3, 8, NAN, 2.0, 4), "width=8, slope=nan, step=2.0: no widths follow"),
        (lambda: visible_count(4, NAN), "mask_ratio=nan: out of range; allowed: 0 to 1"),
        (lambda: visible_count(4.5, 0.5), "patches=4.5: no whole number"),
        (lambda: efficientnet.compound_scale(NAN), "phi=nan: not finite"),
        (lambda: efficientnet.search_reward(0.7, 400, 0), "target=0: out of range; allowed: above 0"),
        (lambda: efficientnet.search_reward(70.0, 400, 400), "accuracy=70: out of range; allowed: 0 to 1"),
        (lambda: normalization(None), "name=None: no name; allowed: those of list_models"),
        (lambda: list_models(3), "pattern=3: no text; allowed: a shell pattern"),
        (lambda: feature_info(create_model("lenet5"), (28, 28)), r"shape=\(28, 28\): not of an image; allowed: \(H, W"),
        (lambda: feature_info(create_model("lenet5"), (28, -28, 1)), "shape=-28: too small"),
        (lambda: feature_info(nn.Dense, (28, 28, 1)), "model=type: it has no feature maps"),
        (
            lambda: auxiliary_loss(np.zeros((2, 3)), {"a": np.zeros((1, 3))}, np.zeros(2, int)),
            r"auxiliaries\['a'\]=float32\[1, 3\]: wrong shape or dtype; allowed: \[2, 3\]",
        ),
        (lambda: auxiliary_loss(np.zeros((2, 3)), {}, np.zeros(2, int), -1.0), "weight=-1: out of range"),
    ],
)
def test_sizes_that_make_no_sense_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


IMAGE, TOKENS = np.zeros((1, 28, 28, 1), np.float32), np.ones((2, 3), np.int32)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (create_model("lenet5"), (IMAGE.astype(np.uint8),), r"x=uint8\[1, 28, 28, 1\]: no floats; allowed: such"),
        (create_model("lenet5"), ([[1.0]],), "x: a list; allowed: arrays"),
        (create_model("lenet5"), (IMAGE[..., :0],), r"x.shape=\(1, 28, 28, 0\): no channels; allowed: at least 1"),
        (create_model("lenet5"), (IMAGE, "no"), "train='no': no bool; allowed: True, False"),
        (create_model("r3d_18"), (np.zeros((1, 8, 16, 16, 3), int),), "x=int.*: no floats; allowed: such as"),
        (DecoderOnly(), (TOKENS * 1.0,), r"tokens=float.*: wrong shape or dtype; allowed: int\[B, T\]"),
        (DecoderOnly(), (TOKENS[0],), "tokens=int.*: wrong shape"),
        (DecoderOnly(), (TOKENS[:, :0],), r"tokens.shape=\(2, 0\): no token; allowed: at least 1"),
        (create_model("bert_base", num_layers=1), (TOKENS, False, TOKENS[:1]), "mask=.*: wrong shape or dtype"),
        (Transformer(9, None, 8, 2, 12, 1, 1), (TOKENS, TOKENS[:1]), "tokens=.*: wrong shape or dtype"),
        (Transformer(9, None, 8, 2, 12, 1, 1), (TOKENS * 0.5, TOKENS), "source=float.*: wrong shape or dtype"),
        (Transformer(9, None, 8, 2, 12, 1, 1), (TOKENS[:, :0], TOKENS), r"source.shape=\(2, 0\): no token"),
        (create_model("mlp"), (IMAGE > 0,), "x=bool.*: no floats"),
        (create_model("clip_vit_b_32"), (IMAGE.astype(np.uint8), TOKENS), "images=uint8.*: no floats"),
        (ModifiedResNet(4), (IMAGE[0],), r"x.shape=\(28, 28, 1\): ModifiedResNet takes images"),
        (create_model("timesformer_base"), (None,), "x: a NoneType; allowed: arrays"),
    ],
)
def test_inputs_of_another_kind_are_named(model, inputs, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))


PHOTOGRAPH = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Processor(size=(32,))(PHOTOGRAPH), r"size=\(32,\): no size; allowed: \(height, width\)"),
        (lambda: Processor(crop=(-1, 2))(PHOTOGRAPH), r"crop\[0\]=-1: too small"),
        (lambda: Processor(shortest=2.5)(PHOTOGRAPH), "shortest=2.5: no whole number"),
        (lambda: Processor(multiple=0, size=(4, 4))(PHOTOGRAPH), "multiple=0: too small"),
        (lambda: Processor(resample="fine")(PHOTOGRAPH), "resample='fine': unknown"),
        (lambda: Processor(scale="x").normalize(PHOTOGRAPH), "rescale_factor='x': out of range"),
        (lambda: Processor(mean=(0.5,) * 3).normalize(PHOTOGRAPH), r"image_mean=.*, image_std=None: no deviation"),
        (lambda: Processor(fill=(0, 300, 0))(PHOTOGRAPH), "fill=.*: no color; allowed: three gray levels"),
        (lambda: Processor(blue_first="no")(PHOTOGRAPH), "blue_first='no': no bool"),
        (lambda: Processor(pad=(4, 4))(PHOTOGRAPH), r"pad=\(4, 4\): below \[4, 6\], of an image"),
        (lambda: Processor()(None), "images: a NoneType; allowed: one or more of"),
        (lambda: processor_of_transformers(["size"]), "preprocessor_config.json: a list; allowed: a JSON object"),
        (lambda: processor_of_transformers({"size": [3]}), "preprocessor_config.json: no photograph is prepared so"),
        (lambda: patch_processor_of_transformers(None), "preprocessor_config.json: a NoneType; allowed: a JSON object"),
        (lambda: patch_processor_of_transformers({"image_mean": 3}), "image_mean=3: out of range"),
        (lambda: processor_of_timm({"input_size": [3]}), r"input_size=\[3\]: no size"),
        (lambda: processor_of_timm({"input_size": [3, 4, 4], "crop_mode": "half"}), "crop_mode='half': unknown"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_sizes_of_caches_are_named():
    model = create_model("gpt2", num_layers=1, width=4, num_heads=2, window=6)
    for sizes, message in (((0,), "batch_size=0: too small"), ((1, 2.5), "length=2.5: no whole number")):
        with pytest.raises(ValueError, match=f"^{message}"):
            model.init_cache(*sizes)
    for lengths, rows, message in (
        (np.ones(3, int), 2, "lengths=.*: wrong shape or dtype"),
        (np.ones(2), 2, "lengths=float.*: wrong shape or dtype"),
        (np.ones(2, int), 1, r"tokens=int32\[2, 3\]: wrong shape or dtype; allowed: int\[1, T\]"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            model.apply({}, TOKENS, lengths, model.init_cache(rows), method="prefill")
    model, memory = Transformer(9, None, 8, 2, 12, 1, 1), {"states": np.zeros((2, 3, 8))}
    for inputs, method, message in (
        ((memory, 0), "start", "length=0: too small"),
        ((memory, TOKENS[:1]), "decode", r"tokens=int32\[1, 3\]: wrong shape"),
        ((None, TOKENS), "step", "tokens=.*: wrong shape or dtype"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            model.apply({}, *inputs, method=method)
