"""Chapter 8: gradients through time.

Why a vanilla recurrent network forgets, and how a gate helps.
"""

# %% [markdown]
# ## The gradient after T steps
#
# The derivative of the last state with respect to the first is a product of T Jacobians. If they shrink on average, it
# vanishes exponentially. In an LSTM the cell is multiplied by its forget gate alone, which can stay near 1.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.nn.recurrent_cells import lstm_cell, rnn_cell

SIZE, STEPS = 32, 60
draw = jax.random.normal
w_key, x_key = jax.random.split(jax.random.key(0))


def norms(cell, carry, gates, bias, scale=1.0):
    """Norm of the derivative of step t's state along one direction of the first state."""
    w = scale * draw(w_key, (SIZE, gates * SIZE)) / jnp.sqrt(SIZE)
    inputs = 0.5 * draw(x_key, (STEPS, gates * SIZE)) + bias

    def run(carry):
        def step(carry, a):
            carry = cell(carry, a, carry[0] @ w)
            return carry, carry[-1]

        return jax.lax.scan(step, carry, inputs)[1]

    tangents = jax.jvp(run, (carry,), (jax.tree.map(jnp.ones_like, carry),))[1]
    return jnp.linalg.norm(tangents, axis=-1)


zero = jnp.zeros(SIZE)
forget = jnp.zeros(4 * SIZE).at[SIZE : 2 * SIZE].set(4.0)
curves = {
    "vanilla RNN": norms(rnn_cell, (zero,), 1, 0.0),
    "LSTM": norms(lstm_cell, (zero, zero), 4, 0.0),
    "LSTM, forget bias 4": norms(lstm_cell, (zero, zero), 4, forget),
}
for name, curve in curves.items():
    plt.semilogy(curve, label=name)
    print(f"{name:20} after {STEPS} steps {curve[-1]:.1e}")
plt.xlabel("step")
plt.ylabel("norm of the derivative")
plt.legend()
plt.show()

# %% [markdown]
# Scale the weights (`scale=2`) and compare the curves again. Clipping the norm of a gradient helps against one that
# explodes, and not against one that vanishes.
