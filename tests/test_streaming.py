"""A clip handed over frame by frame gets the answer of the whole clip."""

from dataclasses import replace

import numpy as np
import pytest

from stagkit.core.types import ShapeError, StagkitError
from stagkit.inference.stream import Stream
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import compute_flow, compute_rois
from stagkit.motion.rois import stack_sequences
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.training.train import predict
from tests.tiny import make_model

FEW = FlowConfig(n_frames=3)
CLASSES = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def clip():
    return make_clip(PhantomConfig(subjects=1, clips=1, size=64), 0, 0)


def whole_answer(model, clip):
    sequence = compute_rois(compute_flow(clip, FEW), clip)
    return predict(model, stack_sequences([sequence], CLASSES), np.array([0]))[0]


def open_stream(model, clip):
    return Stream(model, CLASSES, clip.frames[clip.onset], clip.landmarks[clip.onset], FEW)


def test_the_last_answer_is_that_of_the_clip(clip):
    model, answers = make_model(), []
    stream = open_stream(model, clip)
    for t in range(clip.onset + 1, len(clip.frames)):
        stream.add(clip.frames[t], float(clip.times_ms[t]))
        answers.append(stream.predict())
    whole = replace(clip, frames=clip.frames[clip.onset :], landmarks=clip.landmarks[clip.onset :], onset=0, truth=None)
    whole = replace(whole, apex=None, offset=None)
    assert np.allclose(answers[-1], whole_answer(model, whole), atol=1e-6)
    assert not np.allclose(answers[0], answers[-1], atol=1e-4), "early frames tell something else"
    assert len(stream) == len(clip.frames) - clip.onset - 1


def test_what_does_not_fit_is_told(clip):
    stream = open_stream(make_model(), clip)
    with pytest.raises(StagkitError, match="no frame was added"):
        stream.predict()
    with pytest.raises(ShapeError, match="expected the same size"):
        stream.add(clip.frames[1][:9], 5.0)
    stream.add(clip.frames[1], 5.0)
    with pytest.raises(StagkitError, match="frames come in order"):
        stream.add(clip.frames[2], 5.0)
