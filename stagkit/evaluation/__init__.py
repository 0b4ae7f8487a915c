"""Sealed folds, runs on disk, scores with intervals over subjects.

In: prepared clips and settings. Out: a run folder: predictions, weights, metrics, digests.
Start reading at ``evaluate.py``.
"""
