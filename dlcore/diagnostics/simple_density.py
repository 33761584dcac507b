"""Simple densities: mixtures of Gaussians, kernel densities of binary images, and what follows from them.

What a person would try before a generative model of the catalogue. Rows of numbers in; scikit-learn fits the mixtures.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = [
    "causal_linear_bits",
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
    sampled = rng.permutation(labels)[np.arange(count) % len(labels)]
    for label in np.unique(sampled):
        of_class, positions = np.asarray(rows[labels == label], np.float64), np.flatnonzero(sampled == label)
        covariance = np.atleast_2d(np.cov(of_class, rowvar=False))
        samples[positions] = rng.multivariate_normal(of_class.mean(0), covariance, len(positions), method="eigh")
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
    penalties: Sequence[Any] = (1e-3, 1e-2, 0.1),
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


def causal_linear_bits(train: np.ndarray, test: np.ndarray, levels: int, activities: int = 8) -> np.ndarray:
    """Code images by a linear predictor and a histogram, as lossless codecs do; the probabilities sum to 1.

    A channel of a pixel is predicted by least squares from its six neighbors before it (left, above, and so on), from
    those of the earlier channels, and from the earlier channels of the pixel itself. The histogram of its levels
    depends on the prediction, in quarters of a level, and on how much its surroundings vary.

    Args:
      train: [N, H, W, C] int in [0, levels).
      test: [M, H, W, C] int in [0, levels).
      levels: values of a dimension.
      activities: intervals of the variation of the surroundings, each of as many training pixels.

    Returns:
      [M] bits a dimension.
    """
    check_shapes(train=(train, "int N H W C"), test=(test, "int M H W C"), levels=(levels, "int >= 2"))
    check_range("train", train, 0, levels - 1)
    check_range("test", test, 0, levels - 1)
    parts, test_parts = _Neighbors(train), _Neighbors(test)
    bits, residual, test_residual = np.zeros(len(test)), None, None
    for c in range(train.shape[-1]):
        target, test_target = train[..., c].reshape(-1), test[..., c].reshape(-1)
        inputs = parts.inputs(c)
        weights = np.linalg.solve(inputs.T @ inputs + 1e-3 * np.eye(inputs.shape[1]), inputs.T @ target)
        prediction, test_prediction = inputs @ weights, test_parts.inputs(c) @ weights
        activity, test_activity = parts.activity(c, residual), test_parts.activity(c, test_residual)
        cuts = np.quantile(activity, np.linspace(0, 1, activities + 1)[1:-1])

        def cells(prediction: np.ndarray, activity: np.ndarray, cuts: np.ndarray = cuts) -> np.ndarray:
            quarter = np.rint(4 * prediction).astype(np.int64).clip(0, 4 * levels - 4)
            return quarter * activities + np.searchsorted(cuts, activity)

        counts = np.bincount(
            cells(prediction, activity) * levels + target, minlength=(4 * levels - 3) * activities * levels
        ).reshape(-1, activities, levels)
        coarse = counts.sum(1, keepdims=True) + 0.02
        p = counts + coarse / coarse.sum(-1, keepdims=True)  # an empty cell has the histogram of its prediction
        p = (p / p.sum(-1, keepdims=True)).reshape(-1, levels)
        bits -= np.log2(p[cells(test_prediction, test_activity), test_target]).reshape(len(test), -1).sum(1)
        residual, test_residual = np.abs(target - prediction), np.abs(test_target - test_prediction)
    return bits / np.prod(test.shape[1:])


class _Neighbors:
    """The six neighbors of each pixel that come before it; at the border those that are inside, or 0."""

    def __init__(self, x: np.ndarray):
        x = np.asarray(x, np.float32)

        def moved(down: int, right: int) -> np.ndarray:
            rows, columns = x.shape[1:3]
            padded = np.pad(x, ((0, 0), (down, 0), (max(right, 0), max(-right, 0)), (0, 0)))
            start = 0 if right > 0 else -right
            return padded[:, :rows, start : start + columns].copy()

        left, above = moved(0, 1), moved(1, 0)
        left[:, :, 0] = above[:, :, 0]
        above[:, 0] = left[:, 0]
        above_left, above_right, second_left, second_above = moved(1, 1), moved(1, -1), moved(0, 2), moved(2, 0)
        above_left[:, :, 0] = above[:, :, 0]
        above_right[:, :, -1] = above[:, :, -1]
        above_left[:, 0] = above_right[:, 0] = left[:, 0]
        second_left[:, :, :2], second_above[:, :2] = left[:, :, :2], above[:, :2]
        self.x = x
        self.parts = np.stack([left, above, above_left, above_right, second_left, second_above])

    def inputs(self, c: int) -> np.ndarray:
        """[N H W, 1 + 6 + 7 c], what predicts channel c."""
        columns = [*np.moveaxis(self.parts[..., : c + 1], -1, 0).reshape(-1, self.x[..., 0].size)]
        columns += [self.x[..., k].reshape(-1) for k in range(c)]
        return np.stack([np.ones_like(columns[0]), *columns], 1).astype(np.float64)

    def activity(self, c: int, residual: np.ndarray | None) -> np.ndarray:
        """[N H W], differences of the neighbors, and the error of the channel before."""
        left, above, above_left, above_right = self.parts[:4, ..., c]
        differences = abs(left - above_left) + abs(above - above_left) + abs(above - above_right)
        return differences.reshape(-1) + (0 if residual is None else 3 * residual)
