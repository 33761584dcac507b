"""Adapters by name, for parameter-efficient fine-tuning (PEFT)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.learner import Range, check_arguments
from dlcore.transfer.adapters import IA3, Adapted, BitFit, Bottleneck, Prompts
from dlcore.transfer.lora import LoRA

__all__ = ["HEAD", "AdapterName", "adapter_fields", "create_adapter", "merge_adapter"]

HEAD = ("head*",)
"""Patterns of the parameters that learn beside an adapter."""

AdapterName = Literal["head", "lora", "dora", "bitfit", "ia3", "adapter", "vpt", "vpt_deep"]


class _Unchanged(BitFit):
    """Nothing is added, and nothing of the frozen network learns."""

    TRAINED = ()


@check_arguments
def create_adapter(
    name: AdapterName,
    *,
    rank: Annotated[int, Range(1)],
    alpha: Annotated[float, Range(0)],
    targets: tuple[str, ...],
    bottleneck: Annotated[int, Range(1)],
    prompts: Annotated[int, Range(1)],
    inside: str = "",
) -> Any:
    """Create an adapter by its name.

    Args:
      name: head (no adapter), lora, dora, bitfit, ia3, adapter, vpt or vpt_deep.
      rank: columns of A and rows of B, of lora and dora.
      alpha: the product A B has the factor alpha / rank.
      targets: patterns of the layers of lora and dora.
      bottleneck: hidden units of each MLP of adapter.
      prompts: learned tokens of vpt and vpt_deep.
      inside: module of the network that it adapts, such as backbone; empty for the network itself.

    Returns:
      A method of `dlcore.transfer.adapters.Adapted`.
    """

    def within(patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{inside}/{pattern}" for pattern in patterns) if inside else patterns

    scales, mlps = IA3(), Bottleneck(bottleneck)
    return {
        "head": _Unchanged(),
        "lora": LoRA(rank, alpha, within(targets)),
        "dora": LoRA(rank, alpha, within(targets), dora=True),
        "bitfit": BitFit(),
        "ia3": IA3(within(scales.outputs), within(scales.inputs)),
        "adapter": mlps._replace(targets=within(mlps.targets)),
        "vpt": Prompts(prompts, inside=inside),
        "vpt_deep": Prompts(prompts, deep=True, inside=inside),
    }[name]


def adapter_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the fields of an adapter from the settings of a run.

    Args:
      settings: name -> value; a detector's and a segmenter's names are `adapter.rank` and so on.

    Returns:
      Arguments of `create_adapter`.
    """
    fields = ("rank", "alpha", "targets", "bottleneck", "prompts")
    return {name: settings[f"adapter.{name}" if f"adapter.{name}" in settings else name] for name in fields}


def merge_adapter(settings: Mapping[str, Any], variables: Any) -> Any:
    """Write the adapter of a trained run into its network.

    Args:
      settings: settings of the run: adapt, and the adapter's fields.
      variables: variables of the run's model, see `dlcore.transfer.adapters.Adapted.init`.

    Returns:
      Variables of the network.

    Raises:
      ValueError: the adapter is a part of the computation and not of the parameters.
    """
    method = create_adapter(settings["adapt"], **adapter_fields(settings))
    return Adapted(nn.Module(), method, HEAD).merge(variables)
