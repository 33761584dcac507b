"""A plan: exact bytes by hand, collectives and FLOPs of a two-layer model, verdicts, what is printed and written."""

import importlib.util
import json
import re
import sys
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from dlcore.modes.plan import topology, worker
from dlcore.modes.plan.plan import compiled_cases, planned_batch
from dlcore.modes.plan.report import best_of, hints, lines_of, notes, row_of, row_summary
from dlcore.modes.plan.topology import GPUS, TPUS, Topology, cases_of, seconds, topology_of
from dlcore.modes.plan.worker import measure, memory_shortage, step_facts
from dlcore.run.step import Program
from dlcore.setting import FlagError
from experiments.classification.supervised import experiment
from experiments.recipes import resnet50

MLP = ["--model=mlp", "--model.hidden=32", "--batch_size=64", "--augment=none", "--ema=none", "--input_size=8"]
H100 = topology_of("h100:8")
PLANNING = importlib.import_module("dlcore.modes.plan.plan")  # the package's name `plan` is the function


def resolved(*arguments):
    return ResolvedRun(experiment, resolve(experiment, [*MLP, *arguments]))


def learner_of(some):
    spec, batch = planned_batch(some)
    return some.training(spec).build(), batch


@pytest.fixture(scope="module")
def of_mlp():
    """64 -> 32 -> 10 features: 64 * 32 + 32 + 32 * 10 + 10 = 2,410 parameters."""
    return learner_of(resolved("--optimizer=adam"))


@pytest.mark.slow
def test_the_state_and_the_batch_are_counted_to_the_byte(of_mlp):
    """Adam: two moments for each parameter, its count, and the schedule's; beside them the step and the key."""
    learner, batch = of_mlp
    found = measure(learner, batch, jax.devices()[:4], "data:4", "replicate")
    assert found["bytes"] == {
        "parameters": 4 * 2410,
        "optimizer": 2 * 4 * 2410 + 4 + 4,
        "other state": 4 + 8,
        "batch": 16 * 8 * 8 * 4 + 16 * 4 + 16 * 4,  # images, labels, indices: a quarter of 64
    }


