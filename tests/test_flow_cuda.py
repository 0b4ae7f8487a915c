"""Flow on the GPU: who has none is told in one sentence; who has one gets what OpenCV's classes say."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from stagkit.cli import app
from stagkit.core.config import ConfigError
from stagkit.core.types import StagkitError
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import CUDA_METHODS, choose_flow_device, make_flow_method


class Cuda:
    """Stands in for ``cv2.cuda`` with one GPU: 'flow' there is (first, second) of each pixel, so that the order is seen."""

    def __init__(self, devices=1):
        self.devices, self.made = devices, []
        cuda = self

        class Method:
            def calc(self, first, second, flow):
                assert flow is None
                there = Cuda.GpuMat()
                there.upload(np.stack([first.download(), second.download()], axis=-1).astype(np.float32))
                return there

        def make(name):
            return type(name, (), {"create": staticmethod(lambda *a: cuda.made.append((name, a)) or Method())})

        for name, _ in CUDA_METHODS.values():
            setattr(self, name, make(name))

    class GpuMat:
        def upload(self, array):
            assert array.flags.c_contiguous
            self.array = array.copy()

        def download(self):
            return self.array

    def getCudaEnabledDeviceCount(self):
        return self.devices


def test_without_a_gpu_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "cuda", Cuda(devices=0))
    with pytest.raises(StagkitError, match="OpenCV sees no GPU .*: use the device cpu"):
        choose_flow_device("cuda", "tvl1")
    with pytest.raises(StagkitError, match="sees no GPU"):
        make_flow_method("farneback", "cuda")
    assert choose_flow_device("auto", "tvl1") == "cpu"
    arguments = ["prepare", "casme2", str(tmp_path), str(tmp_path / "p"), "--method", "tvl1", "--flow-device", "cuda"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code and isinstance(done.exception, StagkitError) and "sees no GPU" in str(done.exception)
    assert not (tmp_path / "p").exists()


def test_the_choice_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(cv2, "cuda", Cuda())
    for method in CUDA_METHODS:
        assert [choose_flow_device(d, method) for d in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    assert choose_flow_device("auto", "dis") == "cpu"
    with pytest.raises(StagkitError, match="OpenCV has no dis flow for the GPU: use tvl1 or farneback"):
        choose_flow_device("cuda", "dis")
    with pytest.raises(StagkitError, match="no flow device 'gpu'; expected auto, cpu, cuda"):
        choose_flow_device("gpu", "tvl1")


def test_an_opencv_without_cudaoptflow_is_told(monkeypatch):
    bare = Cuda()
    del bare.OpticalFlowDual_TVL1
    monkeypatch.setattr(cv2, "cuda", bare)
    with pytest.raises(StagkitError, match="built without cudaoptflow"):
        choose_flow_device("cuda", "tvl1")
    assert choose_flow_device("auto", "tvl1") == "cpu"


@pytest.mark.parametrize("method", CUDA_METHODS)
def test_frames_go_there_in_order_and_flow_comes_back(monkeypatch, method):
    cuda = Cuda()
    monkeypatch.setattr(cv2, "cuda", cuda)
    measure = make_flow_method(method, "cuda")
    first, second = np.arange(12, dtype=np.uint8).reshape(3, 4), np.full((4, 3), 7, np.uint8).T
    flow = measure(first, second)
    assert flow.shape == (3, 4, 2) and flow.dtype == np.float32
    assert (flow[..., 0] == first).all() and (flow[..., 1] == second).all()
    assert cuda.made == [CUDA_METHODS[method]]


def test_the_device_is_on_record():
    there = FlowConfig(method="tvl1", device="cuda")
    assert there.to_dict()["device"] == "cuda" and FlowConfig.from_dict(there.to_dict()) == there
    assert there.digest() != there.replace(device="cpu").digest()
    with pytest.raises(ConfigError, match="device is 'gpu', expected one of cpu, cuda"):
        FlowConfig(device="gpu")
