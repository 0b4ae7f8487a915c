"""Every size of estimated phantom maps, in one place: none is known from the literature, all are stagkit's choice.

First they were set by hand beside published maps of CASME II and SMIC. Then ``benchmarks/fit_phantom_maps.py`` moved 128 of
them together until means, spreads and textures of phantom maps lay closer to those of half of the subjects (three rounds;
rounded here). That search reads no label and no action unit of a real clip, only how many clips each class has. Still: what
is measured with these phantoms on those subjects is a little optimistic, so look at the other half too.

Lengths are samples of the fine grid (``FINE`` a px of a map, 1 sample = 2.4 % of the inter-ocular distance) unless IOD is
written. A size with a log spread is log-normal from clip to clip.
"""

from __future__ import annotations

from typing import NamedTuple

FINE = 2  # samples a pixel and axis
N_FACES = 128  # faces that are drawn once a process and shared by all phantom people
CROPS = (0.9, 0.9, 0.044, 0.044)  # crops differ a little: shift right and down (px), log size across and down

# --- how the picture limits what is seen ---
GRAIN_LEVEL = 10.0  # grey levels a sample: gradients far below this do not favour any direction
APERTURE = 0.9  # how strongly edges across a motion hide it: 0 not at all, 1 wholly
EDGE_REACH = 2.9  # how far edges speak for their neighbours
# --- patches that flow estimation moves as one ---
N_PATCHES = (285, 44)  # small ones and large ones, a face; total variation joins samples on several scales
N_DRAWINGS = 2  # drawings of each kind of patches a face
SAME_GREY = 47.0  # grey levels: samples that differ more are seldom joined
ANYWHERE = 0.64  # seeds of patches lie at edges, and this much (relative to the mean edge) anywhere
ALONG = 1.4  # patches of u are so much taller than wide, those of v wider: each breaks across the edges that show it
# --- what flow estimation makes of motion (``phantom_map_flow``) ---
UNEVEN = (0.42, 1.9, 1.0)  # log spread of how well places are followed, their width (px), share for true motion
UNEVEN_SYMMETRY = 0.65  # share of it that is the same on both sides of the face
ERRORS = (0.012, 0.0069)  # typical error of a small and of a large patch
ERROR_SPREAD = 0.3  # log spread of these from clip to clip
PATCH_SPREAD = 1.2  # and from patch to patch
V_OVER_U = 0.92  # errors of v over errors of u: faces have more edges across v
SMOOTH_SHARE = (0.5, 3.0)  # beta distribution of how much of a motion stays smooth within patches
LATE_ERROR = 0.0012  # part of the errors that total variation does not shrink, of patches like the others
SHRINK = (0.026, 0.24, 0.61)  # motion of this size is halved: typical, log spread, steepness
GRAIN = 0.0034  # error of single samples
SOFT = (0.86, 0.25)  # blur of the edges of u and v; the second for v down: lids and lips break sharply
FLOOR = (0.079, 1.9)  # strain of what is finer than the grid, added in squares: typical, log spread

# --- how things move (``phantom_maps``); all but the first scale with difficulty and the noise of the preset ---
PEAK_SPREAD = 0.65  # log spread of the strongest unit, which typically moves by 1
TRACE = (0.02, 1.0, 0.25, 0.12)  # other units move faintly too: size, log spread, share of them, asymmetry
LIDS = (0.78, 0.19, 0.5, 0.51)  # lids close or open a little: size, log spread, share of clips, share that close
GLANCE = (0.22, 0.8, 0.56)  # a glance to the side, likewise
TURN, ROLL, NEAR = 0.022, 0.1, 0.017  # what is left of turning or nodding, rolling, coming nearer after alignment
ELASTIC = (0.14, 0.6)  # elastic skin that follows whatever moves: size, log spread
ELASTIC_WIDTHS = ((3.4, 3.0), (6.0, 2.2))  # px: width of its features across and down, of u and of v
ELASTIC_SYMMETRY = 0.51  # share of it that is the same on both sides of the face
#: How far each unit moves the skin in these maps, beside the brows.
STRENGTH = {
    1: 0.86,
    2: 1.17,
    4: 1.14,
    5: 0.62,
    6: 0.50,
    7: 0.47,
    9: 0.58,
    10: 0.56,
    12: 0.96,
    14: 0.79,
    15: 0.79,
    17: 0.91,
    20: 0.97,
    23: 1.00,
    24: 1.03,
    25: 1.13,
    26: 1.04,
}

