"""Place arrays on devices: meshes from a flag, and shardings from rules over the paths of a state.

A rule assigns each parameter a PartitionSpec by its path and shape; every other leaf of the state whose path ends in
a parameter's path and has its shape (momenta, averages, teachers) follows that parameter; the rest is replicated.

    replicate     every device holds every parameter
    zero1         so it is, but what the optimizer keeps of a matrix is split as fsdp splits the matrix (ZeRO stage 1):
                  a device updates its part of each matrix, and gathers the others
    fsdp          the largest divisible axis is split over `data` (ZeRO stage 3: Rajbhandari et al. 2020,
                  arXiv:1910.02054)
    tensor        kernels are split over `model` (Shoeybi et al. 2019, arXiv:1909.08053): by their output features,
      heads and channels with them; the second layer of a pair (`proj` of attention, `fc2` of a perceptron) by its input
      features, so that a pair needs one sum over devices. (The thirds of a fused `qkv` do not align
                  with devices: XLA moves them.)
    fsdp+tensor   both

The rows of images are split if the mesh has an axis `spatial`: every device convolves a band of the image and gets the
rows at the edges from its neighbors (XLA's partitioner does it: Lepikhin et al. 2020, arXiv:2006.16668); for tokens
made of patches that is a split of the sequence. Learners of texts split sequences by `dlcore.ops.split_sequence`.
Under fsdp `dlcore.ops.split_batch` keeps features split by example after each branch of a transformer; otherwise the
partitioner splits them as the kernels are split, and gathers the whole batch.
"""

import math
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlcore.choices import check_choice
from dlcore.nn.scanned_blocks import STACK

__all__ = [
    "RULES",
    "Rule",
    "batch_shardings",
    "leaf_paths",
    "make_mesh",
    "mesh_axes",
    "path_of",
    "put_batch",
    "put_rows",
    "sharding_of",
    "state_shardings",
]

DATA, MODEL, SPATIAL = "data", "model", "spatial"
SECOND = ("*/proj/kernel", "*/fc2/kernel", "*/out/kernel")
"""Kernels whose input is the output of a split kernel, with only elementwise operations in between."""
WHOLE = ("*/patch_embed/kernel",)
"""Kernels that `tensor` does not split: a norm over all features follows."""
SMALL = 1024
"""Leaves with fewer elements are never split: communication costs more than memory."""

Rule = Callable[[str, tuple[int, ...], Mesh], PartitionSpec]


def mesh_axes(spec: str) -> dict[str, int]:
    """Read the description of a mesh.

    Args:
      spec: "data:4,model:2" or "data:2,spatial:4".

    Returns:
      {axis: size}, the axis `data` first.
    """
    try:
        parts = [(name.strip(), int(size)) for name, size in (part.split(":") for part in spec.split(","))]
        axes = dict(parts)
        if len(axes) < len(parts) or min(axes.values()) < 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"mesh={spec!r}: malformed; allowed: data:4 or data:4,model:2") from None
    if unknown := set(axes) - {DATA, MODEL, SPATIAL}:
        raise ValueError(f"mesh={spec!r}: unknown axis {min(unknown)!r}; allowed: {DATA!r}, {MODEL!r} and {SPATIAL!r}")
    return {DATA: 1, **axes}


def make_mesh(spec: str | None = None, devices: list | None = None) -> Mesh:
    """Build a mesh from its description.

    Args:
      spec: "data:4,model:2" or "data:2,spatial:4"; None or empty puts all devices on `data`.
      devices: devices to use; None takes all.

    Returns:
      A mesh with the axis `data` first.
    """
    if spec is not None and not isinstance(spec, str):
        raise ValueError(f"mesh={spec!r}: no description; allowed: such as 'data:4,model:2', or None")
    devices = list(jax.devices()) if devices is None else list(devices)
    if not devices or not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(f"devices={devices}: no devices; allowed: those of jax.devices(), at least one")
    axes = mesh_axes(spec) if spec else {DATA: len(devices)}
    if math.prod(axes.values()) != len(devices):
        raise ValueError(
            f"mesh={spec!r}: asks for {math.prod(axes.values())} devices; allowed: the {len(devices)} of this machine "
            f"({devices[0].platform})"
        )
    return Mesh(np.array(devices).reshape(tuple(axes.values())), tuple(axes))