def test_fsdp_splits_what_divides_and_is_large_enough(of_mlp):
    """Of 64 x 32 a quarter; 320 and smaller leaves stay whole."""
    learner, batch = of_mlp
    found = measure(learner, batch, jax.devices()[:4], "data:4", "fsdp")
    assert found["bytes"]["parameters"] == 4 * (64 * 32 // 4 + 32 + 320 + 10)
    assert found["bytes"]["optimizer"] == 2 * found["bytes"]["parameters"] + 8
    assert found["collectives"]["all-gather"][1] >= 4 * 64 * 32


@pytest.mark.slow
def test_zero1_splits_the_bytes_of_the_optimizer(of_mlp):
    """Adam's moments of 64 x 32 on four devices; a device gathers the update of these parameters and no more."""
    learner, batch = of_mlp
    found = measure(learner, batch, jax.devices()[:4], "data:4", "zero1")
    assert found["bytes"]["parameters"] == 4 * 2410
    assert found["bytes"]["optimizer"] == 2 * 4 * (64 * 32 // 4 + 32 + 320 + 10) + 8
    assert found["collectives"]["all-gather"][1] == 4 * 64 * 32


def test_a_plan_holds_what_a_state_on_devices_holds(of_mlp):
    from dlcore.run.sharding import make_mesh
    from dlcore.run.step import Placement, Program

    learner, _ = of_mlp
    rows = batch_at(Pipeline(digits("train"), 64, 0), 0)
    program = Program(learner, rows, Placement(make_mesh("data:4", jax.devices()[:4]), "fsdp"), 0)
    state = program.init(rows).state
    state = state.replace(rng=jax.random.key_data(state.rng))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    sizes = measure(learner, *_shapes(rows), "data:4", "fsdp")["bytes"]
    assert sum(sizes.values()) - sizes["batch"] == held


def _shapes(rows):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rows), jax.devices()[:4]


def test_step_facts_by_hand(of_mlp):
    learner, batch = of_mlp
    facts = step_facts(learner, batch)
    assert facts["parameters"] == 2410
    # forward, and once more for the weights of both layers and for the input of the second
    assert facts["flops"] == 2 * 64 * (2 * (64 * 32 + 32 * 10) + 32 * 10)
    assert facts["loops"] == 0
    assert 64 * 32 * 4 < facts["activations"] < 64 * 1000 * 4
    assert step_facts(learner._replace(loss=None), batch)["activations"] is None


def test_gradients_are_sent_once_a_step(of_mlp):
    learner, batch = of_mlp
    found = measure(learner, batch, jax.devices()[:8], "data:8", "replicate")
    count, size, sent = found["collectives"]["all-reduce"]
    assert 4 * 2410 <= size <= 4 * 2410 + 64  # beside the gradients a few metrics
    assert sent == pytest.approx(2 * size * 7 / 8, abs=count)


MEASURES = {
    "mesh": "data:4,model:2",
    "rule": "tensor",
    "compile_seconds": 1.0,
    "temporaries": 1000,
    "arguments": 400,
    "results": 300,
    "shared": 250,
    "peak": None,
    "loops": [],
    "bytes": {"parameters": 100, "optimizer": 200, "other state": 10, "batch": 90},
    "collectives": {"all-reduce": [2, 100, 150], "all-gather": [1, 70, 50]},
}
FACTS = {"parameters": 25, "flops": 8000, "loops": 0, "activations": 400}


def test_a_row_by_hand():
    row = row_of(H100, FACTS, MEASURES, batch_size=8)
    assert row["total"] == 400 + 300 - 250 + 1000
    assert row["flops"] == 8000 / 8
    assert row["activations"] == 400 / 4
    assert row["sent"] == {"all-reduce": 150, "all-gather": 50}
    # 1000 FLOPs take less than 700 bytes of memory traffic do
    assert row["seconds"] == pytest.approx(700 / 3350e9 + 200 / 450e9)
    assert row["verdict"] == "fits"
    assert (
        row_of(H100, FACTS, {**MEASURES, "rule": "fsdp"}, batch_size=8)["flops"] == 8000 / 4
    )  # nothing splits over model
    assert row_of(H100, FACTS, MEASURES, batch_size=7)["flops"] == 8000 / 2  # seven rows do not divide over four


def test_the_bound_is_of_arithmetic_where_that_takes_longer():
    assert seconds(H100, 989.4e12, 1, 0) == pytest.approx(1)
    assert seconds(H100, 1, 3350e9, 900e9) == pytest.approx(3)
    assert seconds(topology_of("cpu:8"), 1, 1, 1) is None


@pytest.mark.parametrize(
    ("limit", "verdict"), [(1450, "fits"), (1449, "unknown"), (400, "unknown"), (399, "does not fit"), (None, "")]
)
def test_of_a_gpu_it_is_known_only_at_the_ends(limit, verdict):
    """State and batch are 400 bytes; with the estimate of temporaries it is 1,450."""
    assert row_of(H100._replace(limit=limit), FACTS, MEASURES, 8)["verdict"] == verdict


def test_a_tpu_fits_where_its_compiler_says_so():
    v5e = topology_of("v5e:2x4")
    assert row_of(v5e._replace(limit=1), FACTS, MEASURES, 8)["verdict"] == "fits"
    short = {k: MEASURES[k] for k in ("mesh", "rule", "bytes", "compile_seconds")}
    row = row_of(v5e, FACTS, {**short, "needs": 21.3 * 2**30, "has": 15.75 * 2**30}, 8)
    assert row["verdict"] == "does not fit"
    assert row_of(v5e, FACTS, {**short, "failed": "INTERNAL"}, 8)["verdict"] == "unknown"


def test_the_fastest_that_fits_is_best_and_the_smaller_of_equals():
    rows = [
        {"verdict": "does not fit", "seconds": 1, "total": 1},
        {"verdict": "fits", "seconds": 3, "total": 2},
        {"verdict": "fits", "seconds": 2, "total": 9},
        {"verdict": "fits", "seconds": 2, "total": 8},
        {"verdict": "unknown", "seconds": 1, "total": 1},
    ]
    assert best_of(rows) is rows[3]
    assert best_of(rows[:1]) is None


def test_the_text_names_the_shortage_the_best_mesh_and_what_helps():
    v5e, flags = topology_of("v5e:2x4"), resolve(experiment, ["--model=vit_b_16"])
    short = {k: MEASURES[k] for k in ("mesh", "bytes", "compile_seconds")}
    rows = [
        row_of(v5e, FACTS, MEASURES, 8),
        row_of(v5e, FACTS, {**short, "rule": "tensor", "needs": 21.3 * 2**30, "has": 15.75 * 2**30}, 8),
    ]
    plan = {"topology": v5e._asdict(), **FACTS, "rows": rows}
    text = "\n".join(lines_of(plan, flags))
    assert "needs 21.3 of 15.75 GiB" in text
    assert row_summary(rows[0]) == "data:4,model:2 tensor: 1.4 KiB, fits"
    assert row_summary(rows[1]) == "data:4,model:2 tensor: does not fit: needs 21.3 of 15.75 GiB"
    assert "best of those that fit: --mesh=data:4,model:2 --sharding=tensor" in text
    assert "8 devices of 15.75 GiB; 25 parameters" in text
    (helps,) = hints(plan, flags)
    for word in ("--model.remat=full", "--precision=bf16", "--batch_size with --accumulate", "--rules=fsdp"):
        assert word in helps
    assert hints({**plan, "rows": rows[:1]}, flags) == []
    plan["rows"] = rows[1:]
    assert lines_of(plan, flags)[-1] == "nothing fits"


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (21.30G) "
            "exceeds available HBM (15.75G).",
            (21.30 * 2**30, 15.75 * 2**30),
        ),
        ("RESOURCE_EXHAUSTED: permanent error. Used 512.50M of 256K hbm.", (512.5 * 2**20, 256 * 2**10)),
        ("INTERNAL: something else", None),
    ],
)
def test_the_compilers_shortage_is_read(message, numbers):
    assert memory_shortage(message) == numbers


