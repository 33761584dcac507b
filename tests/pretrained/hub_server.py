"""A small local server that speaks the hub's HTTP, for tests: files of a repository, its tree, and what goes wrong."""

import contextlib
import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

COMMIT = "1234567890abcdef1234567890abcdef12345678"


class Hub:
    """Repositories by id, and faults: a status by id, a file that is cut or has another byte."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.statuses: dict[str, int] = {}
        self.cut: set[str] = set()
        self.flipped: set[str] = set()
        self.tokens: list[str] = []
        self.requests: list[str] = []

    def respond(self, handler: http.server.BaseHTTPRequestHandler, with_body: bool) -> None:
        path = handler.path.partition("?")[0]
        self.requests.append(f"{handler.command} {path}")
        self.tokens.append(handler.headers.get("Authorization", ""))
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[:2] == ["api", "models"] else parts
        name = "/".join(parts[:2])
        if name in self.statuses and "Bearer secret" not in handler.headers.get("Authorization", ""):
            return self.fail(handler, self.statuses[name], "GatedRepo" if self.statuses[name] == 403 else "")
        if name not in self.repositories:
            return self.fail(handler, 404, "RepoNotFound")
        folder = self.repositories[name]
        if len(parts) > 3 and parts[2] in ("tree", "revision", "resolve") and parts[3] not in ("main", COMMIT):
            return self.fail(handler, 404, "RevisionNotFound")
        if parts[2:3] == ["resolve"]:
            return self.send_file(handler, folder.joinpath(*parts[4:]), with_body)
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if parts[2:3] == ["tree"]:
            rows = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"} for file in files]
            return self.send(handler, json.dumps(rows).encode(), {"Content-Type": "application/json"}, with_body)
        about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
        return self.send(handler, json.dumps(about).encode(), {"Content-Type": "application/json"}, with_body)

    def send_file(self, handler: http.server.BaseHTTPRequestHandler, file: Path, with_body: bool) -> None:
        if not file.exists():
            return self.fail(handler, 404, "EntryNotFound")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        etag = digest if file.suffix in (".safetensors", ".bin") else digest[:40]
        if file.name in self.flipped:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        return self.send(handler, content, headers, with_body, cut=file.name in self.cut)

    def send(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        content: bytes,
        headers: dict[str, str],
        with_body: bool,
        cut: bool = False,
    ) -> None:
        handler.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if with_body:
            handler.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                handler.wfile.flush()
                handler.close_connection = True
                handler.connection.shutdown(socket.SHUT_RDWR)

    def fail(self, handler: http.server.BaseHTTPRequestHandler, status: int, code: str) -> None:
        handler.send_response(status)
        if code:
            handler.send_header("X-Error-Code", code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve a hub on a free port of this machine; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.respond(self, True)

        def do_HEAD(self) -> None:
            hub.respond(self, False)

        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
