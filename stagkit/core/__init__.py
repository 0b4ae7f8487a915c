"""Records, settings and files that every room uses.

In: nothing of stagkit. Out: `Clip`, `RoiSequence`, `RoiDataset`, `Batch` with checked shapes and units; settings; FACS;
facial regions; atomic files; worker processes.
Start reading at ``types.py``.
"""
