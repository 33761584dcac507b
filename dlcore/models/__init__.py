"""The backbone zoo: one family a file, built by name, with published weights.

model = create_model("resnet50", num_classes=1000, dtype=jnp.bfloat16)
variables = model.init(rng, images)
variables = load_torch("resnet50", state_dict)                    # or a state dict {name: array}, without torch
logits = model.apply(variables, images)                           # [B, num_classes]
maps = model.apply(variables, images, method="features")          # {stage: [B, h, w, c]}
feature_info(model)                                               # {stage: {"stride": 4, "channels": 256}}

Models of tokens, such as GPT-2, are a kind of their own: list_models(kind="tokens"). `create_model`, `load_torch` and
`torch_names` take their names too, and their weights are those of transformers. So do `create_model` and `load_torch`
those of other networks with published weights: kinds pairs, encoder, detection, segmentation and generative.
"""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Network": "network",
        "Networks": "network",
        "OnBackbone": "network",
        "Zoo": "network",
        "create_model": "registry",
        "feature_info": "registry",
        "input_shape": "registry",
        "list_models": "registry",
        "load_torch": "torch_weights",
        "torch_names": "torch_weights",
    },
)
