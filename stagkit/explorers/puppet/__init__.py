"""The face with a slider for every muscle."""
