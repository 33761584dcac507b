"""How close does one pass of a style network come to an image optimized for the same loss, and how much faster is it?

python -m experiments.studies.fast_style
python -m experiments.studies.fast_style --run=runs/interpretability.fast_style/HASH --num_images=4

The network of `experiments.interpretability.fast_style` renders photographs that it was not trained on in each of its
styles. For each, 200 steps of L-BFGS also minimize the same loss over the pixels, starting from the photograph, as in
`experiments.interpretability.style_transfer`. Losses are those of the images clipped to [0, 1]; times are of one image,
without compilation. The claim holds where the mean loss of the network is at most twice that of the optimized images
and its pass is at least 100 times faster than the optimization.

References: Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155; Dumoulin, Shlens & Kudlur 2016, arXiv:1610.07629.
"""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.augment import to_float
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.interpretability import style_transfer
from dlcore.interpretability.fast_style import StyleNet
from dlcore.main import main
from dlcore.report.figure import new_figure
from dlcore.weights import earlier_run
from dlcore.weights.frozen_network import FrozenNetwork, average_pooling
from dlcore.weights.network import load_network
from dlcore.weights.style_network import StyleNetwork
from experiments.interpretability.fast_style import experiment as fast_style

OPTIMIZED, PASS, PHOTOGRAPH = "optimized", "one pass", "photograph"


class Rendering(NamedTuple):
    """One photograph in one style: images [H, W, 3] in [0, 1], losses and seconds, by technique."""

    style: str
    images: dict[str, np.ndarray]
    losses: dict[str, float]
    seconds: dict[str, float]


def median_seconds(function, *arguments, repeats: int = 20) -> float:
    """Median time of a call, after one that compiles."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def compare(run: Path, num_images: int, optimizer_steps: int) -> list[Rendering]:
    """Render test photographs of a run both ways."""
    phase = earlier_run.load(run)
    flags, network = phase.flags, load_network(phase.flags.network)
    styles = StyleNetwork(StyleNet, FrozenNetwork(), flags.styles, flags.style_size).images()
    optimizer = style_transfer.learner(
        model=average_pooling(network.model),
        variables=network.variables,
        optimizer=optax.lbfgs(memory_size=10),
        mean=network.mean,
        std=network.std,
        start="content",
        **flags.group("learner"),
    )
    net = StyleNet(len(styles), **flags.group("stylenet"))
    render = jax.jit(lambda params, x, s: jnp.clip(net.apply({"params": params}, x, s), 0, 1))
    init, update = jax.jit(optimizer.init), jax.jit(optimizer.update)
    loss_at = jax.jit(lambda state, image, batch: optimizer.evaluate(state.replace(params=image), batch)["loss"])
    test = fast_style.run(flags).load().test.arrays["content"]
    rows = np.linspace(0, len(test) - 1, num_images).round().astype(int)
    renderings = []
    for name, style, s in zip(flags.styles, styles, range(len(styles)), strict=True):
        for row in rows:
            batch = {"content": test[row : row + 1], "style": style[None], "index": np.zeros(1, np.int32)}
            first = init(jax.random.key(0), batch)
            jax.block_until_ready(update(first, batch))
            state, start = first, time.perf_counter()
            for _ in range(optimizer_steps):
                state, _ = update(state, batch)
            jax.block_until_ready(state.params)
            seconds = {OPTIMIZED: time.perf_counter() - start}
            x, ids = to_float(jnp.asarray(batch["content"])), jnp.full(1, s, jnp.int32)
            seconds[PASS] = median_seconds(render, phase.params, x, ids)
            images = {PHOTOGRAPH: x, PASS: render(phase.params, x, ids), OPTIMIZED: jnp.clip(state.params, 0, 1)}
            losses = {kind: float(loss_at(first, image, batch).compute()) for kind, image in images.items()}
            renderings.append(Rendering(name, {k: np.asarray(v[0]) for k, v in images.items()}, losses, seconds))
    return renderings


def report(renderings: list[Rendering]) -> StudyResult:
    """Judge the losses and times."""
    loss = {kind: float(np.mean([r.losses[kind] for r in renderings])) for kind in (PHOTOGRAPH, PASS, OPTIMIZED)}
    seconds = {kind: float(np.mean([r.seconds[kind] for r in renderings])) for kind in (PASS, OPTIMIZED)}
    ratio, speed = loss[PASS] / loss[OPTIMIZED], seconds[OPTIMIZED] / seconds[PASS]
    worst = max(renderings, key=lambda r: r.losses[PASS] / r.losses[OPTIMIZED])
    verdict = (
        f"On photographs that it was not trained on, one pass has {ratio:.2f}x the loss of the optimized images "
        f"({loss[PASS]:.3f} and {loss[OPTIMIZED]:.3f}; the photograph itself {loss[PHOTOGRAPH]:.3f}), at worst "
        f"{worst.losses[PASS] / worst.losses[OPTIMIZED]:.2f}x ({worst.style}), and is {speed:,.0f}x faster "
        f"({1000 * seconds[PASS]:.1f} ms and {seconds[OPTIMIZED]:.1f} s)."
    )
    example_of: dict[
        str, Rendering
    ] = {}  # of each style the photograph with the most contrast: a clear sky shows nothing
    for r in sorted(renderings, key=lambda r: r.images[PHOTOGRAPH].std()):
        example_of[r.style] = r
    rows = [example_of[style] for style in dict.fromkeys(r.style for r in renderings)][:4]
    figure, axes = new_figure((5, 1.7 * len(rows)), len(rows), 3, squeeze=False)
    for line, r in zip(axes, rows, strict=True):
        for ax, (kind, image) in zip(line, r.images.items(), strict=True):
            ax.imshow(image)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_title(f"{kind}: {r.losses[kind]:.2f}", fontsize=8)
        line[0].set_ylabel(r.style)
    numbers = {f"loss, {kind}": value for kind, value in loss.items()}
    numbers |= {f"seconds, {kind}": value for kind, value in seconds.items()}
    numbers |= {"loss of one pass over the optimized": ratio, "times faster": speed}
    headline = Headline(
        "loss of one pass over that of the optimized image",
        ratio,
        "held-out photographs",
        tolerance=0.2,
        baseline=(loss[PHOTOGRAPH] / loss[OPTIMIZED], "the photograph itself", "lower"),
    )
    holds = ratio <= 2 and speed >= 100
    return StudyResult(numbers, verdict, {"photograph, pass, optimized": figure}, holds, headline=headline)


def study(
    *,
    run: str | None = None,
    num_images: PositiveInt = 2,
    optimizer_steps: PositiveInt = 200,
    steps: PositiveInt = 1500,
    tiny: bool = False,
) -> StudyResult:
    """Compare a style network with optimized images.

    Args:
      run: folder of a run of interpretability.fast_style; by default that page is run with its own settings.
      num_images: held-out photographs, each in every style.
      optimizer_steps: steps of L-BFGS for each image.
      steps: steps of training, where the page is run.
      tiny: run the page with the settings of its --smoke.
    """
    if run is None:
        words = ["--smoke"] if tiny else [f"--steps={steps}"]
        run = fast_style.trained(words, "training a style network")
    return report(compare(Path(run), num_images, optimizer_steps))


experiment = Study(__file__, __doc__, study, smoke={"num_images": 1, "optimizer_steps": 2, "tiny": True})

if __name__ == "__main__":
    main(experiment)
