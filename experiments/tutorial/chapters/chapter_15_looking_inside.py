"""Chapter 15: what a classifier looks at.

Gradients with respect to pixels, and a check that they depend on what was learned.
"""

# %% [markdown]
# ## A small network on digits
#
# The gradient of a class score with respect to the pixels says which pixels would change it. Train a network first.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.interpretability.saliency import gradient_saliency, integrated_gradients
from dlcore.losses import softmax_cross_entropy_loss

train = digits("train").arrays


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.relu(nn.Conv(16, (3, 3), strides=(2, 2))(x))
        return nn.Dense(10)(x.reshape(len(x), -1))


network, optimizer = Network(), optax.adam(3e-3)
start = network.init(jax.random.key(0), train["image"][:1])


@jax.jit
def step(carry, key):
    params, state = carry
    rows = jax.random.choice(key, len(train["label"]), (128,))
    image, label = jnp.asarray(train["image"])[rows], jnp.asarray(train["label"])[rows]

    def loss(params):
        return softmax_cross_entropy_loss(network.apply(params, image), label).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(params, updates), state), value


keys = jax.random.split(jax.random.key(1), 150)
(params, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), keys)
test = digits("test").arrays
accuracy = (network.apply(params, test["image"]).argmax(-1) == test["label"]).mean()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, test accuracy {accuracy:.1%}")

# %% [markdown]
# ## Two maps, and a control
#
# Integrated gradients add up to the change of the score from a black image. The last row is the control: the same map
# of the untrained network. A method whose map does not change with the weights explains the image, not the network.

# %%
images = jnp.asarray(test["image"][:6])
rows = {
    "image": images[..., 0],
    "gradient": gradient_saliency(lambda x: network.apply(params, x), images),
    "integrated": integrated_gradients(lambda x: network.apply(params, x), images).sum(-1),
    "untrained": gradient_saliency(lambda x: network.apply(start, x), images),
}
figure, axes = plt.subplots(len(rows), len(images), figsize=(6, 4))
for line, (name, maps) in zip(axes, rows.items(), strict=True):
    for ax, one in zip(line, maps, strict=True):
        largest = abs(one).max()
        signed = one.min() < 0
        ax.imshow(one, cmap="RdBu" if signed else "gray_r", vmin=-largest if signed else 0, vmax=largest)
        ax.axis("off")
    line[0].set_title(name, fontsize=8, loc="left")
plt.show()
