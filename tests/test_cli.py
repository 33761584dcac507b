"""The console script: what it lists, and how it fails."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dlcore import cli


def test_models_are_listed_with_their_counts(capsys):
    assert cli.main(["models", "resnet20_*"]) == 0
    line = capsys.readouterr().out
    assert "resnet20_cifar" in line
    assert "269,722 parameters" in line
    assert "32x32x3" in line


def test_published_architectures_are_listed_by_library(capsys):
    assert cli.main(["models", "--published", "Dinov2*"]) == 0
    assert "transformers  Dinov2Model\n" in capsys.readouterr().out
    assert cli.main(["models", "--published", "vit_base_patch16_224"]) == 0
    assert capsys.readouterr().out.startswith("timm          vit_")


@pytest.mark.parametrize("words", [["models"], ["experiments"], ["--help"]])
def test_lists_and_help_import_no_jax(words):
    """What makes them take a fraction of a second."""
    code = (
        "import sys\n"
        "from dlcore.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('jax' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False False"


def test_help_names_each_command_once(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in (
        "experiments",
        "run",
        "search",
        "compare",
        "models",
        "cost",
        "convert",
        "draw",
        "detect",
        "depth",
        "ask",
    ):
        lines = [line for line in text.splitlines() if line.split()[:2] in (["dlcore", command], [command])]
        assert len(lines) == 1, command


@pytest.mark.slow
def test_experiments_are_listed_by_topic_with_what_they_reached(capsys):
    assert cli.main(["experiments", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "classification" in lines
    assert max(map(len, lines)) <= 80
    (ppo,) = [i for i, line in enumerate(lines) if line.startswith("  rl.ppo: ")]
    assert "proximal policy" in lines[ppo]
    assert lines[ppo + 1].endswith("[return 471.8 on CartPole-v1]")
    files = {path.stem for path in Path("experiments/rl").glob("[!_]*.py")}
    assert {line.split(":")[0].strip() for line in lines if line.startswith("  rl.")} == {f"rl.{x}" for x in files}
    assert any(line.startswith("  studies.depth:") for line in lines), "studies are listed too"
    assert cli.main(["experiments", "cartpole", "--all"]) == 0
    names = re.findall(r"^(?:\w+ )?(\w+\.\w+): ", capsys.readouterr().out, re.MULTILINE)
    assert {name.split(".")[0] for name in names} == {"rl", "studies"}
    assert {"rl.ppo", "rl.a2c", "studies.policy_gradient_variance"} <= set(names)


@pytest.mark.slow
def test_an_experiment_is_run_by_its_name(tmp_path, capsys):
    words = ["--model=mlp", "--model.hidden=4", "--steps=1", f"--run_dir={tmp_path / 'run'}", "--noprogress"]
    assert cli.main(["run", "classification.supervised", *words]) == 0
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "studies.depth", "--help"])
    assert caught.value.code == 0
    assert "--help=all" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["run", "rl.pop"], "rl.pop: unknown (did you mean rl.ppo"),
        (["run", "supervised"], "did you mean classification.supervised"),
        (["run", "classification.supervized", "--smoke"], "did you mean classification.supervised"),
    ],
)
def test_a_misspelled_experiment_gets_suggestions(argv, text, capsys):
    assert cli.main(argv) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("net.safetensors", "net"),
        ("net.pth.tar", "net"),
        ("net.safetensors.index.json", "net"),
        ("net.v1.npz", "net.v1"),
        ("shards", "shards.converted"),
    ],
)
def test_converted_weights_are_named_by_their_file_or_beside_their_folder(name, out, tmp_path, capsys):
    """The error about a file that is there already names the folder."""
    (tmp_path / "shards").mkdir()
    (tmp_path / out).touch()
    assert cli.main(["convert", str(tmp_path / name), "--model=lenet5"]) == 1
    assert f"out={str(tmp_path / out)!r}: a file, or not empty" in capsys.readouterr().err


def test_an_image_is_high_by_wide_by_channels(tmp_path, capsys):
    assert cli.main(["cost", "lenet5", "--input=32x28x1"]) == 0
    assert "lenet5 on 1 x 32x28x1 float32" in capsys.readouterr().out


def test_run_without_a_page_shows_its_usage(capsys):
    assert [cli.main(["run", *words]) for words in ([], ["--help"], ["-h"], ["--smoke"])] == [2, 0, 0, 2]
    assert capsys.readouterr().out.count("usage: dlcore run TOPIC.NAME") == 4


@pytest.mark.covers("CO-16")
@pytest.mark.parametrize("side", [224, 227])
def test_the_cost_of_alexnet_is_the_stored_table(side, tmp_path, capsys):
    assert cli.main(["cost", "alexnet", f"--input={side}x{side}x3", f"--csv={tmp_path / 'cost.csv'}"]) == 0
    stored = Path(__file__).parent / "goldens" / f"alexnet_cost_{side}.csv"
    assert (tmp_path / "cost.csv").read_text() == stored.read_text()
    out = capsys.readouterr().out
    assert f"alexnet on 1 x {side}x{side}x3 float32" in out
    assert "61,100,840 parameters (233.1 MiB)" in out
    assert ("72.86" if side == 227 else "70.28") in out


def test_the_models_of_tokens_are_listed_apart(capsys):
    assert cli.main(["models", "gpt2", "--kind=tokens"]) == 0
    assert capsys.readouterr().out.split() == ["gpt2", "124,439,808", "parameters", "tokens"]


def test_cost_with_every_option(tmp_path, capsys):
    argv = ["cost", "resnet8_cifar", "--batch=4", "--dtype=bfloat16", "--chip=h100", "--xla", "--depth=1"]
    assert cli.main([*argv, f"--picture={tmp_path / 'cost.png'}"]) == 0
    with Image.open(tmp_path / "cost.png") as picture:
        assert picture.size == (1050, 750)
    out = capsys.readouterr().out
    assert "resnet8_cifar on 4 x 32x32x3 bfloat16" in out
    for text in ("bound by", "a batch of 4", "989.4 bfloat16 TFLOP/s", "XLA counts", "of temporaries"):
        assert text in out, text


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["models", "nothing*"], "matches none; allowed"),
        (
            ["models", "nothing*", "--published"],
            "pattern='nothing*': matches none; allowed: the names of `dlcore models",
        ),
        (
            ["models", "resnet18", "--kind=tokens"],
            "matches none (did you mean --kind=image?); allowed: names of `dlcore models --kind=KIND`, of image, ",
        ),
        (["cost", "resnet19"], "did you mean"),
        (["cost", "gpt2"], "name='gpt2': it reads tokens; allowed: models of images"),
        (["cost", "resnet18", "--input=0x4x3"], "input='0x4x3'"),
        (["cost", "vgg16", "--input=12x12x3"], "at least 32x32"),
        (["cost", "lenet5", "--batch=0"], "batch=0: too small"),
        (["cost", "lenet5", "--chip=abacus"], "chip='abacus': unknown; allowed: v4, v5e"),
        (["convert", "missing.npz", "--model=resnet18"], "does not exist"),
        (["convert", "FILE.npz"], "model=None: missing; allowed: --model=NAME"),
        (["convert", "FILE.npz", "--to=safetensors", "--model=lenet5"], "model='lenet5': of no use with --to="),
        (["convert", "missing", "--to=safetensors"], "file='missing': holds no trained network; allowed: the folder"),
        (["convert", "FILE.txt", "--model=resnet18"], "unknown format; allowed: .safetensors"),
        (["convert", "JUNK.npz", "--model=resnet18"], "JUNK.npz: empty, damaged or no .npz; allowed: a whole"),
        (["convert", "JUNK.safetensors", "--model=resnet18"], "JUNK.safetensors: damaged"),
        (["convert", "FILE.npz", "--model=resnet19"], "did you mean"),
        (["convert", "FILE.npz", "--model=lenet5"], "left over: strange"),
        (["convert", "FILE.npz", "--model=resnet18", "--mean=0.5,0.5,0.5"], "std=None: one alone; allowed: both"),
        (["convert", "FILE.npz", "--model=resnet18", "--mean=a,b", "--std=1,1"], "mean='a,b': no numbers of pixels"),
        (["convert", "FILE.npz", "--model=resnet18", "--mean=-0.1", "--std=1"], "mean='-0.1': no numbers of pixels"),
        (["convert", "FILE.npz", "--model=resnet18", "--mean=0.5,0.5,0.5", "--std=0.5"], "std=0.5: 1 numbers; allowed"),
        (["cost", "lenet5", "--csv=nowhere/x.csv"], "csv='nowhere/x.csv': no such folder; allowed"),
        (["cost", "lenet5", "--picture=nowhere/x.png"], "picture='nowhere/x.png': no such folder; allowed"),
        (["convert", "FILE.npz", "--model=resnet18", "--mean=0.5", "--std=0"], "std=0: not positive; allowed: numbers"),
        (["draw", ".", "--words=a"], "holds no model_index.json; allowed: a pipeline of diffusers"),
        (["draw", ".", "--words=a", "--size=64"], "--size=64: no size; allowed: HxW, such as 512x512"),
        (["depth", ".", "--input=nowhere.png"], "path='nowhere.png': no such file"),
        (["detect", ".", "--input=nowhere.png"], "path='nowhere.png': no such file"),
        (["detect", ".", "--input=x.png", "--words=,"], "words=',': '' has no letter; allowed: names with commas"),
        (["detect", ".", "--input=x.png", "--threshold=2"], "threshold=2.0: out of range; allowed: numbers in [0, 1]"),
        (["detect", ".", "--input=x.png", "--output=x.gif"], "output='x.gif': another type; allowed: a .png file"),
        (["convert", "FILE.npz", "--model=gpt2", "--mean=0.5", "--std=0.5"], "mean=0.5: gpt2 reads tokens; allowed"),
    ],
)
def test_errors_are_one_line_and_status_1(argv, text, tmp_path, capsys):
    import numpy as np

    np.savez(tmp_path / "FILE.npz", strange=np.zeros(3))
    for name in ("JUNK.npz", "JUNK.safetensors"):
        (tmp_path / name).write_bytes(b"junk" * 20)
    (tmp_path / "FILE.txt").write_text("weights")
    argv = [str(tmp_path / word) if word.startswith(("FILE", "JUNK")) else word for word in argv]
    if argv[0] == "convert":
        argv.append(f"--out={tmp_path / 'out'}")
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_new_folder_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    words = ["convert", str(tmp_path / "FILE.npz"), "--model=lenet5", f"--out={tmp_path / 'out'}"]
    assert cli.main(words) == 1
    assert "out': a file, or not empty; allowed: a new or empty folder" in capsys.readouterr().err


@pytest.mark.slow(unless=["words1-mean1-std1"])
@pytest.mark.parametrize(
    ("words", "mean", "std"),
    [
        ([], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (["--mean=0,0.5,1", "--std=0.2,0.3,0.4"], (0.0, 0.5, 1.0), (0.2, 0.3, 0.4)),
    ],
)
def test_convert_stores_the_normalization_that_it_is_given(words, mean, std, monkeypatch, tmp_path, capsys):
    """Without --mean and --std that of the model's published weights; what was stored is read as the weights' own."""
    import numpy as np

    from dlcore import models
    from dlcore.weights.open import open_weights

    np.savez(tmp_path / "FILE.npz", weight=np.zeros(3))
    monkeypatch.setattr(models, "load_torch", lambda name, weights, **fields: {"params": weights})
    out = tmp_path / "out"
    assert cli.main(["convert", str(tmp_path / "FILE.npz"), "--model=resnet18", f"--out={out}", *words]) == 0
    found = open_weights(out, "init_from")
    assert (found.mean, found.std) == (mean, std)
    said = ", ".join(f"{x:g}" for x in mean)
    assert f"images are normalized by mean {said} and standard deviation" in capsys.readouterr().out


@pytest.mark.weekly
def test_a_segmenter_of_three_classes_is_converted(tmp_path, capsys):
    import jax
    import numpy as np

    from dlcore.models import create_model
    from dlcore.segmentation.torch_segmenters import NAMES, example_inputs
    from dlcore.weights.read import load_weights
    from tests.detection.test_published_names import torch_zeros

    model = create_model("lraspp_mobilenet_v3_large").clone(num_classes=3)
    np.savez(tmp_path / "FILE.npz", **torch_zeros(model, NAMES))
    out = tmp_path / "out"
    words = ["convert", str(tmp_path / "FILE.npz"), "--model=lraspp_mobilenet_v3_large", f"--out={out}"]
    assert cli.main(words) == 0
    assert "3 classes" in capsys.readouterr().out
    about, variables = load_weights(out)
    assert about["num_classes"] == 3
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)


@pytest.mark.slow
def test_a_file_without_a_head_is_converted_without_one(tmp_path, capsys):
    """As DINO and MoCo publish: a page that trains a head starts from it, one that needs a classifier refuses it."""
    import numpy as np

    from dlcore.models.torch_weights import head_paths, torch_names
    from dlcore.weights.network import load_network, open_classifier

    leaves = torch_weights_of("mlp")
    names = torch_names("mlp")
    weights = {names[path]: value for path, value in leaves.items()}
    head, has_head = head_paths("mlp", weights)
    assert (head, has_head) == ({"params/head/kernel", "params/head/bias"}, True)
    file, out = tmp_path / "FILE.npz", tmp_path / "out"
    without = {f"backbone.{names[path]}": value for path, value in leaves.items() if path not in head}
    np.savez(file, **without)
    assert cli.main(["convert", str(file), "--model=mlp", f"--out={out}"]) == 0
    assert f"mlp, {len(without)} arrays, without a head" in capsys.readouterr().out
    with pytest.raises(ValueError, match="out': converted from a file without a head; allowed: weights of a classif"):
        open_classifier(out, "network")
    loaded = load_network(out, "init_from", headless=True)
    assert "head" not in loaded.variables["params"]
    layer = next(path for path in leaves if path not in head)
    got = loaded.variables
    for part in layer.split("/"):
        got = got[part]
    np.testing.assert_array_equal(got, leaves[layer].T if leaves[layer].ndim == 2 else leaves[layer])


def torch_weights_of(name):
    """{path of a variable: an array in torch's layout}; of dense layers and vectors."""
    import jax
    import numpy as np

    from dlcore.models import create_model
    from dlcore.models.registry import example_inputs

    model = create_model(name)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(name, {})))
    leaves = jax.tree.leaves_with_path(shapes)
    rng = np.random.default_rng(0)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): rng.normal(size=leaf.shape[::-1]).astype(np.float32)
        for path, leaf in leaves
    }


