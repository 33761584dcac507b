"""The console script `dlcore`.

dlcore experiments [TOPIC | WORD ...]         list the topics, or one with what its experiments were measured to reach,
                                              or find pages, networks, losses, optimizers, metrics, flags and chapters
dlcore run TOPIC.NAME [--FLAG=VALUE ...]      run one: python -m experiments.TOPIC.NAME; --help lists its flags
dlcore search TOPIC.NAME FLAG=SPACE ...       search its settings: python -m dlcore.search
dlcore compare RUN RUN ...                    overlay the curves of runs, list the settings that differ
dlcore models ["resnet*"] [--kind=KIND]       list the zoo: names, parameters and what they read; a pattern is looked
                                              for in all kinds: image, tokens, pairs, encoder, video, detection,
                                              segmentation, depth, generative, chat; --published: to be loaded
dlcore cost MODEL [--chip=h100] [--xla]       parameters, multiply-adds, memory and receptive field, layer by layer
dlcore convert FILE --model=MODEL --out=DIR   a .safetensors, .npz or .pth file of torch weights, for --init_from;
                                              --mean and --std where it normalizes images in another way
                                              or, with --to=safetensors, RUN in place of FILE: a run that started from
                                              a published network, as its library publishes it
dlcore draw FOLDER --words="a red square"     images of a text by a published pipeline of diffusers
dlcore detect FOLDER --input=IMAGE            objects of your photograph; --words="a cat,a dog" for OWL-ViT and OWLv2
dlcore depth FOLDER --input=IMAGE             depth of your photograph by GLPN, DPT or Depth Anything
dlcore ask FOLDER --input=IMAGE --words=TEXT  an answer about your photograph by a LLaVA, Gemma 3, SmolVLM ...

experiments, run and search work in a checkout of dlcore.
"""

import argparse
import difflib
import fnmatch
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcore.run.endings import note_repeats, orderly_ending

__all__ = ["main"]

