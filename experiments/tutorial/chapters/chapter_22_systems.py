"""Chapter 22: what a program costs.

Compilation, batches, and numbers with fewer bits.
"""

# %% [markdown]
# ## Compile once, run often
#
# JAX traces a function into one program. The first call compiles; a call with a new shape compiles again.

# %%
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt


def layer(x, w):
    for _ in range(8):
        x = jnp.tanh(x @ w)
    return x


def seconds(function, *arguments, repeats=50):
    """The shortest of several calls; block_until_ready waits for the result."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


w = jax.random.normal(jax.random.key(0), (128, 128)) / 128**0.5
compiled = jax.jit(layer)
x = jax.random.normal(jax.random.key(1), (64, 128))
began = time.perf_counter()
jax.block_until_ready(compiled(x, w))
first = time.perf_counter() - began
print(f"first call takes {first / seconds(compiled, x, w):.0f} times as long as the next one")

# %% [markdown]
# ## The cost of a batch
#
# Time grows more slowly than the batch, as long as the processor waits for something else. Numbers of one shared
# machine: compare the shape of the curve, not its height.

# %%
sizes = (1, 4, 16, 64, 256, 1024)
times = [seconds(compiled, jax.random.normal(jax.random.key(2), (size, 128)), w) for size in sizes]
plt.loglog(sizes, times, "o-", label="measured")
plt.loglog(sizes, [times[-1] * size / sizes[-1] for size in sizes], ":", label="proportional to the batch")
plt.xlabel("batch size")
plt.ylabel("seconds")
plt.legend()
plt.show()

# %% [markdown]
# ## Fewer bits
#
# bfloat16 keeps the range of float32 and 8 bits of precision: 256 + 1 is 256. Sums must be kept in float32.

# %%
print("bfloat16 256 + 1 =", jnp.bfloat16(256) + jnp.bfloat16(1))
ones = jnp.ones(4096, jnp.bfloat16)
total = jax.lax.fori_loop(0, 4096, lambda i, total: total + ones[i], jnp.bfloat16(0))
print("4,096 ones, one after the other in bfloat16:", total)
print("4,096 ones, summed in float32:              ", ones.sum(dtype=jnp.float32))
