"""CASME II: 255 clips at 200 fps. Frame numbers in file names are those of the annotation file, unpadded.

Clip names repeat across subjects and are irregular (``EP02_01f``, ``EP09f``, ``EP06_02_01``), so a clip is
``sub01/EP02_01f``.
"""

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import Layout, load_casme_rows

LAYOUT = Layout(
    card=load_card("casme2"),
    load_rows=lambda files, tree, base: load_casme_rows(files[0], tree.notes, fps=200, prefix="sub", digits=2),
    annotation_files=("CASME2-coding*", "CASME2_label*", "*CASME*2*coding*", "*CASME*II*coding*"),
    bases=("CASME2_RAW_selected", "CASME2-RAW", "Cropped"),
)
