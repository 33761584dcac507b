"""Numbers of parameters as published; those that are worked out by hand are in the tests of their networks."""

import pytest

from tests.models.parity import parameter_count

COUNTS = {
    (): {
        **{"convnext_tiny": 28_589_128, "convnext_small": 50_223_688, "convnext_large": 197_767_336},
        **{"llama2_7b": 6_738_415_616, "llama2_13b": 13_015_864_320, "llama3_8b": 8_030_261_248},
        **{"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496, "mvit_v1_b": 36_610_672},
    },
    ("ZO-02",): {"alexnet": 61_100_840},
    # DenseNet-100 of CIFAR: 0.8 million in the table 2 of the paper
    ("ZO-17",): {
        **{"densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480},
        **{"densenet201": 20_013_928, "densenet100_cifar": 769_162},
    },
    ("ZO-28",): {
        **{"efficientnet_v2_s": 21_458_488, "efficientnet_v2_m": 54_139_356, "efficientnet_v2_l": 118_515_272},
    },
    # 3.7M, 28.6M, 89M and 660M in the paper
    ("ZO-29",): {
        **{"convnextv2_atto": 3_708_400, "convnextv2_tiny": 28_635_496, "convnextv2_base": 88_717_800},
        "convnextv2_huge": 660_289_640,
    },
    ("ZO-19",): {"mobilenetv1_100": 4_231_976, "mobilenetv1_125": 6_270_840},
    ("ZO-11", "ZO-15", "ZO-16"): {
        **{"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160},
        **{"resnet152": 60_192_808, "resnext50_32x4d": 25_028_904, "seresnet50": 28_088_024},
    },
    ("AT-15",): {
        **{"bart_base": 139_420_416, "bart_large": 406_291_456, "t5_small": 60_506_624, "t5_base": 222_903_552},
        **{"t5_large": 737_668_096, "t5_v1_1_small": 76_961_152, "t5_v1_1_base": 247_577_856},
    },
    # 50,257 768 + 1,024 768 + 12 7,087,872 + 1,536
    ("AT-16",): {
        **{"gpt2": 124_439_808, "gpt2_medium": 354_823_168, "gpt2_large": 774_030_080, "gpt2_xl": 1_557_611_200},
    },
    ("AT-21",): {
        **{"vit_b_16": 86_567_656, "vit_b_32": 88_224_232, "vit_l_16": 304_326_632, "vit_h_14": 632_045_800},
    },
    ("AT-23",): {
        **{"deit_tiny_distilled_patch16_224": 5_910_800, "deit_base_distilled_patch16_224": 87_338_192},
        **{"deit_tiny_patch16_224": 5_717_416, "deit_base_patch16_224": 86_567_656},
    },
    ("AT-24",): {"swin_t": 28_288_354, "swin_s": 49_606_258, "swin_b": 87_768_224},
    ("AT-25",): {"mixer_s16_224": 18_528_264, "mixer_b16_224": 59_880_472},
}
CASES = [
    pytest.param(name, count, id=name, marks=[pytest.mark.covers(*rows)] if rows else [])
    for rows, counts in COUNTS.items()
    for name, count in counts.items()
]


@pytest.mark.weekly(only=["efficientnet_v2_*", "t5_large"])
@pytest.mark.slow(
    unless=[
        *("alexnet", "convnext_tiny", "convnextv2_atto", "deit_tiny_*", "densenet121", "gpt2", "mixer_*"),
        *("mobilenetv1_*", "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "seresnet50", "squeezenet*"),
        *("swin_t", "t5_v1_1_small", "vit_b_*"),
    ]
)
@pytest.mark.parametrize(("name", "count"), CASES)
def test_networks_have_as_many_parameters_as_published(name, count):
    assert parameter_count(name) == count
