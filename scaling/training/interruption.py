"""Notices that end a process soon become a flag that is read at step boundaries and between evaluation batches.

What counts as a notice: SIGTERM, SIGINT, SIGUSR1 and SIGUSR2, and the announcement of a preemption on Google's cloud
(:mod:`scaling.training.preemption_notice`). It is a courtesy that may not come; what is guaranteed is the last periodic checkpoint.
"""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from scaling import distributed
from scaling.errors import EXIT_INTERRUPTED
from scaling.training import preemption_notice

_NOTICES = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

# The process asks JAX's service with growing numbers, of which the service names the one at which all stop.
_questions = itertools.count(1)


class Interruption:
    """Installs handlers for the life of a `with` block.

    A second Ctrl-C acts as usual (kills). Schedulers repeat their signals and kill with SIGKILL, so a repeated one of theirs means nothing new.

    Several processes that train one run (:mod:`scaling.distributed`) stop at the same step, whichever of them was told: JAX's preemption service, which
    has taken SIGTERM over, finds a step that none of them has reached yet. Every other notice is handed to it as SIGTERM.
    """

    def __init__(self):
        """No notice was seen."""
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, object] = {}
        self._shared = False
        self._agreed = False
        self._watch = contextlib.ExitStack()

    @property
    def requested(self) -> bool:
        """Whether to stop here.

        Where several processes train one run, all must ask equally often: at every step boundary and after every evaluation batch.
        """
        if not self._shared:
            return self.signal_name is not None
        self._agreed = self._agreed or _all_stop_here()
        if self._agreed:
            self.signal_name = self.signal_name or "a notice to one of its hosts"
        return self._agreed

    def __enter__(self) -> "Interruption":
        self._shared = distributed.process_count() > 1
        for number in _NOTICES:
            if not self._is_left_alone(number):
                self._previous[number] = signal.signal(number, self._note)
        self._watch.enter_context(preemption_notice.watching())
        return self

    def __exit__(self, *exception: object) -> None:
        self._watch.close()
        for number, handler in self._previous.items():
            # None: the handler was not Python's, and cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    @contextlib.contextmanager
    def leaving_at_once(self, farewell: Callable[[str], None]) -> Iterator[None]:
        """Inside the block nothing would be lost, so a notice ends the process with 75 as soon as it comes, after `farewell(name of the signal)`.

        A compilation may take longer than a notice leaves time, and Python runs its handlers only after it. So a thread listens in their place.
        Several processes do not leave so: the others would wait for the one that left, and be killed.
        """
        if self._shared or not self._previous:
            yield
            return
        heard, told = os.pipe()
        os.set_blocking(told, False)
        listener = threading.Thread(target=self._listen, args=(heard, farewell), name="interruption", daemon=True)
        listener.start()
        previous = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        try:
            if self.requested:
                # It came before anybody listened.
                signal.raise_signal(signal.SIGTERM)
            yield
        finally:
            signal.set_wakeup_fd(previous)
            os.close(told)
            listener.join()
            os.close(heard)

    def _listen(self, heard: int, farewell: Callable[[str], None]) -> None:
        while number := os.read(heard, 1):
            if number[0] in self._previous:
                try:
                    farewell(signal.Signals(number[0]).name)
                finally:
                    os._exit(EXIT_INTERRUPTED)

    def _is_left_alone(self, number: signal.Signals) -> bool:
        """JAX's service has SIGTERM; whoever started this process and made it deaf to a user's signal tells it in another way."""
        if self._shared and number == signal.SIGTERM:
            return True
        return number in (signal.SIGUSR1, signal.SIGUSR2) and signal.getsignal(number) == signal.SIG_IGN

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        first = self.signal_name is None
        self.signal_name = self.signal_name or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._previous[signal.SIGINT])
        if self._shared and first:
            signal.raise_signal(signal.SIGTERM)


def _all_stop_here() -> bool:
    """Whether all processes of the run have come to the question at which they stop together."""
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(next(_questions))
