"""docs/cluster.yaml and docs/kuberay.yaml, which people begin with, by what Ray and KubeRay publish of such files."""

import copy
import lzma
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
yaml = pytest.importorskip("yaml")


def read(name):
    return yaml.safe_load((DOCS / name).read_text(encoding="utf-8"))


def test_the_file_of_a_cluster_is_as_ray_wants_it():
    util = pytest.importorskip("ray.autoscaler._private.util")
    cluster = read("cluster.yaml")
    util.validate_config(util.fillout_defaults(cluster))
    with pytest.raises(Exception, match="max_worker"):
        util.validate_config(util.fillout_defaults(cluster | {"max_worker": 3}))
    assert cluster["available_node_types"]["worker"]["min_workers"] >= 1, "else nobody answers the command"


@pytest.fixture(scope="module")
def definition():
    """The schema of KubeRay, in which no name is taken that it does not know, as `kubectl apply --validate=strict`."""
    published = lzma.decompress((ROOT / "tests" / "kuberay" / "ray.io_rayclusters.yaml.xz").read_bytes())
    whole = yaml.load(published, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = (each for each in whole["spec"]["versions"] if each["name"] == "v1" and each["served"])
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema):
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        known.setdefault("additionalProperties", False)
    return known


@pytest.mark.nightly
def test_the_manifest_is_as_kuberay_wants_it(definition):
    validate, error = (getattr(pytest.importorskip("jsonschema"), name) for name in ("validate", "ValidationError"))
    manifest = read("kuberay.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    validate(manifest, definition)
    for change in (
        lambda spec: spec.pop("headGroupSpec"),
        lambda spec: spec.update(headgroupSpec={}),
        lambda spec: spec["workerGroupSpecs"][0].update(minReplicas="1"),
        lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].update(images="x"),
        lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    ):
        wrong = copy.deepcopy(manifest)
        change(wrong["spec"])
        with pytest.raises(error):
            validate(wrong, definition)


def test_the_manifest_starts_what_is_told():
    spec, page = read("kuberay.yaml")["spec"], (DOCS / "scale.md").read_text(encoding="utf-8")
    (workers,) = spec["workerGroupSpecs"]
    assert workers["minReplicas"] >= 1, "else nobody answers the command"
    pods = [each["template"]["spec"]["containers"] for each in (spec["headGroupSpec"], workers)]
    assert [[each["name"] for each in pod] for pod in pods] == [["ray-head"], ["ray-worker"]]
    (image,) = {each["image"] for pod in pods for each in pod}
    (built,) = re.findall(rf"docker build -t {re.escape(image)} (.*) \.\n", page)
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"--build-arg (\w+)=(\"[^\"]*\"|\S+)", built))
    assert arguments.keys() <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    assert arguments["EXTRAS"].split(",") == ["models", "ray"] and "ray[default]" in arguments["MORE"]
    assert f"-c {pods[0][0]['name']} --" in page and f"docker push {image}\n" in page
    (ray,) = re.findall(r"^ray==(\S+?);", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert spec["rayVersion"] == ray
