"""Settings that many pages share under --smoke."""

from typing import Any

__all__ = ["few_samples", "few_steps"]


def few_steps(steps: int, batch_size: int = 8) -> dict[str, Any]:
    """Train a few steps on small batches, and evaluate at the last."""
    return {"steps": steps, "batch_size": batch_size, "eval_every": steps}


def few_samples(steps: int) -> dict[str, Any]:
    """Train a few steps, and measure 16 samples by a network that is trained for two steps."""
    return {**few_steps(steps), "num_samples": 16, "network_steps": 2}
