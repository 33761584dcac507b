"""Shared by pages of conditional diffusion: defaults, small sizes for `--smoke`, and the files of predict."""

from dlcore.kits.generative import class_conditional, sample_panels, samples, text_prompts
from dlcore.kits.training import optimizer

__all__ = ["CLASS_FIELDS", "DEFAULTS", "PROMPT_FIELDS", "SMOKE"]

DEFAULTS = {
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "sampler": "ddim",
    "num_inference_steps": 50,
    "spacing": "trailing",
    "beta_schedule": "cosine",
    "select": "last",
}

SMOKE = {
    "steps": 3,
    "batch_size": 8,
    "num_timesteps": 10,
    "num_inference_steps": 4,
    "guidance_samples": 0,
    "eval_every": 3,
}

_FIELDS = {
    "monitor_mode": "min",
    "plain": {"ema": None, "weight_decay": 0.0, "condition_dropout": 0.0},
    "describe": samples.describe,
    "write": samples.write,
    "schedule": optimizer.schedule,
    "pictures": sample_panels.pictures,
}

CLASS_FIELDS = {
    **_FIELDS,
    "data": class_conditional.data,
    "inputs": class_conditional.inputs,
    "input_kind": "CLASS,CLASS",
    "drawn": samples.class_samples,
    "monitor": "frechet_distance",
    "headline": "frechet_distance",
}
"""Fields of Experiment of pages that generate images of a class."""

PROMPT_FIELDS = {**_FIELDS, "modules": text_prompts.MODULES, "drawn": text_prompts.test_prompts, "monitor": "loss"}
"""Fields of Experiment of pages that generate images from a text."""
