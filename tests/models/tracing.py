"""Shapes of a model's variables, and its operations as text, tracing each kind of layer once.

A ResNet-152 has 155 convolutions of 20 kinds.

with layers_traced_once():
    variables = jax.eval_shape(model.init, key, x)
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
import pathlib
import re

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.extend.core import Primitive

from dlcore.learner import root_key
from dlcore.nn import BatchNorm, Conv, LayerNorm

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
LAYERS = (BatchNorm, Conv, LayerNorm, nn.Dense)
TRACED: dict[str, tuple] = {}
COUNTED: dict[str, tuple] = {}

layer_p = Primitive("layer")
"""A layer as one operation of its inputs; without inputs, one of its variables. It has a shape and no value."""
layer_p.def_abstract_eval(lambda *_, text, shape, dtype: jax.core.ShapedArray(shape, dtype))


def layers_traced_once() -> contextlib.AbstractContextManager:
    """While initializing, a layer with the fields and the input shape of an earlier one gets that one's variables.

    What is left to each layer is its path. It is one operation, which cannot run: for shapes and texts alone.
    """
    return nn.intercept_methods(_trace_once)


def _trace_once(call, args, kwargs, context):
    layer = context.module
    if (
        not isinstance(layer, LAYERS)
        or context.method_name != "__call__"
        or not (layer.path and layer.is_initializing())
    ):
        return call(*args, **kwargs)
    inputs = ",".join(f"{x.dtype}{list(x.shape)}" for x in args)
    text = f"{text_of(layer)}({inputs}){kwargs or ''}"
    if text not in TRACED:
        plain = {"kernel_init": nn.initializers.zeros} if hasattr(layer, "kernel_init") else {}  # fast to trace
        alone = layer.clone(parent=None, name=None, **plain)
        TRACED[text] = jax.eval_shape(lambda *x: alone.init_with_output(jax.random.key(0), *x, **kwargs), *args)
    y, variables = TRACED[text]
    for collection, leaves in variables.items():
        for name, leaf in leaves.items():
            value = layer_p.bind(text=f"{collection}/{name}", shape=leaf.shape, dtype=leaf.dtype)
            layer.put_variable(collection, name, value)
    return layer_p.bind(*args, text=text, shape=y.shape, dtype=y.dtype)


def count_once(model, *inputs):
    """(parameters, multiplications of convolutions and dense layers) of a model, each kind of module traced once.

    A module with the fields and the shapes of inputs of an earlier one counts as that one, and is not run.
    """
    seen, more = set(), np.zeros(2, int)  # paths; what modules that are not run add, and all multiplications

    def count(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or not module.path or isinstance(module, nn.Embed):
            return call(*args, **kwargs)
        inputs = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}" if isinstance(x, jax.Array) else x, (args, kwargs))
        text, is_new = f"{text_of(module)}{inputs}", module.path not in seen
        seen.add(module.path)
        if text in COUNTED:
            outputs, numbers = COUNTED[text]
            more[:] += numbers * (is_new, True)  # a module that runs twice has its parameters once
            return jax.tree.map(lambda x: layer_p.bind(text=text, shape=x.shape, dtype=x.dtype), outputs)
        before = more.copy()
        outputs = call(*args, **kwargs)
        if isinstance(module, Conv | nn.Dense):  # each weight once a pixel of the output
            more[1] += math.prod(module.get_variable("params", "kernel").shape) * math.prod(outputs.shape[1:-1])
        own = sum(leaf.size for leaf in jax.tree.leaves(module.variables.get("params", {})))
        if is_new:
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), outputs)
            COUNTED[text] = shapes, more - before + (own, 0)
        return outputs

    with nn.intercept_methods(count), layers_traced_once():
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs)).get("params", {})
    return int(more[0]) + sum(leaf.size for leaf in jax.tree.leaves(params)), int(more[1])


def program_of(model, *inputs, **options):
    """(the program that initializes a model and runs it, as text; shapes and dtypes of its variables).

    The text has the fields of every part, the operations with their constants, and each layer as one operation.
    """
    parts = []

    def record(call, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and module.path and not isinstance(module, LAYERS):
            parts.append(f"{'/'.join(module.path)}: {text_of(module)}")
        return call(*args, **kwargs)

    if "train" in inspect.signature(getattr(model, options.get("method", "__call__"))).parameters:
        options = {"train": False, **options}
    draws = options.get("train", getattr(model, "dropout", 0)) or options.get("deterministic") is False
    streams = ("params", "dropout") if draws else ("params",)

    def run(*x):
        return model.init_with_output({name: root_key(i) for i, name in enumerate(streams)}, *x, **options)

    with nn.intercept_methods(record), layers_traced_once():
        program, (_, variables) = jax.make_jaxpr(run, return_shape=True)(*inputs)
    return "\n".join([text_of(model), *parts, text_of_program(program)]), variables


def text_of_program(program):
    """A traced program (a ClosedJaxpr) as text that is the same in every process: its constants and its operations."""
    constants = [_constant_text(np.asarray(value)) for value in program.consts]
    return "\n".join([*constants, re.sub(" at 0x[0-9a-f]+", "", str(program.jaxpr))])


def arrays_of(inputs):
    """The inputs of a case: a tuple of sides stands for an array of floats of this shape, all else for itself."""

    def is_shape(x):
        return isinstance(x, tuple) and all(isinstance(side, int) for side in x)

    return [jax.ShapeDtypeStruct(x, np.float32) if is_shape(x) else x for x in inputs]


def text_of_arrays(tree):
    """A pytree of arrays as text: a line a leaf, with its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return "\n".join(f"{jax.tree_util.keystr(path)}: {_constant_text(np.asarray(leaf))}" for path, leaf in leaves)


