"""Rendering of phantoms: skin, features, eyes, occlusion, frames, camera."""
