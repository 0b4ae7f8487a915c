"""Habits of a subject, incidental motion (glances, blinks, swallowing) and illumination.

Rates and sizes are stagkit's choice; all vanish at difficulty 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stagkit.core.facs import AU_NUMBERS


@dataclass(frozen=True)
class Habits:
    """How one subject moves in every clip.

    Args:
        gain: float "au", factor of each AU (1 = average).
        left: probability that a one-sided AU is on the subject's left.
        blinks: factor of the blink rate.
    """

    gain: np.ndarray = field(repr=False)
    left: float
    blinks: float


def make_habits(difficulty: float, rng: np.random.Generator) -> Habits:
    """Sample a subject's habits; at difficulty 1 they differ as between real subjects."""
    gain = np.exp(0.35 * difficulty * rng.normal(size=len(AU_NUMBERS)))
    left = 0.5 + difficulty * float(rng.choice([-1, 1])) * rng.uniform(0.0, 0.4)
    return Habits(gain, left, float(np.exp(0.6 * difficulty * rng.normal())))


@dataclass(frozen=True)
class IncidentalMotion:
    """Time courses: ``gaze`` "time 2" (IOD), ``closed`` and ``swallow`` "time" (0..1)."""

    gaze: np.ndarray
    closed: np.ndarray
    swallow: np.ndarray


def make_incidental_motion(
    n_frames: int, fps: float, difficulty: float, habits: Habits, rng: np.random.Generator
) -> IncidentalMotion:
    """Sample at most one glance, blink (80 ms down, 160 ms up) and swallow (0.4 s) per clip; never at difficulty 0."""
    rates = difficulty * np.array([0.5, min(1.0, 0.25 * habits.blinks), 0.10])
    looks, blinks, swallows = rng.random(3) < rates
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
    return IncidentalMotion(gaze, closed, swallow)


def make_illumination(n_frames: int, fps: float, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness of each frame: a slow drift and the beat of mains light with the shutter; 1 where ``percent`` is 0."""
    t = np.arange(n_frames) / fps
    slow, beat = rng.uniform(0.5, 2.0), rng.uniform(4.0, 12.0)
    wave = np.sin(2 * np.pi * (slow * t + rng.random())) + 0.5 * np.sin(2 * np.pi * (beat * t + rng.random()))
    return 1.0 + percent / 100 * (wave - wave[0])
