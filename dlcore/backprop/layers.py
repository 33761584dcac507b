"""Layers written out forwards and backwards, on whole batches: affine, convolution, pooling, normalisation, losses.

Each is a pair: `NAME_forward(x, ...) -> (y, cache)` and `NAME_backward(dy, cache) -> gradients`, in the order of the
forward's arrays and of their shapes. A Jacobian is never formed: where it is diagonal (relu, dropout) the backward is a
product of arrays, and where it is a matrix product it is another one,

    Y = X W + b:    dX = dY Wᵀ    dW = Xᵀ dY    db = Σ_n dY           (for Y = W X: dX = Wᵀ dY, dW = dY Xᵀ)

Convolution is that product on patches (im2col), and its dX adds each patch's gradient back where it came from. numpy
in float64, images [N, H, W, C], kernels [kh, kw, C, O] as in the rest of dlcore.
"""

import numpy as np

__all__ = [
    "affine_backward", "affine_forward", "avg_pool_backward", "avg_pool_forward", "batch_norm_backward",
    "batch_norm_forward", "col2im", "conv_backward", "conv_forward", "dropout_backward", "dropout_forward", "im2col",
    "layer_norm_backward", "layer_norm_forward", "max_pool_backward", "max_pool_forward", "relu_backward",
    "relu_forward", "sigmoid_backward", "sigmoid_forward", "softmax_backward", "softmax_forward", "softmax_loss",
    "svm_loss",
]  # fmt: skip


def affine_forward(x, w, b):
    """x: [N, ...] flattened to [N, D], w: [D, M], b: [M] -> [N, M]."""
    return x.reshape(len(x), -1) @ w + b, (x, w)


def affine_backward(dy, cache):
    """dx, dw, db."""
    x, w = cache
    return (dy @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dy, dy.sum(0)


def relu_forward(x):
    """max(x, 0)."""
    return np.maximum(x, 0), x


def relu_backward(dy, x):
    """dy where x was positive."""
    return dy * (x > 0)


def sigmoid_forward(x):
    """1 / (1 + e^-x), without overflow; the cache is the output."""
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, e) / (1 + e)
    return y, y


def sigmoid_backward(dy, y):
    """dy (1 - y) y."""
    return dy * (1 - y) * y


def im2col(x, kh, kw, stride=1, pad=0):
    """The patches of x: [N, H, W, C] -> [N, H', W', kh, kw, C], H' = (H + 2 pad - kh) / stride + 1, rounded down.

    Raises:
      ValueError: the window is larger than the padded image.
    """
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    if kh > x.shape[1] or kw > x.shape[2]:
        raise ValueError(f"the window {kh}x{kw} is larger than the padded image {x.shape[1]}x{x.shape[2]}")
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 1, 2, 4, 5, 3)


def col2im(patches, shape, stride=1, pad=0):
    """The transpose of `im2col`: add every patch back to an image of that shape [N, H, W, C]."""
    n, rows, columns, kh, kw, c = patches.shape
    x = np.zeros((n, shape[1] + 2 * pad, shape[2] + 2 * pad, c), patches.dtype)
    for i in range(kh):
        for j in range(kw):
            x[:, i : i + stride * rows : stride, j : j + stride * columns : stride] += patches[:, :, :, i, j]
    return x[:, pad : pad + shape[1], pad : pad + shape[2]]


def conv_forward(x, w, b, stride=1, pad=0):
    """x: [N, H, W, C], w: [kh, kw, C, O], b: [O] -> [N, H', W', O]."""
    patches = im2col(x, *w.shape[:2], stride, pad)
    return np.tensordot(patches, w, 3) + b, (patches, x.shape, w, stride, pad)


def conv_backward(dy, cache):
    """dx, dw, db."""
    patches, shape, w, stride, pad = cache
    dw = np.tensordot(patches, dy, ((0, 1, 2), (0, 1, 2)))
    return col2im(np.tensordot(dy, w, (3, 3)), shape, stride, pad), dw, dy.sum((0, 1, 2))


