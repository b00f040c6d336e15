"""Executing a plan: stacks go to workers, on this machine or on a Dask cluster, and their results come back.

`config.py` is where cells train, `plan.py` which train together, `start.py` the workers and the plan of one training,
`scheduling.py` which worker gets which stack, and what happens after a failure. Workers are `processes.py` of this
machine, pooled in `process_pool.py`, or those of a Dask cluster, in `cluster/`. `calibration.py` and `estimate.py`
predict times. Nothing here imports torch.
"""
