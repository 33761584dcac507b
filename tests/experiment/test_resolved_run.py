"""What a resolved run computes from its flags, the batches of its data, and the state that it restores."""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits, map_sources, metric_label
from dlcore.experiment import resolved_run as module
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Measure, Sanity
from dlcore.experiment.resolved_run import ResolvedRun, check_settings, config_of
from dlcore.setting import FlagError, Setting

FLAGS = {
    "batch_size": 10, "epochs": 2.0, "steps": None, "precision": "f32", "eval_every": None, "seed": 3, "track": (),
    "runs": "runs", "run": None, "run_dir": None, "device_data": False, "spmd": "jit",
}  # fmt: skip


def run_of(given=(), settings=None, plain=None, **flags):
    """Make a run of a page of few parts."""

    experiment = Experiment(
        "a/page.py",
        "",
        module.run_folder,
        SimpleNamespace(settings=settings or {}),
        measures=[Measure("loss", "min")],
        sanity=Sanity(plain=plain or {}),
    )
    flags = {**FLAGS, **flags}
    return ResolvedRun(experiment, Flags(flags, given=frozenset(given), identity=frozenset({"seed", "batch_size"})))


def sources(**lengths):
    return {name: Source.indices(length) for name, length in lengths.items()}


def test_epochs_are_rounded_to_steps_and_there_is_at_least_one():
    """Two epochs of 44, 42 and 2 examples in batches of 10 are 8.8, 8.4 and 0.4 steps."""
    assert [run_of().steps(size) for size in (44, 42, 2)] == [9, 8, 1]
    assert run_of().steps(44, batch_size=20) == 4
    assert run_of(steps=7).steps(44) == 7
    most = 2**31 - 1
    assert run_of(steps=most).steps(1) == most
    with pytest.raises(FlagError, match=r"^--epochs=1e\+10: 2e\+11 steps; allowed: at most 2147483647 steps$"):
        run_of(epochs=1e10).steps(200)


def test_validations_are_an_epoch_apart():
    setup = SimpleNamespace(spec={"train_size": 26}, flags=SimpleNamespace(batch_size=10))
    assert (run_of().eval_every(setup), run_of(eval_every=4).eval_every(setup)) == (3, 4)
    setup.spec["train_size"] = 2
    assert run_of().eval_every(setup) == 1


def test_a_setup_has_the_fitted_batch_the_steps_and_the_dtype_of_the_precision():
    setup = run_of().training({"train_size": 44})
    assert (setup.flags.batch_size, setup.steps, setup.dtype) == (10, 9, jnp.float32)
    setup = run_of(precision="bf16").training({"train_size": 44, "batch_size": 4})
    assert (setup.flags.batch_size, setup.steps, setup.dtype) == (4, 22, jnp.bfloat16)
    run = run_of()
    other = run.training({"train_size": 44}, run.flags.replace(seed=5), np.float64)
    assert (other.flags.seed, other.dtype, run.flags.seed) == (5, np.float64, 3)


def test_a_default_batch_that_the_data_cannot_fill_becomes_a_power_of_two():
    """Nine examples fill batches of 8. Two sources of 40 // 1 and 21 // 3 = 7 examples a ratio fill batches of 4."""

    def fitted(train, given=(), batch_size=10, **ratios):
        splits = Splits(train, None, None, {}, batch_ratios=ratios)
        return run_of(given, batch_size=batch_size).fitted_batch_size(splits)

    assert [fitted(Source.indices(n)) for n in (10, 9, 8, 1, 0)] == [None, 8, 8, 1, None]
    assert fitted(Source.indices(9), ["batch_size"]) is None
    assert fitted(sources(a=40, b=21), b=3) == 4
    assert fitted(sources(a=40, b=21)) is None
    setup = run_of().training_of(Splits(Source.indices(9), None, None, {"x": 1}))
    assert (setup.flags.batch_size, setup.spec["batch_size"], setup.spec["train_size"], setup.steps) == (8, 8, 9, 2)
    assert "batch_size" not in run_of().training_of(Splits(Source.indices(10), None, None, {})).spec


