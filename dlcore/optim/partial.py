"""Parts of a network that learn, each at its own rate and from its own step on; what no part names is frozen.

    w <- w + [t >= start_g] rate_g direction(gradient)      g is the first part whose pattern matches the path of w

A part has an optimizer of its own, which counts and remembers nothing before the part's start: no momentum waits, and
no decay shrinks what is frozen. The start is compared with a counter in the state, so that an unfreezing compiles
nothing anew. `scale_by_layer` is the layer-wise decay of ELECTRA (Clark et al. 2020, arXiv:2003.10555) and BEiT (Bao et
al. 2021, arXiv:2106.08254), for networks of numbered blocks. `layer_parts` is the gradual unfreezing of ULMFiT (Howard
& Ruder 2018, arXiv:1801.06146), one layer at a time from the last to the first, each with a lower rate than the next.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.ops.checks import check_shapes
from dlcore.optim._rules import check_above_0
from dlcore.optim.adamw import AdamW
from dlcore.optim.builder import create_optimizer

__all__ = [
    "Part",
    "PartsAdamW",
    "is_matched",
    "layer_parts",
    "layers_of",
    "parse_part",
    "part_labels",
    "part_of",
    "partial_optimizer",
    "scale_by_layer",
]

FROZEN = "frozen"
BLOCK = re.compile(r"(?:^|(?P<stack>.*)/)blocks_(?P<number>\d+)(?:/|$)")
FIRST = {
    "embed",
    "embedding",
    "embeddings",
    "patch",
    "pos",
    "position",
    "positions",
    "stem",
    "token",
    "tokens",
    "wpe",
    "wte",
}
"""A word of a name of what comes before the blocks: pos_embed, word_embeddings, cls_token, conv_stem, stem1."""


class Part(NamedTuple):
    """A part of a network.

    Args:
      pattern: pattern of the paths of its parameters or of a module that holds them, such as `head` or `stage3*`; `*`
        also matches `/`.
      rate: rate by which the learning rate is multiplied, at least 0.
      start: share of the run after which it learns, in [0, 1).
    """

    pattern: str
    rate: float = 1.0
    start: float = 0.0


def parse_part(text: str) -> Part:
    """Read `PATTERN`, `PATTERN:RATE`, `PATTERN@START` or `PATTERN:RATE@START`.

    Args:
      text: such as `stage3*:0.1@0.5`.

    Returns:
      The part.
    """
    match = re.fullmatch(r"(?P<pattern>[^:@\s]+)(:(?P<rate>[^:@]+))?(@(?P<start>[^:@]+))?", text)
    try:
        part = Part(match["pattern"], float(match["rate"] or 1), float(match["start"] or 0))
        if part.rate >= 0 and 0 <= part.start < 1:
            return part
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"part={text!r}: malformed; allowed: PATTERN:RATE@START, such as head, stage3*:0.1 or stage3*:0.1@0.5, with a "
        "rate of at least 0 and a start in [0, 1)"
    )


def is_matched(path: str, pattern: str) -> bool:
    """Tell whether a pattern names a parameter, or a module that it is in.

    Args:
      path: such as stage1_block0/conv1/kernel.
      pattern: such as stage1*, head or */bias.

    Returns:
      True where it does.
    """
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")


def part_of(path: str, parts: Sequence[Part]) -> Part | None:
    """Find the part that a path belongs to.

    Args:
      path: path of a parameter or a module.
      parts: parts in their order.

    Returns:
      The first that matches; None where it is frozen.
    """
    return next((part for part in parts if is_matched(path, part.pattern)), None)


def part_labels(params: Any, parts: Sequence[Part]) -> Any:
    """Label each parameter by the number of its part, for `optax.multi_transform`.

    Args:
      params: parameters of the network.
      parts: parts in their order.

    Returns:
      A tree like `params` of "0", "1", ... or "frozen".
    """
    paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for part in parts:
        if not any(is_matched(path, part.pattern) for path in paths):
            names = sorted({path.split("/")[0] for path in paths} | {*paths})
            near = difflib.get_close_matches(part.pattern.strip("*"), names, 3, 0.3) or names[:3]
            raise ValueError(f"part={part.pattern!r}: names no parameter; allowed: such as {', '.join(near)}")
    numbers = {part: str(k) for k, part in reversed([*enumerate(parts)])}

    def label(path: tuple, _: Any) -> str:
        part = part_of(_path(path), parts)
        return FROZEN if part is None or part.rate == 0 else numbers[part]

    labels = jax.tree_util.tree_map_with_path(label, params)
    if {*jax.tree.leaves(labels)} == {FROZEN}:
        raise ValueError(f"parts={[part.pattern for part in parts]}: nothing learns; allowed: a part of a rate above 0")
    return labels


def layers_of(params: Any) -> list[tuple[str, ...]]:
    """List the layers of a network.

    A layer is a module with a weight matrix, or a block of several, together with what follows it and has none, such as
    a normalization. What comes before the first belongs to it.

    Args:
      params: parameters in the order of their creation, which `jax.eval_shape` and `jax.jit` lose on their way out.

    Returns:
      The paths of each layer's modules and parameters, from the first layer to the last.
    """
    layers: list[tuple[str, ...]] = []
    waiting: tuple[str, ...] = ()

    def visit(tree: Any, prefix: str) -> None:
        nonlocal waiting
        for name, child in tree.items():
            path = f"{prefix}{name}"
            below = [_path(p) for p, _ in jax.tree_util.tree_leaves_with_path(child)]
            if isinstance(child, Mapping) and any(BLOCK.search(p) for p in below) and not BLOCK.search(path):
                visit(child, f"{path}/")
            elif isinstance(child, Mapping) and any(len(leaf.shape) > 1 for leaf in jax.tree.leaves(child)):
                layers.append((*waiting, path))
                waiting = ()
            elif layers:
                layers[-1] += (path,)
            else:
                waiting += (path,)

    visit(params, "")
    return layers or [waiting]


def layer_parts(layers: Sequence[tuple[str, ...]], decay: float, fraction: float) -> tuple[Part, ...]:
    """Unfreeze one layer at a time, the last first.

        start of layer k of K (from 1) = fraction (K - k) / (K - 1),   rate = decay^(K - k)

    Args:
      layers: paths of each layer, from the first layer to the last, as of `layers_of`.
      decay: rate of a layer as a multiple of the next one's, above 0 and at most 1; the paper has 1 / 2.6.
      fraction: of the run after which all layers learn, in (0, 1).

    Returns:
      The parts, those of the last layer first.
    """
    if not (0 < decay <= 1 and 0 < fraction < 1):
        raise ValueError(
            f"decay={decay:g}, fraction={fraction:g}: out of range; allowed: a decay above 0 and at most 1, a "
            "fraction of the run between 0 and 1"
        )
    last = max(len(layers) - 1, 1)
    return tuple(
        Part(path, decay**k, fraction * k / last) for k, paths in enumerate(reversed(layers)) for path in paths
    )


def partial_optimizer(
    parts: Sequence[Part],
    make: Callable[[float, int], optax.GradientTransformation],
    steps: int,
    clip_norm: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of a network that learns in parts.

    Args:
      parts: parts in their order; the first that matches counts.
      make: (rate, start) -> the optimizer of a part, whose updates count from 0 at the step `start`.
      steps: number of steps of the run.
      clip_norm: greatest norm of the gradient of all parameters that learn at a step, together; None does not clip. A
        limit inside `make` would hold for each part alone.

    Returns:
      The transformation. The state of a frozen leaf is empty, its update zero.
    """

    check_whole_number("steps", steps, 0)
    if clip_norm is not None:
        check_above_0(clip_norm=clip_norm)
    for part in parts:
        check_shapes(rate=(part.rate, ">= 0"), start=(part.start, "0 to <1"))

    def of_part(part: Part) -> optax.GradientTransformation:
        start = round(part.start * steps)
        tx = make(part.rate, start)
        return tx if start == 0 else optax.conditionally_mask(tx, lambda step: step >= start)

    transformations = {str(k): of_part(part) for k, part in enumerate(parts)}
    tx = optax.multi_transform(
        {**transformations, FROZEN: optax.set_to_zero()}, lambda params: part_labels(params, parts)
    )
    return tx if clip_norm is None else optax.chain(_clip_learning(parts, steps, clip_norm), tx)


