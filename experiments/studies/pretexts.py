"""Does learning without labels beat an encoder that learnt nothing, and which pretext does it best in the same time?

python -m experiments.studies.pretexts                                        (MoCo 97.8 %, untrained 81.4 %; 67 min)
python -m experiments.studies.pretexts --dataset=fashion_mnist --data_dir=D --seconds=300 --fine_tune=500 (not run)
python -m experiments.studies.pretexts --dataset=cifar10 --data_dir=D --seconds=600 --fine_tune=500       (not run)

Every pretext is trained by its own page, with the page's own settings, on the same images and the same encoder, a small
residual network; MAE, which hides patches, has its small ViT. A pretext takes as many steps as `--seconds` hold: its
steps are timed first, after compilation. Then the labels come: k-NN, a linear probe, and fine-tuning with a few of
them, each beside the same encoder with its initial weights. Color pretexts need color and are left out of gray images.
The claim holds where the k-NN accuracy of the best pretext is above that of its untrained encoder with every seed.

Measured on digits, k-NN after a minute of training each, means of three seeds, and points above the untrained encoder:
MoCo 97.8 % (+16.4), DeepCluster 97.3 (+15.9), SimCLR 97.3 (+15.9), exemplars 95.6 (+15.1), MAE 68.3 (+12.1), inpainting
89.1 (+7.7), super-resolution 82.9 (+1.5); below it jigsaw 75.6 (-5.8), relative patches 78.7 (-6.4), DINO 59.6 (-21.8)
and rotation 51.0 (-30.4).

References: Kolesnikov, Zhai & Beyer 2019, "Revisiting self-supervised visual representation learning",
arXiv:1901.09005; Goyal et al. 2019, "Scaling and benchmarking self-supervised visual representation learning",
arXiv:1905.01235.
"""

import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np

from dlcore.data.pipeline import batch_at
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, new_figure, seed_dots
from dlcore.run.metrics_writer import read_metrics
from dlcore.run.progress import say
from experiments import find_experiment

PRETEXTS = (
    "rotation",
    "relative_patch",
    "jigsaw",
    "exemplar",
    "deep_cluster",
    "inpainting",
    "super_resolution_pretext",
    "colorization",
    "cross_channel",
    "mae",
    "simclr",
    "moco",
    "dino",
)
IN_COLOR = ("colorization", "cross_channel")
TITLES = {"knn": "k-NN", "probe": "linear probe"}
TIMED_STEPS = 5


def run_of(pretext: str, words: Sequence[str]) -> ResolvedRun:
    """The run of a pretext's page."""
    experiment = find_experiment(f"self_supervised.{pretext}")
    return ResolvedRun(experiment, resolve(experiment, words))


def step_seconds(run: ResolvedRun) -> float:
    """Seconds of a training step after compilation, the median of a few."""
    data = run.experiment.run(run.flags).load()
    learner = run.training_of(data).build()
    batch = batch_at(run.pipelines(data), 0)
    update, seconds = jax.jit(learner.update), []
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    for _ in range(TIMED_STEPS + 2):
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(update(state, batch))
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[2:]))


def measured(pretext: str, words: Sequence[str]) -> dict[str, float]:
    """Train a pretext by its page, and read what that measures on the test split."""

    folder = find_experiment(f"self_supervised.{pretext}").trained(words, pretext)
    (row,) = [row for row in read_metrics(folder) if row["split"] == "test"]
    return row


def report(results: dict[str, dict[str, np.ndarray]], steps: dict[str, int], length: str, dataset: str) -> StudyResult:
    """Judge {pretext: {measure: values of the seeds}}."""
    gains = {name: 100 * (row["knn"] - row["knn_untrained"]) for name, row in results.items()}
    ranked = sorted(gains, key=lambda name: gains[name].mean(), reverse=True)
    best = gains[ranked[0]]
    holds = bool((best > 0).all())
    summaries = [f"{name} {100 * results[name]['knn'].mean():.1f}% ({gains[name].mean():+.1f})" for name in ranked]
    above = sum(bool(gain.mean() > 0) for gain in gains.values())
    verdict = (
        f"k-NN after {length} of training, and points above the untrained encoder: {', '.join(summaries)}. {above} of "
        f"{len(gains)} pretexts gain. The best is above it with {'every' if holds else 'NOT every'} seed."
    )
    numbers = {
        f"{name}, {measure}": values.tolist() for name, row in results.items() for measure, values in row.items()
    }
    numbers |= {f"{name}, steps": count for name, count in steps.items()}
    headline = Headline("points of k-NN gained by the best pretext", best, dataset)
    return StudyResult(numbers, verdict, {"pretexts": draw(results, ranked)}, holds, headline)


