"""Compile a learner's training step under `jax.pmap`: one replica a device, over one axis.

The carry of `step` is stacked over the devices, [devices, ...]; `join` restores its global shape for saving and
evaluation, and `split` is the inverse.
"""

import dataclasses
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dlcore.learner import Learner, Metrics
from dlcore.ops.replica import REPLICA
from dlcore.run.sharding import DATA, path_of
from dlcore.run.step import Carry, Placement, Program, check_avals

__all__ = ["PmapProgram", "program_for"]


def program_for(learner: Learner, batch: Any, placement: Placement, seed: int) -> Program:
    """Build the program of a learner for a placement.

    Args:
      learner: learner to compile.
      batch: example of this process' part of the batch (arrays or ShapeDtypeStructs).
      placement: devices and shardings; its `spmd` says jit or pmap.
      seed: random seed of the root key.

    Returns:
      The program, not yet compiled.

    Raises:
      ValueError: see `Program`.
    """
    return (PmapProgram if placement.spmd == "pmap" else Program)(learner, batch, placement, seed)


class PmapProgram(Program):
    """A learner's training step under pmap; see `Program`."""

    def _pmap(self, function: Callable, **options: Any) -> Any:
        return jax.pmap(function, axis_name=REPLICA, devices=list(self._mesh.devices.flat), **options)

    def _abstract_metrics(self) -> Metrics:
        states, update = self._stacked(self.abstract_state), self._pmap(self.learner.update)
        state, metrics = jax.eval_shape(update, states, self._rows(self.batch))
        of_one = [jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), x) for x in (states, state)]
        check_avals(*of_one)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), metrics)

    def _gather(self, metrics: Metrics) -> Metrics:
        return {name: jax.lax.all_gather(m, REPLICA).collapse() for name, m in metrics.items()}

    def _lower(self, donate: bool) -> Any:
        step = self._pmap(self._step, donate_argnums=(0,) if donate else ())
        return step.lower(self._stacked_carry(), self._rows(self.batch))

    def take_sums(self, carry: Carry) -> tuple[Metrics, Carry]:
        """Move the metric sums to the host.

        Args:
          carry: carry, as `step` returns it.

        Returns:
          (64-bit sums on the host; the carry with empty sums).
        """
        sums, zero_sums = carry.sums, self._zero_sums()
        self.placement.pace(zero_sums)
        sums = jax.tree.map(lambda x: x[0], jax.device_get(sums))
        zero_sums = jax.device_put(self._stack(zero_sums), self._stacked_sharding())
        return sums.on_host(), dataclasses.replace(carry, sums=zero_sums)

    def put(self, batch: Any) -> Any:
        """Copy a host batch to the devices, for `step`.

        Args:
          batch: the batch, on the host.

        Returns:
          The batch, stacked over the devices.
        """
        return jax.device_put(self._rows(batch), self._stacked_sharding())

    def split(self, carry: Carry) -> Carry:
        """Stack a carry over the devices.

        Args:
          carry: carry in its global shape.

        Returns:
          The carry of `step`.
        """

        def split(path, x, target):
            stacked = x.reshape(target.shape) if self._is_batched(path_of(path)) else jnp.broadcast_to(x, target.shape)
            return jax.device_put(stacked, self._stacked_sharding())

        state = jax.tree_util.tree_map_with_path(split, carry.state, self._stacked(self.abstract_state))
        rest = jax.device_put(self._stack((carry.sums, carry.bad_step, carry.bad)), self._stacked_sharding())
        return Carry(state, *rest)

    def join(self, carry: Carry) -> Carry:
        """Restore a carry's global shape, for saving and evaluation.

        Args:
          carry: carry, as `step` returns it.

        Returns:
          The carry in its global shape.
        """

        def join(path, x):
            return x.reshape(-1, *x.shape[2:]) if self._is_batched(path_of(path)) else x[0]

        carry = jax.block_until_ready(carry)  # the slices below run on all devices too: not two programs at once
        state = jax.tree_util.tree_map_with_path(join, carry.state)
        state = jax.device_put(state, self.state_shardings)
        rest = jax.tree.map(lambda x: x[0], (carry.sums, carry.bad_step, carry.bad))
        return Carry(state, *jax.device_put(rest, self.replicated))

    def _rows(self, batch: Any) -> Any:
        """A batch [B, ...] as [devices, B / devices, ...]; what has no such axis is repeated."""
        n = self.placement.data_size

        def rows(x):
            is_split = bool(x.shape) and x.shape[0] % n == 0
            shape = (n, x.shape[0] // n, *x.shape[1:]) if is_split else (n, *x.shape)
            if isinstance(x, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(shape, x.dtype)
            return x.reshape(shape) if is_split else np.broadcast_to(x, shape)

        return jax.tree.map(rows, batch)

    def _is_batched(self, path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in self.learner.batched)

    def _stacked_sharding(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(DATA))

    def _stacked(self, state: Any) -> Any:
        """Shapes of a state stacked over the devices."""
        n = self.placement.data_size

        def stacked(path, x):
            shape = (n, x.shape[0] // n, *x.shape[1:]) if self._is_batched(path_of(path)) else (n, *x.shape)
            return jax.ShapeDtypeStruct(shape, x.dtype)

        return jax.tree_util.tree_map_with_path(stacked, state)

    def _stacked_carry(self) -> Carry:
        carry = self.abstract_carry
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (carry.sums, carry.bad_step, carry.bad))
        return Carry(self._stacked(self.abstract_state), *jax.eval_shape(self._stack, shapes))

    def _stack(self, tree: Any) -> Any:
        n = self.placement.data_size
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), tree)
