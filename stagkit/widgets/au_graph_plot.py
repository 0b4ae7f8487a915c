"""The still twin of the AU-graph explorer."""


def plot_au_graph(*args, **kwargs):
    """Not yet."""
