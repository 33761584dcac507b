"""ControlNet: condition a trained text-to-image network on edges, in two phases.

python -m experiments.generative.control_net
python -m experiments.generative.control_net --base=RUN_OF_TEXT_TO_IMAGE
python -m experiments.generative.control_net --mode=predict --run=RUN --output=samples \\
    --input="drawing.png: a red circle / a green cross"
python -m experiments.generative.control_net --image_size=48 --grid=3 --base=RUN --num_images=100000 --steps=50000

The first command first trains `experiments.generative.text_to_image`, a run of its own that is found again. Its network
is locked; a copy of its encoder learns to steer it. `shape_iou` is the overlap of the samples' shapes with those whose
edges were given, `shuffled_iou` with those of another image: 0.77 and 0.20 by the first command. The last command was
not run.
"""

from functools import partial

from dlcore.data.captioned_shapes import CaptionedShapes
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.evaluators.shape_iou import ShapeIoU
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import ddpm
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.prompt_panels import PromptPanels
from dlcore.generative.prompts_with_edges import ControlledBase, DrawPromptsOnEdges, ShapesWithEdges
from dlcore.generative.text_networks import TextConditionalUNet
from dlcore.generative.text_to_image import WordEncoder
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.weights.text_base import LockedBase
from experiments.generative import text_to_image
from experiments.smoke import GUIDED_PLAIN, PROMPTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        ddpm.learner,
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="cosine"),
        sampling=Sampling(sampler="ddim", num_inference_steps=50, spacing="trailing", guidance=2.0),
        condition_dropout=0.1,
    ),
    data=ShapesWithEdges(CaptionedShapes(image_size=16, grid=2, num_images=8000, pairs=0.75)),
    network=ControlledBase(
        TextConditionalUNet(
            unet=partial(ConditionalUNet, channels=(48, 96), attention_levels=(0, 1), patch_size=2),
            words=partial(WordEncoder, width=64, depth=1),
        )
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.99
    ),
    length=Steps(1000, batch_size=64, eval_every=500, select="last"),
    measures=[ShapeIoU(ObjectCorrectness(num_samples=400))],
    report=[PromptPanels(guidance_samples=200)],
    use=DrawPromptsOnEdges(),
    start=LockedBase(text_to_image.experiment),
    sanity=Sanity(plain=GUIDED_PLAIN),
    smoke=PROMPTS,
)

if __name__ == "__main__":
    main(experiment)
