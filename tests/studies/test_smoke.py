"""Each study runs to its end in its smoke settings."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

STUDIES = sorted(
    path.stem
    for path in (pathlib.Path(__file__).parents[2] / "experiments" / "studies").glob("*.py")
    if "\nexperiment = Study(" in path.read_text(encoding="utf-8")
)


@pytest.mark.weekly
@pytest.mark.parametrize("name", STUDIES)
def test_a_small_run_ends(name):
    study = importlib.import_module(f"experiments.studies.{name}").experiment
    result = study.function(**study.smoke)
    assert result.verdict
    assert result.numbers
    assert result.headline is None or np.isfinite(np.asarray(result.headline.values, float)).all()
    assert all(jax.tree.leaves(list(result.figures.values())))
