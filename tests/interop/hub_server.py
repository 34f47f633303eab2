"""A hub on this machine that speaks the parts of Hugging Face's API by which folders are pushed and pulled."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_thisIsASecret"


class Hub:
    """What the hub holds: of each repository, whether it is private, and the files of each branch.

    It takes files of any size within commits; Hugging Face's own takes large ones by a protocol of their own, which is
    the library's business.
    """

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.branches: dict[str, dict[str, dict[str, bytes]]] = {}
        self.requests: list[str] = []
        self.address = ""

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        branches = self.branches.get(name, {})
        found = {**branches, **{commit(files): files for files in branches.values()}}
        return found.get(unquote(revision))

    def create(self, asked: Any) -> tuple[int, Any]:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        said = {"url": f"{self.address}/{name}", "name": name}
        if name in self.branches:
            return 409, said
        self.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.branches[name] = {"main": {}}
        return 200, said

    def commit(self, name: str, revision: str, lines: list[Any]) -> tuple[int, Any]:
        files = self.branches[name][unquote(revision)]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
        url = f"{self.address}/{name}/commit/{commit(files)}"
        return 200, {"success": True, "commitOid": commit(files), "commitUrl": url, "hookOutput": ""}


def commit(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, path = self.hub, urlsplit(self.path).path
        hub.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": f"Invalid token {self.headers.get('Authorization')}"})
        if path == "/api/repos/create":
            return self.answer(*hub.create(json.loads(body)))
        owner, name, *rest = path.removeprefix("/api/models/").strip("/").split("/")
        called = f"{owner}/{name.removesuffix('.git')}"
        if called not in hub.branches:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if rest[0] == "branch":
            known = rest[1] in hub.branches[called]
            hub.branches[called].setdefault(unquote(rest[1]), dict(hub.branches[called]["main"]))
            return self.answer(409 if known else 200, {})
        if rest[0] == "preupload":
            asked = json.loads(body)["files"]
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]
            return self.answer(200, {"files": files})
        if rest[0] == "commit":
            return self.answer(*hub.commit(called, rest[1], [json.loads(line) for line in body.splitlines()]))
        return self.answer(404)

    def do_GET(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        hub.requests.append(f"{self.command} {path}")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        if len(parts) < 2 or "/".join(parts[:2]) not in hub.branches:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        name, rest = "/".join(parts[:2]), parts[2:]
        if hub.private[name] and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        files = hub.files(name, rest[1] if len(rest) > 1 else "main")
        if files is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        if rest and rest[0] == "resolve":
            content = files.get("/".join(rest[2:]))
            if content is None:
                return self.answer(404, b"", X_Error_Code="EntryNotFound")
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, content, ETag=etag, X_Repo_Commit=commit(files))
        if rest and rest[0] == "tree":
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            return self.answer(200, tree)
        siblings = [{"rfilename": path} for path in files]
        return self.answer(200, {"id": name, "sha": commit(files), "siblings": siblings, "private": hub.private[name]})

    do_HEAD = do_GET


@contextmanager
def running() -> Iterator[Hub]:
    """Run a hub inside; its address is in the object."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
