"""The console script `dlcore`: what needs no learner.

dlcore models ["resnet*"]                  names, parameters and image sizes of the zoo
dlcore convert FILE --model=NAME --out=DIR    a .safetensors, .npz or .pth file of torch weights, for --init_from
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 1 where it could not be done (2 is argparse's, for a command that is none)."""
    parser = argparse.ArgumentParser(
        prog="dlcore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models", help="list the models")
    models.add_argument("pattern", nargs="?", default="*", help="a shell pattern")
    convert = commands.add_parser("convert", help="turn torch weights into a folder for --init_from")
    convert.add_argument("file", type=Path, help=".safetensors, .npz, or .pth, .pt, .bin (these need torch)")
    convert.add_argument("--model", required=True, help="a name of `dlcore models`")
    convert.add_argument("--out", type=Path, help="a new folder (by default the file's name without its ending)")
    options = parser.parse_args(argv)
    try:
        _models(options) if options.command == "models" else _convert(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _models(options: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp

    from dlcore.models import create_model, input_shape, list_models

    names = list_models(options.pattern)
    if not names:
        raise ValueError(f"pattern {options.pattern!r} matches none of {len(list_models())} models")
    for name in names:
        model, shape = create_model(name), input_shape(name)
        variables = jax.eval_shape(lambda m=model, s=shape: m.init(jax.random.key(0), jnp.zeros((1, *s))))
        parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
        print(f"{name:36}{parameters:>14,} parameters   {'x'.join(map(str, shape))}")


def _convert(options: argparse.Namespace) -> None:
    from dlcore.models import load_torch, torch_names
    from dlcore.models.torch_weights import read_state_dict
    from dlcore.run.pretrained import save_weights

    out = options.out or options.file.with_suffix("")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"folder {out} is not empty: choose another with --out")
    weights, names = read_state_dict(options.file), torch_names(options.model)
    head = names.get("params/head/bias")
    fields = {"num_classes": len(weights[head])} if head in weights else {}
    variables = load_torch(options.model, weights, **fields)
    save_weights(out, variables, {"model": options.model, **fields, "file": options.file.name})
    print(f"{out}: {options.model}, {len(names)} arrays, {fields.get('num_classes', 'its own number of')} classes")


if __name__ == "__main__":
    raise SystemExit(main())
