"""The explorer of the motion of one clip."""
