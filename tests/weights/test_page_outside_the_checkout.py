"""A page copied to a folder of one's own, as CONTRIBUTING says, does what a page of dlcore does."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dlcore.main import run
from dlcore.weights.open import open_weights
from experiments.classification import supervised


@pytest.mark.slow
def test_a_copied_page_trains_is_evaluated_predicts_and_another_run_starts_from_it(tmp_path, capsys):
    file = tmp_path / "mine" / "page.py"
    file.parent.mkdir()
    shutil.copy(supervised.__file__, file)
    spec = importlib.util.spec_from_file_location("page", file)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    first, second = tmp_path / "first", tmp_path / "second"
    small = ["--smoke", "--model=mlp", "--steps=2", "--select=best"]
    assert run(page.experiment, [*small, f"--run_dir={first}"]) == 0
    assert run(page.experiment, ["--mode=evaluate", f"--run={first}"]) == 0
    assert run(page.experiment, ["--mode=predict", f"--run={first}", f"--input={tmp_path / 'digit.png'}"]) == 0
    config = json.loads((first / "config.json").read_text())
    recorded = {name: config[name] for name in ("experiment", "technique", "monitor", "monitor_mode")}
    assert recorded == {
        "experiment": "mine.page",
        "technique": "dlcore.classification.supervised",
        "monitor": "accuracy",
        "monitor_mode": "max",
    }
    assert run(page.experiment, [*small, f"--init_from={first}", f"--run_dir={second}"]) == 0
    assert run(supervised.experiment, [*small, f"--init_from={second}", f"--run_dir={tmp_path / 'third'}"]) == 0
    assert open_weights(tmp_path / "third", "run").variables()["params"], capsys.readouterr()
