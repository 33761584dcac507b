"""The backbone zoo: one family a file, built by name.

model = create_model("resnet20_cifar", num_classes=10)
variables = model.init(rng, images, train=False)
logits = model.apply(variables, images)                           # [B, num_classes]
maps = model.apply(variables, images, method="features")          # {stage: [B, h, w, c]}
"""

from dlcore.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
