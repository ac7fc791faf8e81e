"""Google's cloud announces a preemption on its metadata server, about 30 s before it ends the machine: the process then sends itself SIGTERM.

The system's own shutdown sends SIGTERM too, but later, and not into every container. Only the preemption itself counts: maintenance of a host is
announced up to an hour ahead, and a process that stopped for it would be started again at once on the same machine. Source: the documentation of
Compute Engine on Spot VMs ("Detect preemption") and on the metadata server ("wait_for_change", "last_etag").
"""

import contextlib
import http.client
import os
import pathlib
import signal
import threading
import urllib.request
from collections.abc import Iterator, Mapping

_PRODUCT_NAME = pathlib.Path("/sys/class/dmi/id/product_name")

# The server answers when the value changes, or after this time.
_WAIT_SECONDS = 60

_PAUSE_SECONDS = 5.0


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Watches for the notice inside the block, from a thread of its own; does nothing elsewhere than on Google's cloud."""
    host = metadata_host(os.environ)
    if host is None:
        yield
        return
    stopped = threading.Event()
    threading.Thread(target=_watch, args=(host, stopped), name="preemption notice", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def metadata_host(environment: Mapping[str, str]) -> str | None:
    """The metadata server as Google's own libraries find it, without asking the network; None on other machines."""
    if "GCE_METADATA_HOST" in environment:
        return environment["GCE_METADATA_HOST"]
    on_google = _PRODUCT_NAME.exists() and _PRODUCT_NAME.read_text().startswith("Google")
    return "metadata.google.internal" if on_google else None


def _watch(host: str, stopped: threading.Event) -> None:
    version = "0"
    while not stopped.is_set():
        try:
            preempted, version = _is_preempted(host, version)
        except (OSError, http.client.HTTPException):
            # A server that does not answer is asked again: the notice is a courtesy, and training needs none.
            stopped.wait(_PAUSE_SECONDS)
            continue
        if preempted and not stopped.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _is_preempted(host: str, version: str) -> tuple[bool, str]:
    """What the server says, with the version of its answer; it waits until it has another one than `version`."""
    address = f"http://{host}/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec={_WAIT_SECONDS}&last_etag={version}"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    # Straight to the server: a proxy would ask about its own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_WAIT_SECONDS + 10) as answer:
        return answer.read().strip() == b"TRUE", answer.headers.get("ETag", "0")
