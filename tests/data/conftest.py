"""A stand-in for a package that is not installed, and a locale of ASCII."""

import importlib
import locale
import sys

import pytest


@pytest.fixture
def stand_in_package(tmp_path, monkeypatch):
    """Give a function that imports a package with this source under a name, which is free again after the test."""
    written = []

    def write(name, source):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        written.append(name)
        return importlib.import_module(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def ascii_locale():
    """Files are opened as ASCII where no encoding is stated, as on a server without a locale."""
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    yield
    locale.setlocale(locale.LC_CTYPE, before)
