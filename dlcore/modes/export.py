"""`--mode=export`: write `predict` of a run as a folder that needs jax and numpy to run, and none of this code.

    model.jaxexp           the function (weights, inputs) -> outputs, StableHLO by jax.export, for cpu, cuda and tpu
    weights.safetensors    the arrays that it reads, by path
    manifest.json          names, shapes and dtypes of both sides, versions, the run's settings and facts of its data
    load.py                ten lines that load and run it

The number of examples is free; their shape is that of training. Functions of plain dicts are exported, so that nothing
of flax has to be registered where they are loaded.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.diagnostics.trace import first_reads
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, config_of, restore_state
from dlcore.experiment.setting import FlagError
from dlcore.extras import require
from dlcore.run import provenance
from dlcore.run.json_files import write_json
from dlcore.run.progress import say
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import is_key

__all__ = ["LOADER", "MODE", "PLATFORMS", "export_function", "export_run", "load_exported"]

PLATFORMS = ("cpu", "cuda", "tpu")
PACKAGES = ("flatbuffers", "safetensors")
LOADER = '''"""python load.py: the exported function on zeros. Needs jax, flatbuffers, numpy and safetensors."""
import json, pathlib
import jax, numpy as np
from safetensors.numpy import load_file

here = pathlib.Path(__file__).parent
manifest = json.loads((here / "manifest.json").read_text())
weights = load_file(here / "weights.safetensors")
run = jax.jit(jax.export.deserialize(bytearray((here / "model.jaxexp").read_bytes())).call)
inputs = {k: np.zeros((2, *v["shape"][1:]), v["dtype"]) for k, v in manifest["inputs"].items()}
print(jax.tree.map(lambda x: (x.shape, str(x.dtype)), run(weights, inputs)))
'''


def export_function(
    folder: str | Path,
    function: Callable[[dict, dict], Any],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    about: Mapping[str, Any],
    platforms: tuple[str, ...] = PLATFORMS,
) -> dict[str, Any]:
    """Write `function(weights, inputs)` to a folder.

    Args:
      folder: a new or an empty one.
      function: traceable, of two flat dicts; weights and inputs that it does not read are left out.
      weights: {path: array}.
      inputs: {name: array [B, ...]}, an example of any B.
      about: JSON-able facts for the manifest.
      platforms: of cpu, cuda, tpu, rocm.

    Returns:
      The manifest.

    Raises:
      ValueError: the folder is not empty.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="exporting")
    from safetensors.numpy import save_file

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder={folder}: not empty; allowed: a new or an empty folder")
    batch = jax.export.symbolic_shape("batch")[0]
    of_weights = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()}
    of_inputs = {k: jax.ShapeDtypeStruct((batch, *v.shape[1:]), v.dtype) for k, v in inputs.items()}
    read = _read_by(function, of_weights, inputs)
    weights = {k: np.ascontiguousarray(v) for k, v in weights.items() if k in read[0]}
    of_inputs = {k: v for k, v in of_inputs.items() if k in read[1]}

    def exported(some_weights: dict, some_inputs: dict) -> Any:
        size = next(iter(some_inputs.values())).shape[0]
        rest = {k: jnp.zeros(v.shape, v.dtype) for k, v in of_weights.items() if k not in some_weights}
        missing = {k: jnp.zeros((size, *v.shape[1:]), v.dtype) for k, v in inputs.items() if k not in some_inputs}
        return function({**rest, **some_weights}, {**missing, **some_inputs})

    shapes = {k: of_weights[k] for k in weights}
    program = jax.export.export(jax.jit(exported), platforms=platforms)(shapes, of_inputs)
    content = bytes(program.serialize())
    outputs = jax.eval_shape(program.call, shapes, {k: inputs[k] for k in of_inputs})
    manifest = {
        **about,
        "inputs": {k: {"shape": ["batch", *v.shape[1:]], "dtype": str(v.dtype)} for k, v in of_inputs.items()},
        "outputs": {k: {"shape": ["batch", *v.shape[1:]], "dtype": str(v.dtype)} for k, v in leaf_paths(outputs)},
        "weights": {k: {"shape": list(v.shape), "dtype": str(v.dtype)} for k, v in weights.items()},
        "platforms": list(platforms),
        "calling_convention": program.calling_convention_version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": provenance.versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.jaxexp").write_bytes(content)
    save_file(weights, folder / "weights.safetensors")
    write_json(folder / "manifest.json", manifest)
    (folder / "load.py").write_text(LOADER)
    return manifest


