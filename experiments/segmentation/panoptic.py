"""Panoptic segmentation: Mask R-CNN for objects and a U-Net for background, trained side by side and merged.

python -m experiments.segmentation.panoptic        (PQ 89.0 %; 28 min on one core)
python -m experiments.segmentation.panoptic --run=RUN --mode=predict --input=IMAGES --output=FOLDER    (in COCO's form)

The report shows each semantic map, in which all objects of a class are one color, beside the panoptic one, and the
quality that the semantic map's connected regions would have.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import adapters
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.segmentation import panoptic, semantic
from dlcore.segmentation.unet import UNet
from dlcore.tasks.boxes import SMOKE
from dlcore.tasks.segments import Segments
from dlcore.tasks.two_stage_settings import LEARNER, SMALL, SMALLEST
from dlcore.weights.fit import backbone_of
from dlcore.weights.start import Start, start_modules


def start(setup: Setup) -> Start | None:
    """Start the detector from the weights of `--init_from`, as `start_modules`; the segmenter starts anew."""
    single = start_modules(setup, adapters.dense_adapter(setup.flags))
    if single is None:
        return None

    def detector(state: Any) -> Any:
        part = {name: getattr(state, name)["instances"] for name in ("params", "opt_state")}
        return state.parts["instances"].replace(**part)

    def replace(state: Any) -> Any:
        one = single.replace(detector(state))
        parts = state.parts | {"instances": one.replace(params=None, opt_state=None)}
        params, opt_state = (
            getattr(state, name) | {"instances": getattr(one, name)} for name in ("params", "opt_state")
        )
        return state.replace(params=params, opt_state=opt_state, parts=parts)

    return Start(replace, lambda state: single.check(detector(state)))


def encoder(setup: Setup) -> Encoder:
    """The detector's backbone."""

    def variables(state: Any) -> dict:
        trees = {"params": state.params["instances"], **state.parts["instances"].model_state}
        return backbone_of(trees)

    return encoders.encoder(setup, variables=variables)


@dataclasses.dataclass(frozen=True)
class ThingsAndStuff(Segments):
    """Segments, things by a detector and stuff by a segmenter."""

    start = staticmethod(start)
    encoder = staticmethod(encoder)

    def build(self, technique: Callable, optimizer: AveragedAdamW, setup: Setup, arguments: Any = None) -> Learner:
        """Build the learner of things and that of stuff, each with an optimizer of its own, and join both."""
        num_stuff, shared = len(setup.spec["stuff_names"]), self.arguments(setup)
        unet = UNet(num_stuff + setup.spec["num_classes"], dtype=setup.dtype, **setup.flags.group("unet"))
        parts = {
            "instances": two_stage.learner(
                optimizer=optimizer.build(setup), **{**LEARNER, "detections_per_img": 20}, **shared
            ),
            "semantic": semantic.learner(optimizer=optimizer.build(setup), **{**shared, "model": unet}),
        }
        averaged = {name: optimizer.wrap(part, setup) for name, part in parts.items()}
        return technique(num_stuff=num_stuff, **averaged, **setup.flags.group("learner"))


experiment = Experiment(
    __file__,
    __doc__,
    panoptic.learner,
    task=ThingsAndStuff(
        modules={
            "faster_rcnn": partial(FasterRCNN, **SMALL),
            "mask_head": partial(MaskHead, channels=32, num_convs=2),
            "unet": partial(UNet, widths=(12, 24, 48)),
        }
    ),
    optimizer=AveragedAdamW(),
    defaults={"learning_rate": 2e-3, "steps": 600},
    smoke={**SMOKE, **SMALLEST, "mask_head.channels": 8, "mask_head.num_convs": 1, "unet.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
