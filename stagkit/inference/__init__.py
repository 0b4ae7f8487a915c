"""Trained networks on new clips: pretrained weights, one video, a stream.

In: a video and weights. Out: `Analysis`: motion, prediction, action units, evidence.
Start reading at ``analyze.py``.
"""
