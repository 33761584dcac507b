"""Chapter 4: backpropagation on a graph.

Local derivatives, multiplied from the output back to the inputs.
"""

# %% [markdown]
# ## A sigmoid neuron as a graph
#
# Every gate knows its own derivative. The green number is the value on the way forward, the red one the gradient on
# the way back.

# %%
import io

import matplotlib.pyplot as plt
import numpy as np

from dlcore.backprop.draw import draw
from dlcore.backprop.engine import Value, backward
from dlcore.backprop.gradcheck import numerical_gradient
from dlcore.report.figure import figure_png

w, x, b = Value(2.0, "w"), Value(-1.0, "x"), Value(3.0, "b")
out = 1 / (1 + (-(w * x + b)).exp())
backward(out)
plt.figure(figsize=(9, 4))
plt.imshow(plt.imread(io.BytesIO(figure_png(draw(out)))))
plt.axis("off")
plt.show()
print(f"d out / d w = {float(w.grad):.4f}, d out / d x = {float(x.grad):.4f}, d out / d b = {float(b.grad):.4f}")

# %% [markdown]
# ## Check it
#
# The derivative of the sigmoid is $\sigma (1 - \sigma)$, times $x$ for the weight. A difference quotient in float64
# must agree to many digits.

# %%
sigmoid = float(out.data)
by_hand = sigmoid * (1 - sigmoid) * -1.0
numeric = numerical_gradient(lambda w: 1 / (1 + np.exp(-(w * -1.0 + 3.0))), np.float64(2.0))
print(f"graph {float(w.grad):.10f}\nhand  {by_hand:.10f}\nnumber {float(numeric):.10f}")

# %% [markdown]
# A value that feeds two gates gets the sum of both gradients. Try `out = w * w` and check that the gradient is `2 w`.
