"""The cost of a step of one small network in initbench, and in the tools that one would use instead.

    python -m benchmarks.peers

from the repository's root prints a table: microseconds for one optimizer step of one model, evaluations included. The
work, the floors, initbench and all peers are measured in the same run, in turns, so that a slower hour of the machine
slows them all; what may be quoted from it are the ratios.
"""