def path_of(path: tuple) -> str:
    """Format a key path as "params/stem/kernel".

    Args:
      path: key path of jax.tree_util.

    Returns:
      The keys joined by "/".
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_paths(tree: Any) -> list[tuple[str, Any]]:
    """List the leaves of a tree with their paths.

    Args:
      tree: any pytree.

    Returns:
      (path, leaf) of every leaf, in jax's order.
    """
    return [(path_of(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _replicate(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    return PartitionSpec()


def _fsdp(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    size = mesh.shape[DATA]
    axes = [axis for axis, length in enumerate(shape) if length % size == 0]
    if math.prod(shape) < SMALL or not axes:
        return PartitionSpec()
    axis = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(DATA if i == axis else None for i in range(len(shape))))


def _tensor(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    axis = len(shape) - 2 if any(fnmatch(path, pattern) for pattern in SECOND) else len(shape) - 1
    is_replicated = len(shape) < 2 or math.prod(shape) < SMALL or any(fnmatch(path, pattern) for pattern in WHOLE)
    if is_replicated or shape[axis] % mesh.shape[MODEL]:
        return PartitionSpec()
    return PartitionSpec(*(MODEL if i == axis else None for i in range(len(shape))))


def _fsdp_tensor(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    spec = list(_tensor(path, shape, mesh)) or [None] * len(shape)
    free = [i for i, name in enumerate(spec) if name is None and shape[i] % mesh.shape[DATA] == 0]
    if math.prod(shape) >= SMALL and free:
        spec[max(free, key=lambda i: shape[i])] = DATA
    return PartitionSpec(*spec)


def _of_each_block(rule: Rule) -> Rule:
    """Apply a rule to the blocks of a stack (`dlcore.nn.scanned_blocks`) one by one; their axis is not split."""

    def of_each_block(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        if STACK not in path.split("/"):
            return rule(path, shape, mesh)
        return PartitionSpec(None, *rule(path, shape[1:], mesh))

    return of_each_block


RULES: dict[str, Rule] = {
    name: _of_each_block(rule)
    for name, rule in {
        "replicate": _replicate,
        "zero1": _replicate,
        "fsdp": _fsdp,
        "tensor": _tensor,
        "fsdp+tensor": _fsdp_tensor,
    }.items()
}


def _fsdp_of_matrices(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Leave vectors whole: they are small, and a batch norm whose scale is updated in parts moves its statistics."""
    return PartitionSpec() if len(shape) < 2 else _fsdp(path, shape, mesh)


OPTIMIZER_RULES = {"zero1": _of_each_block(_fsdp_of_matrices)}
"""Rules of the leaves of `opt_state` that follow a parameter, where they are not the parameter's."""


def sharding_of(mesh: Mesh, rule: str | Rule = "fsdp") -> Callable[[str, tuple[int, ...]], NamedSharding]:
    """Build the shardings of parameters by path, for `dlcore.pretrained.from_pretrained`.

    Args:
      mesh: the devices.
      rule: a name of `RULES`, or (path, shape, mesh) -> PartitionSpec.

    Returns:
      (path of an array of the variables, its shape) -> its sharding; what is no parameter is on all devices.
    """
    rule = _checked_rule(mesh, rule)

    def sharding(path: str, shape: tuple[int, ...]) -> NamedSharding:
        return NamedSharding(mesh, rule(path, shape, mesh) if path.startswith("params/") else PartitionSpec())

    return sharding


def _checked_rule(mesh: Mesh, rule: str | Rule) -> Rule:
    if not isinstance(rule, str):
        return rule
    check_choice("sharding", rule, RULES)
    if "tensor" in rule and MODEL not in mesh.shape:
        raise ValueError(f"sharding={rule!r}: the mesh has no axis {MODEL!r}; allowed: a mesh such as data:4,model:2")
    return RULES[rule]


