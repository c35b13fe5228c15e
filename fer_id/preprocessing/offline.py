"""A thread that cannot open a network connection, for native code that reports its usage to its maker."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from fer_id.errors import ConfigError

METRICS_VARIABLE = "FER_ID_MEDIAPIPE_METRICS"
"""Environment variable; ``allow`` leaves MediaPipe free to send its usage metrics."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SOCKET_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine -> (AUDIT_ARCH in <linux/audit.h>, number of the system call ``socket``)."""
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_REFUSE, _PERMIT = 0x00050000 | 13, 0x7FFF0000  # SECCOMP_RET_ERRNO|EACCES, SECCOMP_RET_ALLOW


class OfflineThread:
    """Thread that executes function calls; neither it nor any thread that it starts can open a socket.

    A seccomp filter refuses the system call ``socket``, so no host name is looked up (by DNS, nscd or systemd-resolved)
    and no connection is opened, whatever proxies the environment names. The filter holds for this thread and the
    threads that it starts; other threads and the environment of the process are unchanged. Raise ConfigError where the
    system cannot do this, and :data:`METRICS_VARIABLE` does not allow to go on without.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # A daemon, unlike the threads of concurrent.futures, still answers while the interpreter ends.
        self._thread = Thread(target=_serve, args=(self._calls,), name="offline", daemon=True)
        self._thread.start()
        if os.environ.get(METRICS_VARIABLE) != "allow":
            self.call(_refuse_sockets)

    def call(self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Return ``function(*args, **kwargs)``, or raise its exception. Raise RuntimeError where the thread has ended,
        by :meth:`close` or since this process is a fork."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread has ended")
        future: Future[Result] = Future()
        self._calls.put((future, partial(function, *args, **kwargs)))
        return future.result()

    def close(self) -> None:
        """End the thread after the calls that are under way."""
        self._calls.put(None)
        self._thread.join()


def _serve(calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    """Execute the queue's calls in order until a None arrives."""
    while (call := calls.get()) is not None:
        future, function = call
        try:
            future.set_result(function())
        except BaseException as problem:
            future.set_exception(problem)


def _refuse_sockets() -> None:
    """Install a seccomp filter that refuses the system call ``socket`` in the calling thread; raise ConfigError where a
    socket can still be opened."""
    if (machine := platform.machine()) in _SOCKET_CALLS:
        architecture, number = _SOCKET_CALLS[machine]
        _install(
            (_LOAD, 0, 0, 4),  # seccomp_data.arch
            (_EQUAL, 0, 3, architecture),  # of a 32-bit process it is another one: permit, the check below fails
            (_LOAD, 0, 0, 0),  # seccomp_data.nr
            (_EQUAL, 0, 1, number),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _PERMIT),
        )
    try:
        socket.socket().close()
    except PermissionError:
        return
    raise ConfigError(
        "MediaPipe sends usage metrics to its maker, and this system cannot keep it from the network (expected: Linux "
        f"with seccomp, on x86_64 or aarch64). Use another machine, or permit the metrics with {METRICS_VARIABLE}=allow"
    )


def _install(*instructions: tuple[int, int, int, int]) -> None:
    """Pass a BPF program (code, jump if true, jump if false, value) to the kernel, as <linux/filter.h> lays it out."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    prctl, zero = ctypes.CDLL(None).prctl, ctypes.c_ulong(0)
    prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero)  # required to install a filter without root
    prctl(_SECCOMP, ctypes.c_ulong(_FILTER), program, zero, zero)
