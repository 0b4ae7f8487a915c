"""The STAG network, top to bottom, and its loss.

In: motion patches "batch time roi chan py px". Out: logits, action units, region edges, attention (`StagOutput`).
Hooks record and change every named step.
Start reading at ``model.py``.
"""
