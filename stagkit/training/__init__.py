"""One training loop, and the same loop for many networks at once.

In: clips of the training part and settings. Out: a trained network. Test clips never come here.
Start reading at ``train.py``.
"""
