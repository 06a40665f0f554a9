"""As much of S3 as Lance speaks, in memory: objects, ranges, lists, parts, deletions, conditional writes."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import attrs

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@attrs.define
class ObjectStore:
    """What a server holds and was asked.

    Attributes:
        endpoint: where it listens.
        key: the access key that it lets in.
        objects: key -> bytes.
        refused: requests without that access key.
    """

    endpoint: str
    key: str
    objects: dict[str, bytes] = attrs.field(factory=dict)
    parts: dict[str, dict[int, bytes]] = attrs.field(factory=dict)
    refused: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    @property
    def options(self) -> dict[str, str]:
        """What opens it, as Lance takes it."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_access_key_id": self.key,
            "aws_secret_access_key": "nobody knows",
            "aws_region": "here",
            "allow_http": "true",
        }


@contextmanager
def serving(key: str = "somebody") -> Iterator[ObjectStore]:
    """Serve an empty bucket of any name."""
    server = _Server(("127.0.0.1", 0), _Handler)
    store = ObjectStore(f"http://127.0.0.1:{server.server_address[1]}", key)
    server.store = store  # type: ignore[attr-defined]  # a handler reaches its server alone
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that were refused."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second one would wait 40 ms for the first

    def do_GET(self) -> None:
        key, query = self._asked()
        if "list-type" in query:
            return self._list(query)
        content = self._store.objects.get(key)
        if content is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        span, status, headers = self.headers.get("Range"), 200, self._headers(content)
        if span is not None:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(content) - int(last))
            end = min(int(last) + 1, len(content)) if first and last else len(content)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            content, status = content[start:end], 206
        self._answer(status, content, headers)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        key, query = self._asked()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self._store.lock:
            if "partNumber" in query:
                self._store.parts[query["uploadId"]][int(query["partNumber"])] = content
            elif self.headers.get("If-None-Match") == "*" and key in self._store.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                self._store.objects[key] = content
        self._answer(200, b"", self._headers(content))

    def do_POST(self) -> None:
        key, query = self._asked()
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self._store.lock:
            if "delete" in query:
                names = [unescape(name) for name in re.findall("<Key>(.*?)</Key>", asked.decode())]
                for name in names:
                    self._store.objects.pop(name, None)
                gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
                body = f"<DeleteResult {NAMESPACE}>{gone}</DeleteResult>"
            elif "uploads" in query:
                number = f"upload-{len(self._store.parts)}"
                self._store.parts[number] = {}
                body = f"<InitiateMultipartUploadResult {NAMESPACE}><UploadId>{number}</UploadId>"
                body += "</InitiateMultipartUploadResult>"
            else:
                parts = self._store.parts[query["uploadId"]]
                self._store.objects[key] = b"".join(parts[number] for number in sorted(parts))
                body = f"<CompleteMultipartUploadResult {NAMESPACE}><ETag>x</ETag>"
                body += "</CompleteMultipartUploadResult>"
        self._answer(200, body.encode())

    def do_DELETE(self) -> None:
        key, _ = self._asked()
        self._store.objects.pop(key, None)
        self._answer(204, b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests look at what the store holds."""

    @property
    def _store(self) -> ObjectStore:
        found = getattr(self.server, "store", None)
        assert isinstance(found, ObjectStore), "serving sets it"
        return found

    def _asked(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        if f"Credential={self._store.key}/" not in self.headers.get("Authorization", ""):
            self._store.refused += 1
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            raise ConnectionAbortedError("no access")
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        return unquote(url.path).lstrip("/").partition("/")[2], query

    def _list(self, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        folders, found = set[str](), list[str]()
        for key, content in sorted(self._store.objects.items()):
            if not key.startswith(prefix) or key <= query.get("start-after", ""):
                continue
            inner, more, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if more:
                folders.add(f"{prefix}{inner}{more}")
            else:
                found.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>x</ETag><Size>{len(content)}</Size></Contents>"
                )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders
        )
        body = f"<ListBucketResult {NAMESPACE}><IsTruncated>false</IsTruncated>{''.join(found)}{common}"
        self._answer(200, f"{body}</ListBucketResult>".encode())

    def _headers(self, content: bytes) -> dict[str, str]:
        digest = hashlib.sha256(content).hexdigest()
        return {"ETag": f'"{digest}"', "Last-Modified": formatdate(0, usegmt=True)}

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
