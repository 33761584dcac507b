"""Published PyTorch weights, as the variables of the model with the same name.

Parameters have torchvision's names (timm's where torchvision lacks the model), written as flax paths, so one rule gives
the entry of a state dict for almost every leaf:

    batch_stats/layer1_0/downsample_1/mean  ->  layer1.0.downsample.1.running_mean
    kernel, scale, embedding -> weight;  mean, var -> running_mean, running_var;  _0 -> ".0";  / -> "."

A family's module holds its exceptions: `TORCH_NAMES`, pairs (pattern, replacement) of `re.sub` applied in order to the
name that the rule gives, where "q + k + v" joins three entries; `TORCH_OLD_NAMES`, such pairs that turn the keys of
older state dicts into today's; `TORCH_IGNORED`, a pattern for entries that are not weights; `TORCH_OPTIONAL`, one for
entries that may be left over, such as heads that a variant lacks; `TORCH_TIED`, {name of a copy: name of the entry that
it must equal}, where torch has two names for one parameter (a head that is the embedding, in variants without a head of
its own) and a file may have either or both; `from_torch(path, value, shape)`, which converts entries that are not
leaves as they are (position embeddings of another image size); `TORCH_LAYOUTS`, the names that other projects give the
same network, each a `Layout` that a file's keys tell. Axes:

    convolution (out, in / groups, h, w) -> (h, w, in / groups, out);  linear (out, in) -> (in, out)

A 1x1 convolution of the file is a dense layer where the model has one.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.learner import root_key
from dlcore.models.backbone import HEADS
from dlcore.models.registry import create_model, example_inputs, family_of, kind_of
from dlcore.models.weight_files import IGNORED, listed, unwrap_state_dict
from dlcore.nn.scanned_blocks import stack_blocks

__all__ = [
    "Layout",
    "count_classes",
    "count_from_torch",
    "fill_from_torch",
    "head_paths",
    "load_torch",
    "names_by_rules",
    "published_names",
    "put_variables",
    "size_of_layers",
    "torch_names",
]

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
JOIN = " + "
"""Between the names of several entries that are one variable here."""


class Layout(NamedTuple):
    """The names of one project for a network that several projects publish.

    Args:
      pattern: pattern of a key that only files of this project have, after `older`; "" for any file.
      names: pairs of `re.sub` on the name that a leaf's path gives.
      older: pairs of `re.sub` that turn the keys of older files into today's.
      ignored: pattern of keys that are not weights.
      optional: pattern of keys, after `older`, that may be left over.
      convert: function such as the family's `from_torch` that replaces it for files of this project.
    """

    pattern: str
    names: tuple = ()
    older: tuple = ()
    ignored: str = "(?!)"
    optional: str = "(?!)"
    convert: Any = None

    def entries(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the weights of an unwrapped state dict under today's names.

        Args:
          state_dict: {name in the file: array}.

        Returns:
          {name of today: array}, without what is ignored.
        """
        ignored = f"{IGNORED}|{self.ignored}"
        return {_renamed(key, self.older): value for key, value in state_dict.items() if not re.search(ignored, key)}


class PublishedNames(dict[str, str]):
    """{path of a variable: its name in a state dict}, and what turns names of older files into these.

    Args:
      names: the pairs.
      older: pairs of `re.sub`, see `Layout`.
    """

    def __init__(self, names: Mapping[str, str], older: tuple = ()):
        super().__init__(names)
        self.older = older


def torch_names(name: str, **fields: Any) -> dict[str, str]:
    """Map the variables of a model to the names of a PyTorch state dict.

    Args:
      name: a name of `dlcore.models.list_models()`.
      fields: fields of `create_model`.

    Returns:
      {path of a variable, "params/layer1_0/conv1/kernel": its name in a state dict, "layer1.0.conv1.weight"}.
    """
    if hasattr(family_of(name), "from_torch_names"):
        raise ValueError(f"name={name!r}: has no table of names; allowed: models that read an image or tokens")
    return _names(_layouts(name)[-1], _leaves(_variables(name, fields)))


def published_names(name: str, project: int = 0, **fields: Any) -> dict[str, str]:
    """Map the variables of a model to the names that one of the projects that publish it gives them.

    Args:
      name: a name of `dlcore.models.list_models()`.
      project: index in the family's `TORCH_LAYOUTS`; -1 for torchvision's names.
      fields: fields of `create_model`.

    Returns:
      {path of a variable: its name in a state dict; "q + k + v" where it joins several entries}.
    """
    check_whole_number("project", project)
    if not -1 <= project < len(_layouts(name)):
        raise ValueError(f"project={project}: out of range; allowed: -1 to {len(_layouts(name)) - 1}")
    layout = _layouts(name)[project]
    return PublishedNames(_names(layout, _leaves(_variables(name, fields))), layout.older)


