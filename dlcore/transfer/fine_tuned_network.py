"""A network that was trained on other images: its new head, its adapter, which of its parts learn, from when on."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range, check_record, root_key
from dlcore.models import input_shape
from dlcore.models.backbone import add_mlp_head
from dlcore.models.network import Zoo
from dlcore.optim import trained_parts
from dlcore.optim.partial import PartsAdamW
from dlcore.setting import FlagError, Setting, field_settings
from dlcore.transfer import adapter_flags

__all__ = ["FineTunedNetwork", "FineTuningAdamW"]


@dataclasses.dataclass(frozen=True)
class FineTunedNetwork:
    """A network with a new head, of which parts or an adapter learn.

    Args:
      backbone: the network
      head: new head of the network: one linear layer, or a multi-layer perceptron (mlp) with a hidden layer
      head_units: --head=mlp: units of its hidden layer
    """

    backbone: Zoo
    head: Annotated[Literal["linear", "mlp"], "if changed"] = "linear"
    head_units: Annotated[int, Range(1), "if changed"] = 128

    settings: ClassVar[dict[str, Setting]] = adapter_flags.SETTINGS

    def __post_init__(self):
        check_record(self)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, of which what does not learn is frozen."""
        flags = run.flags.replace(parts=run.parts.optimizer.parts)
        model = self._with_head(self.backbone.build(run.facts.num_classes, run.dtype))
        return {"model": adapter_flags.trained_model(model, flags)}

    def check(self, run: Any) -> None:
        """Check that the parts, the layer-wise decay and the adapter fit the network."""
        flags = run.flags
        adapter_flags.check_adapter(flags, *self.example())
        if not adapter_flags.is_adapter(flags):
            params = jax.eval_shape(self.init)["params"]
            trained_parts.check_parts(flags.replace(parts=run.parts.optimizer.parts), params)

    def example(self) -> tuple[nn.Module, jax.Array]:
        """Build the network with a head and an image for it; the paths depend on neither size nor classes.

        Returns:
          (the network, [1, H, W, C]).
        """
        height, width, channels = input_shape(self.backbone.zoo_name)
        side = self.backbone.fields.get("image_size")
        model = self._with_head(self.backbone.build(2))
        return model, jnp.zeros((1, side or height, side or width, channels))

    def init(self) -> Any:
        """Initialize the network of `example`.

        Returns:
          Its variables.
        """
        model, image = self.example()
        return model.init(root_key(0), image, train=False)

    def _with_head(self, model: nn.Module) -> nn.Module:
        if self.head == "linear":
            return model
        try:
            return add_mlp_head(model, self.head_units)
        except ValueError as error:
            raise FlagError(f"--head=mlp: {error}") from None


@dataclasses.dataclass(frozen=True)
class FineTuningAdamW(PartsAdamW):
    """AdamW of what `--adapt` lets learn, or of one layer after the other."""

    def with_flags(self, flags: Any) -> "FineTuningAdamW":
        """Return the record with the values of the flags: the page's own parts fit the network that came."""
        values = {name: flags[name] for name in field_settings(self) if name in flags}
        network = FineTunedNetwork(Zoo(flags.model, flags.group("model")), flags.head, flags.head_units)
        flags = adapter_flags.trained_parts(flags)
        if tuple(flags.parts) == self.parts:
            flags = trained_parts.fit_parts(flags, network.init)
        values["parts"] = trained_parts.unfold_gradual(flags, network.init).parts
        return dataclasses.replace(self, **values)