def _clip_learning(parts: Sequence[Part], steps: int, clip_norm: float) -> optax.GradientTransformation:
    """Clip by the norm over the parameters that learn at a step; the state is the number of steps."""

    def update(updates: Any, count: jax.Array, params: Any = None) -> tuple[Any, jax.Array]:
        def learns(path: tuple, _: Any) -> Any:
            part = part_of(_path(path), parts)
            return False if part is None or part.rate == 0 else count >= round(part.start * steps)

        is_learning = jax.tree_util.tree_map_with_path(learns, updates)
        updates = jax.tree.map(lambda g, learns: jnp.where(learns, g, 0), updates, is_learning)
        updates, _ = optax.clip_by_global_norm(clip_norm).update(updates, optax.EmptyState())
        return updates, optax.safe_increment(count)

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def scale_by_layer(decay: float) -> optax.GradientTransformation:
    """Scale the updates of each block of a transformer by its distance from the head.

        rate of block k of K (from 1) = decay^(K + 1 - k), of what comes before decay^(K + 1), of the rest 1

    Embeddings, tokens, positions and a stem come before the blocks, which their names say. A network may have several
    stacks of blocks, such as an encoder and a decoder; each has its own K. What stands outside of them and comes before
    has the K of the longest.

    Args:
      decay: decay in (0, 1]; 0.65 to 0.75 is usual when a pretrained transformer is fine-tuned.

    Returns:
      The transformation, to chain after the optimizer.
    """
    if isinstance(decay, Real) and not 0 < decay <= 1:
        raise ValueError(f"layer_decay={decay}: out of range; allowed: above 0, at most 1")

    def depths_of(tree: Any) -> dict[str, int]:
        """Path of the module that holds a stack -> K."""
        depths: dict[str, int] = {}
        for path, _ in jax.tree_util.tree_leaves_with_path(tree):
            if match := BLOCK.search(_path(path)):
                stack = match["stack"] or ""
                depths[stack] = max(depths.get(stack, 0), 1 + int(match["number"]))
        if not depths:
            raise ValueError(
                f"layer_decay={decay}: the network has no numbered blocks; allowed: of vision transformers"
            )
        return depths

    def init(params: Any) -> optax.EmptyState:
        depths_of(params)
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        depths = depths_of(updates)

        def scaled(path: tuple, leaf: jax.Array) -> jax.Array:
            name = _path(path)
            if match := BLOCK.search(name):
                return leaf * decay ** (depths[match["stack"] or ""] - int(match["number"]))
            if FIRST.isdisjoint(re.sub(r"\d", "", word) for word in re.split("[/_]", name)):
                return leaf
            around = [stack for stack in depths if stack == "" or name.startswith(f"{stack}/")]
            # The innermost stack around it: each path is the beginning of the next, and so before it in order.
            depth = depths[max(around)] if around else max(depths.values())
            return leaf * decay ** (depth + 1)

        return jax.tree_util.tree_map_with_path(scaled, updates), state

    return optax.GradientTransformation(init, update)


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


