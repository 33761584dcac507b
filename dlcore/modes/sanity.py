"""`--mode=sanity`: what a careful person checks before training.

1. the loss starts where theory puts it (log C for softmax over C classes);
2. it rises with the strength of the penalty;
3. twenty examples can be learnt by heart, with regularisation and augmentation off;
4. the gradient agrees with centred differences in float64, at sampled coordinates of every leaf (--mode=gradcheck
   prints them);
5. a short training lifts validation above chance: if it does not, labels do not belong to their images;
6. with shuffled labels, validation stays at chance: if it does not, labels leak.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import shuffle_labels
from dlcore.diagnostics.gradient_check import check_gradient
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.splits import Splits
from dlcore.learner import Learner
from dlcore.modes.gradcheck import BAD, burnt_in_losses, first_batch
from dlcore.run.evaluate import evaluate
from dlcore.run.fit import fit
from dlcore.run.progress import say
from dlcore.run.step import Placement

__all__ = ["MODE", "Check", "sanity"]

TINY = 20
OVERFIT_STEPS, SHUFFLED_STEPS = 300, 150
MANY = 100


class Check(NamedTuple):
    """One line of the table. passed: None where the check does not apply."""

    name: str
    measured: str
    expected: str
    passed: bool | None


def _single() -> Placement:
    from dlcore.run.sharding import make_mesh

    return Placement(make_mesh("data:1", jax.devices()[:1]))


class _Bench:
    """Learners of one experiment under changed settings."""

    def __init__(self, run: ResolvedRun, data: Splits):
        self.run, self.data = run, data
        self.spec = run.setup_of(data).spec

    def learner(self, *, steps: int | None = None, dtype: Any = None, **changes: Any) -> Learner:
        flags = self.run.flags.replace(spmd="jit", **changes)
        setup = self.run.setup(self.spec, flags, dtype)
        return self.run.experiment.build(setup._replace(steps=steps or setup.steps))

    def initial_loss(self, learner: Learner) -> float:
        batch = first_batch(self.data.train, self.run.flags.batch_size)
        state = jax.jit(learner.init)(jax.random.key(self.run.flags.seed), batch)
        return float(jax.jit(learner.loss)(state.params, state, batch)[0])


def _check_initial(bench: _Bench) -> Check:
    experiment = bench.run.experiment
    if bench.learner().loss is None:
        return Check("loss at initialisation", "–", "the learner has no loss", None)
    if experiment.expected_loss is None:
        return Check("loss at initialisation", "–", "the experiment states none", None)
    expected = experiment.expected_loss(bench.run.setup(bench.spec))
    changes = {experiment.regularizer: 0.0} if experiment.regularizer else {}
    measured = bench.initial_loss(bench.learner(**changes))
    return Check(
        "loss at initialisation", f"{measured:.6f}", f"{expected:.6f} within 1 %",
        abs(measured - expected) <= 0.01 * abs(expected),
    )  # fmt: skip


def _check_regularization(bench: _Bench) -> Check:
    name = bench.run.experiment.regularizer
    if bench.learner().loss is None:
        return Check("loss rises with regularisation", "–", "the learner has no loss", None)
    if name is None:
        return Check("loss rises with regularisation", "–", "the experiment has no penalty", None)
    strengths = (0.0, 1e-4, 1e-3, 1e-2)
    losses = [bench.initial_loss(bench.learner(**{name: s})) for s in strengths]
    shown = " < ".join(f"{loss:.4f}" for loss in losses)
    rises = all(a < b for a, b in itertools.pairwise(losses))
    return Check("loss rises with regularisation", shown, f"--{name} in {strengths}", rises)


def _check_overfit(bench: _Bench) -> Check:
    enough = bench.run.experiment.overfit
    if enough is None:
        return Check(f"overfits {TINY} examples", "–", "the experiment's loss does not go to 0", None)
    tiny = bench.data.train.take(TINY)
    learner = bench.learner(steps=OVERFIT_STEPS, **bench.run.plain)
    result = fit(
        learner, Pipeline(tiny, len(tiny), bench.run.flags.seed), steps=OVERFIT_STEPS, progress=False,
        seed=bench.run.flags.seed, placement=_single(), log_every=OVERFIT_STEPS // 10,
    )  # fmt: skip
    last = result.history[-1]
    extra = "" if last.get("accuracy") is None else f", accuracy {last['accuracy']:.3f}"
    passed = last["loss"] < enough and last.get("accuracy", 1.0) == 1.0
    return Check(
        f"overfits {len(tiny)} examples", f"loss {last['loss']:.2e}{extra}", f"loss < {enough:g}, accuracy 1", passed
    )


def _check_gradient(bench: _Bench) -> Check:
    name = "gradient against differences"
    with jax.enable_x64(True):
        found = burnt_in_losses(bench.run, bench.data)
        if found is None:
            return Check(name, "–", "the learner has no loss", None)
        losses, params = found
        lines = check_gradient(losses["data loss"], params, seed=bench.run.flags.seed, allow_random=True)
    worst = max(lines, key=lambda line: line.error)
    return Check(
        name,
        f"{worst.error:.1e} at {worst.path}",
        f"< 1e-4 at {len(lines)} arrays, float64",
        all(line.verdict not in BAD for line in lines),
    )


def _check_labels(bench: _Bench, shuffled: bool) -> Check:
    name = "shuffled labels stay at chance" if shuffled else "true labels rise above chance"
    data, flags = bench.data, bench.run.flags
    classes = bench.spec.get("num_classes")
    if data.valid is None or classes is None or bench.run.experiment.headline != "accuracy":
        return Check(name, "–", "there are no classes", None)
    if classes > MANY and not shuffled:
        return Check(name, "–", f"{SHUFFLED_STEPS} steps say little of {classes} classes", None)
    learner = bench.learner(steps=SHUFFLED_STEPS, **bench.run.plain)
    train = shuffle_labels(data.train, flags.seed) if shuffled else data.train
    pipeline = Pipeline(train, min(flags.batch_size, len(train)), flags.seed)
    result = fit(
        learner, pipeline, steps=SHUFFLED_STEPS, seed=flags.seed, progress=False, placement=_single(),
        log_every=SHUFFLED_STEPS,
    )  # fmt: skip
    accuracy = evaluate(learner, result.state, data.valid, placement=_single())["accuracy"]
    label = data.valid.arrays["label"]
    chance = float(np.bincount(label, minlength=classes).max() / len(label))
    bound = chance + 4 * math.sqrt(chance * (1 - chance) / len(label))
    wanted = f"{'<=' if shuffled else '>'} {bound:.3f} (largest class + 4 sigma)"
    return Check(name, f"validation accuracy {accuracy:.3f}", wanted, (accuracy <= bound) == shuffled)


def _check_true(bench: _Bench) -> Check:
    return _check_labels(bench, shuffled=False)


def _check_shuffled(bench: _Bench) -> Check:
    return _check_labels(bench, shuffled=True)


def sanity(run: ResolvedRun) -> int:
    """Print the table; 1 where a check failed."""
    data = run.experiment.data(run.flags.replace(**run.plain))
    if isinstance(data.train, dict):
        raise ValueError("--mode=sanity needs an experiment with one training source")
    bench = _Bench(run, data)
    checks = (_check_initial, _check_regularization, _check_overfit, _check_gradient, _check_true, _check_shuffled)
    failed = 0
    say(f"{'check':32} {'measured':44} {'expected':44} verdict")
    for check in checks:
        row = check(bench)
        failed += row.passed is False
        verdict = {True: "pass", False: "FAIL", None: "not applicable"}[row.passed]
        say(f"{row.name:32} {row.measured:44} {row.expected:44} {verdict}")
    return int(failed > 0)


MODE = Mode(sanity)
