"""First-order optimisers written out, from gradient descent to RAdam: each is an equation on one array.

They are optax GradientTransformations, so that they can stand wherever one of optax's can, and are there to be read:
training uses optax's own through `create_optimizer`, AdaGrad excepted, whose ε optax has elsewhere. In what follows g
is the gradient, w an array of parameters, t the number of the step from 1 (t = 0 would divide by zero in the bias
correction) and a the rate, a number or a schedule; every rule returns what is added to w.

Where ε stands is an argument, because the sources differ: outside the root, g / (sqrt(v) + ε), as in torch and here by
default, or inside, g / sqrt(v + ε), as in optax's adagrad and rmsprop. With g = 1e-4, a = .1 and ε = 1e-7 AdaGrad's
first step is -.0999 outside and -.0302 inside. A penalty λ/2 w² in the loss is `optax.add_decayed_weights` before any
of them; inside Adam it is not the same as the decoupled decay of AdamW.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = [
    "ByHandState", "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "gradient_descent", "lars", "momentum",
    "nadam", "nesterov", "nesterov_look_ahead", "radam", "rmsprop", "rprop",
]  # fmt: skip

Rate = optax.ScalarOrSchedule


class ByHandState(NamedTuple):
    """count: [] int32 steps taken. slots: name -> one array a parameter (a running mean, a velocity)."""

    count: jax.Array
    slots: dict[str, Any]


def _each_array(rule: Callable, rate: Rate, **slots: Callable) -> optax.GradientTransformation:
    """The transformation that applies `rule(g, w, s, t, a) -> (what is added to w, s)` to every array.

    s is a dict of that array's slots; `slots` names them and says how they start, as functions of w.
    """

    def init(params):
        return ByHandState(jnp.zeros((), jnp.int32), {n: jax.tree.map(start, params) for n, start in slots.items()})

    def update(gradients, state, params=None):
        if params is None:
            raise ValueError("the optimisers by hand need params: call update(gradients, state, params)")
        t = state.count + 1
        a = rate(state.count) if callable(rate) else rate
        leaves, structure = jax.tree.flatten(gradients)
        arrays = structure.flatten_up_to(params)
        before = {name: structure.flatten_up_to(slot) for name, slot in state.slots.items()}
        added, after = [], {name: [] for name in slots}
        for i, (g, w) in enumerate(zip(leaves, arrays, strict=True)):
            step, s = rule(g, w, {name: slot[i] for name, slot in before.items()}, t, a)
            added.append(step.astype(w.dtype))
            for name in slots:
                after[name].append(s[name].astype(before[name][i].dtype))
        return structure.unflatten(added), ByHandState(t, {n: structure.unflatten(s) for n, s in after.items()})

    return optax.GradientTransformation(init, update)


def _root(v: jax.Array, eps: float, inside: bool) -> jax.Array:
    return jnp.sqrt(v + eps) if inside else jnp.sqrt(v) + eps


def gradient_descent(learning_rate: Rate) -> optax.GradientTransformation:
    """w <- w - a g: against the gradient, which is the direction of steepest descent."""
    return _each_array(lambda g, w, s, t, a: (-a * g, s), learning_rate)


def momentum(learning_rate: Rate, rho: float = 0.9, rate_inside: bool = False) -> optax.GradientTransformation:
    """v <- ρ v + g, w <- w - a v; with `rate_inside` v <- ρ v - a g, w <- w + v.

    The two are the same while the rate is constant; when it falls, the second goes on with the speed it has.
    """

    def outside(g, w, s, t, a):
        v = rho * s["v"] + g
        return -a * v, {"v": v}

    def inside(g, w, s, t, a):
        v = rho * s["v"] - a * g
        return v, {"v": v}

    return _each_array(inside if rate_inside else outside, learning_rate, v=jnp.zeros_like)


def nesterov(learning_rate: Rate, rho: float = 0.9) -> optax.GradientTransformation:
    """v' = ρ v - a g, w <- w - ρ v + (1 + ρ) v': the look-ahead in the variable w = x + ρ v, where g is taken."""

    def rule(g, w, s, t, a):
        v = rho * s["v"] - a * g
        return -rho * s["v"] + (1 + rho) * v, {"v": v}

    return _each_array(rule, learning_rate, v=jnp.zeros_like)


def nesterov_look_ahead(gradient: Callable, x: jax.Array, v: jax.Array, learning_rate: float, rho: float = 0.9):
    """(x, v) after one step: the gradient is taken where the velocity leads, v <- ρ v - a g(x + ρ v), x <- x + v."""
    v = rho * v - learning_rate * gradient(x + rho * v)
    return x + v, v


def adagrad(
    learning_rate: Rate = 0.01, eps: float = 1e-7, eps_inside: bool = False, start: float = 0.0
) -> optax.GradientTransformation:
    """s <- s + g², w <- w - a g / sqrt(s): divided by the root of the sum of squares, so steps only shrink.

    Duchi, Hazan & Singer 2011. `start` is s before the first step: 0 in the notes and in torch, .1 in optax.
    """

    def rule(g, w, s, t, a):
        total = s["s"] + g * g
        return -a * g / _root(total, eps, eps_inside), {"s": total}

    return _each_array(rule, learning_rate, s=lambda w: jnp.full_like(w, start))


def rmsprop(
    learning_rate: Rate = 1e-3,
    gamma: float = 0.9,
    eps: float = 1e-7,
    eps_inside: bool = False,
    centred: bool = False,
    rho: float = 0.0,
) -> optax.GradientTransformation:
    """s <- γ s + (1 - γ) g², w <- w - a g / sqrt(s): AdaGrad that forgets (Tieleman & Hinton 2012).

    With `centred` the squared running mean of g is taken off s, and with ρ a momentum follows.
    """

    def rule(g, w, s, t, a):
        square = gamma * s["s"] + (1 - gamma) * g * g
        mean = gamma * s["m"] + (1 - gamma) * g
        spread = square - mean * mean if centred else square
        v = rho * s["v"] + g / _root(spread, eps, eps_inside)
        return -a * v, {"s": square, "m": mean, "v": v}

    return _each_array(rule, learning_rate, s=jnp.zeros_like, m=jnp.zeros_like, v=jnp.zeros_like)


def adadelta(learning_rate: Rate = 1.0, rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """s <- ρ s + (1 - ρ) g², d = sqrt(u + ε) / sqrt(s + ε) g, u <- ρ u + (1 - ρ) d², w <- w - a d.

    Zeiler 2012, arXiv:1212.5701: the step has the units of w, so that a = 1 needs no tuning.
    """

    def rule(g, w, s, t, a):
        square = rho * s["s"] + (1 - rho) * g * g
        d = jnp.sqrt(s["u"] + eps) / jnp.sqrt(square + eps) * g
        return -a * d, {"s": square, "u": rho * s["u"] + (1 - rho) * d * d}

    return _each_array(rule, learning_rate, s=jnp.zeros_like, u=jnp.zeros_like)


def adam(
    learning_rate: Rate = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_inside: bool = False,
    amsgrad: bool = False,
) -> optax.GradientTransformation:
    """m <- β1 m + (1 - β1) g, v <- β2 v + (1 - β2) g², w <- w - a m̂ / (sqrt(v̂) + ε); m̂ = m / (1 - β1^t), v̂ likewise.

    Kingma & Ba 2015, arXiv:1412.6980. Without the correction the first steps are far off, because m and v start at 0.
    With `amsgrad` the largest v so far stands for v (Reddi et al. 2018), as in torch; optax takes the largest v̂.
    """

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        largest = jnp.maximum(s["largest"], v) if amsgrad else v
        m_hat = m / (1 - b1**t)
        v_hat = largest / (1 - b2**t)
        return -a * m_hat / _root(v_hat, eps, eps_inside), {"m": m, "v": v, "largest": largest}

    return _each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like, largest=jnp.zeros_like)


def adamw(
    learning_rate: Rate = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.01
) -> optax.GradientTransformation:
    """w <- w - a (m̂ / (sqrt(v̂) + ε) + λ w): the decay passes Adam's division by (Loshchilov & Hutter 2019)."""

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        direction = m / (1 - b1**t) / (jnp.sqrt(v / (1 - b2**t)) + eps)
        return -a * (direction + weight_decay * w), {"m": m, "v": v}

    return _each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like)


