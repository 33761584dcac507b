"""Detect outliers by a density of digits: a Gaussian, its MAP, a mixture, kernels.

python -m experiments.classic_ml.density
    AUROC against noise: Gaussian in 20 components 0.874, the others 1.000; against the digit left out: 0.705, Gaussian
    of all pixels 0.794, mixture 0.971, kernels 0.935; in 115 s of two busy cores

Densities fitted to the training writers' digits score other writers' digits and four kinds of outlier: uniform noise,
digits with their pixels shuffled, digits whose brightness is inverted, and, hardest, a digit that was left out of the
fit. Some pixels never change, so a Gaussian of maximum likelihood has no density in all 64: it gets the 20 leading
principal components, the others a variance of 0.01 more. The size of the Gaussian mixture and the kernels' bandwidth
are chosen by the likelihood of training digits that were held out.

References: Dempster, Laird & Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm"; Parzen 1962,
"On estimation of a probability density function and mode".
"""

import jax
import numpy as np

from dlcore.classic_ml.density import (
    Prior,
    gaussian_log_density,
    gaussian_map,
    gaussian_mle,
    kernel_log_density,
    skewness,
)
from dlcore.classic_ml.kmeans import kmeans
from dlcore.classic_ml.mixture import bic, fit_mixture, log_density, start_from
from dlcore.classic_ml.outlier import auroc, is_outlier, rejection_threshold
from dlcore.classic_ml.pca import fit_svd
from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import PALETTE, SKY, new_figure

VARIANCE = 0.01


