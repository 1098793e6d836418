"""Servers of other databases as child processes: they end with this one, whatever happens to it."""

import ctypes
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
STOP_WITHIN = 60.0
READY_WITHIN = 120.0


class Missing(Exception):
    """A database cannot be had on this machine; says why."""


class Server:
    """A child process whose output goes to a file."""

    def __init__(self, command, log, end=signal.SIGTERM, **options):
        libc = ctypes.CDLL(None, use_errno=True)
        self.end, self.log = end, log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, end),
                **options,
            )

    def wait_until(self, ready):
        """Asks until `ready` returns something; what that is."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            if self.child.poll() is not None:
                raise Missing(f"its server ended with {self.child.returncode}: {self.said()}")
            found = ready()
            if found:
                return found
            if time.monotonic() > deadline:
                raise Missing(f"its server is not ready after {READY_WITHIN:.0f} s: {self.said()}")
            time.sleep(0.1)

    def said(self):
        """The end of its log."""
        return self.log.read_text(errors="replace")[-500:].strip()

    def stop(self):
        """Ends it, by force where it does not end by itself."""
        if self.child.poll() is None:
            self.child.send_signal(self.end)
            try:
                self.child.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def free_port():
    """A port that nobody has at this moment, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
