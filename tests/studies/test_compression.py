"""The verdict on written points, the envelope, and small parts of the study."""

import numpy as np
import pytest

from dlcore.data.photographs import photo_crops
from experiments.studies import compression as study


def test_the_envelope_drops_what_costs_more_and_shows_less():
    points = [(30.0, 20.0), (10.0, 10.0), (20.0, 9.0), (40.0, 25.0)]
    assert study.envelope(points) == [(10.0, 10.0), (30.0, 20.0), (40.0, 25.0)]
    assert study.psnr_at(points, 20.0) == 15.0  # half way from 10 to 20 dB
    assert np.isnan(study.psnr_at(points, 50.0))


@pytest.mark.covers("DD-33")
def test_the_verdict_turns_where_the_arms_are_swapped():
    points = {"PCA": [(10.0, 10.0), (1000.0, 20.0)], "JPEG": [(10.0, 5.0), (1000.0, 25.0)], "VQ-VAE": [(10.0, 9.0)]}
    rising = {"k-means": [0.5, 0.8, 0.9], "SOM": [0.4, 0.7, 0.8]}
    verdict, holds = study.judge(points, 1000.0, (3, 5, 8), rising)
    assert holds
    assert "At 1000 bits an image JPEG has 25.0 dB and PCA 20.0 dB" in verdict
    assert "From 9 to 64 prototypes the accuracy goes from 50.0 to 90.0 % (k-means)" in verdict
    swapped = points | {"PCA": points["JPEG"], "JPEG": points["PCA"], "VQ-VAE": [(10.0, 4.0)]}
    assert not study.judge(swapped, 1000.0, (3, 5, 8), rising)[1]
    assert study.judge(swapped | {"VQ-VAE": [(10.0, 6.0)]}, 1000.0, (3, 5, 8), rising)[1]
    assert not study.judge(points, 1000.0, (3, 5, 8), rising | {"SOM": [0.7, 0.4, 0.8]})[1]
    assert not study.judge(points, 1000.0, (3, 5, 8), rising | {"SOM": [0.7, 0.7, 0.7]})[1]


@pytest.mark.weekly
@pytest.mark.covers("DD-33")
def test_jpeg_is_ahead_of_pca_at_many_bits_and_prototypes_pay():
    images, test = (photo_crops(split, count, 0, 32).arrays["image"] for split, count in (("train", 400), ("test", 40)))
    points, deviation = study.rates(images, test, (64, 256))
    assert deviation < 1e-3
    assert study.psnr_at(points["JPEG"], 1000.0) > max(quality for bits, quality in points["PCA"] if bits < 1000)
    accuracy = study.summaries((3, 8), 0)
    assert all(few < many for few, many in accuracy.values())


@pytest.mark.weekly
def test_a_vq_vae_is_measured():
    images = photo_crops("train", 300, 0, 16).arrays["image"]
    bits, quality = study.vq_point(images, images[:8], seed=0, steps=3, num_codes=8, width=8)
    assert 0 < bits <= 16 * np.log2(9 * 300)
    assert 0 < quality < 40
