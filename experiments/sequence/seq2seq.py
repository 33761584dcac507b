"""Seq2seq: copy, reverse or sort strings, by a transformer or a recurrent network with or without attention.

python -m experiments.sequence.seq2seq                                    (reverse, transformer)
python -m experiments.sequence.seq2seq --task=copy                        (copy, transformer)
python -m experiments.sequence.seq2seq --model=attention --lengths=4,20
python -m experiments.sequence.seq2seq --model=rnn --lengths=4,20
python -m experiments.sequence.seq2seq --mode=predict --run=RUN --input="c a b d"

No string of the validation and test splits is trained on. `--input` names a text file, a string a line, or is a string
itself; `--format=json` prints what each symbol looked at, too.
"""

from dlcore.data.strings import Strings
from dlcore.evaluators.string_matches import StringMatches
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.optim import AccumulatingAdamW
from dlcore.sequence import seq2seq
from dlcore.sequence.encoder_decoder_network import EncoderDecoder, log_vocabulary
from dlcore.sequence.sequence_pairs import WriteSequences
from experiments.smoke import SEQUENCE_PAIRS, SEQUENCE_PAIRS_PLAIN

experiment = Experiment(
    __file__,
    __doc__,
    technique=seq2seq.learner,
    data=Strings("reverse", vocabulary=20, lengths=(4, 16), train_size=50_000, test_size=10_000),
    network=EncoderDecoder(
        "transformer",
        transformer={
            "features": 64,
            "hidden_features": 128,
            "num_heads": 4,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "dropout_rate": 0.0,
            "pre_norm": True,
        },
        rnn={"hidden_size": 128, "embedding_dim": 64},
    ),
    optimizer=AccumulatingAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0),
    length=Steps(2000, batch_size=128, eval_every=500, eval_batch_size=1000),
    measures=[StringMatches()],
    use=WriteSequences(),
    sanity=Sanity(expected_loss=log_vocabulary, plain=SEQUENCE_PAIRS_PLAIN, overfit=1e-2),
    smoke={**SEQUENCE_PAIRS, "lengths": (2, 5), "valid_size": 16},
)

if __name__ == "__main__":
    main(experiment)
