"""The bench of matrix products: its numbers, its peaks, and its errors."""

import json

import pytest

from dlcore.cost.roofline import CHIPS
from dlcore.experiment.study import run_study
from experiments.bench import matmul

CPUINFO = "processor : 0\ncpu MHz\t\t: 2500.000\nflags\t\t: fpu fma avx2 {}\n"


@pytest.mark.slow
@pytest.mark.covers("SY-03")
def test_it_runs_on_a_cpu_and_its_numbers_agree(tmp_path, capsys):
    assert run_study(matmul.experiment, ["--smoke", f"--run_dir={tmp_path}"]) == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["cores"] >= 1
    for dtype in ("float32", "bfloat16"):
        for size in (64, 96):
            row = {key.partition(": ")[2]: v for key, v in numbers.items() if key.startswith(f"{dtype}, {size}: ")}
            assert row["TFLOP/s"] == pytest.approx(2 * size**3 / row["seconds"] / 1e12)
            assert 1e-5 < row["TFLOP/s"] < 100
            if "share of the peak" in row:
                assert row["share of the peak"] == pytest.approx(row["TFLOP/s"] / row["peak TFLOP/s"])
    assert "float32, 64: TFLOP/s" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--dtypes=float31"], 1, "dtypes=float31: unknown"),
        (["--sizes=0"], 2, "allowed: at least 1"),  # numbers are refused before the study begins
        (["--sizes=8", "--num_repeats=0"], 2, "num_repeats=0"),
    ],
)
def test_bad_flags(tmp_path, capsys, words, status, message):
    assert run_study(matmul.experiment, [*words, f"--run_dir={tmp_path}"]) == status
    assert message in capsys.readouterr().err
