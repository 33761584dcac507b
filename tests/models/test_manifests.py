"""The names, shapes and dtypes of every model's variables are promised: weights are saved under them.

A change here breaks checkpoints and needs a migration. After a deliberate one, or for a new model,
`python tests/models/test_manifests.py` writes what is missing or changed to tests/goldens/manifests: the whole manifest
for the first variant of each family and for the small networks, a digest for the other variants, whose entries differ
in number and width alone. The published state dicts of torchvision and timm fit them name by name, and the
sharding rules split them. The formulas of `dlcore.cost` give the parameters of every layer.

The first variant of each family is traced once for all tests: in the slow tier where test_programs.py traces a small
network of the family in the default tier, otherwise in the default tier. The weekly tier traces the others.

The weekly tier also compares the outputs of the first variants with torchvision's and timm's. So that the other tiers
notice a stride, a padding, an epsilon, a rate or an order that changed, a digest of each of these networks is kept: of
its operations, its layers and their fields. Where it fails without a change that is meant,
`python tests/models/test_manifests.py NAME` prints what the digest is of, for a diff of two commits. After one that is
meant, and whose weekly tests pass:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/models/test_manifests.py -k digest -m "slow or not slow" -n 0
"""

import functools
import gzip
import hashlib
import json
import math
import pathlib
import sys

import jax
import numpy as np
import pytest
from flax import linen as nn

from dlcore.cost.formulas import layer_parameters
from dlcore.models import create_model, list_models, torch_weights
from dlcore.models.nf_resnet import ScaledStdConv
from dlcore.models.registry import FAMILIES, example_inputs
from dlcore.nn.position import LearnedPositions, RelativePositionBias
from dlcore.ops.arithmetic import conv_parameters
from dlcore.run.sharding import make_mesh, state_shardings
from tests.models.parity import first_variants
from tests.models.tracing import assert_digest, program_of

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
MANIFESTS = GOLDENS / "manifests"
DIGESTS = MANIFESTS / "digests.json"
WHOLE = {next(iter(family.MODELS)) for family in FAMILIES} | set(list_models("*_cifar"))


FIRST = first_variants()


SMALL = {
    *("aimv2_large_patch14_224", "beit_base_patch16_224", "cait_xxs24_224", "densenet121", "dinov3_vits16"),
    *("eva02_tiny_patch14_224", "fastvit_t8", "hiera_tiny_224", "maxvit_t", "pvt_v2_b0", "repvgg_a0", "swin_t"),
    *("swin_v2_t", "vit_s_16", "vitdet_b"),
    *("vit_small_patch16_rope_224", "ijepa_vith14_1k"),
}
"""First variants of which test_programs.py has a small network in the default tier (of I-JEPA a ViT, its base class);
the slow tier has them here."""


def variants(names):
    """Cases of these models; all but the first variants are weekly: they differ in number and width alone."""
    marks = {name: pytest.mark.slow if name in SMALL else () for name in FIRST}
    return [pytest.param(name, marks=marks.get(name, pytest.mark.weekly)) for name in names]


ZEROS = {"swin_v2_t", "swin_v2_s", "swin_v2_b"}
"""Networks of torchvision that store a bias of keys and set it to 0; it has the size of that of values."""


PUBLISHED = json.loads(gzip.decompress((GOLDENS / "published_names.json.gz").read_bytes()))


def formula_of(module, shape):
    """Parameters of a layer by its formula; `layer_parameters` has all but the zoo's own ones."""
    if isinstance(module, ScaledStdConv):
        return conv_parameters(shape[-1], module.features, (module.kernel_size, module.kernel_size)) + module.features
    if isinstance(module, LearnedPositions):
        return (module.num_prefix_tokens + math.prod(module.grid)) * shape[-1]
    if isinstance(module, RelativePositionBias):
        offsets = math.prod(2 * side - 1 for side in module.window)
        return (offsets + 3 * module.class_token) * module.num_heads
    return layer_parameters(module, shape) if shape else None


@functools.cache
def traced(name):
    """(variables, {path of a layer: its formula}, the program as text), traced once for all tests."""
    formulas = {}

    def record(call, args, kwargs, context):
        shape = args[0].shape if args and isinstance(args[0], jax.Array) else ()
        formula = formula_of(context.module, shape) if context.method_name == "__call__" else None
        if formula is not None and context.module.path:
            formulas[context.module.path] = formula
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        text, variables = program_of(create_model(name), *example_inputs(name, {}))
    return variables, formulas, text


def variables_of(name):
    return traced(name)[0]


