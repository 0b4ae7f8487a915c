"""SAMM: 159 clips at 200 fps, grey. The header of the annotation file is in row 14 (or 1, in stripped copies).

Frame numbers are padded to four digits in some clips and to five in others, so they are matched as numbers.
"""

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import Layout, load_casme_rows

LAYOUT = Layout(
    card=load_card("samm"),
    load_rows=lambda files, tree, base: load_casme_rows(files[0], tree.notes, fps=200, digits=3),
    annotation_files=("SAMM*FACS_Codes*", "SAMM*Micro*", "SAMM", "*SAMM*"),
    bases=("SAMM",),
)
