"""`--mode=export`: export `predict` of a run to a folder that runs with jax and numpy, without dlcore.

    model.jaxexp           the function (weights, inputs) -> outputs, StableHLO by jax.export, for cpu, cuda and tpu
    weights.safetensors    the arrays that it reads, by path
    manifest.json          names, shapes and dtypes of inputs and outputs, versions, the run's settings, facts of its
                           data; for image classifiers also `input`: the required image and its preprocessing; for
                           detectors `detections`: pixels and order of boxes and keypoints, and how to get them in
                           those of a photograph
    load.py                loads and runs it; for image classifiers `predict(image)` takes any image file or array

The batch size is symbolic; the shape of an example is that of training. The exported function takes plain dicts, so
that loading needs no flax. `--fold_batch_norm` merges each batch norm into the convolution or dense layer before it:
fewer arrays and operations, equal results up to rounding.
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

from dlcore.activity import activity
from dlcore.data import image_pixels
from dlcore.data.splits import Spec
from dlcore.diagnostics.trace import first_reads
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, config_of, restore_state
from dlcore.extras import require
from dlcore.learner import Learner
from dlcore.modes import exported_loader
from dlcore.nn.folding import apply_folds, find_folds
from dlcore.ops.attention_kernels import attention_kernels
from dlcore.run import provenance
from dlcore.run.json_files import write_json
from dlcore.run.progress import say
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import is_key
from dlcore.setting import FlagError, Setting

__all__ = [
    "LOADER",
    "MODE",
    "PLATFORMS",
    "detection_rule",
    "example_batch",
    "export_function",
    "flat_predict",
    "input_rule",
    "load_exported",
    "trace_program",
]

PLATFORMS = ("cpu", "cuda", "tpu")
PACKAGES = ("flatbuffers", "safetensors")
FOLDING_TOLERANCE = 1e-3
"""Largest relative difference of outputs by rounding in merged batch norms."""
LOADER = re.sub(
    r"from dlcore\.data\.image_pixels import .*\n",
    lambda _: Path(image_pixels.__file__).read_text(encoding="utf-8"),
    Path(exported_loader.__file__).read_text(encoding="utf-8"),
)
"""Text of load.py, which does not import dlcore: the text of `image_pixels` replaces its import."""


def export_function(
    folder: str | Path,
    function: Callable[[dict, dict], Any],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    about: Mapping[str, Any],
    platforms: tuple[str, ...] = PLATFORMS,
) -> dict[str, Any]:
    """Export `function(weights, inputs)` to a folder.

    Args:
      folder: a new or an empty folder.
      function: traceable function of two flat dicts; weights and inputs that it does not read are left out.
      weights: {path: array}.
      inputs: {name: array [B, ...]}, an example batch of any B.
      about: JSON-able facts for the manifest.
      platforms: some of cpu, cuda, tpu, rocm.

    Returns:
      The manifest.

    Raises:
      ValueError: the folder is not empty, or the function cannot be traced for a symbolic batch size.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="exporting")
    from safetensors.numpy import save

    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={folder}: a file, or not empty; allowed: a new or an empty folder")
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
    (folder / "weights.safetensors").write_bytes(save(weights))  # save_file makes the file readable by its owner only
    write_json(folder / "manifest.json", manifest)
    (folder / "load.py").write_text(LOADER)
    return manifest


def trace_program(
    function: Callable[[dict, dict], Any],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    platforms: tuple[str, ...] = PLATFORMS,
) -> tuple[jax.export.Exported, list[str], dict[str, jax.ShapeDtypeStruct]]:
    """Lower `function(weights, inputs)` for a symbolic batch size, without running it.

    Args:
      function: traceable function of two flat dicts; weights and inputs that it does not read are left out.
      weights: {path: array, or its shape and dtype}.
      inputs: {name: array [B, ...], or its shape and dtype}, an example batch of any B.
      platforms: some of cpu, cuda, tpu, rocm.

    Returns:
      (program of the weights and inputs that it reads, names of these weights, {name of such an input: its shape
      [batch, ...] and dtype}).
    """
    weight_shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()}
    names_read = _read_by(function, weight_shapes, inputs)
    shapes = {k: v for k, v in weight_shapes.items() if k in names_read[0]}
    batch = jax.export.symbolic_shape("batch")[0]
    input_shapes = {
        k: jax.ShapeDtypeStruct((batch, *v.shape[1:]), v.dtype) for k, v in inputs.items() if k in names_read[1]
    }

    def function_of_read(some_weights: dict, some_inputs: dict) -> Any:
        size = next(iter(some_inputs.values())).shape[0]
        unread_weights = {k: jnp.zeros(v.shape, v.dtype) for k, v in weight_shapes.items() if k not in some_weights}
        unread_inputs = {k: jnp.zeros((size, *v.shape[1:]), v.dtype) for k, v in inputs.items() if k not in some_inputs}
        return function({**unread_weights, **some_weights}, {**unread_inputs, **some_inputs})

    try:
        with attention_kernels():  # JAX does not promise that later versions know the kernels' calls
            program = jax.export.export(jax.jit(function_of_read), platforms=platforms)(shapes, input_shapes)
    except Exception as error:  # tracing with a fixed batch size has just worked
        problem = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise ValueError(
            f"function: cannot be traced for a free number of examples ({problem}); allowed: functions that compute "
            "nothing from the number but shapes"
        ) from error
    return program, [*shapes], input_shapes


