"""Every case of the goldens of layers, losses, optimisers, schedules, transforms and metrics is compared somewhere.

The table says in which test, or why not; a case that it does not name, a name that is no case and a test that does not
open the file fail.
"""

import fnmatch
import json
import re
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
OUT = "out of scope: "

SCOPE = {
    "torch_conv": {
        "conv2d.[pdgs1]*": "ops/test_convolution.py",
        "conv2d.reflect": "nn/test_convolutions_of_other_ranks.py",
        "conv[13]d*": "nn/test_convolutions_of_other_ranks.py",
        "convT2d.*": "ops/test_transposed_convolution.py",
        "unfold": "ops/test_three_convolutions.py",
    },
    "torch_losses": {
        "nt_xent*": "losses/test_contrastive.py",
        "clip_infonce*": "losses/test_contrastive.py",
        "*": "losses/test_goldens.py",
    },
    "torch_norm_act": {
        "batch_norm*": "nn/test_normalization.py",
        "weight_norm": "nn/test_weight_norm.py",
        "spectral_norm": "nn/test_weight_norm.py",
        "act.*": "nn/test_activations.py",
        "*": "nn/test_group_norm.py",
    },
    "torch_optim": {
        "LBFGS": "optim/test_second_order.py",
        "LBFGS.wolfe": OUT
        + "how torch's line search interpolates is its own; test_line_search.py tests the conditions",
        "clip_grad_norm.*": "optim/test_clipping.py",
        "*": "optim/test_by_hand.py",
    },
    "torch_pool_resize": {
        "max_pool1d": "ops/test_pooling.py",
        "max_pool3d": "ops/test_pooling.py",
        "max_pool2d.*": "ops/test_pooling.py",
        "avg_pool2d.*": "ops/test_pooling.py",
        "max_unpool2d.*": "ops/test_unpooling.py",
        "affine_grid.*": "ops/test_grid_sample.py",
        "grid_sample.*": "ops/test_grid_sample.py",
        "*": "ops/test_resize.py",
    },
    "torch_schedulers": {"*": "optim/test_schedules.py"},
    "tvops_misc": {
        "sigmoid_focal_loss.*": "losses/test_detection.py",
        "frozen_batch_norm": "nn/test_normalization.py",
        "squeeze_excitation": "models/test_resnet.py",
        "fpn": "detection/test_fpn.py",
    },
    "tvops_roi": {
        "deform_conv2d.*": "ops/test_grid_sample.py",
        "ps_roi_*": OUT + "position-sensitive crops belong to R-FCN, which no row asks for",
        "*": "ops/test_roi.py",
    },
    "tvops_transforms": {"*": "data/test_augment_goldens.py"},
    "metrics_sklearn": {"*": "metrics/"},
    "metrics_image": {"*": "metrics/"},
    "ml_sklearn": {
        "knn.*": "classic_ml/test_nearest_neighbor.py",
        "logistic.*": "classic_ml/test_linear_training.py",
        "linear_svc": "classic_ml/test_linear_training.py",
        "ols": "classic_ml/test_linear_regression.py",
        "ridge": "classic_ml/test_linear_regression.py",
        "gaussian_nb": "classic_ml/test_naive_bayes.py",
        "kmeans": "classic_ml/test_kmeans.py",
        "gmm": "classic_ml/test_mixture.py",
        "kde": "classic_ml/test_density.py",
        "pca": "classic_ml/test_pca.py",
        "pca_whiten": "data/test_preprocess.py",
        "standardise": "data/test_preprocess.py",
        "svc.*": "classic_ml/test_kernel_svm.py",
        "lasso": "classic_ml/test_linear_regression.py",
        "elasticnet": "classic_ml/test_linear_regression.py",
        "chamfer": "metrics/test_point_sets.py",
        "hungarian": OUT + "no technique matches sets yet",
    },
    "classical_vision": {
        "hog": "classical_vision/test_hog.py",
        "*": OUT + "features only so far; edges, corners, segmentation and geometry are to come",
    },
}


def place_of(file, case):
    """The first entry of the file's table that the case matches."""
    return next((where for pattern, where in SCOPE[file].items() if fnmatch.fnmatch(case, pattern)), None)


@pytest.mark.covers("SY-14")
@pytest.mark.parametrize("file", SCOPE)
def test_every_case_has_a_test_that_opens_the_file(file):
    cases = json.loads(str(np.load(TESTS / "goldens" / f"{file}.npz")["meta"]))["cases"]
    for case in cases:
        where = place_of(file, case)
        assert where is not None, f"{file}: {case} is in no test"
        if where.startswith(OUT):
            assert len(where) > len(OUT)
            continue
        paths = sorted((TESTS / where).glob("*.py")) if where.endswith("/") else [TESTS / where]
        text = "".join(path.read_text() for path in paths)
        assert file in text, f"{where} does not open {file}"
        assert (
            case in text or case.rpartition(".")[0] in text or ".startswith(" in text or 'meta"]))["cases"]' in text
        ), f"{where} does not name {case}"
    for pattern in SCOPE[file]:
        assert any(fnmatch.fnmatch(case, pattern) for case in cases), f"{file}: {pattern} is no case"


SKIPS = re.compile(r"pytest\.skip\(|importorskip|mark\.skip|mark\.xfail|skipif")


@pytest.mark.covers("SY-14")
def test_no_test_that_opens_a_golden_can_be_skipped():
    """Parity with PyTorch, torchvision, timm, transformers and scikit-learn is measured on every machine."""
    # A golden is opened by its name in quotes or its file's name; some names are also those of packages.
    stems = "|".join(re.escape(path.stem) for path in (TESTS / "goldens").glob("*.npz"))
    opens = re.compile(rf"[\"'/](?:{stems})(?:\.npz|[\"'_])")
    texts = {path: path.read_text() for path in TESTS.rglob("test_*.py")}
    opening = [path for path, text in texts.items() if opens.search(text)]
    assert len(opening) > 40
    found = {path.name for path in opening if SKIPS.search(texts[path])}
    assert found <= {"test_golden_scope.py", "test_imports.py"}, "which only name them"