def test_each_source_has_batches_of_its_ratio(monkeypatch):
    splits = Splits(sources(a=40, b=40), None, None, {}, batch_ratios={"b": 3})
    pipelines = run_of().pipelines(splits)
    assert {name: len(pipeline.batch_at(0)["index"]) for name, pipeline in pipelines.items()} == {"a": 10, "b": 30}
    assert pipelines["a"].settings["seed"] == 3
    few = run_of().pipelines(Splits(Source.indices(9), None, None, {}))
    assert len(few.batch_at(0)["index"]) == 8
    monkeypatch.setattr("dlcore.data.device.device_resident", lambda pipeline: ("on the device", pipeline))
    assert run_of(device_data=True).pipelines(Splits(Source.indices(10), None, None, {}))[0] == "on the device"


def test_the_size_of_several_sources_is_that_of_the_longest_and_ratios_of_nested_ones_multiply():
    """Sources a, b and c / b have 20 / 1 = 20, 50 / 3 rounded up to 17 and 90 / (2 * 3) = 15 examples a ratio."""
    train = {"a": Source.indices(20), "b": Source.indices(50), "c": sources(b=90)}
    splits = Splits(train, None, None, {}, batch_ratios={"b": 3, "c": 2})
    assert splits.train_size == 20
    assert splits._replace(train={"b": train["b"]}).train_size == 17
    assert map_sources(lambda source, ratio: ratio, train, splits.batch_ratios) == {"a": 1, "b": 3, "c": {"b": 6}}
    assert metric_label("kid", {"about": {"kid": "of five"}}) == "kid (of five)"
    assert metric_label("kid", {"about": {"fid": "of five"}}) == metric_label("kid", {}) == "kid"


def test_regularization_is_switched_off_by_the_settings_and_by_the_task():
    settings = {"l1": Setting(0.0, regularizes=True), "l2": Setting(0.5), "gone": Setting(1.0, regularizes=True)}
    plain = {"augment": "none", "dropout": 0.0}
    assert run_of(settings=settings, plain=plain, l1=3.0, l2=3.0, augment="auto").plain == {
        "l1": 0.0,
        "augment": "none",
    }


def test_the_folder_is_named_by_the_identity_unless_a_flag_names_it():
    folder = run_of().folder
    assert folder.parts[:2] == ("runs", "a.page")
    assert len(folder.name) == 10
    assert run_of(runs="other", epochs=9.0).folder.name == folder.name, "what is no identity names no folder"
    assert run_of(seed=4).folder.name != folder.name
    assert str(run_of(run_dir="mine").folder) == "mine"
    assert str(run_of(run_dir="mine", run="earlier").folder) == "earlier"


def test_a_configuration_holds_settings_facts_and_provenance(tmp_path, monkeypatch):
    for name in ("command", "versions", "commit", "devices"):
        monkeypatch.setattr(module.provenance, name, lambda name=name: name)
    run = run_of(run_dir=str(tmp_path), sizes=(1, 2))
    assert run.config() is None
    run.write_config({"train_size": 9})
    content = json.loads((tmp_path / "config.json").read_text())
    assert content == {
        "experiment": "a.page", "command": "command", "versions": "versions", "commit": "commit", "devices": "devices",
        "settings": {**FLAGS, "track": [], "run_dir": str(tmp_path), "sizes": [1, 2]}, "spec": {"train_size": 9},
        "identity": {"seed": 3, "batch_size": 10}, "data": {},
        "technique": "dlcore.experiment.resolved_run", "monitor": "loss", "monitor_mode": "min",
    }  # fmt: skip
    run.write_config({}, {"train": 1})
    assert run.config()["data"] == {"train": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert config_of(run)["experiment"] == "a.page"
    run.experiment = dataclasses.replace(run.experiment, file="other/page.py")
    with pytest.raises(FlagError, match=r": a run of a.page; allowed: runs of other.page$"):
        config_of(run)
    with pytest.raises(FlagError, match=r"^nowhere: there is no run; allowed: --run=RUN of a trained run, or the set"):
        config_of(run_of(run_dir="nowhere"))


def test_a_folder_of_other_settings_or_of_another_page_is_refused_with_each_difference():
    before = {"rate": 0.1, "sizes": [1, 2], "old": 1}
    check_settings("f", "a.page", before, "a.page", {"rate": 0.1, "sizes": (1, 2)}, ["rate", "sizes"])
    message = r"^f was made with other settings: experiment a.page there, b.page here; rate=0.1 there, 0.2 here; "
    with pytest.raises(FlagError, match=message + r"old=1 there, None here. Choose another --run_dir$"):
        check_settings("f", "a.page", before, "b.page", {"rate": 0.2, "sizes": (1, 2)}, ["rate", "sizes", "old"])
