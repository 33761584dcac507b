"""All objectives of learning without labels on one backbone: what the study self_supervised_table compares.

An objective builds its technique's learner on a backbone, and finds in the learner's state the variables of the
backbone that is used afterwards: those of the EMA teacher where a technique uses its teacher. All see images [B, 8, 8,
1] in [0, 1]; views and crops are drawn by one augmentation.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data.augment.occlusion import random_resized_crop
from dlcore.data.augment.recipes import contrastive_augmentation
from dlcore.learner import Learner
from dlcore.models.mae import MAE
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.nn import Dense
from dlcore.optim.ema import cosine_momentum
from dlcore.self_supervised import (
    barlow_twins,
    byol,
    data2vec,
    dino,
    dinov2_objective,
    ibot,
    ijepa,
    mae,
    moco,
    moco_v3,
    nnclr,
    simclr,
    simmim,
    simsiam,
    supcon,
    swav,
    vicreg,
)
from dlcore.self_supervised.ijepa import BlockPredictor
from dlcore.self_supervised.networks import DINONet, PatchDINONet, backbone_features
from dlcore.self_supervised.patch_predictors import PatchViT
from dlcore.self_supervised.siamese import SiameseNet

__all__ = ["BACKBONES", "NUM_CLASSES", "OBJECTIVES", "Classifier", "Objective", "TokenMean", "objectives_of"]

NUM_CLASSES = 10
SIDE = 8
MOMENTUM = 0.9
"""Initial momentum of every EMA teacher; it rises to 1 by a cosine."""
VIEW = contrastive_augmentation("digit")
CROP = random_resized_crop((0.4, 1.0))
LARGE_CROP = contrastive_augmentation("digit", (0.7, 1.0), SIDE)
SMALL_CROP = contrastive_augmentation("digit", (0.4, 0.8), SIDE // 2)
HEAD = {"outputs": 32, "hidden_features": 64, "bottleneck": 32, "batch_norm": True}
"""Head of the techniques with prototypes."""


class TokenMean(nn.Module):
    """A `PatchViT` as a backbone: the mean of its tokens is the feature, and stands where a class token would."""

    encoder: PatchViT

    num_classes = 0
    position_features = 0

    @property
    def patch_size(self) -> int:
        return self.encoder.patch_size

    @property
    def width(self) -> int:
        return self.encoder.width

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.encoder(x, train)["features"]

    def tokens(self, x: jax.Array, train: bool, masked: jax.Array, mask_token: jax.Array) -> tuple:
        """Return (mean of the tokens, tokens); the encoder has its own mask token."""
        out = self.encoder(x, train, masked)
        return out["features"], out["tokens"]


BACKBONES = {
    "vit": TokenMean(PatchViT(patch_size=2, depth=2, width=32, num_heads=4, mlp_features=64)),
    "resnet": CifarResNet(NUM_CLASSES, stages=(1, 1, 1), width=8),
}


class Classifier(nn.Module):
    """A backbone with a linear layer."""

    backbone: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return Dense(NUM_CLASSES, name="head")(backbone_features(self.backbone, x, train))


class TokenMAE(MAE):
    """A masked autoencoder whose encoder is a `PatchViT`: it has no class token."""

    CLASS_TOKEN = False


class Objective(NamedTuple):
    """One row of the table.

    Args:
      family: what it compares: views, patches, both, or labels.
      learner: (backbone, optimizer, steps) -> learner.
      variables: state of the learner -> variables of the backbone.
    """

    family: str
    learner: Callable[[nn.Module, optax.GradientTransformation, int], Learner]
    variables: Callable[[Any], dict]


def _backbone_of(params: Any, model_state: Any) -> dict:
    trees = {"params": params, **model_state}
    return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}


def _student(state: Any) -> dict:
    return _backbone_of(state.params, state.model_state)


def _teacher(state: Any) -> dict:
    return _backbone_of(state.teacher_params, state.teacher_model_state)


def _patch_encoder(state: Any) -> dict:
    encoder = state.params["encoder"] if state.teacher_params is None else state.teacher_params
    return {"params": {"encoder": encoder}}


def _mae_encoder(state: Any) -> dict:
    names = ("patch_embed", "blocks_", "norm")
    return {"params": {"encoder": {name: tree for name, tree in state.params.items() if name.startswith(names)}}}


def _views(
    technique: ModuleType,
    *,
    family: str = "views",
    predictor: bool = False,
    augment: Callable[[jax.Array, jax.Array], jax.Array] = VIEW,
    schedule: str | None = None,
    **settings: Any,
) -> Objective:
    """Compare two views of an image; `schedule` names the argument of the momentum."""

    def build(backbone: nn.Module, optimizer: optax.GradientTransformation, steps: int) -> Learner:
        model = SiameseNet(backbone, proj_dim=64, hidden_features=128, predictor_features=128 * predictor)
        momentum = {schedule: cosine_momentum(MOMENTUM, steps)} if schedule else {}
        return technique.learner(model=model, optimizer=optimizer, augment=augment, **momentum, **settings)

    return Objective(family, build, _student)


def _crops(technique: ModuleType, net: type[DINONet], *, family: str = "views", teacher: bool = True) -> Objective:
    """Compare large and small crops by prototypes, which stand still."""

    def build(backbone: nn.Module, optimizer: optax.GradientTransformation, steps: int) -> Learner:
        momentum = {"teacher_momentum": cosine_momentum(MOMENTUM, steps)} if teacher else {"queue_size": 0}
        return technique.learner(
            model=net(backbone, **HEAD),
            optimizer=optimizer,
            augment=LARGE_CROP,
            augment_local=SMALL_CROP,
            local_crops=2,
            last_layer=lambda step: jnp.zeros(()),
            **momentum,
        )

    return Objective(family, build, _teacher if teacher else _student)


def _patches(technique: ModuleType, *, teacher: bool = False, **settings: Any) -> Objective:
    """Predict something of hidden patches."""

    def build(backbone: nn.Module, optimizer: optax.GradientTransformation, steps: int) -> Learner:
        momentum = {"teacher_momentum": cosine_momentum(MOMENTUM, steps)} if teacher else {}
        return technique.learner(model=backbone.encoder, optimizer=optimizer, **momentum, **settings)

    return Objective("patches", build, _patch_encoder)


def _mae(backbone: nn.Module, optimizer: optax.GradientTransformation, steps: int) -> Learner:
    encoder = backbone.encoder
    fields = {name: getattr(encoder, name) for name in ("patch_size", "depth", "width", "num_heads", "mlp_features")}
    model = TokenMAE(1, **fields, decoder_depth=1, decoder_width=32, decoder_heads=4, decoder_features=64)
    return mae.learner(model=model, optimizer=optimizer)


def _supervised(backbone: nn.Module, optimizer: optax.GradientTransformation, steps: int) -> Learner:
    return supervised.learner(model=Classifier(backbone), optimizer=optimizer, augment=VIEW)


OBJECTIVES = {
    "simclr": _views(simclr),
    "moco": _views(moco, queue_size=512, key_momentum=MOMENTUM, temperature=0.2),
    "moco_v3": _views(moco_v3, predictor=True, schedule="momentum"),
    "byol": _views(byol, predictor=True, schedule="momentum"),
    "simsiam": _views(simsiam, predictor=True),
    "barlow_twins": _views(barlow_twins),
    "vicreg": _views(vicreg),
    "nnclr": _views(nnclr, predictor=True, queue_size=512),
    "swav": _crops(swav, DINONet, teacher=False),
    "dino": _crops(dino, DINONet),
    "ibot": _crops(ibot, PatchDINONet, family="both"),
    "dinov2_objective": _crops(dinov2_objective, PatchDINONet, family="both"),
    "mae": Objective("patches", _mae, _mae_encoder),
    "simmim": _patches(simmim, cell=1),
    "data2vec": _patches(data2vec, teacher=True, cell=1, top_layers=2),
    "ijepa": _patches(
        ijepa,
        teacher=True,
        predictor=BlockPredictor(depth=1, width=32, num_heads=4, mlp_features=64),
        target_blocks=2,
        target_scale=(0.2, 0.25),
    ),
    "simclr_crops": _views(simclr, family="crops alone", augment=CROP),
    "byol_crops": _views(byol, family="crops alone", augment=CROP, predictor=True, schedule="momentum"),
    "supcon": _views(supcon, family="labels"),
    "supervised": Objective("labels", _supervised, _student),
}
"""{name: objective}; those with "crops" in their name differ by the augmentation alone."""

NEEDS_PATCHES = tuple(name for name, objective in OBJECTIVES.items() if objective.family in ("patches", "both"))


def objectives_of(backbone: str) -> tuple[str, ...]:
    """Name the objectives that take a backbone: a ViT all, a residual network those that hide no patch."""
    return tuple(name for name in OBJECTIVES if backbone == "vit" or name not in NEEDS_PATCHES)
