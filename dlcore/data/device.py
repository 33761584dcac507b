"""A pipeline that keeps its whole source on the device and gathers batches there in one jitted function."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from dlcore.data.pipeline import Pipeline

__all__ = ["DeviceResident", "device_resident"]


class DeviceResident:
    """A pipeline with the interface of `Pipeline` that gathers its batches on the device.

    `batch_at(step)` equals that of the host's pipeline. The permutations of the current and the next epoch are put on
    the device once an epoch.

    Args:
      pipeline: pipeline without a host transform, whose images are in memory.
      sharding: sharding of the batch; None returns this process' examples on the default device.
    """

    def __init__(self, pipeline: Pipeline, sharding: Sharding | None = None):
        if not isinstance(pipeline, Pipeline):
            raise ValueError(f"pipeline={type(pipeline).__name__}: no pipeline; allowed: a Pipeline in memory")
        if pipeline.transform is not None:
            raise ValueError("pipeline.transform: runs on the host; a device-resident pipeline cannot apply it")
        if any(hasattr(array, "sample") for array in pipeline.source.arrays.values()):
            raise ValueError(f"pipeline: images of {pipeline.source.name!r} stay on disk; allowed: images in memory")
        self.pipeline = pipeline
        self.sharding = sharding
        self._replicated = sharding
        if isinstance(sharding, NamedSharding):
            self._replicated = NamedSharding(sharding.mesh, PartitionSpec())
        first, rows = (0, pipeline.batch_size) if sharding is not None else pipeline.rows
        self._arrays = self._put(pipeline.source.arrays)
        self._gather = jax.jit(functools.partial(_gather, first=first, rows=rows), out_shardings=sharding)
        self._order: tuple[int, Any] = (-1, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def batch_at(self, step: int) -> dict[str, jax.Array]:
        """Gather the batch of a step.

        Args:
          step: step, from 0.

        Returns:
          Arrays [B, ...]: the global batch in `sharding`, or this process' rows where `sharding` is None.
        """
        epoch, offset = divmod(self.pipeline.position(step), len(self.pipeline.source))
        current, orders = self._order
        if current != epoch:
            orders = self._put((self.pipeline.order(epoch), self.pipeline.order(epoch + 1)))
            self._order = (epoch, orders)
        return self._gather(self._arrays, *orders, np.int32(offset))

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self._replicated)


def device_resident(pipeline: Pipeline, sharding: Sharding | None = None) -> DeviceResident:
    """Move a pipeline's source to the device, replicated over the mesh of the sharding.

    Args:
      pipeline: pipeline without a host transform, whose images are in memory.
      sharding: sharding of the batch, `NamedSharding(mesh, PartitionSpec("data"))`: `batch_at` then returns the global
        batch in it. None gives this process' rows on the default device.

    Returns:
      A pipeline that returns the same batches.
    """
    return DeviceResident(pipeline, sharding)


def _gather(arrays, order, following, offset, *, first, rows):
    position = offset + first + jnp.arange(rows, dtype=jnp.int32)
    length = order.shape[0]
    now = order.at[position].get(mode="clip")
    then = following.at[position - length].get(mode="clip")
    index = jnp.where(position < length, now, then)
    return {key: value.at[index].get(mode="clip") for key, value in arrays.items()} | {"index": index}
