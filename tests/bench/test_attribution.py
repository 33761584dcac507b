"""Ours and Captum's maps are the same, and a small run reports."""

import numpy as np
import pytest

from experiments.bench.attribution import LEAST, captum_calls, measure, our_calls, torch_resnet18


def test_captums_maps_are_ours():
    pytest.importorskip("torch")
    pytest.importorskip("captum")
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    net = torch_resnet18(10)
    ours, theirs = our_calls(net, 10, images), captum_calls(net, images)
    for name in ("gradient", "grad_cam", "integrated_gradients"):
        got, wanted = np.asarray(ours[name]()), theirs[name]()
        np.testing.assert_allclose(got, wanted, atol=2e-3 * np.abs(wanted).max(), err_msg=name)
    # Captum spreads the fall of a window over its pixels: the corner is covered by the first window alone.
    np.testing.assert_allclose(ours["occlusion"]()[0, 0, 0], theirs["occlusion"]()[0, 0, 0, 0], rtol=1e-2, atol=1e-4)


@pytest.mark.weekly
def test_a_small_run_reports_all_methods():
    result = measure(batch_size=1, image_size=32, num_classes=10, num_repeats=1)
    assert all(f"{name}, ours: seconds" in result.numbers for name in LEAST)
    assert result.holds in (None, True, False)
