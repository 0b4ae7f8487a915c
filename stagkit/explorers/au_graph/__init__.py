"""The AU-graph explorer."""
