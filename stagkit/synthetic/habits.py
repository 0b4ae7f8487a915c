"""What a living face does beside its expression: habits of a person, glances, blinks, swallowing, and the light on it.

Rates and sizes are stagkit's choice; all of them vanish at difficulty 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stagkit.core.facs import AU_NUMBERS


@dataclass(frozen=True)
class Habits:
    """How one person moves, in every clip.

    Args:
        gain: float "au", how much stronger than others this person moves each AU (1 = as others).
        left: chance that a one-sided AU is on the subject's left.
        blinks: how much oftener than others this person blinks.
    """

    gain: np.ndarray = field(repr=False)
    left: float
    blinks: float


def make_habits(difficulty: float, rng: np.random.Generator) -> Habits:
    """Draw a person's habits.

    Args:
        difficulty: 0 none .. 1 as different as people are.
        rng: source of chance.
    """
    gain = np.exp(0.35 * difficulty * rng.normal(size=len(AU_NUMBERS)))
    left = 0.5 + difficulty * float(rng.choice([-1, 1])) * rng.uniform(0.0, 0.4)
    return Habits(gain, left, float(np.exp(0.6 * difficulty * rng.normal())))


@dataclass(frozen=True)
class Life:
    """Course of what moves beside the expression: ``gaze`` "time 2" (IOD), ``closed`` and ``swallow`` "time" (0..1)."""

    gaze: np.ndarray
    closed: np.ndarray
    swallow: np.ndarray


def make_life(n_frames: int, fps: float, difficulty: float, habits: Habits, rng: np.random.Generator) -> Life:
    """Now and then a glance, a blink (80 ms down, 160 ms up) or a gulp (0.4 s).

    Args:
        n_frames: length of the clip; fps: frames per second.
        difficulty: 0 never .. 1 as often as people do in clips of this length.
        habits: whose; rng: source of chance.
    """
    chances = difficulty * np.array([0.5, min(1.0, 0.25 * habits.blinks), 0.10])
    looks, blinks, swallows = rng.random(3) < chances
    gaze, closed, swallow = np.zeros((n_frames, 2)), np.zeros(n_frames), np.zeros(n_frames)
    starts, angle = rng.uniform((0.1, -0.3, -0.5), (0.7, 0.9, 0.8)), rng.normal(0, 0.3)
    reach = rng.choice([-1, 1]) * rng.uniform(0.012, 0.035)
    look, blink, gulp = ((np.arange(n_frames) - start * n_frames) / fps for start in starts)
    if looks:
        jump = np.clip(look / 0.03, 0, 1)  # a saccade takes about 30 ms
        gaze = (jump * jump * (3 - 2 * jump))[:, None] * reach * np.array([np.cos(angle), 0.5 * np.sin(angle)])
    if blinks:
        closed = np.where(blink < 0.08, blink / 0.08, 1 - (blink - 0.08) / 0.16).clip(0, 1)
        closed = closed * closed * (3 - 2 * closed)
    if swallows:
        swallow = np.sin(np.pi * np.clip(gulp / 0.4, 0, 1)) ** 2
    return Life(gaze, closed, swallow)


def make_light(n_frames: int, fps: float, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness of each frame: a slow drift and the beat of the mains with the shutter; 1 where ``percent`` is 0."""
    t = np.arange(n_frames) / fps
    slow, beat = rng.uniform(0.5, 2.0), rng.uniform(4.0, 12.0)
    wave = np.sin(2 * np.pi * (slow * t + rng.random())) + 0.5 * np.sin(2 * np.pi * (beat * t + rng.random()))
    return 1.0 + percent / 100 * (wave - wave[0])
