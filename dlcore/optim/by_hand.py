"""First-order optimizers written out, from gradient descent to RAdam: each is an equation on one array.

They are optax GradientTransformations that can stand wherever one of optax's can, and are there to be read: training
uses optax's own through `create_optimizer`, except AdaGrad, whose ε optax places elsewhere. In what follows g is the
gradient, w an array of parameters, t the number of the step from 1 (t = 0 would divide by zero in the bias correction)
and a the learning rate; every rule returns what is added to w.

Where ε stands is an argument, because the sources differ: outside the root, g / (sqrt(v) + ε), as in torch and here by
default, or inside, g / sqrt(v + ε), as in optax's adagrad and rmsprop. With g = 1e-4, a = 0.1 and ε = 1e-7 AdaGrad's
first step is -0.0999 outside and -0.0302 inside. A penalty λ/2 w² in the loss is `optax.add_decayed_weights` before any
of them; inside Adam it is not the same as the decoupled decay of AdamW.
"""

from collections.abc import Callable
from numbers import Real

import jax
import jax.numpy as jnp
import optax

from dlcore.ops.checks import check_shapes
from dlcore.optim._rules import ByHandState, Rate, check_at_least_0, concrete, each_array, root

__all__ = [
    "ByHandState",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "gradient_descent",
    "lars",
    "momentum",
    "nadam",
    "nesterov",
    "nesterov_look_ahead",
    "radam",
    "rmsprop",
    "rprop",
]


def gradient_descent(learning_rate: Rate) -> optax.GradientTransformation:
    """Gradient descent, w <- w - a g: along the direction of steepest descent.

    Args:
      learning_rate: step size a, a number or a schedule of the step.

    Returns:
      The optax transformation.
    """
    return each_array(lambda g, w, s, t, a: (-a * g, s), learning_rate)


def momentum(
    learning_rate: Rate, rho: float = 0.9, rate_inside: bool = False, dampening: float = 0.0
) -> optax.GradientTransformation:
    """Momentum, v <- ρ v + g, w <- w - a v; with `rate_inside` v <- ρ v - a g, w <- w + v.

    The two are the same while the rate is constant; when it falls, the second keeps the speed it has. With dampening δ
    the gradient counts (1 - δ) times, after the first step, as in torch; δ = ρ makes v a running mean.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      rho: decay ρ of the velocity, in [0, 1).
      rate_inside: multiply the gradient, and not the velocity, by the rate.
      dampening: δ.

    Returns:
      The optax transformation.
    """
    check_at_least_0(dampening=dampening)
    check_shapes(rho=(rho, "0 to <1"))

    def damped(g, t):
        return g if dampening == 0 else jnp.where(t == 1, g, (1 - dampening) * g)

    def outside(g, w, s, t, a):
        v = rho * s["v"] + damped(g, t)
        return -a * v, {"v": v}

    def inside(g, w, s, t, a):
        v = rho * s["v"] - a * damped(g, t)
        return v, {"v": v}

    return each_array(inside if rate_inside else outside, learning_rate, v=jnp.zeros_like)


def nesterov(learning_rate: Rate, rho: float = 0.9) -> optax.GradientTransformation:
    """Nesterov momentum, v' = ρ v - a g, w <- w - ρ v + (1 + ρ) v', in the variable w = x + ρ v where g is taken.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      rho: decay ρ of the velocity, in [0, 1).

    Returns:
      The optax transformation.
    """
    check_shapes(rho=(rho, "0 to <1"))

    def rule(g, w, s, t, a):
        v = rho * s["v"] - a * g
        return -rho * s["v"] + (1 + rho) * v, {"v": v}

    return each_array(rule, learning_rate, v=jnp.zeros_like)


def nesterov_look_ahead(gradient: Callable, x: jax.Array, v: jax.Array, learning_rate: float, rho: float = 0.9):
    """Nesterov momentum as first written: v <- ρ v - a g(x + ρ v), x <- x + v.

    Args:
      gradient: x -> gradient at x.
      x: parameters.
      v: velocity, of the shape of `x`.
      learning_rate: step size a.
      rho: decay ρ of the velocity, in [0, 1).

    Returns:
      (x, v) after one step.
    """
    check_shapes(rho=(rho, "0 to <1"), x=(x, "..."), v=(v, "..."))
    check_at_least_0(learning_rate=learning_rate)
    v = rho * v - learning_rate * gradient(x + rho * v)
    return x + v, v


