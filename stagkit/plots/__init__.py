"""Matplotlib and seaborn figures of single things, in one style.

In: clips, outputs, attributions, run records. Out: a matplotlib `Figure`.
Start reading at ``clips.py``.
"""
