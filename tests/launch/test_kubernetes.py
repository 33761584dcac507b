"""Manifests: what Kubernetes' own schemas say of them, and what they say to the processes."""

import copy
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from launch.kubernetes.render import VERSION, check, main, render, tpu_hosts

ROOT = Path(__file__).resolve().parents[2]
PAGE = ["experiments.classification.supervised", "--mesh=data:16"]
TPU = {"kind": "jobset", "accelerator": "tpu", "tpu": "tpu-v6e-slice", "topology": "4x4"}


def made(command=PAGE, **options):
    documents = render(command, **{"name": "digits", "image": "registry/image:1", **options})
    check(documents)
    return documents


def variables(container):
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_two_hosts_with_gpus_find_each_other():
    service, job = made(hosts=2, gpus=8)
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    found = variables(container)
    # Pod 0 of an indexed Job is called NAME-0, and NAME-0.SUBDOMAIN where a headless Service of that name selects it.
    assert found["JAX_COORDINATOR_ADDRESS"].split(":")[0] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert found["JAX_NUM_PROCESSES"] == "2"
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert found["JAX_PROCESS_ID"] == {"fieldRef": {"fieldPath": path}}
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    assert container["command"] == ["python", "-m", *PAGE, "--runs=/runs"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["runs"] == "/runs"
    assert {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}} in pod["volumes"]


def test_one_host_has_no_service_and_no_coordinator():
    (job,) = made(hosts=1)
    assert not any(name.startswith("JAX_COORD") for name in variables(job["spec"]["template"]["spec"]["containers"][0]))


def test_exit_codes_decide_whether_a_pod_is_replaced_or_the_job_fails():
    (job,) = made(restarts=7)
    assert job["spec"]["backoffLimit"] == 7
    said = [
        (rule["action"], rule.get("onExitCodes", {}).get("values"), rule.get("onPodConditions"))
        for rule in job["spec"]["podFailurePolicy"]["rules"]
    ]
    assert said == [
        ("Ignore", None, [{"type": "DisruptionTarget", "status": "True"}]),
        ("FailJob", [1, 2], None),
        ("Ignore", [75, 134, 143], None),
    ]
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy insists on it"
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["shareProcessNamespace"] is True


def test_process_1_would_abort_with_another_status(tmp_path):
    """Why the pod shares its process namespace: 134 is ignored, 139 is not."""
    if subprocess.run(["unshare", "-p", "-f", "true"], capture_output=True, check=False).returncode:
        pytest.skip("process namespaces cannot be made here")
    abort = [sys.executable, "-c", "import os; os.abort()"]
    inside = subprocess.run(["unshare", "-p", "-f", *abort], capture_output=True, check=False).returncode
    assert inside not in (134, -6)
    assert subprocess.run(abort, capture_output=True, check=False).returncode == -6


def test_flags_reach_the_program_as_they_are():
    odd = ["--label=a b'\"", "--path=$(HOME)/x", "--mesh=data:4,model:2"]
    (job,) = made([PAGE[0], *odd])
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    # Kubernetes puts variables in for $(NAME), and writes $$(NAME) as $(NAME).
    assert command[3:-1] == [odd[0], "--path=$$(HOME)/x", odd[2]]


def test_slices_of_tpus_are_a_jobset():
    (jobset,) = made(**TPU, slices=2, restarts=3)
    assert jobset["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    assert jobset["spec"]["failurePolicy"] == {
        "maxRestarts": 3,
        "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
    }
    (part,) = jobset["spec"]["replicatedJobs"]
    assert part["replicas"] == 2
    spec = part["template"]["spec"]
    assert spec["completions"] == spec["parallelism"] == 4  # 4x4 = 16 chips, 4 a host
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert "--distributed=on" in container["command"]
    assert "JAX_PROCESS_ID" not in variables(container), "jax asks what GKE has put there"


def test_a_jobset_of_gpus_names_its_first_pod_as_jobset_does():
    (jobset,) = made(kind="jobset", hosts=2)
    container = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    part = jobset["spec"]["replicatedJobs"][0]["name"]
    assert variables(container)["JAX_COORDINATOR_ADDRESS"].startswith(f"digits-{part}-0-0.digits:")
    assert jobset["spec"]["network"]["subdomain"] == "digits"


