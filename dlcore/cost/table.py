"""The costs of a network as a table to read, and as one to compute with.

layer        kind   output      parameters       %       MMACs       %   activation KB     %  field  stride
features_0   Conv   55x55x64        23,296     0.0       70.28     9.8          756.25  32.7     11       4

MMACs are millions of multiply-adds; shares are of the column's sum. "field" is the receptive field, pixels per side, or
"all" where attention or a mean of the whole map comes in; field and stride are blank where an output has no position in
the image, as are numbers that are 0. Where blocks are folded, their times are the sums of their layers'.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from dlcore.choices import check_whole_number
from dlcore.cost.layers import Layer, Total, fold, merge_layers, total
from dlcore.cost.roofline import Chip, bound_of, roofline, total_seconds

__all__ = ["text_table", "write_csv"]


def text_table(layers: Sequence[Layer], batch: int = 1, chip: Chip | None = None, depth: int | None = None) -> str:
    """Write layers as aligned columns, a line of sums, and the sums in words.

    Args:
      layers: layers from `dlcore.cost.layers.layer_costs`.
      batch: the examples that `layers` were counted for.
      chip: adds the roofline's columns; None leaves them out.
      depth: fold layers that share so many names of the path; None shows all.

    Returns:
      Several lines of text.
    """
    check_whole_number("batch", batch, 1)
    sums = total(layers)
    heads = ["layer", "kind", "output", "parameters", "%", "MMACs", "%", "activation KB", "%", "field", "stride"]
    heads += ["FLOP/byte", "bound by", "us at least"] if chip else []
    rows = [_row(block, sums, batch) + _bound(parts, chip) for block, parts in _blocks(layers, depth)]
    last = ["total", "", "", f"{sums.parameters:,}", "", f"{sums.macs / 1e6:,.2f}", ""]
    last += [f"{sums.activation_bytes / 1024:,.2f}", "", "", ""]
    last += ["", "", f"{1e6 * total_seconds(layers, chip)[0]:,.1f}"] if chip else []
    widths = [max(len(row[i]) for row in (heads, *rows, last)) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        aligned = (f"{c:<{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(aligned).rstrip()

    rule = "-" * len(line(heads))
    return "\n".join([line(heads), rule, *map(line, rows), rule, line(last), "", *_words(layers, batch, chip)])


def write_csv(
    path: str | Path, layers: Sequence[Layer], batch: int = 1, chip: Chip | None = None, depth: int | None = None
) -> None:
    """Write layers as CSV in whole numbers (MACs, FLOPs, KB, seconds), one line per layer, without sums.

    Args:
      path: path of the file.
      layers: layers from `dlcore.cost.layers.layer_costs`.
      batch: the examples that `layers` were counted for.
      chip: adds the roofline's columns; None leaves them out.
      depth: fold layers that share so many names of the path; None writes all.
    """
    check_whole_number("batch", batch, 1)
    blocks = _blocks(layers, depth)
    heads = ["layer", "kind", "output", "parameters", "macs", "flops", "activation_kb", "receptive_field", "stride"]
    heads += ["flop_per_byte", "bound_by", "seconds_at_least"] if chip else []
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        for block, parts in blocks:
            field, stride = _pixels(block.receptive_field), _pixels(block.stride)
            row = [block.path, block.kind, _shape(block, batch), block.parameters, block.macs, block.flops]
            bounds = bound_of(parts, chip) if chip else ()
            writer.writerow([*row, block.output_bytes / 1024, field, stride, *bounds])


def _blocks(layers: Sequence[Layer], depth: int | None) -> list[tuple[Layer, list[Layer]]]:
    if depth is None:
        return [(layer, [layer]) for layer in layers]
    return [(merge_layers(parts, "/".join(parts[0].path.split("/")[:depth])), parts) for parts in fold(layers, depth)]


def _row(layer: Layer, sums: Total, batch: int) -> list[str]:
    kb, numbers = layer.output_bytes / 1024, []
    for text, amount, whole in (
        (f"{layer.parameters:,}", layer.parameters, sums.parameters),
        (f"{layer.macs / 1e6:,.2f}", layer.macs, sums.macs),
        (f"{kb:,.2f}", layer.output_bytes, sums.activation_bytes),
    ):
        numbers += [text, f"{100 * amount / whole:.1f}"] if amount else ["", ""]
    return [
        layer.path,
        layer.kind,
        _shape(layer, batch),
        *numbers,
        _pixels(layer.receptive_field),
        _pixels(layer.stride),
    ]


def _bound(layers: Sequence[Layer], chip: Chip | None) -> list[str]:
    if chip is None:
        return []
    bound = bound_of(layers, chip)
    return [f"{bound.intensity:.1f}" if bound.intensity else "", bound.by, f"{1e6 * bound.seconds:,.1f}"]


def _words(layers: Sequence[Layer], batch: int, chip: Chip | None) -> list[str]:
    sums, per = total(layers), "an image" if batch == 1 else f"a batch of {batch}"
    mib = sum(layer.parameter_bytes for layer in layers) / 2**20
    sentences = [
        f"{sums.parameters:,} parameters ({mib:,.1f} MiB); {sums.macs / 1e9:.3f} GMACs = {sums.flops / 1e9:.3f} GFLOPs "
        f"{per}; outputs of all layers {sums.activation_bytes / 2**20:,.1f} MiB"
    ]
    if chip:
        unfused, fused = (1e6 * seconds for seconds in total_seconds(layers, chip))
        memory = sum(layer.macs > 0 and roofline(layer, chip).by == "memory" for layer in layers)
        sentences.append(
            f"at least {unfused:,.1f} us layer by layer, {fused:,.1f} us with all else fused into the layers that "
            f"multiply, of which {memory} of {sum(layer.macs > 0 for layer in layers)} are bound by memory; at "
            f"{chip.flops / 1e12:g} bfloat16 TFLOP/s and {chip.bandwidth / 1e9:g} GB/s, compute binds above "
            f"{chip.flops / chip.bandwidth:.0f} FLOPs a byte"
        )
    return sentences


def _shape(layer: Layer, batch: int) -> str:
    shape = layer.output_shape
    return "x".join(map(str, shape[1:] if shape and shape[0] == batch else shape))


def _pixels(sizes: tuple[float, ...] | None) -> str:
    if sizes is None:
        return ""
    texts = ["all" if math.isinf(size) else f"{size:g}" for size in sizes]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)