def state_shardings(
    abstract: Any, mesh: Mesh, rule: str | Rule = "replicate", batched: tuple[str, ...] = (), must_divide: bool = False
) -> Any:
    """Choose a sharding for each leaf of a state.

    Args:
      abstract: the state's shapes, `eval_shape(init, ...)`.
      mesh: the devices.
      rule: a name of `RULES`, or (path, shape, mesh) -> PartitionSpec for parameters.
      batched: patterns of paths whose leading axis is split over `data`; a leaf that does not divide is replicated,
        with a log message.
      must_divide: raise an error for a batched leaf that does not divide (pmap).

    Returns:
      A NamedSharding for each leaf.
    """
    optimizer_rule = OPTIMIZER_RULES.get(rule) if isinstance(rule, str) else None
    rule = _checked_rule(mesh, rule)
    leaves = leaf_paths(abstract)

    def specs_of_parameters(rule: Rule) -> dict[str, tuple]:
        return {
            path.removeprefix("params/"): (leaf.shape, rule(path, leaf.shape, mesh))
            for path, leaf in leaves
            if path.startswith("params/")
        }

    parameters = specs_of_parameters(rule)
    memories = parameters if optimizer_rule is None else specs_of_parameters(optimizer_rule)

    def spec(path: str, leaf: Any) -> PartitionSpec:
        if any(fnmatch(path, pattern) for pattern in batched):
            if leaf.shape[0] % mesh.shape[DATA] == 0:
                return PartitionSpec(DATA)
            if must_divide:
                raise ValueError(
                    f"{path} has {leaf.shape[0]} rows, which do not divide over {mesh.shape[DATA]} devices; "
                    "allowed: a multiple"
                )
            _log_replicated("state", path, leaf.shape, mesh.shape[DATA])
            return PartitionSpec()
        parts = path.split("/")
        specs = memories if parts[0] == "opt_state" else parameters
        for start in range(len(parts)):
            param = specs.get("/".join(parts[start:]))
            if param is not None and param[0] == leaf.shape:
                return param[1]
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(lambda path, leaf: NamedSharding(mesh, spec(path_of(path), leaf)), abstract)


def batch_shardings(batch: Any, mesh: Mesh, processes: int = 1) -> Any:
    """Split the leading axis of a batch over `data`; a leaf that does not divide is replicated, with a log message.

    H of images (leaves [B, H, W, C] and [B, T, H, W, C]) is split over `spatial`, if the mesh has it and H divides.

    Args:
      batch: one process' part of the batch.
      mesh: the devices.
      processes: number of processes; with several every leaf must divide, since each process has its own examples.

    Returns:
      A NamedSharding for each leaf.
    """
    size = mesh.shape[DATA]

    def sharding(path: tuple, leaf: Any) -> NamedSharding:
        if np.ndim(leaf) and np.shape(leaf)[0] * processes % size == 0:
            return NamedSharding(mesh, PartitionSpec(DATA, *_rows_of_image(np.shape(leaf), mesh)))
        if processes > 1:
            raise ValueError(
                f"batch leaf {path_of(path)} {np.shape(leaf)} of each of {processes} processes does not divide over "
                f"the {size} devices of the mesh; allowed: another batch size"
            )
        _log_replicated("batch", path_of(path), np.shape(leaf), size)
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, batch)


def _rows_of_image(shape: tuple[int, ...], mesh: Mesh) -> tuple[str | None, ...]:
    if len(shape) not in (4, 5) or shape[-3] % mesh.shape.get(SPATIAL, 1) or SPATIAL not in mesh.shape:
        return ()
    return (*(None,) * (len(shape) - 4), SPATIAL)


def _log_replicated(kind: str, path: str, shape: tuple[int, ...], devices: int) -> None:
    level = logging.WARNING if shape and shape[0] > 1 else logging.INFO
    text = "%s leaf %s %s does not divide over %d devices: replicated"
    logging.log_first_n(level, text, 8, kind, path, shape, devices)


def put_rows(batch: Any, mesh: Mesh) -> Any:
    """Copy this process' part of a batch to the devices of a mesh, sharded by `batch_shardings`.

    Args:
      batch: this process' part of the batch, on the host.
      mesh: the devices.

    Returns:
      The global batch.
    """
    return put_batch(batch, batch_shardings(batch, mesh, jax.process_count()))


def put_batch(batch: Any, shardings: Any) -> Any:
    """Copy this process' part of a batch to the devices of the mesh.

    Args:
      batch: this process' part of the batch, on the host.
      shardings: result of `batch_shardings`.

    Returns:
      The global batch.
    """
    if jax.process_count() == 1:
        return jax.device_put(batch, shardings)
    for sharding in jax.tree.leaves(shardings)[:1]:
        if any(len({d.process_index for d in np.ravel(row)}) > 1 for row in sharding.mesh.devices):
            raise ValueError(
                f"mesh={dict(sharding.mesh.shape)}: one index of {DATA!r} spans devices of several processes; allowed: "
                f"other axes that divide over the devices of a process"
            )
    return jax.tree.map(lambda x, s: jax.make_array_from_process_local_data(s, np.asarray(x)), batch, shardings)