def adagrad(
    learning_rate: Rate = 0.01, eps: float = 1e-7, eps_inside: bool = False, start: float = 0.0
) -> optax.GradientTransformation:
    """AdaGrad, s <- s + g², w <- w - a g / sqrt(s): steps only shrink (Duchi, Hazan & Singer 2011).

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      eps: ε, added to the root in the denominator.
      eps_inside: add ε under the root, as optax does.
      start: s before the first step: 0 in the notes and in torch, 0.1 in optax.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps, start=start)

    def rule(g, w, s, t, a):
        total = s["s"] + g * g
        return -a * g / root(total, eps, eps_inside), {"s": total}

    return each_array(rule, learning_rate, s=lambda w: jnp.full_like(w, start))


def rmsprop(
    learning_rate: Rate = 1e-3,
    gamma: float = 0.9,
    eps: float = 1e-7,
    eps_inside: bool = False,
    centered: bool = False,
    rho: float = 0.0,
) -> optax.GradientTransformation:
    """RMSProp, s <- γ s + (1 - γ) g², w <- w - a g / sqrt(s): AdaGrad that forgets (Tieleman & Hinton 2012).

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      gamma: decay γ of the running mean of squares, in [0, 1).
      eps: ε, added to the root in the denominator.
      eps_inside: add ε under the root, as optax does.
      centered: subtract the squared running mean of g from s, which leaves the variance.
      rho: decay ρ of a velocity that follows; 0 for none.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps)
    check_shapes(gamma=(gamma, "0 to <1"), rho=(rho, "0 to <1"))

    def rule(g, w, s, t, a):
        mean = gamma * s["m"] + (1 - gamma) * g
        if centered:
            # The running mean of g² less m², in a form that does not cancel.
            spread = gamma * (s["s"] + (1 - gamma) * (g - s["m"]) ** 2)
        else:
            spread = gamma * s["s"] + (1 - gamma) * g * g
        v = rho * s["v"] + g / root(spread, eps, eps_inside)
        return -a * v, {"s": spread, "m": mean, "v": v}

    return each_array(rule, learning_rate, s=jnp.zeros_like, m=jnp.zeros_like, v=jnp.zeros_like)


def adadelta(learning_rate: Rate = 1.0, rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """Adadelta, s <- ρ s + (1 - ρ) g², d = sqrt(u + ε) / sqrt(s + ε) g, u <- ρ u + (1 - ρ) d², w <- w - a d.

    Zeiler 2012, arXiv:1212.5701: the step has the units of w, so that a = 1 needs no tuning.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      rho: decay ρ of both running means, in [0, 1).
      eps: ε, added under both roots.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps)
    check_shapes(rho=(rho, "0 to <1"))

    def rule(g, w, s, t, a):
        square = rho * s["s"] + (1 - rho) * g * g
        d = jnp.sqrt(s["u"] + eps) / jnp.sqrt(square + eps) * g
        return -a * d, {"s": square, "u": rho * s["u"] + (1 - rho) * d * d}

    return each_array(rule, learning_rate, s=jnp.zeros_like, u=jnp.zeros_like)


def adam(
    learning_rate: Rate = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_inside: bool = False,
    amsgrad: bool = False,
) -> optax.GradientTransformation:
    """Adam, m <- β1 m + (1 - β1) g, v <- β2 v + (1 - β2) g², w <- w - a m̂ / (sqrt(v̂) + ε).

    m̂ = m / (1 - β1^t), v̂ = v / (1 - β2^t): Kingma & Ba 2015, arXiv:1412.6980. Without this correction the first steps
    are far off, because m and v start at 0.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      b1: decay β1 of the running mean of gradients, in [0, 1).
      b2: decay β2 of the running mean of squares, in [0, 1).
      eps: ε, added to the root in the denominator.
      eps_inside: add ε under the root.
      amsgrad: use the largest v so far (Reddi et al. 2018), as torch; optax takes the largest v̂.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps)
    check_shapes(b1=(b1, "0 to <1"), b2=(b2, "0 to <1"))

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        largest = jnp.maximum(s["largest"], v) if amsgrad else v
        m_hat = m / (1 - b1**t)
        v_hat = largest / (1 - b2**t)
        return -a * m_hat / root(v_hat, eps, eps_inside), {"m": m, "v": v, "largest": largest}

    return each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like, largest=jnp.zeros_like)


