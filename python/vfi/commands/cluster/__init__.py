"""The same work on many machines, by Ray: `vfi interpolate ... --ray`.

`films` is what the driver does, `nodes` finds the cluster and compares its nodes, `work` is what is done on one of them
and knows nothing of Ray, `parts` is what is finished of a video, kept beside its output.
"""