def outliers(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """[N, 64] of each kind, made from images [N, 64] in [0, 1]."""
    rng = np.random.default_rng(seed)
    return {
        "noise": rng.uniform(size=images.shape).astype(np.float32),
        "shuffled pixels": rng.permuted(images, axis=1),
        "inverted": 1 - images,
    }


def fit_densities(
    train: np.ndarray, held_out: np.ndarray, max_components: int, iterations: int, seed: int
) -> tuple[dict, dict]:
    """({name: a function to log-densities}, numbers) on points [N, D]; settings by the likelihood of held_out."""
    dim = train.shape[1]
    prior = Prior(train.mean(0), 0.0, VARIANCE * len(train) * np.eye(dim), float(dim))
    round_, reduce = gaussian_map(train, prior), fit_svd(train, 20)
    few = gaussian_mle(reduce(train))
    mixtures, likelihood, rose = {}, {}, True
    for count in range(1, max_components + 1, 3):
        centers = kmeans(jax.random.key(seed), train, count, restarts=3).centers
        start = start_from(centers, float(train.var()))
        fit = fit_mixture(train, start, iterations=iterations, epsilon=VARIANCE)
        mixtures[count] = fit.mixture
        likelihood[count] = float(log_density(held_out, fit.mixture).mean())
        rose &= bool(np.diff(fit.log_likelihood).min() > -1e-2)
    count = max(likelihood, key=likelihood.get)
    widths = {h: float(kernel_log_density(held_out, train, h).mean()) for h in (0.15, 0.2, 0.25, 0.3, 0.4, 0.5)}
    width = max(widths, key=widths.get)
    densities = {
        "Gaussian, MLE, 20 components": lambda x: gaussian_log_density(reduce(x), few),
        "Gaussian, MAP": lambda x: gaussian_log_density(x, round_),
        "mixture": lambda x: log_density(x, mixtures[count]),
        "kernels": lambda x: kernel_log_density(x, train, width),
    }
    return densities, {
        "components of the mixture": count,
        "bandwidth": width,
        "EM never lowered the likelihood": rose,
        "components tried": list(mixtures),
        "held-out likelihood": list(likelihood.values()),
        "BIC": [float(bic(train, m)) for m in mixtures.values()],
        "largest skewness of a component": float(np.abs(skewness(reduce(train))).max()),
    }


def measure(fit, held_out, inliers, outlier_sets, max_components, iterations, seed) -> tuple[dict, dict, dict]:
    """({density: {outlier: AUROC}}, numbers, {density: {name: log-densities}})."""
    densities, numbers = fit_densities(fit, held_out, max_components, iterations, seed)
    areas, scores = {}, {}
    for name, density in densities.items():
        scores[name] = {k: np.asarray(density(v)) for k, v in ({"digits": inliers} | outlier_sets).items()}
        areas[name] = {k: auroc(scores[name]["digits"], v) for k, v in scores[name].items() if k != "digits"}
        threshold = rejection_threshold(density(held_out), 0.05)
        numbers |= {f"{name}: {k} rejected": float(is_outlier(v, threshold).mean()) for k, v in scores[name].items()}
    return areas, numbers, scores


def draw(areas: dict[str, dict[str, float]], scores: dict[str, np.ndarray]):
    figure, (bars, samples_axes) = new_figure((11, 3.8), 1, 2)
    kinds = list(next(iter(areas.values())))
    for i, (name, by_kind) in enumerate(areas.items()):
        offsets = np.arange(len(kinds)) + 0.2 * (i - 1.5)
        bars.bar(offsets, [by_kind[k] for k in kinds], 0.18, label=name, color=PALETTE[i])
    bars.axhline(0.5, color="0.5", ls=":")
    bars.set(ylabel="AUROC", ylim=(0, 1.25), yticks=np.linspace(0, 1, 6))
    bars.set_xticks(range(len(kinds)), kinds)
    bars.legend(frameon=False, ncols=2, fontsize=8, loc="upper center")
    samples_axes.boxplot(
        list(scores.values()),
        orientation="horizontal",
        tick_labels=list(scores),
        whis=(1, 99),
        sym="",
        patch_artist=True,
        boxprops={"facecolor": SKY},
        medianprops={"color": "black"},
    )
    samples_axes.set_xscale("symlog", linthresh=50)
    samples_axes.set_xticks([-1000, -300, -100, -50, 0, 50], ["-1000", "-300", "-100", "-50", "0", "50"])
    samples_axes.set(xlabel="log-density of the mixture (whiskers: 1 and 99 %)")
    samples_axes.invert_yaxis()
    samples_axes.grid(axis="x", alpha=0.3)
    return figure


def study(
    *, max_components: PositiveInt = 19, iterations: PositiveInt = 60, held_out_digit: PositiveInt = 8, seed: Seed = 0
) -> StudyResult:
    """Detect outliers by their density.

    Args:
      max_components: most components of the mixture; 1, 4, 7, ... up to it are tried.
      iterations: iterations of EM for each mixture.
      held_out_digit: outlier class, excluded from the fit.
    """
    train, test = digits("train").arrays, digits("test").arrays
    gallery = train["image"][train["label"] != held_out_digit].reshape(-1, 64)
    gallery = gallery[np.random.default_rng(seed).permutation(len(gallery))]
    inliers = test["image"][test["label"] != held_out_digit].reshape(-1, 64)
    outlier_sets = outliers(inliers, seed) | {
        f"the digit {held_out_digit}": test["image"][test["label"] == held_out_digit].reshape(-1, 64)
    }
    areas, numbers, scores = measure(
        gallery[250:], gallery[:250], inliers, outlier_sets, max_components, iterations, seed
    )
    numbers = {f"AUROC, {name}, {kind}": a for name, by in areas.items() for kind, a in by.items()} | numbers
    summary = "; ".join(f"{name}: " + ", ".join(f"{k} {a:.3f}" for k, a in by.items()) for name, by in areas.items())
    whole = [by for name, by in areas.items() if "components" not in name]
    holds = all(by["noise"] > 0.9 for by in whole)
    separates = "separates" if holds else "does NOT separate"
    verdict = f"AUROC {summary}. Every density of all pixels {separates} digits from noise above .9."
    headline = Headline(
        "AUROC against the digit left out, mixture", areas["mixture"][f"the digit {held_out_digit}"], "digits"
    )
    return StudyResult(numbers, verdict, {"density": draw(areas, scores["mixture"])}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"max_components": 1, "iterations": 3})

if __name__ == "__main__":
    main(experiment)