def test_without_a_command_the_help_is_printed_with_status_1(capsys):
    """As git does."""
    assert cli.main([]) == 1
    out, err = capsys.readouterr()
    assert (out.startswith("usage: dlcore COMMAND"), err) == (True, "")
    assert len(out.splitlines()) <= 24


@pytest.mark.slow(unless=["classification.supervized"])
@pytest.mark.parametrize("module", ["classification.supervized", "clasification.supervised"])
def test_python_m_of_a_misspelled_experiment_gets_suggestions(module):
    command = [sys.executable, "-m", f"experiments.{module}", "--smoke"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {module}: unknown (did you mean classification.supervised")
    assert len(done.stderr.splitlines()) == 1


def test_a_long_list_is_paged_on_a_terminal_alone(monkeypatch, capsys):
    import pydoc

    paged = []
    monkeypatch.setattr(pydoc, "pager", paged.append)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    assert cli.main(["experiments", "nerf"]) == 0
    assert cli.main(["experiments", "detection"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert not paged
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.main(["experiments", "nerf"]) == 0  # three lines need no pager
    assert not paged
    assert cli.main(["experiments", "detection"]) == 0
    assert len(paged[0].splitlines()) > 24


@pytest.mark.parametrize(("word", "meant"), [("trian", "run"), ("train", "run"), ("modles", "models"), ("zzz", None)])
def test_a_command_that_is_none_is_one_line_with_what_is_near(word, meant, capsys):
    assert cli.main([word]) == 2
    hint = f" (did you mean {meant}?)" if meant else ""
    assert capsys.readouterr().err.startswith(f"error: {word}: no command{hint}; allowed: experiments, run, search")


def test_a_pattern_is_looked_for_in_all_kinds_and_numbers_are_in_order(capsys):
    assert cli.main(["models", "dino*"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {row[0].partition("_")[0]: row[-1] for row in rows} == {"dinov2": "encoder", "dinov3": "image"}
    assert cli.main(["models", "resnet[1-9]*[0-9]"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    for pattern in ("clip*", "yolo*", "sam*"):
        assert cli.main(["models", pattern]) == 0
    capsys.readouterr()
    assert cli.main(["models", "clip*", "--kind=image"]) == 1
    assert (
        "matches none (did you mean --kind=encoder, --kind=pairs, --kind=segmentation?); allowed: names of"
        in capsys.readouterr().err
    )
    assert cli.main(["models", "resnt18"]) == 1
    assert "matches none (did you mean resnet18, " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["cost", "resnet51"], ["convert", "x.pth", "--model=resnet51"]])
def test_a_network_that_is_none_is_told_what_is_near(words, capsys):
    assert cli.main(words) == 1
    assert "='resnet51': unknown (did you mean resnet51q, resnet50, " in (error := capsys.readouterr().err)
    assert error.endswith("; allowed: names of `dlcore models`, of any kind\n")


def test_absent_words_have_status_1(capsys):
    assert cli.main(["experiments", "gaussian", "splatting"]) == 1
    assert "error: gaussian splatting: not in dlcore; nearest: vision3d.nerf" in capsys.readouterr().err
    assert cli.main(["experiments"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 24


def test_commands_without_options_take_their_defaults(tmp_path, monkeypatch, capsys):
    asked = []
    for module, call in (("photograph_depth", "depth_file"), ("photograph_detection", "detect_file")):
        monkeypatch.setattr(f"dlcore.modes.{module}.{call}", lambda *given: asked.append(given))
    monkeypatch.setattr("dlcore.modes.compare.compare", lambda *given: asked.append(given) or "compared")
    folder, photo, named = Path("net"), Path("in/photo.jpg"), tmp_path / "x.png"
    boxes, depth = Path("samples/photo_boxes.png"), Path("samples/photo_depth.png")
    for words, arguments in (
        (["detect", "net", f"--input={photo}"], (folder, photo, None, 0.1, boxes)),
        (["detect", "net", f"--input={photo}", "--words=a", "--threshold=0.5"], (folder, photo, "a", 0.5, boxes)),
        (["depth", "net", f"--input={photo}"], (folder, photo, depth)),
        (["depth", "net", f"--input={photo}", f"--output={named}"], (folder, photo, named)),
        (["compare", "a", "b"], (["a", "b"], Path("runs/compare.html"), "step")),
        (["compare", "a", "--x=epoch", "--out=c.html"], (["a"], Path("c.html"), "epoch")),
    ):
        assert cli.main(words) == 0
        assert asked.pop() == arguments
    assert capsys.readouterr().out == "compared\ncompared\n"
    for command in ("depth", "detect"):
        assert cli.main([command, "net", f"--input={photo}", "--output=nowhere/x.png"]) == 1
        assert "output='nowhere/x.png': no such folder; allowed: a file in a folder" in capsys.readouterr().err


def test_images_of_prompts_are_drawn_to_files(tmp_path, monkeypatch, capsys):
    """With a pipeline in place of a published one: what it is asked, what is said, and the files."""
    import jax.numpy as jnp
    import numpy as np

    opened, drawn = [], []

    class Drawn:
        def rests(self, words):
            return {"text_encoder": "on a hill"} if "hill" in words else {}

        def draw(self, words, **options):
            drawn.append((words, options))
            return np.ones((options["count"], 4, 6, 3), np.float32)

    pipeline = "dlcore.pretrained.pipeline.open_pipeline"
    monkeypatch.setattr(pipeline, lambda folder, **words: opened.append(words) or Drawn())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["draw", "net", "--words=a cat"]) == 0
    assert opened == [{"sharding": None, "param_dtype": jnp.float32}]
    defaults = {"size": None, "count": 1, "steps": None, "guidance": None, "seed": 0}
    assert drawn == [("a cat", defaults)]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["0_a_cat.png"]
    words = ["--words=a red square / a goat on a hill", "--count=2", "--size=4x6", "--seed=3", "--out=out"]
    words += ["--dtype=bfloat16", "--sharding=fsdp", "--steps=3", "--guidance=2.5"]
    assert cli.main(["draw", "net", *words]) == 0
    assert opened[1]["param_dtype"] == jnp.bfloat16
    assert opened[1]["sharding"] is not None
    options = {"size": (4, 6), "count": 2, "steps": 3, "guidance": 2.5, "seed": 3}
    assert drawn[1:] == [("a red square", options), ("a goat on a hill", options)]
    assert "note: text_encoder does not read the end of the prompt: 'on a hill'" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{k}_a_{'red_square' if k < 2 else 'goat_on_a_hill'}.png" for k in range(4)]


def test_a_run_is_published_under_the_names_of_what_it_started_from(tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    saved = []
    module = "dlcore.weights.network."
    network = SimpleNamespace(name="resnet18", class_names=("a", "b", "c"), variables="variables")
    monkeypatch.setattr(module + "published_source", lambda file, argument: f"source of {argument}")
    monkeypatch.setattr(module + "load_network", lambda file, argument: network)
    monkeypatch.setattr("dlcore.pretrained.save_pretrained", lambda *given: saved.append(given))
    (tmp_path / "run").mkdir()
    words = ["convert", str(tmp_path / "run"), "--to=safetensors"]
    assert cli.main(words) == cli.main([*words, f"--out={tmp_path / 'out'}"]) == 0
    rest = ("source of file", "variables", ("a", "b", "c"))
    assert saved == [(tmp_path / "run.converted", *rest), (tmp_path / "out", *rest)]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path / 'run.converted'}: resnet18, 3 classes, under the names of source of file"


def test_of_a_model_and_its_average_the_average_is_taken_unless_it_is_refused(tmp_path, monkeypatch):
    asked = []

    def read_state_dict(file, use_ema):
        asked.append(use_ema)
        raise ValueError("enough")

    monkeypatch.setattr("dlcore.models.weight_files.read_state_dict", read_state_dict)
    words = ["convert", str(tmp_path / "net.npz"), "--model=lenet5"]
    assert cli.main(words) == cli.main([*words, "--no-ema"]) == 1
    assert asked == [True, False]


def test_a_list_is_at_most_120_columns_wide(monkeypatch):
    asked = []
    monkeypatch.setattr("dlcore.experiment.catalog.listing", lambda package, *rest: asked.append(rest) or "")
    for columns in ("119", "121"):
        monkeypatch.setenv("COLUMNS", columns)
        assert cli.main(["experiments", "video"]) == 0
    assert [width for _, width in asked] == [119, 120]


COMMANDS = ("experiments", "compare", "models", "cost", "convert", "draw", "detect", "depth", "ask")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_says_what_it_is(command, monkeypatch, capsys):
    """An option or a place stands two columns in, and its help behind it or on the next line, far to the right."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: dlcore {command} [-h]")
    options = [(line, after) for line, after in zip(lines, [*lines[1:], ""], strict=True) if re.match(r"  \S", line)]
    assert len(options) > 1
    for line, after in options:
        assert re.search(r"\S  +\S", line) or re.match(r" {10,}\S", after), line
