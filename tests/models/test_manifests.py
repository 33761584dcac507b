"""The names, shapes and dtypes of every model's variables are promised: weights are saved under them.

A change here breaks checkpoints and needs a migration. After a deliberate one, or for a new model,
`python tests/models/test_manifests.py` writes what is missing or changed to tests/goldens/manifests.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from dlcore.models import create_model, list_models

MANIFESTS = pathlib.Path(__file__).parents[1] / "goldens" / "manifests"
IMAGE = (1, 32, 32, 3)
IMAGES = {"lenet5": (1, 32, 32, 1)}


def manifest(name):
    """{"params/stem_conv/kernel": "float32[3,3,3,16]", ...} of the model with its default fields."""
    model = create_model(name)
    image = jax.ShapeDtypeStruct(IMAGES.get(name, IMAGE), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


@pytest.mark.parametrize("name", list_models())
def test_variables_are_as_promised(name):
    path = MANIFESTS / f"{name}.json"
    assert path.exists(), f"{name} has no manifest: python tests/models/test_manifests.py writes it"
    assert manifest(name) == json.loads(path.read_text())


def test_no_manifest_is_left_of_a_model_that_is_gone():
    assert {path.stem for path in MANIFESTS.glob("*.json")} <= set(list_models())


if __name__ == "__main__":
    for model_name in list_models():
        text = json.dumps(manifest(model_name), indent=0) + "\n"
        (MANIFESTS / f"{model_name}.json").write_text(text)
