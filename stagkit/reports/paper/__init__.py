"""The figures and tables of a paper, drawn from files: runs, their explanations, ablations, tables of systems.

``inputs`` opens the folders; ``graphs``, ``motion``, ``scores`` and ``evidence`` hold one function per
numbered figure (``fig_NN_name(inputs, width) -> Figure``); ``tables`` makes LaTeX; ``make`` writes everything.
"""

from stagkit.reports.paper.inputs import Inputs, load_inputs
from stagkit.reports.paper.make import FIGURES, make_figures, plot_set
from stagkit.reports.paper.tables import make_tables

__all__ = ["FIGURES", "Inputs", "load_inputs", "make_figures", "make_tables", "plot_set"]
