"""Searched mobile networks: MnasNet, MobileNetV2, FBNet-C, MixNet, TinyNet and the EfficientNets of timm.

Each network is lines of text (`dlcore.models.mobile_blocks`), a line a stage, scaled in width and depth.

    mnasnet, semnasnet   Tan et al. 2018, arXiv:1807.11626, without and with squeeze-and-excitation
    mobilenetv2          Sandler et al. 2018, arXiv:1801.04381
    spnasnet, fbnetc     Stamoulis et al. 2019, arXiv:1904.02877; Wu et al. 2018, arXiv:1812.03443
    mixnet               Tan & Le 2019, arXiv:1907.09595
    efficientnet         Tan & Le 2019, arXiv:1905.11946, and 2021, arXiv:2104.00298: `_lite` without
                         squeeze-and-excitation, `_es` to `_el` with fused blocks for an Edge TPU
    efficientnet_cc      CondConv, Yang et al. 2019, arXiv:1904.04971
    efficientnet_x, _h   Li et al. 2021, arXiv:2102.05610: the first block gathers space into depth
    tinynet              Han et al. 2020, arXiv:2010.14819

Names are timm's; `tf_` names have TensorFlow's padding and batch norm. Published weights of fbnetc have its epsilon.
"""

import functools
from typing import Any

from dlcore.models.mobile_network import TORCH_LAYOUTS, TORCH_NAMES, MobileNetwork, from_torch, read_stages
from dlcore.models.mobilenet_v2 import round_channels

__all__ = ["MODELS", "TORCH_LAYOUTS", "TORCH_NAMES", "from_torch"]

MNASNET = (
    "separable c16 noskip",
    "inverted x3 s2 e3 c24",
    "inverted x3 k5 s2 e3 c40",
    "inverted x3 k5 s2 e6 c80",
    "inverted x2 e6 c96",
    "inverted x4 k5 s2 e6 c192",
    "inverted e6 c320 noskip",
)
SEMNASNET = (
    "separable c16 noskip",
    "inverted x2 s2 e6 c24",
    "inverted x3 k5 s2 e3 c40 se.25",
    "inverted x4 s2 e6 c80",
    "inverted x2 e6 c112 se.25",
    "inverted x3 k5 s2 e6 c160 se.25",
    "inverted e6 c320",
)
MNASNET_SMALL = (
    "separable c8",
    "inverted s2 e3 c16",
    "inverted x2 s2 e6 c16",
    "inverted x4 k5 s2 e6 c32 se.25",
    "inverted x3 e6 c32 se.25",
    "inverted x3 k5 s2 e6 c88 se.25",
    "inverted e6 c144",
)
MOBILENET_V1 = (
    "separable c64 act noskip",
    *(f"separable x{n} s2 c{c} act noskip" for n, c in ((2, 128), (2, 256), (6, 512), (2, 1024))),
)
MOBILENET_V2 = (
    "separable c16",
    "inverted x2 s2 e6 c24",
    "inverted x3 s2 e6 c32",
    "inverted x4 s2 e6 c64",
    "inverted x3 e6 c96",
    "inverted x3 s2 e6 c160",
    "inverted e6 c320",
)
FBNET_C = (
    "inverted c16",
    "inverted s2 e6 c24,inverted x2 c24",
    "inverted k5 s2 e6 c32,inverted k5 e3 c32,inverted k5 e6 c32,inverted e6 c32",
    "inverted k5 s2 e6 c64,inverted k5 e3 c64,inverted x2 k5 e6 c64",
    "inverted x3 k5 e6 c112,inverted k5 e3 c112",
    "inverted x4 k5 s2 e6 c184",
    "inverted e6 c352",
)
SPNASNET = (
    *MNASNET[:2],
    "inverted k5 s2 e6 c40,inverted x3 e3 c40",
    "inverted k5 s2 e6 c80,inverted x3 e3 c80",
    "inverted k5 e6 c96,inverted x3 k5 e3 c96",
    *MNASNET[5:],
)
LITE = (
    "separable c16",
    "inverted x2 s2 e6 c24",
    "inverted x2 k5 s2 e6 c40",
    "inverted x3 s2 e6 c80",
    "inverted x3 k5 e6 c112",
    "inverted x4 k5 s2 e6 c192",
    "inverted e6 c320",
)
B0 = tuple(f"{line} se.25" for line in LITE)
EDGE = (
    "fused e4 c24 base24 noskip",
    "fused x2 s2 e8 c32",
    "fused x4 s2 e8 c48",
    "inverted x5 k5 s2 e8 c96",
    "inverted x4 k5 e8 c144",
    "inverted x2 k5 s2 e8 c192",
)
V2_BASE = (
    "conv c16",
    "fused x2 s2 e4 c32",
    "fused x2 s2 e4 c48",
    "inverted x3 s2 e4 c96 se.25",
    "inverted x5 e6 c112 se.25",
    "inverted x8 s2 e6 c192 se.25",
)
V2_S = (
    "conv x2 c24",
    "fused x4 s2 e4 c48",
    "fused x4 s2 e4 c64",
    "inverted x6 s2 e4 c128 se.25",
    "inverted x9 e6 c160 se.25",
    "inverted x15 s2 e6 c256 se.25",
)
V2_RW = ("fused x2 c24", *V2_S[1:5], "inverted x15 s2 e6 c272 se.25")
V2_XL = (
    "conv x4 c32",
    "fused x8 s2 e4 c64",
    "fused x8 s2 e4 c96",
    "inverted x16 s2 e4 c192 se.25",
    "inverted x24 e6 c256 se.25",
    "inverted x32 s2 e6 c512 se.25",
    "inverted x8 e6 c640 se.25",
)
V2_TINY = ("conv c16", "fused s2 e4 c24", "fused s2 e4 c32", "inverted s2 e4 c48 se.25", "inverted s2 e4 c64 se.25")