def draw(results, names):
    measures = sorted({m for row in results.values() for m in row if f"{m}_untrained" in row}, key=measure_order)
    size = (3.2 * len(measures) + 1.4, 0.9 + 0.34 * len(names))
    figure, all_axes = new_figure(size, 1, len(measures), grid="x", sharey=True)
    for axes, measure in zip(np.atleast_1d(all_axes), measures, strict=True):
        for key, color in ((f"{measure}_untrained", GRAY), (measure, BLUE)):
            seed_dots(axes, {name: results[name][key] for name in names}, color, scale=100, horizontal=True)
        axes.set(xlabel="test accuracy, %", title=TITLES.get(measure) or f"fine-tuned, {measure.split('_')[-1]} labels")
    figure.text(0.01, 0.01, "gray: untrained", fontsize=8, color=GRAY)
    return figure


def measure_order(name: str) -> tuple[int, str]:
    """k-NN, the probe, then fine-tuning."""
    return list(TITLES).index(name) if name in TITLES else len(TITLES), name


def study(
    *,
    pretexts: tuple[str, ...] = PRETEXTS,
    dataset: str = "digits",
    data_dir: str | None = None,
    seconds: NonNegativeFloat = 60.0,
    num_seeds: PositiveInt = 3,
    fine_tune: NonNegativeFloat = 100.0,
    num_steps: int | None = None,
    miniature: bool = False,
) -> StudyResult:
    """Train every pretext for the same time, and judge its features.

    Args:
      pretexts: pages of `experiments.self_supervised`.
      dataset: data set, as of the pages.
      data_dir: folder of the data, as of the pages.
      seconds: seconds of training, compilation and measuring apart.
      fine_tune: labels of the fine-tuning, a number or below 1 a share.
      num_steps: steps of every pretext, in place of `seconds`.
      miniature: whether the pages do a smoke run, to try the study out.

    Raises:
      ValueError: a pretext is unknown.
    """
    if unknown := [name for name in pretexts if name not in PRETEXTS]:
        raise ValueError(f"pretexts={unknown[0]}: unknown; allowed: {', '.join(PRETEXTS)}")
    shared = [f"--dataset={dataset}", f"--fine_tune={fine_tune:g}", "--noprogress"]
    shared += [f"--data_dir={data_dir}"] if data_dir else []
    results, steps = {}, {}
    with tempfile.TemporaryDirectory() as runs:
        shared = [*(["--smoke"] if miniature else []), *shared, f"--runs={runs}"]
        plain = run_of("rotation", shared)
        gray = plain.experiment.run(plain.flags).load().spec["image_shape"][-1] == 1
        for name in (name for name in pretexts if not (gray and name in IN_COLOR)):
            steps[name] = num_steps or max(1, round(seconds / step_seconds(run_of(name, shared))))
            length = [f"--steps={steps[name]}", f"--eval_every={steps[name]}"]
            rows = [measured(name, [*shared, *length, f"--seed={seed}"]) for seed in range(num_seeds)]
            measures = [key for key in rows[0] if key.startswith(("knn", "probe", "fine_tune")) and key != "probe_head"]
            results[name] = {key: np.array([row[key] for row in rows]) for key in measures}
            say(f"{name}, {steps[name]} steps: k-NN {100 * results[name]['knn'].mean():.1f}%")
    return report(results, steps, f"{num_steps:,} steps" if num_steps else f"{seconds:g} s", dataset)


SMOKE = {"pretexts": ("rotation",), "num_seeds": 1, "num_steps": 2, "fine_tune": 20.0, "miniature": True}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
