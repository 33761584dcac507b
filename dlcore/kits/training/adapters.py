"""Parameter-efficient fine-tuning (PEFT) of a page: the flags of its adapter, and the model with the adapter."""

from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.kits.training.parts import parts_of
from dlcore.learner import Range
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.frozen import Frozen, PartlyFrozen
from dlcore.transfer.methods import HEAD, create_adapter

__all__ = [
    "SETTINGS",
    "adapt_model",
    "check_adapter",
    "is_adapter",
    "method_of",
    "trained_model",
    "trained_parts",
]

SETTINGS = {
    "adapt": Setting(
        "parts",
        "what learns: parts (--parts); head: the head alone; full: all; or the head and an adapter: lora, dora, bitfit "
        "(biases), ia3 (scales of keys, values and hidden units), adapter (an MLP behind each MLP), vpt (prompt "
        "tokens), vpt_deep (anew before each block)",
        Literal["parts", "head", "full", "lora", "dora", "bitfit", "ia3", "adapter", "vpt", "vpt_deep"],
        identity="if changed",
        essential=True,
    ),
    "rank": Setting(8, "lora, dora: columns of A and rows of B", limits=Range(1), identity="if changed"),
    "alpha": Setting(
        16.0, "lora, dora: the product A B has the factor alpha / rank", limits=Range(0), identity="if changed"
    ),
    "targets": Setting(
        ("*attn/qkv:q", "*attn/qkv:v"),
        "lora, dora: patterns of layers; LAYER:q is the part of one that gives queries, keys and values",
        tuple[str, ...],
        identity="if changed",
    ),
    "bottleneck": Setting(8, "adapter: hidden units of each MLP", limits=Range(1), identity="if changed"),
    "prompts": Setting(10, "vpt, vpt_deep: learned tokens", limits=Range(1), identity="if changed"),
}


def is_adapter(flags: Flags) -> bool:
    """Find out whether an adapter learns.

    Returns:
      Whether `--adapt` names one.
    """
    return flags.adapt not in ("parts", "head", "full")


def method_of(flags: Flags) -> Any:
    """Build the adapter of `--adapt`.

    Returns:
      A method of `dlcore.transfer.adapters.Adapted`.
    """
    fields = {name: flags[name] for name in ("rank", "alpha", "targets", "bottleneck", "prompts")}
    return create_adapter(flags.adapt, **fields)


def adapt_model(model: nn.Module, flags: Flags) -> Adapted:
    """Add the adapter of `--adapt` to a network of which the head learns too.

    Args:
      model: the network.

    Returns:
      A model for any learner; batch norm and dropout of frozen layers run as in evaluation.
    """
    return Adapted(Frozen(model, HEAD), method_of(flags), HEAD)


def trained_parts(flags: Flags) -> Flags:
    """Replace `--parts` by what `--adapt` says.

    Returns:
      The flags: of `head` the head alone, of `full` and adapters all that `params` holds.
    """
    return flags if flags.adapt == "parts" else flags.replace(parts=HEAD if flags.adapt == "head" else ("*",))


def trained_model(model: nn.Module, flags: Flags) -> PartlyFrozen | Adapted:
    """Freeze of a network what does not learn, and add the adapter of `--adapt`.

    Args:
      model: the network.

    Returns:
      A model for any learner.
    """
    return adapt_model(model, flags) if is_adapter(flags) else PartlyFrozen(model, parts_of(trained_parts(flags)))


def check_adapter(flags: Flags, model: nn.Module, image: jax.Array) -> None:
    """Check that the adapter fits the network and the flags beside it.

    Args:
      model: the network.
      image: [1, H, W, C].

    Raises:
      FlagError: it does not.
    """
    if flags.adapt != "parts" and "parts" in flags.given:
        raise FlagError(f"--parts={','.join(flags.parts)}: beside --adapt={flags.adapt}; allowed: --adapt=parts")
    if not is_adapter(flags):
        return
    if flags.layer_decay is not None:
        allowed = "parts, head, full"
        raise FlagError(f"--layer_decay={flags.layer_decay}: beside --adapt={flags.adapt}; allowed: --adapt={allowed}")
    try:
        jax.eval_shape(lambda: adapt_model(model, flags).init(jax.random.key(0), image, train=False))
    except ValueError as error:
        raise FlagError(f"--adapt={flags.adapt} with --model={flags.model}: {error}") from None
