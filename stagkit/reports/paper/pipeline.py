"""Figure 1: the network, drawn from the settings of a run. Parts that the run has switched off are pale."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stagkit.plots.network import describe_parts, draw_network
from stagkit.plots.style import PAGE, styled
from stagkit.reports.paper.inputs import Inputs, note


@styled
def fig_01_pipeline(inputs: Inputs, width: float = PAGE) -> Figure:
    """The parts of the network and what flows between them, with the sizes of the first run."""
    config, wide = inputs.run.stag_config, width > 5
    frames = (inputs.run.request["data"].get("flow") or {}).get("n_frames", 1)
    figure = plt.figure(figsize=(width, 4.2 if wide else 7.15))
    figure.set_layout_engine("none")
    lines = describe_parts(config, frames, len(inputs.run.request["classes"]))
    draw_network(figure.add_axes((0, 0, 1, 1)), config, lines, high=1.1 if wide else 0.98, icons=True, tall=not wide)
    note(figure, [inputs.run], stag=config.to_dict(), frames=frames)
    figure.stagkit_source["phantom"] = False  # a drawing of settings: it shows no data
    return figure
