"""Chapter 2: a linear classifier and its templates.

Softmax regression on digits, by plain gradient descent.
"""

# %% [markdown]
# ## The loss and its gradient
#
# The scores are $s = W x + b$, and the loss is the cross-entropy of their softmax. At first all scores are 0, so the
# loss must be $\log 10 = 2.303$. Check that before you train.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.data.digits import digits
from dlcore.losses import softmax_cross_entropy_loss

train, test = digits("train").arrays, digits("test").arrays
x, y = train["image"].reshape(-1, 64), train["label"]


def loss(params, penalty=1e-3):
    scores = x @ params["w"] + params["b"]
    return softmax_cross_entropy_loss(scores, y).mean() + penalty * jnp.square(params["w"]).sum()


params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
print(f"loss at the start {loss(params):.4f}, log 10 = {jnp.log(10):.4f}")

# %% [markdown]
# ## Gradient descent


# %%
@jax.jit
def step(params, _):
    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), value


params, losses = jax.lax.scan(step, params, length=300)
plt.plot(losses)
plt.xlabel("step")
plt.ylabel("training loss")
plt.show()
correct = (test["image"].reshape(-1, 64) @ params["w"] + params["b"]).argmax(-1) == test["label"]
print(f"test accuracy {correct.mean():.1%}")

# %% [markdown]
# ## Each class has one template
#
# Blue pixels speak for the class, red ones against it.

# %%
figure, axes = plt.subplots(1, 10, figsize=(8, 1.1))
for digit, ax in enumerate(axes):
    ax.imshow(params["w"][:, digit].reshape(8, 8), cmap="RdBu", vmin=-0.6, vmax=0.6)
    ax.set_title(digit, fontsize=8)
    ax.axis("off")
plt.show()

# %% [markdown]
# Set `penalty=0` and run again: compare the templates and the test accuracy.
