"""The course: what notebooks call, exercises and their checks, the runner.

In: `notebooks/`. Out: verdicts, recorded notebooks, solution notebooks.
Start reading at ``notebook.py``.
"""
