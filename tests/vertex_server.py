"""Vertex AI, Artifact Registry, IAM and Secret Manager on loopback, as far as `submit` asks them.

They answer at their real hosts, behind the proxy of gcs.py.
"""

import base64
import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gcs

REPOSITORY = "shelter/spotted/spotted"
ACCOUNT = "spotted@shelter.iam.gserviceaccount.com"
SECRET = "projects/shelter/secrets/wandb"
KEY = "0123456789abcdef" * 2 + "01234567"


class Google:
    """What is there, and what was asked for.

    Attributes:
      label: of the image's configuration, None for none.
      jobs: name -> PipelineJob as JSON.
      schedules: name -> Schedule as JSON.
      asked: the paths that were asked for, with their methods.
      script: what a job looks like at each further look; the last is kept.
    """

    def __init__(self, server: gcs.Server, label: str | None):
        self.label = label
        self.jobs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.script: list[dict[str, Any]] = []
        self.forbidden = ""
        server.services["-aiplatform.googleapis.com"] = self.vertex
        server.services["-docker.pkg.dev"] = self.registry
        server.services["iam.googleapis.com"] = self.iam
        server.services["secretmanager.googleapis.com"] = self.secrets

    def _refuses(self, method: str, target: str, headers: Mapping[str, str]) -> gcs.Answer | None:
        self.asked.append(f"{method} {target}")
        if headers.get("authorization") != f"Bearer {gcs.TOKEN}":
            return _answer(401, {"error": {"message": "who are you?"}})
        if self.forbidden and self.forbidden in target:
            return _answer(403, {"error": {"message": "Vertex AI API has not been used in it"}})
        return None

    def registry(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> gcs.Answer:
        labels = {} if self.label is None else {"org.spotted.code": self.label}
        config = json.dumps({"config": {"Labels": labels}}).encode()
        manifest = {"config": {"digest": _digest(config)}}
        one = json.dumps(manifest).encode()
        platform = {"architecture": "amd64", "os": "linux"}
        index = json.dumps({"manifests": [{"digest": _digest(one), "platform": platform}]}).encode()
        there = {"manifests/1": index, f"manifests/{_digest(one)}": one}
        there[f"blobs/{_digest(config)}"] = config
        name = target.removeprefix(f"/v2/{REPOSITORY}/")
        if refused := self._refuses(method, target, headers):
            return refused
        if name not in there:
            return _answer(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        return 200, {"Docker-Content-Digest": _digest(there[name])}, there[name]

    def iam(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> gcs.Answer:
        if refused := self._refuses(method, target, headers):
            return refused
        return _answer(200 if target.endswith(ACCOUNT) else 404, {})

    def secrets(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> gcs.Answer:
        if refused := self._refuses(method, target, headers):
            return refused
        if target != f"/v1/{SECRET}/versions/latest:access":
            return _answer(404, {})
        return _answer(200, {"payload": {"data": base64.b64encode(KEY.encode()).decode()}})

    def vertex(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> gcs.Answer:
        if refused := self._refuses(method, target, headers):
            return refused
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        where, kind, name = re.fullmatch(
            r"/v1(?:beta1)?/(projects/[^/]+/locations/[^/]+)/(pipelineJobs|schedules)(?:/(.*))?",
            parts.path,
        ).groups()  # type: ignore[union-attr]
        held = self.jobs if kind == "pipelineJobs" else self.schedules
        path = f"{where}/{kind}/{name}"
        if method == "POST":
            return self._make(where, kind, query, json.loads(body))
        if name is None:
            return _answer(200, {kind: list(held.values())})
        if path not in held:
            return _answer(404, {"error": {"code": 404, "message": f"there is no {path}"}})
        if method == "DELETE":
            del held[path]
            return _answer(200, {"name": f"{where}/operations/1", "done": True, "response": {
                "@type": "type.googleapis.com/google.protobuf.Empty"}})  # fmt: skip
        if kind == "pipelineJobs" and self.script:
            held[path] |= self.script[0]
            self.script = self.script[1:] or self.script
        return _answer(200, held[path])

    def _make(
        self, where: str, kind: str, query: Mapping[str, list[str]], told: dict[str, Any]
    ) -> gcs.Answer:
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        if kind == "pipelineJobs":
            (name,) = query["pipelineJobId"]
            made = {**told, "state": "PIPELINE_STATE_PENDING"}
            held = self.jobs
        else:
            name = str(len(self.schedules) + 7)
            made = {**told, "state": "ACTIVE", "nextRunTime": now}
            held = self.schedules
        path = f"{where}/{kind}/{name}"
        held[path] = {**made, "name": path, "createTime": now}
        return _answer(200, held[path])


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _answer(code: int, told: dict[str, Any]) -> gcs.Answer:
    return code, {"Content-Type": "application/json"}, json.dumps(told).encode()
