"""A published network that runs on photographs and gives the outputs that its library gives."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models.pretrained.family import Family
from dlcore.models.pretrained.packing import PatchProcessor
from dlcore.models.pretrained.processor import Processor

__all__ = ["Pretrained"]


class Pretrained:
    """A published network: `net(photograph)` -> {"logits": ...}.

    Args:
      name: name of the network in `dlcore.models.list_models`.
      fields: fields of `create_model` that the configuration gave.
      model: the flax module.
      variables: its variables.
      family: its family.
      config: content of its config.json.
      preprocess: its processor; None where it takes no photograph or none was published.
      classes: names of its classes; None without classes.
    """

    def __init__(
        self,
        name: str,
        fields: dict[str, Any],
        model: nn.Module,
        variables: Any,
        family: Family,
        config: Mapping[str, Any],
        preprocess: Processor | PatchProcessor | None,
        classes: tuple[str, ...] | None,
    ):
        self.name, self.fields, self.model, self.variables = name, fields, model, variables
        self.family, self.config, self.preprocess, self.classes = family, dict(config), preprocess, classes
        self._outputs = jax.jit(functools.partial(family.outputs, model))

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r}, {self.fields})"

    def __call__(self, images: np.ndarray | Sequence[np.ndarray] | None = None, **inputs: Any) -> dict[str, jax.Array]:
        """Run the network.

        Args:
          images: a photograph [H, W, 3] uint8, or several of any sizes (a list, or [B, H, W, 3]), which `preprocess`
            prepares.
          **inputs: inputs by the library's names, in place of photographs or beside them, such as `input_ids`. Arrays
            of images and maps have channels last; torch's order, channels first, is recognized by the number of
            channels.

        Returns:
          Outputs by the library's names, such as `logits`; images and maps have channels last.

        Raises:
          ValueError: an input is unknown, missing or given twice, or the network takes no photograph.
        """
        names = {alias: key.split("|")[0] for key in self.family.inputs for alias in key.split("|")}
        if unknown := [key for key in inputs if key not in names]:
            raise ValueError(f"{unknown[0]}: no input of {self.name}; allowed: {', '.join(self.family.inputs)}")
        arrays = {names[key]: self._array(names[key], value) for key, value in inputs.items()}
        if images is not None:
            if (first := self.family.inputs[0].split("|")[0]) in arrays:
                raise ValueError(f"images: given beside {first}; allowed: one of them")
            arrays = {**self._photographs(images), **arrays}
        if not arrays:
            raise ValueError(f"images: missing; allowed: photographs, or {', '.join(self.family.inputs)} as arrays")
        run = functools.partial(self._outputs, self.variables)
        return run(arrays) if self.family.call is None else self.family.call(run, arrays, self.preprocess)

    def _photographs(self, images: Any) -> dict[str, jax.Array]:
        first = self.family.inputs[0].split("|")[0]
        if self.preprocess is None:
            allowed = ", ".join(self.family.inputs)
            raise ValueError(f"images: {self.name} has no processor for photographs; allowed: {allowed} as arrays")
        batch = self.preprocess(images)
        arrays = {key: jnp.asarray(batch[key]) for key in self.family.inputs[1:] if key in batch}
        return {first: jnp.asarray(batch["pixel_values"]), **arrays}

    def _array(self, name: str, value: Any) -> jax.Array:
        array = jnp.asarray(value)
        channels = self.config.get("in_channels", self.config.get("num_channels", 3))
        channels = self.config.get("latent_channels", channels) if name == "z" else channels
        is_map = jnp.issubdtype(array.dtype, jnp.floating) and array.ndim in (4, 5) and name != "input_points"
        if is_map and array.shape[-1] != channels and array.shape[-3] == channels:
            return jnp.moveaxis(array, -3, -1)
        return array
