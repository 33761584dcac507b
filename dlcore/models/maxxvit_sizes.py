"""Fields of the published CoAtNets, MaxViTs and MaxxViTs, by timm's names; see `dlcore.models.maxxvit`."""

from typing import Any

__all__ = ["SIZES"]


def _fields(sizes: tuple[Any, ...], *rest: dict[str, Any], **fields: Any) -> dict[str, Any]:
    stages, width, stem_widths = sizes
    fields = {key: value for part in rest for key, value in part.items()} | fields
    widths = tuple(width * 2**i for i in range(4))
    return {"stages": stages, "widths": widths, "stem_widths": stem_widths, **fields}


COATNET = {"partitioned": False, "pre_activation": True, "se_units": 0.25, "se_relu": True}
"""timm's CoAtNets."""

EARLY = COATNET | {"se_early": True, "shortcut_bias": False}
LARGE = COATNET | {"se_relu": False}
NEXT = {"convnext": True, "position_units": 512}
NANO = {"partitioned": False, "se_units": 0.25, "output_bias": True}
V2 = NEXT | {"windows": False}
RMLP = {"position_units": 512}
SCALED = {"layer_scale": 1e-6}
C0, C1 = ((2, 3, 7, 2), 96, (32, 64)), ((2, 6, 14, 2), 96, (32, 64))
C2, C3 = ((2, 6, 14, 2), 128, (64, 128)), ((2, 6, 14, 2), 192, (96, 192))
C_NANO, M_PICO, M_NANO = ((3, 4, 6, 3), 64, (32, 64)), ((2, 2, 5, 2), 32, (24, 32)), ((1, 2, 3, 1), 64, (32, 64))
M_TINY = ((2, 2, 5, 2), 64, (32, 64))
AUTHORS = {"tiny": ((2, 2, 5, 2), 64), "small": ((2, 2, 5, 2), 96), "base": ((2, 6, 14, 2), 96)}
AUTHORS |= {"large": ((2, 6, 14, 2), 128), "xlarge": ((2, 6, 14, 2), 192)}
SIZES: dict[str, dict[str, Any]] = {
    "coatnet_nano_rw_224": _fields(C_NANO, NANO, pool_stride=True),
    "coatnet_0_rw_224": _fields(C0, EARLY, pool_stride=True),
    "coatnet_1_rw_224": _fields(C1, EARLY),
    "coatnet_2_rw_224": _fields(C2, LARGE),
    "coatnet_3_rw_224": _fields(C3, LARGE, SCALED),
    "coatnet_bn_0_rw_224": _fields(C0, EARLY, batch_norm=True),
    "coatnet_rmlp_nano_rw_224": _fields(C_NANO, NANO, position_units=384),
    "coatnet_rmlp_1_rw_224": _fields(C1, EARLY, pool_stride=True, max_pool=True, position_units=384),
    "coatnet_rmlp_1_rw2_224": _fields(C1, COATNET, RMLP),
    "coatnet_rmlp_2_rw_224": _fields(C2, LARGE, SCALED, RMLP),
    "coatnet_rmlp_2_rw_384": _fields(C2, LARGE, SCALED, RMLP, image_size=384),
    "coatnext_nano_rw_224": _fields(C_NANO, partitioned=False, convnext=True),
    "maxvit_nano_rw_256": _fields(M_NANO, image_size=256),
    "maxvit_tiny_rw_224": _fields(M_TINY),
    "maxvit_rmlp_pico_rw_256": _fields(M_PICO, RMLP, image_size=256),
    "maxvit_rmlp_nano_rw_256": _fields(M_NANO, RMLP, image_size=256),
    "maxvit_rmlp_tiny_rw_256": _fields(M_TINY, RMLP, image_size=256),
    "maxvit_rmlp_small_rw_224": _fields(((2, 2, 5, 2), 96, (32, 64)), RMLP, SCALED),
    "maxvit_rmlp_base_rw_224": _fields(C1, RMLP, head_units=768),
    "maxvit_rmlp_base_rw_384": _fields(C1, RMLP, head_units=768, image_size=384),
    "maxxvit_rmlp_nano_rw_256": _fields(M_NANO, NEXT, SCALED, image_size=256),
    "maxxvit_rmlp_small_rw_256": _fields(((2, 2, 5, 2), 96, (48, 96)), NEXT, SCALED, image_size=256),
    "maxxvitv2_nano_rw_256": _fields(((1, 2, 3, 1), 96, (48, 96)), V2, SCALED, position_units=0, image_size=256),
    "maxxvitv2_rmlp_base_rw_224": _fields(((2, 6, 12, 2), 128, (64, 128)), V2, SCALED),
    "maxxvitv2_rmlp_base_rw_384": _fields(((2, 6, 12, 2), 128, (64, 128)), V2, SCALED, image_size=384),
} | {
    f"maxvit_{size}_tf_{side}": _fields(
        (stages, width, (64 if width < 128 else width,) * 2),
        authors=True,
        image_size=side,
        head_units=8 * width,
    )
    for size, (stages, width) in AUTHORS.items()
    for side in (224, 384, 512)
}
