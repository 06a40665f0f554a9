"""Processes of their own that load nothing: forks of one that has loaded the libraries and not used them.

For tests that kill processes, or start several. Loading torch, Lance and xformers takes each new process two
to five seconds; nothing of what a test has computed or opened is in these, as in any new process.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
SEARCH = os.pathsep.join(str(ROOT / room) for room in (".", "codecs", "runtime"))


def forks() -> ForkServerContext:
    """A context of `multiprocessing` whose processes are such forks; the first call starts the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.runtime.loaded_before"])
    with mock.patch.dict(os.environ, PYTHONPATH=SEARCH, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


def fork(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Start one such process.

    Args:
        work: what it does; a function of a module, which it finds by name.
        arguments: of the work.
    """
    process = forks().Process(target=work, args=arguments)
    process.start()
    return process
