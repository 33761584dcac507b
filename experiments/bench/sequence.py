"""Compare training of language models, attention and bidirectional LSTMs with PyTorch's, as ratios measured in one run.

python -m experiments.bench.sequence
python -m experiments.bench.sequence --what=attention --num_repeats=9

- gpt: tokens a second in training steps of GPT (AdamW, clipped gradients), 4 blocks of width 128 on 12 windows of 64,
  and 6 of width 384 on 4 windows of 256, against the same network written in eager PyTorch
  (`scaled_dot_product_attention`); the claim is 1.0x.
- attention: causal attention forward and backward, 8 x 256 tokens of 8 heads of 64, against
  `jax.nn.dot_product_attention` and PyTorch's; the claim is 0.9x the better of both.
- lstm: a bidirectional LSTM forward and backward, 64 sequences of 100, 256 wide, against PyTorch's; the claim is 0.8x.

Without PyTorch only jax's attention is compared. PyTorch takes as many threads as there are cores.

Measured on two quiet cores (AMD EPYC): GPT 1.06x and 1.43x eager PyTorch (0.99x and 1.39x on another day); attention
0.99x the better of both; the bidirectional LSTM 0.76x (0.79x). All claims held but the LSTM's.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from dlcore.nn import BidirectionalRecurrent, dot_product_attention
from dlcore.optim import create_optimizer
from dlcore.run import provenance
from dlcore.sequence import language_model
from experiments.bench.timing import bar_chart, interleaved, ratio, torch_on_all_cores

SIZES = {"gpt 4x128": (4, 4, 128, 64, 12), "gpt 6x384": (6, 6, 384, 256, 4)}
LEAST = {"gpt 4x128": 1.0, "gpt 6x384": 1.0, "attention": 0.9, "lstm": 0.8}
VOCABULARY = 65


def gpt_step(layers: int, heads: int, width: int, window: int, batch: int, steps: int) -> Callable:
    model = GPT2(VOCABULARY, window, num_layers=layers, num_heads=heads, width=width)
    optimizer = create_optimizer("adamw", 1e-3, weight_decay=0.1, clip_norm=1.0)
    learner = language_model.learner(model=model, optimizer=optimizer)
    rows = {
        "text": np.random.default_rng(0).integers(0, VOCABULARY, (batch, 2 * window)).astype(np.uint8),
        "index": np.arange(batch, dtype=np.int32),
    }
    update = jax.jit(learner.update, donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0), rows)

    def run() -> Any:
        nonlocal state
        for _ in range(steps):
            state, metrics = update(state, rows)
        return state.params, metrics

    return run


def torch_gpt_step(layers: int, heads: int, width: int, window: int, batch: int, steps: int) -> Callable:
    """The same network and step in eager PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            shape = (*x.shape[:2], heads, width // heads)
            q, k, v = (y.view(shape).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(width, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
            x = x + self.proj(y)
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(window, width)
            self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(layers))), nn.LayerNorm(width)

        def forward(self, x):
            x = self.word(x) + self.place(torch.arange(x.shape[1]))
            return self.norm(self.blocks(x)) @ self.word.weight.T

    network, text = Network(), torch.randint(0, VOCABULARY, (batch, window + 1))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    return run


def attentions(peer: bool) -> dict[str, Callable]:
    """Causal attention forward and backward: ours, jax.nn's and PyTorch's."""
    arrays = [jnp.asarray(x, jnp.float32) for x in np.random.default_rng(0).normal(size=(3, 8, 256, 8, 64))]

    def both(attend: Callable) -> Callable:
        total = jax.grad(lambda q, k, v: (attend(q, k, v, is_causal=True) * q).sum(), argnums=(0, 1, 2))
        return functools.partial(jax.jit(total), *arrays)

    functions = {"ours": both(dot_product_attention), "jax.nn": both(jax.nn.dot_product_attention)}
    if peer:
        import torch

        tensors = [torch.tensor(np.asarray(x)).transpose(1, 2).contiguous().requires_grad_() for x in arrays]

        def torch_both() -> Any:
            y = torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True)
            return [x.numpy() for x in torch.autograd.grad((y * tensors[0]).sum(), tensors)]

        functions["torch"] = torch_both
    return functions


