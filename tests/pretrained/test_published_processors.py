"""Image processors of transformers, by their classes and defaults, on photographs of five shapes.

`write_processors.py` wrote the goldens.
"""

import json
import re

import numpy as np
import pytest

from dlcore.pretrained.processor import processor_of_transformers
from tests.models.parity import GOLDENS
from tests.pretrained.write_processors import SIDES, photograph

with np.load(GOLDENS / "published_processors.npz") as file:
    GOLDEN = dict(file)
CASES = json.loads(str(GOLDEN["meta"]))["cases"]
PHOTOGRAPHS = [name for name in CASES if re.search(r"\.\d$", name)]


@pytest.mark.covers("PT-02", "PT-10")
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_prepared_as_transformers_does(name):
    case, i = name.split(".")
    processor = processor_of_transformers(CASES[case])
    values = processor(photograph(int(i), *SIDES[int(i)]))["pixel_values"][0].transpose(2, 0, 1)
    assert list(values.shape) == CASES[name]["shape"]
    differences = np.abs(values.reshape(-1)[:: CASES[name]["stride"]] - GOLDEN[name])
    assert differences.max() <= 1.001 * processor.scale / min(processor.std or (1.0,))
