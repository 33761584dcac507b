"""The study's numbers, which are those of the catalogue, and its verdict on others."""

from types import SimpleNamespace

import pytest

from experiments.studies import where_cost_sits


@pytest.mark.covers("CO-07")
def test_where_the_cost_of_alexnet_sits():
    """58,631,144 of 61,100,840 parameters are dense; 655,566,528 of 714,188,480 MACs are of convolutions."""
    shares = where_cost_sits.cost_fractions(where_cost_sits.costs("alexnet", 224))
    assert shares["parameters in dense layers"] == pytest.approx(58_631_144 / 61_100_840)
    assert f"{shares['parameters in dense layers']:.2%}" == "95.96%"
    assert shares["MACs in convolutions"] == pytest.approx(655_566_528 / 714_188_480)
    assert shares["activations of two convolutions"] == pytest.approx((756.25 + 546.75) / 2311.40625)


@pytest.mark.covers("CO-08")
def test_the_stages_of_vgg16():
    """A convolution C -> C: 64 224^2 64 9 = 128 112^2 128 9 = ... = 1.850 G, and 512 14^2 512 9 = 0.462 G."""
    whole, single = where_cost_sits.stages(where_cost_sits.costs("vgg16", 224))
    assert single == [1.849688064] * 4 + [0.462422016]
    assert [round(g, 2) for g in whole] == [1.94, 2.77, 4.62, 4.62, 1.39]
    assert whole[0] == pytest.approx((64 * 224**2 * 3 * 9 + 64 * 224**2 * 64 * 9) / 1e9)


@pytest.mark.slow
@pytest.mark.covers("CO-07", "CO-08")
def test_the_page():
    result = where_cost_sits.experiment.function(**where_cost_sits.experiment.smoke)
    assert result.holds
    assert "95.96% of the parameters are in the dense layers" in result.verdict
    assert "1.850, 1.850, 1.850, 1.850, 0.462 GMACs" in result.verdict
    assert "the stages 1.94, 2.77, 4.62, 4.62, 1.39: not equal" in result.verdict
    assert set(result.figures) == {"alexnet", "vgg16", "stages"}
    # 123,642,856 of VGG-16's 138,357,544 parameters are dense.
    dense = {name: result.numbers[f"{name}: parameters in dense layers"] for name in ("alexnet", "vgg16")}
    assert dense == pytest.approx({"alexnet": 58_631_144 / 61_100_840, "vgg16": 123_642_856 / 138_357_544})
    assert result.headline.values == pytest.approx(58_631_144 / 61_100_840)
    assert result.numbers["vgg16: GMACs of C -> C"][-1] == 0.462422016


def test_the_verdict_follows_the_numbers():
    shares = {"parameters in dense layers": 0.9, "MACs in convolutions": 0.9, "activations of two convolutions": 0.6}
    assert where_cost_sits.judge(shares, [1.0, 2.0, 1.0], [0.5, 0.5, 0.1])[1]
    assert not where_cost_sits.judge(shares, [1.0, 2.0, 1.0], [0.5, 0.6, 0.1])[1]
    assert not where_cost_sits.judge(shares, [1.0, 1.0, 1.0], [0.5, 0.5, 0.1])[1]
    assert not where_cost_sits.judge({**shares, "MACs in convolutions": 0.4}, [1.0, 2.0, 1.0], [0.5, 0.5, 0.1])[1]


def test_each_measure_is_in_the_unit_of_its_label():
    """A layer of 2,048 bytes, 3 million parameters and 5 million multiply-adds."""
    layer = SimpleNamespace(output_bytes=2048, parameters=3e6, macs=5e6)
    amounts = {where_cost_sits.MEASURES[name]: values for name, values in where_cost_sits.amounts([layer]).items()}
    assert amounts == {"activations, KB": 2, "parameters, millions": 3, "multiply-adds, millions": 5}