def _read_by(function: Callable, weights: Mapping, inputs: Mapping) -> tuple[set[str], set[str]]:
    """Return the names of the weights and inputs that the outputs depend on."""
    args = (dict(weights), {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in inputs.items()})
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(args)]
    reads = zip(paths, first_reads(function, *args), strict=True)
    read = [(path[0].idx, path[1].key) for path, first in reads if first is not None]
    return {k for side, k in read if side == 0}, {k for side, k in read if side == 1}


def load_exported(folder: str | Path) -> tuple[dict, dict[str, np.ndarray], Callable[[dict, dict], Any]]:
    """Load a folder that `export_function` wrote.

    Args:
      folder: folder with model.jaxexp, weights.safetensors and manifest.json.

    Returns:
      (manifest, weights, function of (weights, inputs)).

    Raises:
      ValueError: the program's checksum differs from the manifest's.
      MissingPackage: flatbuffers or safetensors are missing.
    """
    require(*PACKAGES, what="an exported program")
    return exported_loader.load.__wrapped__(Path(folder))


def input_rule(spec: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Any) -> dict[str, Any] | None:
    """Describe the image that an exported classifier takes, and the preprocessing of load.py's `predict`.

    Args:
      spec: facts of the data.
      inputs: `inputs` of the manifest.
      outputs: names of the outputs.

    Returns:
      Name, shape, dtype, range, layout, order of the channels, resize and crop; None if the function is no image
      classifier.
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


def detection_rule(spec: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Describe the boxes, keypoints and masks that an exported detector returns.

    Args:
      spec: facts of the data.
      outputs: `outputs` of the manifest.

    Returns:
      What each output means; None if the function is no detector.
    """
    if not {"boxes", "scores", "labels", "valid"} <= {*outputs}:
        return None
    height, width = spec["image_shape"][:2]
    if spec.get("resize"):
        shorter, longer = spec["resize"]
        resize = (
            f"shorter side {shorter}, longer at most {longer} pixels, in the upper left of {width} x {height} pixels"
        )
        factors = "x times original width / resized width, y times original height / resized height"
    else:
        resize = f"stretched to {width} x {height} pixels"
        factors = f"x times the photograph's width / {width}, y times its height / {height}"
    rule = {
        "boxes": "x1, y1, x2, y2 in pixels of the input image; the upper left corner is (0, 0)",
        "labels": "index in spec.class_names",
        "valid": "false for rows without a detection",
        "input": resize,
        "in_photograph": factors,
    }
    extra = {
        "keypoints": "x, y in pixels of the input image",
        "masks": "probabilities in the box, from its upper left to its lower right corner",
    }
    return rule | {name: text for name, text in extra.items() if name in outputs}


