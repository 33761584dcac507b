"""Tables of papers, run again: the paper's setting and numbers, ours with seeds, and what is different.

`python -m experiments.papers` lists the tables, `python -m experiments.papers KEY` measures what has no value yet,
`python -m experiments.papers --queue` measures everything that has none, one run at a time, and goes on where it was
stopped. Values stand in values.jsonl, and the page README.md is written from them.
"""
