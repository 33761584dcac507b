"""Time checkpoints: bytes, seconds until one is on disk, the stall of the step that saves, seconds to restore.

python -m experiments.bench.resume --model=resnet50

The state of a model with Adam is saved again and again between training steps, as `fit` saves it: `save` returns when
the arrays have been copied, and the writing continues during the next steps. The stall is the time that `save` takes.
The state is restored into arrays with the shardings of the run. All on the disk that holds --folder (default: a
temporary one).

Measured on two cores and a local disk, ResNet-50 (293 MiB of state, 271 MiB on disk): a save stalls the step for 151 ms
and is on disk after 1.6 s; restored in 0.9 s.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.cost.memory import readable
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model, input_shape
from dlcore.run.checkpoint import Checkpoints
from dlcore.run.step import Placement, Program


def _noisy(state: Any) -> Any:
    """The state with noise in every float: orbax compresses, and a new optimizer's zeros would take no room."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(x.dtype) if x.dtype == np.float32 else x, state)


def measure(
    *, model: str = "resnet50", num_saves: PositiveInt = 5, folder: str | None = None, seed: Seed = 0
) -> StudyResult:
    """Save, wait and restore.

    Args:
      num_saves: number of checkpoints; medians are reported, without the first, which starts orbax's threads.
      folder: a folder on the disk to measure; None takes the temporary one.
    """
    if num_saves < 2:
        raise ValueError(f"num_saves={num_saves}: too small; allowed: at least 2")
    shape = input_shape(model)
    learner = supervised.learner(model=create_model(model), optimizer=optax.adam(1e-3))
    batch = {"image": np.zeros((8, *shape), np.float32), "label": np.zeros(8, np.int32), "index": np.arange(8)}
    program = Program(learner, batch, Placement(), seed)
    carry = jax.block_until_ready(program.init(batch, _noisy))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(carry))
    workdir = Path(tempfile.mkdtemp(dir=folder))
    try:
        store = Checkpoints(workdir / "checkpoints", keep_last=1)
        stalls, write_times = [], []
        for step in range(num_saves):
            began = time.perf_counter()
            store.save(step, carry, {"data": {}})
            stalls.append(time.perf_counter() - began)
            store.wait()
            write_times.append(time.perf_counter() - began)
        store.close()
        newest = workdir / "checkpoints" / str(num_saves - 1)
        on_disk = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
        began = time.perf_counter()
        reader = Checkpoints(workdir / "checkpoints", read_only=True)
        _, restored, _ = reader.restore(program.abstract_carry)
        jax.block_until_ready(restored)
        restoring = time.perf_counter() - began
        reader.close()
    finally:
        shutil.rmtree(workdir)
    same = all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(jax.tree.leaves(carry.state.params), jax.tree.leaves(restored.state.params), strict=True)
    )
    if not same:
        raise ValueError(f"model={model}: the restored parameters are not the saved ones")
    stall, write_seconds = statistics.median(stalls[1:]), statistics.median(write_times[1:])
    numbers = {
        "bytes of the state": size,
        "bytes on disk": on_disk,
        "stall seconds": stall,
        "first stall seconds": stalls[0],
        "seconds until on disk": write_seconds,
        "MB/s written": size / 1e6 / write_seconds,
        "restore seconds": restoring,
    }
    verdict = (
        f"{model} with Adam: {readable(size)}, {readable(on_disk)} on disk. A save stalls the step for "
        f"{stall * 1e3:.0f} ms (the first {stalls[0] * 1e3:.0f}) and is on disk after {write_seconds:.2f} s; restored "
        f"in {restoring:.2f} s."
    )
    return StudyResult(numbers, verdict, headline=Headline("stall seconds", stall, model, tolerance=1.0))


experiment = Study(__file__, __doc__, measure, smoke={"model": "resnet8_cifar", "num_saves": 2})

if __name__ == "__main__":
    main(experiment)
