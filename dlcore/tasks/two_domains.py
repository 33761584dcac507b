"""Labeled digits of one domain, unlabeled ones of another, and a network that adapts to them.

data=TwoDomains("digits", shift="blended", patches="photographs"), network=AdaptedNetwork(AdaptationNet),
start=TwinBackboneWeights()
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.data.normalization import normalizer
from dlcore.data.other_domain import two_domains
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.fine_tuning import Encoder, module_encoder
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, Setting
from dlcore.generative.pixels import normalize
from dlcore.learner import check_record
from dlcore.models import create_model
from dlcore.report.context import ReportContext
from dlcore.transfer.advice import Setting as TransferSetting
from dlcore.transfer.advice import name_setting
from dlcore.transfer.domain_adaptation import BackboneAdaptationNet
from dlcore.transfer.gradient_reversal import reversal_strength
from dlcore.weights.fit import fit_modules, headless
from dlcore.weights.network import check_fits, load_network, model_of
from dlcore.weights.open import Weights
from dlcore.weights.start import Start, open_classifier_of_model

__all__ = ["AdaptedNetwork", "TwinBackboneWeights", "TwoDomains", "domain_panels"]

PATCHES = {"train": 2000, "valid": 500, "test": 500}
"""Patches of photographs; those of a split are no other's."""


@dataclasses.dataclass(frozen=True)
class TwoDomains:
    """Labeled digits of one domain, and digits of another, whose labels only measure.

    Args:
      dataset: the source: digits (embedded, enlarged to 16 pixels), mnist or fashion_mnist
      data_dir: where tfds data sets were prepared
      shift: shift of the target domain
      patches: images to blend with: the photographs that come with scikit-learn, or cifar10
    """

    dataset: Annotated[str, "essential"] = "digits"
    data_dir: Annotated[str | None, "essential"] = None
    shift: Annotated[Literal["blended", "inverted"], "essential"] = "blended"
    patches: Literal["photographs", "cifar10"] = "photographs"

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.patches == "cifar10" or self.dataset != "digits"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits, each of two domains.

        Args:
          seed: seed of the held-out validation images.
        """
        from dlcore.data.image_classification import load

        loaded, domains = load(self.dataset, self.data_dir, seed=seed), {}
        for order, split in enumerate(("train", "valid", "test")):
            source = getattr(loaded, split)
            source = _enlarged(source) if self.dataset == "digits" else source
            patches = self._patches(split, source.arrays["image"].shape[1])
            domains[split] = two_domains(source, patches, self.shift, order)
        spec = {
            "dataset": self.dataset,
            "class_names": list(loaded.class_names),
            "num_classes": len(loaded.class_names),
            "image_shape": list(domains["train"].arrays["image"].shape[1:]),
        }
        # The digits are the same classes of other pictures.
        message = f"setting: {', '.join(name_setting(TransferSetting(same_marginal=False)))}"
        return Splits(*domains.values(), spec, (*loaded.notes, message))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `ramp` of the strength of the adaptation over the run."""
        return {"ramp": lambda step: reversal_strength(step / run.steps)}

    def _patches(self, split: str, side: int) -> np.ndarray:
        """Cut [M, side, side, 3] uint8."""
        from dlcore.data.image_classification import load
        from dlcore.data.photographs import photo_crops

        if self.patches == "photographs":
            return photo_crops(split, PATCHES[split], size=side).arrays["image"]
        images = getattr(load("cifar10", self.data_dir, seed=0), split).arrays["image"]
        if side > images.shape[1]:
            raise FlagError(f"--patches=cifar10: of {images.shape[1]} pixels; allowed: images of at most as many")
        return images[:, :side, :side]


def _enlarged(source: Source) -> Source:
    """Return digits of 8 pixels as 16, between neighbors the mean."""
    image = np.asarray(source.arrays["image"])
    for axis in (1, 2):
        last = np.take(image, [-1], axis)
        after = np.concatenate([np.take(image, range(1, image.shape[axis]), axis), last], axis)
        image = np.stack([image, (image + after) / 2], axis + 1).reshape(
            *image.shape[:axis], 2 * image.shape[axis], *image.shape[axis + 1 :]
        )
    return Source({**source.arrays, "image": image}, class_names=source.class_names, name=source.name)


