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

from dlcore.experiment import Experiment
from dlcore.generative import ddpm
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.text_prompts import SMOKE, Prompts

experiment = Experiment(
    __file__,
    __doc__,
    ddpm.learner,
    task=Prompts(),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    defaults={"steps": 4000, "batch_size": 64, "guidance": 4.0, "eval_every": 500},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
