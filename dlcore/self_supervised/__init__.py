"""Self-supervised learning: representations from images without labels."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Augment": "views",
        "Embedder": "networks",
        "MoCoState": "moco",
        "Preprocess": "views",
        "SimCLRState": "simclr",
        "alignment_and_uniformity": "views",
        "encode": "networks",
        "enqueue": "moco",
        "init_variables": "networks",
        "momentum_update": "moco",
        "predict_features": "networks",
        "shuffle": "moco",
        "two_views": "views",
        "unit": "networks",
        "unshuffle": "moco",
    },
)
