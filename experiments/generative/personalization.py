"""DreamBooth, LoRA and textual inversion: teach a text-to-image network one subject from four images, in two phases.

python -m experiments.generative.personalization
python -m experiments.generative.personalization --technique=lora --learning_rate=1e-2
python -m experiments.generative.personalization --technique=textual_inversion --learning_rate=0.1
python -m experiments.generative.personalization --prior_weight=0
python -m experiments.generative.personalization --mode=predict --run=RUN --output=samples \\
    --input="8x a sks circle at the top left / 8x a red circle at the top left"

The first command first trains `experiments.generative.text_to_image` of captions of one object, a run of its own that
is found again. The subject is an orange circle with a blue core, which no caption names; its word is "sks".
`subject_similarity` is the mean cosine of the pixels of the samples' objects and of 24 other images of the subject,
`class_similarity` that of samples of circles in the colors of captions, of which `object_correctness` are right.

                          subject_similarity   class_similarity   object_correctness
    untrained word               -0.19              0.00               100 %
    dreambooth                    0.72             -0.01               100 %
    without the prior             0.71              0.45                47 %
    lora                          0.66              0.00               100 %
    textual_inversion             0.26              0.00               100 %

One seed each; other images of the subject reach 0.71. A run takes 1 to 2 minutes of one core, its base 3 more. The row
"untrained word" is a run with `--steps=1 --learning_rate=0`.
"""

from functools import partial

from dlcore.data.captioned_shapes import CaptionedShapes
from dlcore.data.subjects import SubjectImages
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.evaluators.subject_similarity import SubjectSimilarity
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import personalization
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.prompt_panels import PromptPanels, SubjectPanels
from dlcore.generative.text_networks import TextConditionalUNet
from dlcore.generative.text_to_image import WordEncoder
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.report.drawn_prompts import DrawPrompts
from dlcore.weights.text_base import PersonalizedBase
from experiments.generative import text_to_image
from experiments.smoke import PROMPTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        personalization.learner,
        technique="dreambooth",
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="cosine"),
        prediction="sample",
        sampling=Sampling(sampler="ddim", num_inference_steps=20, spacing="trailing", guidance=2.0),
    ),
    data=SubjectImages(CaptionedShapes(image_size=16, grid=2, num_images=4000, pairs=0.0), subject_images=4),
    network=TextConditionalUNet(
        unet=partial(ConditionalUNet, channels=(24, 48), attention_levels=(0, 1), patch_size=2),
        words=partial(WordEncoder, width=64, depth=1),
    ),
    optimizer=AdamW(learning_rate=5e-4, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0),
    length=Steps(150, batch_size=16, eval_every=150, select="last"),
    measures=[SubjectSimilarity(ObjectCorrectness(num_samples=96))],
    report=[SubjectPanels(PromptPanels(guidance_samples=0))],
    use=DrawPrompts(),
    start=PersonalizedBase(text_to_image.experiment, base_steps=600),
    sanity=Sanity(plain={"weight_decay": 0.0}),
    smoke={**PROMPTS, "class_images": 8},
)

if __name__ == "__main__":
    main(experiment)
