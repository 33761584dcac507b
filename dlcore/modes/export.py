"""`--mode=export`: write `predict` of a run as a folder that runs with jax and numpy, without dlcore.

    model.jaxexp           the function (weights, inputs) -> outputs, StableHLO by jax.export, for cpu, cuda and tpu
    weights.safetensors    the arrays that it reads, by path
    manifest.json          names, shapes and dtypes of both sides, versions, the run's settings and facts of its data;
                           of a classifier of images under `input` what an image must be and what is done to it
    load.py                loads and runs it; of a classifier `predict(image)` takes any image file or array

The number of examples is free; their shape is that of training. Functions of plain dicts are exported, so that nothing
of flax has to be registered where they are loaded. `--fold_batch_norm` merges each batch norm into the convolution or
dense layer before it: fewer arrays and operations, and the same results but for rounding.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data import image_pixels
from dlcore.diagnostics.trace import first_reads
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, config_of, restore_state
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Spec
from dlcore.extras import require
from dlcore.learner import Learner
from dlcore.modes import exported_loader
from dlcore.nn.folding import find_folds, with_folds
from dlcore.run import provenance
from dlcore.run.json_files import write_json
from dlcore.run.progress import say
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import is_key

__all__ = [
    "LOADER",
    "MODE",
    "PLATFORMS",
    "example_batch",
    "export_function",
    "export_run",
    "flat_predict",
    "fold_predict",
    "input_rule",
    "load_exported",
    "trace_program",
]

PLATFORMS = ("cpu", "cuda", "tpu")
PACKAGES = ("flatbuffers", "safetensors")
FOLDED_APART = 1e-3
"""Relative difference of outputs that merged batch norms may make, by rounding."""
LOADER = re.sub(
    r"from dlcore\.data\.image_pixels import .*\n",
    lambda _: Path(image_pixels.__file__).read_text(encoding="utf-8"),
    Path(exported_loader.__file__).read_text(encoding="utf-8"),
)
"""The program load.py, which needs none of dlcore: the text of `image_pixels` stands where it is imported."""


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
      platforms: some of cpu, cuda, tpu, rocm.

    Returns:
      The manifest.

    Raises:
      ValueError: the folder is not empty, or the function cannot be traced for a free number of examples.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="exporting")
    from safetensors.numpy import save

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder={folder}: not empty; allowed: a new or an empty folder")
    program, weights_read, inputs_read = trace_program(function, weights, inputs, platforms)
    weights = {k: np.ascontiguousarray(weights[k]) for k in weights_read}
    content = bytes(program.serialize())
    outputs = jax.eval_shape(program.call, weights, {k: inputs[k] for k in inputs_read})
    manifest = {
        **about,
        "inputs": {k: {"shape": ["batch", *v.shape[1:]], "dtype": str(v.dtype)} for k, v in inputs_read.items()},
        "outputs": {k: {"shape": ["batch", *v.shape[1:]], "dtype": str(v.dtype)} for k, v in leaf_paths(outputs)},
        "weights": {k: {"shape": list(v.shape), "dtype": str(v.dtype)} for k, v in weights.items()},
        "platforms": list(platforms),
        "calling_convention": program.calling_convention_version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": provenance.versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.jaxexp").write_bytes(content)
    (folder / "weights.safetensors").write_bytes(save(weights))  # save_file would let only the owner read it
    write_json(folder / "manifest.json", manifest)
    (folder / "load.py").write_text(LOADER)
    return manifest


def trace_program(
    function: Callable[[dict, dict], Any],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    platforms: tuple[str, ...] = PLATFORMS,
) -> tuple[jax.export.Exported, list[str], dict[str, jax.ShapeDtypeStruct]]:
    """Lower `function(weights, inputs)` for a free number of examples; nothing is computed.

    Args:
      function: traceable, of two flat dicts; weights and inputs that it does not read are left out.
      weights: {path: array, or its shape and dtype}.
      inputs: {name: array [B, ...], or its shape and dtype}, an example of any B.
      platforms: some of cpu, cuda, tpu, rocm.

    Returns:
      (program of the weights and inputs that are read, names of these weights, {name of such an input: its shape
      [batch, ...] and dtype}).

    Raises:
      ValueError: the function cannot be traced for a free number of examples.
    """
    of_weights = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()}
    read = _read_by(function, of_weights, inputs)
    shapes = {k: v for k, v in of_weights.items() if k in read[0]}
    batch = jax.export.symbolic_shape("batch")[0]
    of_inputs = {k: jax.ShapeDtypeStruct((batch, *v.shape[1:]), v.dtype) for k, v in inputs.items() if k in read[1]}

    def exported(some_weights: dict, some_inputs: dict) -> Any:
        size = next(iter(some_inputs.values())).shape[0]
        rest = {k: jnp.zeros(v.shape, v.dtype) for k, v in of_weights.items() if k not in some_weights}
        missing = {k: jnp.zeros((size, *v.shape[1:]), v.dtype) for k, v in inputs.items() if k not in some_inputs}
        return function({**rest, **some_weights}, {**missing, **some_inputs})

    try:
        program = jax.export.export(jax.jit(exported), platforms=platforms)(shapes, of_inputs)
    except Exception as error:  # the function has just been traced for a fixed number: only the free one is new
        problem = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise ValueError(
            f"function: cannot be traced for a free number of examples ({problem}); allowed: functions that compute "
            "nothing from the number but shapes"
        ) from error
    return program, [*shapes], of_inputs


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
      folder: folder with model.jaxexp, weights.safetensors and manifest.json.

    Returns:
      (manifest, weights, function of (weights, inputs)).

    Raises:
      ValueError: the program is not the one that the manifest names.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="an exported program")
    return exported_loader.load.__wrapped__(Path(folder))


def input_rule(spec: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Any) -> dict[str, Any] | None:
    """State what an exported classifier's image must be, and what `predict` of load.py does to an image.

    Args:
      spec: facts of the data.
      inputs: `inputs` of the manifest.
      outputs: names of the outputs.

    Returns:
      Name, shape, dtype, range, layout, order of the channels, resize and crop; None where images are not classified.
    """
    shape = spec.get("image_shape")
    if [*inputs] != ["image"] or "probabilities" not in outputs or not shape or "class_names" not in spec:
        return None
    crop_pct = spec.get("crop_pct")
    return {
        "name": "image",
        "shape": ["batch", *shape],
        "layout": "NHWC",
        "channels": "gray" if shape[-1] == 1 else "RGB",
        "dtype": inputs["image"]["dtype"],
        "range": [0.0, 1.0],
        "from_uint8": "divided by 255",
        "resize": "scaled until it covers (height, width) / crop_pct (null: 1), bilinear, antialiased, in 8 bits; "
        "its center is cut out",
        "crop_pct": crop_pct,
        "inside": "resizing to the network's own size, and (image - mean) / std with the mean and std of spec",
    }


def flat_predict(learner: Learner, state: Any) -> tuple[Callable[[dict, dict], Any], dict[str, Any]]:
    """Make a learner's `predict` a function of plain dicts of arrays.

    Args:
      learner: the learner that owns `predict`.
      state: the learner's state, or its shapes and dtypes.

    Returns:
      (function of (weights, inputs), {path: leaf of the state}; keys of random numbers become their uint32 data).
    """
    keys = {path for path, leaf in leaf_paths(state) if is_key(leaf)}
    paths, tree = [path for path, _ in leaf_paths(state)], jax.tree.structure(state)

    def predict(weights: dict, inputs: dict) -> Any:
        leaves = [jax.random.wrap_key_data(weights[p]) if p in keys else weights[p] for p in paths]
        return learner.predict(jax.tree.unflatten(tree, leaves), inputs)

    def data(leaf: Any) -> Any:
        if not is_key(leaf):
            return leaf
        abstract = isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.eval_shape(jax.random.key_data, leaf) if abstract else jax.random.key_data(leaf)

    return predict, {path: data(leaf) for path, leaf in leaf_paths(state)}


def fold_predict(
    predict: Callable[[dict, dict], Any], weights: Mapping[str, Any], inputs: Mapping[str, Any]
) -> tuple[Callable[[dict, dict], Any], dict[str, Any]]:
    """Merge the batch norms of `predict` into the layers before them.

    Args:
      predict: result of `flat_predict`.
      weights: weights that it takes.
      inputs: {name: array [B, ...]}, on which it runs once.

    Returns:
      (function of (weights and those below, inputs), {"folded/PATH/kernel" and "folded/PATH/bias": array}).

    Raises:
      FlagError: no batch norm follows a convolution or dense layer.
    """
    folds = find_folds(lambda: predict(dict(weights), {k: jnp.asarray(v) for k, v in inputs.items()}))
    if not folds:
        raise FlagError(
            "--fold_batch_norm: no batch norm is applied to the output of a convolution or dense layer; allowed: "
            "exporting without it"
        )
    say(f"{len(folds)} batch norms are merged into the layers before them")

    def folded(weights: dict, inputs: dict) -> Any:
        merged = {
            path: fold._replace(kernel=weights[f"folded/{path}/kernel"], bias=weights[f"folded/{path}/bias"])
            for path, fold in folds.items()
        }
        return with_folds(predict, merged)(weights, inputs)

    arrays = {f"folded/{path}/{k}": getattr(fold, k) for path, fold in folds.items() for k in ("kernel", "bias")}
    return folded, arrays


def example_batch(run: ResolvedRun, spec: Spec) -> dict[str, np.ndarray]:
    """Get the batch whose arrays an exported `predict` takes.

    Args:
      run: the resolved run of the experiment.
      spec: facts of the data.

    Returns:
      {name: array [B, ...]}.

    Raises:
      FlagError: `predict` takes no examples, or the experiment's batches are no dicts of arrays.
    """
    name, batch = run.experiment.name, run.example(spec)
    if spec.get("counts", "examples") != "examples":  # `predict` plays episodes
        raise FlagError(f"--mode=export: {name} gives no example of a batch; allowed: the other modes")
    if not all(np.ndim(x) for x in batch.values()):
        raise FlagError(f"--mode=export: batches of {name} are no dicts of arrays; allowed: the other modes")
    return batch


def export_run(run: ResolvedRun) -> int:
    """Export `predict` of a finished run to RUN/export, load it again and compare on an example.

    Args:
      run: the resolved run, with the flag `select`.

    Returns:
      The exit status, 0.

    Raises:
      FlagError: `predict` takes no examples, the experiment's batches are no dicts of arrays, or its predict cannot
        be traced for a free number of examples; or batch norms were to be merged and cannot be.
      ValueError: RUN/export holds something that is no export.
    """
    config = config_of(run)
    spec = config["spec"]
    batch = example_batch(run, spec)
    learner = run.experiment.build(run.setup(spec))
    step, state = restore_state(run, learner, batch, run.flags.select)
    predict, weights = flat_predict(learner, state)
    rng = np.random.default_rng(0)
    samples = {
        k: (rng.uniform(0, 1, (3, *v.shape[1:])) * (255 if v.dtype == np.uint8 else 1)).astype(v.dtype)
        for k, v in batch.items()
    }
    exported_predict = predict
    if run.flags.fold_batch_norm:
        exported_predict, folds = fold_predict(predict, weights, samples)
        weights = {**weights, **folds}
    weights = {path: np.asarray(jax.device_get(leaf)) for path, leaf in weights.items()}
    about = {
        "experiment": run.experiment.name,
        "step": step,
        "settings": config["settings"],
        "commit": config.get("commit"),
        "spec": {k: v for k, v in spec.items() if k in ("class_names", "image_shape", "mean", "std", "dataset")},
    }
    folder, new = run.folder / "export", run.folder / "export.new"
    if folder.exists() and not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: holds other files than an export; allowed: after they are moved away")
    shutil.rmtree(new, ignore_errors=True)
    try:
        manifest = export_function(new, exported_predict, weights, batch, about)
    except ValueError as error:
        raise FlagError(f"--mode=export: predict of {run.experiment.name} as a {error}, or the other modes") from error
    if rule := input_rule(spec, manifest["inputs"], manifest["outputs"]):
        manifest["input"] = rule
        (new / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        if rule["crop_pct"] is not None and run.flags.get("decoder") == "opencv":
            say("load.py decodes with Pillow, as --mode=predict; evaluation used --decoder=opencv, with other pixels")
    if folder.exists():
        shutil.rmtree(folder)
        say(f"{folder}: the earlier export is replaced")
    new.rename(folder)
    _, saved, function = load_exported(folder)
    inputs = {k: samples[k] for k in manifest["inputs"]}
    rest = {k: np.zeros((3, *v.shape[1:]), v.dtype) for k, v in batch.items() if k not in inputs}
    ours, exported = jax.jit(predict)(weights, {**rest, **inputs}), function(saved, inputs)
    apart = max(
        float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(exported), strict=True)
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    say(f"{folder}: step {step}, {len(saved)} arrays, {size / 1e6:.1f} MB, for {', '.join(PLATFORMS)}")
    if run.flags.fold_batch_norm and apart > FOLDED_APART * max(
        [1.0, *(float(np.max(np.abs(np.asarray(a)), initial=0)) for a in jax.tree.leaves(ours))]
    ):
        shutil.rmtree(folder)
        raise FlagError(
            f"--fold_batch_norm: outputs move by {apart:.1e}, because the network uses a layer's output before its "
            "batch norm, too; allowed: exporting without it"
        )
    say(f"loaded again and run on 3 examples: at most {apart:.1e} from predict here")
    return 0


MODE = Mode(
    export_run,
    {
        "fold_batch_norm": Setting(
            False, "merge each batch norm into the convolution or dense layer before it", identity=False
        )
    },
    packages=PACKAGES,
)
