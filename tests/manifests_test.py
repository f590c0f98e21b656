"""The files in launch/ that other programs read: fields that their schemas know, parts that fit.

JobSet's fields are those of its published definition (kubernetes-sigs/jobset,
config/components/crd/bases), RayService's of its own (ray-project/kuberay, docs/reference);
a job's and a pod's are looked up in the Kubernetes client, SkyPilot's and Ray Serve's in their own
schemas, where those packages are installed.
"""

import math
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest
import yaml

from shotstream_jax.serve.options import serve_parser, settings_of

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"
# Of v1alpha2. A job's template is left to Kubernetes' own types.
JOBSET = {"apiVersion", "kind", "metadata", "spec"}
SPEC = {
    "coordinator",
    "failurePolicy",
    "managedBy",
    "network",
    "replicatedJobs",
    "startupPolicy",
    "successPolicy",
    "suspend",
    "ttlSecondsAfterFinished",
}
FAILURE_POLICY = {"maxRestarts", "restartStrategy", "rules"}
RULE = {"action", "name", "onJobFailureReasons", "targetReplicatedJobs"}
REPLICATED_JOB = {"dependsOn", "groupName", "name", "replicas", "template"}
CHIPS = 4  # of a machine of v5p


def manifest() -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())


def test_jobset_has_known_fields():
    jobset = manifest()
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    policy = jobset["spec"]["failurePolicy"]
    (rule,) = policy["rules"]
    (job,) = jobset["spec"]["replicatedJobs"]
    for found, known in (
        (jobset, JOBSET),
        (jobset["spec"], SPEC),
        (policy, FAILURE_POLICY),
        (rule, RULE),
        (job, REPLICATED_JOB),
    ):
        assert set(found) <= known
    assert rule["action"] == "FailJobSet" and {"name", "action"} <= set(rule)


def test_jobset_fits_its_slice():
    """As many pods as the slice has machines; one generation everywhere; the pod is named right."""
    job = manifest()["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    where = pod["nodeSelector"]
    chips = math.prod(map(int, where["cloud.google.com/gke-tpu-topology"].split("x")))
    assert job["parallelism"] == job["completions"] == chips // CHIPS
    assert container["resources"]["limits"]["google.com/tpu"] == CHIPS
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    accelerator = where["cloud.google.com/gke-tpu-accelerator"]
    assert flags(accelerator) == flags("v5p")
    assert "launch/tpu_flags.sh v5p" in container["command"][-1]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def flags(name: str) -> bytes:
    return subprocess.check_output([LAUNCH / "tpu_flags.sh", name])


def test_job_is_what_kubernetes_knows():
    models = pytest.importorskip("kubernetes.client.models", reason="pip install kubernetes")
    template = manifest()["spec"]["replicatedJobs"][0]["template"]
    check_fields(models, "V1JobTemplateSpec", template, "template")


def check_fields(models: Any, kind: str, value: Any, where: str) -> None:
    """Every field of a tree is one that the client's type has."""
    if isinstance(value, list):
        for item in value:
            check_fields(models, kind[len("list[") : -1], item, where)
    elif isinstance(value, dict) and not kind.lower().startswith("dict"):
        model = getattr(models, kind)
        names = {outside: name for name, outside in model.attribute_map.items()}
        for field, inner in value.items():
            assert field in names, f"{where}.{field}"
            check_fields(models, model.openapi_types[names[field]], inner, f"{where}.{field}")


def test_skypilot_reads_its_file():
    jsonschema = pytest.importorskip("jsonschema")
    schemas = pytest.importorskip("sky.utils.schemas", reason="pip install skypilot")
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    jsonschema.validate(task, schemas.get_task_schema())
    (resources,) = [task["resources"]]
    jsonschema.validate(resources, schemas.get_resources_schema())


RAY_SERVICE = {
    "excludeHeadPodFromServeSvc",
    "rayClusterConfig",
    "serveConfigV2",
    "serveService",
    "upgradeStrategy",
}
RAY_CLUSTER = {
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "rayVersion",
    "workerGroupSpecs",
}
RAY_GROUP = {
    "groupName",
    "maxReplicas",
    "minReplicas",
    "rayStartParams",
    "replicas",
    "template",
}


def ray_serve() -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / "ray_serve.yaml").read_text())


