"""Sources, pipelines that are pure functions of the step, and augmentations."""

from dlcore.data.pipeline import Pipeline, Prefetch, device_resident, padded_batches, prefetch, steps_per_epoch
from dlcore.data.source import Source, shuffle_labels, split_validation

__all__ = [
    "Pipeline",
    "Prefetch",
    "Source",
    "device_resident",
    "padded_batches",
    "prefetch",
    "shuffle_labels",
    "split_validation",
    "steps_per_epoch",
]
