"""The peers of the bench compute what ours do."""

import numpy as np
import pytest

from experiments.bench.video import our_calls, parsed, sampling_calls, torch_calls


def test_sizes_are_read_or_refused():
    assert parsed("2x8x56") == (2, 8, 56)
    for wrong in ("2x8", "2x8xa", "0x8x56"):
        with pytest.raises(ValueError, match="COUNTxFRAMESxSIDE"):
            parsed(wrong)


@pytest.mark.slow
def test_torchvision_has_the_same_logits():
    pytest.importorskip("torchvision")
    images = np.random.default_rng(0).normal(size=(1, 4, 32, 32, 3)).astype(np.float32)
    ours, variables = our_calls(images, np.zeros(1, int))
    theirs = torch_calls(variables, images, np.zeros(1, int))
    np.testing.assert_allclose(theirs["inference"](), ours["inference"](), atol=1e-4)


def test_clips_are_drawn_from_the_same_videos():
    calls = sampling_calls(1)
    assert {name: call().shape for name, call in calls.items() if "workers" not in name} == dict.fromkeys(
        [name for name in calls if "workers" not in name], (64, 8, 32, 32, 3)
    )
