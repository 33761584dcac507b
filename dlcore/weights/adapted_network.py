"""A network that adapts to another domain, and the weights that it and its twin start from."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.data.normalization import normalizer
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.generative.pixels import normalize
from dlcore.models import create_model
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.setting import Setting
from dlcore.transfer.domain_adaptation import BackboneAdaptationNet
from dlcore.weights.fit import fit_modules, headless
from dlcore.weights.network import check_fits, load_network, model_of
from dlcore.weights.open import Weights
from dlcore.weights.start import Start, open_classifier_of_model

__all__ = ["AdaptedNetwork", "TwinBackboneWeights"]


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