PAGES = "experiments"
"""Package of the pages in the working directory, which the commands experiments, run and search name."""
OTHER_WORDS = {"train": "run", "evaluate": "run", "predict": "run", "list": "experiments", "find": "experiments"}
"""What other tools call a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      0, or 1 where it failed; 1 also without a command, after the help, as git does.

    Raises:
      SystemExit: with 2 for an unknown command, 130 after Ctrl-C, 141 where the reader of the output is gone.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    note_repeats(argv)
    with orderly_ending():
        return _main(argv)


def _main(argv: list[str]) -> int:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script does not see the checkout that it is called in
    if (checkout := str(Path(__file__).resolve().parents[1])) not in sys.path:
        sys.path.append(checkout)  # nor, of `pip install -e`, the one that dlcore is imported from
    if argv[:1] in (["run"], ["search"]):
        return _run(argv) if argv[0] == "run" else _search(argv[1:])
    parser = argparse.ArgumentParser(
        prog="dlcore",
        usage="dlcore COMMAND [...]",
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        prog="dlcore", dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )

    def command(name: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, description=description, allow_abbrev=False)

    experiments = command("experiments", "List the experiments and studies, or find what a word is about.")
    experiments.add_argument("words", nargs="*", help="a topic, or words to find; nothing lists the topics")
    experiments.add_argument("--all", action="store_true", help="list all that is found, or all experiments")
    command("run", "Run an experiment: dlcore run TOPIC.NAME --FLAG=VALUE ...")
    command("search", "Search an experiment's settings: dlcore search TOPIC.NAME FLAG=SPACE ...")
    compared = command("compare", "Overlay the curves of runs, and list the settings that differ.")
    compared.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    compared.add_argument("--x", choices=("step", "epoch"), default="step", help="the horizontal axis")
    compared.add_argument(
        "--out", type=Path, default=Path("runs/compare.html"), help="the page to write (default %(default)s)"
    )
    models = command("models", "List the models.")
    models.add_argument("pattern", nargs="?", default="*", help="a shell pattern")
    kinds = ("image", "tokens", "pairs", "encoder", "video", "detection", "segmentation", "depth", "generative", "chat")
    models.add_argument("--kind", choices=kinds, help="what they read or give; a pattern is looked for in all")
    models.add_argument(
        "--published", action="store_true", help="list the architectures that from_pretrained and hf:ORG/NAME take"
    )
    cost = command("cost", "What a model costs, layer by layer, without running it.")
    cost.add_argument("name", help="a name of `dlcore models`")
    cost.add_argument("--input", help="HxWxC of an image, 224x224x3; what the model was published for by default")
    cost.add_argument("--batch", type=int, default=1, help="images")
    cost.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of images and arithmetic")
    cost.add_argument("--chip", help="bound the time on v4, v5e, v5p, v6e, a100, h100 or h200, at its bfloat16 peak")
    cost.add_argument("--xla", action="store_true", help="compile it, and say what XLA counts")
    cost.add_argument("--depth", type=int, help="sum what is below this many names of the path")
    cost.add_argument("--csv", type=Path, help="write the table to this file too")
    cost.add_argument("--picture", type=Path, help="draw the layers in this .png, .svg or .pdf file")
    convert = command("convert", "Turn torch weights into a folder for --init_from, or a run into torch weights.")
    convert.add_argument(
        "file",
        type=Path,
        help="weights: .safetensors, .npz, a file of torch.save, or the folder or .index.json of shards; or a run",
    )
    convert.add_argument(
        "--to", choices=("dlcore", "safetensors"), default="dlcore", help="safetensors: write a run as its library does"
    )
    convert.add_argument(
        "--no-ema", action="store_true", help="of a model and its moving average take the model, not the average"
    )
    convert.add_argument("--model", help="a name of `dlcore models`, of any kind; not of a run")
    convert.add_argument("--out", type=Path, help="a new folder (by default the file's name without its ending)")
    convert.add_argument(
        "--mean", help="of the pixels in [0, 1], as 0.5,0.5,0.5; by default that of the model's weights"
    )
    convert.add_argument("--std", help="of the pixels in [0, 1], with --mean")
    draw = command("draw", "Draw images of a text by a published pipeline.")
    draw.add_argument("folder", type=Path, help="a pipeline as diffusers writes it, with model_index.json")
    draw.add_argument("--words", required=True, help="the prompt; several with ' / ' between")
    draw.add_argument(
        "--out", type=Path, default=Path("samples"), help="folder of the .png files (default %(default)s)"
    )
    draw.add_argument("--count", type=int, default=1, help="images of each prompt")
    draw.add_argument("--steps", type=int, help="steps of the sampler; the published number by default")
    draw.add_argument("--guidance", type=float, help="strength of the prompt; the published one by default")
    draw.add_argument("--size", help="HxW in pixels; that of the training by default")
    draw.add_argument("--seed", type=int, default=0, help="seed of the noise")
    draw.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the stored weights")
    draw.add_argument(
        "--sharding", choices=("none", "fsdp"), default="none", help="fsdp splits the weights over all devices"
    )
    detect = command("detect", "Detect the objects of a photograph by a published detector; JSON, one line an object.")
    detect.add_argument("folder", type=Path, help="a detector as a hub serves it, with config.json")
    detect.add_argument("--input", type=Path, required=True, help="the photograph")
    detect.add_argument("--words", help="names of objects with commas between, for OWL-ViT and OWLv2 alone")
    detect.add_argument("--threshold", type=float, default=0.1, help="least score (default %(default)s)")
    detect.add_argument("--output", type=Path, help=".png file with the boxes (default samples/NAME_boxes.png)")
    depth = command("depth", "Predict the depth of a photograph by a published network.")
    depth.add_argument("folder", type=Path, help="a network as a hub serves it: GLPN, DPT or Depth Anything")
    depth.add_argument("--input", type=Path, required=True, help="the photograph")
    depth.add_argument("--output", type=Path, help=".png file of 16 bits (default samples/NAME_depth.png)")
    ask = command("ask", "Ask a published vision-language model about a photograph.")
    ask.add_argument("folder", help="a network as a hub serves it, with tokenizer.json; or a hub id")
    ask.add_argument("--input", type=Path, required=True, help="the photograph")
    ask.add_argument("--words", required=True, help="the question")
    ask.add_argument("--max_tokens", type=int, default=128, help="tokens of the longest answer (default %(default)s)")
    ask.add_argument("--temperature", type=float, default=0.0, help="0 takes the most probable token (the default)")
    ask.add_argument("--seed", type=int, default=0, help="seed of the tokens, above temperature 0")
    ask.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the stored weights")
    if not argv:
        parser.print_help()
        return 1
    if not argv[0].startswith("-") and argv[0] not in commands.choices:
        near = difflib.get_close_matches(argv[0], [*commands.choices, *OTHER_WORDS], 1)
        hint = f" (did you mean {OTHER_WORDS.get(near[0], near[0])}?)" if near else ""
        print(f"error: {argv[0]}: no command{hint}; allowed: {', '.join(commands.choices)}", file=sys.stderr)
        return 2
    options = parser.parse_args(argv)
    try:
        handlers = {"experiments": _experiments, "compare": _compare, "models": _models, "cost": _cost}
        handlers |= {"convert": _convert, "draw": _draw, "detect": _detect, "depth": _depth, "ask": _ask}
        handlers[options.command](options)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _experiments(options: argparse.Namespace) -> None:
    import pydoc

    from dlcore.experiment.catalog import listing, overview, topics

    columns, words = min(shutil.get_terminal_size().columns, 120), " ".join(options.words)
    if not words:
        text = listing(PAGES, "", columns) if options.all else overview(PAGES, columns)
    elif words in topics(PAGES):
        text = listing(PAGES, words, columns)
    else:
        from dlcore.experiment.finder import found_text

        text = found_text(words, PAGES, columns, None if options.all else 16)
    if sys.stdout.isatty() and text.count("\n") >= shutil.get_terminal_size().lines:
        pydoc.pager(text)
    else:
        print(text)


def _compare(options: argparse.Namespace) -> None:
    from dlcore.modes.compare import compare

    print(compare(options.runs, options.out, options.x))


def _run(argv: list[str]) -> int:
    """`dlcore run NAME ...`, as `python -m experiments.NAME ...` does."""
    from dlcore.experiment.catalog import find_experiment
    from dlcore.main import main as run_main
    from dlcore.setting import FlagError

    if len(argv) < 2 or argv[1].startswith("-"):
        print("usage: dlcore run TOPIC.NAME [--FLAG=VALUE ...]; `dlcore experiments` lists the names")
        return 0 if argv[1:2] in (["--help"], ["-h"]) else 2
    try:
        experiment = find_experiment(argv[1], PAGES)
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run_main(experiment, argv[2:])
    return 0


def _search(argv: list[str]) -> int:
    from dlcore.search.__main__ import main as search_main

    if argv and not argv[0].startswith(("-", f"{PAGES}.")):
        argv = [f"{PAGES}.{argv[0]}", *argv[1:]]
    return search_main(argv) or 0


def _models(options: argparse.Namespace) -> None:
    if options.published:
        _published_models(options.pattern)
        return
    from dlcore.models.stored_counts import all_stored_models, natural_order

    kinds = all_stored_models()
    if options.kind or options.pattern == "*":
        kinds = {(kind := options.kind or "image"): kinds[kind]}
    names = {name: kind for kind, rows in kinds.items() for name in fnmatch.filter(rows, options.pattern)}
    if not names:
        everything = {name: kind for kind, rows in all_stored_models().items() for name in rows}
        others = {everything[name] for name in fnmatch.filter(everything, options.pattern)}
        near = [f"--kind={kind}" for kind in sorted(others)]
        near = near or difflib.get_close_matches(options.pattern.strip("*"), everything)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        allowed = f"names of `dlcore models --kind=KIND`, of {', '.join(all_stored_models())}"
        raise ValueError(f"pattern={options.pattern!r}: matches none{hint}; allowed: {allowed}")
    for name in sorted(names, key=natural_order):
        row = kinds[names[name]][name]
        kind = "" if len({*names.values()}) == 1 else f"   {names[name]}"
        print(f"{name:36}{row['parameters']:>14,} parameters   {row['reads']:11}{kind}".rstrip())


def _published_models(pattern: str) -> None:
    """Print the architectures of other libraries that dlcore loads; shell patterns stand for several."""
    from dlcore.pretrained.family import all_families

    rows = {(family.library, name) for family in all_families() for name in family.architectures}
    matches = sorted(
        row for row in rows if fnmatch.fnmatchcase(row[1], pattern) or fnmatch.fnmatchcase(pattern, row[1])
    )
    if not matches:
        raise ValueError(f"pattern={pattern!r}: matches none; allowed: the names of `dlcore models --published`")
    for library, name in matches:
        print(f"{library:14}{name}")


def _check_model(argument: str, name: str) -> None:
    """Refuse a name that no network has, before jax is imported."""
    from dlcore.models.stored_counts import all_stored_models

    names = {name for rows in all_stored_models().values() for name in rows}
    if name not in names:
        near = difflib.get_close_matches(name, names)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise ValueError(f"{argument}={name!r}: unknown{hint}; allowed: names of `dlcore models`, of any kind")


def _cost(options: argparse.Namespace) -> None:
    _check_model("name", options.name)
    import jax
    import jax.numpy as jnp

    from dlcore.cost.layers import layer_costs, total
    from dlcore.cost.roofline import CHIPS
    from dlcore.cost.table import text_table, write_csv
    from dlcore.models import create_model, input_shape

    if options.chip is not None and options.chip not in CHIPS:
        raise ValueError(f"chip={options.chip!r}: unknown; allowed: {', '.join(CHIPS)}")
    if options.batch < 1:
        raise ValueError(f"batch={options.batch}: too small; allowed: at least 1")
    if options.picture and options.picture.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"picture={str(options.picture)!r}: another type; allowed: a .png, .svg or .pdf file")
    _check_parent("csv", options.csv)
    _check_parent("picture", options.picture)
    model = create_model(options.name, dtype=jnp.dtype(options.dtype))
    published = input_shape(options.name)
    shape = _image_shape(options.input) if options.input else published
    x, chip = jax.ShapeDtypeStruct((options.batch, *shape), options.dtype), CHIPS.get(options.chip or "")
    layers = layer_costs(model, x)
    table = text_table(layers, options.batch, chip, options.depth)
    if options.csv:
        write_csv(options.csv, layers, options.batch, chip, options.depth)
    if options.picture:
        from dlcore.report.cost_figure import cost_figure

        title = options.name if options.batch == 1 else f"{options.name}, {options.batch} images"
        cost_figure(layers, title).savefig(options.picture, dpi=150)
    print(f"{options.name} on {options.batch} x {'x'.join(map(str, shape))} {options.dtype}\n")
    print(table)
    if options.xla:
        from dlcore.cost.compiled import compiled_cost, compiled_summary

        print(compiled_summary(compiled_cost(model, x), total(layers)))


def _check_parent(name: str, path: Path | None) -> None:
    """Refuse a file to write whose folder does not exist."""
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"{name}={str(path)!r}: no such folder; allowed: a file in a folder that exists")


def _image_shape(text: str) -> tuple[int, int, int]:
    sizes = [int(part) if part.isdecimal() else 0 for part in text.split("x")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"input={text!r}: not HxWxC; allowed: height, width and channels, as in 224x224x3")
    return sizes[0], sizes[1], sizes[2]


def _draw(options: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp

    from dlcore.pretrained.pipeline import open_pipeline
    from dlcore.report.generative import picture_grid
    from dlcore.report.samples import file_name, save
    from dlcore.run.sharding import make_mesh, sharding_of

    _check_parent("out", options.out)
    size = None if options.size is None else _sides(options.size)
    mesh = None if options.sharding == "none" else make_mesh(f"data:{jax.device_count()}", jax.devices())
    sharding = None if mesh is None else sharding_of(mesh, "fsdp")
    pipeline = open_pipeline(options.folder, sharding=sharding, param_dtype=getattr(jnp, options.dtype))
    prompts = [words.strip() for words in options.words.split(" / ")]
    for k, words in enumerate(prompts):
        for encoder, rest in pipeline.rests(words).items():
            print(f"note: {encoder} does not read the end of the prompt: {rest!r}")
        chosen = {"count": options.count, "steps": options.steps, "guidance": options.guidance, "seed": options.seed}
        images = jax.device_get(pipeline.draw(words, size=size, **chosen))
        for i, image in enumerate(images):
            name = file_name(k * options.count + i, len(prompts) * options.count, words)
            print(save(options.out / name, picture_grid(image[None], 1), 1))


def _detect(options: argparse.Namespace) -> None:
    output = _picture_path(options, "boxes")
    from dlcore.modes.photograph_detection import detect_file

    detect_file(options.folder, options.input, options.words, options.threshold, output)


def _depth(options: argparse.Namespace) -> None:
    output = _picture_path(options, "depth")
    from dlcore.modes.photograph_depth import depth_file

    depth_file(options.folder, options.input, output)


def _ask(options: argparse.Namespace) -> None:
    from dlcore.modes.photograph_answer import answer_file

    sampling = options.max_tokens, options.temperature, options.seed
    print(answer_file(options.folder, options.input, options.words, *sampling, options.dtype))


def _picture_path(options: argparse.Namespace, what: str) -> Path:
    path = options.output or Path("samples") / f"{options.input.stem}_{what}.png"
    if path.suffix != ".png":
        raise ValueError(f"output={str(path)!r}: another type; allowed: a .png file")
    _check_parent("output", options.output)
    return path


def _sides(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise ValueError(f"--size={text}: no size; allowed: HxW, such as 512x512")
    return int(match[1]), int(match[2])


def _convert(options: argparse.Namespace) -> None:
    if options.to == "safetensors":
        _publish(options)
    elif options.model is None:
        raise ValueError("model=None: missing; allowed: --model=NAME, a name of `dlcore models`")
    else:
        _check_model("model", options.model)
        _convert_to_dlcore(options)


def _publish(options: argparse.Namespace) -> None:
    from dlcore.pretrained import save_pretrained
    from dlcore.weights.network import load_network, published_source

    if options.model is not None:
        raise ValueError(f"model={options.model!r}: of no use with --to=safetensors; allowed: no --model")
    source, out = published_source(options.file, "file"), options.out or _converted(options.file)
    network = load_network(options.file, "file")
    save_pretrained(out, source, network.variables, network.class_names)
    print(f"{out}: {network.name}, {len(network.class_names)} classes, under the names of {source}")
    print("note: its processor is the published one, which may resize photographs that are not square in another way")


def _convert_to_dlcore(options: argparse.Namespace) -> None:
    import jax
    from flax.traverse_util import flatten_dict, unflatten_dict

    from dlcore.models import load_torch
    from dlcore.models.torch_weights import count_classes, head_paths
    from dlcore.models.weight_files import read_state_dict
    from dlcore.weights.read import save_weights

    out = options.out or _converted(options.file)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={str(out)!r}: a file, or not empty; allowed: a new or empty folder")
    known = _normalization(options)
    weights = read_state_dict(options.file, use_ema=not options.no_ema)
    classes = count_classes(options.model, weights)
    fields: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    head, has_head = (set(), True) if fields else head_paths(options.model, weights)
    headless = {"headless": True} if head and not has_head else {}
    variables = load_torch(options.model, weights, replace_head=bool(headless), **fields)
    if headless:
        kept = {path: leaf for path, leaf in flatten_dict(variables, sep="/").items() if path not in head}
        variables = unflatten_dict(kept, sep="/")
    save_weights(out, variables, {"model": options.model, **fields, **headless, **known, "file": options.file.name})
    classes = f", {fields['num_classes']} classes" if fields else ", without a head" if headless else ""
    print(f"{out}: {options.model}, {len(jax.tree.leaves(variables))} arrays{classes}")
    if known:
        mean, std = (", ".join(f"{x:g}" for x in known[name]) for name in ("mean", "std"))
        print(f"images are normalized by mean {mean} and standard deviation {std} (--mean and --std change it)")


def _converted(path: Path) -> Path:
    """Name the folder of converted weights: the file's without its ending, or another name beside a folder."""
    if path.is_dir():
        return path.with_name(f"{path.name}.converted")
    return path.with_name(path.name.removesuffix(".index.json").removesuffix(".tar")).with_suffix("")


