"""Simple densities: mixtures of Gaussians, kernel densities of binary images, and what follows from them.

What a person would try before a generative model of the catalogue. Rows of numbers in; scikit-learn fits the mixtures.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = [
    "choose_kernel_ridge",
    "class_gaussian_samples",
    "kernel_density_nats",
    "mixture_of_gaussians",
    "mixture_posterior_mean",
    "principal_reconstruction",
]


def mixture_of_gaussians(rows: np.ndarray, components: int, variance: float = 1e-3, seed: int = 0) -> Any:
    """Fit a mixture of Gaussians with full covariances, by expectation maximization.

    Args:
      rows: [N, D].
      components: number of Gaussians.
      variance: added to the variances of each Gaussian.
      seed: seed of its start, and of its samples.

    Returns:
      scikit-learn's mixture: `means_: [K, D]`, `covariances_: [K, D, D]`, `weights_: [K]`; `sample(N)[0]` is [N, D].
    """
    from sklearn.mixture import GaussianMixture

    check_shapes(rows=(rows, "N D"), components=(components, "int >= 1"), variance=(variance, ">= 0"))
    check_finite("rows", rows)
    return GaussianMixture(components, reg_covar=variance, random_state=seed).fit(np.asarray(rows, np.float64))


def class_gaussian_samples(rows: np.ndarray, labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw from one Gaussian a class, each as often as its class is seen.

    Args:
      rows: [N, D].
      labels: [N] int.
      count: M, number of samples.
      seed: seed of the samples.

    Returns:
      [M, D].
    """
    check_shapes(rows=(rows, "N D"), labels=(labels, "int N"), count=(count, "int >= 1"), seed=(seed, "int >= 0"))
    rng = np.random.default_rng(seed)
    samples = np.empty((count, rows.shape[1]))
    drawn = rng.permutation(labels)[np.arange(count) % len(labels)]
    for label in np.unique(drawn):
        of_class, places = np.asarray(rows[labels == label], np.float64), np.flatnonzero(drawn == label)
        covariance = np.atleast_2d(np.cov(of_class, rowvar=False))
        samples[places] = rng.multivariate_normal(of_class.mean(0), covariance, len(places), method="eigh")
    return samples


def kernel_density_nats(train: np.ndarray, x: np.ndarray, weight: float) -> np.ndarray:
    """Compute -log p of binary rows under a mixture with one component of independent bits a training row.

        p(x) = mean_n prod_d Bernoulli(x_d; w t_nd + (1 - w) mean_d)

    Args:
      train: [N, D] probabilities of a one, in [0, 1], such as the gray values of images.
      x: [M, D] zeros and ones.
      weight: w, from 0 to 1; the rest is the mean of the training rows, so that no bit is impossible.

    Returns:
      [M] nats.
    """
    from scipy.special import logsumexp

    check_shapes(train=(train, "N D"), x=(x, "M D"), weight=(weight, "0 to 1"))
    for name, values in (("train", train), ("x", x)):
        check_range(name, values, 0, 1)
    train, x = np.asarray(train, np.float64), np.asarray(x, np.float64)
    p = np.clip(weight * train + (1 - weight) * train.mean(0), 1e-6, 1 - 1e-6)
    log_p = x @ np.log(p).T + (1 - x) @ np.log1p(-p).T  # [M, N]
    return np.log(len(train)) - logsumexp(log_p, axis=1)


def mixture_posterior_mean(mixture: Any, noisy: np.ndarray, noise: float) -> np.ndarray:
    """Remove Gaussian noise: the mean of the clean rows given the noisy ones, under a mixture of Gaussians.

    Of component k with mean m and covariance S it is m + S (S + noise^2 I)^-1 (y - m); the components are weighted by
    their probability given y.

    Args:
      mixture: result of `mixture_of_gaussians` on clean rows.
      noisy: [N, D], y.
      noise: standard deviation of the noise.

    Returns:
      [N, D].
    """
    from scipy.special import softmax

    check_shapes(noisy=(noisy, "N D"), noise=(noise, "> 0"))
    check_finite("noisy", noisy)
    logits, means = [], []
    for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True):
        total = covariance + noise**2 * np.eye(len(mean))
        difference = noisy - mean
        solved = np.linalg.solve(total, difference.T).T
        logits.append(np.log(weight) - ((difference * solved).sum(1) + np.linalg.slogdet(total)[1]) / 2)
        means.append(mean + solved @ covariance)
    return np.einsum("kn,knd->nd", softmax(logits, axis=0), np.stack(means))


def principal_reconstruction(train: np.ndarray, rows: np.ndarray, numbers: int) -> np.ndarray:
    """Reconstruct rows from their first principal components.

    Args:
      train: [N, D], of which the components are.
      rows: [M, D].
      numbers: components that are kept.

    Returns:
      [M, D].
    """
    from sklearn.decomposition import PCA

    check_shapes(train=(train, "N D"), rows=(rows, "M D"), numbers=(numbers, "int >= 1"))
    model = PCA(numbers, svd_solver="full").fit(train)
    return model.inverse_transform(model.transform(rows))


def choose_kernel_ridge(
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    widths: Sequence[float] = (0.5, 1.0, 2.0),
    penalties: Sequence[float] = (1e-3, 1e-2, 0.1),
) -> Any:
    """Fit kernel ridge regression, with the width of its Gaussian kernel and the penalty of the least mean error.

    Args:
      train: (inputs [N, D], targets [N, E]).
      valid: (inputs [V, D], targets [V, E]).
      widths: widths of the kernel to try, in root mean square distances of the training inputs from their mean.
      penalties: penalties to try.

    Returns:
      The fitted model of scikit-learn; `predict` gives [M, E].
    """
    from sklearn.kernel_ridge import KernelRidge

    check_shapes(train=(train[0], "N D"), targets=(train[1], "N E"), valid=(valid[0], "V D"))
    scale = np.var(train[0], 0).sum()
    fitted = [
        KernelRidge(kernel="rbf", gamma=1 / (2 * scale * width**2), alpha=alpha).fit(*train)
        for width in widths
        for alpha in penalties
    ]
    return min(fitted, key=lambda model: np.abs(model.predict(valid[0]) - valid[1]).mean())
