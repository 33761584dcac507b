"""Fast style transfer: one feed-forward network that renders photographs in several styles.

python -m experiments.interpretability.fast_style                             (pieces of a photograph; four minutes)
python -m experiments.interpretability.fast_style --data_dir=FOLDER_OF_PHOTOS --styles=PAINTING,PAINTING
python -m experiments.interpretability.fast_style --styles=mosaic             (one style, as in Johnson et al.)
python -m experiments.interpretability.fast_style --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images

A style is a pattern that a program draws (mosaic, waves, strokes), a photograph that comes with scikit-learn (flower,
china) or an image file. `loss` is that of `experiments.interpretability.style_transfer`, averaged over the styles; the
photograph itself as the result is the baseline. `experiments.studies.fast_style` compares it with optimized images.
"""

from functools import partial

from dlcore.data.small_photographs import SmallPhotographs
from dlcore.data.style_images import ContentPhotographs
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.interpretability import fast_style
from dlcore.interpretability.fast_style import StyleNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.rendered_photographs import RenderPhotographs, StyledPhotographs
from dlcore.weights.frozen_network import FrozenNetwork
from dlcore.weights.style_network import StyleNetwork
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(fast_style.learner, content_weight=1.0, style_weight=20.0, variation_weight=0.2),
    data=ContentPhotographs(SmallPhotographs()),
    network=StyleNetwork(
        partial(StyleNet, width=16, num_blocks=3),
        FrozenNetwork(averages=True),
        styles=("mosaic", "waves", "strokes", "flower"),
        style_size=96,
    ),
    optimizer=AveragedAdamW("adam", learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0),
    length=Steps(1500, batch_size=4, eval_every=500, select="last"),
    measures=[Measure("loss", "min")],
    report=[StyledPhotographs()],
    use=RenderPhotographs(),
    smoke={
        **few_steps(2, 2),
        "image_size": 16,
        "style_size": 24,
        "styles": ("mosaic", "waves"),
        "stylenet.width": 4,
        "stylenet.num_blocks": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