def _datacenter(expansion: int) -> tuple[str, ...]:
    """EfficientNet-X, whose first expansions are 6, and -H, where they are 4."""
    fused = (f"fused x2 k{k} s2 e{expansion} c{c} se.25 relu" for k, c in ((3, 24), (5, 40)))
    return ("separable c16 se.25 space", *fused, f"inverted x3 s2 e{expansion} c80 se.25", *B0[4:])


MIXNET_S = (
    "separable c16",
    "inverted in2 out2 s2 e6 c24,inverted in2 out2 e3 c24",
    "inverted k3.5.7 s2 e6 c40 se.5 silu,inverted x3 k3.5 in2 out2 e6 c40 se.5 silu",
    "inverted k3.5.7 out2 s2 e6 c80 se.25 silu,inverted x2 k3.5 out2 e6 c80 se.25 silu",
    "inverted k3.5.7 in2 out2 e6 c120 se.5 silu,inverted x2 k3.5.7.9 in2 out2 e3 c120 se.5 silu",
    "inverted k3.5.7.9.11 s2 e6 c200 se.5 silu,inverted x2 k3.5.7.9 out2 e6 c200 se.5 silu",
)
MIXNET_M = (
    "separable c24",
    "inverted k3.5.7 in2 out2 s2 e6 c32,inverted in2 out2 e3 c32",
    "inverted k3.5.7.9 s2 e6 c40 se.5 silu,inverted x3 k3.5 in2 out2 e6 c40 se.5 silu",
    "inverted k3.5.7 s2 e6 c80 se.25 silu,inverted x3 k3.5.7.9 in2 out2 e6 c80 se.25 silu",
    "inverted e6 c120 se.5 silu,inverted x3 k3.5.7.9 in2 out2 e3 c120 se.5 silu",
    "inverted k3.5.7.9 s2 e6 c200 se.5 silu,inverted x3 k3.5.7.9 out2 e6 c200 se.5 silu",
)
EDGE_TPU_V2_M = (
    "conv k1 c32 noskip",
    "fused s2 e8 c64,fused e4 g64 c64",
    "fused s2 e8 c80,fused e4 g64 c80,fused e4 c80,fused e4 g64 c80",
    "fused s2 e8 c160,inverted x3 e4 c160",
    "inverted e8 c192,inverted x3 e4 c192",
    "inverted s2 e8 c240,inverted x3 e4 c240",
    "inverted e8 c320",
)
TENSORFLOW: dict[str, Any] = {"epsilon": 1e-3, "momentum": 0.99, "padding": "same"}
EFFICIENTNETS = {"b8": (2.2, 3.6), "l2": (4.3, 5.3)}
V2_SIZES = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4)}
LITE_SIZES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}
EDGE_SIZES = {"es": (1.0, 1.0), "em": (1.0, 1.1), "el": (1.2, 1.4)}
TINYNETS = {"a": (1.0, 1.2), "b": (0.75, 1.1), "c": (0.54, 0.85), "d": (0.54, 0.695), "e": (0.51, 0.6)}


def _network(
    stages: tuple[str, ...], width: float = 1.0, depth: Any = 1.0, *, stem: int = 32, fixed: bool = False, **fields: Any
) -> functools.partial:
    """A network with the head conv; `fixed` keeps the stem, and the blocks of the ends, unscaled."""
    reading = {name: fields.pop(name) for name in ("limit", "rounding") if name in fields}
    settings = read_stages(stages, width, depth, fixed_ends=fixed, **reading)
    stem = stem if fixed else round_channels(stem * width, limit=reading.get("limit", 0.9))
    return functools.partial(MobileNetwork, settings=settings, stem_width=stem, **fields)


def _efficient(stages: tuple[str, ...], size: tuple, last: int = 1280, **fields: Any) -> functools.partial:
    """A network whose last layer widens with it."""
    width = round_channels(last * size[0], limit=fields.get("limit", 0.9))
    return _network(stages, *size, **{"last_channel": width, "activation": "silu"} | fields)


def _mobilenet_v2(width: float, depth: float = 1.0, fixed: bool = False) -> functools.partial:
    last = 1280 if fixed else max(1280, round_channels(1280 * width))
    return _network(MOBILENET_V2, width, depth, fixed=fixed, last_channel=last, activation="relu6")


