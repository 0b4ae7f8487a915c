"""Phantoms: synthetic clips of synthetic people, with the truth that was planted in them.

In: a preset, a seed, a difficulty. Out: clips with known action units and known motion; flow maps; whole data sets in
their official layouts.
Start reading at ``clip.py``.
"""