def adamw(
    learning_rate: Rate = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.01
) -> optax.GradientTransformation:
    """AdamW, w <- w - a (m̂ / (sqrt(v̂) + ε) + λ w): Adam's division leaves out the decay (Loshchilov & Hutter 2019).

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      b1: decay β1 of the running mean of gradients, in [0, 1).
      b2: decay β2 of the running mean of squares, in [0, 1).
      eps: ε, added to the root in the denominator.
      weight_decay: λ.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps, weight_decay=weight_decay)
    check_shapes(b1=(b1, "0 to <1"), b2=(b2, "0 to <1"))

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        direction = m / (1 - b1**t) / (jnp.sqrt(v / (1 - b2**t)) + eps)
        return -a * (direction + weight_decay * w), {"m": m, "v": v}

    return each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like)


def adamax(
    learning_rate: Rate = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """AdaMax, u <- max(β2 u, |g| + ε), w <- w - a m̂ / u: Adam with the maximum norm in place of the root.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      b1: decay β1 of the running mean of gradients, in [0, 1).
      b2: decay β2 of the maximum u, in [0, 1).
      eps: ε, added to |g|.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps)
    check_shapes(b1=(b1, "0 to <1"), b2=(b2, "0 to <1"))

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        u = jnp.maximum(b2 * s["u"], jnp.abs(g) + eps)
        return -a * m / (1 - b1**t) / u, {"m": m, "u": u}

    return each_array(rule, learning_rate, m=jnp.zeros_like, u=jnp.zeros_like)