def flat_predict(learner: Learner, state: Any) -> tuple[Callable[[dict, dict], Any], dict[str, Any]]:
    """Convert a learner's `predict` to a function of plain dicts of arrays.

    Args:
      learner: the learner that owns `predict`.
      state: the learner's state, or its shapes and dtypes.

    Returns:
      (function of (weights, inputs), {path: leaf of the state}; PRNG keys become their uint32 data).
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


def _fold_predict(
    predict: Callable[[dict, dict], Any], weights: Mapping[str, Any], inputs: Mapping[str, Any]
) -> tuple[Callable[[dict, dict], Any], dict[str, Any]]:
    """Merge batch norms of `predict` into the layers before them; return the new `predict` and merged arrays."""
    folds = find_folds(lambda: predict(dict(weights), {k: jnp.asarray(v) for k, v in inputs.items()}))
    if not folds:
        raise FlagError(
            "--fold_batch_norm: no batch norm is applied to the output of a convolution or dense layer; allowed: "
            "exporting without it"
        )
    say(f"{len(folds)} batch norms are merged into the layers before them")

    def folded_predict(weights: dict, inputs: dict) -> Any:
        merged = {
            path: fold._replace(kernel=weights[f"folded/{path}/kernel"], bias=weights[f"folded/{path}/bias"])
            for path, fold in folds.items()
        }
        return apply_folds(predict, merged)(weights, inputs)

    arrays = {f"folded/{path}/{k}": getattr(fold, k) for path, fold in folds.items() for k in ("kernel", "bias")}
    return folded_predict, arrays


def example_batch(run: ResolvedRun, spec: Spec) -> dict[str, np.ndarray]:
    """Return the example batch of an exported `predict`.

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


def _export_run(run: ResolvedRun) -> int:
    """Export `predict` of a finished run to RUN/export, load it and compare outputs on an example."""
    config = config_of(run)
    spec = config["spec"]
    batch = example_batch(run, spec)
    learner = run.training(spec).build()
    say(f"run: {run.folder}")
    step, state = restore_state(run, learner, batch, run.flags.select)
    predict, weights = flat_predict(learner, state)
    rng = np.random.default_rng(0)
    samples = {
        k: (rng.uniform(0, 1, (3, *v.shape[1:])) * (255 if v.dtype == np.uint8 else 1)).astype(v.dtype)
        for k, v in batch.items()
    }
    exported_predict = predict
    if run.flags.fold_batch_norm:
        exported_predict, folds = _fold_predict(predict, weights, samples)
        weights = {**weights, **folds}
    weights = {path: np.asarray(jax.device_get(leaf)) for path, leaf in weights.items()}
    about = {
        "experiment": run.experiment.name,
        "step": step,
        "settings": config["settings"],
        "commit": config.get("commit"),
        "spec": {k: v for k, v in spec.items() if k in ("class_names", "image_shape", "mean", "std", "dataset")},
    }
    folder, new_folder = run.folder / "export", run.folder / "export.new"
    if folder.exists() and not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: holds other files than an export; allowed: after they are moved away")
    shutil.rmtree(new_folder, ignore_errors=True)
    try:
        with activity("tracing and writing the export"):
            manifest = export_function(new_folder, exported_predict, weights, batch, about)
    except ValueError as error:
        raise FlagError(f"--mode=export: predict of {run.experiment.name} as a {error}, or the other modes") from error
    if detections := detection_rule(spec, manifest["outputs"]):
        write_json(new_folder / "manifest.json", manifest | {"detections": detections})
    if rule := input_rule(spec, manifest["inputs"], manifest["outputs"]):
        manifest["input"] = rule
        (new_folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        if rule["crop_pct"] is not None and run.flags.get("decoder") == "opencv":
            say("load.py decodes with Pillow, as --mode=predict; evaluation used --decoder=opencv, with other pixels")
    if folder.exists():
        shutil.rmtree(folder)
        say(f"{folder}: the earlier export is replaced")
    new_folder.rename(folder)
    with activity("running the export"):
        _, saved, function = load_exported(folder)
        inputs = {k: samples[k] for k in manifest["inputs"]}
        unread_inputs = {k: np.zeros((3, *v.shape[1:]), v.dtype) for k, v in batch.items() if k not in inputs}
        expected, exported = jax.jit(predict)(weights, {**unread_inputs, **inputs}), function(saved, inputs)
    difference = max(
        float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0))
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(exported), strict=True)
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    say(f"{folder}: step {step}, {len(saved)} arrays, {size / 1e6:.1f} MB, for {', '.join(PLATFORMS)}")
    if run.flags.fold_batch_norm and difference > FOLDING_TOLERANCE * max(
        [1.0, *(float(np.max(np.abs(np.asarray(a)), initial=0)) for a in jax.tree.leaves(expected))]
    ):
        shutil.rmtree(folder)
        raise FlagError(
            f"--fold_batch_norm: outputs change by {difference:.1e}, because the network uses a layer's output before "
            "its batch norm, too; allowed: exporting without it"
        )
    say(f"loaded again and run on 3 examples: at most {difference:.1e} from predict here")
    return 0


MODE = Mode(
    _export_run,
    {
        "fold_batch_norm": Setting(
            False, "merge each batch norm into the convolution or dense layer before it", identity=False
        )
    },
    packages=PACKAGES,
)
