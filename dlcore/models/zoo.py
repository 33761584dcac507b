"""What `dlcore models` lists, stored in zoo.json: counting parameters takes a trace of each network, minutes in all.

python -m dlcore.models.zoo        count the models that are missing there, and drop those that are gone
python -m dlcore.models.zoo --all  count every model again
"""

import functools
import json
import math
import sys
from pathlib import Path
from typing import Any

__all__ = ["all_stored_models", "count_model", "stored_models", "write_zoo"]

STORED = Path(__file__).with_name("zoo.json")


def all_stored_models() -> dict[str, dict[str, dict[str, Any]]]:
    """Read what is stored of all models.

    Returns:
      {kind: rows of `stored_models`}.
    """
    return json.loads(STORED.read_text(encoding="utf-8"))


@functools.cache
def stored_models(kind: str) -> dict[str, dict[str, Any]]:
    """Read what is stored of the models of a kind; neither jax nor a model is imported.

    Args:
      kind: of `dlcore.models.registry.FILES`: image, tokens, pairs, encoder, detection, segmentation or generative.

    Returns:
      {name: {"family": file, "parameters": count, "reads": "224x224x3" or "tokens"}}, sorted.

    Raises:
      ValueError: the kind is unknown.
    """
    models = all_stored_models()
    if kind not in models:
        raise ValueError(f"kind={kind!r}: unknown; allowed: {', '.join(models)}")
    return models[kind]


def count_model(name: str) -> dict[str, Any]:
    """Trace a model, and count its parameters.

    Args:
      name: a name of `dlcore.models.list_models()`, of either kind.

    Returns:
      The model's row in `stored_models`.

    Raises:
      ValueError: there is no such model.
    """
    import jax

    from dlcore.models.registry import create_model, example_inputs, family_of, kind_of

    model, inputs = create_model(name), example_inputs(name, {})
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    return {
        "family": family_of(name).__name__.rpartition(".")[2],
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])),
        "reads": "tokens" if kind_of(name) == "tokens" else "x".join(map(str, inputs[0].shape[1:])),
    }


def write_zoo(*, everything: bool = False) -> None:
    """Write zoo.json.

    Args:
      everything: count every model again; else those that it lacks.
    """
    from dlcore.models.registry import FILES, list_models

    before = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    models = {}
    for kind in FILES:
        known = {} if everything else before.get(kind, {})
        models[kind] = {name: known.get(name) or count_model(name) for name in list_models(kind=kind)}
    STORED.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_zoo(everything="--all" in sys.argv[1:])
