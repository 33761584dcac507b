"""Render a Kubernetes manifest of an experiment, for `kubectl apply -f -`.

    python -m launch.kubernetes.render --name=digits --image=IMAGE --hosts=2 --gpus=8 -- \\
        experiments.classification.supervised --mesh=data:16
    python -m launch.kubernetes.render --name=digits --image=IMAGE --kind=jobset --accelerator=tpu \\
        --tpu=tpu-v6e-slice --topology=4x4 --slices=2 -- experiments.classification.supervised

GPUs: an indexed Job, a pod a host, and a headless Service by which the pods find the first. TPUs: a JobSet with a Job a
slice, for GKE, whose nodes tell each pod its rank (the flag distributed=on); for one slice a Job is enough. The image
holds the checkout and its requirements; runs and compiled programs go to a claim that all hosts can write (created too
where --storage gives its size). A pod that is preempted, or that aborted because another was lost, is replaced; an
error of the program fails the Job. Jobs are validated strictly against Kubernetes' own schemas before anything is
printed.

Not run on a cluster. Tested on one machine: processes that are replaced one by one like the pods of a Job find each
other again and resume from the last checkpoint, whichever was killed.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcore.extras import MissingPackage, require

__all__ = ["VERSION", "check", "main", "render", "tpu_hosts"]

VERSION = "1.31"
"""Version of Kubernetes whose schemas the manifest must satisfy: the first with a stable podFailurePolicy."""
HERE = Path(__file__).parent
PORT = 8476
DIMENSIONS = {"tpu-v4-podslice": 3, "tpu-v5-lite-podslice": 2, "tpu-v5p-slice": 3, "tpu-v6e-slice": 2}
"""The axes of a topology by GKE's name of the accelerator."""
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def tpu_hosts(accelerator: str, topology: str, chips: int) -> int:
    """Count the hosts of a TPU slice.

    GKE's machines have 1, 4 or 8 chips (ct6e-standard-4t: 4), of v4 and v5p 4; slices of several hosts have 4 each.

    Args:
      accelerator: GKE's name of the accelerator.
      topology: chips along each axis, such as 4x4.
      chips: of each host.

    Returns:
      Chips of the topology over chips of a host.

    Raises:
      ValueError: the accelerator is unknown, or the topology does not fit it or the hosts.
    """
    if accelerator not in DIMENSIONS:
        raise ValueError(f"tpu={accelerator}: unknown; allowed: {', '.join(DIMENSIONS)}")
    axes = DIMENSIONS[accelerator]
    if not re.fullmatch("x".join(["[1-9][0-9]*"] * axes), topology or ""):
        raise ValueError(
            f"topology={topology}: not of {accelerator}; allowed: {axes} axes, like {'x'.join('4' * axes)}"
        )
    total = math.prod(map(int, topology.split("x")))
    if chips not in (1, 4, 8) or total % chips or (chips != 4 and total != chips):
        raise ValueError(
            f"topology={topology}: its {total} chips do not divide over hosts with chips={chips}; "
            "allowed: hosts of 1, 4 or 8 chips, and of 4 where there are several"
        )
    return total // chips


