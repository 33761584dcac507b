"""What do 1x1 reductions, bottlenecks, patches and windows save, and what do a third and a fourth axis cost?

python -m experiments.studies.design_costs

The formulas of `dlcore.cost.formulas` at the published sizes, beside counts of the modules where there is one: the
first inception module of GoogLeNet with and without reductions, and the two kinds of residual blocks of a ResNet with
256 channels outside. Attention is counted between all pixels of an image of 224 x 224, between its 196 patches of 16 x
16, and, at the size of Swin's first stage, in windows of 7 x 7 beside all 56 x 56 tokens. Nothing is trained. The claim
holds where each formula equals the module's count, and each design has at most half the cost of what it replaces.

Measured: it holds. Reductions leave 42 % of the module's multiply-adds, a bottleneck 5.9 % of the block's weights,
windows 1.6 % of the attention's multiply-adds, and patches 0.0015 % of its weights.

References: Szegedy et al. 2014, arXiv:1409.4842; He et al. 2015, arXiv:1512.03385; Dosovitskiy et al. 2020,
arXiv:2010.11929; Liu et al. 2021, arXiv:2103.14030.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.cost import formulas
from dlcore.cost.formulas import attention_macs, conv_macs, reduced_conv_macs
from dlcore.experiment import Headline, Study, StudyResult
from dlcore.main import main
from dlcore.models.googlenet import Inception, NaiveInception
from dlcore.models.resnet import BasicBlock, Bottleneck
from dlcore.report.figure import BLUE, GRAY, new_figure

SIDE, CHANNELS, WIDTHS = 28, 192, (64, 96, 128, 16, 32, 32)
"""Map and input channels of GoogLeNet's module 3a, and its widths: 1x1; 3x3 reduced and not; 5x5 the same; pooled."""
OUTSIDE = 256
"""Channels of the map that a residual block adds to."""
SAVING = 0.5


class Design(NamedTuple):
    """Costs of a design and of the plain one that it replaces, and (plain, cost) as counted in the modules."""

    unit: str
    plain: int
    cost: int
    counted: tuple[int, int] | None = None


def kernel_weights(module, channels: int, side: int = SIDE) -> int:
    """Weights of a module's kernels, by its parameters."""
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    params = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), x)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 4)


def designs() -> dict[str, Design]:
    """Compute the cost of each design."""
    ones, reduced3, threes, reduced5, fives, pooled = WIDTHS
    size = (SIDE, SIDE)
    naive = sum(conv_macs(size, CHANNELS, n, (k, k)) for n, k in ((ones, 1), (threes, 3), (fives, 5)))
    reduced = (
        conv_macs(size, CHANNELS, ones, (1, 1))
        + reduced_conv_macs(CHANNELS, reduced3, threes, (3, 3), size)
        + reduced_conv_macs(CHANNELS, reduced5, fives, (5, 5), size)
        + conv_macs(size, CHANNELS, pooled, (1, 1))
    )
    inception = (NaiveInception((ones, threes, fives)), Inception(WIDTHS, largest_kernel=5))
    blocks = (BasicBlock(OUTSIDE), Bottleneck(OUTSIDE // 4))
    return {
        "1x1 reductions of an inception module": Design(
            "multiply-adds", naive, reduced, tuple(SIDE**2 * kernel_weights(m, CHANNELS) for m in inception)
        ),
        "bottleneck of a residual block": Design(
            "weights",
            formulas.basic_block_weights(OUTSIDE),
            formulas.bottleneck_block_weights(OUTSIDE // 4),
            tuple(kernel_weights(m, OUTSIDE) for m in blocks),
        ),
        "patches in place of pixels": Design(
            "attention weights", formulas.pixel_attention_entries(224), formulas.patch_tokens(224, 16) ** 2
        ),
        "windows in place of all tokens": Design(
            "multiply-adds", attention_macs(56 * 56, 96), formulas.window_attention_macs(56, 56, 7, 96)
        ),
    }


def report(costs: dict[str, Design]) -> StudyResult:
    """Judge the designs."""
    cost_ratios = {name: design.cost / design.plain for name, design in costs.items()}
    equal = all(d.counted is None or d.counted == (d.plain, d.cost) for d in costs.values())
    holds = equal and max(cost_ratios.values()) <= SAVING
    gib, mib = formulas.voxel_bytes(1024) / 2**30, formulas.voxel_bytes(128) / 2**20
    video = formulas.video_bytes(1080, 1920, 30 * 60) / 2**30
    verdict = "Share of the cost that is left: " + ", ".join(f"{name} {v:.1%}" for name, v in cost_ratios.items())
    verdict += (
        f". Formulas {'equal' if equal else 'DO NOT equal'} the modules' counts. A cube of 128 voxels a side has "
        f"{mib:.0f} MiB in float32, one of 1,024 has {gib:.0f} GiB; a minute of video of 1080 x 1920 has {video:.1f} "
        "GiB."
    )
    figure, axes = new_figure((6, 2.4))
    axes.barh(range(len(cost_ratios)), [1] * len(cost_ratios), color=GRAY, alpha=0.3)
    axes.barh(range(len(cost_ratios)), list(cost_ratios.values()), color=BLUE)
    axes.set_yticks(range(len(cost_ratios)), list(cost_ratios))
    axes.set(xlabel="share of the cost of what it replaces")
    numbers = {f"{name}, {d.unit}": [d.plain, d.cost] for name, d in costs.items()}
    headline = Headline(
        "share of an inception module's multiply-adds that 1x1 reductions leave",
        cost_ratios["1x1 reductions of an inception module"],
        "GoogLeNet, module 3a",
    )
    return StudyResult(numbers, verdict, {"what is left": figure}, holds, headline)


def study() -> StudyResult:
    """Count each design and what it replaces."""
    return report(designs())


experiment = Study(__file__, __doc__, study)

if __name__ == "__main__":
    main(experiment)