# Machines


@pytest.mark.parametrize(
    ("name", "devices", "gib"),
    [
        ("v5e:4x4", 16, 15.75),
        ("v5e:16x16", 256, 15.75),
        ("v6e:2x2", 4, 31.25),
        ("v5p:2x2x4", 16, 95.74),
        ("v4:2x2x1", 8, 15.25),
        ("h100:8", 8, 80e9 / 2**30),
        ("h200:16", 16, 141e9 / 2**30),
    ],
)
def test_topologies(name, devices, gib):
    found = topology_of(name)
    assert found.devices == devices
    assert found.limit == pytest.approx(gib * 2**30)


def test_a_core_of_v4_has_half_a_chip():
    assert topology_of("v4:2x2x1").flops == 275e12 / 2
    assert topology_of("v5e:4x4")[3:6] == (197e12, 819e9, 200e9)
    assert set(TPUS) | set(GPUS) == {"v4", "v5e", "v5p", "v6e", "a100", "h100", "h200"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e:3x3", "allowed of v5e: 1x1, 2x2, 2x4, 4x4"),
        ("v5litepod-16", "allowed: TPUs such as v4:2x4x4, v5e:4x4"),
        ("h100", "no number of devices; allowed: h100:1 to h100:1024"),
        ("h100:0", "no number of devices"),
        ("cpu:99999", "no number of devices"),
    ],
)
def test_other_topologies_are_refused_by_name(name, message):
    with pytest.raises(FlagError, match=message):
        topology_of(name)


def test_sensible_meshes_and_rules():
    assert cases_of(1) == [("data:1", "replicate")]
    assert cases_of(4) == [
        ("data:4", "replicate"),
        ("data:4", "fsdp"),
        ("data:2,model:2", "tensor"),
        ("data:2,model:2", "fsdp+tensor"),
        ("data:1,model:4", "tensor"),
        ("data:1,model:4", "fsdp+tensor"),
    ]
    assert cases_of(4, "data:4", "replicate,zero1") == [("data:4", "replicate"), ("data:4", "zero1")]
    assert cases_of(6, rules="fsdp+tensor") == [("data:3,model:2", "fsdp+tensor")]
    both = cases_of(16, "data:16,data:4,model:4", "fsdp,tensor")
    assert both == [("data:16", "fsdp"), ("data:4,model:4", "tensor")]


