"""The manifests, judged by Kubernetes' own schemas (kubernetes-validate) and KEDA's (cloudcoil).

A trigger's metadata has no schema anywhere: KEDA's page on redis-streams is what it is held to.
"""

import copy
import re
from typing import Any

import pytest
from fakes.deploy_files import DEPLOY, Document, containers_of, documents, judge, manifests, pod_of

from pipeline.ring.ring import RING_DIRECTORY
from pipeline.streams.keys import Keys

RELEASE = "1.37"
ALL = dict(manifests())
PODS = {where: pod for where, each in ALL.items() if (pod := pod_of(each)) is not None}
CONTAINERS = {
    f"{where}:{container['name']}": (pod, container)
    for where, pod in PODS.items()
    for container in containers_of(pod)
}
WORKERS = [name for name in CONTAINERS if name.endswith(":worker")]
TRIGGER = {"address", "usernameFromEnv", "stream", "streamLength"}  # those of its page in use here


def validate(document: Document) -> None:
    if document["apiVersion"].startswith("keda.sh/"):
        keda = judge("cloudcoil.models.keda.v1alpha1")
        model = getattr(keda, document["kind"]).model_validate(document)
        known = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
        assert known == document, "a word that KEDA does not know"
    else:
        judge("kubernetes_validate").validate(document, RELEASE, strict=True)


@pytest.mark.parametrize("where", ALL)
def test_manifest_fits_its_schema(where: str) -> None:
    validate(ALL[where])


@pytest.mark.parametrize("kind", ["Deployment", "CronJob", "ScaledObject"])
def test_schema_refuses_a_word_that_it_does_not_know(kind: str) -> None:
    wrong = copy.deepcopy(next(each for each in ALL.values() if each["kind"] == kind))
    wrong["spec"]["replicaas"] = 2
    with pytest.raises((judge("kubernetes_validate").ValidationError, AssertionError)):
        validate(wrong)


def test_kustomization_names_every_file_once_and_none_that_is_not_there() -> None:
    (page,) = documents(DEPLOY / "kustomization.yaml")
    assert page["kind"] == "Kustomization"
    named = {DEPLOY / each for each in page["resources"]}
    in_place_of_others, when_needed = "line-on-a-node.yaml", "admit-line-1.yaml"
    alone = {DEPLOY / "kubernetes" / name for name in (in_place_of_others, when_needed)}
    assert named == set((DEPLOY / "kubernetes").glob("*.yaml")) - alone
    assert [each["files"] for each in page["configMapGenerator"]] == [["redis.conf"]]


@pytest.mark.parametrize("where", CONTAINERS)
def test_container_is_confined_and_pinned(where: str) -> None:
    pod, container = CONTAINERS[where]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # a Service called `prn` would set PRN_PORT
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert re.search(r":v?\d+\.\d+\.\d+", container["image"])


@pytest.mark.parametrize("where", CONTAINERS)
def test_every_mounted_volume_is_one_of_the_pod(where: str) -> None:
    pod, container = CONTAINERS[where]
    claimed = {each["metadata"]["name"] for each in _claims(where)}
    there = {each["name"] for each in pod.get("volumes", ())} | claimed
    assert {each["name"] for each in container.get("volumeMounts", ())} <= there


def _claims(where: str) -> list[dict[str, Any]]:
    document = ALL[where.rpartition(":")[0]]
    found: list[dict[str, Any]] = document["spec"].get("volumeClaimTemplates", [])
    return found


def test_every_claim_of_a_pod_is_made() -> None:
    made = {each["metadata"]["name"] for each in ALL.values() if each["kind"].endswith("Claim")}
    for pod in PODS.values():
        for volume in pod.get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in made


