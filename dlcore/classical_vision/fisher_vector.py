"""Fisher vectors: a set of descriptors as the gradient of its log-likelihood under a mixture of Gaussians.

    G_mu[k]    = 1 / (N sqrt(w_k))   sum_n gamma_nk (x_n - mu_k) / sigma_k
    G_sigma[k] = 1 / (N sqrt(2 w_k)) sum_n gamma_nk ((x_n - mu_k)^2 / sigma_k^2 - 1)

Perronnin, Sanchez & Mensink 2010, "Improving the Fisher kernel for large-scale image classification": 2 K D numbers,
then the signed square root and L2 normalization. The gradient with respect to the weights (K more numbers, in
scikit-image's vectors) is left out, as in the paper.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_probabilities, check_shapes
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.precision import to_acc_dtype

__all__ = ["fisher_vector"]


def fisher_vector(
    descriptors: jax.Array, weights: jax.Array, means: jax.Array, variances: jax.Array, improved: bool = True
) -> jax.Array:
    """Encode a set of descriptors.

    Args:
      descriptors: [N, D], in any order.
      weights: [K] of the mixture, positive, sum 1.
      means: [K, D].
      variances: [K, D], positive: of diagonal covariances.
      improved: take signed square roots and divide by the L2 norm.

    Returns:
      [2 K D]: the K D of the means, then those of the deviations.
    """
    check_shapes(weights=(weights, "K"))
    count, size = descriptors.shape if descriptors.ndim == 2 else (0, 0)
    if not count or means.shape != (len(weights), size) or variances.shape != means.shape:
        raise ValueError(
            f"descriptors.shape={descriptors.shape}: weights {weights.shape}, means {means.shape}, variances "
            f"{variances.shape}; allowed: [N, D], [K], [K, D], [K, D], N at least 1"
        )
    check_probabilities("weights", weights)
    check_shapes(weights=(weights, "... > 0"))
    check_shapes(variances=(variances, "... > 0"))
    descriptors, weights, means, variances = map(to_acc_dtype, (descriptors, weights, means, variances))
    away = (descriptors[:, None] - means) / jnp.sqrt(variances)  # [N, K, D]
    log_density = jnp.log(weights) - 0.5 * (jnp.square(away) + jnp.log(2 * jnp.pi * variances)).sum(-1)
    gamma = jax.nn.softmax(log_density, -1)[..., None]
    by_mean = (gamma * away).mean(0) / jnp.sqrt(weights)[:, None]
    by_deviation = (gamma * (jnp.square(away) - 1)).mean(0) / jnp.sqrt(2 * weights)[:, None]
    vector = jnp.concatenate([by_mean.ravel(), by_deviation.ravel()])
    if not improved:
        return vector
    vector = jnp.sign(vector) * jnp.sqrt(jnp.abs(vector))
    return l2_normalize(vector, floor=0)
