"""An experiment as a manifest for Kubernetes: what `kubectl apply -f -` takes.

    python -m launch.kubernetes.render --name=digits --image=IMAGE --hosts=2 --gpus=8 -- \\
        experiments.classification.supervised --mesh=data:16
    python -m launch.kubernetes.render --name=digits --image=IMAGE --kind=jobset --accelerator=tpu \\
        --tpu=tpu-v6e-slice --topology=4x4 --slices=2 -- experiments.classification.supervised

GPUs: an indexed Job, a pod a host, and a headless Service by which the pods find the first. TPUs: a JobSet with a Job a
slice, for GKE, whose nodes tell each pod its place (the flag distributed=on); a Job does for one slice. The image holds
the checkout and its requirements; runs and compiled programs go to a claim that all hosts can write (made too where
--storage says how large). A pod that is pre-empted, or that aborted because another was lost, is replaced; an error of
the program fails the Job. Jobs are validated against Kubernetes' own schemas, strictly, before anything is printed.

Not run on a cluster. What was tried: processes that are replaced one by one like the pods of a Job, on one machine,
find each other again and go on from the last checkpoint, whichever was killed.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["VERSION", "check", "main", "render", "tpu_hosts"]

VERSION = "1.31"
"""Of Kubernetes, whose schemas the manifest must satisfy: the first with podFailurePolicy as a stable feature."""
HERE = Path(__file__).parent
PORT = 8476
DIMENSIONS = {"tpu-v4-podslice": 3, "tpu-v5-lite-podslice": 2, "tpu-v5p-slice": 3, "tpu-v6e-slice": 2}
"""The axes of a topology by GKE's name of the accelerator."""
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def tpu_hosts(accelerator: str, topology: str, chips: int) -> int:
    """Hosts of a slice with so many chips a host: all chips of the topology, shared out.

    GKE's machines have 1, 4 or 8 chips (ct6e-standard-4t: 4), of v4 and v5p 4; slices of several hosts have 4 each.

    Raises:
      ValueError: the accelerator is unknown, or the topology does not fit it or the hosts.
    """
    if accelerator not in DIMENSIONS:
        raise ValueError(f"tpu={accelerator} is unknown; allowed are {', '.join(DIMENSIONS)}")
    axes = DIMENSIONS[accelerator]
    if not re.fullmatch("x".join(["[1-9][0-9]*"] * axes), topology or ""):
        raise ValueError(f"topology={topology} of {accelerator} must have {axes} axes, like {'x'.join('4' * axes)}")
    total = math.prod(map(int, topology.split("x")))
    if chips not in (1, 4, 8) or total % chips or (chips != 4 and total != chips):
        raise ValueError(f"topology={topology} has {total} chips: not to be had from hosts with chips={chips}")
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
    """The documents of a manifest.

    Args:
      command: the experiment and its flags, as they stand behind `python -m`.
      name: of the Job or JobSet, and of the Service.
      image: the container's.
      kind: job or jobset.
      accelerator: gpu or tpu.
      hosts: pods of a Job; 1 for GPUs, for TPUs what the topology needs.
      gpus: of each host.
      tpu, topology, chips: GKE's name of the accelerator, 4x4 for example, chips of each host.
      slices: Jobs of a JobSet.
      restarts: failures, other than pre-emptions and their consequences, after which to give up.
      claim: of the volume for runs.
      storage: its size, 100Gi for example, where the claim is to be made.
      workdir: the checkout inside the image; the image's own by default.

    Raises:
      ValueError: a value is not allowed, or two do not fit together.
    """
    _check_words(command, name, image, claim)
    allowed = {"kind": (kind, ("job", "jobset")), "accelerator": (accelerator, ("gpu", "tpu"))}
    for word, (value, known) in allowed.items():
        if value not in known:
            raise ValueError(f"{word}={value} must be one of {', '.join(known)}")
    if slices != 1 and (kind, accelerator) != ("jobset", "tpu"):
        raise ValueError(f"slices={slices}: only a jobset of TPUs has several")
    environment: dict[str, Any] = {"PYTHONUNBUFFERED": "1", "JAX_COMPILATION_CACHE_DIR": "/runs/.jax-cache"}
    words = ["python", "-m", *command, "--runs=/runs"]
    selector = placement = None
    if accelerator == "tpu":
        needed = tpu_hosts(tpu, topology, chips)
        if hosts not in (None, needed):
            raise ValueError(f"hosts={hosts}: topology={topology} with chips={chips} has {needed}")
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
            raise ValueError(f"{word}={value} must be at least 1")
    longest = f"{name}-{hosts - 1}" if kind == "job" else f"{name}-slice-{slices - 1}-{hosts - 1}"
    if len(longest) > 57:
        raise ValueError(f"name={name} is too long: a pod would be called {longest}, and 57 characters are allowed")
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
            raise ValueError(f"{word}={value!r} must be at most 63 of a-z, 0-9 and '-', a letter first, no '-' last")
    if not image or re.search(r"\s", image):
        raise ValueError(f"image={image!r} must be the name of an image")
    if not command or not re.fullmatch(r"[A-Za-z_][\w.]*", command[0]):
        raise ValueError(f"the command {list(command)} must begin with an experiment, experiments.TOPIC.PAGE")
    taken = [w for w in command[1:] if re.match(r"--?(runs|run_dir)(=|$)", w)]
    if taken:
        raise ValueError(f"{taken[0]}: runs go to the claim, under /runs")


