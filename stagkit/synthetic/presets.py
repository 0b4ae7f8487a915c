"""Presets of data sets that phantoms imitate, and the action units (AUs) of each emotion.

The presets are in ``resources/phantom_presets.json``. NaME has none: its size, classes and frame rate are unpublished.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.files import RESOURCES, read_json
from stagkit.core.types import StagkitError


@dataclass(frozen=True)
class Preset:
    """What is imitated of a data set.

    Args:
        fps: frames per second; one per subject where the data set mixes them.
        emotions: class -> its emotions; the classes in the order of the data set.
        counts: data sets of ``resources/au_emotion_counts.csv`` whose AU statistics are used, pooled.
        intensity: smallest and largest peak displacement, % of IOD (stagkit's choice inside 0.3..3).
        noise: standard deviation of the sensor noise at difficulty 1, grey levels; flicker: change of the illumination
            at difficulty 1, % (stagkit's choice); jpeg: quality at difficulty 1, 0 where releases are lossless.
        duration: median in s and log-standard-deviation of the length from onset to offset.
        apex: mean and standard deviation of the position of the apex between onset (0) and offset (1).
        unilateral: share of one-sided AUs; coded: the data set annotates AUs (otherwise only the truth has them).
        source: of the numbers; 'recalled' = from memory, unverified.
    """

    name: str
    fps: tuple[float, ...]
    emotions: dict[str, tuple[str, ...]]
    counts: tuple[str, ...]
    colour: bool
    intensity: tuple[float, float]
    noise: float
    flicker: float
    jpeg: int
    duration: tuple[float, float]
    apex: tuple[float, float]
    unilateral: float
    coded: bool
    source: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in order; ``PhantomConfig.confounder`` is planted with the first."""
        return tuple(self.emotions)


def _make_preset(name: str, values: dict) -> Preset:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Preset(name, **values | {"emotions": {c: tuple(e) for c, e in values["emotions"].items()}})


PRESETS = {name: _make_preset(name, values) for name, values in read_json(RESOURCES / "phantom_presets.json").items()}

#: Longest clip, frames. At 200 fps and more, motion is shortened to about three quarters of it (CASME II and SAMM 240 ms,
#: DFME 100-240 ms from onset to offset): stagkit's choice.
MAX_FRAMES = 64

#: Unambiguous AU patterns of each emotion, (AUs, weight): EMFACS, reduced to what micro-expressions show.
AU_PATTERNS: dict[str, tuple[tuple[tuple[int, ...], float], ...]] = {
    "happiness": (((6, 12), 0.7), ((12,), 0.3)),
    "surprise": (((1, 2), 0.5), ((1, 2, 5), 0.35), ((1, 2, 26), 0.15)),
    "disgust": (((4, 9), 0.35), ((4, 7), 0.3), ((9, 10), 0.2), ((4, 7, 9), 0.15)),
    "anger": (((4, 7), 0.6), ((4, 7, 23), 0.25), ((4, 5), 0.15)),
    "fear": (((4, 20), 0.4), ((20,), 0.3), ((4, 5, 20), 0.3)),
    "sadness": (((1, 4, 15), 0.4), ((15,), 0.3), ((15, 17), 0.3)),
    "contempt": (((14,), 1.0),),
    "repression": (((15, 17), 0.4), ((17,), 0.35), ((17, 24), 0.25)),
    "others": (((14, 24), 0.4), ((23,), 0.3), ((24,), 0.3)),
}
#: Typical displacement of each AU relative to the brows: float "au" in the order of ``facs.AU_NUMBERS`` (stagkit's choice).
STRENGTH = np.array(
    [{5: 0.6, 6: 0.5, 7: 0.55, 9: 0.65, 10: 0.6, 14: 0.8, 15: 0.8, 17: 0.9}.get(n, 1.0) for n in AU_NUMBERS]
)
_NAMES = {"happy": "happiness", "sad": "sadness", "other": "others"}


@lru_cache(maxsize=16)
def load_au_statistics(sets: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, int], np.ndarray]:
    """AU statistics of real clips, pooled over ``sets``: emotion -> share of clips with each AU "au"; -> number of clips.

    Third, the lift of AU pairs "au au": observed over expected co-occurrence, with add-one smoothing.
    """
    counts = pd.read_csv(RESOURCES / "au_emotion_counts.csv")
    counts = counts[counts["dataset"].isin(sets) & counts["au"].isin(AU_NUMBERS)].replace({"emotion": _NAMES})
    clips = counts.drop_duplicates(["dataset", "emotion"], keep="last")
    n_clips = {e: int(n) for e, n in clips.groupby("emotion", sort=False)["n_emotion"].sum().items()}
    with_au = counts.groupby(["emotion", "au"])["n_with_au"].sum().unstack(fill_value=0).reindex(columns=AU_NUMBERS)
    shares = {e: with_au.loc[e].fillna(0).to_numpy(float) / max(1, n_clips[e]) for e in n_clips}
    both = load_pair_counts(sets)
    expected = np.outer(np.diag(both), np.diag(both)) / max(1, sum(n_clips.values()))
    return shares, n_clips, (both + 1) / (expected + 1)


def load_pair_counts(sets: tuple[str, ...]) -> np.ndarray:
    """Clips of ``sets`` in which two AUs were annotated together, on the diagonal each AU: float "au au"."""
    pairs = pd.read_csv(RESOURCES / "au_cooccurrence_counts.csv")
    pairs = pairs[pairs["dataset"].isin(sets)].groupby(["au_a", "au_b"])["n_both"].sum().unstack()
    return pairs.reindex(index=AU_NUMBERS, columns=AU_NUMBERS).fillna(0).to_numpy(float)


def sample_au_pattern(
    preset: Preset, label: str, difficulty: float, rng: np.random.Generator, left: float = 0.5
) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Sample the AUs of a clip of class ``label``.

    With probability ``difficulty`` they follow the statistics of the real data set (share of each AU among the clips of
    the emotion, odds times the square root of its lift with every AU already drawn), otherwise they are one of
    ``AU_PATTERNS``. Stagkit's choice.

    ``left`` is the probability that one-sided AUs are on the subject's left.

    Returns:
        the emotion, and (number, side) of each AU, sorted, at least one; side '' = both.
    """
    if label not in preset.emotions:
        raise StagkitError(f"{preset.name} has no class {label!r}; it has {', '.join(preset.classes)}.")
    shares, n_clips, lift = load_au_statistics(preset.counts)
    emotions = preset.emotions[label]
    weights = np.array([n_clips.get(e, 0) for e in emotions], float) + 0.01
    emotion = str(rng.choice(emotions, p=weights / weights.sum()))
    if rng.random() < difficulty and emotion in shares and shares[emotion].any():
        numbers = _draw_from_statistics(shares[emotion], lift, rng)
    else:
        options = AU_PATTERNS[emotion]
        numbers = options[rng.choice(len(options), p=[w for _, w in options])][0]
    side = "L" if rng.random() < left else "R"
    rate = 1.0 if numbers == (14,) and emotion == "contempt" else preset.unilateral
    alone = [n for n in numbers if ACTION_UNITS[n].sided and rng.random() < rate]
    return emotion, tuple((n, side if n in alone else "") for n in sorted(numbers))


def _draw_from_statistics(shares: np.ndarray, lift: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """At most four AU numbers, drawn one after another in random order."""
    chosen: list[int] = []
    for k in rng.permutation(len(shares)):
        odds = shares[k] / max(1e-9, 1 - shares[k]) * np.prod(np.sqrt(lift[k, chosen]))
        if rng.random() < odds / (1 + odds) and len(chosen) < 4:
            chosen.append(int(k))
    if not chosen:
        chosen = [int(rng.choice(len(shares), p=shares / shares.sum()))]
    return tuple(AU_NUMBERS[k] for k in chosen)


def compute_excess(difficulty: float, default: float = 0.4) -> float:
    """Position of a difficulty between the default (0, also below it) and the hardest (1)."""
    return max(0.0, (difficulty - default) / (1 - default))


def sample_faint_au(
    preset: Preset, coded: tuple[tuple[int, str], ...], difficulty: float, rng: np.random.Generator
) -> tuple[tuple[int, str], ...]:
    """At most one AU too faint to be annotated, of any emotion and not in ``coded``: () or one (number, side)."""
    if rng.random() >= 0.67 * compute_excess(difficulty):  # stagkit's choice
        return ()
    shares, n_clips, _ = load_au_statistics(preset.counts)
    rate = sum(shares[e] * n for e, n in n_clips.items())
    rate[[AU_NUMBERS.index(n) for n, _ in coded]] = 0
    number = AU_NUMBERS[rng.choice(len(rate), p=rate / rate.sum())]
    sided = ACTION_UNITS[number].sided and rng.random() < preset.unilateral
    return ((number, str(rng.choice(["L", "R"])) if sided else ""),)
