"""The backbone zoo: one family a file, built by name, with published weights.

model = create_model("resnet50", num_classes=1000, dtype=jnp.bfloat16)
variables = model.init(rng, images)
variables = load_torch("resnet50", state_dict)                    # or a state dict {name: array}, without torch
logits = model.apply(variables, images)                           # [B, num_classes]
maps = model.apply(variables, images, method="features")          # {stage: [B, h, w, c]}
feature_info(model)                                               # {stage: {"stride": 4, "channels": 256}}

Models of tokens, such as GPT-2, are a kind of their own: list_models(kind="tokens"). `create_model`, `load_torch` and
`torch_names` take their names too, and their weights are those of transformers.
"""

from dlcore.models.registry import create_model, feature_info, input_shape, list_models
from dlcore.models.torch_weights import load_torch, torch_names

__all__ = ["create_model", "feature_info", "input_shape", "list_models", "load_torch", "torch_names"]
