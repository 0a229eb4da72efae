"""Cloud Storage on the loopback: the parts of its JSON and XML interfaces that our libraries ask.

Addresses are fixed in TensorFlow's binary, but every library goes through a proxy and trusts the
certificates that it is told to: so the server is that proxy, and answers for the hosts that it is
asked to connect to. It also gives the tokens that logged in clients ask for.
"""

import base64
import contextlib
import dataclasses
import datetime
import email.parser
import hashlib
import itertools
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOSTS = ("*.googleapis.com", "*.pkg.dev")
_PAGE = 500  # names a listing gives at once, so that clients have to ask for the next page
Answer = tuple[int, dict[str, str], bytes]
Service = Callable[[str, str, Mapping[str, str], bytes], Answer]
TOKEN = "token-of-the-tests"
# Somebody who is logged in: the client gets a token for it from the server.
_USER = {
    "type": "authorized_user",
    "client_id": "client",
    "client_secret": "secret",
    "refresh_token": "refresh",
}


@dataclasses.dataclass(frozen=True)
class Object:
    """What lies under a name."""

    data: bytes
    generation: int
    updated: str

    def described(self, bucket: str, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "metageneration": "1",
            "updated": self.updated,
            "timeCreated": self.updated,
            "contentType": "application/octet-stream",
            "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
            "etag": str(self.generation),
        }


class Server(ThreadingHTTPServer):
    """Holds everything in memory.

    Attributes:
      objects: (bucket, name) -> what lies there.
      connected: the hosts that it was asked to connect to, as a proxy.
      location: of every bucket.
      services: what answers for other hosts than Cloud Storage's, by the end of their names.
    """

    daemon_threads = True

    def __init__(self, buckets: tuple[str, ...], folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets = set(buckets)
        self.location = "EUROPE-WEST4"
        self.objects: dict[tuple[str, str], Object] = {}
        self.connected: set[str] = set()
        self._uploads: dict[str, tuple[str, str, bytearray]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.certificate = folder / "certificate.pem"
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _write_certificate(self.certificate, folder / "key.pem")
        self.tls.load_cert_chain(self.certificate, folder / "key.pem")
        self.credentials = folder / "credentials.json"
        self.credentials.write_text(json.dumps(_USER))
        self.services: dict[str, Service] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """What leads every library here, and keeps it from looking for credentials elsewhere."""
        return {
            "https_proxy": self.url,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(self.certificate),
            "REQUESTS_CA_BUNDLE": str(self.certificate),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
        }

    def names(self, bucket: str, below: str = "") -> list[str]:
        """The objects below a folder, without the marks of folders, relative to it."""
        found = [name for of, name in self.objects if of == bucket and name.startswith(below)]
        return sorted(name.removeprefix(below) for name in found if not name.endswith("/"))

    def put(self, bucket: str, name: str, data: bytes) -> Object:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._lock:
            made = Object(data, next(self._numbers), now.replace("+00:00", "Z"))
            self.objects[bucket, name] = made
        return made

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answers one request, which may stand alone or in a batch."""
        host = headers.get("host", "").partition(":")[0]
        for end, service in self.services.items():
            if host.endswith(end):
                return service(method, target, headers, body)
        if target.endswith("/token"):
            return _told({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query, True).items()}
        path = re.sub(r"^/((upload|download|batch)/)?storage/v1", "", parts.path)
        if parts.path.startswith("/batch/"):
            return self._batch(headers["content-type"], body)
        words = [unquote(word) for word in path.strip("/").split("/")]
        if parts.path.startswith("/upload/"):
            return self._upload(method, words[1], query, headers, body)
        if parts.path.startswith("/storage/") or parts.path.startswith("/download/"):
            return self._json(method, words[1:], query, headers, body)
        return self._data((words[0], "/".join(words[1:])), headers)  # the XML interface

    def _json(
        self,
        method: str,
        words: list[str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        bucket = words[0]
        if bucket not in self.buckets:
            return _error(404, f"The specified bucket does not exist: {bucket}")
        if len(words) == 1:
            return _told({"kind": "storage#bucket", "name": bucket, "location": self.location})
        if len(words) == 2:
            return _told(self._list(bucket, query))
        name = (bucket, words[2])
        if words[3:] == ["compose"]:
            sources = [source["name"] for source in json.loads(body)["sourceObjects"]]
            data = b"".join(self.objects[bucket, source].data for source in sources)
            return _told(self.put(*name, data).described(*name))
        if name not in self.objects:
            return _error(404, f"No such object: {bucket}/{words[2]}")
        if words[3:4] in (["rewriteTo"], ["copyTo"]):
            to = (words[5], words[7])
            made = self.put(*to, self.objects[name].data).described(*to)
            size = made["size"]
            rewritten = {"done": True, "resource": made, "objectSize": size}
            rewritten["totalBytesRewritten"] = size
            return _told(rewritten if words[3] == "rewriteTo" else made)
        if method == "DELETE":
            del self.objects[name]
            return 204, {}, b""
        if query.get("alt") == "media":
            return self._data(name, headers)
        return _told(self.objects[name].described(*name))

    def _list(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items: dict[str, Any] = {}
        prefixes = set()
        for (of, name), held in sorted(self.objects.items()):
            if of != bucket or not name.startswith(prefix):
                continue
            inside, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if delimiter and found:
                prefixes.add(prefix + inside + delimiter)
                if not (query.get("includeTrailingDelimiter") and name.endswith(delimiter)):
                    continue
            items[name] = held.described(bucket, name)
        names = sorted({*items, *prefixes})
        start = int(query.get("pageToken") or 0)
        page = names[start : start + min(_PAGE, int(query.get("maxResults") or _PAGE))]
        found = {
            "kind": "storage#objects",
            "items": [items[name] for name in page if name in items],
            "prefixes": [name for name in page if name in prefixes],
        }
        end = start + len(page)
        return found | ({"nextPageToken": str(end)} if end < len(names) else {})

    def _data(self, name: tuple[str, str], headers: Mapping[str, str]) -> Answer:
        if name not in self.objects:
            return _error(404, f"No such object: {'/'.join(name)}")
        data = self.objects[name].data
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if not wanted:
            return 200, {"Content-Type": "application/octet-stream"}, data
        start, end = int(wanted[1]), min(len(data), int(wanted[2] or len(data)) + 1)
        if start >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        return 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end]

    def _upload(
        self,
        method: str,
        bucket: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        if bucket not in self.buckets:
            return _error(404, f"The specified bucket does not exist: {bucket}")
        if "upload_id" in query:
            return self._go_on(query["upload_id"], headers, body)
        kind = query["uploadType"]
        name, data = query.get("name", ""), body
        if kind == "multipart":
            told, data = _parts(headers["content-type"], body)
            name = name or json.loads(told)["name"]
        elif kind == "resumable":
            name = name or json.loads(body)["name"]
        if query.get("ifGenerationMatch") == "0" and (bucket, name) in self.objects:
            return _error(412, "At least one of the pre-conditions you specified did not hold.")
        if kind == "resumable":
            number = str(next(self._numbers))
            self._uploads[number] = (bucket, name, bytearray())
            place = f"{self.url}/upload/storage/v1/b/{quote(bucket)}/o?upload_id={number}"
            return 200, {"Location": place}, b""
        return _told(self.put(bucket, name, data).described(bucket, name))

    def _go_on(self, number: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Takes a part of a resumable upload, or says how far it is."""
        bucket, name, held = self._uploads[number]
        held += body
        total = headers.get("content-range", "bytes */*").rpartition("/")[2]
        if total == "*" or len(held) < int(total):
            return 308, ({"Range": f"bytes=0-{len(held) - 1}"} if held else {}), b""
        return _told(self.put(bucket, name, bytes(held)).described(bucket, name))

    def _batch(self, kind: str, body: bytes) -> Answer:
        """Answers the requests that are parts of one."""
        answers = []
        for number, part in enumerate(_messages(kind, body)):
            head, _, inner = part.partition(b"\r\n\r\n" if b"\r\n\r\n" in part else b"\n\n")
            method, target, _ = head.decode().splitlines()[0].split(" ")
            code, headers, data = self.answer(method, target, {}, inner)
            told = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            answers.append(
                f"--batch\r\nContent-Type: application/http\r\nContent-ID: response-{number}"
                f"\r\n\r\nHTTP/1.1 {code} said\r\n{told}\r\n".encode()
                + data
                + b"\r\n"
            )
        return (
            200,
            {"Content-Type": "multipart/mixed; boundary=batch"},
            b"".join(answers) + b"--batch--\r\n",
        )


def _messages(kind: str, body: bytes) -> list[bytes]:
    message = email.parser.BytesParser().parsebytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
    )
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part.get_payload(decode=True) for part in parts]