def adamax(
    learning_rate: Rate = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """m as Adam's, u <- max(β2 u, |g| + ε), w <- w - a m̂ / u: Adam with the maximum norm in the place of the root."""

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        u = jnp.maximum(b2 * s["u"], jnp.abs(g) + eps)
        return -a * m / (1 - b1**t) / u, {"m": m, "u": u}

    return _each_array(rule, learning_rate, m=jnp.zeros_like, u=jnp.zeros_like)


def nadam(
    learning_rate: Rate = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> optax.GradientTransformation:
    """Adam with Nesterov's look-ahead and a momentum μ_t = β1 (1 - .96^(.004 t) / 2) that rises (Dozat 2016).

    w <- w - a (μ_(t+1) m / (1 - Π μ to t+1) + (1 - μ_t) g / (1 - Π μ to t)) / (sqrt(v̂) + ε). optax holds μ constant.
    """

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        now, after = (b1 * (1 - 0.5 * 0.96 ** (momentum_decay * k)) for k in (t, t + 1))
        product = s["product"] * now
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        return -a * ahead / (jnp.sqrt(v / (1 - b2**t)) + eps), {"m": m, "v": v, "product": product}

    return _each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like, product=lambda w: jnp.ones((), w.dtype))


def radam(
    learning_rate: Rate = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam that divides by the root only once enough gradients were seen for it (Liu et al. 2020, arXiv:1908.03265).

    ρ = 2 / (1 - β2) - 1, ρ_t = ρ - 2 t β2^t / (1 - β2^t); where ρ_t > 5 the step is r m̂ / (sqrt(v) + ε) sqrt(1 - β2^t),
    r² = (ρ_t - 4)(ρ_t - 2) ρ / ((ρ - 4)(ρ - 2) ρ_t), and before that m̂ alone. ε stands as in torch.
    """
    long = 2 / (1 - b2) - 1

    def rule(g, w, s, t, a):
        m = b1 * s["m"] + (1 - b1) * g
        v = b2 * s["v"] + (1 - b2) * g * g
        m_hat = m / (1 - b1**t)
        seen = long - 2 * t * b2**t / (1 - b2**t)
        r2 = (seen - 4) * (seen - 2) * long / ((long - 4) * (long - 2) * seen)
        rectified = jnp.sqrt(jnp.where(seen > 5, r2, 1)) * jnp.sqrt(1 - b2**t) / (jnp.sqrt(v) + eps)
        return -a * m_hat * jnp.where(seen > 5, rectified, 1), {"m": m, "v": v}

    return _each_array(rule, learning_rate, m=jnp.zeros_like, v=jnp.zeros_like)


def rprop(
    learning_rate: float = 0.01, shrink: float = 0.5, grow: float = 1.2, smallest: float = 1e-6, largest: float = 50.0
) -> optax.GradientTransformation:
    """w <- w - d sign(g), d grows where g keeps its sign and shrinks where it changes, and then that step is left out.

    Riedmiller & Braun 1993; for full batches: the sign of a minibatch's gradient is mostly noise.
    """

    def rule(g, w, s, t, a):
        same = jnp.sign(g * s["g"])
        d = jnp.clip(s["d"] * jnp.where(same > 0, grow, jnp.where(same < 0, shrink, 1.0)), smallest, largest)
        g = jnp.where(same < 0, 0, g)
        return -d * jnp.sign(g), {"g": g, "d": d}

    return _each_array(rule, learning_rate, g=jnp.zeros_like, d=lambda w: jnp.full_like(w, learning_rate))


def asgd(
    learning_rate: float = 0.01, decay: float = 1e-4, power: float = 0.75, average_from: float = 1e6
) -> optax.GradientTransformation:
    """w <- w (1 - λ a_t) - a_t g, a_t = a / (1 + λ a (t - 1))^p; slot `average` holds Polyak & Juditsky's mean of w."""

    def rule(g, w, s, t, a):
        a = jnp.where(t > 1, a / (1 + decay * a * (t - 1)) ** power, a)
        step = -a * (decay * w + g)
        share = 1 / jnp.maximum(1, t - 1 - average_from)
        return step, {"average": s["average"] + share * (w + step - s["average"])}

    return _each_array(rule, learning_rate, average=jnp.zeros_like)


def lars(
    learning_rate: Rate, rho: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
) -> optax.GradientTransformation:
    """u = g + λ w, v <- ρ v - a η ‖w‖ / ‖u‖ u, w <- w + v: each array moves in proportion to its own size.

    You, Gitman & Ginsburg 2017, arXiv:1708.03888, who divide by ‖g‖ + λ ‖w‖; this is optax's ‖g + λ w‖. Where either
    norm is 0 the ratio is 1.
    """

    def rule(g, w, s, t, a):
        u = g + weight_decay * w
        sizes = jnp.linalg.norm(w.ravel()), jnp.linalg.norm(u.ravel())
        moving = (sizes[0] > 0) & (sizes[1] > 0)
        ratio = jnp.where(moving, trust * sizes[0] / jnp.where(moving, sizes[1], 1), 1)
        v = rho * s["v"] - a * ratio * u
        return v, {"v": v}

    return _each_array(rule, learning_rate, v=jnp.zeros_like)
