import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a function in a module of its name, one in another module, and a module without exports."""
    folder = tmp_path / "lazy_example"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from dlcore.lazy import lazy_exports\n"
        "lazy_exports(globals(), {'knn': 'knn', 'predict': 'knn', 'bleu': 'text'})\n"
    )
    (folder / "knn.py").write_text("def knn(): return 'k'\ndef predict(): return 'p'\n")
    (folder / "text.py").write_text("from lazy_example.knn import predict\ndef bleu(): return predict()\n")
    (folder / "plain.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("lazy_example")
    for name in [name for name in sys.modules if name.split(".")[0] == "lazy_example"]:
        del sys.modules[name]


def test_names_are_imported_when_used(package):
    assert package.__all__ == ["bleu", "knn", "predict"]
    assert {"bleu", "knn", "predict", "__name__"} <= set(dir(package))
    assert "lazy_example.text" not in sys.modules
    assert package.bleu() == "p"
    assert "lazy_example.text" in sys.modules
    with pytest.raises(AttributeError, match="'lazy_example' has no attribute 'other'"):
        package.other  # noqa: B018


def test_a_function_is_not_hidden_by_the_module_of_its_name(package):
    from lazy_example import knn

    assert knn() == "k"
    module = importlib.import_module("lazy_example.knn")
    assert module.knn is package.knn is knn
    from lazy_example import knn as again
    from lazy_example.knn import knn as direct

    assert again is direct is knn


def test_a_function_is_not_hidden_by_a_module_that_was_imported_before(package):
    import lazy_example.knn

    assert lazy_example.knn() == "k"
    importlib.reload(sys.modules["lazy_example.knn"])
    assert package.knn() == "k"


def test_other_submodules_are_reached_as_ever(package):
    from lazy_example import plain

    assert (plain.x, package.plain.x) == (1, 1)
    names = {}
    exec("from lazy_example import *", names)
    assert names["knn"]() == "k"


@pytest.mark.slow
@pytest.mark.parametrize("room", ["data", "data.augment", "evaluators"])
def test_rooms_export_their_names_and_are_light(room):
    heavy = ["PIL", "sklearn", "tensorflow_datasets", "matplotlib", "scipy", "jax"]
    code = (
        f"import sys, dlcore.{room} as room; print(*sorted({set(heavy)!r} & set(sys.modules)));"
        f"[getattr(room, name) for name in room.__all__]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_a_list_the_names_are_those_of_the_files(tmp_path, monkeypatch):
    folder = tmp_path / "lazy_topic"
    folder.mkdir()
    (folder / "__init__.py").write_text("from dlcore.lazy import lazy_exports\nlazy_exports(globals())\n")
    (folder / "one.py").write_text('__all__ = ["One", "learner"]\nclass One: pass\ndef learner(): pass\n')
    (folder / "two.py").write_text('__all__ = ["Two", "learner", "one"]\nTwo, one = 2, 1\ndef learner(): pass\n')
    (folder / "_own.py").write_text('__all__ = ["hidden"]\nhidden = 0\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    topic = importlib.import_module("lazy_topic")
    assert "lazy_topic.one" not in sys.modules
    from lazy_topic import One, Two, one

    assert (One.__name__, Two) == ("One", 2)
    assert one is sys.modules["lazy_topic.one"], "a file keeps its name"
    assert topic.__all__ == ["One", "Two"]
    for name in ("learner", "hidden", "Three"):
        with pytest.raises(AttributeError, match=name):
            getattr(topic, name)
    for name in [name for name in sys.modules if name.split(".")[0] == "lazy_topic"]:
        del sys.modules[name]
