"""What the tests of the zoo share: models filled by the goldens' rule, and their outputs beside the goldens'.

check_golden("tv_resnet18", "resnet18")
"""

import importlib.util
import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.models import create_model, load_torch, torch_weights
from dlcore.models.registry import MODELS, example_inputs
from tests.models.tracing import count_once, layers_traced_once

GOLDENS = Path(__file__).parents[1] / "goldens"


def weight_rule():
    """The module det_weights of the goldens."""
    spec = importlib.util.spec_from_file_location("det_weights", GOLDENS / "det_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_golden(file, keep=lambda key: True):
    """The golden's arrays, its meta, and the entries of its state dict that `keep` says."""
    golden = np.load(GOLDENS / f"{file}.npz")
    meta = json.loads(str(golden["meta"]))
    entries = [entry for entry in meta["state_dict"] if keep(entry[0])]
    return golden, meta, weight_rule().det_state_dict({**meta, "state_dict": entries})


def first_variants():
    """The first variant of every class of models."""
    names: dict[type, str] = {}
    for name, variant in MODELS.items():
        names.setdefault(getattr(variant, "func", variant), name)
    return sorted(names.values())


def nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else jnp.asarray(x)


def in_torch_layout(x, rank, channels_last=False):
    """A map [B, H, W, C] as torch has it: channels first, or where rank is 3 as tokens [B, H W, C]."""
    if x.ndim == 4 and rank == 3:
        return x.reshape(x.shape[0], -1, x.shape[-1])
    return nchw(x) if x.ndim == 4 and not channels_last else x


def nchw(x):
    x = np.asarray(x)
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def parameter_count(name, **fields):
    """Number of parameters, without batch statistics: traced, or by a manifest, if the default tier compares that."""
    manifest = GOLDENS / "manifests" / f"{name}.json"
    if not fields and name in first_variants() and manifest.exists():
        shapes = [text for path, text in json.loads(manifest.read_text()).items() if path.startswith("params/")]
        return sum(math.prod(map(int, re.findall(r"\d+", text.partition("[")[2]))) for text in shapes)
    return count_once(create_model(name, **fields), *example_inputs(name, fields))[0]


def check_output(golden, meta, name, got, least=1e-4):
    """Compare an output in torch's layout with the golden's, where that was sampled at a stride."""
    about = meta["outputs"][name]
    assert list(got.shape) == about["shape"], (name, got.shape, about["shape"])
    tolerance = max(least, 10 * (about["f64_err"] or 0)) * (about["std"] or 1)
    got = np.asarray(got).reshape(-1)[:: about["stride"]]
    np.testing.assert_allclose(got, golden[name].reshape(-1), rtol=0, atol=tolerance, err_msg=name)


def check_golden(file, name, modules=None, method=None, channels_last=False, **fields):
    """Logits and features of the model `name` equal those of the golden `file`.

    modules: {torch module: path of the flax module whose output it is, or a function of the outputs of
    `method="features"`}. A module with the same name under the naming rule ("layer1.0" -> "layer1_0") needs no entry.
    Where the end of a torch module is inside one of ours, name a stage: `lambda maps: maps["layer1"]`.
    channels_last: the golden's maps are [B, H, W, C].
    Returns what `apply` gave.
    """
    golden, meta, weights = read_golden(file)
    model = create_model(name, **fields)
    with layers_traced_once():
        variables = load_torch(name, weights, **fields)
    wanted = {key: key.removeprefix("feat.") for key in meta["outputs"] if key.startswith("feat.")}
    paths = {key: (modules or {}).get(module, module.replace(".", "_")) for key, module in wanted.items()}
    inner = {tuple(path.split("/")) for path in paths.values() if isinstance(path, str)}
    inner |= {()} if any(map(callable, paths.values())) else set()  # `_forward` gives (logits, maps, ...)

    @jax.jit
    def run(variables, x):
        seen = lambda module, method: method in ("__call__", "_forward") and module.path in inner  # noqa: E731
        out, state = model.apply(variables, x, method=method, capture_intermediates=seen)
        return out, state.get("intermediates", {})

    x = nhwc(weight_rule().det_input(meta["inputs"]["x"]))
    out, intermediates = run(variables, x)
    maps = intermediates["_forward"][0][1] if () in inner else {}
    check_output(golden, meta, "logits", out[0] if isinstance(out, tuple) else out)
    for key, path in paths.items():
        if callable(path):
            got = path(maps)
        else:
            node = intermediates
            for part in path.split("/"):
                assert part in node, f"{path} is no module of {name}: {list(node)}"
                node = node[part]
            got = node["__call__"][0]
        check_output(golden, meta, key, in_torch_layout(got, len(meta["outputs"][key]["shape"]), channels_last))
    return out


def check_hidden_states(file, name, **fields):
    """The tokens before and after each block equal the golden's `hidden_states.*`.

    Returns (what `apply` gave, the golden, its meta, {path of a module: its output}).
    """
    golden, meta, weights = read_golden(file)
    model = create_model(name, **fields)
    with layers_traced_once():
        variables = load_torch(name, weights, **fields)
    modules = {("Dropout_0",), ("norm",), *((f"blocks_{i}",) for i in range(model.depth))}

    @jax.jit
    def run(variables, x):
        inside = lambda module, method: method == "__call__" and module.path in modules  # noqa: E731
        return model.apply(variables, x, capture_intermediates=inside)

    out, state = run(variables, nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"])))
    inside = {path: value["__call__"][0] for path, value in state["intermediates"].items()}
    for i, path in enumerate(("Dropout_0", *(f"blocks_{i}" for i in range(model.depth)))):
        check_output(golden, meta, f"hidden_states.{i}", inside[path])
    return out, golden, meta, inside


def check_training(file, name, **fields):
    """Train-mode logits, the loss, and the norm of every parameter's gradient equal the golden's.

    Computed in float64: where a relu's input is 1e-7, float32 may take either side, and norms move by too much.
    fields: those that set every drop probability to 0.
    """
    golden, meta, weights = read_golden(file)
    model = create_model(name, **fields)
    with layers_traced_once():
        variables = load_torch(name, weights, **fields)
    path_of = {key: path for path, key in torch_weights.torch_names(name, **fields).items()}

    @jax.jit
    def run(variables, x, labels):
        def loss(params):
            logits, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    with jax.enable_x64(True):
        variables = jax.tree.map(lambda v: np.asarray(v, np.float64), variables)
        x = np.asarray(nhwc(weight_rule().det_input(meta["train"]["input"])), np.float64)
        (value, logits), gradient = run(variables, x, np.asarray(meta["train"]["labels"]))
    norms = {jax.tree_util.keystr(p, simple=True, separator="/"): g for p, g in jax.tree.leaves_with_path(gradient)}
    norms = {path: np.linalg.norm(np.asarray(g).ravel()) for path, g in norms.items()}
    check_output(golden, meta, "train.logits", np.asarray(logits)[:, ::7], least=1e-3)
    np.testing.assert_allclose(value, golden["train.loss"][0], rtol=1e-5)
    got = np.array([norms[path_of[key].removeprefix("params/")] for key in meta["params"]])
    check_output(golden, meta, "train.grad_norms", got, least=1e-3)