def _backbone_weights(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from`."""
    weights = open_classifier_of_model(flags)
    if weights is not None:
        check_fits(weights, channels=3)
    return weights


@dataclasses.dataclass(frozen=True)
class AdaptedNetwork:
    """A small network of two heads, or with `--model` or `--init_from` these heads on a backbone of the zoo.

    Args:
      network: class of the small network with the fields `num_classes`, `width` and `dtype`, or a `functools.partial`.
    """

    network: Callable[..., nn.Module]

    settings: ClassVar[dict[str, Setting]] = {
        "model": Setting(
            None,
            "a name of `dlcore models`: its network takes the place of the small one, with the batch statistics that "
            "it starts with; by default that of --init_from",
            str | None,
            essential=True,
        )
    }

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The small network by the prefix of its flags."""
        return {"net": self.network}

    def with_flags(self, flags: Flags) -> "AdaptedNetwork":
        """Return the network with the values of its flags in its fields."""
        return AdaptedNetwork(functools.partial(self.network, **flags.group("net")))

    def build(self, run: Run) -> tuple[nn.Module, Preprocess]:
        """Build the network.

        Returns:
          The network, and the function from images [B, H, W, 3] to its input.
        """
        num_classes, flags = run.facts.num_classes, run.flags
        small: Any = self.network(num_classes, dtype=run.dtype)
        weights, fields = _backbone_weights(flags), {"num_classes": 1, "dtype": run.dtype}
        if weights is not None:
            body, prepare = model_of(weights, **fields), normalizer(weights.mean, weights.std, dtype=run.dtype)
        elif flags.model is not None:
            body, prepare = create_model(flags.model, **fields), normalize
        else:
            return small, normalize
        return BackboneAdaptationNet(body, num_classes, small.width, run.dtype), prepare

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `model` and `preprocess`."""
        model, prepare = self.build(run)
        return {"model": model, "preprocess": prepare}

    def encoder(self, run: Run) -> Encoder:
        """Describe the adapted network up to the features, for fine-tuning."""
        model, prepare = self.build(run)
        return module_encoder(
            model,
            prepare,
            run.facts.image_shape,
            lambda state: {"params": state.params["adapted"], **getattr(state, "model_state", {})},
            lambda outputs: outputs["features"],
            method="__call__",
            takes_train=False,
        )


class TwinBackboneWeights:
    """Weights of the backbone of the network that adapts, and of that of its twin without adaptation."""

    settings: ClassVar[dict[str, Setting]] = {
        "init_from": Setting(
            None,
            "weights that the backbone starts from: the folder of a run of a classifier, a pretext, a detector or a "
            "segmenter, a folder of `dlcore convert` or a packed .npz, of colors",
            str | None,
            essential=True,
            origin=_backbone_weights,
        )
    }

    def start(self, run: Run) -> Start | None:
        """Start both backbones from the weights of `--init_from`."""
        source = run.flags.init_from
        if source is None:
            return None
        load = functools.cache(lambda: load_network(source, "init_from", channels=3, headless=True))

        def fitted(state: Any) -> Any:
            expected_tree = {kind: {"backbone": layers} for kind, layers in load().variables.items()}
            variables = {"params": state.params["adapted"], **getattr(state, "model_state", {})}
            return fit_modules(headless(expected_tree), headless(variables), False, f"init_from={source!r}")[0]

        def replace(state: Any) -> Any:
            weights = fitted(state)
            params = weights.pop("params")["backbone"]
            twins = {
                name: {**twin_params, "backbone": {**twin_params["backbone"], **jax.tree.map(jnp.copy, params)}}
                for name, twin_params in state.params.items()
            }
            init = jax.jit(run.parts.optimizer.build(run.steps, run.steps_per_epoch).init)
            state = state.replace(params=twins, opt_state={name: init(one) for name, one in twins.items()})
            return state.replace(model_state=weights) if weights else state

        return Start(replace, lambda state: fitted(state) and None)


def domain_panels(context: ReportContext) -> list:
    """Show what adaptation brings, the features of both domains, mistakes on the target, and the curves.

    Returns:
      Report panels.
    """
    from dlcore.report.classification import worst_mistakes
    from dlcore.report.curves import curves
    from dlcore.report.self_supervised import domain_plane
    from dlcore.report.tables import table

    numbers, test, names = context.numbers, context.data.test.arrays, context.spec["class_names"]
    rows = [
        {"accuracy, %": text, "": round(100 * numbers[name], 1)}
        for text, name in (
            ("source", "accuracy"),
            (f"target, {context.flags.technique}", "target_accuracy"),
            ("target, no adaptation", "source_only_accuracy"),
        )
    ]
    apart = 100 * numbers["domain_accuracy"]
    message = f"The classifier tells domains apart in {apart:.1f} % (50 %: it knows nothing)."
    logits = context.outputs["logits"]
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    return [
        table(rows, "What the labels of the source bring", message)._replace(half=True),
        domain_plane(context.outputs["source_features"], context.outputs["features"], ("source", "target")),
        worst_mistakes(test["target"], test["target_label"], probabilities, names),
        curves(context.history),
    ]
