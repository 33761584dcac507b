"""The splits of an experiment, by the names of `dlcore.data.splits`."""

from dlcore.data.splits import Spec, Splits, batch_facts, map_sources, metric_label, zero_batch

__all__ = ["Spec", "Splits", "batch_facts", "map_sources", "metric_label", "zero_batch"]
