"""Image captioning: describe colored shapes that a program draws, or the photographs of Flickr8k.

python -m experiments.vision_language.caption       (99.7 % of the captions equal a reference, and 75 % of the attention
                                                     is on the shape that is named; 10 min on one core)
python -m experiments.vision_language.caption --model=rnn --recurrent.inject=every_step   (98.5 %; 2 min)
python -m experiments.vision_language.caption --model=lstm                                (98.7 %; 10 min)
python -m experiments.vision_language.caption --model=transformer                         (99.9 % and 76 %; 23 min)
python -m experiments.vision_language.caption --dataset=flickr8k --data_dir=D --batch_size=32 --captions_per_image=2 \\
    --augment=color --attention.dropout=0.3 --attention.hidden_size=384 --ema=0.999 --label_smoothing=0.1 \\
    --learning_rate=0.001 --steps=3000 --eval_every=250 --blind_steps=1000
                                               (CIDEr-D 0.213, without the image 0.072; BLEU-4 10.0; 45 min on one core)
python -m experiments.vision_language.caption --mode=evaluate --run=RUN_DIR --beam_size=3
                                                                   (0.244, without the image 0.104; BLEU-4 12.1; 4 min)
python -m experiments.vision_language.caption --mode=predict --run=RUN_DIR --input=IMAGE  (a caption of your image)

D holds captions_train.json.gz, captions_val.json.gz, captions_test.json.gz, train.zip, val.zip and test.zip. The best
checkpoint is that with the highest CIDEr-D of greedy captions on 200 validation images; `--beam_size=3` is a beam
search. The report shows BLEU and CIDEr-D beside those of an image-blind model, of one caption for all, and of another
person.
"""

from functools import partial

from dlcore.data.images_to_describe import ImagesToDescribe
from dlcore.evaluators.caption_scores import CaptionScores, log_words
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.described_images import DescribeImages
from dlcore.vision_language import captioning
from dlcore.vision_language.caption_network import CaptionNetwork
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(captioning.learner, captions_per_image=2, max_length=20),
    data=ImagesToDescribe("shapes", num_images=8000, augment="none"),
    network=CaptionNetwork(
        "attention",
        backbone="small",
        attention={
            "alignment_penalty": 0.0,
            "hidden_size": 128,
            "embedding_dim": 64,
            "attention_features": 64,
            "image_features": 64,
        },
        small={"width": 24},
    ),
    optimizer=AveragedAdamW(
        learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0, ema=0.99
    ),
    length=Steps(2400, batch_size=64, eval_every=600, eval_batch_size=100),
    measures=[CaptionScores(monitor_images=200, blind_steps=300)],
    use=DescribeImages(),
    sanity=Sanity(
        expected_loss=log_words,
        tolerance=0.25,
        plain={"augment": "none", "label_smoothing": 0.0, "weight_decay": 0.0, "ema": None},
    ),
    smoke={
        **few_steps(4),
        "num_images": 32,
        "blind_steps": 2,
        "small.width": 8,
        "recurrent.hidden_size": 16,
        "attention.hidden_size": 16,
        "transformer.width": 16,
    },
)

if __name__ == "__main__":
    main(experiment)
