"""A pipeline whose data lives on the device: uint8 arrays, gathered in one jitted function."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from dlcore.data.pipeline import Pipeline

__all__ = ["DeviceResident", "device_resident"]


class DeviceResident:
    """`Pipeline`'s interface; `batch_at(step)` returns device arrays equal to the host pipeline's.

    The permutations of the current and the next epoch are put on the device once an epoch.
    """

    def __init__(self, pipeline: Pipeline, sharding: Sharding | None = None):
        if pipeline.transform is not None:
            raise ValueError("pipeline.transform runs on the host; a device-resident pipeline cannot apply it")
        if any(hasattr(array, "drawn") for array in pipeline.source.arrays.values()):
            raise ValueError(
                f"the images of {pipeline.source.name!r} stay on disk; device_data is for what fits in memory"
            )
        self.pipeline = pipeline
        self.sharding = sharding
        self._everywhere = sharding
        if isinstance(sharding, NamedSharding):
            self._everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        first, rows = (0, pipeline.batch_size) if sharding is not None else pipeline.rows
        self._arrays = self._put(pipeline.source.arrays)
        self._gather = jax.jit(functools.partial(_gather, first=first, rows=rows), out_shardings=sharding)
        self._order: tuple[int, Any] = (-1, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def batch_at(self, step: int) -> dict[str, jax.Array]:
        """The batch of `step`: this process' rows, or the global batch laid out by `sharding` where one was given."""
        epoch, offset = divmod(self.pipeline.position(step), len(self.pipeline.source))
        held, orders = self._order
        if held != epoch:
            orders = self._put((self.pipeline.order(epoch), self.pipeline.order(epoch + 1)))
            self._order = (epoch, orders)
        return self._gather(self._arrays, *orders, np.int32(offset))

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self._everywhere)


def device_resident(pipeline: Pipeline, sharding: Sharding | None = None) -> DeviceResident:
    """Move the pipeline's source to the device, replicated over the mesh of `sharding`.

    sharding: of the batch (`NamedSharding(mesh, PartitionSpec("data"))`). Where given, `batch_at` returns the global
        batch in it; where not, this process' rows on the default device.

    Raises: ValueError for a pipeline with a host `transform`, or whose images stay on disk.
    """
    return DeviceResident(pipeline, sharding)


def _gather(arrays, order, following, offset, *, first, rows):
    position = offset + first + jnp.arange(rows, dtype=jnp.int32)
    length = order.shape[0]
    now = order.at[position].get(mode="clip")
    then = following.at[position - length].get(mode="clip")
    index = jnp.where(position < length, now, then)
    return {key: value.at[index].get(mode="clip") for key, value in arrays.items()} | {"index": index}