@pytest.mark.parametrize(
    ("meshes", "rules", "message"),
    [
        ("model:4", None, "does not begin with data:"),
        (None, "zero", "zero: unknown; allowed: replicate, zero1, fsdp"),
        ("data:4", "tensor", "suits no mesh"),
        ("data:0", None, "--meshes=data:0: 0 devices; allowed: 4, as the topology has"),
        ("data:4,data:8", None, "--meshes=data:8: 8 devices; allowed: 4"),
        ("data:four", None, "--meshes: mesh='data:four': malformed; allowed: data:4"),
        ("data:2,rows:2", None, "--meshes: mesh='data:2,rows:2': unknown axis 'rows'; allowed: 'data'"),
    ],
)
def test_other_meshes_and_rules_are_refused(meshes, rules, message):
    with pytest.raises(FlagError, match=message):
        cases_of(4, meshes, rules)


# The whole mode


def test_a_recipe_needs_no_data():
    some = ResolvedRun(resnet50.experiment, resolve(resnet50.experiment, ["--batch_size=32"]))
    spec, batch = planned_batch(some)
    chex.assert_shape(batch["image"], (32, 224, 224, 3))
    assert batch["image"].dtype == np.uint8
    chex.assert_shape([batch["label"], batch["index"]], (32,))
    assert spec["num_classes"] == 1000
    assert experiment.run(resolve(experiment, [])).planned() is None  # digits are there
    spec, batch = experiment.run(resolve(experiment, ["--dataset=cifar10", "--image_size=64"])).planned()
    assert spec["image_shape"] == [64, 64, 3]
    chex.assert_shape(batch["image"], (1, 64, 64, 3))


