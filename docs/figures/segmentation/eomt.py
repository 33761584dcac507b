"""Figure of dlcore.segmentation.eomt; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.cost.formulas import attention_macs
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GRAY, new_figure
from experiments.figure_parts import parameters_by_part, stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["eomt"]


def eomt() -> "Figure":
    """How little EoMT adds to a plain transformer: its queries and heads are 4 % of the published network.

    Left: parts of the parameters; of a Mask2Former on a Swin-T 41 % are decoders. Right: multiply-adds of each block's
    attention. The 200 queries join the 1605 other tokens for the last four blocks; in all blocks they would cost 21 %
    more.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2, width_ratios=(1.2, 1))
    parts = {
        "encoder": r"/(blocks_|patch_embed|pos_embed|cls_token|register|layernorm|backbone|stage_norms)",
        "pixel decoder": r"pixel_encoder|input_proj|/level_embed|adapter|/layer_1|mask_projection",
        "query decoder": r"/decoder",
        "queries, heads": ".",
    }
    names = {"EoMT, ViT-L": "eomt_large_640", "Mask2Former": "mask2former_swin_t"}
    rows = [parameters_by_part(name, parts) for name in names.values()]
    shares = [{part: 100 * size / sum(row.values()) for part, size in row.items()} for row in rows]
    stacked_bars(left, list(names), shares)
    left.set(xlabel="parameters / %")
    left.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
    model = create_model("eomt_large_640")
    tokens = (model.image_size // model.patch_size) ** 2 + 1 + model.num_registers
    blocks = np.arange(1, model.depth + 1)
    late, always = (
        np.array([attention_macs(tokens + model.num_queries * (block > first), model.width) for block in blocks]) / 1e9
        for first in (model.depth - model.query_blocks, 0)
    )
    right.step(blocks, always, where="mid", linestyle="--", color=GRAY, label="queries in all blocks")
    right.step(blocks, late, where="mid", color=BLUE, label="in the last four")
    right.set(xlabel="block", ylabel="multiply-adds / 1e9", ylim=(0, 9))
    right.legend(fontsize=8, frameon=False, loc="lower left")
    return figure
