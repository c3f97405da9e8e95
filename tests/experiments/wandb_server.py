"""As much of the Weights & Biases server as a run without files needs: it keeps the history."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = {"id": "e", "name": "someone"}
PROJECT = {"id": "p", "name": "spa", "entity": ENTITY}


class Server(ThreadingHTTPServer):
    """What was told to it, by the run's id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.received = 0  # rows of history, those sent again too
        self.about: dict[str, dict[str, Any]] = {}

    def asked(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL request."""
        if operation == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self.bucket(given["name"])}}
        if operation == "UpsertBucket":
            told = {key: value for key, value in given.items() if value is not None}
            new = given.get("name") not in self.about
            self.about.setdefault(given.get("name") or given["id"], {}).update(told)
            bucket = {"id": given["name"], "name": given["name"], "project": PROJECT}
            return {"upsertBucket": {"bucket": bucket | {"config": "{}"}, "inserted": new}}
        if operation == "CreateRunFiles":
            host, port = self.server_address[:2]
            files = [{"name": f, "uploadUrl": f"http://{host}:{port}/put"} for f in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def bucket(self, name: str) -> dict[str, Any] | None:
        """What a run that goes on is told about itself; None when there is none."""
        if name not in self.about:
            return None
        rows = self.history.get(name, [])
        last = json.dumps(rows[-1]) if rows else "{}"
        return {
            **{"id": name, "name": name, "displayName": name, "summaryMetrics": last},
            **{"historyLineCount": len(rows), "historyTail": json.dumps([last])},
            **{"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "config": "{}"},
            **{"tags": [], "notes": None, "wandbConfig": '{"t": 1}'},
        }


class Handler(BaseHTTPRequestHandler):
    """Takes GraphQL requests, file streams and files."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.asked(asked["operationName"], asked["variables"])}
        elif self.path.endswith("/file_stream"):
            told = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            if told:
                rows = self.server.history.setdefault(self.path.split("/")[-2], [])
                self.server.received += len(told["content"])
                rows[told["offset"] :] = map(json.loads, told["content"])
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[tuple[Server, str]]:
    """Serve on a free port; gives the server and its address."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
