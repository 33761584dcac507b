"""The benches of a step, of scaling and of checkpoints: they run, and their numbers agree with theory."""

import json

import numpy as np
import pytest

from dlcore.experiment.study import run_study
from experiments import ledger
from experiments.bench import resume, scale, step


def numbers_of(experiment, folder, *words):
    assert run_study(experiment, ["--smoke", f"--run_dir={folder}", "--seed=3", *words]) == 0
    return json.loads((folder / "numbers.json").read_text())


@pytest.mark.weekly
def test_a_step(tmp_path):
    numbers = numbers_of(step.experiment, tmp_path)
    get = {key.removeprefix("resnet18: "): value for key, value in numbers.items()}
    assert get["images/s"] == pytest.approx(2 / get["seconds"])
    assert get["flops"] == pytest.approx(3 * 2 * 2 * 37.0e6, rel=0.1), "3 passes, 2 images, 37 MMACs at 32x32, twice"
    assert get["planned bytes"] > 3 * 4 * 11.7e6, "parameters and two moments, at least"
    assert "images/s" in numbers["verdict"]
    line = ledger.candidate(tmp_path)
    assert (line["metric"], line["values"], line["dataset"]) == (
        "resnet18 images/s",
        {"3": get["images/s"]},
        "synthetic",
    )


@pytest.mark.weekly
def test_work_a_device_falls_as_it_should(tmp_path):
    numbers = numbers_of(scale.experiment, tmp_path)
    np.testing.assert_allclose(numbers["replicate: work a device"], 1, atol=0.02)
    sent = numbers["replicate: sent"]
    assert sent[0] == 0
    parameters = 4 * 75_000
    assert 1.5 * parameters < sent[3] < 3 * parameters, "a ring sends 2 x 7/8 of the gradients, statistics besides"
    assert sent[1] < sent[2] < sent[3]
    assert numbers["replicate: collective share"][0] == 0 < numbers["replicate: collective share"][3] < 1
    assert [*ledger.candidate(tmp_path)["values"].values()] == pytest.approx([1], abs=0.02)


@pytest.mark.weekly
def test_a_checkpoint(tmp_path):
    numbers = numbers_of(resume.experiment, tmp_path)
    assert numbers["bytes of the state"] > 3 * 4 * 70_000
    assert 0 < numbers["stall seconds"] < numbers["seconds until on disk"]
    assert numbers["restore seconds"] > 0
    assert ledger.candidate(tmp_path)["dataset"] == "resnet8_cifar"
    assert run_study(resume.experiment, ["--num_saves=1", f"--run_dir={tmp_path / 'once'}"]) == 1