# --- skin that ``phantom_motion`` does not have, as these maps show it ---
BROW_DRAG = 0.03  # IOD: the skin between brow and lid follows the brow
CHEEK_HIDDEN = 0.58  # the apple of the cheek bulges towards the camera in AU6 and AU12: so much of its rise is not seen
NOSE_RELIEF = 0.18  # how far the nose stands out, relative to the round of the head: it moves more when the head turns
LIDS_BELOW = -0.033  # IOD: lids move so much below the middle of the eye
EYE_EXTENT = (0.13, 0.063)  # IOD, across and down


class Skin(NamedTuple):
    """How a place differs from the rest of the face; natural logarithms, 0 = not at all."""

    across: float  # how much of a motion to the side is followed
    down: float  # how much of a motion up or down
    elastic: float  # how far the skin moves with whatever moves
    errors: float  # how strongly flow errs


SKIN: dict[str, Skin] = {
    "brow": Skin(0.71, 0.12, 0.02, 0.8),
    "brow_inner": Skin(0.9, 0.14, -0.27, 0.25),
    "glabella": Skin(0.54, -0.42, -0.21, 1.23),
    "forehead": Skin(0.21, -0.16, 0.25, 0.22),
    "eye": Skin(0.03, 0.62, -0.64, 2.06),
    "nose": Skin(-0.11, -0.47, -0.69, 0.7),
    "cheek": Skin(0.2, -0.33, -0.49, 0.51),
    "cheek_outer": Skin(-0.05, -0.22, 0.15, -0.24),
    "fold": Skin(-0.21, -0.04, -0.17, 2.35),
    "corner": Skin(-0.15, -0.06, -0.37, 0.3),
    "mouth": Skin(-0.06, -0.4, -0.14, 0.1),
    "chin": Skin(0.01, 0.08, 0.12, 0.62),
    "temple": Skin(-0.21, -0.15, -0.16, 0.22),
    "neck": Skin(-0.07, 0.18, 0.24, -0.01),
    "rim": Skin(0.23, 0.35, 0.09, -0.29),  # of the picture
}


class Carried(NamedTuple):
    """Skin that a unit carries along: ``way`` is "u" (outward) or "v" (down), place and extent are IOD, on both sides."""

    unit: int
    way: str
    place: tuple[float, float]
    extent: tuple[float, float]


#: Size of each, relative to the largest displacement of the unit.
CARRIED: dict[Carried, float] = {
    Carried(1, "u", (0.12, -0.15), (0.07, 0.07)): 0.02,
    Carried(2, "v", (0.42, 0.0), (0.14, 0.06)): -0.17,
    Carried(4, "u", (0.35, -0.38), (0.3, 0.1)): -0.46,
    Carried(4, "u", (0.16, -0.18), (0.07, 0.07)): -0.33,
    Carried(4, "v", (0.45, -0.28), (0.18, 0.1)): 0.24,
    Carried(4, "v", (0.42, 0.0), (0.14, 0.06)): 0.24,
    Carried(6, "u", (0.56, 0.4), (0.12, 0.1)): -0.05,
    Carried(6, "v", (0.37, 0.0), (0.14, 0.06)): 0.02,
    Carried(7, "u", (0.45, 0.15), (0.12, 0.1)): -0.32,
    Carried(7, "v", (0.37, -0.03), (0.14, 0.06)): 0.23,
    Carried(9, "u", (0.18, 0.4), (0.08, 0.08)): 0.05,
    Carried(9, "v", (0.37, 0.0), (0.14, 0.06)): 0.03,
    Carried(10, "u", (0.22, 0.42), (0.08, 0.1)): -0.04,
    Carried(12, "u", (0.56, 0.35), (0.14, 0.16)): 0.23,
    Carried(12, "u", (0.56, 0.6), (0.12, 0.14)): 0.06,
    Carried(12, "v", (0.42, 0.72), (0.2, 0.2)): -0.58,
    Carried(12, "v", (0.45, 0.85), (0.15, 0.1)): -0.29,
    Carried(12, "v", (0.37, 0.0), (0.14, 0.06)): 0.03,
    Carried(12, "v", (0.0, 0.95), (0.25, 0.1)): -0.01,
    Carried(14, "u", (0.48, 0.7), (0.14, 0.16)): -0.08,
    Carried(14, "v", (0.3, 0.82), (0.12, 0.12)): -0.06,
    Carried(15, "u", (0.42, 0.65), (0.12, 0.12)): -0.01,
    Carried(15, "v", (0.37, 0.0), (0.14, 0.06)): 0.11,
    Carried(15, "v", (0.0, 1.12), (0.16, 0.1)): 0.03,
    Carried(17, "u", (0.42, 0.65), (0.12, 0.12)): 0.09,
    Carried(17, "v", (0.0, 1.14), (0.16, 0.12)): 0.11,
    Carried(17, "v", (0.37, 0.0), (0.14, 0.06)): 0.33,
}
