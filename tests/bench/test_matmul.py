"""The bench of matrix products: its rows, its peaks, and its JSON."""

import json

import jax
import pytest

from dlcore.cost.roofline import CHIPS
from experiments.bench import matmul

CPUINFO = "processor : 0\ncpu MHz\t\t: 2500.000\nflags\t\t: fpu fma avx2 {}\n"


@pytest.mark.covers("SY-03")
def test_it_runs_on_a_cpu_and_its_rows_are_whole(tmp_path, capsys):
    path = tmp_path / "found.json"
    matmul.main(["--sizes=64,96", "--repeats=2", f"--json={path}"])
    rows = json.loads(path.read_text())
    assert [(row["dtype"], row["shape"]) for row in rows] == [
        (dtype, [size] * 3) for dtype in ("float32", "bfloat16") for size in (64, 96)
    ]
    for row in rows:
        assert row["tflops"] == pytest.approx(2 * row["shape"][0] ** 3 / row["seconds"] / 1e12)
        assert 1e-5 < row["tflops"] < 100
        if row["ratio"] is not None:
            assert row["ratio"] == pytest.approx(row["tflops"] / row["peak_tflops"])
        assert row["platform"] == jax.devices()[0].platform
    assert "64³" in capsys.readouterr().out
    matmul.check(rows)


@pytest.mark.covers("SY-03")
def test_the_schema_is_checked():
    (row,) = [matmul.measure(32, "float32", 1)]
    matmul.check([row])
    with pytest.raises(ValueError, match="'cores' is missing or unknown"):
        matmul.check([{k: v for k, v in row.items() if k != "cores"}])
    with pytest.raises(ValueError, match="seconds is '1'"):
        matmul.check([{**row, "seconds": "1"}])
    with pytest.raises(ValueError, match="'speed' is missing or unknown"):
        matmul.check([{**row, "speed": 1.0}])


@pytest.mark.covers("SY-03")
def test_the_peak_of_a_cpu_by_hand():
    """2 cores x 2.5 GHz x 64 = 320 GFLOP/s with AVX-512, half with AVX2: two units of 16 (8) lanes, 2 FLOPs each."""
    assert matmul.cpu_peak(CPUINFO.format("avx512f"), 2) == 320e9
    assert matmul.cpu_peak(CPUINFO.format(""), 2) == 160e9
    assert matmul.cpu_peak(CPUINFO.replace("avx2", "sse2").format(""), 2) is None
    assert matmul.cpu_peak("", 2) is None


def test_the_peak_of_an_accelerator_is_that_of_bfloat16():
    class Device:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

    assert matmul.peak(Device, "bfloat16") == CHIPS["h100"].flops
    assert matmul.peak(Device, "float32") is None


def test_bad_flags(capsys):
    for words, message in ((["--sizes=0"], "must be at least 1"), (["--dtypes=float31"], "float31 is unknown")):
        with pytest.raises(SystemExit):
            matmul.main(words)
        assert message in capsys.readouterr().err
