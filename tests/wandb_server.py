"""A W&B server on the loopback, as far as wandb 0.25 asks it: one artifact, and runs that are sent.

W&B is a service of others: what it is asked was found by listening to its client.
"""

import base64
import contextlib
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "k" * 40
ENTITY, PROJECT, ARTIFACT = "kennel", "spotted", "spotted-breed-teacher"


class Server(ThreadingHTTPServer):
    """Attributes: `files` of the artifact; `sent`, the lines of history that runs sent."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.served: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.finished: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of an answer to a GraphQL query."""
        if "UpsertBucket" in query:
            return {"upsertBucket": {"bucket": self._run(variables), "inserted": True}}
        if "CreateRunFiles" in query:
            return {"createRunFiles": self._uploads(variables["files"])}
        if "ArtifactByName" in query:
            right = variables["name"] in (f"{ARTIFACT}:latest", f"{ARTIFACT}:v0")
            return {"project": {"artifact": self._artifact() if right else None}}
        if "FetchArtifactManifest" in query:
            return {
                "artifact": {"currentManifest": {"file": {"directUrl": f"{self.url}/manifest"}}}
            }
        if "GetArtifactFileUrls" in query:
            return {"artifact": {"files": self._places()}}
        if "viewer" in query:
            return {"viewer": {"id": "me", "entity": ENTITY}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        return {}

    def manifest(self) -> dict[str, Any]:
        return {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": {
                name: {"digest": _md5(data), "birthArtifactID": "QXJ0", "size": len(data)}
                for name, data in self.files.items()
            },
        }

    def _artifact(self) -> dict[str, Any]:
        sequence = {"id": "s", "__typename": "ArtifactSequence", "name": ARTIFACT}
        sequence["project"] = {"name": PROJECT, "entity": {"name": ENTITY}}
        return {
            "__typename": "Artifact",
            "id": "QXJ0",
            "artifactSequence": sequence,
            "artifactType": {"name": "model"},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -1,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "versionIndex": 0,
            "state": "COMMITTED",
            "size": sum(map(len, self.files.values())),
            "digest": "d",
            "fileCount": len(self.files),
            "commitHash": "c",
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }

    def _places(self) -> dict[str, Any]:
        nodes = [
            {"__typename": "File", "name": name, "directUrl": f"{self.url}/file/{name}"}
            for name in self.files
        ]
        return {
            "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
            "edges": [{"node": node} for node in nodes],
        }

    def _run(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        project = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}
        return {"id": "r", "name": name, "displayName": name, "config": "{}", "project": project}

    def _uploads(self, names: list[str]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in names]
        return {"runID": "r", "uploadHeaders": [], "files": files}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._send(b"")

    def do_GET(self) -> None:
        name = self.path.removeprefix("/file/")
        if self.path == "/manifest":
            self._send(json.dumps(self.server.manifest()).encode())
        elif name in self.server.files:
            self.server.served.append(name)
            self._send(self.server.files[name])
        else:
            self._send(b"", 404)

    def do_PUT(self) -> None:
        self._body()
        self._send(b"")

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        if "query" in body:
            data = self.server.answer(body["query"], body.get("variables") or {})
            self._send(json.dumps({"data": data}).encode())
            return
        history = body.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.server.sent += [json.loads(line) for line in history]
        if "exitcode" in body:
            self.server.finished.append(body["exitcode"])
        self._send(b"{}")

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, data: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@contextlib.contextmanager
def running(files: Mapping[str, bytes] | None = None) -> Iterator[Server]:
    """A server that is there until it is left, or its `shutdown` and `server_close` are called."""
    server = Server(files or {})
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
