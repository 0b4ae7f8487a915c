"""Facial action units (AUs): their muscles, and where and in which direction they move the skin.

Names and muscles: Ekman, Friesen and Hager, *Facial Action Coding System* (2002), as in Molecular Autism 12 (2021),
table 2. Directions follow the muscles' pull; their weights are stagkit's choice: which way, not how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Move(NamedTuple):
    """How an AU moves one place of the face, relative to the place it moves most.

    ``lateral`` > 0 is away from the midline, ``up`` > 0 is towards the forehead; the length is the relative strength.
    """

    place: str
    lateral: float
    up: float


@dataclass(frozen=True)
class ActionUnit:
    """One action unit; ``sided`` is True where left and right can act alone."""

    number: int
    name: str
    muscles: tuple[str, ...]
    moves: tuple[Move, ...]
    sided: bool = True

    @property
    def label(self) -> str:
        """Zero-padded, as everywhere in stagkit: ``AU04``."""
        return f"AU{self.number:02d}"


def _unit(number: int, name: str, muscles: str, *moves: tuple[str, float, float], sided: bool = True) -> ActionUnit:
    return ActionUnit(number, name, tuple(muscles.split("; ")), tuple(Move(*m) for m in moves), sided)


# fmt: off
ACTION_UNITS: dict[int, ActionUnit] = {unit.number: unit for unit in (
    _unit(1, "inner brow raiser", "frontalis, pars medialis",
          ("brow_inner", 0, 1), ("brow_mid", 0, .4), ("glabella", 0, .4)),
    _unit(2, "outer brow raiser", "frontalis, pars lateralis",
          ("brow_outer", 0, 1), ("brow_mid", 0, .5)),
    _unit(4, "brow lowerer", "corrugator supercilii; depressor supercilii",
          ("brow_inner", -.7, -.7), ("brow_mid", -.3, -.6), ("glabella", 0, -.6), ("brow_outer", 0, -.2)),
    _unit(5, "upper lid raiser", "levator palpebrae superioris",
          ("upper_lid", 0, 1)),
    _unit(6, "cheek raiser", "orbicularis oculi, pars orbitalis",
          ("cheek", -.1, 1), ("lower_lid", -.1, .5), ("brow_outer", 0, -.2)),
    _unit(7, "lid tightener", "orbicularis oculi, pars palpebralis",
          ("lower_lid", -.2, 1), ("upper_lid", 0, -.5)),
    _unit(9, "nose wrinkler", "levator labii superioris alaeque nasi",
          ("nose_wing", 0, 1), ("glabella", 0, -.35), ("brow_inner", -.1, -.3), ("upper_lip", 0, .35)),
    _unit(10, "upper lip raiser", "levator labii superioris",
          ("upper_lip", .15, 1), ("nose_wing", .1, .4), ("cheek", 0, .3)),
    _unit(12, "lip corner puller", "zygomaticus major",
          ("lip_corner", .7, .7), ("cheek", .1, .4), ("upper_lip", .25, .15)),
    # the buccinator pulls the corner back towards its origin: outward as seen from the front
    _unit(14, "dimpler", "buccinator",
          ("lip_corner", .9, .3), ("upper_lip", .1, 0)),
    _unit(15, "lip corner depressor", "depressor anguli oris",
          ("lip_corner", .15, -1), ("lower_lip", 0, -.15)),
    _unit(17, "chin raiser", "mentalis",
          ("chin", 0, 1), ("lower_lip", 0, .7), ("lip_corner", 0, -.2), sided=False),
    _unit(20, "lip stretcher", "risorius",
          ("lip_corner", 1, -.15), ("lower_lip", 0, -.15), ("upper_lip", .2, 0)),
    _unit(23, "lip tightener", "orbicularis oris",
          ("lip_corner", -.7, 0), ("upper_lip", -.2, .3), ("lower_lip", 0, -.3), sided=False),
    _unit(24, "lip pressor", "orbicularis oris",
          ("upper_lip", 0, -.8), ("lower_lip", 0, .9), ("lip_corner", -.2, 0), sided=False),
    _unit(25, "lips part", "depressor labii inferioris; orbicularis oris, relaxed",
          ("lower_lip", 0, -1), ("upper_lip", 0, .35), sided=False),
    _unit(26, "jaw drop", "masseter, relaxed; temporalis, relaxed",
          ("chin", 0, -1), ("lower_lip", 0, -.9), ("lip_corner", 0, -.3), sided=False),
)}
# fmt: on

#: The order of every axis ``au``.
AU_NUMBERS: tuple[int, ...] = tuple(ACTION_UNITS)
AU_LABELS: tuple[str, ...] = tuple(unit.label for unit in ACTION_UNITS.values())


@dataclass(frozen=True)
class AUCode:
    """One code of an annotation sheet.

    Args:
        number: FACS number.
        side: ``L``, ``R`` (subject's sides), ``T``, ``B`` (top, bottom), ``A`` (asymmetric) or ``''`` (both).
        intensity: ``A`` (trace) .. ``E`` (maximum), ``''`` where not coded.
        kind: ``AU``, ``AD`` (action descriptor) or ``M`` (head or eye movement).
        choice: 0 where certain; codes that share a number > 0 are alternatives ("L12 or L14").
        uncertain: written with ``?`` or inside ``ref(...)``.
        kept: written with ``(k)``: a static AU that is held, not a movement of this clip (4DME).
    """

    number: int
    side: str = ""
    intensity: str = ""
    kind: str = "AU"
    choice: int = 0
    uncertain: bool = False
    kept: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{self.number:02d}{self.side}"


def compute_au_vector(codes: tuple[AUCode, ...] | None) -> np.ndarray:
    """Annotated AUs (None: not coded) as a training target: float32 "au", 1 present, 0 absent, NaN not coded.

    Alternatives and uncertain codes are NaN (unknown), kept ones 0: they do not move.
    """
    if codes is None:
        return np.full(len(AU_NUMBERS), np.nan, np.float32)
    vector = np.zeros(len(AU_NUMBERS), np.float32)
    for code in sorted(codes, key=lambda c: not (c.choice or c.uncertain)):
        if code.kind == "AU" and code.number in ACTION_UNITS and not code.kept:
            vector[AU_NUMBERS.index(code.number)] = np.nan if code.choice or code.uncertain else 1.0
    return vector
