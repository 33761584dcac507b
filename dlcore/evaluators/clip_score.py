"""CLIP score of samples: the agreement of each sample with its prompt, in the space of a CLIP that saw neither.

Hessel, Holtzman, Forbes, Le Bras & Choi 2021, arXiv:2104.08718.

    score = 100 max(cos(CLIP(sample), CLIP(prompt)), 0),   `dlcore.metrics.clip_score`
    baseline: the score of each sample by the prompt of the next one
    interval = 1.96 s / sqrt(n), s over the n samples
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice
from dlcore.evaluators.manifold import half_interval
from dlcore.learner import Evaluator
from dlcore.metrics import clip_score
from dlcore.ops.checks import check_finite

__all__ = ["clip_score_evaluator"]


def clip_score_evaluator(
    encode_images: Callable[[np.ndarray], Any], encode_texts: Callable[[dict], Any], source: Any, output: str = "sample"
) -> Evaluator:
    """Build the evaluator of the CLIP score.

    Args:
      encode_images: samples [B, H, W, C] in [0, 1] -> vectors [B, D].
      encode_texts: rows of the source -> vectors [B, D] of their prompts.
      source: prompts, the input of `predict`.
      output: key of the samples among the outputs of `predict`.

    Returns:
      The evaluator of `clip_score`, `clip_score_interval` (half of its 95 % interval) and `shuffled_clip_score`, that
      by the prompt of the next sample.
    """

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_choice("output", output, outputs)
        samples = np.asarray(outputs[output])
        check_finite(output, samples)
        return [*(acc or []), (np.asarray(encode_images(samples)), np.asarray(encode_texts(rows)))]

    def finish(acc: list) -> dict[str, float]:
        images, texts = map(np.concatenate, zip(*acc, strict=True))
        if len(images) < 2:
            raise ValueError(f"{len(images)} sample: too few for an interval; allowed: at least 2")
        scores, shuffled = (np.asarray(clip_score(images, t)) for t in (texts, np.roll(texts, -1, 0)))
        return {
            "clip_score": float(scores.mean()),
            "clip_score_interval": half_interval(scores),
            "shuffled_clip_score": float(shuffled.mean()),
        }

    return Evaluator(add, finish, source, ("clip_score", "clip_score_interval", "shuffled_clip_score"))