@pytest.mark.weekly
def test_the_mode_from_end_to_end(tmp_path, capsys):
    assert run(experiment, [*MLP, "--mode=plan", "--topology=h100:2", "--meshes=data:2", f"--run_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "h100:2: 2 devices of 74.51 GiB; 2,410 parameters, batch 64, f32" in out
    assert "best of those that fit: --mesh=data:2 --sharding=replicate" in out
    content = json.loads((tmp_path / "plan.json").read_text())
    (plan,) = content["plans"]
    assert [row["rule"] for row in plan["rows"]] == ["replicate", "fsdp"]
    assert plan["rows"][0]["parameters"] == 4 * 2410
    assert plan["rows"][0]["verdict"] == "fits"
    assert content["settings"]["model"] == "mlp"
    html = (tmp_path / "plan.html").read_text()
    assert "best on h100:2" in html
    assert "Planned, not run." in html
    assert not (tmp_path / "config.json").exists(), "a plan is no run"


def test_the_mode_writes_a_row_for_each_mesh_and_rule_and_names_the_best(tmp_path, monkeypatch, capsys):
    """With numbers in place of a compiler: of 2 GPUs the second rule is faster, of 2 CPUs none has a speed."""

    def cases(run, spec, batch, topology, pairs):
        asked.append((run.experiment.name, spec["num_classes"], batch["image"].shape, topology.name, pairs))
        yield FACTS
        for mesh, rule in pairs:
            sent = {"all-reduce": [1, 9, 300 if rule == "replicate" else 200]}
            yield {**MEASURES, "mesh": mesh, "rule": rule, "collectives": sent, "compile_seconds": 2.6}

    asked = []
    monkeypatch.setattr(PLANNING, "compiled_cases", cases)
    words = [*MLP, "--mode=plan", "--topology=h100:2, cpu:2", "--meshes=data:2", f"--run_dir={tmp_path}"]
    assert run(experiment, words) == 0
    pairs = [("data:2", "replicate"), ("data:2", "fsdp")]
    assert asked == [("classification.supervised", 10, (64, 8, 8, 1), name, pairs) for name in ("h100:2", "cpu:2")]
    out = capsys.readouterr().out
    assert "classification.supervised on h100:2: 2 to compile\n" in out
    assert "\n  data:2 replicate: 1.4 KiB, fits (3 s)\n" in out
    assert "best of those that fit: --mesh=data:2 --sharding=fsdp" in out
    assert f"report: {tmp_path / 'plan.html'}" in out
    content = json.loads((tmp_path / "plan.json").read_text())
    assert content["experiment"] == "classification.supervised"
    assert content["command"]
    assert content["settings"]["model"] == "mlp"
    assert "jax" in content["versions"]
    gpu, cpu = content["plans"]
    assert (gpu["topology"]["name"], gpu["flops"], cpu["topology"]["name"]) == ("h100:2", 8000, "cpu:2")
    assert [row["rule"] for row in gpu["rows"]] == ["replicate", "fsdp"]
    assert [row["flops"] for row in gpu["rows"]] == [4000, 4000]
    html = (tmp_path / "plan.html").read_text()
    for text in (
        "classification.supervised: plan",
        "Planned, not run.",
        "h100:2: memory of a device",
        "h100:2: 2 devices of 74.51 GiB; 25 parameters",
        "cpu:2: a step of a device",
        "1.4\N{NO-BREAK SPACE}KiB",
        "plan for a CPU. at least: products at the bfloat16 peak, nothing overlapped; float32 takes longer. best of",
        "best of those that fit: --mesh=data:2 --sharding=fsdp",
        "simulated devices: no limit, no speed",
    ):
        assert text in html, text
    assert html.index("fsdp</td>") < html.index("replicate</td>"), "the faster stands first"
    for card, value in (("parameters", "25"), ("best on h100:2", "data:2 fsdp"), ("best on cpu:2", "–")):
        assert re.search(rf"<dt[^>]*>{card}</dt><dd>{value}</dd>", html), card
    assert not (tmp_path / "config.json").exists(), "a plan is no run"


@pytest.mark.parametrize(("verdicts", "status"), [("needs", 1), ("failed", 0)])
def test_the_status_is_1_where_nothing_fits(tmp_path, monkeypatch, verdicts, status):
    """What failed to compile may yet fit."""
    short = {key: MEASURES[key] for key in ("bytes", "compile_seconds")}
    more = {"needs": 2**31, "has": 2**30} if verdicts == "needs" else {"failed": "INTERNAL"}
    rows = [FACTS, {**short, "mesh": "data:1", "rule": "replicate", **more}]
    monkeypatch.setattr(PLANNING, "compiled_cases", lambda *arguments: iter(rows))
    assert run(experiment, [*MLP, "--mode=plan", "--topology=h100:1", f"--run_dir={tmp_path}"]) == status


def test_a_single_tpu_is_described_as_one_chip(monkeypatch):
    asked, found = [], SimpleNamespace(devices=("a", "b"))
    describe = lambda **words: asked.append(words) or found  # noqa: E731
    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", describe)
    assert worker._devices("tpu", "v5e:1x1") == worker._devices("tpu", "v5e:2x4") == ["a", "b"]
    single = {"platform": "tpu", "topology_name": "v5e:1x1", "chips_per_host_bounds": (1, 1, 1)}
    assert asked == [single, {"platform": "tpu", "topology_name": "v5e:2x4"}]


@pytest.mark.parametrize(("errors", "message"), [("echo first; echo; echo 'the last'; echo", "the last"), (":", "3")])
def test_the_last_words_of_a_failed_compiler_are_the_error(tmp_path, monkeypatch, errors, message):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n({errors}) >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(ValueError, match=f"^planning for h100:2 failed: {message}$"):
        list(compiled_cases(resolved(), {}, {}, topology_of("h100:2"), []))


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        ("Used 512.50M of 256K hbm", {"needs": 512.5 * 2**20, "has": 256 * 2**10}),
        (f"  INTERNAL: {'x' * 400}\nmore", {"failed": f"INTERNAL: {'x' * 290}"}),
    ],
)
def test_a_compiler_that_fails_says_what_it_lacks(of_mlp, monkeypatch, message, facts):
    def compile(program):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(Program, "compile", compile)
    learner, batch = of_mlp
    found = measure(learner, batch, jax.devices()[:2], "data:2", "replicate")
    assert 0 <= found.pop("compile_seconds") < 60
    assert found.pop("bytes")["parameters"] == 4 * 2410
    assert found == {"mesh": "data:2", "rule": "replicate", **facts}


def test_loops_and_half_precision_are_explained():
    plan = {"topology": H100._asdict(), **FACTS, "activations": None}
    row = row_of(H100, FACTS, {**MEASURES, "loops": [{"times": 2, "bytes": 1}]}, 8)  # 2 of 200 bytes: 1 %
    bf16 = resolve(experiment, ["--precision=bf16"])
    expected = [
        "temporaries: an upper estimate, XLA's plan for a CPU",
        "at least: products at the bfloat16 peak, nothing overlapped",
    ]
    assert notes({**plan, "rows": [row]}, bf16) == expected
    row |= {"loops": 3}
    loops = "collectives: in loops of unknown length one iteration counts"
    assert notes({**plan, "rows": [row]}, bf16) == [expected[0], loops, expected[1]]