def _tinynet(width: float, depth: float) -> functools.partial:
    settings = read_stages(B0, width, depth, rounding="nearest")
    return functools.partial(MobileNetwork, settings=settings, activation="silu")


def _experts(size: tuple, experts: int) -> functools.partial:
    stages = (*B0[:4], *(f"{line} experts{experts}" for line in B0[4:]))
    return _efficient(stages, size, **TENSORFLOW)


def _mixnet(stages: tuple[str, ...], width: float = 1.0, depth: float = 1.0, stem: int = 24, **fields: Any) -> Any:
    return _network(stages, width, depth, stem=stem, rounding="nearest", last_channel=1536, **fields)


def _both(name: str, make: Any) -> dict[str, functools.partial]:
    """A network by its name, and with TensorFlow's padding and batch norm."""
    return {name: make(), f"tf_{name}": make(**TENSORFLOW)}


def _pairs(front: str, stages: tuple[str, ...], sizes: dict[str, tuple], make: Any = _efficient, **fields: Any) -> Any:
    return {
        name: network
        for size, scale in sizes.items()
        for name, network in _both(f"{front}{size}", functools.partial(make, stages, scale, **fields)).items()
    }


def _lite(stages: tuple[str, ...], size: tuple, **fields: Any) -> functools.partial:
    return _network(stages, *size, fixed=True, activation="relu6", **fields)


_small = functools.partial(_mixnet, MIXNET_S, stem=16)
_v2_rw_m = (1.2, (1.2,) * 4 + (1.6,) * 2)
MODELS = {
    **{f"mnasnet_{round(100 * w):03d}": _network(MNASNET, w) for w in (0.5, 0.75, 1.0, 1.4)},
    **{f"semnasnet_{round(100 * w):03d}": _network(SEMNASNET, w) for w in (0.5, 0.75, 1.0, 1.4)},
    "mnasnet_small": _network(MNASNET_SMALL, stem=8),
    "mobilenetv1_100h": _network(MOBILENET_V1, last_channel=1024, activation="relu6"),
    **{f"mobilenetv2_{round(100 * w):03d}": _mobilenet_v2(w) for w in (0.35, 0.5, 0.75, 1.0, 1.4)},
    "mobilenetv2_110d": _mobilenet_v2(1.1, 1.2, fixed=True),
    "mobilenetv2_120d": _mobilenet_v2(1.2, 1.4, fixed=True),
    "fbnetc_100": _network(FBNET_C, stem=16, last_channel=1984, epsilon=1e-3),
    "spnasnet_100": _network(SPNASNET),
    **_pairs("efficientnet_", B0, EFFICIENTNETS),
    **_pairs("efficientnet_", EDGE, EDGE_SIZES, activation="relu"),
    **{f"efficientnet_{size}_pruned": _efficient(EDGE, EDGE_SIZES[size], activation="relu") for size in ("es", "el")},
    **_pairs("efficientnet_", LITE, LITE_SIZES, _lite),
    "tf_efficientnet_cc_b0_4e": _experts((1.0, 1.0), 4),
    "tf_efficientnet_cc_b0_8e": _experts((1.0, 1.0), 8),
    "tf_efficientnet_cc_b1_8e": _experts((1.0, 1.1), 8),
    **{f"tf_efficientnetv2_{n}": _efficient(V2_BASE, size, limit=0.0, **TENSORFLOW) for n, size in V2_SIZES.items()},
    **_both("efficientnetv2_xl", functools.partial(_network, V2_XL, activation="silu")),
    "efficientnetv2_rw_t": _efficient(V2_S, (0.8, 0.9), stem=24),
    "efficientnetv2_rw_s": _efficient(V2_RW, (1.0, 1.0), 1792, stem=24),
    "efficientnetv2_rw_m": _efficient(V2_RW, _v2_rw_m, 1792, stem=24),
    "efficientnet_x_b3": _efficient(_datacenter(6), (1.2, 1.4)),
    "efficientnet_x_b5": _efficient(_datacenter(6), (1.6, 2.2)),
    "efficientnet_h_b5": _efficient(_datacenter(4), (1.92, 2.2)),
    **_both("mixnet_s", _small),
    **_both("mixnet_m", functools.partial(_mixnet, MIXNET_M)),
    **_both("mixnet_l", functools.partial(_mixnet, MIXNET_M, 1.3)),
    "mixnet_xl": _mixnet(MIXNET_M, 1.6, 1.2),
    **{f"tinynet_{size}": _tinynet(*scale) for size, scale in TINYNETS.items()},
    "mobilenet_edgetpu_v2_m": _network(EDGE_TPU_V2_M, stem=64, stem_kernel=5, last_channel=1344),
    "test_efficientnet": _efficient(V2_TINY, (1.0, 1.0), 256, stem=24, limit=0.0),
}
SIDES = {"mixnet": 224, "tf_efficientnet_b8": 672, "tf_efficientnet_l2": 800, "tinynet_a": 192, "tinynet_b": 188}
SIDES |= {"tinynet_c": 184, "tinynet_d": 152, "tinynet_e": 106, "test_efficientnet": 160}
INPUT_SHAPES = {name: (side, side, 3) for name, side in SIDES.items() if name in MODELS}