def _documents() -> list[dict]:
    return list(_yaml().safe_load_all((HERE / "template.yaml").read_text()))


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("manifests need PyYAML: pip install 'dlcore[launch]'") from error
    return yaml


def _filled(node: Any, values: dict[str, Any]) -> Any:
    """A node of the template with the values in it, and without what is None or empty."""
    if isinstance(node, str) and (found := re.fullmatch(r"\$\{(\w+)\}", node)):
        return values[found[1]]
    if isinstance(node, dict):
        filled = {key: _filled(value, values) for key, value in node.items()}
        return {key: value for key, value in filled.items() if value is not None}
    return [_filled(value, values) for value in node] if isinstance(node, list) else node


def check(documents: Sequence[dict]) -> None:
    """Validate: against Kubernetes' schemas strictly, a JobSet's outside against ours and its Job like any other.

    Raises:
      ValueError: a document does not satisfy its schema; the place is named.
    """
    try:
        import jsonschema
        import kubernetes_validate
    except ImportError as error:
        raise ImportError("manifests are validated: pip install 'dlcore[launch]'") from error
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
    """Print the manifest; 0, or 2 where a value is not allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the Job or JobSet")
    parser.add_argument("--image", required=True)
    parser.add_argument("--kind", choices=("job", "jobset"), default="job")
    parser.add_argument("--accelerator", choices=("gpu", "tpu"), default="gpu")
    parser.add_argument("--hosts", type=int, help="pods; of TPUs the topology says how many")
    parser.add_argument("--gpus", type=int, default=8, help="of each host")
    parser.add_argument(
        "--tpu", default="tpu-v6e-slice", choices=tuple(DIMENSIONS), help="GKE's name of the accelerator"
    )
    parser.add_argument("--topology", help="of TPUs, 4x4 for example")
    parser.add_argument("--chips", type=int, default=4, help="TPU chips of each host")
    parser.add_argument("--slices", type=int, default=1, help="of a jobset of TPUs")
    parser.add_argument("--restarts", type=int, default=20, help="failures that end it; pre-emptions do not count")
    parser.add_argument("--claim", default="runs", help="the volume for runs, which all hosts can write")
    parser.add_argument("--storage", help="make the claim, of this size: 100Gi")
    parser.add_argument("--workdir", help="the checkout inside the image")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- experiments.TOPIC.PAGE and its flags")
    options = vars(parser.parse_args(argv))
    command = options.pop("command")
    try:
        documents = render(command[1:] if command[:1] == ["--"] else command, **options)
        check(documents)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(_yaml().safe_dump_all(documents, sort_keys=False, width=110), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
