"""Does an LSTM need its forget gate most of all, while coupled gates cost nothing and peepholes gain nothing?

python -m experiments.studies.lstm_gates
python -m experiments.studies.lstm_gates --dataset=shakespeare --data_dir=D --steps=1000 --num_streams=64    (not run)

Models of the characters of a few embedded pages (`dlcore.sequence.char_rnn`), equal but for the cell: the LSTM, one
without a forget gate, one without an output gate, one whose input gate is 1 - f, and one with peepholes. Compared are
nats a character on the last tenth of the text, first at the same width and then at the width that gives each cell as
many parameters as the LSTM has. The claims are those of Greff et al. 2017 over three other tasks:
without its forget gate the LSTM is worse, more so than by any other change; coupled gates cost nothing, and peepholes
gain nothing. They hold where, at both widths, the mean cost of no forget gate is the largest and above 0.02 nats, that
of coupled gates at most 0.02, and that of peepholes at least -0.02.

Measured over three seeds: they do not. The LSTM reaches 2.28 nats; no forget gate costs 0.06 at equal width and 0.04 at
equal parameters, but no output gate 0.07 and 0.10. Coupled gates even gain 0.07 and 0.12, and peepholes cost 0.03. Four
minutes of one core.

References: Greff et al. 2017, arXiv:1503.04069; Jozefowicz et al. 2015 (forget bias 1, as here).
"""

from typing import Annotated, Literal

import jax
import numpy as np

from dlcore.data.text import Vocabulary, load_text, split_text, streams
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.optim import create_optimizer, create_schedule
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from dlcore.sequence import char_rnn
from dlcore.sequence.networks import CharRNN

CELLS = {
    "LSTM": "lstm",
    "no forget gate": "lstm_no_forget",
    "no output gate": "lstm_no_output",
    "coupled gates": "lstm_coupled",
    "peepholes": "lstm_peephole",
}
LITTLE = 0.02
"""Nats a character that count as no difference."""


def size_of(cell: str, width: int, vocab_size: int) -> int:
    """Count the parameters of a network."""
    model = CharRNN(vocab_size, width, cell=cell)
    tokens = np.zeros((1, 1), np.uint8)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), model.start(1), tokens))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def width_of_size(cell: str, size: int, vocab_size: int) -> int:
    """Find the width at which the number of parameters comes closest to `size`."""
    low, high = 1, 1
    while size_of(cell, high, vocab_size) < size:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if size_of(cell, middle, vocab_size) >= size else (middle, high)
    return min((low, high), key=lambda width: abs(size_of(cell, width, vocab_size) - size))


def losses_of(
    cell: str,
    width: int,
    vocab_size: int,
    train: dict,
    test: dict,
    *,
    num_seeds: int,
    steps: int,
    learning_rate: float,
    chunk_length: int,
) -> np.ndarray:
    """Train a network a seed: nats a character on the test streams, [seeds]."""
    rate = create_schedule("cosine", learning_rate, steps, round(0.05 * steps))
    learner = char_rnn.learner(
        model=CharRNN(vocab_size, width, cell=cell),
        optimizer=create_optimizer("adam", rate, clip_norm=1.0),
        chunk_length=chunk_length,
    )

    @jax.jit
    def run(key):
        state = learner.init(key, train)
        state, _ = jax.lax.scan(lambda s, _: (learner.update(s, train)[0], None), state, None, length=steps)
        return learner.evaluate(state, test)["loss"]

    return np.array([jax.device_get(run(jax.random.key(seed))).compute() for seed in range(num_seeds)])