def _normalization(options: argparse.Namespace) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of a converted model's images; {} where it reads none."""
    from dlcore.models.normalization import normalization
    from dlcore.models.registry import family_of

    if (options.mean is None) != (options.std is None):
        raise ValueError(f"mean={options.mean}, std={options.std}: one alone; allowed: both, or neither")
    reads_images = "image" in getattr(family_of(options.model), "INPUTS", ("image",))
    if options.mean is None:
        return normalization(options.model)._asdict() if reads_images else {}
    if not reads_images:
        raise ValueError(f"mean={options.mean}: {options.model} reads tokens; allowed: of models of images")
    given = {name: _numbers(name, getattr(options, name)) for name in ("mean", "std")}
    if len(given["mean"]) != len(given["std"]):
        raise ValueError(f"std={options.std}: {len(given['std'])} numbers; allowed: {len(given['mean'])}, as of mean")
    channels = len(normalization(options.model).mean)
    if len(given["mean"]) not in (1, channels):
        raise ValueError(f"mean={options.mean}: {len(given['mean'])} numbers; allowed: 1 or {channels}, one a channel")
    if min(given["std"]) <= 0:
        raise ValueError(f"std={options.std}: not positive; allowed: numbers above 0")
    return given


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= x <= 1 for x in numbers):
        raise ValueError(f"{name}={text!r}: no numbers of pixels in [0, 1]; allowed: one a channel, as 0.5,0.5,0.5")
    return numbers


if __name__ == "__main__":
    raise SystemExit(main())