def render(
    command: Sequence[str],
    *,
    name: str,
    image: str,
    kind: str = "job",
    accelerator: str = "gpu",
    hosts: int | None = None,
    gpus: int = 8,
    tpu: str = "tpu-v6e-slice",
    topology: str | None = None,
    chips: int = 4,
    slices: int = 1,
    restarts: int = 20,
    claim: str = "runs",
    storage: str | None = None,
    workdir: str | None = None,
) -> list[dict]:
    """Fill the template.

    Args:
      command: the experiment and its flags, as after `python -m`.
      name: of the Job or JobSet, and of the Service.
      image: the container's.
      kind: job or jobset.
      accelerator: gpu or tpu.
      hosts: pods of a Job; None is 1 for GPUs, and for TPUs the number that the topology needs.
      gpus: of each host.
      tpu: GKE's name of the accelerator.
      topology: chips of a TPU slice along each axis, such as 4x4.
      chips: TPU chips of each host.
      slices: Jobs of a JobSet.
      restarts: failures, other than preemptions and their consequences, after which the Job fails.
      claim: of the volume for runs.
      storage: size of a claim to create, such as 100Gi; None takes an existing claim.
      workdir: the checkout inside the image; None takes the image's own.

    Returns:
      The documents of the manifest.

    Raises:
      ValueError: a value is not allowed, or two do not fit together.
    """
    _check_words(command, name, image, claim)
    allowed = {"kind": (kind, ("job", "jobset")), "accelerator": (accelerator, ("gpu", "tpu"))}
    for word, (value, known) in allowed.items():
        if value not in known:
            raise ValueError(f"{word}={value}: unknown; allowed: {', '.join(known)}")
    if slices != 1 and (kind, accelerator) != ("jobset", "tpu"):
        raise ValueError(f"slices={slices}: too many; allowed: 1, or several in a jobset of TPUs")
    environment: dict[str, Any] = {"PYTHONUNBUFFERED": "1", "JAX_COMPILATION_CACHE_DIR": "/runs/.jax-cache"}
    words = ["python", "-m", *command, "--runs=/runs"]
    selector = placement = None
    if accelerator == "tpu":
        needed = tpu_hosts(tpu, topology, chips)
        if hosts not in (None, needed):
            raise ValueError(f"hosts={hosts}: contradicts topology={topology} with chips={chips}; allowed: {needed}")
        hosts = needed
        resources = {"google.com/tpu": chips}
        selector = {"cloud.google.com/gke-tpu-accelerator": tpu, "cloud.google.com/gke-tpu-topology": topology}
        placement = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
        if hosts * slices > 1:
            words.append("--distributed=on")
    else:
        hosts, resources = 1 if hosts is None else hosts, {"nvidia.com/gpu": gpus}
        first = f"{name}-0.{name}" if kind == "job" else f"{name}-slice-0-0.{name}"
        if hosts > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": f"{first}:{PORT}", "JAX_NUM_PROCESSES": str(hosts)}
            environment["JAX_PROCESS_ID"] = {"fieldRef": {"fieldPath": INDEX}}
    for word, value in {"hosts": hosts, "gpus": gpus, "slices": slices}.items():
        if value < 1:
            raise ValueError(f"{word}={value}: too small; allowed: at least 1")
    longest = f"{name}-{hosts - 1}" if kind == "job" else f"{name}-slice-{slices - 1}-{hosts - 1}"
    if len(longest) > 57:
        raise ValueError(
            f"name={name}: too long, as a pod would be called {longest}; allowed: pod names of 57 characters"
        )
    values = {
        "name": name,
        "image": image,
        "hosts": hosts,
        "slices": slices,
        "restarts": restarts,
        "claim": claim,
        "storage": storage,
        "workdir": workdir,
        "selector": selector,
        "placement": placement,
        "resources": resources,
        "command": [word.replace("$(", "$$(") for word in words],
        "environment": [
            {"name": key, "value" if isinstance(value, str) else "valueFrom": value}
            for key, value in environment.items()
        ],
    }
    volume, service, job, jobset = _documents()
    job = _filled(job, values)
    parts = [_filled(volume, values)] if storage else []
    if kind == "job":
        return [*parts, *([_filled(service, values)] if hosts > 1 else []), job]
    inner = {"metadata": {"labels": job["metadata"]["labels"]}, "spec": job["spec"]}
    return [*parts, _filled(jobset, {**values, "job": inner})]


