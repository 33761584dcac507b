"""Networks of panoptic segmentation, by queries or by things and stuff, and the weights that they start from."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Learner
from dlcore.models import described_model
from dlcore.models.encoder import Encoder
from dlcore.models.network import OnBackbone, WithHeads, Zoo
from dlcore.self_supervised import encoders
from dlcore.setting import FlagError, flag_prefix
from dlcore.transfer import adapter_flags
from dlcore.weights.fit import backbone_of
from dlcore.weights.start import MODULES, Start, start_modules

__all__ = ["DetectorWeights", "QueryNetworks", "ThingsAndStuff", "class_names"]


def class_names(facts: Facts) -> list[str]:
    """Name the classes of segments: the stuff, then the things."""
    return [*facts.stuff_names, *facts.class_names]


@dataclasses.dataclass(frozen=True)
class QueryNetworks(CheckedRecord):
    """Three networks that make each segment of a query, of which a run has one.

    Args:
      mask2former: class of Mask2Former, or a `functools.partial`.
      maskformer: class of MaskFormer, or a `functools.partial`.
      eomt: class of EoMT, or a `functools.partial`.
      backbone: backbone of the first two.
      adaptation: part whose `adapt(module, run)` freezes the backbone and adds an adapter.
      network: Mask2Former or MaskFormer on the backbone of --model, or EoMT, a plain ViT of its own
    """

    mask2former: Callable[..., nn.Module]
    maskformer: Callable[..., nn.Module]
    eomt: Callable[..., nn.Module]
    backbone: Zoo
    adaptation: Any
    network: Annotated[Literal["mask2former", "maskformer", "eomt"], "essential"] = "mask2former"

    external_fields: ClassVar[tuple[str, ...]] = ("eomt.image_size",)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefixes of their flags, that of the run first."""
        names = sorted(("mask2former", "maskformer", "eomt"), key=lambda name: name != self.network)
        return {name: getattr(self, name) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """The flags of the adaptation."""
        return self.adaptation.settings

    def with_flags(self, flags: Any) -> "QueryNetworks":
        """Return the networks with the values of their flags in their fields."""
        networks = {name: partial(network, **flags.group(name)) for name, network in self.modules.items()}
        return dataclasses.replace(self, **networks, backbone=self.backbone.with_flags(flags), network=flags.network)

    def check(self, run: Run) -> None:
        """Check that the network fits the backbone, or the image its patches."""
        flags, image_size = run.flags, run.parts.data.image_size
        if self.network != "eomt":
            described_model.check_stages({self.network: self.modules[self.network]}, flags)
            adapter_flags.check_dense(flags)
            return
        if adapter_flags.adapts_dense(flags):
            raise FlagError(f"adapt={flags.adapt}: --network=eomt has no backbone; allowed: full, or another network")
        patch = flags["eomt.patch_size"]
        if image_size[0] % patch or image_size[1] % patch:
            raise FlagError(
                f"image_size={image_size}: patches do not cover it; allowed: multiples of eomt.patch_size={patch}"
            )

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network of the run as `model`, and `num_stuff`, the number of classes of stuff."""
        name, facts = self.network, run.facts
        network, num_classes = self.modules[name], len(class_names(facts))
        queries, segments = run.flags[f"{name}.num_queries"], (facts.max_boxes or 0) + len(facts.stuff_names)
        if queries < segments:
            raise FlagError(f"{name}.num_queries={queries}: too few; allowed: at least {segments} segments of an image")
        if name == "eomt":
            model = network(num_classes=num_classes, dtype=run.dtype, image_size=facts.image_shape[0])
        else:
            model = self.adaptation.adapt(OnBackbone(network, self.backbone).build(num_classes, run.dtype), run)
        return {"model": model, "num_stuff": len(facts.stuff_names)}


@dataclasses.dataclass(frozen=True)
class ThingsAndStuff:
    """A detector of things and a segmenter of stuff, which learn side by side, each with an optimizer of its own.

    Args:
      things: technique of the detector.
      detector: the detector, with masks.
      stuff: technique of the segmenter.
      segmenter: class of the segmenter, or a `functools.partial`.
    """

    things: Callable[..., Learner]
    detector: WithHeads
    stuff: Callable[..., Learner]
    segmenter: Callable[..., nn.Module]

    @property
    def backbone(self) -> Zoo:
        """The backbone of the detector."""
        return self.detector.backbone

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefixes of their flags."""
        return {**self.detector.modules, flag_prefix(self.segmenter): self.segmenter}

    def with_flags(self, flags: Any) -> "ThingsAndStuff":
        """Return the networks with the values of their flags in their fields."""
        segmenter = partial(self.segmenter, **flags.group(flag_prefix(self.segmenter)))
        return dataclasses.replace(self, detector=self.detector.with_flags(flags), segmenter=segmenter)

    def check(self, run: Run) -> None:
        """Check that the backbone has the maps that the detector reads."""
        self.detector.check(run)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the learners of `instances` and of `semantic` maps, and the number of classes of stuff.

        `networks` are those that they train.
        """
        num_stuff = len(run.facts.stuff_names)
        segmenter = self.segmenter(num_classes=num_stuff + run.facts.num_classes, dtype=run.dtype)
        detector = self.detector.arguments(run)["model"]

        def learner(technique: Callable[..., Learner], model: Any) -> Learner:
            optimizer = run.parts.optimizer.build(run.steps, run.steps_per_epoch)
            return technique(model=model, optimizer=optimizer, **run.parts.data.arguments(run))

        return {
            "instances": learner(self.things, detector),
            "semantic": learner(self.stuff, segmenter),
            "num_stuff": num_stuff,
            "networks": (detector, segmenter),
        }

    def encoder(self, run: Run) -> Encoder:
        """Build the detector's backbone as the encoder of images."""

        def variables(state: Any) -> dict:
            return backbone_of({"params": state.params["instances"], **state.parts["instances"].model_state})

        return encoders.encoder(run, variables=variables)


class DetectorWeights:
    """Weights of those modules of the detector that both networks have; the segmenter starts anew."""

    settings = MODULES

    def start(self, run: Run) -> Start | None:
        """Start the detector from the weights of `--init_from`."""
        single = start_modules(run, adapter_flags.dense_adapter(run.flags))
        if single is None:
            return None

        def detector(state: Any) -> Any:
            part = {name: getattr(state, name)["instances"] for name in ("params", "opt_state")}
            return state.parts["instances"].replace(**part)

        def replace(state: Any) -> Any:
            one = single.replace(detector(state))
            parts = state.parts | {"instances": one.replace(params=None, opt_state=None)}
            params, opt_state = (
                getattr(state, name) | {"instances": getattr(one, name)} for name in ("params", "opt_state")
            )
            return state.replace(params=params, opt_state=opt_state, parts=parts)

        return Start(replace, lambda state: single.check(detector(state)))
