"""Super-resolution of photographs by SRResNet and SRGAN.

python -m experiments.generative.super_resolution
python -m experiments.generative.super_resolution --adversarial_weight=0.01                          (SRGAN)
python -m experiments.generative.super_resolution --adversarial_weight=0.01 --steps=200 --eval_every=100
python -m experiments.generative.super_resolution --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images
python -m experiments.generative.super_resolution --data_dir=flickr8k --steps=4000 --eval_every=1000     (28.47 dB)
python -m experiments.generative.super_resolution --data_dir=flickr8k --generator.factor=4 --steps=4000 \\
    --eval_every=1000                                                                                 (23.76 dB)

Large images were reduced by Pillow's bicubic filter. `psnr` stands beside those of bicubic, bilinear and nearest
enlargement. `sharpness` is the mean difference of neighboring pixels over that of the true image: the adversary raises
it, at the price of PSNR. One photograph teaches nothing that holds for its other side: the first command ends at 30.33
dB on the test pieces, where bicubic has 30.33, bilinear 29.87 and nearest 29.63. On Flickr8k's 1,000 test photographs
bicubic has 26.35 dB, bilinear 25.46 and nearest 25.04 where the sides double, and 22.55, 22.06 and 21.43 where they
grow fourfold. SRGAN's short command, the third, has 29.89 dB after 100 steps, below bicubic, and a sharpness of 0.61,
where bicubic has 0.45; the long one was not run.
"""

from functools import partial

from dlcore.data.small_photographs import SmallPhotographs
from dlcore.evaluators.image_pairs import TargetSimilarity
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import super_resolution, translated_images
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.generative.super_resolution import SRResNet
from dlcore.generative.translated_images import EnlargeImages
from dlcore.main import main
from dlcore.models import Networks
from dlcore.optim import GANAdam
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(super_resolution.learner, loss="non_saturating", adversarial_weight=0.0),
    data=SmallPhotographs(data_dir=None, image_size=None),
    network=Networks(
        {
            "generator": partial(SRResNet, factor=2, width=24, num_blocks=3),
            "discriminator": partial(PatchDiscriminator, width=24, depth=3),
        }
    ),
    optimizer=GANAdam(learning_rate=1e-3, schedule="linear", momentum=0.9),
    length=Steps(2000, batch_size=8, eval_every=500, select="best"),
    measures=[TargetSimilarity("psnr", mode="max", monitor="psnr")],
    report=[translated_images.panels],
    use=EnlargeImages(),
    sanity=Sanity(plain={"adversarial_weight": 0.0}),
    smoke={
        **few_steps(2),
        "image_size": 16,
        "generator.width": 4,
        "generator.num_blocks": 1,
        "discriminator.width": 4,
        "discriminator.depth": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