@dataclasses.dataclass(frozen=True)
class PartsAdamW(AdamW):
    """AdamW of the parts that learn; it has no flags `l1` and `max_norm`.

    Args:
      parts: what learns: PATTERN:RATE@START of parameters, a factor of the learning rate and a share of the run; the
        first that matches counts, and what none names is frozen; gradual:DECAY@SHARE unfreezes one layer at a time, the
        last first, until all learn after SHARE of the run, each at DECAY times the rate of the next
      layer_decay: transformers: factor of the rate from each block to the one before it
    """

    parts: Annotated[tuple[str, ...], "essential"] = ("*",)
    layer_decay: Annotated[float | None, Range(0.01, 1)] = None

    l1: ClassVar[float] = 0.0
    max_norm: ClassVar[float | None] = None

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer of the parts, each on the run's schedule from its start on."""

        def make(rate: float, begin: int) -> optax.GradientTransformation:
            record = dataclasses.replace(self, learning_rate=self.learning_rate * rate)
            schedule = record.rate_of_update(steps, steps_per_epoch)
            return create_optimizer(
                self.optimizer,
                lambda count: schedule(count + begin),
                momentum=self.momentum,
                second_momentum=self.second_momentum,
                weight_decay=self.weight_decay,
                clip_value=self.clip_value,
            )

        tx = partial_optimizer([parse_part(text) for text in self.parts], make, steps, self.clip_norm)
        return tx if self.layer_decay is None else optax.chain(tx, scale_by_layer(self.layer_decay))
