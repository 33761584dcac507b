"""Chapter 7: what architectures cost.

Parameters and multiply-adds of twelve years of image networks, counted without running one.
"""

# %% [markdown]
# ## Count from shapes alone
#
# `layer_costs` traces a model without any array; the same count is behind `dlcore cost MODEL`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.cost.layers import layer_costs
from dlcore.cost.table import text_table
from dlcore.models import create_model

names = ("alexnet", "vgg16", "resnet18", "resnet50", "mobilenet_v2", "vit_b_16")
image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
totals = {}
for name in names:
    layers = layer_costs(create_model(name, num_classes=1000), image)
    totals[name] = text_table(layers).splitlines()[-1]
    print(f"{name:13} {totals[name].split(' = ')[0]}")

# %% [markdown]
# ## Where the parameters are
#
# VGG-16 has 124 of its 138 million parameters in three dense layers. ResNets average over the map instead, and need
# one small dense layer. The multiply-adds tell another story: they are in the convolutions.

# %%
parameters = [float(totals[name].split()[0].replace(",", "")) / 1e6 for name in names]
figure, ax = plt.subplots(figsize=(6, 2.4))
ax.barh(names, parameters)
ax.set_xlabel("parameters, millions")
ax.invert_yaxis()
plt.show()

# %% [markdown]
# `print(text_table(layers))` shows the layers of the last model one by one.
