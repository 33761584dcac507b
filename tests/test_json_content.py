"""JSON that cannot be read is a ValueError, also where it is nested too deeply."""

import pytest

from dlcore.json_content import parse_json


def test_deep_nesting_is_an_error_of_the_text():
    assert parse_json(b'\xef\xbb\xbf{"a": [1, null]}') == {"a": [1, None]}
    with pytest.raises(ValueError, match="recursion"):
        parse_json("[" * 100_000)
    with pytest.raises(ValueError, match="Expecting"):
        parse_json("[")