def test_every_selector_finds_its_pods() -> None:
    for document in ALL.values():
        wanted = document["spec"].get("selector", {}) if "spec" in document else {}
        pod = document.get("spec", {}).get("template")
        if pod is not None and document["kind"] != "Job":  # a Job's selector is made for it
            assert wanted["matchLabels"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("where", WORKERS)
def test_worker_is_probed_on_its_port_and_has_time_to_drain(where: str) -> None:
    pod, container = CONTAINERS[where]
    flags = dict(zip(container["command"][1::2], container["command"][2::2], strict=True))
    (port,) = container["ports"]
    assert str(port["containerPort"]) == flags["--port"]
    assert flags["--host"] == "0.0.0.0"  # noqa: S104  # probes come from outside the pod
    assert pod["terminationGracePeriodSeconds"] > float(flags["--drain-s"])
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert probes["liveness"]["path"] == "/healthz"
    assert probes["readiness"]["path"] == "/readyz"


def test_a_worker_is_reached_on_its_page_only_and_a_camera_not_at_all() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in ALL.values()
        if each["kind"] == "NetworkPolicy"
    }
    worker, camera = policies["line-1-worker"], policies["line-1-camera"]
    assert worker["ingress"] == [{"ports": [{"port": "page"}]}]
    assert "ingress" not in camera
    assert policies["redis"]["policyTypes"] == ["Ingress", "Egress"]
    for name in ("worker", "camera"):
        labels = ALL[f"line-1.yaml:Deployment:line-1-{name}"]["spec"]["template"]["metadata"]
        wanted = policies[f"line-1-{name}"]["podSelector"]["matchLabels"]
        assert wanted.items() <= labels["labels"].items()


def test_camera_and_worker_of_one_pod_share_a_ring_in_memory() -> None:
    (pod,) = (pod for where, pod in PODS.items() if where.startswith("line-on-a-node"))
    (ring,) = (each for each in pod["volumes"] if each["name"] == "ring")
    assert ring["emptyDir"]["medium"] == "Memory"
    for container in pod["containers"]:
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounts["ring"] == str(RING_DIRECTORY)


def test_scaler_counts_the_frames_of_the_line_whose_workers_it_scales() -> None:
    (scaler,) = (each for each in ALL.values() if each["kind"] == "ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]["name"]
    (trigger,) = scaler["spec"]["triggers"]
    assert trigger["type"] == "redis-streams"
    assert set(trigger["metadata"]) == TRIGGER
    (container,) = PODS[f"line-1.yaml:Deployment:{target}"]["containers"]
    line = container["command"][container["command"].index("--line") + 1]
    assert trigger["metadata"]["stream"] == Keys(line).frames
    variables = {each["name"] for each in container["env"]}
    assert trigger["metadata"]["usernameFromEnv"] in variables
    assert "replicas" not in ALL[f"line-1.yaml:Deployment:{target}"]["spec"]
    assert scaler["spec"]["minReplicaCount"] > 1  # else the disruption budget stops every drain


def test_engine_is_proved_beside_a_worker_as_it_serves_and_registered_where_workers_look() -> None:
    (admit,) = (pod for where, pod in PODS.items() if where.startswith("admit-line-1"))
    worker = PODS["line-1.yaml:Deployment:line-1-worker"]["containers"][0]
    (beside,) = admit["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = ALL["line-1.yaml:Deployment:line-1-worker"]["spec"]["template"]["metadata"]["labels"]
    assert beside["labelSelector"]["matchLabels"].items() <= labels.items()
    fetch, prove, register = containers_of(admit)
    engine = prove["command"][prove["command"].index("--engine") + 1]
    *_, version, folder = fetch["command"]
    assert engine.startswith(f"{folder}/{version}/")
    assert register["command"][-1] == engine
    registry = worker["command"][worker["command"].index("--registry") + 1]
    assert registry in fetch["command"]
    assert registry in register["command"]
    assert prove["resources"] == worker["resources"]
    assert _threads(prove) == _threads(worker)


def _threads(container: dict[str, Any]) -> str:
    return str(container["command"][container["command"].index("--threads") + 1])
