"""A stand-in for Google's object store, as far as the clients of TensorFlow, tensorstore and Google use it: objects in memory, with generations.

`fake_bucket.py FOLDER` serves HTTPS on port 443 with FOLDER/cert.pem and FOLDER/key.pem; every bucket exists. When it is told to end it writes
FOLDER/puts.json: how often each object was written.
"""

import collections
import http.server
import itertools
import json
import pathlib
import re
import signal
import ssl
import sys
import threading
import urllib.parse

_OBJECT = re.compile(
    r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/?]+)(?:/(?P<verb>copyTo|rewriteTo|compose)(?:/b/[^/]+/o/(?P<to>[^/?]+))?)?"
)
_LIST = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o")


class Store:
    """Objects by bucket and name: content and generation."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.uploads: dict[str, dict] = {}
        self.numbers = itertools.count(1)
        self.puts: collections.Counter[str] = collections.Counter()

    def put(self, key, content):
        self.objects[key] = (content, next(self.numbers))
        self.puts[key[1]] += 1
        return self.described(key)

    def described(self, key):
        content, generation = self.objects[key]
        return {
            "kind": "storage#object", "bucket": key[0], "name": key[1], "size": str(len(content)), "generation": str(generation),
            "metageneration": "1", "updated": "2026-01-01T00:00:00.000Z", "timeCreated": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = Store()

    def log_message(self, format, *arguments):
        """Nothing: the test looks at what is stored."""

    def handle_any(self):
        # TensorFlow announces a length beside the chunks.
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b"" if chunked else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if chunked:
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        url = urllib.parse.urlsplit(self.path)
        self.query = {
            name: values[-1] for name, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()
        }
        with self.store.lock:
            self.answer(url.path, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

    def answer(self, path, body):
        if match := _UPLOAD.fullmatch(path):
            return self.upload(match["bucket"], body)
        if match := _OBJECT.fullmatch(path):
            return self.object((match["bucket"], urllib.parse.unquote(match["name"])), match["verb"], match["to"])
        if match := _LIST.fullmatch(path):
            return self.list(match["bucket"])
        if match := _BUCKET.fullmatch(path):
            return self.json({"kind": "storage#bucket", "name": match["bucket"], "location": "US-WEST4"})
        bucket, _, name = urllib.parse.unquote(path).lstrip("/").partition("/")
        return self.content((bucket, name))

    def object(self, key, verb, to):
        store = self.store
        if key not in store.objects:
            return self.json({"error": {"code": 404, "message": "No such object"}}, 404)
        if verb in ("copyTo", "rewriteTo"):
            made = store.put((key[0], urllib.parse.unquote(to)), store.objects[key][0])
            return self.json(
                {"done": True, "resource": made, "totalBytesRewritten": made["size"], "objectSize": made["size"]}
                if verb == "rewriteTo"
                else made
            )
        if self.refused(key):
            return None
        if self.command == "DELETE":
            del store.objects[key]
            return self.send(b"", 204)
        if self.query.get("alt") == "media":
            return self.content(key)
        return self.json(store.described(key))

    def refused(self, key):
        generation = self.store.objects[key][1] if key in self.store.objects else 0
        wanted, unwanted = self.query.get("ifGenerationMatch"), self.query.get("ifGenerationNotMatch")
        if wanted is not None and int(wanted) != generation:
            self.json({"error": {"code": 412, "message": "conditionNotMet"}}, 412)
            return True
        if unwanted is not None and int(unwanted) == generation:
            self.send(b"", 304)
            return True
        return False

    def content(self, key):
        if key not in self.store.objects:
            return self.json({"error": {"code": 404, "message": "No such object"}}, 404)
        content, generation = self.store.objects[key]
        headers = {"x-goog-generation": str(generation)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self.send(content, 200, headers)
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        if first >= len(content):
            return self.send(b"", 416, headers)
        part = content[first : last + 1]
        return self.send(
            part, 206, headers | {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
        )

    def list(self, bucket):
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        start, end = self.query.get("startOffset", ""), self.query.get("endOffset", "")
        names = sorted(name for owner, name in self.store.objects if owner == bucket and name.startswith(prefix))
        names = [name for name in names if name >= start and (not end or name < end)]
        items, prefixes = [], []
        for name in names:
            folder = (
                name[len(prefix) :].partition(delimiter)[0] if delimiter and delimiter in name[len(prefix) :] else None
            )
            if folder is None:
                items.append(self.store.described((bucket, name)))
            elif f"{prefix}{folder}{delimiter}" not in prefixes:
                prefixes.append(f"{prefix}{folder}{delimiter}")
        limit = int(self.query.get("maxResults") or 1000)
        listed = (
            {"kind": "storage#objects"}
            | ({"items": items[:limit]} if items else {})
            | ({"prefixes": prefixes[:limit]} if prefixes else {})
        )
        return self.json(listed)

    def upload(self, bucket, body):
        if self.command == "PUT":
            return self.resumed(self.query["upload_id"], body)
        kind, name = self.query["uploadType"], self.query.get("name")
        if kind == "resumable":
            number = str(next(self.store.numbers))
            self.store.uploads[number] = {"key": (bucket, name or json.loads(body)["name"]), "content": b""}
            host = self.headers["Host"]
            return self.send(
                b"",
                200,
                {"Location": f"https://{host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"},
            )
        if self.refused((bucket, name)):
            return None
        return self.json(self.store.put((bucket, name), body))

    def resumed(self, number, body):
        upload = self.store.uploads[number]
        upload["content"] += body
        total = (self.headers.get("Content-Range") or "").rpartition("/")[2]
        if total.isdecimal() and len(upload["content"]) >= int(total) or not self.headers.get("Content-Range"):
            return self.json(self.store.put(upload["key"], upload["content"]))
        received = len(upload["content"])
        return self.send(b"", 308, {"Range": f"bytes=0-{received - 1}"} if received else {})

    def json(self, value, status=200):
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def send(self, content, status, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def main(folder: str) -> None:
    """Serves until SIGTERM."""
    place = pathlib.Path(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    (place / "ready").touch()
    server.serve_forever()
    (place / "puts.json").write_text(json.dumps(Handler.store.puts))


if __name__ == "__main__":
    main(*sys.argv[1:])
