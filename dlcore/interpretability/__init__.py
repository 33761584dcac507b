"""Interpretability: images that are optimized to show what a network sees."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "ImageState": "image_optimization",
        "blur": "class_image",
        "check_layers": "image_optimization",
        "image_learner": "image_optimization",
        "to_unit": "image_optimization",
    },
)
