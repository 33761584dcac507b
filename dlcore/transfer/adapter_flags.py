"""Parameter-efficient fine-tuning (PEFT) of a page: the flags of its adapter, and the model with the adapter.

A classifier's page has SETTINGS. A detector's or a segmenter's has DENSE_SETTINGS: its backbone is frozen and adapted,
and all other modules learn. Their fields are `--adapter.rank` and so on, as `--alpha` is the focal loss's there.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.optim.trained_parts import parts_of
from dlcore.setting import FlagError, Setting
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.frozen import Frozen, PartlyFrozen
from dlcore.transfer.methods import HEAD, adapter_fields, create_adapter

__all__ = [
    "DENSE_SETTINGS",
    "SETTINGS",
    "adapt_dense",
    "adapt_model",
    "adapts_dense",
    "check_adapter",
    "check_dense",
    "dense_adapter",
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


ADAPTER = "adapter"


BACKBONE = "backbone"


ALL_BUT_BACKBONE = (f"!{BACKBONE}*",)


DENSE_SETTINGS = {
    "adapt": SETTINGS["adapt"]._replace(
        default="full",
        help="what learns of a backbone that started from weights: full: all of it; head: nothing; or an adapter: "
        "lora, dora, bitfit (biases), ia3 (scales of keys, values and hidden units), adapter (an MLP behind each MLP), "
        "vpt (prompt tokens), vpt_deep (anew before each block); all other modules learn",
        type=Literal["full", "head", "lora", "dora", "bitfit", "ia3", "adapter", "vpt", "vpt_deep"],
    ),
    **{f"{ADAPTER}.{name}": setting for name, setting in SETTINGS.items() if name != "adapt"},
}


def is_adapter(flags: Any) -> bool:
    """Find out whether an adapter learns.

    Returns:
      Whether `--adapt` names one.
    """
    return flags.adapt not in ("parts", "head", "full")


def method_of(flags: Any, inside: str = "") -> Any:
    """Build the adapter of `--adapt`.

    Args:
      inside: module of the network that it adapts, such as backbone; empty for the network itself.

    Returns:
      A method of `dlcore.transfer.adapters.Adapted`.
    """
    return create_adapter(flags.adapt, **adapter_fields(flags), inside=inside)


def adapt_model(model: nn.Module, flags: Any) -> Adapted:
    """Add the adapter of `--adapt` to a network of which the head learns too.

    Args:
      model: the network.

    Returns:
      A model for any learner; batch norm and dropout of frozen layers run as in evaluation.
    """
    return Adapted(Frozen(model, HEAD), method_of(flags), HEAD)


def adapts_dense(flags: Any) -> bool:
    """Find out whether the backbone of a detector or a segmenter is frozen.

    Returns:
      Whether the page has `--adapt`, and it is not `full`.
    """
    return flags.get("adapt", "full") != "full"


def adapt_dense(model: nn.Module, flags: Any) -> nn.Module | Adapted:
    """Freeze the backbone of a detector or a segmenter, and add the adapter of `--adapt` to it.

    Args:
      model: the network, with a module `backbone`.

    Returns:
      A model for any learner; batch norm and dropout of the backbone run as in evaluation. The network itself where
      `adapts_dense` is false.
    """
    return dense_adapter(flags, model) or model


def dense_adapter(flags: Any, model: nn.Module | None = None) -> Adapted | None:
    """Build the adapter of `--adapt` on a frozen backbone.

    Args:
      model: the network; None for the adapter's rules of parameters alone.

    Returns:
      The network with its adapter; None where `adapts_dense` is false.
    """
    if not adapts_dense(flags):
        return None
    return Adapted(Frozen(model or nn.Module(), ALL_BUT_BACKBONE), method_of(flags, BACKBONE), ALL_BUT_BACKBONE)


def check_dense(flags: Any) -> None:
    """Check that the adapter fits the backbone, and that there are weights to start from.

    Raises:
      FlagError: it does not, or there are none.
    """
    from dlcore.models import create_model, input_shape

    if not adapts_dense(flags):
        return
    if flags.init_from is None:
        raise FlagError(
            f"--adapt={flags.adapt}: a frozen backbone without trained weights; allowed: with --init_from or "
            "--model=hf:ORG/NAME, or --adapt=full"
        )
    model = create_model(flags.model, **flags.group("model"))
    height, width, channels = input_shape(flags.model)
    side = getattr(model, "image_size", None)
    check_adapter(flags, model, jnp.zeros((1, side or height, side or width, channels)))


def trained_parts(flags: Any) -> Any:
    """Replace `--parts` by what `--adapt` says.

    Returns:
      The flags: of `head` the head alone, of `full` and adapters all that `params` holds.
    """
    return flags if flags.adapt == "parts" else flags.replace(parts=HEAD if flags.adapt == "head" else ("*",))


def trained_model(model: nn.Module, flags: Any) -> PartlyFrozen | Adapted:
    """Freeze of a network what does not learn, and add the adapter of `--adapt`.

    Args:
      model: the network.

    Returns:
      A model for any learner.
    """
    return adapt_model(model, flags) if is_adapter(flags) else PartlyFrozen(model, parts_of(trained_parts(flags)))


def check_adapter(flags: Any, model: nn.Module, image: jax.Array) -> None:
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
    if flags.get("layer_decay") is not None:
        allowed = "parts, head, full"
        raise FlagError(f"--layer_decay={flags.layer_decay}: beside --adapt={flags.adapt}; allowed: --adapt={allowed}")
    try:
        jax.eval_shape(lambda: adapt_model(model, flags).init(jax.random.key(0), image, train=False))
    except ValueError as error:
        raise FlagError(f"--adapt={flags.adapt} with --model={flags.model}: {error}") from None
