"""What phantoms are asked to show: presets of data sets, and the action units (AUs) of each emotion.

NaME has no preset: its size, classes and frame rate are unpublished, and nothing is invented here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.types import StagkitError

_NEGATIVE = ("disgust", "repression", "anger", "contempt", "fear", "sadness")
_MEGC = {"negative": _NEGATIVE, "positive": ("happiness",), "surprise": ("surprise",)}
_SEVEN = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")


@dataclass(frozen=True)
class Preset:
    """What is imitated of a data set.

    Args:
        name: as in ``PhantomConfig.preset``.
        fps: frames per second; one of them a subject where the set mixes them.
        emotions: class -> the emotions it is made of; the classes in the set's own order.
        counts: sets of ``data/au_emotion_counts.csv`` whose AU statistics are used (pooled where several).
        colour: RGB, else grey.
        intensity: smallest and largest peak displacement, % of IOD (stagkit's choice inside 0.3..3).
        noise: standard deviation of the sensor noise at difficulty 1, grey levels (stagkit's choice).
        flicker: change of the light at difficulty 1, % (stagkit's choice).
        jpeg: JPEG quality at difficulty 1, 0 where frames are released without loss.
        duration: median in s and log-standard-deviation of the length from onset to offset.
        apex: mean and standard deviation of the apex' place between onset (0) and offset (1).
        unilateral: share of the codes that are on one side only.
        coded: the set's sheets give AUs; where not, ``Clip.aus`` is None (the truth has them).
        source: where the numbers come from; 'recalled' = from memory, unverified.
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
        """Labels in order."""
        return tuple(self.emotions)

    @property
    def confounded(self) -> str:
        """The class with which ``PhantomConfig.confounder`` is planted: the first."""
        return self.classes[0]


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="casme2",
            fps=(200.0,),
            emotions={**_MEGC, "negative": ("disgust", "repression")},
            counts=("CASME2",),
            colour=True,
            intensity=(0.8, 2.6),
            noise=3.0,
            flicker=0.4,
            jpeg=90,
            duration=(0.300, 0.20),
            apex=(0.51, 0.12),
            unilateral=0.19,
            coded=True,
            source="fps, median length, apex, unilateral share: counted in the coding table; frame size: recalled",
        ),
        Preset(
            name="samm",
            fps=(200.0,),
            emotions={**_MEGC, "negative": ("anger", "contempt", "disgust", "fear", "sadness")},
            counts=("SAMM",),
            colour=False,
            intensity=(0.5, 2.0),
            noise=2.6,
            flicker=0.4,
            jpeg=92,
            duration=(0.385, 0.20),
            apex=(0.46, 0.12),
            unilateral=0.26,
            coded=True,
            source="fps, median length, apex, unilateral share: counted in the coding table; sensor: recalled",
        ),
        Preset(
            name="smic",
            fps=(100.0,),
            emotions=_MEGC,
            counts=("CASME2", "SAMM"),
            colour=True,
            intensity=(0.7, 2.8),
            noise=4.0,
            flicker=1.0,
            jpeg=0,
            duration=(0.340, 0.22),
            apex=(0.50, 0.14),
            unilateral=0.22,
            coded=False,
            source="fps: recalled; no AUs and no apex in the set: statistics pooled over CASME II and SAMM",
        ),
        Preset(
            name="4dme",
            fps=(60.0,),
            emotions={
                "negative": ("disgust", "anger", "contempt", "fear", "sadness"),
                "positive": ("happiness",),
                "surprise": ("surprise",),
                "repression": ("repression",),
                "others": ("others",),
            },
            counts=("CASME2", "SAMM"),
            colour=False,
            intensity=(0.8, 3.0),
            noise=3.4,
            flicker=0.8,
            jpeg=92,
            duration=(0.400, 0.18),
            apex=(0.48, 0.13),
            unilateral=0.22,
            coded=True,
            source="fps: recalled; AU counts unpublished: statistics pooled over CASME II and SAMM",
        ),
        Preset(
            name="dfme",
            fps=(200.0, 300.0, 500.0),
            emotions={name: (name,) for name in _SEVEN},
            counts=("DFME",),
            colour=True,
            intensity=(0.6, 3.0),
            noise=3.4,
            flicker=0.6,
            jpeg=0,
            duration=(0.280, 0.25),
            apex=(0.52, 0.12),
            unilateral=0.18,
            coded=True,
            source="fps, apex, unilateral share: counted in the label tables; frame size: recalled",
        ),
    )
}

#: Longest clip, frames. At 200 fps and more, motion is shortened to about three quarters of it, so that clips stay cheap
#: (CASME II 240 ms, SAMM 240 ms, DFME 100-240 ms from onset to offset): stagkit's choice.
MAX_FRAMES = 64

