"""Settings that many pages share under --smoke."""

from typing import Any

__all__ = [
    "BOXES",
    "CODES",
    "CODE_PRIORS",
    "CROPPED_TOKENS",
    "DENSE_BOXES",
    "ENCODERS",
    "ENVIRONMENTS",
    "FEW_LABELS",
    "GUIDED",
    "GUIDED_PLAIN",
    "MASKED_PATCHES",
    "MASKS",
    "MASK_QUERIES",
    "PROMPTS",
    "SEQUENCE_PAIRS",
    "SEQUENCE_PAIRS_PLAIN",
    "SOLIDS",
    "few_samples",
    "few_steps",
]


def few_steps(steps: int, batch_size: int = 8) -> dict[str, Any]:
    """Train a few steps on small batches, and evaluate at the last."""
    return {"steps": steps, "batch_size": batch_size, "eval_every": steps}


def few_samples(steps: int) -> dict[str, Any]:
    """Train a few steps, and measure 16 samples by a network that is trained for two steps."""
    return {**few_steps(steps), "num_samples": 16, "network_steps": 2}


BOXES = {"steps": 4, "batch_size": 8, "num_scenes": 16, "eval_every": 4, "model.width": 8}
"""Settings of --smoke."""


DENSE_BOXES = {**BOXES, "topk_candidates": 20, "detections_per_img": 10}
"""Settings of --smoke of a detector that takes the best candidates of each level."""


CODES = {"steps": 4, "batch_size": 8, "num_codes": 8, "vqvae.width": 8, "eval_every": 4}
"""Settings of --smoke."""


CODE_PRIORS = {**CODES, "num_samples": 16, "network_steps": 2}
"""Settings of --smoke."""


ENCODERS = {
    "model.stages": (1,),
    "model.width": 4,
    "steps": 2,
    "batch_size": 32,
    "eval_every": 2,
    "eval_batch_size": 100,
    "bank_size": 100,
    "knn_k": 5,
    "fine_tune": (),
    "fine_tune_steps": 1,
}
"""Settings of --smoke."""


ENVIRONMENTS = {"steps": 2, "batch_size": 8, "num_steps": 4, "num_seeds": 3, "eval_every": 2}
"""Three seeds: XLA's CPU runtime (jaxlib 0.10.2) hangs in the initialization of two on a machine of two cores."""


FEW_LABELS = {
    "model.stages": (1,),
    "model.width": 4,
    "steps": 2,
    "batch_size": 8,
    "eval_every": 2,
    "eval_batch_size": 500,
}
"""Settings of --smoke."""


GUIDED = {
    "steps": 3,
    "batch_size": 8,
    "num_timesteps": 10,
    "num_inference_steps": 4,
    "guidance_samples": 0,
    "eval_every": 3,
}
"""Settings of --smoke."""


GUIDED_PLAIN = {"ema": None, "weight_decay": 0.0, "condition_dropout": 0.0}
"""Flags that switch averages and the dropout of the condition off, for `--mode=sanity`."""


CROPPED_TOKENS = {
    **{name: value for name, value in ENCODERS.items() if not name.startswith("model.")},
    "model.width": 8,
    "model.depth": 1,
    "model.num_heads": 2,
    "model.mlp_features": 8,
    "head.outputs": 8,
    "head.hidden_features": 8,
    "head.bottleneck": 4,
    "local_crops": 1,
}
"""Settings of the ViT and the head under --smoke."""


MASKED_PATCHES = {"encoder.depth": 1, "encoder.width": 8, "encoder.num_heads": 2, "encoder.mlp_features": 8}
"""Settings of the encoder under --smoke."""


MASKS = {"steps": 4, "batch_size": 8, "num_scenes": 16, "image_size": (48, 48), "eval_every": 4}
"""Settings of --smoke."""


MASK_QUERIES = {
    **BOXES,
    "num_points": 16,
    "mask2former.features": 16,
    "mask2former.hidden_features": 16,
    "mask2former.encoder_hidden_features": 16,
    "mask2former.decoder_layers": 1,
    "maskformer.features": 16,
    "maskformer.hidden_features": 16,
    "maskformer.decoder_layers": 1,
    "eomt.width": 16,
    "eomt.mlp_features": 16,
    "eomt.depth": 1,
    "eomt.query_blocks": 1,
}
"""Settings of --smoke of networks of queries."""


SEQUENCE_PAIRS_PLAIN = {
    "transformer.dropout_rate": 0.0,
    "rnn.dropout_rate": 0.0,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
}
"""Values that switch the regularization off."""


SEQUENCE_PAIRS = {
    "transformer.features": 16,
    "transformer.hidden_features": 16,
    "transformer.encoder_layers": 1,
    "transformer.decoder_layers": 1,
    "rnn.hidden_size": 16,
    "train_size": 200,
    "test_size": 16,
    "batch_size": 16,
    "eval_batch_size": 16,
    "steps": 4,
    "eval_every": 4,
}
"""Settings of --smoke."""


SOLIDS = {
    "steps": 2,
    "batch_size": 4,
    "eval_every": 2,
    "eval_batch_size": 4,
    "image_size": 16,
    "num_images": 16,
    "surface_points": 16,
}
"""Settings of --smoke."""


PROMPTS = {
    **GUIDED,
    "num_images": 16,
    "unet.channels": (8, 8),
    "unet.attention_levels": (1,),
    "words.width": 8,
    "num_samples": 8,
}
"""Settings of --smoke."""


DEPTH_TRANSFORMER = {
    **few_steps(2, 4),
    "eval_batch_size": 4,
    "image_size": (16, 16),
    "num_scenes": 8,
    "model.width": 8,
    "model.num_heads": 2,
    "model.mlp_features": 8,
    "dpt.channels": (4, 4, 4, 4),
    "dpt.features": 4,
    "dpt.head_features": 4,
}
"""Settings of --smoke."""
