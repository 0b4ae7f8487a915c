"""Relational and synkinesis phantoms: clips whose label or AUs depend on a known graph of action units (AUs).

Two presets of ``PhantomConfig``; all else is as in ``casme2``. Every probability is stagkit's choice.

``relations``: two classes, in which every AU and every side is equally frequent. Only a relation of two AUs tells the
classes apart; peaks and time courses do not depend on it. One exception cannot be avoided: if an AU always comes before its
partner in one class and after it in the other, the time of one AU alone is some evidence (right in 75 % of clips).
``order`` and ``side`` show one of three pairs per clip, so that every AU is absent from some clips and can be learned.

``synkinesis``: the classes of CASME II, whose AUs are drawn independently within each class; but four pairs that are rare in
real faces, chosen by the seed, are active together and at the same times. (AUs of one class still occur together more often
than AUs of different classes.)
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.presets import PRESETS, Preset, load_au_statistics
from stagkit.synthetic.skin_motion import make_intensity

#: Relation -> pairs of AUs (upper face, lower face), its two classes, and AUs that occur independently of the class.
RELATIONS = {
    "together": (((4, 12),), ("both or neither", "one alone"), (5, 7, 17)),
    "order": (((1, 15), (2, 20), (4, 12)), ("upper face first", "lower face first"), (7, 9, 17)),
    "side": (((1, 12), (2, 10), (4, 15)), ("same side", "opposite sides"), (7, 9, 17)),
}
_DISTRACTED = 0.25  # share of clips with a distractor
_SYNKINETIC = 0.8  # probability that the second AU of a planted pair joins the first
_FLOOR = 0.05  # added to the share of every AU of a synkinesis phantom, so that every pair can occur
_WAIT, _LAG, _LAST = 0.4, 0.2, 0.4  # ``order``: latest begin, lag and duration, as shares of onset to offset


def find_preset(config: PhantomConfig) -> Preset:
    """The preset of ``config``; of the two presets of this module, that of ``casme2`` with their name and classes."""
    if config.preset in PRESETS:
        return PRESETS[config.preset]
    preset = replace(PRESETS["casme2"], name=config.preset)
    if config.preset == "relations":
        preset = replace(preset, emotions={name: () for name in RELATIONS[config.relation][1]})
    return preset


def sample_relation(
    config: PhantomConfig, label: str, rng: np.random.Generator
) -> tuple[str, tuple[tuple[int, str], ...], np.ndarray]:
    """AUs of a clip of class ``label``.

    Returns:
        the relation that is shown: the label with probability ``config.strength``, else any class; (number, side) of each
        AU, sorted; int "au", the time course of each AU, of ``N_COURSES``.
    """
    pairs, classes, others = RELATIONS[config.relation]
    a, b = pairs[rng.integers(len(pairs))]
    shown = label if rng.random() < config.strength else str(rng.choice(classes))
    first, flip = shown == classes[0], bool(rng.random() < 0.5)
    filler, distractor = (int(n) for n in rng.permutation(others)[:2])
    sides = {n: "" for n in (a, b)}
    if config.relation == "together":
        present = {a: flip, b: flip if first else not flip, filler: True}
    else:
        present = {a: True, b: True}
    if config.relation == "side":
        sides = {a: "LR"[flip], b: "LR"[flip if first else not flip]}
    present[distractor] = bool(rng.random() < _DISTRACTED)
    slots = {a: 0, b: 1, filler: 2, distractor: 3}
    numbers = sorted(n for n, there in present.items() if there)
    return shown, tuple((n, sides.get(n, "")) for n in numbers), np.array([slots[n] for n in numbers])


#: Time courses that are drawn per relational clip, so that none depends on how many AUs there are.
N_COURSES = 4


def make_ordered_courses(n_frames: int, onset: int, offset: int, first: int, rng: np.random.Generator) -> np.ndarray:
    """Time courses of two AUs, of which ``first`` (0 or 1) begins and the other follows: float "time au"."""
    length = offset - onset
    begin = onset + rng.uniform(0, _WAIT) * length
    starts = (begin, begin + _LAG * length)
    curves = [make_intensity(n_frames, s, round(s + _LAST / 2 * length), s + _LAST * length) for s in starts]
    return np.stack(curves[::-1] if first else curves, -1)


@lru_cache(maxsize=64)
def find_planted_pairs(seed: int) -> tuple[tuple[int, int], ...]:
    """Four pairs of AU numbers without a common one: upper with lower face, rarer together than chance in real clips.

    No pair joins main AUs of two classes, so the classes stay recognisable.
    """
    shares, _, lift = load_au_statistics(PRESETS["casme2"].counts)
    main = np.max([shares[e] for emotions in PRESETS["casme2"].emotions.values() for e in emotions], axis=0) >= 0.3
    upper = [AU_NUMBERS.index(n) for n in (1, 2, 4, 5, 6, 7)]
    lower = [k for k, n in enumerate(AU_NUMBERS) if n >= 10]
    rare = [(i, j) for i in upper for j in lower if lift[i, j] < 0.9 and not (main[i] and main[j])]
    pairs: list[tuple[int, int]] = []
    for i, j in np.random.default_rng([seed, 0x5714]).permutation(rare):
        if len(pairs) < 4 and not {i, j} & {k for pair in pairs for k in pair}:
            pairs.append((int(i), int(j)))
    return tuple((AU_NUMBERS[i], AU_NUMBERS[j]) for i, j in sorted(pairs))


def make_planted_graph(config: PhantomConfig) -> np.ndarray:
    """AU pairs that are planted in the phantoms of ``config``: bool "au au", symmetric, False on the diagonal.

    The four pairs of ``synkinesis``, those of ``relations``; nothing for other presets. Planted AUs are also more
    frequent than others: ranking pairs by the product of their frequencies alone has an AUROC of 0.69 to 0.82 (seeds 0
    to 2), the phi coefficient of their co-occurrence 1.00. Give the first as a control.

    Example:
        >>> int(make_planted_graph(PhantomConfig(preset="synkinesis", seed=3)).sum()) // 2
        4
    """
    graph = np.zeros((len(AU_NUMBERS), len(AU_NUMBERS)), bool)
    pairs = {"relations": RELATIONS[config.relation][0], "synkinesis": find_planted_pairs(config.seed)}
    for pair in pairs.get(config.preset, ()):
        i, j = (AU_NUMBERS.index(number) for number in pair)
        graph[i, j] = graph[j, i] = True
    return graph


def sample_synkinesis(
    config: PhantomConfig, label: str, rng: np.random.Generator, left: float = 0.5
) -> tuple[tuple[tuple[int, str], ...], np.ndarray]:
    """AUs of a clip of class ``label``: (number, side) of each, sorted; and int "au", equal for AUs with one time course."""
    preset = PRESETS["casme2"]
    shares, n_clips, _ = load_au_statistics(preset.counts)
    weights = [n_clips[e] for e in preset.emotions[label]]
    share = np.average([shares[e] for e in preset.emotions[label]], axis=0, weights=weights) + _FLOOR
    active = np.zeros(len(share), bool)
    while not active.any():
        active = rng.random(len(share)) < share
    slots = np.arange(len(share))
    for pair in find_planted_pairs(config.seed):
        i, j = (AU_NUMBERS.index(number) for number in pair)
        slots[j] = i
        if active[i] != active[j] and rng.random() < _SYNKINETIC:
            active[[i, j]] = True
    side = "L" if rng.random() < left else "R"
    numbers = [AU_NUMBERS[k] for k in np.flatnonzero(active)]
    alone = [ACTION_UNITS[n].sided and rng.random() < preset.unilateral for n in numbers]
    sided = tuple((n, side if one else "") for n, one in zip(numbers, alone, strict=True))
    return sided, np.unique(slots[active], return_inverse=True)[1]
