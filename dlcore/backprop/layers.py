"""Layers written out forward and backward on whole batches: affine, convolution, pooling, normalization, losses.

Each is a pair: `NAME_forward(x, ...) -> (y, cache)` and `NAME_backward(dy, cache) -> gradients`, in the order and the
shapes of the forward's arrays. A Jacobian is never formed: where it is diagonal (relu, dropout) the backward pass is an
elementwise product, and where it is a matrix product the backward pass is another one,

    Y = X W + b:    dX = dY Wᵀ    dW = Xᵀ dY    db = Σ_n dY           (for Y = W X: dX = Wᵀ dY, dW = dY Xᵀ)

Convolution is that product on patches (im2col), and its dX adds each patch's gradient back where the patch came from.
Arrays are numpy float64, images [N, H, W, C], kernels [kh, kw, C, O] as in the rest of dlcore.
Rumelhart, Hinton & Williams 1986; the products are those of Goodfellow, Bengio & Courville 2016, section 6.5.6.
"""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes

__all__ = [
    "affine_backward",
    "affine_forward",
    "avg_pool_backward",
    "avg_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "col2im",
    "conv_backward",
    "conv_forward",
    "dropout_backward",
    "dropout_forward",
    "im2col",
    "layer_norm_backward",
    "layer_norm_forward",
    "max_pool_backward",
    "max_pool_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "softmax_loss",
    "svm_loss",
]


def affine_forward(x, w, b):
    """Affine layer x W + b.

    Args:
      x: [N, ...], flattened to [N, D].
      w: [D, M].
      b: [M].

    Returns:
      (y [N, M], cache).
    """
    flat = _flattened(x)
    check_shapes(x=(flat, "N D"), w=(w, "D M"), b=(b, "M"))
    return flat @ w + b, (x, w)


def affine_backward(dy, cache):
    """Backward pass of the affine layer.

    Args:
      dy: [N, M], gradient of the output.
      cache: cache from `affine_forward`.

    Returns:
      (dx, dw, db).
    """
    x, w = cache
    flat = _flattened(x)
    check_shapes(x=(flat, "N D"), w=(w, "D M"), dy=(dy, "N M"))
    return (dy @ w.T).reshape(x.shape), flat.T @ dy, dy.sum(0)


def _flattened(x):
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


def relu_forward(x):
    """Rectified linear unit max(x, 0).

    Args:
      x: any shape.

    Returns:
      (y, cache); the cache is x.
    """
    return np.maximum(x, 0), x


def relu_backward(dy, x):
    """Backward pass of the ReLU: dy where x was positive.

    Args:
      dy: gradient of the output.
      x: the cache of `relu_forward`.

    Returns:
      dx.
    """
    check_shapes(x=(x, "..."), dy=(dy, "..."))
    return dy * (x > 0)


def sigmoid_forward(x):
    """Logistic sigmoid 1 / (1 + e^-x), without overflow.

    Args:
      x: any shape.

    Returns:
      (y, cache); the cache is y.
    """
    # The exponent is never positive, so that it cannot overflow.
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, e) / (1 + e)
    return y, y


def sigmoid_backward(dy, y):
    """Backward pass of the sigmoid: dy (1 - y) y.

    Args:
      dy: gradient of the output.
      y: the cache of `sigmoid_forward`.

    Returns:
      dx.
    """
    check_shapes(y=(y, "..."), dy=(dy, "..."))
    return dy * (1 - y) * y


