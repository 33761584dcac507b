"""Chapter 1: nearest neighbors on digits.

How many neighbors, and which distance, chosen on a validation set.
"""

# %% [markdown]
# ## The data
#
# 1,297 digits of 8 by 8 pixels to learn from; we hold the last quarter back to choose settings. The test split stays
# untouched until the last cell.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.data.digits import digits

image, label = digits("train").arrays["image"], digits("train").arrays["label"]
train, valid = slice(0, 973), slice(973, None)
figure, axes = plt.subplots(1, 10, figsize=(7, 1))
for digit, ax in enumerate(axes):
    ax.imshow(image[label == digit][0].squeeze(), cmap="gray_r")
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Choose k on the validation split

# %%
ks = (1, 2, 3, 5, 7, 9, 15, 25)
for metric in ("l1", "l2", "cosine"):
    model = nearest_neighbor.train(image[train], label[train], metric=metric)
    predictions = nearest_neighbor.predict_for_each_k(model, image[valid], ks)
    accuracy = [np.mean(np.asarray(predicted) == label[valid]) for predicted in predictions]
    plt.plot(ks, accuracy, "o-", label=metric)
    print(f"{metric:7} best k = {ks[int(np.argmax(accuracy))]}, validation accuracy {max(accuracy):.1%}")
plt.xlabel("k")
plt.ylabel("validation accuracy")
plt.legend()
plt.show()

# %% [markdown]
# ## Test once

# %%
test = digits("test").arrays
model = nearest_neighbor.train(image, label, k=1, metric="l2")
accuracy = np.mean(np.asarray(nearest_neighbor.predict(model, test["image"])) == test["label"])
baseline = np.bincount(test["label"]).max() / len(test["label"])
print(f"test accuracy {accuracy:.1%}; the most frequent class alone: {baseline:.1%}")

# %% [markdown]
# Training takes no time and prediction reads every stored image. The next chapter turns this around.
