"""Chapter 9: attention by hand.

Queries, keys and values on a toy sequence, and why positions must be added.
"""

# %% [markdown]
# ## Look up by similarity
#
# Each query takes the mean of all values, weighted by the softmax of its scores. Here the query is similar to key 3.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.nn.attention import dot_product_attention
from dlcore.nn.position import sinusoidal_encoding

T, D = 6, 16
key = jax.random.normal(jax.random.key(0), (T, 1, D))  # [S, heads, D]
query = 2.0 * key[3:4]
value = jnp.eye(T)[:, None]  # the output then shows the weights
weights = dot_product_attention(query, key, value)[0, 0]
print("weights of keys 0 to 5:", *(f"{weight:.2f}" for weight in weights))

# %% [markdown]
# ## Permute the input
#
# Self-attention without positions does not know the order: permuted tokens give the permuted output, nothing else.

# %%
x = jax.random.normal(jax.random.key(1), (T, 1, D))
order = jnp.array([3, 1, 5, 0, 2, 4])
same = dot_product_attention(x, x, x)[order] - dot_product_attention(x[order], x[order], x[order])
print(f"without positions, largest difference {jnp.abs(same).max():.1e}")
positions = sinusoidal_encoding(jnp.arange(T), D)[:, None]
a, b = x + positions, x[order] + positions
other = dot_product_attention(a, a, a)[order] - dot_product_attention(b, b, b)
print(f"with positions, largest difference    {jnp.abs(other).max():.1e}")

# %% [markdown]
# ## The sinusoidal code, and a causal mask

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6))
left.imshow(sinusoidal_encoding(jnp.arange(50), 32).T, aspect="auto", cmap="RdBu")
left.set(xlabel="position", ylabel="feature")
weights = dot_product_attention(a, a, value, scale=0.05, is_causal=True)[:, 0]
right.imshow(weights, cmap="Blues", vmin=0, vmax=1)
right.set(xlabel="key", ylabel="query")
plt.show()

# %% [markdown]
# Row t of the right picture has weights on keys 0 to t alone: this is how a language model trains on all positions at
# once.
