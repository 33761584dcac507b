"""Text-to-image diffusion: generate colored shapes from a sentence, by a U-Net with cross-attention.

python -m experiments.generative.text_to_image
python -m experiments.generative.text_to_image --mode=predict --run=RUN --output=samples \\
    --input="8x a red circle is left of a blue square / a green cross"
python -m experiments.generative.text_to_image --image_size=48 --grid=3 --unet.patch_size=1 \\
    --unet.channels=64,128,256 --num_images=100000 --steps=100000 --batch_size=128
python -m experiments.generative.text_to_image --mode=evaluate --run=RUN --clip=clip-vit-base-patch32    (not run)

Images and captions are drawn by a program. `object_correctness` is the share of the named objects (color and shape)
that are seen in the samples, read without a network, which finds 98 % of those in real images; `shuffled_correctness`
takes the prompt of another sample: 92 % and 6 % by the first command in 49 minutes of one core, and both objects of a
sentence in 57 %. The third command was not run. The last one measures the CLIP score of these samples, by a published
CLIP with its tokenizer. `dlcore draw FOLDER --words="a red square"` draws with a published pipeline of diffusers
instead.
"""

from functools import partial

from dlcore.data.captioned_shapes import CaptionedShapes
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import ddpm
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.prompt_panels import PromptPanels
from dlcore.generative.text_networks import TextConditionalUNet
from dlcore.generative.text_to_image import WordEncoder
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.drawn_prompts import DrawPrompts
from experiments.smoke import GUIDED_PLAIN, PROMPTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        ddpm.learner,
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="cosine"),
        sampling=Sampling(sampler="ddim", num_inference_steps=50, spacing="trailing", guidance=4.0),
        condition_dropout=0.1,
    ),
    data=CaptionedShapes(image_size=16, grid=2, num_images=8000, pairs=0.75),
    network=TextConditionalUNet(
        unet=partial(ConditionalUNet, channels=(48, 96), attention_levels=(0, 1), patch_size=2),
        words=partial(WordEncoder, width=64, depth=1),
    ),
    optimizer=AveragedAdamW(
        learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Steps(4000, batch_size=64, eval_every=500, select="last"),
    measures=[ObjectCorrectness(num_samples=400)],
    report=[PromptPanels(guidance_samples=200)],
    use=DrawPrompts(),
    sanity=Sanity(plain=GUIDED_PLAIN),
    smoke=PROMPTS,
)

if __name__ == "__main__":
    main(experiment)
