"""Chapter 3: optimizers in a narrow valley.

The same function, the same start, and three ways down.
"""

# %% [markdown]
# ## The valley
#
# Rosenbrock's function has a curved valley. Across it the slope is steep, along it nearly flat: one learning rate
# cannot suit both.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from dlcore.optim import by_hand


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def path(optimizer, steps=500):
    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(jax.grad(rosenbrock)(x), state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    start = jnp.array([-1.2, 1.0])
    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]


paths = {
    "gradient descent": path(by_hand.gradient_descent(1e-3)),
    "momentum": path(by_hand.momentum(1e-3, 0.9)),
    "Adam": path(by_hand.adam(0.05)),
}
for name, points in paths.items():
    print(f"{name:17} value after 500 steps {rosenbrock(points[-1]):.2e}")

# %% [markdown]
# ## Look at the paths

# %%
x, y = np.meshgrid(np.linspace(-1.6, 1.6, 120), np.linspace(-0.6, 1.8, 120))
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
for ax, (name, points) in zip(axes, paths.items(), strict=True):
    ax.contour(x, y, np.log10(rosenbrock((x, y)) + 1e-3), 9, cmap="Greys", linewidths=0.6)
    ax.plot(*np.asarray(points).T, linewidth=1.2)
    ax.plot(1, 1, "*")
    ax.set_title(name, fontsize=9)
plt.show()

# %% [markdown]
# Double the learning rate of gradient descent until it diverges. On a quadratic bowl, momentum of 0.9 stands 1.9 times
# the rate of gradient descent; what it gains here is distance along the floor of the valley.
