"""How each page is wired: what its functions read of the state and the batch, which examples its splits hold, and
what its programs compute.

A dependence is read off the traced program: what no output depends on is dead code. So a page that evaluates the raw
parameters in place of their average, augments test images (which takes a random key), drops a term of its loss with
all that the term reads, or never updates a part of its state, changes a line of tests/goldens/page_wiring.json.

The measured results of a page hold for its programs and its examples. So tests/goldens/page_programs.json keeps a
digest of each: a factor, an axis or a default that changes anywhere below the page changes it. Where one fails without
a change that is meant, `python -m tests.test_page_wiring PAGE PART` prints what the digest is of, for a diff of two
commits. After a change that is meant:

    DLCORE_UPDATE_SNAPSHOTS=1 python -m pytest tests/test_page_wiring.py -m "slow or not slow" -n 0
"""

import importlib
import json
import os
import pathlib
import re
import sys
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import pytest
from jax.extend.core import Literal
from jax.interpreters import partial_eval

from dlcore.data.pipeline import batch_at
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.run.sharding import leaf_paths
from tests.models.tracing import assert_digest, text_of_arrays, text_of_program
from tests.test_learner_contract import PAGES

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "goldens" / "page_wiring.json"
QUICK = [
    *("classification.supervised", "detection.localization", "generative.gan", "rl.ppo", "segmentation.unet"),
    *("self_supervised.moco", "self_supervised.simclr", "semi_supervised.fixmatch", "sequence.language_model"),
    *("transfer.domain_adaptation", "video.classification", "vision3d.pointnet", "vision_language.video_caption"),
]
"""Pages of the default tier, of most topics; the slow one has all."""

ONE_IMAGE = {
    f"interpretability.{name}"
    for name in ("class_image", "feature_inversion", "style_transfer", "texture_synthesis", "unit_images")
}
"""Pages that optimize an image, and measure it on what they optimize it for."""


class Page(NamedTuple):
    """A page under --smoke, with an average of its parameters where it has one, and its traced programs.

    `state` and `after` are the abstract states that `init` and `update` give.
    """

    splits: Splits
    batches: dict[str, Any]
    state: Any
    after: Any
    programs: dict[str, Any]


def open_page(name: str) -> Page | None:
    """Trace a page; its flags pass its own check, under --smoke and by default, and its data say their name."""
    experiment = getattr(importlib.import_module(f"experiments.{name}"), "experiment", None)
    if not isinstance(experiment, Experiment):
        return None
    ema = ["--ema=0.9"] if "ema" in experiment.settings else []
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", *ema]))
    experiment.run(run.flags).check()
    experiment.run(resolve(experiment, [])).check()
    splits = experiment.run(run.flags).load()
    assert splits.spec.get("dataset"), "the ledger takes no row without"
    batch = batch_at(run.pipelines(splits), 0)
    held_out = evaluation_batch(splits, batch)
    learner = run.training_of(splits).build()
    init, state = jax.make_jaxpr(learner.init, return_shape=True)(jax.random.key(0), batch)
    update, (after, _) = jax.make_jaxpr(learner.update, return_shape=True)(state, batch)
    programs = {
        "init": init,
        "update": update,
        "evaluate": jax.make_jaxpr(learner.evaluate)(state, held_out),
        "predict": jax.make_jaxpr(learner.predict)(state, held_out),
    }
    return Page(splits, {"train": batch, "held out": held_out}, state, after, programs)


def evaluation_batch(splits: Splits, batch: Any) -> Any:
    """A batch of what the page validates on."""
    source = next((s for s in (splits.valid, splits.test) if s is not None), None)
    return batch if source is None else source[np.arange(min(4, len(source)))]


def group(path: str) -> str:
    """A leaf's place in the state: its first two names; of an optimizer's state only whether it is an average."""
    names = path.split("/")
    if names[0] == "opt_state":
        return "opt_state/ema" if "ema" in names else "opt_state"
    return "/".join(name for name in names[:2] if not re.fullmatch(r"\d+", name))


def groups(tree: Any, used: list[bool]) -> list[str]:
    """Groups of a tree of which at least one leaf is used."""
    return sorted({group(path) for (path, _), is_used in zip(leaf_paths(tree), used, strict=True) if is_used})


def reads(program: Any, state: Any, batch: Any) -> tuple[list[str], list[str]]:
    """The groups of the state and of the batch that an output of the program depends on."""
    _, used = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    count = len(jax.tree.leaves(state))
    return groups(state, used[:count]), groups(batch, used[count:])


def changes(program: Any, state: Any) -> list[str]:
    """Groups of the state that `update` computes anew: their output is no input passed on."""
    passed_on = set(program.jaxpr.invars)
    after = program.jaxpr.outvars[: len(jax.tree.leaves(state))]
    return groups(state, [isinstance(out, Literal) or out not in passed_on for out in after])


def wiring_of(page: Page) -> dict[str, list[str]]:
    programs, state = page.programs, page.state
    evaluate = reads(programs["evaluate"], state, page.batches["held out"])
    predict = reads(programs["predict"], state, page.batches["held out"])
    return {
        "update reads": reads(programs["update"], state, page.batches["train"])[1],
        "update changes": changes(programs["update"], state),
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


def parts_of(page: Page) -> dict[str, str]:
    """The texts whose digests are kept, of each program and each batch."""
    programs = {part: text_of_program(program) for part, program in page.programs.items()}
    return programs | {f"{part} batch": text_of_arrays(batch) for part, batch in page.batches.items()}


@pytest.mark.slow(unless=QUICK)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_wired_and_computes_as_it_did(name):
    """It reads and changes what the golden says, `update` returns a state as `init` makes it, averaged weights are
    measured where there are any, and no example is in two splits. The programs of its four functions, and its first
    batches, are those of its measured results."""
    page = open_page(name)
    if page is None:
        return
    chex.assert_trees_all_equal_shapes_and_dtypes(page.state, page.after)
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
    for part, text in parts_of(page).items():  # last, as another version of JAX skips them
        assert_digest("page_programs.json", f"{name} {part}", text)


if __name__ == "__main__":
    print(parts_of(open_page(sys.argv[1]))[" ".join(sys.argv[2:])])