def _check_words(command: Sequence[str], name: str, image: str, claim: str) -> None:
    for word, value in {"name": name, "claim": claim}.items():
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", value):
            raise ValueError(
                f"{word}={value!r}: not a name; allowed: at most 63 of a-z, 0-9 and '-', a letter first, no '-' last"
            )
    if not image or re.search(r"\s", image):
        raise ValueError(f"image={image!r}: empty, or with spaces; allowed: the name of an image")
    if not command or not re.fullmatch(r"[A-Za-z_][\w.]*", command[0]):
        raise ValueError(f"command={list(command)}: names no experiment; allowed: experiments.TOPIC.NAME and its flags")
    forbidden = [w for w in command[1:] if re.match(r"--?(runs|run_dir)(=|$)", w)]
    if forbidden:
        raise ValueError(f"{forbidden[0]}: runs go to the claim, under /runs; allowed: other flags")


def _documents() -> list[dict]:
    return list(_yaml().safe_load_all((HERE / "template.yaml").read_text()))


def _yaml() -> Any:
    require("yaml", what="a manifest")
    import yaml

    return yaml


def _filled(node: Any, values: dict[str, Any]) -> Any:
    """Put the values into a node of the template, and drop what is None."""
    if isinstance(node, str) and (found := re.fullmatch(r"\$\{(\w+)\}", node)):
        return values[found[1]]
    if isinstance(node, dict):
        filled = {key: _filled(value, values) for key, value in node.items()}
        return {key: value for key, value in filled.items() if value is not None}
    return [_filled(value, values) for value in node] if isinstance(node, list) else node


def check(documents: Sequence[dict]) -> None:
    """Validate documents strictly against Kubernetes' schemas, the outside of a JobSet against our own.

    Args:
      documents: of `render`.

    Raises:
      MissingPackage: the validators are not installed.
      ValueError: a document does not satisfy its schema; the message names the path.
    """
    require("jsonschema", "kubernetes_validate", what="validating a manifest")
    import jsonschema
    import kubernetes_validate

    for document in documents:
        inner = [document]
        try:
            if document.get("kind") == "JobSet":
                jsonschema.validate(document, json.loads((HERE / "jobset.schema.json").read_text()))
                inner = [
                    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": part["name"]}, **part["template"]}
                    for part in document["spec"]["replicatedJobs"]
                ]
            for part in inner:
                kubernetes_validate.validate(part, VERSION, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            path = ".".join(map(str, error.path))
            raise ValueError(f"{document.get('kind')}: {error.message} at {path or 'the top'}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the manifest.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      The exit status: 0, 1 where a package is missing, or 2 where a value is not allowed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the Job or JobSet")
    parser.add_argument("--image", required=True)
    parser.add_argument("--kind", choices=("job", "jobset"), default="job")
    parser.add_argument("--accelerator", choices=("gpu", "tpu"), default="gpu")
    parser.add_argument("--hosts", type=int, help="pods; for TPUs the number follows from the topology")
    parser.add_argument("--gpus", type=int, default=8, help="of each host")
    parser.add_argument(
        "--tpu", default="tpu-v6e-slice", choices=tuple(DIMENSIONS), help="GKE's name of the accelerator"
    )
    parser.add_argument("--topology", help="of TPUs, 4x4 for example")
    parser.add_argument("--chips", type=int, default=4, help="TPU chips of each host")
    parser.add_argument("--slices", type=int, default=1, help="of a jobset of TPUs")
    parser.add_argument("--restarts", type=int, default=20, help="failures that end it; preemptions do not count")
    parser.add_argument("--claim", default="runs", help="the volume for runs, which all hosts can write")
    parser.add_argument("--storage", help="create the claim, of this size: 100Gi")
    parser.add_argument("--workdir", help="the checkout inside the image")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- experiments.TOPIC.NAME and its flags")
    options = vars(parser.parse_args(argv))
    command = options.pop("command")
    try:
        require("jsonschema", "kubernetes_validate", "yaml", what="launch.kubernetes.render")
        documents = render(command[1:] if command[:1] == ["--"] else command, **options)
        check(documents)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MissingPackage as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_yaml().safe_dump_all(documents, sort_keys=False, width=110), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
