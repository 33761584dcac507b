"""Compile a learner for a placement: its initialization and one training step, each traced once.

The training step carries the sums of its metrics and the first non-finite step, so that nothing is fetched between log
steps. `dlcore.run.pmap` does the same under `jax.pmap`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlcore.choices import check_choice
from dlcore.learner import Learner, Metrics, root_key
from dlcore.ops.attention_kernels import KERNEL_PLATFORMS, attention_kernels
from dlcore.run.inputs import batch_errors
from dlcore.run.sharding import (
    DATA,
    RULES,
    Rule,
    batch_shardings,
    leaf_paths,
    make_mesh,
    put_batch,
    put_rows,
    state_shardings,
)
from dlcore.run.sums import Sums

__all__ = ["Carry", "Placement", "Program", "all_finite", "check_avals", "is_key"]


@dataclass(frozen=True)
class Placement:
    """The devices of a run, how its state is sharded, and which transformation distributes the step.

    Args:
      mesh: the devices.
      sharding: a name of `dlcore.run.sharding.RULES`, or a rule.
      spmd: jit or pmap.
    """

    mesh: Mesh = field(default_factory=make_mesh)
    sharding: str | Rule = "replicate"
    spmd: Literal["jit", "pmap"] = "jit"

    def __post_init__(self):
        check_choice("spmd", self.spmd, ("jit", "pmap"))
        if not isinstance(self.mesh, Mesh):
            raise ValueError(f"mesh={self.mesh!r}: no mesh; allowed: what dlcore.run.make_mesh gives")
        if not callable(self.sharding):
            check_choice("sharding", self.sharding, RULES)
        if self.spmd == "pmap" and (self.sharding != "replicate" or self.mesh.size > self.mesh.shape[DATA]):
            raise ValueError(
                "spmd='pmap': replicates parameters over one axis; allowed: sharding=replicate and mesh=data:N"
            )
        if self.spmd == "pmap" and jax.process_count() > 1:
            raise ValueError(f"spmd='pmap': there are {jax.process_count()} processes; allowed: one, or spmd=jit")

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Set what tracing for these devices reads.

        Several devices under jit set the mesh, which `dlcore.ops.split_batch` and `split_sequence` read; devices of
        another platform than the default one choose the kernels of attention.

        Yields:
          Nothing.
        """
        platform = self.mesh.devices.flat[0].platform
        with contextlib.ExitStack() as stack:
            if self.mesh.size > 1 and self.spmd == "jit":
                stack.enter_context(jax.set_mesh(self.mesh))
            if platform != jax.default_backend():
                stack.enter_context(attention_kernels(*KERNEL_PLATFORMS.get(platform, ())))
            yield

    def pace(self, arrays: Any) -> None:
        """Wait for arrays on several CPU devices; on other devices do nothing.

        XLA:CPU's collectives can starve each other of threads when several multi-device programs run at once.

        Args:
          arrays: outputs of the last program.
        """
        if self.mesh.size > 1 and self.mesh.devices.flat[0].platform == "cpu":
            jax.block_until_ready(arrays)

    @property
    def data_size(self) -> int:
        """Number of devices along `data`."""
        return self.mesh.shape[DATA]


@struct.dataclass
class Carry:
    """State that a training step passes to the next one, and that checkpoints save.

    Args:
      state: the learner's state.
      sums: metrics since they were last moved to the host.
      bad_step: [] int32, first step with non-finite metrics; -1 if there is none.
      bad: metrics of that step.
    """

    state: Any
    sums: Sums
    bad_step: jax.Array
    bad: Metrics


def _strong(tree: Any) -> Any:
    """Remove weak types, which would cause a second compilation."""
    return jax.tree.map(lambda x: x if is_key(x) else jax.lax.convert_element_type(x, jnp.asarray(x).dtype), tree)


def is_key(x: Any) -> bool:
    """Return whether an array holds typed PRNG keys.

    Args:
      x: an array, or anything with a dtype.

    Returns:
      True for arrays of `jax.random.key`.
    """
    return jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)


def all_finite(tree: Any) -> jax.Array:
    """Return whether every floating-point leaf is finite.

    Args:
      tree: pytree of arrays.

    Returns:
      [] bool.
    """
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in leaves])) if leaves else jnp.array(True)


