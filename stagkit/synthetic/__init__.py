"""Phantoms: synthetic clips of synthetic faces with known ground truth.

In: a preset, a seed, a difficulty. Out: clips with known action units and known motion; flow maps; whole data sets in
their official layouts.
Start reading at ``clip.py``.
"""
