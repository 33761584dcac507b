"""Chapter 11: boxes, overlaps, duplicates.

The three operations below every detector.
"""

# %% [markdown]
# ## Intersection over union

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.ops.boxes import box_iou, decode_boxes, encode_boxes
from dlcore.ops.nms import nms

targets = jnp.array([[20.0, 20, 60, 60], [70, 30, 110, 80]])
moved = targets[:1] + jnp.array([10, 0, 10, 0])
print(f"IoU of a box moved by a quarter of its width: {box_iou(targets[:1], moved)[0, 0]:.2f}")

# %% [markdown]
# The intersection is 30 of 40 columns, the union 50: 0.6. A quarter sounds like little, and is a large loss of IoU.
#
# ## Non-maximum suppression
#
# A detector finds each object many times. Keep the best box, and drop those that overlap it by more than a threshold.

# %%
shift = 6 * jax.random.normal(jax.random.key(0), (2, 6, 4))
boxes = (targets[:, None] + shift).reshape(-1, 4)
scores = box_iou(boxes, targets).max(-1)
selected = nms(boxes, scores, 0.3)
figure, axes = plt.subplots(1, 2, figsize=(8, 3))
for ax, panel_boxes, title in zip(axes, (boxes, boxes[selected]), ("all", "after suppression"), strict=True):
    for color, style, those in (("C0", "-", panel_boxes), ("C1", "--", targets)):
        for x1, y1, x2, y2 in those:
            ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=color, linestyle=style))
    ax.set(xlim=(0, 130), ylim=(100, 0), title=f"{title}: {len(panel_boxes)} boxes", aspect="equal")
plt.show()

# %% [markdown]
# ## What the network predicts
#
# Deltas relative to an anchor: the center in units of the anchor's size, the size as a logarithm. Decoding inverts
# encoding.

# %%
anchor = jnp.array([[16.0, 16, 48, 48]])
deltas = encode_boxes(targets[:1], anchor)
print("deltas ", jnp.round(deltas[0], 3))
print("decoded", jnp.round(decode_boxes(deltas, anchor)[0], 2))
