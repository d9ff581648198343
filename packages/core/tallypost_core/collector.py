"""How the garbage collector behaves in a process that serves for a long time."""

import gc


def spare_the_collector() -> None:
    """Let garbage collection pass over what lives as long as the process.

    To be called after the imports. Requests and deliveries leave hardly any cycles behind.
    Searching all modules for them again and again took a quarter of the time of a request, and
    made some wait for tenths of a second (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
