"""What a run can know before it begins is said before it begins: there is no folder."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.main import run
from dlcore.run.step import Program
from dlcore.setting import FlagError
from experiments.classification.supervised import experiment
from tests.overriding import with_run

SPEC = {"dataset": "toy", "image_shape": [4, 4, 1], "num_classes": 2, "class_names": ["a", "b"]}
SPEC |= {"mean": [0.5], "std": [0.5]}


def images(count, channels=1, last=1):
    label = np.arange(count, dtype=np.int32) % 2
    label[-1:] = last
    return Source({"image": np.zeros((count, 4, 4, channels), np.float32), "label": label}, count, name="toy")


def page(**splits):
    given = {"train": images(8), "valid": images(4), "test": images(4), "spec": SPEC} | splits
    return with_run(experiment, load=lambda run: Splits(**given))


def refuse(run, splits):
    raise FlagError("--l2=0: not of these data; allowed: others")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (page(valid=images(4, 3)), "valid: evaluate fails on its examples (image (4, 4, 3)): "),
        (page(test=images(4, 3)), "test: evaluate fails on its examples (image (4, 4, 3)): "),
        (page(valid=images(0)), "valid: holds no example; allowed: at least one, or valid=None"),
        (page(test=images(0)), "test: holds no example; allowed: at least one, or test=None"),
        (page(valid=images(4, last=2)), "label=2: out of range, example 3 of valid; allowed: integers from 0 to 1"),
        (page(train=images(8, last=-1)), "label=-1: out of range, example 7 of train; allowed: integers from 0 to 1"),
        (with_run(page(), messages=refuse), "--l2=0: not of these data; allowed: others"),
    ],
)
def test_splits_and_notes_are_checked_before_anything_is_written(tmp_path, capsys, monkeypatch, case, message):
    monkeypatch.setattr(Program, "compile", lambda *_: pytest.fail("it would train"))
    words = [
        "--model=mlp",
        "--model.hidden=4",
        "--augment=none",
        "--batch_size=4",
        "--steps=1",
        f"--run_dir={tmp_path / 'run'}",
    ]
    assert run(case, [*words, f"--run_dir={tmp_path / 'run'}"]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "run").exists()
