"""Chapter 20: values on a grid.

Value iteration, the discount, and what a random policy earns.
"""

# %% [markdown]
# ## Sweep until nothing changes
#
# $V(s) = \max_a E[r + \gamma V(s')]$. Each sweep carries the reward of the goal one step farther.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dlcore.report.gridworld import draw_grid
from dlcore.rl.dynamic_programming import evaluate_policy, value_iteration
from dlcore.rl.gridworld import MAPS, make, on_grid
from dlcore.rl.mdp import uniform_policy

figure, axes = plt.subplots(1, 3, figsize=(10, 3))
for ax, gamma in zip(axes, (0.5, 0.9, 0.99), strict=True):
    grid = make(MAPS["four_rooms"], gamma=gamma, slip=0.2)
    solution = value_iteration(grid.mdp)
    values, policy = on_grid(grid, np.asarray(solution.values)), on_grid(grid, np.asarray(solution.policy))
    draw_grid(ax, values, policy, title=f"gamma {gamma}: {int(solution.sweeps)} sweeps")
plt.show()

# %% [markdown]
# With a small discount the far rooms see nothing of the goal. The pit beside it matters because moves slip to a side.
#
# ## The baseline: act at random

# %%
random = evaluate_policy(grid.mdp, uniform_policy(grid.mdp))
print(f"upper left corner: best policy {solution.values[0]:.3f}, random policy {random.values[0]:.3f}")
print(f"mean of all states: best {np.mean(solution.values):.3f}, random {np.mean(random.values):.3f}")

# %% [markdown]
# Set `slip=0.9` and look at the arrows beside the pit: they point away from where the agent wants to go.
