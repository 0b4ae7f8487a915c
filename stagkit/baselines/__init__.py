"""Published and plain systems to compare STAG with: one readable file each, implemented from papers.

In: the training clips of a sealed fold. Out: predictions; ``SYSTEMS`` names what each system reads, its source and its
schedule (epochs are fixed beforehand).
Start reading at ``plain.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stagkit.baselines import apexflow, evolution, fdp, htnet, mesti_meganet, plain, ststnet
from stagkit.baselines.mdmo import fit_mdmo
from stagkit.baselines.network import Network, Output, Schedule, fit_network, predict
from stagkit.baselines.plain import Predictor
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.training.train import compute_scale

__all__ = ["SYSTEMS", "Network", "Output", "Schedule", "System", "choose_systems", "fit_network", "predict"]


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Args:
        name, title: on the command line and of its folder; in the table.
        view, source: how it sees a clip, one of ``inputs.VIEWS``; the paper.
        build, schedule: make the untrained network from the training clips, and train it.
        fit: (training clips, seed) -> predictor, for a system without a network.
        published: its name in ``published.load_published``, '' without a published number.
        uses: annotation that it uses and STAG does not.
    """

    name: str
    title: str
    view: str
    source: str
    build: Callable[[RoiDataset], Network] | None = None
    schedule: Schedule | None = None
    fit: Callable[[RoiDataset, int], Predictor] | None = None
    published: str = ""
    uses: str = ""


def _of_map(kind: type[Network], schedule: Schedule) -> dict[str, object]:
    def build(train: RoiDataset) -> Network:
        return kind(len(train.classes), side=train.x.shape[-1], scale=_scale(train))

    return {**_MAP, "build": build, "schedule": schedule}


def _scale(train: RoiDataset):
    return compute_scale(train, slice(None))


def _build_meganet(train: RoiDataset) -> Network:
    return mesti_meganet.MEGANet(len(train.classes), scale=_scale(train))


def _build_evolution(train: RoiDataset) -> Network:
    return evolution.EvolutionTransformer(len(train.classes), train.roi_names, scale=_scale(train))


def _build_fdp(train: RoiDataset, as_published: bool = False) -> Network:
    return fdp.FDP(len(train.classes), train.x.shape[1], as_published)


_APEX, _FDP, _MESTI = "the coded apex", "arXiv:2509.06015", "arXiv:2509.00056"
_CODE = f"{_FDP} and its public code"
_STST, _OFF = "Liong et al. 2019, doi:10.1109/FG.2019.8756567", "Gan et al. 2019, doi:10.1016/j.image.2019.02.005"
_HTNET, _HE = "Wang et al. 2024, doi:10.1016/j.neucom.2024.128196", "He et al. 2025, doi:10.1007/s11704-025-40976-3"
_MDMO = "Liu et al. 2016, doi:10.1109/TAFFC.2015.2485205"
_MAP, _MEGA = {"view": "face", "uses": _APEX}, {"build": _build_meganet, "schedule": mesti_meganet.SCHEDULE}
_FILM, _AXES = {"view": "film", "schedule": fdp.SCHEDULE}, partial(_build_fdp, as_published=True)
_OFFNET = {**_of_map(apexflow.OFFApexNet, apexflow.SCHEDULE), "source": _OFF, "published": "OFF-ApexNet"}
_EVOLUTION = {"build": _build_evolution, "schedule": evolution.SCHEDULE, "published": "He et al."}
_ALL = (
    System("majority", "Majority class", "regions", "", fit=plain.fit_majority),
    System("logistic", "Logistic regression, 7x7 grid", source="", fit=plain.fit_logistic, **_MAP),
    System("svm", "RBF-SVM, 7x7 grid", source="", fit=plain.fit_svm, **_MAP),
    System("mlp", "MLP, 7x7 grid", source="", build=plain.make_grid_mlp, schedule=plain.MLP_SCHEDULE, **_MAP),
    System("mdmo", "MDMO + SVM", "regions", _MDMO, fit=fit_mdmo),
    System("ststnet", "STSTNet", source=_STST, published="STSTNet", **_of_map(ststnet.STSTNet, ststnet.SCHEDULE)),
    System("off-apexnet", "OFF-ApexNet", **_OFFNET),
    System("htnet", "HTNet, reduced", source=_HTNET, published="HTNet", **_of_map(htnet.HTNet, htnet.SCHEDULE)),
    System("flow-meganet", "Onset-apex flow + MEGANet", source=_MESTI, **_MAP, **_MEGA),
    System("dynamic-meganet", "Dynamic image + MEGANet", "dynamic", _MESTI, **_MEGA),
    System("mesti-meganet", "MESTI + MEGANet", "mesti", _MESTI, published="MESTI + MEGANet", uses=_APEX, **_MEGA),
    System("evolution", "Evolution transformer", "time_series", _HE, **_EVOLUTION),
    System("fdp", "FDP", source=_FDP, build=_build_fdp, published="FDP", uses=f"{_APEX}, in training", **_FILM),
    System("fdp-as-published", "FDP, axes as published", source=_CODE, build=_AXES, **_FILM),
)

#: Every system by name, in the order of the table.
SYSTEMS: dict[str, System] = {system.name: system for system in _ALL}


def choose_systems(names) -> tuple[System, ...]:
    """Systems by name, in the order of the table; all if ``names`` is empty."""
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise StagkitError(f"there is no system {unknown[0]!r}; there are stag, {', '.join(SYSTEMS)}.")
    return tuple(system for system in _ALL if not names or system.name in names)
