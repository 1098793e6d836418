"""A client process: one session of one database, driven over a pipe."""

import importlib
import time

K = 10


def serve(pipe, module, target, queries_file):
    """Answers commands until `None` comes; an error is an answer too."""
    import numpy as np

    queries = np.load(queries_file)
    session = None
    try:
        session = importlib.import_module(f"clients.{module}").Session(target)
        pipe.send("ready")
        while (command := pipe.recv()) is not None:
            pipe.send(WORK[command[0]](session, queries, *command[1:]))
    except EOFError:
        pass
    except Exception as error:  # Whatever a client library raises: the run names it and goes on.
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
    finally:
        if session is not None:
            session.close()


def lap(session, queries, seconds, first):
    """Searches one after the other until the time is over: microseconds of each, and the seconds of all."""
    times, at = [], first
    start = time.perf_counter()
    end, now = start + seconds, start
    while now < end:
        began = time.perf_counter()
        session.search(queries[at % len(queries)], K)
        now = time.perf_counter()
        times.append((now - began) * 1e6)
        at += 1
    return times, now - start


def answers(session, queries, most):
    """The ids found for each of the first queries."""
    return [session.search(query, K) for query in queries[:most]]


WORK = {"lap": lap, "answers": answers}