def nadam(
    learning_rate: Rate = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> optax.GradientTransformation:
    """NAdam, Adam with Nesterov's look-ahead and a rising momentum μ_t = β1 (1 - 0.96^(0.004 t) / 2) (Dozat 2016).

    w <- w - a (μ_(t+1) m / (1 - Π μ to t+1) + (1 - μ_t) g / (1 - Π μ to t)) / (sqrt(v̂) + ε). optax holds μ constant.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      b1: limit β1 of the momentum, in [0, 1).
      b2: decay β2 of the running mean of squares, in [0, 1).
      eps: ε, added to the root in the denominator.
      momentum_decay: how fast μ rises, 0.004 above.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps, momentum_decay=momentum_decay)
    check_shapes(b1=(b1, "0 to <1"), b2=(b2, "0 to <1"))

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        now, after = (b1 * (1 - 0.5 * 0.96 ** (momentum_decay * k)) for k in (t, t + 1))
        product = s["product"] * now
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        return -a * ahead / (jnp.sqrt(v / (1 - b2**t)) + eps), {"m": m, "v": v, "product": product}

    return each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like, product=lambda w: jnp.ones((), w.dtype))


def radam(
    learning_rate: Rate = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """RAdam, Adam that divides by the root only after enough gradients (Liu et al. 2020, arXiv:1908.03265).

    ρ = 2 / (1 - β2) - 1, ρ_t = ρ - 2 t β2^t / (1 - β2^t); where ρ_t > 5 the step is r m̂ / (sqrt(v) + ε) sqrt(1 -
    β2^t), r² = (ρ_t - 4)(ρ_t - 2) ρ / ((ρ - 4)(ρ - 2) ρ_t), and before that m̂ alone. ε stands as in torch.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      b1: decay β1 of the running mean of gradients, in [0, 1).
      b2: decay β2 of the running mean of squares, in [0, 1).
      eps: ε, added to the root in the denominator.

    Returns:
      The optax transformation.
    """
    check_at_least_0(eps=eps)
    check_shapes(b1=(b1, "0 to <1"), b2=(b2, "0 to <1"))
    long = 2 / (1 - b2) - 1

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        m_hat = m / (1 - b1**t)
        observed = long - 2 * t * b2**t / (1 - b2**t)
        r2 = (observed - 4) * (observed - 2) * long / ((long - 4) * (long - 2) * observed)
        rectified = jnp.sqrt(jnp.where(observed > 5, r2, 1)) * jnp.sqrt(1 - b2**t) / (jnp.sqrt(v) + eps)
        return -a * m_hat * jnp.where(observed > 5, rectified, 1), {"m": m, "v": v}

    return each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like)


def rprop(
    learning_rate: float = 0.01, shrink: float = 0.5, grow: float = 1.2, smallest: float = 1e-6, largest: float = 50.0
) -> optax.GradientTransformation:
    """Rprop, w <- w - d sign(g): d grows where g keeps its sign, and shrinks where it flips, which skips that step.

    Riedmiller & Braun 1993; for full batches: the sign of a minibatch's gradient is mostly noise.

    Args:
      learning_rate: first size d of every step.
      shrink: factor on d where the sign flips, below 1.
      grow: factor on d where the sign stays, above 1.
      smallest: least d.
      largest: greatest d.

    Returns:
      The optax transformation.
    """
    check_shapes(shrink=(shrink, "0 to <1"), grow=(grow, "> 1"))
    sizes = concrete(smallest), concrete(largest)
    if all(isinstance(size, Real) for size in sizes) and not 0 <= sizes[0] <= sizes[1]:
        raise ValueError(f"smallest={smallest}: out of range; allowed: 0 to largest={largest}")

    def rule(g, w, s, t, a):
        same = jnp.sign(g * s["g"])
        d = jnp.clip(s["d"] * jnp.where(same > 0, grow, jnp.where(same < 0, shrink, 1.0)), smallest, largest)
        g = jnp.where(same < 0, 0, g)
        return -d * jnp.sign(g), {"g": g, "d": d}

    return each_array(rule, learning_rate, g=jnp.zeros_like, d=lambda w: jnp.full_like(w, learning_rate))


def asgd(
    learning_rate: float = 0.01, decay: float = 1e-4, power: float = 0.75, average_from: float = 1e6
) -> optax.GradientTransformation:
    """Averaged SGD, w <- w (1 - λ a_t) - a_t g, a_t = a / (1 + λ a (t - 1))^p (Polyak & Juditsky 1992).

    The slot `average` holds the mean of w.

    Args:
      learning_rate: first step size a.
      decay: λ, both the weight decay and the decay of the step size.
      power: exponent p of the step size's decay.
      average_from: step at which averaging starts; until then the average is w.

    Returns:
      The optax transformation.
    """
    check_at_least_0(decay=decay, power=power)
    check_shapes(average_from=(average_from, ">= 0"))  # infinity averages never

    def rule(g, w, s, t, a):
        a = jnp.where(t > 1, a / (1 + decay * a * (t - 1)) ** power, a)
        step = -a * (decay * w + g)
        weight = 1 / jnp.maximum(1, t - 1 - average_from)
        return step, {"average": s["average"] + weight * (w + step - s["average"])}

    return each_array(rule, learning_rate, average=jnp.zeros_like)


def lars(
    learning_rate: Rate, rho: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
) -> optax.GradientTransformation:
    """LARS, u = g + λ w, v <- ρ v - a η ‖w‖ / ‖u‖ u, w <- w + v: each array moves in proportion to its own norm.

    You, Gitman & Ginsburg 2017, arXiv:1708.03888, who divide by ‖g‖ + λ ‖w‖; this is optax's ‖g + λ w‖. Where either
    norm is 0 the ratio is 1.

    Args:
      learning_rate: step size a, a number or a schedule of the step.
      rho: decay ρ of the velocity, in [0, 1).
      weight_decay: λ.
      trust: η, the step's norm as a share of the parameters' norm.

    Returns:
      The optax transformation.
    """
    check_at_least_0(weight_decay=weight_decay, trust=trust)
    check_shapes(rho=(rho, "0 to <1"))

    def rule(g, w, s, t, a):
        u = g + weight_decay * w
        sizes = jnp.linalg.norm(w.ravel()), jnp.linalg.norm(u.ravel())
        moving = (sizes[0] > 0) & (sizes[1] > 0)
        ratio = jnp.where(moving, trust * sizes[0] / jnp.where(moving, sizes[1], 1), 1)
        v = rho * s["v"] - a * ratio * u
        return v, {"v": v}

    return each_array(rule, learning_rate, v=jnp.zeros_like)
