"""The strongest simple methods: what a person would try first, measured as the rows of the ledger are.

python -m experiments.simple                        list the methods, their values and the rows beside which they stand
python -m experiments.simple digits-knn             measure one, and keep its value
python -m experiments.simple --all                  measure all that have no value yet

A file of this folder has the methods of a field, in `METHODS`. `values.jsonl` has what was measured.
"""