def _constant_text(value):
    """Whole numbers and truth values by their bytes; floats by a few digits, as processors round their sines otherwise.

    Of floats the norm, and the projection on the cosines of their places as a share of it, which sees their order.
    """
    text = f"{value.dtype}{list(value.shape)}"
    if value.dtype.kind != "f":
        return f"{text} {hashlib.sha256(value.tobytes()).hexdigest()}"
    values = np.where(np.isfinite(value), value, 7).astype(np.float64).ravel()
    norm = np.linalg.norm(values)
    share = values @ np.cos(np.arange(values.size)) / norm if norm else 0.0
    return f"{text} {norm:.4g} {np.round(share, 3) + 0.0:.3f}"  # 0 is added to -0


def assert_digest(file, label, text):
    """Compare a program with the digest of `label` in a file of the goldens; DLCORE_UPDATE_SNAPSHOTS writes it.

    Another version of JAX prints programs otherwise: the file says of which it is, and with others nothing is compared.
    """
    path = GOLDENS / file
    found = f"{len(text.splitlines())} lines, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        known = json.loads(path.read_text()) if path.exists() else {}
        of_this_version = known if known.get("jax") == jax.__version__ else {}
        known = {**of_this_version, "jax": jax.__version__, label: found}
        path.write_text(json.dumps(dict(sorted(known.items())), indent=0) + "\n")
    known = json.loads(path.read_text())
    if known["jax"] != jax.__version__:
        pytest.skip(f"the digests are of JAX {known['jax']}")
    assert found == known.get(label), (
        f"{label}: another program; the docstring of this test's file says how to print it"
    )


def text_of(value):
    """A value as text that is the same in every process: modules by their fields, functions by what they hold."""
    if isinstance(value, nn.Module):
        fields = sorted({field.name for field in dataclasses.fields(value)} - {"parent", "name"})
        return f"{type(value).__name__}({', '.join(f'{field}={text_of(getattr(value, field))}' for field in fields)})"
    if isinstance(value, functools.partial):
        settings = ", ".join(f"{name}={text_of(x)}" for name, x in value.keywords.items())
        return f"{text_of(value.func)}({settings})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(text_of, value))})"
    if getattr(value, "__closure__", None):
        held = zip(value.__code__.co_freevars, value.__closure__, strict=True)
        return f"{value.__name__}({', '.join(f'{name}={text_of(cell.cell_contents)}' for name, cell in held)})"
    return getattr(value, "__name__", None) or re.sub(" at 0x[0-9a-f]+", "", repr(value))
