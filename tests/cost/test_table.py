"""The table: aligned, with units, sums and shares."""

import csv
import math

import pytest

from dlcore.cost.layers import Layer
from dlcore.cost.roofline import Chip
from dlcore.cost.table import text_table, write_csv

LAYERS = [
    Layer("stem", "Conv", (2, 8, 8, 16), 448, 1792, 3_000_000, 2048, 8192, (3.0, 3.0), (1.0, 1.0)),
    Layer("block/norm", "BatchNorm", (2, 8, 8, 16), 32, 128, 0, 8192, 8192, (3.0, 3.0), (1.0, 1.0)),
    Layer("block/gate", "Dense", (2, 8, 4, 16), 20, 80, 1_000_000, 8192, 4096, (math.inf, math.inf), (1.0, 2.0)),
    Layer("aux/kernel", "not run", (), 500, 2000),
]


@pytest.mark.covers("CO-16")
def test_columns_sums_and_shares():
    lines = text_table(LAYERS, batch=2).split("\n")
    heads = ["layer", "kind", "output", "parameters", "%", "MMACs", "%", "activation KB", "%", "field", "stride"]
    assert [cell.strip() for cell in lines[0].split("  ") if cell.strip()] == heads
    assert lines[2].split() == ["stem", "Conv", "8x8x16", "448", "44.8", "3.00", "75.0", "8.00", "40.0", "3", "1"]
    assert lines[3].split() == ["block/norm", "BatchNorm", "8x8x16", "32", "3.2", "8.00", "40.0", "3", "1"]
    assert lines[4].split()[-2:] == ["all", "1x2"]
    assert lines[5].split() == ["aux/kernel", "not", "run", "500", "50.0"]
    assert lines[7].split() == ["total", "1,000", "4.00", "20.00"]
    assert "1,000 parameters" in lines[9]
    assert "0.004 GMACs = 0.008 GFLOPs a batch of 2" in lines[9]
    ends = {line.index("8x8x16") for line in lines if "8x8x16" in line}
    assert len(ends) == 1


def test_folded_rows_and_bounds():
    lines = text_table(LAYERS, 2, Chip(1e12, 1e9), depth=1).split("\n")
    assert lines[3].split()[:4] == ["block", "block", "8x4x16", "52"]
    # 8192 + 128 + 8192 bytes and then 8192 + 80 + 4096 at 1 GB/s; 1e6 MACs take 2 us
    assert lines[3].split()[-2:] == ["memory", "28.9"]
    assert "layer by layer" in lines[-1]
    assert "of which 2 of 2 are bound by memory" in lines[-1]
    assert "compute binds above 1000 FLOPs a byte" in lines[-1]


@pytest.mark.covers("CO-16")
def test_the_file_has_whole_numbers(tmp_path):
    write_csv(tmp_path / "cost.csv", LAYERS, 2, Chip(1e12, 1e9))
    with (tmp_path / "cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert (rows[0]["layer"], rows[0]["output"], rows[0]["macs"], rows[0]["flops"]) == (
        "stem",
        "8x8x16",
        "3000000",
        "6000000",
    )
    assert float(rows[0]["activation_kb"]) == 8
    assert float(rows[0]["seconds_at_least"]) == pytest.approx(12032e-9)


def test_the_roofline_stands_beside_each_layer_and_their_sum():
    """At 1 GB/s 12032, 16512, 12368 and 2000 bytes take 12.0, 16.5, 12.4 and 2.0 us, 42.9 in all.

    Layers with MACs are the first and the third, which take 24.4 us.
    """
    lines = text_table(LAYERS, 2, Chip(1e12, 1e9)).split("\n")
    assert lines[0].endswith("FLOP/byte  bound by  us at least")
    assert lines[2].split()[-3:] == ["498.7", "memory", "12.0"]  # 6e6 / 12032
    assert lines[3].split()[-2:] == ["memory", "16.5"]
    assert lines[7].split()[-1] == "42.9"
    assert "at least 42.9 us layer by layer, 24.4 us with all else fused" in lines[-1]
    assert "at 1 bfloat16 TFLOP/s and 1 GB/s" in lines[-1]
    large = [Layer("a", "Dense", (3, 4), 7, 3 * 2**20, 0, 0, 5 * 2**20)]
    assert text_table(large, 3).splitlines()[-1] == (
        "7 parameters (3.0 MiB); 0.000 GMACs = 0.000 GFLOPs a batch of 3; outputs of all layers 5.0 MiB"
    )
    plain = text_table(LAYERS, 1)
    assert "GFLOPs an image; outputs of all layers 0.0 MiB" in plain
    assert "1,000 parameters (0.0 MiB)" in plain
    assert "2x8x8x16" in plain


def test_folded_layers_are_written_with_the_sums_of_their_parts(tmp_path):
    write_csv(tmp_path / "cost.csv", LAYERS, 2, depth=1)
    with (tmp_path / "cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["stem", "block", "aux"]
    assert list(rows[0])[-1] == "stride"
    names = ("parameters", "macs", "flops", "activation_kb", "receptive_field", "stride")
    assert [rows[1][name] for name in names] == ["52", "1000000", "2000000", "12.0", "all", "1x2"]


def test_words_stand_to_the_left_and_numbers_to_the_right():
    layers = [LAYERS[0], Layer("b", "parameter", (), 52, 208)]
    assert text_table(layers, 2).splitlines()[:6] == [
        "layer  kind       output  parameters     %  MMACs      %  activation KB      %  field  stride",
        "---------------------------------------------------------------------------------------------",
        "stem   Conv       8x8x16         448  89.6   3.00  100.0           8.00  100.0      3       1",
        "b      parameter                  52  10.4",
        "---------------------------------------------------------------------------------------------",
        "total                            500         3.00                  8.00",
    ]