def report(
    results: dict[str, dict[str, np.ndarray]], sizes: dict[str, dict[str, tuple[int, int]]], dataset: str = "pages"
) -> StudyResult:
    """Judge {what is equal: {cell: losses a seed}}, of networks of {what is equal: {cell: (width, parameters)}}."""
    costs = {
        equal: {name: float((v - losses["LSTM"]).mean()) for name, v in losses.items() if name != "LSTM"}
        for equal, losses in results.items()
    }
    forget = all(max(c, key=c.get) == "no forget gate" and c["no forget gate"] > LITTLE for c in costs.values())
    coupled = all(c["coupled gates"] <= LITTLE for c in costs.values())
    peepholes = all(c["peepholes"] >= -LITTLE for c in costs.values())
    words = "; ".join(
        f"at equal {equal} LSTM {results[equal]['LSTM'].mean():.3f} nats, "
        + ", ".join(f"{name} {cost:+.3f}" for name, cost in c.items())
        for equal, c in costs.items()
    )
    verdict = (
        f"{words[0].upper()}{words[1:]}. The forget gate is {'' if forget else 'NOT '}the one that matters most; "
        f"coupled gates {'cost nothing' if coupled else 'DO cost'}, and peepholes "
        f"{'gain nothing' if peepholes else 'DO gain'}."
    )
    numbers = {f"nats, {name}, equal {k}": v.tolist() for k, losses in results.items() for name, v in losses.items()}
    numbers |= {f"width and parameters, {name}, equal {k}": v for k, row in sizes.items() for name, v in row.items()}
    numbers |= {f"cost, {name}, equal {k}": v for k, row in costs.items() for name, v in row.items()}
    equal = next(iter(results))
    headline = Headline(
        f"nats a character that no forget gate costs, equal {equal}",
        results[equal]["no forget gate"] - results[equal]["LSTM"],
        dataset,
        tolerance=0.3,
    )
    return StudyResult(numbers, verdict, {"losses": draw(results)}, forget and coupled and peepholes, headline)


def draw(results):
    figure, axes = new_figure((7, 3.6), grid="y")
    for i, (equal, color) in enumerate(zip(results, (BLUE, VERMILION), strict=False)):
        seed_dots(axes, results[equal], color, label=f"equal {equal}", shift=0.2 * (i - 0.5))
    first = next(iter(results.values()))
    axes.axhline(first["LSTM"].mean(), color=GRAY, ls=":", lw=1)
    axes.set(ylabel="nats a character")
    axes.legend(frameon=False)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    width: Annotated[int, Range(2)] = 128,
    steps: PositiveInt = 300,
    num_streams: PositiveInt = 16,
    chunk_length: PositiveInt = 64,
    learning_rate: NonNegativeFloat = 5e-3,
    dataset: Literal["pages", "shakespeare", "file"] = "pages",
    data_dir: str | None = None,
) -> StudyResult:
    """Train character models with each cell.

    Args:
      width: width of the recurrent layer, and of the LSTM whose parameters are matched.
      num_streams: streams that the text is read in.
      chunk_length: characters of each stream in a step.
      dataset: a text, the few pages that come with the package or another.
      data_dir: shakespeare: the folder of tinyshakespeare.txt; file: the text file.
    """
    text = load_text(dataset, data_dir)
    vocabulary = Vocabulary.of(text)
    train, _, test = split_text(vocabulary.encode(text))
    rows = [streams(train, num_streams, "train"), streams(test, num_streams, "test", whole=True)]
    batches = [source[np.arange(len(source))] for source in rows]
    vocab_size = len(vocabulary.characters)
    size = size_of("lstm", width, vocab_size)
    options = {"num_seeds": num_seeds, "steps": steps, "learning_rate": learning_rate, "chunk_length": chunk_length}
    results, sizes = {"width": {}, "parameters": {}}, {"width": {}, "parameters": {}}
    for name, cell in CELLS.items():
        for equal in results:
            w = width if equal == "width" else width_of_size(cell, size, vocab_size)
            sizes[equal][name] = w, size_of(cell, w, vocab_size)
            if equal == "parameters" and w == width:
                results[equal][name] = results["width"][name]
            else:
                results[equal][name] = losses_of(cell, w, vocab_size, *batches, **options)
    return report(results, sizes, dataset)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "width": 8, "steps": 2, "chunk_length": 16})

if __name__ == "__main__":
    main(experiment)