def ray_service() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / "ray_service.yaml").read_text()))


def ray_groups() -> list[dict[str, Any]]:
    cluster = ray_service()[0]["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_ray_service_has_known_fields():
    service, policy = ray_service()
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    assert set(service["spec"]) <= RAY_SERVICE and set(cluster) <= RAY_CLUSTER
    assert cluster["authOptions"] == {"mode": "token"}
    for group in ray_groups():
        assert set(group) <= RAY_GROUP
        # What the policy protects is all of it.
        labels = group["template"]["metadata"]["labels"]
        assert policy["spec"]["podSelector"]["matchLabels"] == labels


def test_ray_service_is_the_serve_config_and_fits_its_machines():
    service, policy = ray_service()
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert config == ray_serve()
    (application,) = config["applications"]
    tellers, gates = application["deployments"]
    workers = ray_groups()[1]
    (container,) = workers["template"]["spec"]["containers"]
    assert tellers["num_replicas"] == workers["replicas"]
    has = container["resources"]["limits"]
    assert int(has["nvidia.com/gpu"]) == tellers["ray_actor_options"]["num_gpus"]
    needed = tellers["ray_actor_options"]["num_cpus"] + gates["ray_actor_options"]["num_cpus"]
    assert int(has["cpu"]) >= needed
    assert policy["spec"]["ingress"][0] == {"ports": [{"port": config["http_options"]["port"]}]}


def test_ray_services_pods_are_what_kubernetes_knows():
    models = pytest.importorskip("kubernetes.client.models", reason="pip install kubernetes")
    for group in ray_groups():
        check_fields(models, "V1PodTemplateSpec", group["template"], group.get("groupName", "head"))
    check_fields(models, "V1NetworkPolicy", ray_service()[1], "policy")


def test_the_words_of_the_serve_config_are_the_commands_own():
    (application,) = ray_serve()["applications"]
    args, _ = serve_parser(None).parse(application["args"]["words"])
    assert settings_of(args).origins == ("https://stories.example.org",)


def test_ray_serve_reads_its_config():
    schema = pytest.importorskip("ray.serve.schema", reason="pip install 'shotstream-jax[ray]'")
    ray_app = pytest.importorskip("shotstream_jax.serve.ray_app")
    (application,) = schema.ServeDeploySchema.model_validate(ray_serve()).applications
    assert application.import_path == f"{ray_app.__name__}:{ray_app.build_app.__name__}"
    ray_app.AppArgs.model_validate(application.args)
    names = {deployment.name for deployment in application.deployments}
    assert names == {ray_app.TELLER, ray_app.GATE}


POD = LAUNCH / "gke_pod.sh"
# Ends with the first argument's code at SIGTERM.
STOPPED = """
import pathlib, signal, sys, time
assert sys.argv[2] == "--distributed"
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[1])))
print("ready", flush=True)
for _ in range(600):
    time.sleep(0.05)
"""


@pytest.mark.parametrize("code, told", [(0, 42), (3, 3)])
def test_a_pod_that_saved_is_started_again(code, told):
    words = [POD, sys.executable, "-c", STOPPED, str(code)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as pod:
        assert pod.stdout.readline() == b"ready\n"
        pod.send_signal(signal.SIGTERM)
        pod.communicate(timeout=60)
    assert pod.returncode == told


@pytest.mark.parametrize("code", [0, 2])
def test_a_pod_that_ends_by_itself_keeps_its_code(code):
    done = subprocess.run([POD, "bash", "-c", f"exit {code}"])
    assert done.returncode == code
