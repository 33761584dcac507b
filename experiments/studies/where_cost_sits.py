"""Memory sits in the early convolutions, parameters in the dense layers, arithmetic in the convolutions between.

python -m experiments.studies.where_cost_sits

Nothing is trained: `dlcore.cost.layers` counts torchvision's AlexNet and VGG-16, as `dlcore cost alexnet` does.

VGG halves the map and doubles the channels from stage to stage, so that a 3x3 convolution C -> C costs the same,
C' H' W' C K K = (2C) (H/2) (W/2) (2C) K K. It is often said that every stage costs the same. It does not: the first
convolution of a stage has half of the inputs, stages have two or three convolutions, and the fifth halves the map
without more channels.

References: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
arXiv:1409.1556; Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.

Measured: 95.96 % of AlexNet's parameters are in the dense layers, 91.8 % of its multiply-adds in the convolutions, and
56.4 % of its activations come from the first two of them (42.5 % in VGG-16, 63.7 % from the first four). VGG-16's
convolutions C -> C take 1.850 GMACs in stages 1 to 4 and 0.462 in the fifth; the stages take 1.94, 2.77, 4.62, 4.62
and 1.39.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import Layer, layer_costs
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GRAY, SKY, VERMILION, new_figure

MEASURES = {"activations": "activations, KB", "parameters": "parameters, millions", "macs": "multiply-adds, millions"}
COLORS = {"Conv": BLUE, "max_pool": GRAY, "adaptive_avg_pool": GRAY, "Dense": VERMILION}


def costs(name: str, image_size: int) -> list[Layer]:
    """List the layers of a model on one image."""
    return layer_costs(create_model(name), jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32))


def amounts(layers: list[Layer]) -> dict[str, np.ndarray]:
    """Collect each measure of MEASURES, a number a layer, in the units given there."""
    return {
        "activations": np.array([layer.output_bytes / 1024 for layer in layers]),
        "parameters": np.array([layer.parameters / 1e6 for layer in layers]),
        "macs": np.array([layer.macs / 1e6 for layer in layers]),
    }


def cost_fractions(layers: list[Layer]) -> dict[str, float]:
    """Compute shares: parameters in dense layers, MACs in convolutions, activations of the first two convolutions."""
    measures = amounts(layers)
    dense = np.array([layer.kind == "Dense" for layer in layers])
    convs = np.array([layer.kind == "Conv" for layer in layers])
    early = convs & (np.cumsum(convs) <= 2)
    return {
        "parameters in dense layers": float(measures["parameters"][dense].sum() / measures["parameters"].sum()),
        "MACs in convolutions": float(measures["macs"][convs].sum() / measures["macs"].sum()),
        "activations of two convolutions": float(measures["activations"][early].sum() / measures["activations"].sum()),
    }


def stages(layers: list[Layer]) -> tuple[list[float], list[float]]:
    """Sum (GMACs of each stage, GMACs of its last convolution, which is C -> C); a pooling ends a stage."""
    stage_macs: list[list[float]] = [[]]
    for layer in layers:
        if layer.kind == "Conv":
            stage_macs[-1].append(layer.macs / 1e9)
        elif layer.kind == "max_pool":
            stage_macs.append([])
    stage_macs = [stage for stage in stage_macs if stage]
    return [sum(stage) for stage in stage_macs], [stage[-1] for stage in stage_macs]


def judge(alexnet: dict[str, float], whole: list[float], single: list[float]) -> tuple[str, bool]:
    """Judge: the claim holds where costs sit as claimed, equal convolutions are equal, and stages are not."""
    verdict = (
        f"AlexNet: {alexnet['parameters in dense layers']:.2%} of the parameters are in the dense layers, "
        f"{alexnet['MACs in convolutions']:.1%} of the multiply-adds in the convolutions, "
        f"{alexnet['activations of two convolutions']:.1%} of the activations come from the first two. "
        f"VGG-16: a convolution C -> C takes {', '.join(f'{g:.3f}' for g in single)} GMACs in stages 1 to "
        f"{len(single)}, the stages {', '.join(f'{g:.2f}' for g in whole)}: not equal."
    )
    equal = np.ptp(single[:-1]) == 0 and single[-1] < single[0]
    return verdict, bool(min(alexnet.values()) > 0.5 and equal and np.ptp(whole) > 0.1 * max(whole))


def draw_layers(layers: list[Layer], title: str):
    """Draw one panel a measure, one bar a layer."""
    from matplotlib.patches import Patch

    figure, panels = new_figure((10, 0.25 * len(layers) + 1.4), 1, len(MEASURES), sharey=True, grid="x")
    positions, names = range(len(layers)), [layer.path for layer in layers]
    for axes, (measure, values) in zip(panels, amounts(layers).items(), strict=True):
        axes.barh(positions, values, color=[COLORS[layer.kind] for layer in layers], height=0.75)
        for position, value in zip(positions, values, strict=True):
            if value > 0.03 * values.sum():
                axes.text(value, position, f" {value / values.sum():.0%}", va="center", fontsize=8)
        axes.set(xlabel=MEASURES[measure], xlim=(0, 1.15 * values.max()))
        axes.set_axisbelow(True)
    panels[0].set_yticks(positions, names, fontsize=8)
    panels[0].invert_yaxis()
    kinds = {"convolution": BLUE, "pooling": GRAY, "dense": VERMILION}
    panels[-1].legend(handles=[Patch(color=c, label=k) for k, c in kinds.items()], frameon=False, loc="lower right")
    figure.suptitle(title)
    return figure


def draw_stages(whole: list[float], single: list[float]):
    """Draw whole stages beside a convolution C -> C of each."""
    figure, axes = new_figure((6.5, 3.2))
    positions = np.arange(len(whole))
    for shift, values, label, color in (
        (-0.2, whole, "whole stage", SKY),
        (0.2, single, "one convolution C to C", BLUE),
    ):
        bars = axes.bar(positions + shift, values, 0.38, label=label, color=color)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.set_xticks(positions, [f"stage {i + 1}" for i in positions])
    axes.set(ylabel="billions of multiply-adds", title="VGG-16", ylim=(0, 1.25 * max(whole)))
    axes.legend(frameon=False, loc="upper left", ncols=2)
    return figure


def study(*, image_size: PositiveInt = 224) -> StudyResult:
    """Count AlexNet and VGG-16, layer by layer."""
    alexnet, vgg = costs("alexnet", image_size), costs("vgg16", image_size)
    whole, single = stages(vgg)
    verdict, holds = judge(cost_fractions(alexnet), whole, single)
    numbers = {f"alexnet: {name}": value for name, value in cost_fractions(alexnet).items()}
    numbers |= {f"vgg16: {name}": value for name, value in cost_fractions(vgg).items()}
    numbers |= {"vgg16: GMACs of stages": whole, "vgg16: GMACs of C -> C": single}
    figures = {
        "alexnet": draw_layers(alexnet, f"AlexNet on {image_size} x {image_size}"),
        "vgg16": draw_layers(vgg, f"VGG-16 on {image_size} x {image_size}"),
        "stages": draw_stages(whole, single),
    }
    headline = Headline(
        "share of AlexNet's parameters in dense layers",
        cost_fractions(alexnet)["parameters in dense layers"],
        f"{image_size}x{image_size}",
        tolerance=1e-6,
    )
    return StudyResult(numbers, verdict, figures, holds, headline)


experiment = Study(__file__, __doc__, study)

if __name__ == "__main__":
    main(experiment)
