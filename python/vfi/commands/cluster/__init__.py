"""The same work on many machines, by Ray: `vfi interpolate ... --ray`.

`films` is what the driver does, `nodes` finds the cluster and compares its nodes, `work` and `joining` are what is done
on one of them and know nothing of Ray, `parts` is what is finished of a video, kept beside its output.
"""
