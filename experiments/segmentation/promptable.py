"""Segment what clicks and boxes point at: SAM, trained by the clicks of a simulated user on drawn scenes.

python -m experiments.segmentation.promptable        (IoU 0.51 after 1 click, 0.58 after 3, 0.58 after 5)
python -m experiments.segmentation.promptable --run=RUN --mode=predict --input=IMAGE --points=120,80,1 --output=FOLDER
python -m experiments.segmentation.promptable --run=RUN --mode=predict --input=IMAGE --boxes=20,30,110,90
python -m experiments.segmentation.promptable --run=RUN --mode=predict --input=IMAGE        (masks of everything)
python -m experiments.segmentation.promptable --init_from=RUN --parts=mask_decoder        (the decoder alone learns)

Objects have a core of another color, and both are targets: one click in the core may mean either. The number of the
page is the mean IoU after five clicks; three seeds had 0.49 to 0.53 after one click and 0.56 to 0.59 after five.
Otsu's threshold of brightness has 0.17 after one click and 0.12 after five. A threshold of the distance of colors is
better than this small network, 0.62 and 0.94: every part has one color.
A click of `--points` is x,y,1 on the object or x,y,0 beside it, in pixels of the photograph. `--output` writes masks of
the photograph's size as pictures and as COCO's run lengths.
"""

from functools import partial

from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models.vitdet import ViTDet
from dlcore.optim.partial import PartsAdamW
from dlcore.segmentation import prompt_results, promptable
from dlcore.segmentation.prompt_results import SegmentByPrompts
from dlcore.segmentation.prompted_network import PromptedNetwork
from dlcore.segmentation.prompted_scenes import PromptedScenes
from dlcore.segmentation.sam import SAM
from dlcore.weights.start import ModuleWeights
from experiments.smoke import few_steps

ENCODER = {"patch_size": 4, "depth": 2, "width": 48, "num_heads": 4, "mlp_features": 96, "global_blocks": (0, 1)}
DECODER = {"features": 64, "decoder_depth": 1, "num_heads": 2, "hidden": 64, "iou_hidden": 32, "mask_channels": 16}
"""Fields of networks that learn on two cores within two minutes; the defaults of the classes are the paper's."""
CLICKS = {"objects": 2, "num_clicks": 4, "box_fraction": 0.1}
EVERYTHING = {"points_per_side": 8, "pred_iou_thresh": 0.7, "stability_thresh": 0.8, "masks_per_img": 20}

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(promptable.learner, **CLICKS, **EVERYTHING),
    data=PromptedScenes(image_size=32, num_scenes=1200, flip=True),
    network=PromptedNetwork(partial(SAM, **DECODER), partial(ViTDet, num_classes=0, drop_path=0.0, **ENCODER)),
    optimizer=PartsAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(700, batch_size=12, eval_every=700, eval_batch_size=32, select="best"),
    measures=[Measure("iou_5")],
    report=[prompt_results.panels],
    use=SegmentByPrompts(),
    start=ModuleWeights(),
    sanity=Sanity(plain={"flip": False, "weight_decay": 0.0}),
    smoke={
        **few_steps(2, 4),
        "num_scenes": 16,
        "encoder.depth": 1,
        "encoder.global_blocks": (0,),
        "encoder.width": 8,
        "encoder.mlp_features": 8,
        "sam.features": 16,
        "sam.hidden": 8,
        "points_per_side": 2,
    },
)

if __name__ == "__main__":
    main(experiment)
