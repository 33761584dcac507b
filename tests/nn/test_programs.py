"""The programs of layers whose numbers the slow tier compares with formulas and with other libraries.

So that the default tier notices a sign, an axis, a rate or an initializer that changed, a digest of each program is
kept, as in tests/models/test_manifests.py. Where one fails without a change that is meant,
`python -m tests.nn.test_programs LABEL` prints what the digest is of, for a diff of two commits. After one that is
meant, and whose slow tests pass: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/nn/test_programs.py -n 0
"""

import sys

import jax
import jax.numpy as jnp
import pytest
from flax import linen

from dlcore.nn.activations import Maxout, PReLU, gelu
from dlcore.nn.additive_attention import AdditiveAttention
from dlcore.nn.attention import MultiHeadAttention, SelfAttention
from dlcore.nn.cache import Cache
from dlcore.nn.conv_recurrent import ConvRecurrent
from dlcore.nn.deformable_encoder import DeformableEncoderLayer
from dlcore.nn.fast_weights import FastWeightAttention
from dlcore.nn.group_norm import GlobalResponseNorm, GroupNorm
from dlcore.nn.locally_connected import LocallyConnected
from dlcore.nn.position import ContinuousPositionBias, RelativePositionBuckets
from dlcore.nn.recurrent import Recurrent, RecurrentStack
from dlcore.nn.separable import DepthwiseSeparableConv, FactorizedConv
from dlcore.nn.spatial_attention import LocalAttention, NonLocalBlock, SAGANAttention
from dlcore.nn.stochastic import DropConnect, StochasticDepth, VanillaDropout
from dlcore.nn.style_norm import AdaptiveInstanceNorm, ConditionalInstanceNorm
from dlcore.nn.transformer import FeedForward, TransformerDecoderBlock, TransformerEncoderBlock
from dlcore.nn.transformer_xl import SegmentMemory, TransformerXL
from dlcore.nn.weight_norm import WeightStandardization
from tests.models.tracing import assert_digest, program_of

X = (2, 3, 8)
MAP = (2, 5, 6, 4)
TRAIN = {"train": True}
DRAWN = {"deterministic": False}


def of_tokens(*shape):
    return jnp.zeros(shape, jnp.int32)


def memory_of(length):
    return SegmentMemory((jnp.zeros((2, length, 8)),) * 2 if length else (), of_tokens(2))


ATTENTION = {"num_kv_heads": 2, "scale": 0.3, "rotary": 50.0, "rotary_pairs": "neighbors", "qk_norm": 1e-3}
ATTENTION |= {"qkv_bias": "qv", "dtype": jnp.bfloat16, "kernel_init": linen.initializers.ones}
BLOCK = ATTENTION | {"activation": gelu, "dropout_rate": 0.1, "attention_dropout_rate": 0.2, "epsilon": 1e-3}
BLOCK |= {"fused_qkv": False, "bias_init": linen.initializers.ones, "norm": "rms", "gated": True, "qkv_features": 16}
BLOCK |= {"cosine": True, "talking_heads": True, "mlp_norm": True}
RECURRENT = {"dtype": jnp.bfloat16, "input_init": linen.initializers.ones, "learned_carry": True}


def decoder(cross):
    fields = {"dropout_rate": 0.1, "attention_dropout_rate": 0.2, "cross": cross, "activation": gelu}
    return TransformerDecoderBlock(2, 16, pre_norm=cross, **fields)


