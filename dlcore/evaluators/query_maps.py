"""Where the queries of a detection transformer look, as panels of the report.

report=[box_results.panels, QueryMaps()]
"""

from typing import Any

import numpy as np

from dlcore.detection.padding import zero_padding
from dlcore.experiment.parts import Run
from dlcore.interpretability.attention_maps import query_attention_maps

__all__ = ["QueryMaps"]


class QueryMaps:
    """Maps of where the query of each detection looks, in four test images."""

    def panels(self, context: Any, run: Run) -> list:
        """Draw the weights of the last decoder layer over the images."""
        from dlcore.optim import parameter_ema
        from dlcore.report.vision_language import attention_strips

        run, arrays, state = run.replace(dtype=None), context.data.test.arrays, context.state
        images, sizes = arrays["image"][:4], arrays["image_size"][:4] if "image_size" in arrays else None
        params = parameter_ema(state.opt_state, state.params) if run.parts.optimizer.ema else state.params
        inputs = run.parts.data.arguments(run)["preprocess"](images)
        inputs = zero_padding(inputs, {} if sizes is None else {"image_size": sizes})
        model, variables = run.parts.network.arguments(run)["model"], {"params": params, **state.model_state}
        scores, labels, maps = query_attention_maps(model, variables, inputs, sizes)
        words, weights = [], []
        for score, label, weight in zip(scores, labels, maps, strict=True):
            order = np.argsort(-score)
            claims = [i for i in order if score[i] >= 0.5]
            words.append([f"{run.facts.class_names[label[i]]} {100 * score[i]:.0f}" for i in claims])
            weights.append(weight[order])
        titles = [f"Test image {i}" for i in range(len(images))]
        caption = (
            "Weights of the last decoder layer, the mean over its heads, of each query with a score of at least 50."
        )
        return [attention_strips(images, words, np.stack(weights), titles, "Where the queries look", caption)]
