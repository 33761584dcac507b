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

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.captioning import ImagesToDescribe
from dlcore.vision_language import captioning
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    captioning.learner,
    task=ImagesToDescribe(),
    optimizer=AveragedAdamW(learning_rate=3e-3, weight_decay=0.01, clip_norm=1.0, ema=0.99),
    defaults={
        "attention.alignment_penalty": 0.0,
        "attention.hidden_size": 128,
        "attention.embedding_dim": 64,
        "attention.attention_features": 64,
        "attention.image_features": 64,
        "captions_per_image": 2,
        "max_length": 20,
        "steps": 2400,
        "batch_size": 64,
        "eval_every": 600,
        "eval_batch_size": 100,
    },
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
