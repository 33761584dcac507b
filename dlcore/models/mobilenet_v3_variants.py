"""Searched mobile networks with MobileNetV3's head: its variants in timm, FBNetV3, LCNet and HardCoRe-NAS.

Howard et al., "Searching for MobileNetV3" (2019), arXiv:1905.02244; Dai et al., "FBNetV3: joint architecture-recipe
search using predictor pretraining" (2020), arXiv:2006.02049; Cui et al., "PP-LCNet: a lightweight CPU convolutional
neural network" (2021), arXiv:2109.15099; Nayman, Aflalo, Noy & Zelnik-Manor, "HardCoRe-NAS: hard constrained
differentiable neural architecture search" (2021), arXiv:2102.11646.

Each network is lines of text (`dlcore.models.mobile_blocks`), a line a stage. Names are timm's; `tf_` names have
TensorFlow's padding and batch norm, `minimal` ones 3x3 kernels and ReLU alone, without squeeze-and-excitation.
"""

import functools
from typing import Any

from dlcore.models.mobile_network import TORCH_NAMES, MobileNetwork, from_torch, read_stages
from dlcore.models.mobilenet_v2 import round_channels

__all__ = ["MODELS", "TORCH_NAMES", "from_torch"]

LARGE = (
    "separable c16 relu",
    "inverted s2 e4 c24 relu,inverted e3 c24 relu",
    "inverted x3 k5 s2 e3 c40 se.25 relu",
    "inverted s2 e6 c80,inverted e2.5 c80,inverted x2 e2.3 c80",
    "inverted x2 e6 c112 se.25",
    "inverted x3 k5 s2 e6 c160 se.25",
    "conv k1 c960",
)
SMALL = (
    "separable s2 c16 se.25 relu",
    "inverted s2 e4.5 c24 relu,inverted e3.67 c24 relu",
    "inverted k5 s2 e4 c40 se.25,inverted x2 k5 e6 c40 se.25",
    "inverted x2 k5 e3 c48 se.25",
    "inverted x3 k5 s2 e6 c96 se.25",
    "conv k1 c576",
)
RW = ("separable c16 relu noskip", *LARGE[1:])


