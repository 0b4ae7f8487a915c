"""Why a network decided: attributions, interventions, and the controls that can refute them.

In: a trained network and clips. Out: `Attribution` in logits, `Evidence` with its controls.
Start reading at ``attribution.py``.
"""
