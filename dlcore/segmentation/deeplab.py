"""DeepLabV3: dilated convolutions keep the maps large, and parallel ones of several rates see several scales.

Chen, Papandreou, Schroff & Adam, "Rethinking atrous convolution for semantic image segmentation" (2017),
arXiv:1706.05587.

    dilated convolution:  y[p] = sum_k x[p + r k] w[k]                 rate r: as many weights, r times the reach
    ASPP(x) = conv1x1 [conv1x1(x), conv3x3 of rates r_1, r_2, r_3 (x), conv1x1(mean of x)]
    logits = enlarge(conv1x1(conv3x3(ASPP(map))))

The rates are those of a map of stride 8; half of them suit one of stride 16. This is torchvision's
`deeplabv3_resnet50`: a ResNet whose last two stages are dilated (`ResNet.dilate`), an auxiliary FCN head on the third.
"""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.segmentation.fcn import FCNHead
from dlcore.segmentation.maps import KERNEL_INIT, ConvNormRelu, enlarge, named_map, score

__all__ = ["ASPP", "DeepLabHead", "DeepLabV3"]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling.

    Args:
      channels: number of channels of each branch and of the result.
      rates: rates of the dilated 3x3 convolutions.
      dropout: probability of dropping a value of the result in training.
      mean_first: the mean's branch comes before the others in the concatenation.
    """

    channels: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    dropout: float = 0.5
    dtype: Any = None
    axis_name: str | None = REPLICA
    mean_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Look at each location from several distances: [B, h, w, K] -> [B, h, w, channels]."""
        shape = {"dtype": self.dtype, "axis_name": self.axis_name}
        # Parallel dilated convolutions and image pooling.
        branches = [ConvNormRelu(self.channels, 1, **shape, name="convs_0")(x, train)]
        for i, rate in enumerate(self.rates):
            branches.append(ConvNormRelu(self.channels, dilation=rate, **shape, name=f"convs_{i + 1}")(x, train))
        last = len(branches)
        mean = _MeanBranch(self.channels, **shape, name=f"convs_{last}")(x, train)
        branches.insert(0 if self.mean_first else last, jnp.broadcast_to(mean, branches[0].shape))
        # Project the concatenated branches.
        x = ConvNormRelu(self.channels, 1, **shape, name="project")(jnp.concatenate(branches, -1), train)
        return Dropout(self.dropout, deterministic=not train)(x)


class _MeanBranch(nn.Module):
    """Mean over the map, 1x1 convolution (`1`), batch norm (`2`) and ReLU: [B, h, w, K] -> [B, 1, 1, features]."""

    features: int
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.mean((1, 2), keepdims=True)
        x = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="1")(x)
        return nn.relu(BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="2")(x))


class DeepLabHead(nn.Module):
    """ASPP, a 3x3 convolution and a 1x1 convolution to the classes, with torchvision's names.

    Args:
      num_classes: C.
      channels: number of channels of ASPP and of the 3x3 convolution.
      rates: rates of ASPP.
      dropout: dropout of ASPP.
    """

    num_classes: int
    channels: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    dropout: float = 0.5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Score every location: [B, h, w, K] -> [B, h, w, C] logits, at least float32."""
        dtype = self.dtype
        x = ASPP(self.channels, self.rates, self.dropout, dtype, self.axis_name, name="0")(x, train)
        x = Conv(self.channels, (3, 3), padding=1, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT, name="1")(x)
        x = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="2")(x))
        return score(self.num_classes, "4", x)


class DeepLabV3(nn.Module):
    """Backbone and heads; the logits are enlarged bilinearly to the size of the image, whatever it is.

    Args:
      num_classes: C.
      stage: the map that the head reads.
      aux_stage: a map that an auxiliary FCN head scores, for the loss; None for none.
      channels: number of channels of ASPP.
      rates: rates of ASPP's dilated convolutions.
      dropout: dropout of ASPP.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage", "aux_stage")

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    aux_stage: str | None = None
    channels: Annotated[int, Range(1)] = 256
    rates: tuple[int, ...] = (12, 24, 36)
    dropout: Annotated[float, Range(0, 0.99)] = 0.5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size -> {"out": [B, H, W, C] logits, at least float32, "aux": of the auxiliary
        head, if there is one}.
        """
        size = x.shape[1:3]
        shape = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        maps = self.backbone.features(x, train)
        head = DeepLabHead(self.num_classes, self.channels, self.rates, self.dropout, **shape, name="classifier")
        outputs = {"out": enlarge(head(named_map(maps, self.stage), train), size)}
        if self.aux_stage is not None:
            aux = FCNHead(self.num_classes, **shape, name="aux_classifier")
            outputs["aux"] = enlarge(aux(named_map(maps, self.aux_stage), train), size)
        return outputs
