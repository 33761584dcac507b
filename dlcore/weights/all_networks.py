"""Weights of a classifier for every network of a technique against noisy labels."""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.experiment.parts import Run
from dlcore.learner import ModelState
from dlcore.setting import FlagError
from dlcore.weights.start import CLASSIFIER, Start, start_classifier

__all__ = ["AllNetworkWeights"]


class AllNetworkWeights:
    """Weights of a classifier for all networks."""

    settings = CLASSIFIER

    def check(self, run: Run) -> None:
        """Check that two networks that learn from each other do not start equal."""
        source = run.flags.init_from
        if source is not None and run.parts.technique.keywords["technique"] == "co_teaching":
            raise FlagError(
                f"--init_from={source}: both networks of --technique=co_teaching would start and stay equal; "
                f"allowed: the other techniques"
            )

    def start(self, run: Run) -> Start | None:
        """Start all networks from the weights of `--init_from`."""
        single = start_classifier(run)
        if single is None:
            return None

        def network(state: Any, name: str) -> ModelState:
            return ModelState(state.step, state.rng, state.params[name], None, state.model_state[name])

        def replace(state: Any) -> Any:
            started = {name: single.replace(network(state, name)) for name in state.params}
            params, model_state = (
                {name: getattr(one, kind) for name, one in started.items()} for kind in ("params", "model_state")
            )
            optimizer = run.parts.optimizer.build(run.steps, run.steps_per_epoch)
            plain = {"params": params["cross_entropy"], "model_state": model_state["cross_entropy"]}
            return state.replace(
                params=params,
                model_state=model_state,
                opt_state=jax.jit(optimizer.init)(params),
                kept=jax.tree.map(jnp.copy, plain),
            )

        return Start(replace, lambda state: single.check(network(state, "technique")))
