"""Chapter 6: before you train.

Three checks that find most mistakes, and what the initial weights decide.
"""

# %% [markdown]
# ## How far signals reach
#
# With weights that are too small, the activations of a deep network die out; with weights that are too large, they
# explode. Kaiming's rule keeps the second moment under ReLU.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.nn import initializers

x = jax.random.normal(jax.random.key(0), (256, 512))
for name, init in {
    "normal 0.01": initializers.normal(0.01),
    "Xavier": initializers.xavier_normal(),
    "Kaiming": initializers.kaiming_normal(),
}.items():
    h, deviations = x, []
    for layer in range(10):
        h = nn.relu(h @ init(jax.random.key(layer), (512, 512), jnp.float32))
        deviations.append(float(h.std()))
    plt.semilogy(range(1, 11), deviations, "o-", label=name)
plt.xlabel("layer")
plt.ylabel("standard deviation of activations")
plt.legend()
plt.show()

# %% [markdown]
# ## Two checks of a new learner
#
# The first loss must be that of chance, and a handful of examples must be learned by heart. A network that cannot do
# that has a bug.


# %%
class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(10, kernel_init=nn.initializers.zeros)(x)


arrays = digits("train").arrays
batch = {"image": arrays["image"][:20], "label": arrays["label"][:20], "index": jnp.arange(20)}
learner = supervised.learner(model=Perceptron(), optimizer=optax.adam(1e-2))
state = learner.init(jax.random.key(0), batch)
update = jax.jit(learner.update)
for step in range(101):
    state, metrics = update(state, batch)
    if step % 50 == 0:
        print(f"step {step:3} loss {metrics['loss'].compute():.4f} accuracy {metrics['accuracy'].compute():.0%}")
print(f"log 10 = {jnp.log(10):.4f}")

# %% [markdown]
# `--mode=sanity` runs these checks on every experiment of the book. Set the learning rate to 10 and watch them fail.
