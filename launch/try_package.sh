#!/usr/bin/env bash
# Install a wheel or an sdist in a fresh environment, and train by the API outside of the checkout.
#
#   launch/try_package.sh dist/dlcore-1.0.0-py3-none-any.whl     PYTHON names the interpreter (python3 by default)
set -euo pipefail

[[ $# -eq 1 && -f "$1" ]] || { echo "error: try_package.sh takes one wheel or sdist; given: $*" >&2; exit 2; }
archive=$(realpath "$1")
constraints=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../constraints.txt")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "$archive" -c "$constraints"
cd "$folder"
"$folder/venv/bin/dlcore" models 'resnet*'
"$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import optax

import dlcore
from dlcore.classification import supervised
from dlcore.models import create_model

model = create_model("resnet8_cifar", num_classes=3)
learner = supervised.learner(model=model, optimizer=optax.sgd(0.1))
batch = {"image": jnp.zeros((4, 16, 16, 3), jnp.float32), "label": jnp.arange(4) % 3, "index": jnp.arange(4)}
state = learner.init(jax.random.key(0), batch)
state, metrics = jax.jit(learner.update)(state, batch)
print("dlcore", dlcore.__version__, "trained one step, to loss", metrics["loss"].total / metrics["loss"].count)
PY
