"""Glow and RealNVP: normalizing flows of crops of photographs, with exact likelihood; here below a linear predictor.

python -m experiments.generative.normalizing_flow                             (1.30 bits; independent pixels 3.68)
python -m experiments.generative.normalizing_flow --flow.mixing=swap                     (RealNVP)
python -m experiments.generative.normalizing_flow --mode=evaluate --run=RUN --temperature=0.7
python -m experiments.generative.normalizing_flow --dataset=cifar10 --data_dir=D --levels=256 --flow.num_levels=3 \\
    --flow.num_steps=32 --flow.width=512                                                    (not run)

`bits_per_dim_16_levels` is -log2 p of a test image per value, of pixels with 16 levels; it stands beside that of pixels
that do not depend on each other. The samples' Fréchet distance stands beside it.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.data.splits import Splits
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.experiment.parts import Run
from dlcore.generative import likelihood, normalizing_flow
from dlcore.generative.normalizing_flow import NormalizingFlow
from dlcore.generative.sample_panels import ShowSamples
from dlcore.main import main
from dlcore.models import Networks
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawSamples
from experiments.classification import supervised
from experiments.smoke import few_samples


class LevelBits:
    """Bits per dimension of quantized images, beside those of independent pixels; the loss selects the checkpoint."""

    metric, monitor, mode = "bits_per_dim_16_levels", "loss", "min"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        levels = run.parts.technique.keywords["levels"]
        train, test = (likelihood.quantize(part.arrays["image"], levels) for part in (splits.train, splits.test))
        nats = -float(likelihood.independent_log_likelihood(train, test, levels).mean())
        values = {"nll_nats": nats, "bits_per_dim": float(likelihood.nats_to_bits(nats, test[0].size))}
        trivial = {f"{name}_{levels}_levels": (value, "independent pixels") for name, value in values.items()}
        return splits._replace(spec={**splits.spec, "trivial": trivial})

    def messages(self, run: Run, splits: Splits) -> list[str]:
        (nats, rule), (bits, _) = splits.spec["trivial"].values()
        return [f"{rule} have {nats:.2f} nats an image on the test split, {bits:.3f} bits a dimension"]


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(normalizing_flow.learner, levels=16),
    data=Images("photographs", image_size=16, valid_fraction=0.1, labels=False),
    network=Networks({"flow": partial(NormalizingFlow, num_levels=2, num_steps=6)}),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(20, batch_size=64, eval_every=500),
    measures=[LevelBits(), Frechet(classifier=supervised.experiment, num_samples=1000)],
    report=[ShowSamples()],
    use=DrawSamples(),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_samples(3), "image_size": 8, "flow.num_steps": 1, "flow.width": 4},
)

if __name__ == "__main__":
    main(experiment)
