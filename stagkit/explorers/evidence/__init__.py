"""The explorer of the evidence for one decision."""