CASES = {
    "transformer_xl": lambda: (
        TransformerXL(5, num_layers=2, num_heads=2, width=8, memory=6, dropout=0.2),
        (memory_of(6), of_tokens(2, 3)),
    ),
    "transformer_xl_without_memory": lambda: (
        TransformerXL(5, num_layers=2, num_heads=2, width=8, memory=0, dtype=jnp.bfloat16),
        (memory_of(0), of_tokens(2, 3)),
    ),
    "fast_weights": lambda: (FastWeightAttention(5), (X,)),
    "fast_weights_recurrent": lambda: (FastWeightAttention(5, recurrent=True), (X,)),
    "additive_attention": lambda: (AdditiveAttention(4), ((2, 4, 5), (2, 3, 6))),
    "attention": lambda: (
        MultiHeadAttention(2, dropout_rate=0.1, fused_qkv=True, rotary=100.0, qk_norm=1e-6, dtype=jnp.bfloat16),
        (X,),
        TRAIN,
    ),
    "grouped_attention": lambda: (
        MultiHeadAttention(4, features=6, qkv_features=8, num_kv_heads=2, scale=0.3, out_kernel_init=linen.zeros),
        (X, (2, 5, 7)),
    ),
    "cosine_attention": lambda: (MultiHeadAttention(2, cosine=True, talking_heads=False, qkv_bias="qv"), (X,)),
    "talking_heads": lambda: (MultiHeadAttention(2, talking_heads=True), (X,)),
    "encoder_block": lambda: (
        TransformerEncoderBlock(
            2, 16, dropout_rate=0.1, attention_dropout_rate=0.2, pre_norm=True, drop_path_rate=0.3, layer_scale=0.5
        ),
        (X,),
        TRAIN,
    ),
    "decoder_block": lambda: (decoder(True), (X, (2, 4, 8)), TRAIN),
    "decoder_block_alone": lambda: (decoder(False), (X,), TRAIN),
    "feed_forward": lambda: (
        FeedForward(6, gated=True, use_bias=False, dropout_rate=0.1, norm_epsilon=1e-6),
        (X,),
        TRAIN,
    ),
    "lstm": lambda: (RecurrentStack(3, 2, "lstm", learned_carry=True), (None, X)),
    "bidirectional": lambda: (RecurrentStack(3, 1, "gru", bidirectional=True), (None, X, of_tokens(2))),
    "projected_lstm": lambda: (Recurrent(4, "lstm", proj_features=3, forget_bias=0.5), (None, X)),
    "conv_lstm": lambda: (ConvRecurrent(4, (3, 3), "lstm"), (((2, 5, 6, 4), (2, 5, 6, 4)), (2, 3, 5, 6, 4))),
    "attention_fields": lambda: (
        MultiHeadAttention(4, 6, 8, **ATTENTION, use_bias=False, dropout_rate=0.1, talking_heads=True),
        (X,),
        {"mask": jnp.ones((1, 3, 3), bool), "bias": jnp.ones((4, 1, 1)), "is_causal": True, **TRAIN},
    ),
    "attention_angles": lambda: (
        MultiHeadAttention(2, rotary_pairs="neighbors", qkv_bias="none"),
        (X,),
        {"angles": jnp.ones((2, 1, 2)), "is_causal": True},
    ),
    "cached_attention": lambda: (
        MultiHeadAttention(2, rotary=100.0),
        (X,),
        {"cache": Cache.zeros(2, 5, 2, 4), "mask": jnp.ones((1, 3, 5), bool)},
    ),
    "self_attention": lambda: (
        SelfAttention(4, 5, True, jnp.bfloat16, linen.initializers.ones),
        (X,),
        {"mask": jnp.ones((1, 3, 3), bool), "bias": jnp.ones((1, 3, 3))},
    ),
    "encoder_block_fields": lambda: (
        TransformerEncoderBlock(4, 12, **BLOCK, out_kernel_init=linen.zeros, drop_path_rate=0.3, layer_scale=0.5),
        (X,),
        {"mask": jnp.ones((1, 3, 3), bool), "bias": jnp.ones((4, 1, 1)), "position": jnp.ones((3, 8)), **TRAIN},
    ),
    "decoder_block_fields": lambda: (
        TransformerDecoderBlock(4, 12, **BLOCK, out_kernel_init=linen.zeros),
        (X, (2, 5, 8)),
        {"mask": jnp.ones((1, 3, 3), bool), "memory_mask": jnp.ones((1, 1, 5), bool), "bias": jnp.ones((4, 1, 1))}
        | {"position": jnp.ones((3, 8)), "memory_position": jnp.ones((5, 8)), "is_causal": True, **TRAIN},
    ),
    "recurrent_fields": lambda: (RecurrentStack(3, 2, unroll=2, **RECURRENT), (None, X, of_tokens(2))),
    "bidirectional_fields": lambda: (RecurrentStack(3, 2, "gru", unroll=2, bidirectional=True, **RECURRENT), (None, X)),
    "conv_gru": lambda: (ConvRecurrent(4, (3, 1), "gru", 0.5, 2, jnp.bfloat16), ((MAP,), (2, 3, 5, 6, 4))),
    "deformable": lambda: (
        DeformableEncoderLayer(2, 12, num_points=2, dropout_rate=0.1),
        ((1, 6, 8), (1, 6, 8), (1, 6, 1, 2)),
        {"shapes": ((2, 3),), **TRAIN},
    ),
    "group_norm": lambda: (GroupNorm(2), (MAP,)),
    "global_response_norm": lambda: (GlobalResponseNorm(), (MAP,)),
    "locally_connected": lambda: (LocallyConnected(3, (3, 2), strides=2), (MAP,)),
    "buckets": lambda: (RelativePositionBuckets(2, 8, 20), (jnp.arange(3),), {"key_length": 7}),
    "continuous_bias": lambda: (ContinuousPositionBias((2, 3), 2, hidden_features=4), ()),
    "separable": lambda: (DepthwiseSeparableConv(6, between=jax.nn.relu, channel_multiplier=2, strides=2), (MAP,)),
    "factorized": lambda: (FactorizedConv(6, 3, strides=2, between=jax.nn.relu), (MAP,)),
    "non_local": lambda: (NonLocalBlock("embedded_gaussian", pool=True), (MAP,)),
    "non_local_gaussian": lambda: (NonLocalBlock("gaussian"), (MAP,)),
    "non_local_product": lambda: (NonLocalBlock("dot_product", features=3), (MAP,)),
    "sagan": lambda: (SAGANAttention(2), (MAP,)),
    "local_attention": lambda: (LocalAttention(2, window=3), (MAP,)),
    "vanilla_dropout": lambda: (VanillaDropout(0.3), (X,), DRAWN),
    "drop_connect": lambda: (DropConnect(3, 0.3), ((2, 5),), DRAWN),
    "stochastic_depth": lambda: (StochasticDepth(0.7, inverted=True), (X,), DRAWN),
    "stochastic_depth_of_a_batch": lambda: (StochasticDepth(0.7, mode="batch"), (X,), DRAWN),
    "conditional_norm": lambda: (ConditionalInstanceNorm(3), (MAP, of_tokens(2))),
    "adaptive_norm": lambda: (AdaptiveInstanceNorm(), (MAP, (2, 5))),
    "weight_standardization": lambda: (WeightStandardization(linen.Conv(3, (3, 3))), (MAP,)),
    "maxout": lambda: (Maxout(3, 4), (X,)),
    "prelu": lambda: (PReLU(), (X,)),
}


def program(label):
    module, inputs, *options = CASES[label]()
    inputs = jax.tree.map(
        lambda x: jnp.zeros(x) if isinstance(x, tuple) else x,
        inputs,
        is_leaf=lambda x: isinstance(x, tuple) and all(isinstance(n, int) for n in x) and bool(x),
    )
    return program_of(module, *inputs, **(options[0] if options else {}))[0]


@pytest.mark.parametrize("label", CASES)
def test_the_program_has_the_digest_of_the_one_whose_numbers_were_compared(label):
    assert_digest("layer_programs.json", label, program(label))


if __name__ == "__main__":
    print(*map(program, sys.argv[1:]), sep="\n")
