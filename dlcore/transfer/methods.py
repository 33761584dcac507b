"""Adapters by name, for parameter-efficient fine-tuning (PEFT)."""

from collections.abc import Mapping
from typing import Any, Literal

from flax import linen as nn

from dlcore.transfer.adapters import IA3, Adapted, BitFit, Bottleneck, Prompts
from dlcore.transfer.lora import LoRA

__all__ = ["HEAD", "AdapterName", "create_adapter", "merge_adapter"]

HEAD = ("head*",)
"""Patterns of the parameters that learn beside an adapter."""

AdapterName = Literal["lora", "dora", "bitfit", "ia3", "adapter", "vpt", "vpt_deep"]


def create_adapter(
    name: AdapterName, *, rank: int, alpha: float, targets: tuple[str, ...], bottleneck: int, prompts: int
) -> Any:
    """Create an adapter by its name.

    Args:
      name: lora, dora, bitfit, ia3, adapter, vpt or vpt_deep.
      rank: columns of A and rows of B, of lora and dora.
      alpha: the product A B has the factor alpha / rank.
      targets: patterns of the layers of lora and dora.
      bottleneck: hidden units of each MLP of adapter.
      prompts: learned tokens of vpt and vpt_deep.

    Returns:
      A method of `dlcore.transfer.adapters.Adapted`.
    """
    return {
        "lora": LoRA(rank, alpha, targets),
        "dora": LoRA(rank, alpha, targets, dora=True),
        "bitfit": BitFit(),
        "ia3": IA3(),
        "adapter": Bottleneck(bottleneck),
        "vpt": Prompts(prompts),
        "vpt_deep": Prompts(prompts, deep=True),
    }[name]


def merge_adapter(settings: Mapping[str, Any], variables: Any) -> Any:
    """Write the adapter of a trained run into its network.

    Args:
      settings: settings of the run: adapt, and the arguments of `create_adapter`.
      variables: variables of the run's model, see `dlcore.transfer.adapters.Adapted.init`.

    Returns:
      Variables of the network.

    Raises:
      ValueError: the adapter is a part of the computation and not of the parameters.
    """
    fields = {name: settings[name] for name in ("rank", "alpha", "targets", "bottleneck", "prompts")}
    return Adapted(nn.Module(), create_adapter(settings["adapt"], **fields), HEAD).merge(variables)
