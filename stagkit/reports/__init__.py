"""Pages, paper figures and LaTeX tables from run records.

In: run folders. Out: HTML pages, PDF and PNG figures with the numbers behind them, LaTeX.
Start reading at ``run_report.py``.
"""
