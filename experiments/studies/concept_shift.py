"""Concept shift: one user's spam is another's mail, so P(y given x) differs where P(x) does not.

python -m experiments.studies.concept_shift

Two users get the same kinds of mail: each word of a mail is drawn alike for both. They agree about most words, and mean
the opposite by a fifth of them (advertising of shops, say). A logistic regression trained on the mails of both has to
compromise; one that may hold a second weight for each word and user does not. The shift cannot be seen in the mails
themselves: a classifier that tells the users apart by the words alone is at chance. The claim holds where in every seed
the personal filter is ahead of the shared one by 5 points at least and the users cannot be told apart by more than 3.

References: Moreno-Torres et al. 2012, "A unifying view on dataset shift in classification"; Weinberger et al. 2009,
arXiv:0902.2206 (personal spam filters).
"""

from typing import Annotated

import numpy as np

from dlcore.classic_ml import logistic
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

AHEAD, APART = 0.05, 0.03
"""Accuracy: of the personal filter above the shared one, at least; of telling users apart above chance, at most."""


def mails(count: int, words: int, opposite: float, seed: int, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw mails of two users: words [count, words] 0 or 1, spam [count] 0 or 1, and user [count] 0 or 1.

    The second user means the opposite by a share `opposite` of the words. `seed` fixes the opinions, `draw` the mails;
    a word is in three of ten mails.
    """
    opinion = np.random.default_rng(seed).normal(size=words)
    shifted_opinion = np.where(np.arange(words) < round(opposite * words), -opinion, opinion)
    rng = np.random.default_rng((seed, draw))
    x = (rng.random((count, words)) < 0.3).astype(np.float32)
    user = rng.integers(0, 2, count)
    score = np.where(user == 0, x @ opinion, x @ shifted_opinion)
    spam = score > np.median(score)
    return x, spam.astype(np.int32), user.astype(np.int32)


def personal(x: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Words, and the words once more where the mail is the second user's."""
    return np.concatenate([x, x * user[:, None]], 1)


def accuracies(seed: int, count: int, words: int, opposite: float) -> dict[str, float]:
    """Train a shared and a personal filter, and a classifier of users, on `count` mails; measure on as many others."""
    (x, spam, user), (x2, spam2, user2) = (mails(count, words, opposite, seed, draw) for draw in (0, 1))

    def accuracy(train, target, test, labels):
        return float((logistic.predict(logistic.train(train, target), test) == labels).mean())

    return {
        "shared": accuracy(x, spam, x2, spam2),
        "personal": accuracy(personal(x, user), spam, personal(x2, user2), spam2),
        "users": accuracy(x, user, x2, user2),
    }


def report(results: list[dict[str, float]]) -> StudyResult:
    """Judge {arm: accuracy} of each seed."""
    values = {arm: [r[arm] for r in results] for arm in ("shared", "personal", "users")}
    ahead = np.subtract(values["personal"], values["shared"])
    holds = bool(ahead.min() >= AHEAD and max(values["users"]) <= 0.5 + APART)
    verdict = (
        f"A filter for both users is right about {100 * np.mean(values['shared']):.1f} % of the mails, a personal one "
        f"about {100 * np.mean(values['personal']):.1f} %; by their words the users are told apart in "
        f"{100 * np.mean(values['users']):.1f} % (chance: 50 %)."
    )
    figure, axes = new_figure((4.5, 3))
    axes.bar(range(3), [np.mean(values[arm]) for arm in values], color=[VERMILION, BLUE, GRAY], width=0.6)
    axes.axhline(0.5, color=GRAY, ls=":", lw=1)
    axes.set_xticks(range(3), ["shared filter", "personal filter", "which user?"])
    axes.set(ylabel="accuracy", ylim=(0, 1))
    headline = Headline(
        "accuracy of personal spam filters",
        values["personal"],
        "mails of two users",
        baseline=(float(np.mean(values["shared"])), "one filter for both users", "higher"),
    )
    figures = {"accuracy": figure}
    return StudyResult({f"accuracy, {arm}": v for arm, v in values.items()}, verdict, figures, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    count: Annotated[int, Range(100)] = 4000,
    words: Annotated[int, Range(5)] = 50,
    opposite: Annotated[float, Range(0, 1)] = 0.2,
) -> StudyResult:
    """Train shared and personal spam filters.

    Args:
      count: training mails, and as many of test.
      words: number of words of the vocabulary.
      opposite: share of words by which the second user means the opposite.
    """
    return report([accuracies(seed, count, words, opposite) for seed in range(num_seeds)])


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "count": 400, "words": 10})

if __name__ == "__main__":
    main(experiment)
