"""Text classification by a GPT or BERT that first learned to continue or fill in text; here below word vectors.

python -m experiments.sequence.text_classification                                   (fine-tuned: 98.8 %)
python -m experiments.sequence.text_classification --parts=head              (the network stays as it is: 98.8 %)
python -m experiments.sequence.text_classification --init_from=none                  (from random weights: 55.6 %)
python -m experiments.sequence.text_classification --model=bert             (BERT: 93.8 %; from random weights 52.8 %)
python -m experiments.sequence.text_classification --init_from=RUN --dataset=pages --length=32              (not run)
python -m experiments.sequence.text_classification --init_from=FOLDER --tokenizer=tokenizer.json --dataset=file \\
    --data_dir=labels.tsv --num_labels=none --learning_rate=5e-5 --layer_decay=0.9                           (not run)

By default the data are lines of 8 words, labeled by their topic, in a drawn language in which each character is a
word; 1.7 % of the lines have no word of their topic. There are 200 labels; the weights come from a run of
sequence.language_model, or with `--model=bert` of sequence.masked_language_model, on a text of that language without
labels, which is found or trained first. RUN is such a run of your own, whose vocabulary the texts must have. FOLDER
holds published weights (`dlcore convert`) of GPT-2 or BERT, and tokenizer.json is the file beside them, by the package
`tokenizers`. A network from weights has their form.
"""

from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.sequence import text_classification
from dlcore.weights.labeled_texts import (
    ClassifyingEncoder,
    ClassifyTexts,
    EncoderWeights,
    LabeledTexts,
    LayersAdamW,
    TextPanels,
)
from dlcore.weights.pretrained_text_encoders import TextEncoder
from experiments.sequence.language_model import experiment as gpt2
from experiments.sequence.masked_language_model import experiment as bert

ENCODER = TextEncoder("gpt2", num_layers=2, num_heads=4, width=64, dropout=0.1, init_from="pretraining")

experiment = Experiment(
    __file__,
    __doc__,
    technique=text_classification.learner,
    data=LabeledTexts(ENCODER, "topics", length=8, num_labels=200, valid_fraction=0.2, test_fraction=0.4),
    network=ClassifyingEncoder(ENCODER),
    optimizer=LayersAdamW(
        learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0, parts=("*",)
    ),
    length=Steps(200, batch_size=32, eval_every=50),
    measures=[Measure("accuracy")],
    report=[TextPanels()],
    use=ClassifyTexts(),
    start=EncoderWeights({"gpt2": gpt2, "bert": bert}),
    sanity=Sanity(
        expected_loss=log_classes,
        plain={"dropout": 0.0, "label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0},
        regularizer="l2",
        overfit=1e-2,
    ),
    smoke={"num_layers": 1, "num_heads": 2, "width": 8, "steps": 4, "batch_size": 8, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)
