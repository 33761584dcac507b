"""Support vector machine with a kernel: two classes, or more classes one vs rest.

Boser, Guyon & Vapnik 1992; Cortes & Vapnik 1995; sequential minimal optimization: Platt 1998, Keerthi et al. 2001.

    f(x) = Σ_n a_n t_n k(x_n, x) + b,    t = +-1;    0 <= a_n <= C maximize Σ a_n - 1/2 Σ a_n a_m t_n t_m k(x_n, x_m)
                                                     subject to Σ a_n t_n = 0
    linear  x·y        rbf  e^(-γ |x - y|²)        polynomial  (γ x·y + 1)^degree

This is the dual of 1/2 |w|² + C Σ max(0, 1 - t_n f(x_n)): only examples on or inside the margin, the support vectors,
have a_n > 0. Each step solves the pair of examples that violates the conditions of the optimum most, along the line
that keeps Σ a_n t_n. Steps depend on each other, so this is numpy in float64 on the host; the kernel matrix of N
examples takes [N, N] memory.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["BinarySVM", "KernelSVM", "decision", "fit_binary", "kernel_matrix", "predict", "train"]

Kernel = Literal["linear", "rbf", "polynomial"]


class BinarySVM(NamedTuple):
    """One binary problem.

    Args:
      support: [S] int, which training examples are support vectors.
      coefficients: [S], a_n t_n of each.
      bias: b.
    """

    support: np.ndarray
    coefficients: np.ndarray
    bias: float


class KernelSVM(NamedTuple):
    """A trained machine: one binary problem per class, or one alone for two classes.

    Args:
      rows: [S, D], the examples that support any of the problems.
      coefficients: [C, S], of each problem; [1, S] for two classes.
      bias: [C]; [1] for two classes.
      classes: [C], labels.
      kernel: name of the kernel.
      gamma: coefficient gamma of the kernel.
      degree: degree of the polynomial.
    """

    rows: np.ndarray
    coefficients: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    kernel: str
    gamma: float
    degree: int


def kernel_matrix(a: Any, b: Any, kernel: Kernel = "rbf", gamma: float = 1.0, degree: int = 3) -> np.ndarray:
    """Kernel of every example with every other.

    Args:
      a: [N, D].
      b: [M, D].
      kernel: linear, rbf or polynomial.
      gamma: γ of rbf and polynomial.
      degree: degree of the polynomial.

    Returns:
      [N, M] float64.
    """
    check_choice("kernel", kernel, Kernel)
    check_shapes(a=(a, "N D"), b=(b, "M D"))
    check_shapes(gamma=(gamma, "> 0"))
    check_finite("gamma", gamma)
    check_whole_number("degree", degree, 1)
    from scipy.spatial.distance import cdist

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if kernel == "linear":
        return a @ b.T
    if kernel == "rbf":
        return np.exp(-gamma * cdist(a, b, "sqeuclidean"))
    return (gamma * a @ b.T + 1) ** degree


def fit_binary(
    gram: np.ndarray, sign: np.ndarray, c: float = 1.0, *, tolerance: float = 1e-3, iterations: int = 100_000
) -> BinarySVM:
    """Solve one binary problem by sequential minimal optimization.

    Args:
      gram: [N, N], kernel of the training examples.
      sign: [N], 1 or -1; both occur.
      c: C, price of a violated margin, positive.
      tolerance: tolerance by which the conditions of the optimum may be violated.
      iterations: steps, at most.

    Returns:
      BinarySVM.
    """
    gram, sign = np.asarray(gram, np.float64), np.asarray(sign, np.float64)
    if sign.ndim != 1 or gram.shape != (len(sign), len(sign)) or set(sign) != {-1.0, 1.0}:
        raise ValueError(f"gram={gram.shape}, sign={sign.shape}: do not fit; allowed: [N, N], and [N] of both 1 and -1")
    check_finite("gram", gram)
    for name, value in (("c", c), ("tolerance", tolerance)):
        check_shapes(**{name: (value, "> 0")})
        check_finite(name, value)
    check_whole_number("iterations", iterations, 1)
    a, error = np.zeros(len(sign)), sign.copy()  # error: t_n - Σ_m a_m t_m k(x_n, x_m), the bias that would suit n

    def bounds():
        """Which examples bound b from below, and which from above."""
        low = ((sign > 0) & (a < c)) | ((sign < 0) & (a > 0))
        high = ((sign > 0) & (a > 0)) | ((sign < 0) & (a < c))
        return np.where(low, error, -np.inf), np.where(high, error, np.inf)

    for _ in range(iterations):
        low, high = bounds()
        i, j = low.argmax(), high.argmin()
        if low[i] - high[j] <= tolerance:
            break
        curvature = max(gram[i, i] + gram[j, j] - 2 * gram[i, j], 1e-12)
        slack = (c - a[i] if sign[i] > 0 else a[i]), (a[j] if sign[j] > 0 else c - a[j])
        step = min((low[i] - high[j]) / curvature, *slack)
        for n, move in ((i, step), (j, -step)):
            a[n] = np.clip(a[n] + sign[n] * move, 0, c)
            if min(a[n], c - a[n]) < 1e-12 * c:
                a[n] = 0.0 if a[n] < c / 2 else c
        error -= step * (gram[i] - gram[j])
    low, high = bounds()
    free = (a > 0) & (a < c)
    bias = error[free].mean() if free.any() else (low.max() + high.min()) / 2
    support = np.flatnonzero(a)
    return BinarySVM(support, (a * sign)[support], float(bias))


def train(
    images: Any,
    labels: Any,
    *,
    kernel: Kernel = "rbf",
    c: float = 1.0,
    gamma: float | None = None,
    degree: int = 3,
    tolerance: float = 1e-3,
) -> KernelSVM:
    """Fit a support vector machine by `fit_binary`.

    Args:
      images: [N, ...].
      labels: [N] integers of at least two classes.
      kernel: linear, rbf or polynomial.
      c: C, price of a violated margin, positive.
      gamma: γ of rbf and polynomial; None for 1 / (D variance of the images).
      degree: degree of the polynomial.
      tolerance: see `fit_binary`.

    Returns:
      KernelSVM.
    """
    check_choice("kernel", kernel, Kernel)
    examples = as_examples(images, labels)
    if len(examples.classes) < 2:
        raise ValueError(f"labels={examples.classes.tolist()}: only one class; allowed: at least two")
    rows = np.asarray(examples.rows, np.float64)
    gamma = 1 / (rows.shape[1] * (rows.var() or 1.0)) if gamma is None else gamma
    gram = kernel_matrix(rows, rows, kernel, gamma, degree)
    positives = [1] if len(examples.classes) == 2 else range(len(examples.classes))
    table, bias = np.zeros((len(positives), len(rows))), []
    for k, positive in enumerate(positives):
        solution = fit_binary(gram, np.where(examples.label == positive, 1, -1), c, tolerance=tolerance)
        table[k, solution.support] = solution.coefficients
        bias.append(solution.bias)
    used = table.any(0)
    return KernelSVM(rows[used], table[:, used], np.array(bias), examples.classes, kernel, float(gamma), degree)


def decision(model: KernelSVM, images: Any) -> np.ndarray:
    """Signed distances from the border, in units of the margin.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M, C], one column a class; [M, 1] for two classes, positive for the second.
    """
    rows = as_rows(images, model.rows.shape[1])
    gram = kernel_matrix(rows, model.rows, model.kernel, model.gamma, model.degree)
    return gram @ model.coefficients.T + model.bias


def predict(model: KernelSVM, images: Any) -> np.ndarray:
    """Predict the class whose problem says yes most clearly.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    distances = decision(model, images)
    return model.classes[(distances[:, 0] > 0).astype(int) if distances.shape[1] == 1 else distances.argmax(1)]
