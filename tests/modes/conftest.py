"""What every test of a mode leaves as it was, and one device for runs that name no mesh."""

import jax
import pytest

from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement


@pytest.fixture(autouse=True)
def precision():
    """`run` sets the process' matmul precision."""
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Eight virtual devices would only make every program slower to compile."""
    of_flags = ResolvedRun.placement

    def placement(run):
        named = "mesh" in run.flags.given
        return of_flags(run) if named else Placement(make_mesh("data:1", jax.devices()[:1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResolvedRun, "placement", placement)
        yield
