"""A stand-in for Google's metadata server announces a preemption, and the process is asked to stop as by any signal."""

import http.server
import threading
import time
import urllib.parse

import pytest

from scaling.training import preemption_notice
from scaling.training.interruption import Interruption


class MetadataServer(http.server.ThreadingHTTPServer):
    """Answers as the real one does: at once where the asker does not know the present value, otherwise when it changes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.changed = threading.Condition()
        self.value, self.version = "FALSE", "1"
        self.asked: list[dict[str, str]] = []
        self.refuse = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def announce(self, value: str) -> None:
        with self.changed:
            self.value, self.version = value, "2"
            self.changed.notify_all()


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        path, _, query = self.path.partition("?")
        options = dict(urllib.parse.parse_qsl(query))
        assert path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google"
        with server.changed:
            server.asked.append(options)
            if server.refuse:
                server.refuse -= 1
                self.send_error(503)
                return
            server.changed.wait_for(lambda: server.version != options["last_etag"], timeout=10)
            self.send_response(200)
            self.send_header("ETag", server.version)
            self.end_headers()
            self.wfile.write(server.value.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    with MetadataServer() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("GCE_METADATA_HOST", running.address)
        yield running
        running.announce("done")
        running.shutdown()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_announced_preemption_asks_the_process_to_stop(server):
    with Interruption() as interruption:
        wait_for(lambda: len(server.asked) == 2)
        # The first answer came at once and said FALSE; the second is waited for.
        assert [options["last_etag"] for options in server.asked] == ["0", "1"]
        assert not interruption.requested
        server.announce("TRUE")
        wait_for(lambda: interruption.requested)
        assert interruption.signal_name == "SIGTERM"


def test_a_server_that_fails_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(preemption_notice, "_PAUSE_SECONDS", 0.05)
    server.refuse = 2
    with Interruption() as interruption:
        wait_for(lambda: len(server.asked) >= 3)
        server.announce("TRUE")
        wait_for(lambda: interruption.requested)


def test_after_the_block_nobody_is_told(server):
    """SIGTERM would end the process, which nobody listens for any more."""
    with Interruption() as interruption:
        wait_for(lambda: len(server.asked) == 2)
    server.announce("TRUE")
    time.sleep(0.3)
    assert not interruption.requested


def test_other_machines_are_told_by_their_name(tmp_path, monkeypatch):
    monkeypatch.setattr(preemption_notice, "_PRODUCT_NAME", tmp_path / "product_name")
    assert preemption_notice.metadata_host({}) is None
    (tmp_path / "product_name").write_text("Standard PC (Q35 + ICH9, 2009)\n")
    assert preemption_notice.metadata_host({}) is None
    (tmp_path / "product_name").write_text("Google Compute Engine\n")
    assert preemption_notice.metadata_host({}) == "metadata.google.internal"
