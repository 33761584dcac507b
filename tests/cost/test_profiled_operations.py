"""Operations by their time: what an instruction costs, where it comes from, and how far it is from the roof."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.cost import profiled_operations
from dlcore.cost.profiled_operations import chip_of, hot_operations, instructions, measured_chip, module_of, trace_times
from dlcore.cost.roofline import CHIPS, Chip

TEXT = """HloModule jit_update

%fused_computation (param_0: f32[8,16], param_1: f32[16,4]) -> f32[8,4] {
  %param_0 = f32[8,16]{1,0} parameter(0)
  %param_1 = f32[16,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,4]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[8,16], b: f32[16,4], x: bf16[2,8,8,3], k: bf16[3,3,3,5]) -> f32[8,4] {
  %a = f32[8,16]{1,0} parameter(0)
  %b = f32[16,4]{1,0} parameter(1)
  %x = bf16[2,8,8,3]{3,2,1,0} parameter(2)
  %k = bf16[3,3,3,5]{3,2,1,0} parameter(3)
  %conv.7 = bf16[2,8,8,5]{3,2,1,0:T(8,128)(2,1)} convolution(%x, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f, metadata={op_name="jit(update)/jvp(Net)/Net._forward/stage1/conv1/cond/branch_0_fun/conv_general_dilated" stack_frame_id=3}
  ROOT %fusion.2 = f32[8,4]{1,0} fusion(%a, %b), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(update)/transpose(jvp(Net))/head/dot_general"}
}
"""  # noqa: E501


def test_flops_and_bytes_by_hand():
    found = instructions(TEXT)
    assert found["conv.7"].flops == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3), "two a multiply-add, 27 for each output"
    assert found["conv.7"].bytes == 2 * (2 * 8 * 8 * 3 + 3 * 3 * 3 * 5 + 2 * 8 * 8 * 5), "bfloat16: two bytes each"
    assert found["fusion.2"].flops == 2 * 8 * 4 * 16, "that of the product in what it calls"
    assert found["fusion.2"].bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert (found["fusion.2"].opcode, found["a"].flops) == ("fusion", 0)


def test_operations_whose_line_names_no_axes_count_nothing():
    lines = [
        "  %d = f32[] dot(%s, %s), lhs_contracting_dims={}, rhs_contracting_dims={}",
        '  %other = f32[8,4]{1,0} custom-call(%a, %b), custom_call_target="topk"',
        "  %outer = f32[8,16,16,4]{3,2,1,0} dot(%a, %b), lhs_contracting_dims={}, rhs_contracting_dims={}",
        "  %bare = f32[8,4]{1,0} dot(%a, %b)",
        "  %less = pred[8,16]{1,0} compare(%a, %a), direction=LT",
        "  %odd = f32[8,4]{1,0}",
    ]
    found = instructions(TEXT.replace("  %conv.7", "\n".join(lines) + "\n  %conv.7"))
    assert (found["other"].flops, found["d"].flops, found["bare"].flops) == (0, 0, 0)
    assert found["outer"].flops == 2 * 8 * 16 * 16 * 4, "each number of one with each of the other"
    assert found["less"].bytes == 2 * 4 * 8 * 16 + 8 * 16, "a byte a truth value"
    assert "odd" not in found


@pytest.mark.parametrize(
    ("path", "module", "phase"),
    [
        ("jit(update)/jvp(Net)/Net._forward/stage1/conv1/cond/branch_0_fun/conv", "stage1/conv1", "forward"),
        ("jit(update)/transpose(jvp(Net))/head/dot_general", "head", "backward"),
        ("jit(_step)/while/body/closed_call/jvp(Net)/block0/mlp/fc1/add", "block0/mlp/fc1", "forward"),
        ("jit(update)/add", "", "other"),
        ("", "", "other"),
    ],
)
def test_where_an_instruction_comes_from(path, module, phase):
    assert module_of(path) == (module, phase)


def test_the_table_by_hand():
    """1000 FLOP/s and 1000 B/s: the product's 1024 FLOPs take 1.024 s at least, its 896 bytes .896."""
    rows = hot_operations({"fusion.2": 6.0, "conv.7": 2.0, "unknown.1": 0.5}, TEXT, 2, Chip(1000, 1000))
    assert [row.name for row in rows] == ["fusion.2", "conv.7", "unknown.1"]
    assert rows[0].seconds == 3.0, "of one run"
    assert rows[0].share == pytest.approx(6 / 8.5)
    assert (rows[0].bound, rows[0].least_seconds) == ("compute", pytest.approx(1.024))
    assert (rows[1].bound, rows[1].least_seconds) == ("compute", pytest.approx(34.56))
    slow = hot_operations({"fusion.2": 6.0}, TEXT, 2, Chip(1e6, 1000))[0]
    assert (slow.bound, slow.least_seconds) == ("memory", pytest.approx(0.896))
    assert (rows[2].opcode, rows[2].flops, rows[2].least_seconds) == ("?", 0, 0)


def test_a_real_trace(tmp_path):
    def forward(w, x):
        with jax.named_scope("Net"), jax.named_scope("head"):
            return jnp.tanh(x @ w).sum()

    w, x = jnp.ones((256, 120)), jnp.ones((56, 256))
    step = jax.jit(jax.grad(forward)).lower(w, x).compile()
    jax.block_until_ready(step(w, x))
    with jax.profiler.trace(str(tmp_path)):
        for _ in range(3):
            jax.block_until_ready(step(w, x))
    rows = hot_operations(trace_times(tmp_path), step.as_text(), 3, Chip(1e12, 1e11))
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert sum(row.flops for row in rows) == 2 * (2 * 56 * 256 * 120), "x w, and the gradient of w"
    assert {row.module for row in rows if row.flops} == {"head"}
    assert all(row.seconds > 0 for row in rows)
    with pytest.raises(FileNotFoundError, match="holds no trace"):
        trace_times(tmp_path / "nothing")


def test_chips():
    assert chip_of("NVIDIA H100 80GB HBM3") == CHIPS["h100"]
    assert chip_of("TPU v5 lite") == CHIPS["v5e"]
    assert chip_of("cpu") is None
    assert chip_of("TPU v4") == CHIPS["v4"]
    here = measured_chip(size=128, megabytes=1, repeats=2)
    assert 1e8 < here.flops < 1e15
    assert 1e7 < here.bandwidth < 1e14


def test_a_chip_is_measured_by_the_fastest_of_its_runs(monkeypatch):
    """Products of 8 x 8 in 3, 2 and 4 seconds, an array of 1 MiB in 5, 8 and 4, read and written."""
    ticks = iter(np.cumsum([0, 3, 0, 2, 0, 4, 0, 5, 0, 8, 0, 4]).tolist())
    monkeypatch.setattr(profiled_operations, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert measured_chip(size=8, megabytes=1, repeats=3) == Chip(2 * 8**3 / 2, 2 * 2**20 / 4)
    assert next(ticks, None) is None


def test_times_are_those_of_the_devices_operations_in_the_newest_trace(tmp_path, monkeypatch):
    """Of a device the line "XLA Ops" counts, without one all of its lines, and not what the host did meanwhile."""

    def event(nanoseconds, **stats):
        return SimpleNamespace(duration_ns=nanoseconds, stats=list(stats.items()))

    def line(name, *events):
        return SimpleNamespace(name=name, events=events)

    modules = line("XLA Modules", event(900, hlo_op="jit_update"))
    operations = line(
        "XLA Ops", event(30, hlo_op="dot.1"), event(50, hlo_op="add.2"), event(40, hlo_op="dot.1"), event(7)
    )
    host = SimpleNamespace(name="/host:CPU", lines=[line("thread", event(60, hlo_op="dot.1"))])
    chip = SimpleNamespace(name="/device:TPU:0", lines=[modules, operations])
    unnamed = SimpleNamespace(name="/device:TPU:1", lines=[line("thread", event(20, hlo_op="dot.1"))])
    traces = {"1": [host, chip, unnamed], "0": []}
    for folder in traces:
        (tmp_path / "plugins" / "profile" / folder).mkdir(parents=True)
        (tmp_path / "plugins" / "profile" / folder / "chip.xplane.pb").touch()
    read = SimpleNamespace(from_file=lambda path: SimpleNamespace(planes=traces[Path(path).parent.name]))
    monkeypatch.setattr(jax.profiler, "ProfileData", read)
    assert trace_times(tmp_path) == pytest.approx({"dot.1": 90e-9, "add.2": 50e-9})
