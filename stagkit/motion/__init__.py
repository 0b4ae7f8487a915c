"""Frames to motion: landmarks, alignment, optical flow without head motion, regions.

In: images or a video. Out: `FlowClip` and `RoiSequence`, in percent of the inter-ocular distance.
Start reading at ``optical_flow.py``.
"""
