"""The rooms of dlcore in the order in which they may import each other, which test_imports.py checks.

The site draws them, and is built without pytest.
"""

__all__ = ["LAYERS", "TOPICS"]

TOPICS = [
    "backprop",
    "classic_ml",
    "classification",
    "sequence",
    "vision_language",
    "transfer",
    "detection",
    "segmentation",
    "generative",
    "interpretability",
    "adversarial",
    "self_supervised",
    "semi_supervised",
    "vision3d",
    "video",
    "rl",
    "classical_vision",
]
LAYERS = [
    ["ops"],
    ["nn", "losses", "metrics", "optim"],
    ["models"],
    ["data"],
    ["diagnostics"],
    ["cost"],
    ["report"],
    TOPICS,
    ["pretrained"],
    ["run"],
    ["experiment"],
    ["weights"],
    ["evaluators"],
    ["modes"],
    ["search"],
    ["main"],
    ["cli"],
]