def _minimal(stages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(stage.replace(" se.25", "").replace("k5", "k3") for stage in stages)


FBNET_V3 = {
    "b": (
        "separable x2 c16",
        "inverted k5 s2 e4 c24,inverted x3 k5 e2 c24",
        "inverted k5 s2 e5 c40 se.25,inverted x4 k5 e3 c40 se.25",
        "inverted k5 s2 e5 c72,inverted x4 e3 c72",
        "inverted e5 c120 se.25,inverted x5 k5 e3 c120 se.25",
        "inverted s2 e6 c184 se.25,inverted x5 k5 e4 c184 se.25,inverted k5 e6 c224 se.25",
        "conv k1 c1344",
    ),
    "d": (
        "separable x2 c16",
        "inverted s2 e5 c24,inverted x5 e2 c24",
        "inverted k5 s2 e4 c40 se.25,inverted x4 e3 c40 se.25",
        "inverted s2 e5 c72,inverted x4 e3 c72",
        "inverted e5 c128 se.25,inverted x6 k5 e3 c128 se.25",
        "inverted s2 e6 c208 se.25,inverted x5 k5 e5 c208 se.25,inverted k5 e6 c240 se.25",
        "conv k1 c1440",
    ),
    "g": (
        "separable x3 c24",
        "inverted k5 s2 e4 c40,inverted x4 k5 e2 c40",
        "inverted k5 s2 e4 c56 se.25,inverted x4 k5 e3 c56 se.25",
        "inverted k5 s2 e5 c104,inverted x4 e3 c104",
        "inverted e5 c160 se.25,inverted x8 k5 e3 c160 se.25",
        "inverted s2 e6 c264 se.25,inverted x6 k5 e5 c264 se.25,inverted x2 k5 e6 c288 se.25",
        "conv k1 c1728",
    ),
}
LCNET = (
    "separable c32 act noskip",
    "separable x2 s2 c64 act noskip",
    "separable x2 s2 c128 act noskip",
    "separable s2 c256 act noskip,separable k5 c256 act noskip",
    "separable x4 k5 c256 act noskip",
    "separable x2 k5 s2 c512 se.25 act noskip",
)
HARDCORE = {
    "a": "k5 e3,k5 e3 q|k5 e3,k5 e6 q|k5 e6 q,k5 e6 q|k5 e6 q,k5 e6 q|k5 e6 q,k5 e6 q",
    "b": "k5 e3,k5 e3 q,k3 e3|k5 e3,k5 e3,k5 e3|k5 e3,k5 e3,k3 e3,k3 e3|k5 e3,k3 e3,k3 e3,k3 e3|"
    "k5 e6 q,k5 e6 q,k3 e3 q",
    "c": "k5 e3,k5 e3 q|k5 e3,k5 e3,k5 e3,k5 e3|k5 e4,k5 e6 q,k3 e3,k3 e3|k5 e6 q,k3 e3,k3 e3,k3 e3|"
    "k5 e6 q,k5 e6 q,k3 e3 q",
    "d": "k5 e3 q,k5 e3 q|k5 e3 q,k5 e4 q,k3 e3 q|k5 e4 q,k3 e3 q,k3 e3 q,k3 e3 q|k3 e4 q,k5 e4 q,k3 e3 q,k5 e3 q|"
    "k5 e6 q,k5 e6 q,k5 e6 q,k3 e6 q",
    "e": "k5 e3 q,k5 e3 q|k5 e6 q,k5 e4 q,k5 e4 q,k3 e3 q|k5 e4 q,k3 e6 q|k5 e6 q,k5 e6 q,k5 e6 q,k5 e3 q|"
    "k5 e6 q,k5 e6 q,k5 e6 q,k3 e6 q",
    "f": "k5 e3 q,k5 e3 q|k5 e6 q,k5 e6 q|k5 e6 q,k5 e6 q,k3 e3 q,k3 e3 q|k3 e6 q,k5 e6 q,k5 e6 q,k3 e3 q|"
    "k5 e6 q,k5 e6 q,k3 e6 q,k3 e6 q",
}
"""Kernel, expansion and, as q, squeeze-and-excitation of the blocks of the five stages in the middle."""


def _hardcore(text: str) -> tuple[str, ...]:
    """Fill in what all networks of HardCoRe-NAS share: channels, strides and activations."""
    stages = ["separable c16 relu"]
    rows = zip(text.split("|"), (24, 40, 80, 112, 192), (2, 2, 2, 1, 2), strict=True)
    for i, (stage, features, stride) in enumerate(rows):
        ending = f" c{features}{' relu' if i < 2 else ''}"
        blocks = [f"inverted {block.replace('q', 'se.25')}{ending}" for block in stage.split(",")]
        stages.append(",".join([f"{blocks[0]} s{stride}", *blocks[1:]]))
    return (*stages, "conv k1 c960")


_pooled = functools.partial(MobileNetwork, head="pooled", se_gate="hard_sigmoid", activation="hard_swish")
_v3 = functools.partial(_pooled, head_bias=True, se_activation="relu", se_divisor=8)
TENSORFLOW: dict[str, Any] = {"epsilon": 1e-3, "momentum": 0.99, "padding": "same"}


def _mobilenet_v3(stages: tuple[str, ...], width: float, depth: float = 1.0, **fields: Any) -> functools.partial:
    settings = read_stages(stages, width, depth, se_of="inside")
    stem, last = 16 if width < 0.75 else round_channels(16 * width), 1280 if len(stages) == len(LARGE) else 1024
    return functools.partial(_v3, settings=settings, stem_width=stem, last_channel=last, **fields)


def _fbnet_v3(size: str, stem: int) -> functools.partial:
    settings = read_stages(FBNET_V3[size], limit=0.95)
    fields = {"se_divisor": 8, "se_limit": 0.95, "stem_width": stem, "last_channel": 1984}
    return functools.partial(_pooled, settings=settings, **fields)


def _lcnet(width: float) -> functools.partial:
    settings, stem = read_stages(LCNET, width, se_of="inside"), round_channels(16 * width)
    return functools.partial(_pooled, settings=settings, stem_width=stem, head_bias=True, se_activation="relu")


def _scaled(make: Any, front: str, *widths: float) -> dict[str, functools.partial]:
    return {f"{front}_{round(100 * width):03d}": make(width) for width in widths}


_large, _small = functools.partial(_mobilenet_v3, LARGE), functools.partial(_mobilenet_v3, SMALL)
_minimal_fields = TENSORFLOW | {"activation": "relu"}
MODELS = {
    **_scaled(_large, "mobilenetv3_large", 0.75, 1.0),
    "mobilenetv3_large_150d": _large(1.5, 1.2),
    **_scaled(_small, "mobilenetv3_small", 0.5, 0.75, 1.0),
    "mobilenetv3_rw": functools.partial(_pooled, settings=read_stages(RW, se_of="inside"), stem_width=16, epsilon=1e-3),
    **_scaled(functools.partial(_large, **TENSORFLOW), "tf_mobilenetv3_large", 0.75, 1.0),
    **_scaled(functools.partial(_small, **TENSORFLOW), "tf_mobilenetv3_small", 0.75, 1.0),
    "tf_mobilenetv3_large_minimal_100": _mobilenet_v3(_minimal(LARGE), 1.0, **_minimal_fields),
    "tf_mobilenetv3_small_minimal_100": _mobilenet_v3(_minimal(SMALL), 1.0, **_minimal_fields),
    "fbnetv3_b": _fbnet_v3("b", 16),
    "fbnetv3_d": _fbnet_v3("d", 24),
    "fbnetv3_g": _fbnet_v3("g", 32),
    **_scaled(_lcnet, "lcnet", 0.35, 0.5, 0.75, 1.0, 1.5),
    **{
        f"hardcorenas_{size}": functools.partial(_v3, settings=read_stages(_hardcore(text), se_of="inside"))
        for size, text in HARDCORE.items()
    },
}
SIDES = {"mobilenetv3_large_150d": 256, "fbnetv3_b": 224, "fbnetv3_d": 224, "fbnetv3_g": 240}
INPUT_SHAPES = {name: (side, side, 3) for name, side in SIDES.items()}
