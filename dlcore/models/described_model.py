"""The model that an experiment's flags describe."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from dlcore.setting import FlagError

__all__ = ["build", "check_stages"]


def build(run: Any, **fields):
    """Build the model that the flags name, for the classes of the data.

    Args:
      run: facts of the run; its flags must contain `--model` and its fields.
      **fields: fields of the model to change.

    Returns:
      The flax module.
    """
    from dlcore.models import create_model

    fields = {"num_classes": run.spec.get("num_classes", 1), **fields}
    return create_model(run.flags.model, dtype=run.dtype, **fields, **run.flags.group("model"))


def check_stages(modules: Mapping[str, Callable[..., nn.Module]], flags: Any) -> None:
    """Check that the backbone of `--model` has the maps that a detector or a segmenter reads.

    Args:
      modules: prefix of flags -> class of a network, or a `functools.partial` of it; `map_fields` of the class are the
        fields that name maps.
      flags: resolved settings, with `--model`, its fields, and those of the networks, such as `--deeplab.stage` or
        `--fcos.stages`.

    Raises:
      FlagError: the backbone lacks a map.
    """
    from dlcore.models import create_model, feature_info

    if "model" not in flags or not any(name == "model" or "." in name for name in flags.given):
        return
    try:
        maps = feature_info(create_model(flags.model, **flags.group("model")), (64, 64, 3))
    except Exception:  # other fields are wrong; the network is checked again, on the data
        return
    for prefix, network in modules.items():
        for field in getattr(getattr(network, "func", network), "map_fields", ()):
            name, value = f"{prefix}.{field}", flags[f"{prefix}.{field}"]
            missing = [stage for stage in ((value,) if isinstance(value, str) else value or ()) if stage not in maps]
            if missing:
                raise FlagError(
                    f"--model={flags.model}: no map {', '.join(missing)}, which --{name} names; allowed: --{name} of "
                    f"{', '.join(maps)}, or a model with {', '.join(missing)}"
                )
