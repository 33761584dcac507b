"""How each page is wired: what its functions read of the state and the batch, and which examples its splits hold.

A dependence is read off the traced program: what no output depends on is dead code. So a page that evaluates the raw
parameters in place of their average, augments test images (which takes a random key), drops a term of its loss with
all that the term reads, or never updates a part of its state, changes a line of tests/goldens/page_wiring.json:

    DLCORE_UPDATE_SNAPSHOTS=1 python -m pytest tests/test_page_wiring.py -m "slow or not slow" -n 0
"""

import importlib
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.extend.core import Literal
from jax.interpreters import partial_eval

from dlcore.data.pipeline import batch_at
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.splits import Splits
from dlcore.learner import Learner
from dlcore.run.sharding import leaf_paths

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "goldens" / "page_wiring.json"
PAGES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in (ROOT / "experiments").glob("*/*.py")
    if path.name != "__init__.py" and path.parent.name not in ("bench", "studies", "recipes")
)
QUICK = ["classification.supervised", "semi_supervised.fixmatch"]
"""Pages of the default tier; the slow one has all."""

ONE_IMAGE = {
    f"interpretability.{name}"
    for name in ("class_image", "feature_inversion", "style_transfer", "texture_synthesis", "unit_images")
}
"""Pages that optimize an image, and measure it on what they optimize it for."""


class Page(NamedTuple):
    """A page under --smoke, with an average of its parameters where it has one."""

    splits: Splits
    batch: Any
    learner: Learner
    state: Any


def open_page(name: str) -> Page | None:
    experiment = getattr(importlib.import_module(f"experiments.{name}"), "experiment", None)
    if not isinstance(experiment, Experiment):
        return None
    ema = ["--ema=0.9"] if "ema" in experiment.merged.settings else []
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", *ema]))
    splits = experiment.task.data(run.flags)
    batch = batch_at(run.pipelines(splits), 0)
    learner = experiment.build(run.setup_of(splits))
    return Page(splits, batch, learner, jax.eval_shape(learner.init, jax.random.key(0), batch))


def group(path: str) -> str:
    """A leaf's place in the state: its first two names; of an optimizer's state only whether it is an average."""
    names = path.split("/")
    if names[0] == "opt_state":
        return "opt_state/ema" if "ema" in names else "opt_state"
    return "/".join(name for name in names[:2] if not re.fullmatch(r"\d+", name))


def groups(tree: Any, used: list[bool]) -> list[str]:
    """Groups of a tree of which at least one leaf is used."""
    return sorted({group(path) for (path, _), is_used in zip(leaf_paths(tree), used, strict=True) if is_used})


def reads(function: Any, *arguments: Any) -> list[list[str]]:
    """Per argument, the groups that an output of the function depends on."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    result = []
    for argument in arguments:
        count = len(jax.tree.leaves(argument))
        result.append(groups(argument, used[:count]))
        used = used[count:]
    return result


def changes(learner: Learner, state: Any, batch: Any) -> list[str]:
    """Groups of the state that `update` computes anew: their output is no input passed on."""
    jaxpr = jax.make_jaxpr(lambda state, batch: learner.update(state, batch)[0])(state, batch).jaxpr
    passed_on = set(jaxpr.invars)
    return groups(state, [isinstance(out, Literal) or out not in passed_on for out in jaxpr.outvars])


def evaluation_batch(page: Page) -> Any:
    """A batch of what the page validates on."""
    source = next((s for s in (page.splits.valid, page.splits.test) if s is not None), None)
    return page.batch if source is None else source[np.arange(min(4, len(source)))]


def wiring_of(page: Page) -> dict[str, list[str]]:
    learner, state, batch = page.learner, page.state, evaluation_batch(page)
    evaluate, predict = reads(learner.evaluate, state, batch), reads(learner.predict, state, batch)
    update = reads(learner.update, state, page.batch)
    return {
        "update reads": update[1],
        "update changes": changes(learner, state, page.batch),
        "evaluate reads": evaluate[0] + [f"batch: {name}" for name in evaluate[1]],
        "predict reads": predict[0] + [f"batch: {name}" for name in predict[1]],
    }


def digests(source: Any) -> list[bytes]:
    """Of each of the first examples, the bytes of all that it holds but its index."""
    if isinstance(source, dict):
        return [digest for part in source.values() for digest in digests(part)]
    rows = source[np.arange(min(len(source), 200))]
    arrays = [np.asarray(value) for name, value in sorted(rows.items()) if name != "index"]
    return [b"".join(array[i].tobytes() for array in arrays) for i in range(len(rows["index"]))] if arrays else []


def read_golden() -> dict[str, dict[str, list[str]]]:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def write_golden(pages: dict[str, dict[str, list[str]]]) -> None:
    """A line for each entry of a page."""
    lines = [
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(wiring.items()))
        + "\n }"
        for name, wiring in sorted(pages.items())
    ]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.slow(unless=QUICK)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_wired_as_it_was(name):
    """It reads and changes what the golden says, measures averaged weights where it has them, and has no example in two
    splits."""
    page = open_page(name)
    if page is None:
        return
    wiring = wiring_of(page)
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        write_golden({**read_golden(), name: wiring})
    assert wiring == read_golden()[name]
    if "opt_state/ema" in groups(page.state, [True] * len(jax.tree.leaves(page.state))):
        assert "opt_state/ema" in wiring["predict reads"]
        assert not any(read.startswith("params") for read in wiring["predict reads"])
    splits = {key: digests(source) for key in ("train", "valid", "test") if (source := getattr(page.splits, key))}
    for first, second in [("train", "valid"), ("train", "test"), ("valid", "test")]:
        shared = set(splits.get(first, ())) & set(splits.get(second, ()))
        assert len(shared) <= 0.01 * len(splits.get(second, ())) or name in ONE_IMAGE, (first, second)