def test_simulated_devices_have_no_limit_and_no_speed():
    plan = {"topology": topology_of("cpu:8")._asdict(), **FACTS, "loops": 2}
    plan["rows"] = [row_of(topology_of("cpu:8"), FACTS, MEASURES, 8)]
    text = "\n".join(lines_of(plan, resolve(experiment, [])))
    assert "cpu:8: 8 devices; 25 parameters" in text
    assert "no limit, no speed" in text
    assert "of 2 while loops" in text
    assert "best" not in text


@pytest.mark.slow(only=["arguments1-data:3: 3 devices; allowed: 2, as the topology has"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=cpu:2", "--spmd=pmap"], "--spmd=pmap: not for --mode=plan; allowed: jit"),
        (["--topology=cpu:2", "--meshes=data:3"], "data:3: 3 devices; allowed: 2, as the topology has"),
    ],
)
def test_errors_say_why_a_plan_is_impossible(arguments, message, tmp_path, capsys):
    assert run(experiment, [*MLP, "--mode=plan", f"--run_dir={tmp_path}", *arguments]) > 0
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("devices", "name"),
    [("1 cpu cpu", "cpu:1"), ("8 gpu NVIDIA H100 80GB HBM3", "h100:8"), ("2 gpu A100-SXM4", "a100:2")],
)
def test_without_a_topology_the_machine_at_hand_is_planned(devices, name, monkeypatch):
    answer = SimpleNamespace(stdout=f"a warning\n{devices}\n")
    monkeypatch.setattr(topology.subprocess, "run", lambda *args, **kwargs: answer)
    assert topology.topology_at_hand() == name
    assert topology.topology_of(name).devices == int(devices[0])


def test_a_machine_that_the_table_lacks_is_named(monkeypatch):
    answer = SimpleNamespace(stdout="4 tpu TPU v5 lite\n")
    monkeypatch.setattr(topology.subprocess, "run", lambda *args, **kwargs: answer)
    with pytest.raises(FlagError, match="--topology: missing, and this machine has 4 x TPU v5 lite; allowed: v5e:4x4"):
        topology.topology_at_hand()


def test_libtpu_is_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    assert run(experiment, [*MLP, "--mode=plan", "--topology=v5e:2x2", f"--run_dir={tmp_path / 'run'}"]) == 1
    assert "--topology=v5e:2x2 needs libtpu, which is not installed: pip install -e '.[tpu]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_two_layer_transformer_is_planned_for_a_tpu(tmp_path, capfd):
    arguments = [
        "--model=vit_s_16",
        "--model.depth=2",
        "--model.width=64",
        "--model.num_heads=2",
        "--model.mlp_features=128",
        "--model.image_size=32",
        "--input_size=32",
        "--batch_size=32",
        "--augment=none",
        "--precision=bf16",
    ]
    words = ["--mode=plan", "--topology=v5e:2x2", "--meshes=data:4", "--rules=replicate", f"--run_dir={tmp_path}"]
    assert run(experiment, [*words, *arguments]) == 0
    out, err = capfd.readouterr()
    assert "best of those that fit: --mesh=data:4 --sharding=replicate" in out
    assert "INVALID_ARGUMENT" not in err, "what libtpu says of a missing TPU is no concern of the reader"
    (plan,) = json.loads((tmp_path / "plan.json").read_text())["plans"]
    (row,) = plan["rows"]
    assert row["verdict"] == "fits"
    assert row["parameters"] == 4 * plan["parameters"]
    # XLA:TPU reduces gradients in bfloat16, where they are computed in it
    assert 2 * plan["parameters"] * 2 * 3 / 4 < row["sent"]["all-reduce"] < 1.1 * 4 * plan["parameters"] * 2 * 3 / 4


def test_a_topology_is_a_plain_record():
    assert Topology(**topology_of("v6e:4x4")._asdict()) == topology_of("v6e:4x4")