def names_by_rules(variables: Any, rules: Sequence[tuple[str, Any]]) -> PublishedNames:
    """Map the variables of any module to the names that `fill_from_torch` reads.

    Args:
      variables: {"params": ...}, of arrays or shapes.
      rules: see `fill_from_torch`.

    Returns:
      {path of a variable: its name in a state dict; "q + k + v" where it joins several entries}.
    """
    return PublishedNames({path: _torch_name(path, tuple(rules)) for path in _leaves(variables)})


def count_classes(name: str, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes that published or fine-tuned weights tell apart.

    Args:
      name: a name of `dlcore.models.list_models()`, of any kind.
      state_dict: {name: array}, as in `load_torch`.

    Returns:
      C, as `num_classes` of the model counts it (two-stage detectors and SSD without the background); None where the
      model or the file has no layers that depend on it.
    """
    family = family_of(name)
    if hasattr(family, "from_torch_names"):
        count = getattr(family, "count_classes", None)
        return None if count is None else count(create_model(name), state_dict)
    classes = getattr(create_model(name), "num_classes", None)
    if classes is None:
        return None
    leaves, more = (_leaves(_variables(name, {"num_classes": size})) for size in (classes, classes + 1))
    layout, entries = _read(name, state_dict)
    return size_of_layers("classes", classes, (leaves, more), _names(layout, leaves), entries)


def size_of_layers(
    what: str,
    size: int,
    leaves: tuple[Mapping[str, Any], Mapping[str, Any]],
    names: Mapping[str, str],
    entries: Mapping[str, Any],
) -> int | None:
    """Find the size of a model (its number of classes) from the shapes of weights.

    The layers that depend on the size are those whose shapes differ between two models of the sizes S and S + 1.

    Args:
      what: plural noun for what is counted, for errors.
      size: S.
      leaves: {path: shape} of a model of size S, and of one of size S + 1.
      names: {path: name of its entry}.
      entries: {name: array}.

    Returns:
      The size; None where no such layer has an entry.
    """
    sizes = {}
    for path, leaf in leaves[0].items():
        shape, more = leaf.shape, leaves[1][path].shape
        if shape == more or not {*names[path].split(JOIN)} <= entries.keys():
            continue
        axis = next(k for k, (m, n) in enumerate(zip(shape, more, strict=True)) if m != n)
        file_shape = _convert(path, _joined(entries, names[path]), shape, lambda *_: None).shape
        if len(file_shape) != len(shape):
            continue  # `load_torch` names entries of another rank
        extra, rest = divmod(file_shape[axis] - shape[axis], more[axis] - shape[axis])
        if rest or size + extra < 1:
            raise ValueError(f"state_dict: {names[path]} {file_shape}: fits no number of {what}")
        sizes[names[path]] = size + extra
    first = {number: key for key, number in reversed(sizes.items())}
    if len(first) > 1:
        counts = ", ".join(f"{first[number]} has {number}" for number in sorted(first))
        raise ValueError(f"state_dict: its heads differ in the number of {what}: {counts}; allowed: one")
    return next(iter(sizes.values()), None)


def count_from_torch(
    what: str,
    size: int,
    shapes: tuple[Any, Any],
    state_dict: Mapping[str, Any],
    rules: Sequence[tuple[str, Any]],
    older: Sequence[tuple[str, Any]] = (),
) -> int | None:
    """Find the size of any module, such as a detector's number of classes, from a state dict; see `size_of_layers`.

    Args:
      what: plural noun for what is counted, for errors.
      size: S.
      shapes: trees of the variables of a module of size S, and of one of size S + 1.
      state_dict: {name: array}, see `fill_from_torch`.
      rules: see `fill_from_torch`.
      older: see `fill_from_torch`.

    Returns:
      The size; None where the state dict lacks the layers that depend on it.
    """
    leaves = (_leaves(shapes[0]), _leaves(shapes[1]))
    names = {path: _torch_name(path, tuple(rules)) for path in leaves[0]}
    entries = Layout("", older=tuple(older)).entries(unwrap_state_dict(state_dict))
    _split_projections(entries, names)
    return size_of_layers(what, size, leaves, names, entries)


def head_paths(name: str, state_dict: Mapping[str, Any]) -> tuple[set[str], bool]:
    """Find the layers that name classes, and whether published weights have them.

    Args:
      name: a name of `dlcore.models.list_models()`.
      state_dict: {name: array}, as in `load_torch`.

    Returns:
      (paths of the variables of the head, empty where the model has none; whether the weights hold one of them).
    """
    if kind_of(name) != "image":
        return set(), False
    leaves = _leaves(_variables(name, {}))
    layout, entries = _read(name, state_dict)
    head = {path for path in leaves if HEADS & {*path.split("/")}}
    return head, any(key in entries for path in head for key in _torch_name(path, layout.names).split(JOIN))


def load_torch(
    name: str,
    state_dict: Mapping[str, Any],
    *,
    replace_head: bool = False,
    put: Callable[[str, np.ndarray], Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Convert a state dict to the variables of `create_model(name, **fields)`.

    It is torchvision's (timm's where torchvision lacks the model); transformers' for a model of tokens. A ViT, DeiT,
    Swin or ResNet may be transformers', and a ViT timm's: the keys tell whose they are.

    Args:
      name: a name of `dlcore.models.list_models()`, of any kind.
      state_dict: {name: array}, of numpy arrays or anything that `numpy.asarray` takes; counters of batches are
        ignored.
      replace_head: keep the initial values of layers whose shape depends on `num_classes`, where the weights have
        another number or lack them; with `num_classes=0` leave the weights' head out.
      put: (path such as "params/stem/kernel", array) -> what stands in the array's place, such as the array on its
        shards, called for one array after the other; None copies it to the default device.
      fields: fields of `create_model`.

    Returns:
      {"params": ..., "batch_stats": ...} of float32 arrays. Position embeddings of another image size are
      interpolated to that of the field `image_size`.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(f"state_dict={type(state_dict).__name__}: no state dict; allowed: a dict of name -> array")
    if fields.get("scan_blocks"):
        options = {"replace_head": replace_head, "put": lambda path, x: x, **fields, "scan_blocks": False}
        return put_variables(
            stack_blocks(load_torch(name, state_dict, **options)), put or (lambda path, x: jnp.asarray(x))
        )
    family = family_of(name)
    if hasattr(family, "from_torch_names"):
        if replace_head:
            raise ValueError(f"replace_head=True: {name} is no classifier; allowed: models of list_models()")
        variables = family.from_torch_names(create_model(name, **fields), state_dict)
        return put_variables(variables, put)
    tree = _variables(name, fields)
    values = _placed(name, state_dict, replace_head, fields, _leaves(tree), put or (lambda path, x: jnp.asarray(x)))
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values[_path(path)], tree)


def put_variables(variables: Any, put: Callable[[str, np.ndarray], Any] | None) -> Any:
    """Put variables that a loader has read as a whole in their place, as `load_torch` does one by one.

    Args:
      variables: tree of arrays.
      put: see `load_torch`; None leaves the variables.

    Returns:
      The tree of what `put` returns.
    """
    if put is None:
        return variables
    return jax.tree_util.tree_map_with_path(lambda path, leaf: put(_path(path), np.asarray(leaf)), variables)


def fill_from_torch(
    shapes: Any,
    state_dict: Mapping[str, Any],
    rules: Sequence[tuple[str, Any]],
    *,
    what: str,
    older: Sequence[tuple[str, Any]] = (),
    optional: str = "(?!)",
) -> Any:
    """Convert a state dict to the variables of any module, such as a detector around a model.

    Args:
      shapes: tree of the variables, {"params": ..., "batch_stats": ...}, of arrays or shapes.
      state_dict: {name: array}, as in `load_torch`; a wrapper's name, `model.` or `module.`, before all of them is
        left out.
      rules: pairs (pattern, replacement) of `re.sub`, applied in order to the name that a leaf's path gives.
      what: name of the module, for errors.
      older: such pairs that turn the keys of older files into today's.
      optional: pattern of keys, after `older`, that may be left over.

    Returns:
      The tree, of arrays.
    """
    leaves = _leaves(shapes)
    names = {path: _torch_name(path, tuple(rules)) for path in leaves}
    entries = Layout("", older=tuple(older)).entries(unwrap_state_dict(state_dict))
    _split_projections(entries, names)
    _check_complete(what, entries, names, optional)
    values = {
        path: _convert(path, _joined(entries, name), leaves[path].shape, lambda *_: None)
        for path, name in names.items()
    }
    for path, key in names.items():
        _check_value(key, values[path])
    if mismatched := [path for path, value in values.items() if value.shape != leaves[path].shape]:
        messages = [f"{names[path]}, as {values[path].shape} not {leaves[path].shape}" for path in mismatched]
        raise ValueError(f"state_dict: it does not fit {what}; {listed('of a wrong shape', messages)}")

    def fill(path: tuple, leaf: Any) -> jax.Array:
        return jnp.asarray(values[_path(path)], leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def _placed(
    name: str,
    state_dict: Mapping[str, Any],
    replace_head: bool,
    fields: dict,
    leaves: dict,
    put: Callable[[str, np.ndarray], Any],
) -> dict[str, Any]:
    """Read, check and place the value of every leaf, in our layout, one after the other."""
    family, (layout, entries) = family_of(name), _read(name, state_dict)
    names = _names(layout, leaves)
    if replace_head and fields.get("num_classes") == 0:
        _drop_head(entries, layout, leaves, _leaves(_variables(name, {**fields, "num_classes": 1})))
    tied = getattr(family, "TORCH_TIED", {})
    _drop_copies(entries, {copy: original for copy, original in tied.items() if copy not in names.values()})
    absent = {path for path in leaves if not {*names[path].split(JOIN)} & entries.keys()} if replace_head else set()
    absent &= _head(name, fields, leaves) if absent else set()
    names = {path: key for path, key in names.items() if path not in absent}
    _check_complete(name, entries, names, layout.optional)
    convert = layout.convert or getattr(family, "from_torch", lambda path, value, shape: None)
    values: dict[str, Any] = {}
    mismatched: dict[str, tuple[int, ...]] = {}
    for path, leaf in leaves.items():
        if path in absent:
            continue
        value = _convert(path, _joined(entries, names[path]), leaf.shape, convert)
        _check_value(names[path], value)
        if value.shape == leaf.shape:
            values[path] = put(path, np.asarray(value, leaf.dtype))
        else:
            mismatched[path] = value.shape
    if not mismatched or (replace_head and mismatched.keys() <= _head(name, fields, leaves)):
        new = absent | mismatched.keys()
        return values | {path: put(path, np.asarray(leaf)) for path, leaf in _initial(name, fields, new).items()}
    file_shapes = {path: _joined(entries, names[path]).shape for path in mismatched}
    shapes = [
        f"{names[path]} {file_shapes[path]}, as {shape} not {leaves[path].shape}" for path, shape in mismatched.items()
    ]
    offer = not replace_head and kind_of(name) == "image" and set(mismatched) <= _head(name, fields, leaves)
    hint = "replace_head=True leaves a head of another size at its initial value" if offer else ""
    raise ValueError(f"state_dict: it does not fit {name}; {listed('of a wrong shape', shapes)}{hint}")


def _layouts(name: str) -> tuple[Layout, ...]:
    """Return the names that a model's weights may have; the last fits any file."""
    family = family_of(name)
    torchvision = Layout(
        "",
        names=getattr(family, "TORCH_NAMES", ()),
        older=getattr(family, "TORCH_OLD_NAMES", ()),
        ignored=getattr(family, "TORCH_IGNORED", "(?!)"),
        optional=getattr(family, "TORCH_OPTIONAL", "(?!)"),
    )
    return (*getattr(family, "TORCH_LAYOUTS", ()), torchvision)


def _read(name: str, state_dict: Mapping[str, Any]) -> tuple[Layout, dict[str, Any]]:
    """Whose names a state dict has, and its entries under the names of today."""
    unwrapped = unwrap_state_dict(state_dict)
    for layout in _layouts(name):
        entries = layout.entries(unwrapped)
        if any(re.search(layout.pattern, key) for key in entries):
            return layout, entries
    return layout, entries


def _initial(name: str, fields: dict, paths: Set[str]) -> dict[str, Any]:
    """Return the initial values of these leaves; those of the others are not computed."""
    if not paths:
        return {}
    model, inputs = create_model(name, **fields), example_inputs(name, fields)

    @jax.jit
    def draw(key: jax.Array) -> dict[str, jax.Array]:
        return {path: leaf for path, leaf in _leaves(model.init(key, *inputs)).items() if path in paths}

    return draw(root_key(0))


def _split_projections(entries: dict[str, Any], names: Mapping[str, str]) -> None:
    """Cut torch's `in_proj_weight` and `in_proj_bias` where the variables are queries, keys and values."""
    expected = {key for joined in names.values() for key in joined.split(JOIN)}
    for key in [key for key in entries if re.search(r"\.in_proj_(weight|bias)$", key)]:
        prefix, _, leaf = key.rpartition(".in_proj_")
        parts = [f"{prefix}.{part}_proj.{leaf}" for part in "qkv"]
        if key not in expected and expected.issuperset(parts):
            entries.update(zip(parts, np.split(np.asarray(entries.pop(key)), 3), strict=True))


def _check_complete(what: str, entries: Mapping[str, Any], names: Mapping[str, str], optional: str) -> None:
    expected = dict.fromkeys(key for joined in names.values() for key in joined.split(JOIN))
    missing = [key for key in expected if key not in entries]
    left_over = sorted(set(entries) - set(expected))
    left_over = [key for key in left_over if not re.search(optional, key)]
    if missing or left_over:
        raise ValueError(
            f"state_dict: it does not fit {what}; {listed('missing', missing)}{listed('left over', left_over)}"
            "allowed: weights of this network"
        )


def _check_value(key: str, value: np.ndarray) -> None:
    """Refuse what is no weight of a network: NaN and infinity, a variance below 0. A file may have NaN beside them."""
    value = np.asarray(value)
    with np.errstate(all="ignore"):
        if not np.isfinite(value.sum()) and not np.isfinite(value).all():  # the sum alone may overflow
            raise ValueError(f"state_dict: {key} holds NaN or infinity; allowed: finite weights")
    if key.endswith("running_var") and value.size and value.min() < 0:
        raise ValueError(f"state_dict: {key} holds {value.min():g}; allowed: variances of at least 0")


def _joined(entries: Mapping[str, Any], name: str) -> np.ndarray:
    """Return an entry, or several along their first axis, the output of a linear layer: queries, keys and values."""
    parts = [_float_array(key, entries[key]) for key in name.split(JOIN)]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _float_array(key: str, value: Any) -> np.ndarray:
    """Read an entry, and refuse one that holds no floats."""
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"state_dict: {key} is {array.dtype}; allowed: floats (quantized weights do not load)")
    return array


