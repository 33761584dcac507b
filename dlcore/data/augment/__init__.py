"""Random augmentations of one image, pure functions of a key that run under jit and vmap."""

from dlcore.data.augment.color import channel_statistics, normalize, to_float
from dlcore.data.augment.compose import Augmentation, compose, identity
from dlcore.data.augment.geometric import affine, random_affine, random_crop, random_flip, random_shift

__all__ = [
    "Augmentation",
    "affine",
    "channel_statistics",
    "compose",
    "identity",
    "normalize",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_shift",
    "to_float",
]