def test_a_claim_is_made_where_a_size_is_given():
    volume, _ = made(storage="100Gi", claim="results")
    assert (volume["kind"], volume["metadata"]["name"]) == ("PersistentVolumeClaim", "results")
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volume["spec"]["resources"]["requests"]["storage"] == "100Gi"


def misspelt(document, *path):
    document = copy.deepcopy(document)
    node = document
    for step in path[:-1]:
        node = node[step]
    node[f"{path[-1]}s"] = node.pop(path[-1])
    return document


def test_a_misspelt_key_is_refused_everywhere():
    service, job = made(hosts=2)
    (jobset,) = made(**TPU)
    inside = ("spec", "replicatedJobs", 0, "template", "spec")
    for document, *path in (
        (job, "spec", "backoffLimit"),
        (job, "spec", "template", "spec", "subdomain"),
        (job, "spec", "podFailurePolicy", "rules"),
        (service, "spec", "clusterIP"),
        (jobset, "spec", "network"),
        (jobset, "spec", "failurePolicy", "maxRestarts"),
        (jobset, *inside, "backoffLimit"),
        (jobset, *inside, "template", "spec", "nodeSelector"),
    ):
        check([document])
        with pytest.raises(ValueError, match=path[-1]):
            check([misspelt(document, *path)])
    kubernetes_validate.validate(job, VERSION, strict=True)


def test_values_of_a_wrong_type_are_refused():
    (jobset,) = made(**TPU)
    jobset["spec"]["failurePolicy"]["rules"][0]["action"] = "Ignore"
    with pytest.raises(ValueError, match=r"JobSet: 'Ignore' is not one of .* at spec.failurePolicy.rules.0.action"):
        check([jobset])


@pytest.mark.parametrize(
    ("accelerator", "topology", "chips", "hosts"),
    [
        ("tpu-v5-lite-podslice", "2x4", 8, 1),
        ("tpu-v5-lite-podslice", "2x4", 4, 2),
        ("tpu-v5-lite-podslice", "16x16", 4, 64),
        ("tpu-v6e-slice", "1x1", 1, 1),
        ("tpu-v5p-slice", "4x4x8", 4, 32),  # Google's table: 128 chips, 32 machines
        ("tpu-v4-podslice", "2x2x1", 4, 1),
    ],
)
def test_hosts_of_a_slice(accelerator, topology, chips, hosts):
    assert tpu_hosts(accelerator, topology, chips) == hosts


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "Digits"}, "name='Digits': not a name; allowed: at most 63 of a-z"),
        ({"name": "-a"}, "name='-a'"),
        ({"name": "a" * 60}, "a pod would be called"),
        ({"image": "a b"}, "image='a b'"),
        ({"hosts": 0}, "hosts=0: too small; allowed: at least 1"),
        ({"gpus": 0}, "gpus=0: too small; allowed: at least 1"),
        ({"slices": 2}, "slices=2: too many; allowed: 1, or several in a jobset of TPUs"),
        ({"kind": "pod"}, "kind=pod: unknown; allowed: job, jobset"),
        ({**TPU, "hosts": 2}, "hosts=2: contradicts topology=4x4 with chips=4; allowed: 4"),
        ({**TPU, "topology": "4x4x4"}, "topology=4x4x4: not of tpu-v6e-slice; allowed: 2 axes, like 4x4"),
        ({**TPU, "topology": None}, "topology=None"),
        ({**TPU, "chips": 8}, "topology=4x4: its 16 chips do not divide over hosts with chips=8"),
        ({**TPU, "tpu": "v6e"}, "tpu=v6e: unknown; allowed: tpu-v4-podslice"),
        ({"command": []}, "names no experiment; allowed: experiments.TOPIC.NAME"),
        ({"command": ["--mesh=data:2"]}, "names no experiment; allowed: experiments.TOPIC.NAME"),
        ({"command": [PAGE[0], "--run_dir=x"]}, "--run_dir=x: runs go to the claim"),
    ],
)
def test_errors_name_invalid_options(options, said):
    with pytest.raises(ValueError) as caught:
        made(**{"command": PAGE, **options})
    assert said in str(caught.value)


def test_the_command_prints_yaml_that_says_the_same(capsys):
    assert main(["--name=digits", "--image=i", "--hosts=2", "--gpus=4", "--", *PAGE]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == made(image="i", hosts=2, gpus=4)
    assert main(["--name=Digits", "--image=i", "--", *PAGE]) == 2
    assert capsys.readouterr().err.startswith("error: name='Digits'")
