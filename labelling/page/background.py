"""Runs the learner in a process of its own, so that the page never waits for it."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

from labelling.page.messages import Job, Labels, Message

NICENESS = 5
PATIENCE = 0.25  # seconds between two looks at whether a fit is due
STOPPING = 5.0  # seconds in which it may finish what it does


class Background:
    """The learner's process, and a thread that hands on what it says.

    on_message : is called from that thread; on_end, once the process has ended by itself.
    """

    def __init__(
        self, job: Job, on_message: Callable[[Message], None], on_end: Callable[[], None]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._closing = False
        self._labels: queue.SimpleQueue[Labels] = queue.SimpleQueue()
        for work in (partial(self._listen, on_message, on_end), self._hand_on):
            threading.Thread(target=work, daemon=True).start()

    def tell(self, labels: Labels) -> None:
        """Hand over labels, at once: they wait here while the learner is busy."""
        self._labels.put(labels)

    def close(self) -> None:
        """End the process."""
        self._closing = True
        self._process.terminate()
        self._process.join(STOPPING)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _hand_on(self) -> None:
        """Send labels, all that wait at once; ends with the process, of which `on_end` tells."""
        while True:
            labels = self._labels.get()
            changed = dict(labels.changed)
            while not self._labels.empty():
                labels = self._labels.get()
                changed |= labels.changed
            try:
                self._connection.send(Labels(changed, labels.fair))
            except OSError:
                return

    def _listen(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                if not self._closing:
                    on_end()
                return
            on_message(message)


def _run(job: Job, connection: "Connection[Message, Labels]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the page, which ends this process
    threading.Thread(target=_end_with_the_page, daemon=True).start()
    os.nice(NICENESS)
    import torch

    from labelling.page.learning import Learning

    torch.set_num_threads(1)
    try:
        learning = Learning(job, connection.send)
        while True:
            while connection.poll():
                learning.take(connection.recv())
            if not learning.step():
                connection.poll(PATIENCE)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the page has ended
    except Exception:
        traceback.print_exc(file=sys.stderr)
        raise SystemExit(1) from None


def _end_with_the_page() -> None:
    """However the page's process ends: nobody reads what the learner finds."""
    page = multiprocessing.parent_process()
    if page is not None:
        page.join()
        os._exit(0)
