"""Compare two finished run folders: every logged number and every array of the newest checkpoint, byte for byte."""

from pathlib import Path

import numpy as np

from dlcore.run.metrics_writer import read_metrics

__all__ = ["TIMES", "differences", "final_arrays"]

TIMES = ("seconds", "examples_per_second")
"""Fields of a row that differ between equal runs."""


def final_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path."""
    import jax
    import orbax.checkpoint as ocp

    steps = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
    path = (folder / "checkpoints" / str(max(steps)) / "state").absolute()
    device = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])  # whatever devices it was saved from
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(path).item_metadata.tree

        def abstract(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

        target = jax.tree.map(abstract, saved, is_leaf=lambda leaf: hasattr(leaf, "shape"))
        tree = reader.restore(path, target)
    leaves = jax.tree_util.tree_leaves_with_path(tree)

    def as_numpy(x):
        return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return {jax.tree_util.keystr(path, simple=True, separator="/"): as_numpy(x) for path, x in leaves}


def differences(left: Path, right: Path) -> list[str]:
    """The logged rows and final arrays that differ between two finished runs."""

    def rows(folder):
        return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)]

    mismatches = [
        f"row {i}: {a} and {b}" for i, (a, b) in enumerate(zip(rows(left), rows(right), strict=False)) if a != b
    ]
    if len(rows(left)) != len(rows(right)):
        mismatches.append(f"{len(rows(left))} rows and {len(rows(right))}")
    a, b = final_arrays(left), final_arrays(right)
    mismatches += [f"leaf {name} is in one only" for name in sorted(set(a) ^ set(b))]
    mismatches += [f"leaf {name}" for name in sorted(set(a) & set(b)) if a[name].tobytes() != b[name].tobytes()]
    return mismatches
