"""DINO: learn features by self-distillation with an EMA teacher, without labels and negatives.

python -m experiments.self_supervised.dino                                      (k-NN 62 %, untrained 82 %)
python -m experiments.self_supervised.dino --model=vit_tiny_cifar --model.image_size=16 --model.patch_size=4 \\
    --model.width=64 --model.depth=3 --model.num_heads=4 --model.mlp_features=256                     (not run)
python -m experiments.self_supervised.dino --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --steps=10000 --eval_every=5000 --teacher_temperature=0.09,0.09       (k-NN 79 %, untrained 69 %)

A small network needs batch norm in the head (`--head.batch_norm`), since its features hardly differ from image to
image, and prototypes that stand still (`--freeze`, in epochs): they would turn away from all images, until outputs are
uniform (entropy 0.63 after 500 steps where they stand still, 0.82 and rising where they learn). The report shows where
a ViT attends.
In 10,000 steps a teacher at the paper's temperatures becomes sure of one prototype for each image: entropy 0.015, k-NN
77.7 %. At 0.09 its entropy stays between 0.57 and 0.91. At the student's 0.1 k-NN does not rise in 2,000 steps.
Watch `entropy` (the teacher's, by its largest: 1 is a collapse to uniform outputs), `usage` (0: one output for all
images), `kl` (0: nothing to learn) and `center_norm`.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.augment.recipes import VIEWS, contrastive_augmentation
from dlcore.data.normalization import normalizer
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.setting import FlagError, Setting
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone, optimizer
from dlcore.learner import Range
from dlcore.main import main
from dlcore.models.vit import ViT
from dlcore.optim.ema import cosine_momentum
from dlcore.report.self_supervised import attention_maps
from dlcore.self_supervised import dino
from dlcore.self_supervised.networks import DINONet

AREA = Range(1e-3, 1)


def check_rising(name: str, area: tuple[float, float]) -> None:
    """Check that a range begins at its smaller end."""
    if area[0] > area[1]:
        raise ValueError(f"{name}={area[0]:g},{area[1]:g}: the first is larger; allowed: the smaller share first")


SETTINGS = {
    **encoders.SHARED["settings"],
    "views": Setting("auto", "augmentation that makes the views, by the kind of image", Literal["auto", *VIEWS]),
    "local_size": Setting(None, "side of small crops in pixels; by default half of the input's", int | None, Range(1)),
    "global_area": Setting(
        (0.4, 1.0),
        "range of the share of the image that a large crop shows",
        tuple[float, float],
        AREA,
        check=partial(check_rising, "global_area"),
    ),
    "local_area": Setting(
        (0.1, 0.4),
        "range of the share of the image that a small crop shows",
        tuple[float, float],
        AREA,
        check=partial(check_rising, "local_area"),
    ),
    "teacher_momentum": Setting(0.996, "initial momentum of the EMA teacher; it rises to 1", limits=Range(0, 1)),
    "teacher_temperature": Setting(
        (0.04, 0.07),
        "temperature of the teacher, at first and after the warm-up",
        tuple[float, float],
        Range(1e-3),
    ),
    "temperature_warmup": Setting(
        0.3, "share of the steps in which the teacher's temperature rises", limits=Range(0, 1)
    ),
    "freeze": Setting(1.0, "epochs in which the last layer is frozen", limits=Range(0)),
}


def side_of(setup: Setup) -> int:
    return labeled_images.shorter_side(setup.flags, setup.spec)


def vit_without_head(setup: Setup):
    model = backbone.build(setup, num_classes=1)
    return model.clone(num_classes=0) if isinstance(model, ViT) else model


def views(setup: Setup):
    """The augmentations that draw large and small crops."""
    flags, side = setup.flags, side_of(setup)
    small = flags.local_size or side // 2
    stride = getattr(backbone.build(setup, num_classes=1), "patch_size", 1)
    if small % stride or not 0 < small <= side:
        raise FlagError(
            f"--local_size={small}: no small crop; allowed: multiples of the patch's side {stride}, at most {side}"
        )
    kind = encoders.AUTO_VIEWS.get(flags.dataset, "color") if flags.views == "auto" else flags.views
    return (
        contrastive_augmentation(kind, tuple(flags.global_area), side),
        contrastive_augmentation(kind, tuple(flags.local_area), small),
    )


def build(setup: Setup):
    flags, spec = setup.flags, setup.spec
    large, small = views(setup)
    first, last = flags.teacher_temperature
    warmup = max(1, round(flags.temperature_warmup * setup.steps))
    frozen = round(flags.freeze * spec.get("train_size", 0) / flags.batch_size)
    learner = dino.learner(
        model=DINONet(vit_without_head(setup), **flags.group("head")),
        optimizer=optimizer.build(setup),
        augment=large,
        augment_local=small,
        teacher_momentum=cosine_momentum(flags.teacher_momentum, setup.steps),
        teacher_temperature=lambda step: first + (last - first) * jnp.minimum(step / warmup, 1.0),
        last_layer=lambda step: jnp.where(step < frozen, 0.0, 1.0),
        preprocess=labeled_images.preprocess(setup),
        normalize=normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        **flags.group("learner"),
    )
    return encoders.remove_labels(learner)


def encoder(setup: Setup):
    model = vit_without_head(setup)

    def teacher(state):
        trees = {"params": state.teacher_params, **state.teacher_model_state}
        return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}

    if isinstance(model, ViT):
        return encoders.encoder(setup, model, teacher, method="__call__", read=lambda token: token)
    return encoders.encoder(setup, model, teacher)


def panels(context):
    setup = Setup(context.flags, context.spec, 1, jnp.float32)
    model, shown = vit_without_head(setup), to_float(context.data.test.arrays["image"][:8])
    if not isinstance(model, ViT):
        return encoders.panels(context)
    variables = {"params": context.state.teacher_params["backbone"]}
    x = labeled_images.preprocess(setup)(shown)
    _, inside = jax.jit(lambda v, x: model.apply(v, x, mutable=["intermediates"]))(variables, x)
    weights = inside["intermediates"][f"blocks_{model.depth - 1}"]["attn"]["weights"][0][:, :, 0, 1:]
    rows = x.shape[1] // model.patch_size
    pixels = np.asarray(jax.image.resize(shown, (*x.shape[:3], shown.shape[-1]), "nearest"))
    maps = attention_maps(pixels, np.asarray(weights).reshape(*weights.shape[:2], rows, -1))
    return encoders.panels(context, [maps])


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=dino.learner,
    build=build,
    modules={"head": DINONet},
    settings=SETTINGS,
    defaults={
        "head.outputs": 256,
        "head.hidden_features": 128,
        "head.bottleneck": 32,
        "head.batch_norm": True,
        "freeze": 100.0,
        "local_crops": 2,
        "teacher_momentum": 0.99,
        "teacher_temperature": (0.04, 0.04),
        "global_area": (0.7, 1.0),
        "local_area": (0.4, 0.8),
        "steps": 1500,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "clip_norm": 3.0,
        "eval_every": 300,
        "select": "last",
    },
    smoke={
        **encoders.SMOKE,
        "head.outputs": 8,
        "head.hidden_features": 8,
        "head.bottleneck": 4,
        "local_crops": 1,
    },
    **{name: value for name, value in encoders.SHARED.items() if name not in ("settings", "evaluators", "panels")},
    evaluators=partial(encoders.evaluators, encoder=encoder),
    encoder=encoder,
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)