def leaves(name):
    """{path: shape and dtype} of the model's variables."""
    return torch_weights._leaves(variables_of(name))


def manifest(name):
    """{"params/stem_conv/kernel": "float32[3,3,3,16]", ...} of the model with its default fields."""
    return {path: f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves(name).items()}


def digest(found):
    text = json.dumps(found, sort_keys=True)
    return f"{len(found)} leaves, sha256 {hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("name", variants(list_models()))
def test_variables_are_as_promised(name):
    path, digests = MANIFESTS / f"{name}.json", json.loads(DIGESTS.read_text())
    assert path.exists() if name in WHOLE else name in digests, (
        f"{name} has no manifest: python tests/models/test_manifests.py writes it"
    )
    found = manifest(name)
    if name in WHOLE:
        assert found == json.loads(path.read_text())
    else:
        assert digest(found) == digests[name]


@pytest.mark.covers("ZO-26")
@pytest.mark.parametrize("name", variants(sorted(set(list_models()) & set(PUBLISHED))))
def test_names_shapes_and_count_are_the_published_ones(name):
    entries = {key: np.broadcast_to(np.float32(0), shape) for key, shape in PUBLISHED[name]["entries"]}
    # It raises for another name or shape.
    values = torch_weights._placed(name, entries, False, {}, leaves(name), lambda path, value: value)
    assert {path: value.shape for path, value in values.items()} == {p: leaf.shape for p, leaf in leaves(name).items()}
    parameters = sum(leaf.size for path, leaf in leaves(name).items() if path.startswith("params/"))
    zeros = sum(leaf.size for path, leaf in leaves(name).items() if path.endswith("/v_bias")) if name in ZEROS else 0
    assert parameters + zeros == PUBLISHED[name]["parameters"]


@pytest.mark.covers("CO-01")
@pytest.mark.parametrize("name", variants(list_models()))
def test_the_formulas_are_the_leaves_of_every_model(name):
    """Layer by layer, beside what a module holds of its own: tokens, scales of branches, biases without a kernel."""
    variables, formulas, _ = traced(name)
    leaves, own, zeros = {}, 0, 0
    for keys, leaf in jax.tree.leaves_with_path(variables["params"]):
        *path, last = (key.key for key in keys)
        if last not in ("kernel", "scale", "bias", "embedding", "gain"):
            own += leaf.size
            zeros += leaf.size if last == "v_bias" and name in ZEROS else 0
        else:
            leaves[tuple(path)] = leaves.get(tuple(path), 0) + math.prod(leaf.shape)
    assert formulas == leaves
    if name in PUBLISHED:
        assert sum(formulas.values()) + own + zeros == PUBLISHED[name]["parameters"]


@pytest.mark.parametrize("name", variants(FIRST))
def test_the_program_has_the_digest_of_the_one_whose_outputs_were_compared(name):
    assert_digest("programs.json", name, traced(name)[2])


@pytest.mark.parametrize("rule", ["fsdp", "tensor", "fsdp+tensor"])
@pytest.mark.parametrize("name", variants(FIRST))
def test_the_sharding_rules_split_most_of_every_model(name, rule):
    """All kernels whose size allows it: at least two thirds of the numbers, and never more than one of four by fsdp."""
    params = variables_of(name)["params"]
    shardings = state_shardings({"params": params}, make_mesh("data:4,model:2"), rule)
    whole = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    held = sum(
        math.prod(sharding.shard_shape(leaf.shape))
        for leaf, sharding in zip(jax.tree.leaves(params), jax.tree.leaves(shardings), strict=True)
    )
    assert held / whole < {"fsdp": 0.5, "tensor": 0.7, "fsdp+tensor": 0.4}[rule]


def test_no_manifest_is_left_of_a_model_that_is_gone():
    assert {path.stem for path in MANIFESTS.glob("*.json")} - {"digests"} == WHOLE
    assert set(json.loads(DIGESTS.read_text())) == set(list_models()) - WHOLE


if __name__ == "__main__" and sys.argv[1:]:
    print(*(traced(model_name)[2] for model_name in sys.argv[1:]), sep="\n")
elif __name__ == "__main__":
    manifests = {model_name: manifest(model_name) for model_name in list_models()}
    for model_name in sorted(WHOLE):
        text = json.dumps(manifests[model_name], indent=0) + "\n"
        (MANIFESTS / f"{model_name}.json").write_text(text)
    others = {model_name: digest(found) for model_name, found in manifests.items() if model_name not in WHOLE}
    DIGESTS.write_text(json.dumps(others, indent=0) + "\n")