def _parts(kind: str, body: bytes) -> tuple[bytes, bytes]:
    """What is said of an object, and its bytes, which no parser of mail may touch."""
    boundary = re.search(r'boundary="?([^";]+)"?', kind)
    assert boundary
    _, told, data, _ = body.split(b"--" + boundary[1].encode(), 3)
    told, data = (part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in (told, data))
    return told, data


def _told(what: Mapping[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(what).encode()


def _error(code: int, message: str) -> Answer:
    told = {"error": {"code": code, "message": message, "errors": [{"message": message}]}}
    return code, {"Content-Type": "application/json"}, json.dumps(told).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_CONNECT(self) -> None:
        self.server.connected.add(self.path.partition(":")[0])
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _answer(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self._body(headers)
        code, told, data = self.server.answer(self.command, self.path, headers, body)
        self.send_response(code)
        for key, value in told.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        found = b""
        while size := int(self.rfile.readline().strip(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def _write_certificate(certificate: Path, key: Path) -> None:
    """A certificate of the hosts of Google's interfaces, that only those trust who are told to."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.contextmanager
def serving(folder: Path, *buckets: str) -> Iterator[Server]:
    """A server with empty buckets; the folder gets its certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    with Server(buckets, folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def upload(server: Server, bucket: str, folder: Path, below: str) -> None:
    """Puts the files of a folder below a name."""
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(place) / name
            server.put(bucket, f"{below}/{path.relative_to(folder)}", path.read_bytes())
