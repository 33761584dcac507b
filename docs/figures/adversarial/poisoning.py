"""Figure of dlcore.adversarial.poisoning; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.adversarial.poisoning import add_trigger, flip_labels, poison, spectral_scores
from dlcore.classic_ml.nearest_neighbor import predict, train
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["poisoning"]


def poisoning() -> "Figure":
    """A classifier by one nearest neighbor on 600 digits, with poisoned training examples.

    Left: wrong labels lower its accuracy on clean digits in proportion. A back door does not, while ever more
    digits that carry the trigger are taken for the target. Middle: a digit, and with its trigger. Right: spectral
    scores, from pixels, of the examples labeled as the target, 10 % of all poisoned. The largest scores are those
    of poisoned examples, though others are among the clean.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1.3, 0.8, 1.3))
    data, held = digits("train").arrays, digits("test").arrays
    images, labels = data["image"][:600], data["label"][:600]
    test, truth = held["image"][:300], held["label"][:300]
    rates, others = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3), truth != 0
    curves = {"clean, labels flipped": [], "clean, back door": [], "trigger taken for target": []}
    for rate in rates:
        flipped = train(images, flip_labels(labels, rate, 10))
        opened = train(*poison(images, labels, rate, 0)[:2])
        curves["clean, labels flipped"].append(np.mean(predict(flipped, test) == truth))
        curves["clean, back door"].append(np.mean(predict(opened, test) == truth))
        curves["trigger taken for target"].append(np.mean(predict(opened, add_trigger(test))[others] == 0))
    for (name, values), style, color in zip(curves.items(), ("s--", "o-", "^:"), (VERMILION, BLUE, "k"), strict=True):
        left.plot(100 * np.array(rates), values, style, color=color, markersize=4, label=name)
    left.set(xlabel="poisoned examples / %", ylabel="share of the test digits", ylim=(0, 1.75), yticks=(0, 0.5, 1))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    middle.imshow(
        np.concatenate([test[1], np.ones((1, 8, 1)), add_trigger(test[1:2])[0]])[..., 0], cmap="gray", vmin=0, vmax=1
    )
    middle.set(xticks=[], yticks=[])
    poisoned, new_labels, bad = poison(images, labels, 0.1, 0)
    target = new_labels == 0
    values = spectral_scores(poisoned[target].reshape(target.sum(), -1))
    edges = np.linspace(0, values.max(), 25)
    for chosen, name, style, color in ((~bad[target], "clean", "-", BLUE), (bad[target], "poisoned", "--", VERMILION)):
        right.hist(values[chosen], edges, histtype="step", linestyle=style, color=color, label=name)
    right.set(xlabel="spectral score", ylabel="examples labeled as the target")
    right.legend(frameon=False)
    return figure
