"""How many evaluations a descent needs for a loss."""

from experiments.studies import style_optimizers as study


def test_the_first_row_that_is_not_above_the_loss_counts():
    rows = [{"evaluations": n, "loss": loss} for n, loss in ((0, 9.0), (3, 2.0), (7, 3.0), (9, 1.0))]
    assert [study.evaluations_to(rows, loss) for loss in (2.5, 2.0, 1.5, 0.5)] == [3, 3, 9, None]
