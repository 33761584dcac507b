"""VidEoMT: an EoMT that segments and tracks in a video, when the queries of a frame go on to the next.

Norouzi et al., "VidEoMT: your ViT is secretly also a video segmentation model" (2026), arXiv:2602.17807.

    first frame   the queries q are learned and join the tokens before the last L blocks
    frame t       they are W z_{t-1} + b + q,  z_{t-1} the queries behind the last block of the frame before
    outputs       a query's classes and mask in each frame, as in EoMT, without masked attention

Published weights are of transformers (tue-mps/videomt-*).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Dense, LayerNorm
from dlcore.segmentation.eomt import EoMT, MaskHeads
from dlcore.segmentation.mask_queries import MaskOutputs

__all__ = ["VidEoMT"]


class VidEoMT(EoMT):
    """A ViT with queries on a video; its fields are those of `dlcore.segmentation.eomt.EoMT`."""

    TORCH_OPTIONAL = EoMT.TORCH_OPTIONAL + r"|^attn_mask_probs$|^embeddings\.mask_token$"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> MaskOutputs:
        """Predict masks and classes.

        [B, T, image_size, image_size, C] -> the outputs of T frames, in place of layers.
        """
        batch, frames, *sides, _ = x.shape
        if sides != [self.image_size, self.image_size]:
            raise ValueError(f"x.shape={x.shape}: not of image_size; allowed: {self.image_size} x {self.image_size}")
        blocks = [self._block(i) for i in range(self.depth)]
        y = self._tokens(x.reshape(-1, *x.shape[2:]))
        for block in blocks[: self.depth - self.query_blocks]:
            y = block(y, train)
        y = y.reshape(batch, frames, *y.shape[1:])
        count, norm = self.num_queries, LayerNorm(self.epsilon, dtype=self.dtype, name="layernorm")
        predict = MaskHeads(self.num_classes, self.num_upscale, self.dtype, name="heads")
        update = Dense(self.width, dtype=self.dtype, name="query_updater")
        table = self.param("query", nn.initializers.normal(0.02), (count, self.width)).astype(y.dtype)
        queries, states = jnp.broadcast_to(table, (batch, *table.shape)), []
        for t in range(frames):
            z = jnp.concatenate([queries, y[:, t]], 1)
            for block in blocks[self.depth - self.query_blocks :]:
                z = block(z, train)
            states.append(predict(norm(z), count, 1 + self.num_registers, self.image_size // self.patch_size))
            queries = update(z[:, :count]) + table
        return MaskOutputs(*(jnp.stack(parts, 1) for parts in zip(*states, strict=True)))
