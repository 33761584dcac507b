"""Split long sequences over devices, and keep batches split.

The leading axis of a batch is split over the mesh's axis `data` when it is put on the devices. A sequence is often cut
out of a longer row inside the step, where its sharding is lost; here the program is told to split it over the mesh's
axis `spatial`. XLA's partitioner then computes each device's part, and gathers the keys and values that attention needs
(Lepikhin et al. 2020, arXiv:2006.16668).
"""

import jax
from jax.sharding import PartitionSpec

__all__ = ["split_batch", "split_sequence"]


def split_batch(x: jax.Array) -> jax.Array:
    """Keep the leading axis split over `data`, where the program has a mesh with it.

    Where parameters are split over `data` too (`--sharding=fsdp`), the partitioner must choose what to gather: the
    parameters of a layer, or the whole batch's features. What a layer returns passes through here, so that it gathers
    parameters.

    Args:
      x: [B, ...].

    Returns:
      x itself; the same where there is no such mesh, the mesh has `spatial` too, x is inside `shard_map`, or B does
      not divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if "data" not in mesh.auto_axes or "spatial" in mesh.axis_names or x.shape[0] % mesh.shape["data"]:
        return x
    free = PartitionSpec.UNCONSTRAINED
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data", *[free] * (x.ndim - 1)))


def split_sequence(x: jax.Array) -> jax.Array:
    """Split the second axis over `spatial`, and the first over `data`, where the program has a mesh with both.

    Args:
      x: [B, T, ...].

    Returns:
      x itself; the same where there is no such mesh, or T does not divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if "spatial" not in mesh.axis_names or x.shape[1] % mesh.shape["spatial"]:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data", "spatial"))
