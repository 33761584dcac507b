"""Figure of dlcore.detection.faster_rcnn; its docstring is the caption."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.sampling import sample_proposals
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["faster_rcnn"]


def faster_rcnn() -> "Figure":
    """What the two stages cost, and what the second one learns from.

    Left: multiply-adds of the parts with ResNet-50, an image of 800 pixels and 1,000 proposals; the region proposal
    network (blue) takes a quarter. Right: proposals on an object among the 512 that are sampled from 2,000. Where few
    lie on an object, balanced sampling takes all of them, and never more than 128.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.2, 1))
    parts = {"backbone": "backbone", "pyramid": "fpn", "proposals": "rpn", "head, 1,000 regions": "box_head"}
    costs = _macs_by_part(parts.values())
    bars = left.barh(list(parts), costs, 0.6, color=[LIGHT_GRAY, LIGHT_GRAY, BLUE, LIGHT_GRAY])
    left.bar_label(bars, fmt="%.0f", padding=2)
    left.invert_yaxis()
    left.set(xlabel="billion multiply-adds", xlim=(0, 1.15 * max(costs)))
    numbers = np.array([0, 20, 50, 100, 200, 400, 600, 800])
    right.plot(numbers, numbers * 512 / 2000, "--", color=GRAY, label="all alike, on average")
    balanced = [_positives(int(number)) for number in numbers]
    right.plot(numbers, balanced, "o-", color=BLUE, label="balanced", markersize=4)
    right.set(xlabel="proposals on an object, of 2,000", ylabel="on an object, of 512")
    right.legend(frameon=False, fontsize=8)
    return figure


def _macs_by_part(parts: Iterable[str]) -> list[float]:
    """Billions of multiply-adds of the modules whose paths begin with each name."""
    model = FasterRCNN(create_model("resnet50"), 80)
    shapes = (1, 800, 800, 3), (1, 1000, 4)
    image, regions = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    # Given regions replace the proposals of the network, so that its own costs are those of a call without them.
    calls = layer_costs(model, image), layer_costs(model, image, regions)
    sums = [[sum(x.macs for x in layers if x.path.startswith(part)) for layers in calls] for part in parts]
    return [max(both) / 1e9 for both in sums]


def _positives(number: int) -> int:
    """Positives in a sample of 512 from 2,000 proposals, of which `number` lie on the one object."""
    truth = jnp.array([[10.0, 10, 50, 50]])
    proposals = jnp.where(jnp.arange(2000)[:, None] < number, truth, truth + 100)
    sample = sample_proposals(
        jax.random.key(0),
        proposals,
        jnp.ones(2000, bool),
        truth,
        jnp.zeros(1, jnp.int32),
        jnp.ones(1, bool),
        count=512,
        positive_fraction=0.25,
    )
    return int((sample.target > 0).sum())