def lstms(peer: bool, batch: int = 64, length: int = 100, size: int = 256) -> dict[str, Callable]:
    """A bidirectional LSTM forward and backward: ours and PyTorch's."""
    x = np.random.default_rng(0).normal(size=(batch, length, size)).astype(np.float32)
    layer = BidirectionalRecurrent(size, "lstm")
    carry = layer.initial_carry(batch)
    variables = jax.jit(layer.init)(jax.random.key(0), carry, x)
    gradient = jax.jit(jax.grad(lambda variables, x: jnp.square(layer.apply(variables, carry, x)[1]).sum(), (0, 1)))
    functions = {"ours": functools.partial(gradient, variables, jnp.asarray(x))}
    if peer:
        import torch

        torch_lstm, tensor = torch.nn.LSTM(size, size, bidirectional=True, batch_first=True), torch.tensor(x)
        tensor.requires_grad_()

        def torch_both() -> None:
            torch_lstm.zero_grad(set_to_none=True)
            tensor.grad = None
            torch_lstm(tensor)[0].square().sum().backward()

        functions["torch"] = torch_both
    return functions


def measure(
    *,
    what: Literal["all", "gpt", "attention", "lstm"] = "all",
    steps: PositiveInt = 5,
    num_repeats: PositiveInt = 7,
) -> StudyResult:
    """Time ours and theirs in shuffled turns.

    Args:
      what: all, gpt, attention or lstm.
      steps: training steps of a GPT in a turn.
    """
    peer = torch_on_all_cores()
    runs: dict[str, dict[str, Callable]] = {}
    for name, sizes in SIZES.items() if what in ("all", "gpt") else ():
        runs[name] = {"ours": gpt_step(*sizes, steps)} | ({"torch": torch_gpt_step(*sizes, steps)} if peer else {})
    if what in ("all", "attention"):
        runs["attention"] = attentions(peer)
    if what in ("all", "lstm"):
        runs["lstm"] = lstms(peer)
    numbers: dict[str, Any] = {}
    speeds: dict[str, dict[str, float]] = {}
    for name, functions in runs.items():
        times = interleaved(functions, num_repeats, steps=steps if name in SIZES else 1)
        numbers |= {f"{name}, {who}: ms": 1e3 * t.median for who, t in times.items()}
        libraries = [who for who in functions if who != "ours"]
        speeds[name] = {who: ratio(times, who, "ours").median for who in libraries}
        for who in libraries:
            numbers |= ratio(times, who, "ours").rows(f"{name}, {who} over ours")
        if name in SIZES:
            numbers[f"{name}: tokens/s"] = SIZES[name][3] * SIZES[name][4] / times["ours"].median
    slowest = {name: min(values.values()) for name, values in speeds.items() if values}
    verdict = f"{provenance.hardware()}: speed over the best peer's: " + "; ".join(
        f"{name} {value:.2f}x (claimed {LEAST[name]:g}x)" for name, value in slowest.items()
    )
    first = next(iter(slowest.items()), None)
    headline = (
        Headline(f"{first[0]}, time of the best peer over ours", first[1], "synthetic", tolerance=0.5)
        if first
        else None
    )
    return StudyResult(
        numbers,
        (verdict if slowest else f"{provenance.hardware()}: no peer is installed") + ".",
        {"speeds": bar_chart(speeds, "times as fast")} if slowest else {},
        all(value >= LEAST[name] for name, value in slowest.items()),
        headline,
    )


experiment = Study(__file__, __doc__, measure, smoke={"what": "attention", "steps": 1, "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
