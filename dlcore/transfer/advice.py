"""Advice on fine-tuning by the amount and similarity of data, and the names of transfer settings.

The four cells are those of the notes of CS231n, after Yosinski et al. 2014 (arXiv:1411.1792); the names of settings
those of Pan & Yang 2010, "A survey on transfer learning".
"""

from typing import Literal, NamedTuple

from dlcore.choices import check_choice

__all__ = ["FEW", "Advice", "Setting", "advice", "name_setting"]

FEW = 100
"""Labeled images of a class below which data counts as little."""


class Advice(NamedTuple):
    """Advice for one of the four cells.

    Args:
      text: a sentence.
      steps: what learns, one after the other: `head`, `last` (the last stage too), `all`; or `stages`, a linear
        classifier on the features of each stage.
    """

    text: str
    steps: tuple[str, ...]


CELLS = {
    ("little", "similar"): Advice(
        "Train a linear classifier on the last features; the network stays frozen.", ("head",)
    ),
    ("little", "different"): Advice(
        "Train linear classifiers on the features of several stages, and take the best: early ones are more general.",
        ("stages",),
    ),
    ("much", "similar"): Advice("Fine-tune the head, then the last stage.", ("head", "last")),
    ("much", "different"): Advice("Fine-tune the head, then the last stage, then all of it.", ("head", "last", "all")),
}


def advice(data: Literal["little", "much"], similarity: Literal["similar", "different"]) -> Advice:
    """Say what to do with a pretrained network.

    Args:
      data: whether there are fewer than about FEW labeled images of a class.
      similarity: whether they resemble what the network was trained on: whether its last features separate the classes
        better than earlier ones.

    Returns:
      The advice.
    """
    check_choice("data", data, ("little", "much"))
    check_choice("similarity", similarity, ("similar", "different"))
    return CELLS[data, similarity]


class Setting(NamedTuple):
    """A source and a target, each a domain (X, P(X)) and a task (Y, P(Y | X)).

    Args:
      same_inputs: whether X is the same space.
      same_marginal: whether P(X) is the same.
      same_classes: whether Y is the same set.
      same_conditional: whether P(Y | X) is the same.
      same_likelihood: whether P(X | Y) is the same.
      source_labels: whether the source is labeled.
      target_labels: whether the target is.
    """

    same_inputs: bool = True
    same_marginal: bool = True
    same_classes: bool = True
    same_conditional: bool = True
    same_likelihood: bool = False
    source_labels: bool = True
    target_labels: bool = False


def name_setting(setting: Setting) -> tuple[str, ...]:
    """Name a transfer setting.

    Args:
      setting: which distributions source and target share, and which data are labeled.

    Returns:
      Names, from the coarse to the fine: `homogeneous` or `heterogeneous`; `inductive` (the tasks differ),
      `transductive` (the same task in another domain) or `unsupervised` (neither is labeled); `domain adaptation` and
      `covariate shift` (P(X) alone differs) of a transductive setting; `label shift` where P(Y) differs and P(X | Y)
      does not, which by the definition of a task makes the setting inductive. `("no transfer",)` where domain and task
      are the same.
    """
    if not setting.same_inputs and (setting.same_marginal or setting.same_conditional or setting.same_likelihood):
        raise ValueError("same_inputs=False: P(X), P(Y | X) and P(X | Y) cannot be the same; allowed: all differ")
    if not setting.same_classes and (setting.same_conditional or setting.same_likelihood):
        raise ValueError("same_classes=False: P(Y | X) and P(X | Y) cannot be the same; allowed: both differ")
    same_domain = setting.same_inputs and setting.same_marginal
    same_task = setting.same_classes and setting.same_conditional
    if same_domain and same_task:
        return ("no transfer",)
    is_labeled = setting.source_labels or setting.target_labels
    kind = "unsupervised" if not is_labeled else "transductive" if same_task else "inductive"
    names = ["homogeneous" if setting.same_inputs else "heterogeneous", kind]
    if kind == "transductive":
        names += ["domain adaptation", "covariate shift"]
    if setting.same_likelihood and not setting.same_marginal and not setting.same_conditional:
        names.append("label shift")
    return tuple(names)