def im2col(x, kh, kw, stride=1, pad=0):
    """Cut images into patches.

    Args:
      x: [N, H, W, C].
      kh: height of a patch.
      kw: width of a patch.
      stride: between neighboring patches, in pixels.
      pad: zeros added on each side.

    Returns:
      [N, H', W', kh, kw, C] with H' = (H + 2 pad - kh) / stride + 1, rounded down.
    """
    check_shapes(x=(x, "N H W C"))
    for name, value, least in (("kh", kh, 1), ("kw", kw, 1), ("stride", stride, 1), ("pad", pad, 0)):
        check_whole_number(name, value, least)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    if kh > x.shape[1] or kw > x.shape[2]:
        raise ValueError(
            f"kh={kh} and kw={kw}: larger than the padded image; allowed: at most {x.shape[1]}x{x.shape[2]}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 1, 2, 4, 5, 3)


def col2im(patches, shape, stride=1, pad=0):
    """Add every patch back to an image: the transpose of `im2col`.

    Args:
      patches: [N, H', W', kh, kw, C].
      shape: (N, H, W, C) of the image.
      stride: stride, as given to `im2col`.
      pad: padding, as given to `im2col`.

    Returns:
      [N, H, W, C], sums over the patches that contain each pixel.
    """
    check_shapes(patches=(patches, "N R S h w C"))
    check_whole_number("stride", stride, 1)
    check_whole_number("pad", pad, 0)
    n, rows, columns, kh, kw, c = patches.shape
    if (
        len(shape) != 4
        or tuple(shape) != (n, *shape[1:3], c)
        or (rows, columns)
        != tuple((side + 2 * pad - k) // stride + 1 for side, k in zip(shape[1:3], (kh, kw), strict=True))
    ):
        raise ValueError(f"shape={shape}: not cut to patches {patches.shape}; allowed: (N, H, W, C) of their images")
    x = np.zeros((n, shape[1] + 2 * pad, shape[2] + 2 * pad, c), patches.dtype)
    for i in range(kh):
        for j in range(kw):
            x[:, i : i + stride * rows : stride, j : j + stride * columns : stride] += patches[:, :, :, i, j]
    return x[:, pad : pad + shape[1], pad : pad + shape[2]]


def conv_forward(x, w, b, stride=1, pad=0):
    """Convolution (cross-correlation, as in deep learning) by im2col.

    Args:
      x: [N, H, W, C].
      w: [kh, kw, C, O].
      b: [O].
      stride: stride in pixels.
      pad: zeros added on each side.

    Returns:
      (y [N, H', W', O], cache).
    """
    check_shapes(x=(x, "N H W C"), w=(w, "h w C O"), b=(b, "O"))
    patches = im2col(x, *w.shape[:2], stride, pad)  # [N, H', W', kh, kw, C]
    return np.tensordot(patches, w, 3) + b, (patches, x.shape, w, stride, pad)


def conv_backward(dy, cache):
    """Backward pass of the convolution.

    Args:
      dy: [N, H', W', O], gradient of the output.
      cache: cache from `conv_forward`.

    Returns:
      (dx, dw, db).
    """
    patches, shape, w, stride, pad = cache
    check_shapes(patches=(patches, "N R S h w C"), w=(w, "h w C O"), dy=(dy, "N R S O"))
    # Sum over images and positions: the kernel is shared by all of them.
    dw = np.tensordot(patches, dy, ((0, 1, 2), (0, 1, 2)))  # [kh, kw, C, O]
    # Each patch's gradient goes back to its pixels; overlaps add up.
    return col2im(np.tensordot(dy, w, (3, 3)), shape, stride, pad), dw, dy.sum((0, 1, 2))


def max_pool_forward(x, size=2, stride=2):
    """Max pooling: the largest value of each window, channel by channel.

    Args:
      x: [N, H, W, C].
      size: side of the window.
      stride: stride in pixels.

    Returns:
      (y [N, H', W', C], cache).
    """
    check_whole_number("size", size, 1)
    patches = im2col(x, size, size, stride)
    flat = patches.reshape(*patches.shape[:3], size * size, patches.shape[5])
    winner = flat.argmax(3)  # [N, H', W', C]
    return flat.max(3), (winner, patches.shape, x.shape, stride)


def max_pool_backward(dy, cache):
    """Backward pass of max pooling: the whole gradient goes to the largest pixel, to the first of equal ones.

    Args:
      dy: [N, H', W', C], gradient of the output.
      cache: cache from `max_pool_forward`.

    Returns:
      dx.
    """
    winner, patches, shape, stride = cache
    check_shapes(winner=(winner, "..."), dy=(dy, "..."))
    flat = np.zeros((*patches[:3], patches[3] * patches[4], patches[5]))
    np.put_along_axis(flat, winner[:, :, :, None], dy[:, :, :, None], 3)
    return col2im(flat.reshape(patches), shape, stride)


def avg_pool_forward(x, size=2, stride=2):
    """Average pooling: the mean of each window, channel by channel.

    Args:
      x: [N, H, W, C].
      size: side of the window.
      stride: stride in pixels.

    Returns:
      (y [N, H', W', C], cache).
    """
    check_whole_number("size", size, 1)
    patches = im2col(x, size, size, stride)
    return patches.mean((3, 4)), (patches.shape, x.shape, stride)


def avg_pool_backward(dy, cache):
    """Backward pass of average pooling: every pixel of a window gets an equal part.

    Args:
      dy: [N, H', W', C], gradient of the output.
      cache: cache from `avg_pool_forward`.

    Returns:
      dx.
    """
    patches, shape, stride = cache
    check_shapes(dy=(dy, "{} {} {} {}".format(*patches[:3], patches[5])))
    dmean = dy[:, :, :, None, None] / (patches[3] * patches[4])
    return col2im(np.broadcast_to(dmean, patches), shape, stride)


def batch_norm_forward(x, gamma, beta, eps=1e-5):
    """Batch normalization with the batch's statistics: y = gamma x^ + beta, x^ = (x - mean) / sqrt(var + eps).

    Args:
      x: [..., C]; mean and variance are over all axes but the last.
      gamma: [C], scale.
      beta: [C], offset.
      eps: added to the variance.

    Returns:
      (y, cache).

    Raises:
      ValueError: the shapes do not fit together, there is no number, or `eps` is negative.
    """
    return _normalize(x, gamma, beta, eps, tuple(range(x.ndim - 1)))


def batch_norm_backward(dy, cache):
    """Backward pass of batch normalization, through the mean and the variance too.

    Args:
      dy: [..., C], gradient of the output.
      cache: cache from `batch_norm_forward`.

    Returns:
      (dx, dgamma, dbeta).
    """
    return _normalize_backward(dy, cache)


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    """Layer normalization: `batch_norm_forward` with the statistics of each example's last axis.

    Args:
      x: [..., C].
      gamma: [C], scale.
      beta: [C], offset.
      eps: added to the variance.

    Returns:
      (y, cache).

    Raises:
      ValueError: the shapes do not fit together, there is no number, or `eps` is negative.
    """
    return _normalize(x, gamma, beta, eps, (-1,))


def layer_norm_backward(dy, cache):
    """Backward pass of layer normalization, through the mean and the variance too.

    Args:
      dy: [..., C], gradient of the output.
      cache: cache from `layer_norm_forward`.

    Returns:
      (dx, dgamma, dbeta).
    """
    return _normalize_backward(dy, cache)


def _normalize(x, gamma, beta, eps, axes):
    check_shapes(x=(x, "... C"), gamma=(gamma, "C"), beta=(beta, "C"))
    check_shapes(eps=(eps, ">= 0"))
    if not x.size:
        raise ValueError(f"x.shape={x.shape}: empty; allowed: at least one number")
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
    # The normalized input x^.
    hat = (x - x.mean(axes, keepdims=True)) * inverse
    return gamma * hat + beta, (hat, gamma, inverse, axes)


def _normalize_backward(dy, cache):
    hat, gamma, inverse, axes = cache
    check_shapes(x=(hat, "..."), dy=(dy, "..."))
    g = dy * gamma
    # The two means are the gradient's paths through the mean and through the variance.
    dx = inverse * (g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True))
    batch_axes = tuple(range(dy.ndim - 1))
    return dx, (dy * hat).sum(batch_axes), dy.sum(batch_axes)


def dropout_forward(x, dropout_rate, rng):
    """Inverted dropout: zero each number with probability `dropout_rate`, divide the others by 1 - dropout_rate.

    Args:
      x: any shape.
      dropout_rate: probability of dropping a number, in [0, 1).
      rng: numpy Generator of the mask.

    Returns:
      (y, cache); the cache is the scaled mask.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng={rng!r}: no generator; allowed: of numpy.random.default_rng")
    check_finite("dropout_rate", dropout_rate)
    check_shapes(dropout_rate=(dropout_rate, "0 to <1"))
    # Dividing by the keep probability leaves the expectation as it is.
    scale = (rng.random(x.shape) >= dropout_rate) / (1 - dropout_rate)
    return x * scale, scale


def dropout_backward(dy, scale):
    """Backward pass of dropout: dy through the same mask.

    Args:
      dy: gradient of the output.
      scale: the cache of `dropout_forward`.

    Returns:
      dx.
    """
    check_shapes(scale=(scale, "..."), dy=(dy, "..."))
    return dy * scale


def softmax_forward(scores):
    """Softmax p_i = e^(s_i) / Σ_j e^(s_j) over the last axis.

    Args:
      scores: [..., C].

    Returns:
      (p, cache); the cache is p.
    """
    if not np.shape(scores)[-1:] > (0,):
        raise ValueError(f"scores.shape={np.shape(scores)}: no class; allowed: [..., C]")
    # Subtracting the maximum changes no probability and cannot overflow.
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p, p


def softmax_backward(dp, p):
    """Backward pass of the softmax, p (dp - dp·p): the Jacobian is diag(p) - p pᵀ.

    Args:
      dp: [..., C], gradient of the probabilities.
      p: the cache of `softmax_forward`.

    Returns:
      Gradient of the scores.
    """
    check_shapes(p=(p, "... C"), dp=(dp, "... C"))
    return p * (dp - (dp * p).sum(-1, keepdims=True))


def softmax_loss(scores, label):
    """Mean cross-entropy -log p_label, with its gradient (p - onehot) / N.

    Args:
      scores: [N, C].
      label: [N] int, classes in [0, C).

    Returns:
      (loss in nats, gradient [N, C]).
    """
    _check_labels(scores, label)
    shifted = scores - scores.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(scores))
    gradient = np.exp(log_p)
    gradient[rows, label] -= 1  # p - onehot
    return -log_p[rows, label].mean(), gradient / len(scores)


def svm_loss(scores, label, margin=1.0):
    """Mean multiclass hinge Σ_(j != label) max(0, s_j - s_label + margin), with its gradient.

    Args:
      scores: [N, C].
      label: [N] int, classes in [0, C).
      margin: margin by which the right score must exceed the others.

    Returns:
      (loss, gradient [N, C]).
    """
    _check_labels(scores, label)
    check_shapes(margin=(margin, ">= 0"))
    rows = np.arange(len(scores))
    gaps = scores - scores[rows, label][:, None] + margin
    gaps[rows, label] = 0
    gradient = (gaps > 0).astype(scores.dtype)
    # The label's score is in every violated margin.
    gradient[rows, label] = -gradient.sum(1)
    return np.maximum(gaps, 0).sum() / len(scores), gradient / len(scores)


def _check_labels(scores, label):
    check_shapes(scores=(scores, "N C"), label=(label, "int N"))
    if not len(scores):
        raise ValueError(f"scores.shape={scores.shape}: empty; allowed: at least one example")
    check_class_ids("label", label, scores.shape[1])
