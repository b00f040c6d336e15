"""How often Python looks for garbage: objects that refer to each other in a circle."""

import atexit
import gc

# New objects after which it looks: those of several figures, or of an import of pandas. By default it looks after 700,
# which takes a tenth of the time to import, to draw and to fill a page.
NEW_OBJECTS = 200_000


def look_rarely() -> None:
    """Let this process look for garbage rarely, and not at its end, where all memory is returned.

    For a process of ours, not for a user's, in which we are a library.
    """
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)