class Program:
    """A learner's training step, compiled ahead of time for one batch shape; `program_for` makes it.

    Args:
      learner: learner to compile.
      batch: example of this process' part of the batch (arrays or ShapeDtypeStructs).
      placement: devices and shardings.
      seed: random seed of the root key.

    Raises:
      ValueError: `update` changes a shape or dtype of the state (the message names the leaf), or a leaf cannot be
        split.
    """

    def __init__(self, learner: Learner, batch: Any, placement: Placement, seed: int):
        self.learner, self.placement = learner, placement
        self.traces = 0
        self._mesh = placement.mesh
        self._rng = root_key(seed)
        processes = jax.process_count()
        self.batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (x.shape[0] * processes, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype)
            ),
            batch,
        )
        self._batch_shardings = batch_shardings(self.batch, self._mesh)
        if processes > 1:
            batch_shardings(batch, self._mesh, processes)
        self._init_fn = lambda rng, batch: _strong(learner.init(rng, batch))
        try:
            with batch_errors(batch):
                self.abstract_state = jax.eval_shape(self._init_fn, self._rng, self.batch)
        except TypeError as error:
            if "unexpected keyword argument 'train'" not in str(error):
                raise
            raise ValueError(f"model: {error}; allowed: a module of __call__(self, x, train: bool)") from error
        self.state_shardings = state_shardings(
            self.abstract_state, self._mesh, placement.sharding, learner.batched, must_divide=placement.spmd == "pmap"
        )
        self.replicated = NamedSharding(self._mesh, PartitionSpec())
        metrics = self._abstract_metrics()
        self.abstract_carry = self._with_shardings(metrics)
        self.compiled: Any = None
        self._zero_sums = jax.jit(lambda: Sums.empty(self.abstract_carry.bad), out_shardings=self.replicated)
        self._copy = jax.jit(lambda s: jax.tree.map(jnp.copy, _strong(s)), out_shardings=self.state_shardings)

    def _abstract_metrics(self) -> Metrics:
        with batch_errors(self.batch):
            state, metrics = jax.eval_shape(self.learner.update, self.abstract_state, self.batch)
        check_avals(self.abstract_state, state)
        return jax.eval_shape(lambda m: _strong(m), metrics)

    def _with_shardings(self, metrics: Metrics) -> Carry:
        scalar = jax.ShapeDtypeStruct((), jnp.int32, sharding=self.replicated)

        def put(x, s):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)

        state = jax.tree.map(put, self.abstract_state, self.state_shardings)
        sums = jax.eval_shape(Sums.empty, metrics)
        sums, metrics = jax.tree.map(lambda x: put(x, self.replicated), (sums, metrics))
        return Carry(state, sums, scalar, metrics)  # pyright: ignore[reportArgumentType]

    # Initialization

    def init(self, batch: Any, start: Callable[[Any], Any] | None = None) -> Carry:
        """Initialize the learner.

        Args:
          batch: this process' part of the batch, on the host.
          start: State -> State, applied once on the host; None changes nothing.

        Returns:
          The carry before the first step.
        """
        state = self._first_state(batch)
        if start is not None:
            changed = start(state)
            check_avals(self.abstract_state, changed, "start")
            state = self.place(changed)
        scalar = np.asarray(-1, np.int32)
        sums = self._zero_sums()
        return Carry(state, sums, jax.device_put(scalar, self.replicated), self._zero_sums().metrics)

    def _first_state(self, batch: Any) -> Any:
        """Compute the state of `init`. Several CPU devices copy it from one device, because collectives of an
        environment's first steps can exceed the number of threads and wait forever."""
        first = self._mesh.devices.flat[0]
        if self._mesh.size > 1 and first.platform == "cpu" and jax.process_count() == 1:
            return self.place(jax.jit(self._init_fn)(jax.device_put(self._rng, first), jax.device_put(batch, first)))
        return jax.jit(self._init_fn, out_shardings=self.state_shardings)(self._rng, self.put_global(batch))

    def place(self, state: Any) -> Any:
        """Copy a state to the run's shardings, in new buffers (aliases must not be donated).

        Args:
          state: state with the shapes and dtypes of the learner's.

        Returns:
          The state on the devices.
        """
        check_avals(self.abstract_state, state, "a hook")
        copied = self._copy(jax.device_put(state, self.state_shardings))
        self.placement.pace(copied)
        return copied

    # One step

    def _step(self, carry: Carry, batch: Any) -> Carry:
        self.traces += 1
        state, metrics = self.learner.update(carry.state, batch)
        state, metrics = _strong(state), self._gather(_strong(metrics))
        finite = [metric.finite() for metric in metrics.values()]
        first = (carry.bad_step < 0) & ~jnp.all(jnp.array(finite or True))
        return Carry(
            state=state,
            sums=carry.sums.add(metrics),
            bad_step=jnp.where(first, carry.state.step, carry.bad_step).astype(jnp.int32),
            bad=jax.tree.map(lambda new, old: jnp.where(first, new, old), metrics, carry.bad),
        )

    def _gather(self, metrics: Metrics) -> Metrics:
        """Metrics of all devices, which under jit is what `update` returns."""
        return metrics

    def _lower(self, donate: bool) -> Any:
        shardings = jax.tree.map(lambda x: x.sharding, self.abstract_carry)
        step = jax.jit(
            self._step,
            in_shardings=(shardings, self._batch_shardings),
            out_shardings=shardings,
            donate_argnums=(0,) if donate else (),
        )
        with self.placement.context():
            return step.lower(self.abstract_carry, self.batch)

    def compile(self) -> None:
        """Trace and compile the step; every later call runs this one executable."""
        self.compiled = self._lower(donate=True).compile()

    def step(self, carry: Carry, batch: Any) -> Carry:
        """Run one training step.

        Args:
          carry: carry before the step; donated, its buffers are reused.
          batch: batch on the devices, from `put`.

        Returns:
          The carry after the step.
        """
        carry = self.compiled(carry, batch)
        self.placement.pace(carry.bad_step)
        return carry

    def undonated(self) -> Callable[[Carry, Any], Carry]:
        """Compile the step without donation, to inspect the state before and after.

        Returns:
          (carry, batch) -> carry.
        """
        return self._lower(donate=False).compile()

    def take_sums(self, carry: Carry) -> tuple[Metrics, Carry]:
        """Move the metric sums to the host.

        Args:
          carry: carry, as `step` returns it.

        Returns:
          (64-bit sums on the host; the carry with empty sums).
        """
        sums, zero_sums = carry.sums, self._zero_sums()
        self.placement.pace(zero_sums)
        return sums.on_host(), dataclasses.replace(carry, sums=zero_sums)

    # Batches and shapes

    def put(self, batch: Any) -> Any:
        """Copy a host batch to the devices, for `step`.

        Args:
          batch: this process' part of the batch, on the host.

        Returns:
          The batch.
        """
        return put_batch(batch, self._batch_shardings)

    def put_global(self, batch: Any) -> Any:
        """Copy a host batch to the devices, for `init` and evaluation.

        Args:
          batch: this process' part of the batch, on the host.

        Returns:
          The batch in its global shape.
        """
        return put_rows(batch, self._mesh)

    def split(self, carry: Carry) -> Carry:
        """Convert a carry from its global shape to that of `step`.

        Args:
          carry: carry in its global shape.

        Returns:
          The carry of `step`, under jit the same.
        """
        return carry

    def join(self, carry: Carry) -> Carry:
        """Convert a carry to its global shape, for saving and evaluation.

        Args:
          carry: carry, as `step` returns it.

        Returns:
          The carry in its global shape, under jit the same.
        """
        return carry


def check_avals(expected: Any, actual: Any, name: str = "update") -> None:
    """Check that a state keeps its structure, shapes and dtypes.

    Args:
      expected: abstract state before.
      actual: state, or abstract state, after.
      name: what changed it, for the message.
    """
    expected_structure, structure = jax.tree.structure(expected), jax.tree.structure(actual)
    if expected_structure != structure:
        left, right = dict(leaf_paths(expected)), dict(leaf_paths(actual))
        paths = sorted(set(left) ^ set(right))
        raise ValueError(
            f"{name} changes the structure of the state: {', '.join(paths[:5]) or (expected_structure, structure)}"
        )
    for (path, old), (_, new) in zip(leaf_paths(expected), leaf_paths(actual), strict=True):
        dtype = getattr(new, "dtype", type(new).__name__)  # a Python number has none
        if old.shape != np.shape(new) or old.dtype != dtype:
            raise ValueError(
                f"{name} changes {path} from {old.dtype}{list(old.shape)} to {dtype}{list(np.shape(new))}; "
                "a state keeps its shapes and dtypes"
            )
