"""Every model beside torchvision's or timm's own, with the same random weights: logits, and how far they are apart.

python tests/models/against_torch.py ["vit_*" ...]      (needs torch, torchvision and timm; a line a model)

The weights follow the goldens' rule. "apart" is max |ours - theirs| over the standard deviation of theirs; what is
allowed is 1e-4, or ten times theirs' own distance from its float64 run where that is more.
"""

import fnmatch
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models import create_model, input_shape, list_models, load_torch
from tests.models.parity import weight_rule
from tests.models.test_manifests import PUBLISHED


def build(name):
    """Torch's model and its logits from what it returns."""
    if PUBLISHED[name]["source"] == "timm":
        import timm

        return timm.create_model(name)
    import torchvision

    more = {"init_weights": False, "transform_input": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, **more)


def compare(name, gain2=1.0):
    import torch

    theirs, rule = build(name).eval(), weight_rule()
    state = theirs.state_dict()
    weights = {k: rule.det_tensor(k, tuple(v.shape), gain2) for k, v in state.items() if v.is_floating_point()}
    with torch.no_grad():
        for key, value in weights.items():
            state[key].copy_(torch.as_tensor(value))
    side = input_shape(name)[0] if any(part in name for part in ("vit_", "deit_", "mixer_", "alexnet", "vgg")) else 128
    x = np.random.RandomState(0).standard_normal((2, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        want = theirs(torch.as_tensor(x)).numpy()
        exact = theirs.double()(torch.as_tensor(x).double()).numpy()
    variables = load_torch(name, {key: value.float().numpy() for key, value in state.items()} | weights)
    got = jax.jit(create_model(name).apply)(variables, jnp.asarray(x.transpose(0, 2, 3, 1)))
    spread = exact.std()
    return float(np.abs(got - exact).max() / spread), float(np.abs(want - exact).max() / spread)


if __name__ == "__main__":
    patterns = sys.argv[1:] or ["*"]
    for name in sorted(set(list_models()) & set(PUBLISHED)):
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            apart, noise = compare(name)
            verdict = "equal" if apart <= max(1e-4, 10 * noise) else "DIFFERENT"
            print(json.dumps({"model": name, "apart": apart, "torch_noise": noise, "verdict": verdict}), flush=True)