def _drop_copies(entries: dict[str, Any], tied: Mapping[str, str]) -> None:
    """Leave one entry of each parameter that has several names."""
    for copy, original in tied.items():
        if copy not in entries:
            continue
        value = entries.pop(copy)
        if not np.array_equal(entries.setdefault(original, value), value):
            raise ValueError(f"state_dict: {copy} is not {original}; allowed: one parameter under both names")


def _drop_head(entries: dict[str, Any], layout: Layout, leaves: dict, with_head: dict) -> None:
    """Leave out what a network has only where there are classes."""
    for path, key in _names(layout, with_head).items():
        if path not in leaves:
            for part in key.split(JOIN):
                entries.pop(part, None)


def _names(layout: Layout, leaves: dict) -> dict[str, str]:
    return {path: _torch_name(path, layout.names) for path in leaves}


def _torch_name(path: str, rules: tuple) -> str:
    *modules, leaf = path.split("/")[1:]
    key = "/".join([*modules, LEAVES.get(leaf, leaf)])
    key = re.sub(r"_(\d+)(?=[_/]|$)", r".\1", key).replace("/", ".")
    return _renamed(key, rules)


def _renamed(key: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _convert(path: str, value: np.ndarray, shape: tuple[int, ...], convert: Any) -> np.ndarray:
    converted = convert(path, value, shape)
    if converted is not None:
        return converted
    if path.endswith("/kernel"):
        kernel = np.transpose(value, (*range(2, value.ndim), 1, 0)) if value.ndim > 1 else value
        return kernel.reshape(kernel.shape[-2:]) if len(shape) == 2 and {*kernel.shape[:-2]} == {1} else kernel
    same = [n for n in value.shape if n > 1] == [n for n in shape if n > 1]
    return value.reshape(shape) if same else value


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _leaves(tree: Any) -> dict[str, Any]:
    return {_path(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _variables(name: str, fields: dict) -> Any:
    """Return the shapes and dtypes of the model's variables."""
    model = create_model(name, **fields)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(name, fields)))


def _head(name: str, fields: dict, leaves: dict) -> set[str]:
    """Return the paths of the leaves whose shape depends on the number of classes."""
    classes = getattr(create_model(name, **fields), "num_classes", None)
    if classes is None:
        return set()
    other = _leaves(_variables(name, {**fields, "num_classes": classes + 1}))
    return {path for path, leaf in leaves.items() if other[path].shape != leaf.shape}
