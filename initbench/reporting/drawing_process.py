"""A process that draws: `reporting.drawers` starts it, and sends the name and the arguments of a function of figures.

Arguments: what is added to its niceness, and the file descriptors of further processes, which it forks.
"""

import gc
import os
import pickle
import socket
import sys
from typing import IO, Any

from initbench.reporting import matplotlib_import
from initbench.reporting.drawers import draw_here
from initbench.system import children, deferred, garbage


def main(niceness: int, descriptors: list[int]) -> None:
    """Import, fork, and answer requests until there are no more."""
    garbage.look_rarely()
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    matplotlib_import.own_process = True
    receiving, sending = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that what a library prints is not in a reply
    deferred.defer("mpl_toolkits.mplot3d", Axes3D=None)  # no figure has three dimensions
    from initbench.reporting import figures

    figures.warm_up()
    gc.freeze()  # so that forks share the memory
    for i, descriptor in enumerate(descriptors):
        if children.fork():
            for stream in (receiving, sending):
                stream.close()
            for fd in (0, *descriptors[i + 1 :]):
                os.close(fd)
            end = socket.socket(fileno=descriptor)
            receiving, sending = end.makefile("rb"), end.makefile("wb")
            break
        os.close(descriptor)
    _answer(receiving, sending)


def _answer(receiving: IO[bytes], sending: IO[bytes]) -> None:
    while True:
        try:
            function, arguments = pickle.load(receiving)
        except (EOFError, OSError):
            return
        reply = _reply(function, arguments)
        sending.write(reply)
        sending.flush()


def _reply(function: str, arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps(("done", draw_here(function, arguments)))
    except Exception as error:
        try:
            reply = pickle.dumps(("failed", error))
            pickle.loads(reply)
        except Exception:  # an error that holds what cannot be sent
            return pickle.dumps(("failed", RuntimeError(f"{type(error).__name__}: {error}")))
        return reply


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]])