#: Unambiguous patterns of each emotion, (AUs, weight): EMFACS, cut down to what micro-expressions show.
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
#: How far each AU typically moves the skin, beside the brows: float "au" in the order of ``facs.AU_NUMBERS``
#: (lids, cheeks and the wings of the nose travel less; stagkit's choice).
STRENGTH = np.array(
    [{5: 0.6, 6: 0.5, 7: 0.55, 9: 0.65, 10: 0.6, 14: 0.8, 15: 0.8, 17: 0.9}.get(n, 1.0) for n in AU_NUMBERS]
)
_NAMES = {"happy": "happiness", "sad": "sadness", "other": "others"}


def _read_counts(name: str) -> list[dict[str, str]]:
    with resources.files("stagkit").joinpath(f"resources/{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=16)
def load_au_statistics(sets: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, int], np.ndarray]:
    """How often real clips of an emotion show each AU, and which AUs go together.

    Args:
        sets: names in ``data/au_emotion_counts.csv``; several are pooled.

    Returns:
        emotion -> share of clips with the AU (float "au", order of ``facs.AU_NUMBERS``); emotion -> number of clips;
        lift float "au au": how much oftener two AUs meet than by chance, 1 where they are independent or too rare to
        tell (add-one smoothing).
    """
    with_au: dict[str, np.ndarray] = {}
    total: dict[tuple[str, str], int] = {}
    for row in _read_counts("au_emotion_counts"):
        if row["dataset"] in sets and int(row["au"]) in ACTION_UNITS:
            emotion = _NAMES.get(row["emotion"], row["emotion"])
            shares = with_au.setdefault(emotion, np.zeros(len(AU_NUMBERS)))
            shares[AU_NUMBERS.index(int(row["au"]))] += int(row["n_with_au"])
            total[row["dataset"], emotion] = int(row["n_emotion"])
    n_clips = {emotion: sum(n for (_, e), n in total.items() if e == emotion) for emotion in with_au}
    both = np.zeros((len(AU_NUMBERS),) * 2)
    for row in _read_counts("au_cooccurrence_counts"):
        pair = int(row["au_a"]), int(row["au_b"])
        if row["dataset"] in sets and set(pair) <= set(AU_NUMBERS):
            both[AU_NUMBERS.index(pair[0]), AU_NUMBERS.index(pair[1])] += int(row["n_both"])
    expected = np.outer(np.diag(both), np.diag(both)) / max(1, sum(n_clips.values()))
    return {e: with_au[e] / max(1, n_clips[e]) for e in with_au}, n_clips, (both + 1) / (expected + 1)


def sample_au_pattern(
    preset: Preset, label: str, difficulty: float, rng: np.random.Generator, left: float = 0.5
) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Which AUs a clip of a class shows.

    With probability ``difficulty`` they are drawn from the real set's statistics (each AU by its share among clips of
    the emotion, its odds times the square root of the lift of every AU already drawn, so that 1+2, 4+7 and 6+12 go
    together); otherwise an unambiguous pattern of ``AU_PATTERNS`` is taken. Stagkit's choice.

    Args:
        preset: one of ``PRESETS``.
        label: one of ``preset.classes``.
        difficulty: 0 textbook .. 1 as ambiguous as the real set.
        rng: source of chance.
        left: chance that what is on one side is on the subject's left.

    Returns:
        the emotion, and (number, side) of each AU, sorted, at least one; side '' = both.

    Raises:
        StagkitError: a label that the preset does not have.
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
    """AU numbers drawn one after another in random order; at most four."""
    chosen: list[int] = []
    for k in rng.permutation(len(shares)):
        odds = shares[k] / max(1e-9, 1 - shares[k]) * np.prod(np.sqrt(lift[k, chosen]))
        if rng.random() < odds / (1 + odds) and len(chosen) < 4:
            chosen.append(int(k))
    if not chosen:
        chosen = [int(rng.choice(len(shares), p=shares / shares.sum()))]
    return tuple(AU_NUMBERS[k] for k in chosen)


def share_beyond(difficulty: float, default: float = 0.4) -> float:
    """How far a difficulty lies beyond the default one: 0 up to it, 1 at the hardest."""
    return max(0.0, (difficulty - default) / (1 - default))


def sample_faint_au(
    preset: Preset, coded: tuple[tuple[int, str], ...], difficulty: float, rng: np.random.Generator
) -> tuple[tuple[int, str], ...]:
    """A movement too faint for the coders: at most one more AU, of any emotion; none up to the default difficulty.

    Args:
        preset: one of ``PRESETS``.
        coded: what the clip's emotion shows.
        difficulty: 0.4 and less never .. 1 in two of three clips (stagkit's choice).
        rng: source of chance.

    Returns:
        (number, side) of no or one AU that is not among ``coded``.
    """
    if rng.random() >= 0.67 * share_beyond(difficulty):
        return ()
    shares, n_clips, _ = load_au_statistics(preset.counts)
    rate = sum(shares[e] * n for e, n in n_clips.items())
    rate[[AU_NUMBERS.index(n) for n, _ in coded]] = 0
    number = AU_NUMBERS[rng.choice(len(rate), p=rate / rate.sum())]
    sided = ACTION_UNITS[number].sided and rng.random() < preset.unilateral
    return ((number, str(rng.choice(["L", "R"])) if sided else ""),)
