"""Weights of an image network, inflated in time."""

import dataclasses
from typing import Any

import jax

from dlcore.experiment.parts import Run
from dlcore.setting import FlagError, Setting, field_settings
from dlcore.video.fusion import inflate
from dlcore.weights import earlier_run
from dlcore.weights.fit import fit_modules
from dlcore.weights.open import open_weights
from dlcore.weights.start import Start

__all__ = ["InflatedWeights"]


@dataclasses.dataclass(frozen=True)
class InflatedWeights:
    """Weights of single frames, inflated along time (I3D), from which slow fusion starts.

    Args:
      inflate_from: a finished run of this page with --net.fusion=single, whose weights slow fusion starts from,
        inflated (I3D)
    """

    inflate_from: str | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag of the run, with its origin."""
        setting, page = field_settings(self)["inflate_from"], "video.classification"
        return {"inflate_from": setting._replace(origin=lambda f: earlier_run.origin(f, "inflate_from", page))}

    def check(self, run: Run) -> None:
        """Check that the network is slow fusion."""
        network = run.parts.network
        is_slow = network.network == "fusion" and network.fields["net"]["fusion"] == "slow"
        if self.inflate_from is not None and not is_slow:
            raise FlagError(
                "inflate_from: inflates weights for slow fusion; allowed: --network=fusion --net.fusion=slow"
            )

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `inflate_from`; the optimizer's state and layers of other classes are new."""
        source = self.inflate_from
        if source is None:
            return None

        def fitted(state: Any) -> Any:
            frames = open_weights(source, "inflate_from")
            same = frames.class_names == run.facts.class_names
            inflated = inflate({"params": frames.variables()["params"]}, run.parts.network.fields["net"]["temporal"])
            return fit_modules(inflated, {"params": state.params}, same, f"inflate_from={source!r}")[0]["params"]

        def replace(state: Any) -> Any:
            params = fitted(state)
            return state.replace(params=params, opt_state=jax.jit(run.optimizer().init)(params))

        return Start(replace, lambda state: fitted(state) and None)
