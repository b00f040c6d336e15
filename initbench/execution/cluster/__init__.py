"""Training on a Dask cluster: Dask workers train, and this client plans, distributes the stacks and writes.

`connection.py` connects to a scheduler, `roster.py` keeps the workers that can be used, `dispatch.py` is the pool that
sends them stacks. `probe.py` and `dask_worker.py` run on the cluster.
"""
