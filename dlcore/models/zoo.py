"""Count the parameters of all models for `dlcore models`, and store them in zoo.json.

A count takes a trace of the network, all of them minutes.

python -m dlcore.models.zoo        count the models that are missing there, and drop those that are gone
python -m dlcore.models.zoo --all  count every model again
"""

import json
import math
import sys
from typing import Any

import jax

from dlcore.models.registry import FILES, create_model, example_inputs, family_of, kind_of, list_models
from dlcore.models.stored_counts import STORED, all_stored_models

__all__ = ["count_model", "write_zoo"]


def count_model(name: str) -> dict[str, Any]:
    """Trace a model, and count its parameters.

    Args:
      name: a name of `dlcore.models.list_models()`, of either kind.

    Returns:
      The model's row in `stored_models`.
    """
    model, inputs = create_model(name), example_inputs(name, {})
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return {
        "family": family_of(name).__name__.rpartition(".")[2],
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])),
        "reads": "tokens" if kind_of(name) == "tokens" else "x".join(map(str, jax.tree.leaves(inputs)[0].shape[1:])),
    }


def write_zoo(*, everything: bool = False) -> None:
    """Write zoo.json.

    Args:
      everything: count every model again; else those that it lacks.
    """
    before = all_stored_models()
    models = {}
    for kind in FILES:
        stored_counts = {} if everything else before.get(kind, {})
        models[kind] = {name: stored_counts.get(name) or count_model(name) for name in list_models(kind=kind)}
    STORED.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_zoo(everything="--all" in sys.argv[1:])
