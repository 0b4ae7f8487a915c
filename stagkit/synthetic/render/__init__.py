"""Drawing a phantom face: skin, features, eyes, occlusion."""