def _read_by(function: Callable, weights: Mapping, inputs: Mapping) -> tuple[set[str], set[str]]:
    """Names of the weights and inputs on which the outputs depend."""
    args = (dict(weights), {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in inputs.items()})
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(args)]
    reads = zip(paths, first_reads(function, *args), strict=True)
    read = [(path[0].idx, path[1].key) for path, first in reads if first is not None]
    return {k for side, k in read if side == 0}, {k for side, k in read if side == 1}


def load_exported(folder: str | Path) -> tuple[dict, dict[str, np.ndarray], Callable[[dict, dict], Any]]:
    """Load a folder of `export_function`.

    Args:
      folder: with model.jaxexp, weights.safetensors and manifest.json.

    Returns:
      (manifest, weights, function of (weights, inputs)).

    Raises:
      ValueError: the program is not the one that the manifest names.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="an exported program")
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest, content = json.loads((folder / "manifest.json").read_text()), (folder / "model.jaxexp").read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError(
            f"{folder / 'model.jaxexp'}: changed or cut; allowed: the program whose sum the manifest holds"
        )
    return manifest, load_file(folder / "weights.safetensors"), jax.jit(jax.export.deserialize(bytearray(content)).call)


def export_run(run: ResolvedRun) -> int:
    """Export `predict` of a finished run to RUN/export, load it again and compare on an example.

    Args:
      run: with the flag `select`.

    Returns:
      The exit status, 0.

    Raises:
      FlagError: the experiment gives no example of a batch, or its batches are no dicts of arrays.
    """
    config = config_of(run)
    spec = config["spec"]
    if run.experiment.example is None:
        raise FlagError(f"--mode=export: {run.experiment.name} gives no example of a batch; allowed: the other modes")
    learner, batch = run.experiment.build(run.setup(spec)), run.experiment.example(spec)
    if not isinstance(batch, dict) or not all(np.ndim(x) for x in batch.values()):
        raise FlagError(
            f"--mode=export: batches of {run.experiment.name} are no dicts of arrays; allowed: the other modes"
        )
    step, state = restore_state(run, learner, batch, run.flags.select)
    keys = {path for path, leaf in leaf_paths(state) if is_key(leaf)}
    state = jax.device_get(jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state))
    paths, tree = [path for path, _ in leaf_paths(state)], jax.tree.structure(state)

    def predict(weights: dict, inputs: dict) -> Any:
        leaves = [jax.random.wrap_key_data(weights[p]) if p in keys else weights[p] for p in paths]
        return learner.predict(jax.tree.unflatten(tree, leaves), inputs)

    weights = {path: np.asarray(leaf) for path, leaf in leaf_paths(state)}
    about = {
        "experiment": run.experiment.name,
        "step": step,
        "settings": config["settings"],
        "commit": config.get("commit"),
        "spec": {k: v for k, v in spec.items() if k in ("class_names", "image_shape", "mean", "std", "dataset")},
    }
    folder = run.folder / "export"
    manifest = export_function(folder, predict, weights, batch, about)
    _, saved, function = load_exported(folder)
    rng = np.random.default_rng(0)
    inputs = {
        k: (rng.uniform(0, 1, (3, *batch[k].shape[1:])) * (255 if batch[k].dtype == np.uint8 else 1)).astype(
            batch[k].dtype
        )
        for k in manifest["inputs"]
    }
    rest = {k: np.zeros((3, *v.shape[1:]), v.dtype) for k, v in batch.items() if k not in inputs}
    ours, theirs = jax.jit(predict)(weights, {**rest, **inputs}), function(saved, inputs)
    apart = max(
        float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    say(f"{folder}: step {step}, {len(saved)} arrays, {size / 1e6:.1f} MB, for {', '.join(PLATFORMS)}")
    say(f"loaded again and run on 3 examples: at most {apart:.1e} from predict here")
    return 0


MODE = Mode(export_run, packages=PACKAGES)