def max_pool_forward(x, size=2, stride=2):
    """The largest of each size x size window, channel by channel: [N, H, W, C] -> [N, H', W', C]."""
    patches = im2col(x, size, size, stride)
    flat = patches.reshape(*patches.shape[:3], size * size, patches.shape[5])
    winner = flat.argmax(3)
    return flat.max(3), (winner, patches.shape, x.shape, stride)


def max_pool_backward(dy, cache):
    """All of the gradient to the pixel that won, to the first where several did."""
    winner, patches, shape, stride = cache
    flat = np.zeros((*patches[:3], patches[3] * patches[4], patches[5]))
    np.put_along_axis(flat, winner[:, :, :, None], dy[:, :, :, None], 3)
    return col2im(flat.reshape(patches), shape, stride)


def avg_pool_forward(x, size=2, stride=2):
    """The mean of each size x size window: [N, H, W, C] -> [N, H', W', C]."""
    patches = im2col(x, size, size, stride)
    return patches.mean((3, 4)), (patches.shape, x.shape, stride)


def avg_pool_backward(dy, cache):
    """The gradient in equal parts."""
    patches, shape, stride = cache
    share = dy[:, :, :, None, None] / (patches[3] * patches[4])
    return col2im(np.broadcast_to(share, patches), shape, stride)


def batch_norm_forward(x, gamma, beta, eps=1e-5):
    """x^ = (x - mean) / sqrt(var + eps) over all axes but the last, y = gamma x^ + beta; x: [..., C], gamma: [C]."""
    return _normalise(x, gamma, beta, eps, tuple(range(x.ndim - 1)))


def batch_norm_backward(dy, cache):
    """dx, dgamma, dbeta: x goes into the mean and the variance too, which takes their share out of the gradient."""
    return _normalise_backward(dy, cache)


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    """The same over the last axis, one example by itself."""
    return _normalise(x, gamma, beta, eps, (-1,))


def layer_norm_backward(dy, cache):
    """dx, dgamma, dbeta."""
    return _normalise_backward(dy, cache)


def _normalise(x, gamma, beta, eps, axes):
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
    hat = (x - x.mean(axes, keepdims=True)) * inverse
    return gamma * hat + beta, (hat, gamma, inverse, axes)


def _normalise_backward(dy, cache):
    hat, gamma, inverse, axes = cache
    g = dy * gamma
    dx = inverse * (g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True))
    others = tuple(range(dy.ndim - 1))
    return dx, (dy * hat).sum(others), dy.sum(others)


def dropout_forward(x, drop, rng):
    """Each number is dropped with probability `drop` and the others divided by 1 - drop: nothing to do at test time.

    Raises:
      ValueError: drop is outside [0, 1).
    """
    if not 0 <= drop < 1:
        raise ValueError(f"drop={drop} must lie in [0, 1)")
    scale = (rng.random(x.shape) >= drop) / (1 - drop)
    return x * scale, scale


def dropout_backward(dy, scale):
    """dy through the same mask."""
    return dy * scale


def softmax_forward(scores):
    """p_i = e^(s_i) / Σ_j e^(s_j) over the last axis; the cache is the output."""
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p, p


def softmax_backward(dp, p):
    """p (dp - dp·p): the Jacobian is diag(p) - p pᵀ."""
    return p * (dp - (dp * p).sum(-1, keepdims=True))


def softmax_loss(scores, label):
    """(mean of -log p_label, its gradient (p - onehot) / N); scores: [N, C], label: [N] int."""
    shifted = scores - scores.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(scores))
    gradient = np.exp(log_p)
    gradient[rows, label] -= 1
    return -log_p[rows, label].mean(), gradient / len(scores)


def svm_loss(scores, label, margin=1.0):
    """(mean of Σ_(j != label) max(0, s_j - s_label + margin), its gradient): one for each class that comes too near."""
    rows = np.arange(len(scores))
    gaps = scores - scores[rows, label][:, None] + margin
    gaps[rows, label] = 0
    gradient = (gaps > 0).astype(scores.dtype)
    gradient[rows, label] = -gradient.sum(1)
    return np.maximum(gaps, 0).sum() / len(scores), gradient / len(scores)
