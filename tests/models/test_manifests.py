"""The names, shapes and dtypes of every model's variables are promised: weights are saved under them.

A change here breaks checkpoints and needs a migration. After a deliberate one, or for a new model,
`python tests/models/test_manifests.py` writes what is missing or changed to tests/goldens/manifests: the whole manifest
for the first variant of each family and for the small networks, a digest for the other variants, whose entries differ
in number and width alone.
"""

import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from dlcore.models import create_model, input_shape, list_models
from dlcore.models.registry import FAMILIES

MANIFESTS = pathlib.Path(__file__).parents[1] / "goldens" / "manifests"
DIGESTS = MANIFESTS / "digests.json"
WHOLE = {next(iter(family.MODELS)) for family in FAMILIES} | set(list_models("*_cifar"))


def manifest(name):
    """{"params/stem_conv/kernel": "float32[3,3,3,16]", ...} of the model with its default fields."""
    model, shape = create_model(name), input_shape(name)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


def digest(found):
    text = json.dumps(found, sort_keys=True)
    return f"{len(found)} leaves, sha256 {hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("name", list_models())
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


def test_no_manifest_is_left_of_a_model_that_is_gone():
    assert {path.stem for path in MANIFESTS.glob("*.json")} - {"digests"} == WHOLE
    assert set(json.loads(DIGESTS.read_text())) == set(list_models()) - WHOLE


if __name__ == "__main__":
    manifests = {model_name: manifest(model_name) for model_name in list_models()}
    for model_name in sorted(WHOLE):
        text = json.dumps(manifests[model_name], indent=0) + "\n"
        (MANIFESTS / f"{model_name}.json").write_text(text)
    others = {model_name: digest(found) for model_name, found in manifests.items() if model_name not in WHOLE}
    DIGESTS.write_text(json.dumps(others, indent=0) + "\n")
