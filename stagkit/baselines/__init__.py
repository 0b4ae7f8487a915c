"""The other systems: one readable file each, built from papers, nothing copied.

In: the same sealed folds as STAG. Out: predictions, and `SYSTEMS` with what each reads, where it comes from and how it is
trained. None sees more of a fold than its training clips; epochs are fixed beforehand.
Start reading at ``plain.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stagkit.baselines.apexflow import SCHEDULE as APEX_SCHEDULE
from stagkit.baselines.apexflow import OFFApexNet
from stagkit.baselines.evolution import SCHEDULE as EVOLUTION_SCHEDULE
from stagkit.baselines.evolution import EvolutionTransformer
from stagkit.baselines.fdp import FDP
from stagkit.baselines.fdp import SCHEDULE as FDP_SCHEDULE
from stagkit.baselines.htnet import SCHEDULE as HTNET_SCHEDULE
from stagkit.baselines.htnet import HTNet
from stagkit.baselines.mdmo import fit_mdmo
from stagkit.baselines.mesti_meganet import SCHEDULE as MEGA_SCHEDULE
from stagkit.baselines.mesti_meganet import MEGANet
from stagkit.baselines.network import Network, Output, Schedule, count_parameters, fit_network, predict
from stagkit.baselines.plain import (
    MLP_SCHEDULE,
    Answer,
    fit_logistic,
    fit_majority,
    fit_svm,
    make_grid_mlp,
)
from stagkit.baselines.ststnet import SCHEDULE as STST_SCHEDULE
from stagkit.baselines.ststnet import STSTNet
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.training.train import compute_scale

__all__ = [
    "SYSTEMS",
    "Answer",
    "Network",
    "Output",
    "Schedule",
    "System",
    "choose_systems",
    "count_parameters",
    "fit_network",
    "predict",
]


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Args:
        name: what the command calls it, and its folder.
        title: what the table calls it.
        view: how it sees a clip, one of ``views.VIEWS``.
        source: the paper.
        build: makes the untrained network from the training clips; None for a system without one.
        schedule: how the network is trained.
        fit: (training clips, seed) -> its answer, for a system without a network.
        published: its name in the published tables (``published.load_published``), '' where it has no number there.
        uses: what it is told that STAG is not.
    """

    name: str
    title: str
    view: str
    source: str
    build: Callable[[RoiDataset], Network] | None = None
    schedule: Schedule | None = None
    fit: Callable[[RoiDataset, int], Answer] | None = None
    published: str = ""
    uses: str = ""


def _of_map(kind: type[Network]) -> Callable[[RoiDataset], Network]:
    def build(known: RoiDataset) -> Network:
        scale = compute_scale(known, slice(None))
        return kind(len(known.classes), side=known.x.shape[-1], scale=scale)

    return build


def _build_meganet(known: RoiDataset) -> Network:
    return MEGANet(len(known.classes), scale=compute_scale(known, slice(None)))


def _build_evolution(known: RoiDataset) -> Network:
    return EvolutionTransformer(len(known.classes), known.roi_names, scale=compute_scale(known, slice(None)))


def _build_fdp(known: RoiDataset) -> Network:
    return FDP(len(known.classes), known.x.shape[1])


def _build_fdp_as_published(known: RoiDataset) -> Network:
    return FDP(len(known.classes), known.x.shape[1], as_published=True)


_MESTI, _APEX = "arXiv:2509.00056", "the coded apex"
_ALL = (
    System("majority", "Majority class", "regions", "", fit=fit_majority),
    System("logistic", "Logistic regression, 7x7 grid", "face", "", fit=fit_logistic, uses=_APEX),
    System("svm", "RBF-SVM, 7x7 grid", "face", "", fit=fit_svm, uses=_APEX),
    System("mlp", "MLP, 7x7 grid", "face", "", make_grid_mlp, MLP_SCHEDULE, uses=_APEX),
    System("mdmo", "MDMO + SVM", "regions", "Liu et al. 2016, doi:10.1109/TAFFC.2015.2485205", fit=fit_mdmo),
    System(
        "ststnet",
        "STSTNet",
        "face",
        "Liong et al. 2019, doi:10.1109/FG.2019.8756567",
        _of_map(STSTNet),
        STST_SCHEDULE,
        published="STSTNet",
        uses=_APEX,
    ),
    System(
        "off-apexnet",
        "OFF-ApexNet",
        "face",
        "Gan et al. 2019, doi:10.1016/j.image.2019.02.005",
        _of_map(OFFApexNet),
        APEX_SCHEDULE,
        published="OFF-ApexNet",
        uses=_APEX,
    ),
    System(
        "htnet",
        "HTNet, reduced",
        "face",
        "Wang et al. 2024, doi:10.1016/j.neucom.2024.128196",
        _of_map(HTNet),
        HTNET_SCHEDULE,
        published="HTNet",
        uses=_APEX,
    ),
    System("flow-meganet", "Onset-apex flow + MEGANet", "face", _MESTI, _build_meganet, MEGA_SCHEDULE, uses=_APEX),
    System("dynamic-meganet", "Dynamic image + MEGANet", "dynamic", _MESTI, _build_meganet, MEGA_SCHEDULE),
    System(
        "mesti-meganet",
        "MESTI + MEGANet",
        "mesti",
        _MESTI,
        _build_meganet,
        MEGA_SCHEDULE,
        published="MESTI + MEGANet",
        uses=_APEX,
    ),
    System(
        "evolution",
        "Evolution transformer",
        "course",
        "He et al. 2025, doi:10.1007/s11704-025-40976-3",
        _build_evolution,
        EVOLUTION_SCHEDULE,
        published="He et al.",
    ),
    System(
        "fdp",
        "FDP",
        "film",
        "arXiv:2509.06015",
        _build_fdp,
        FDP_SCHEDULE,
        published="FDP",
        uses="the coded apex, in training",
    ),
    System(
        "fdp-as-published",
        "FDP, axes as published",
        "film",
        "arXiv:2509.06015 and its public code",
        _build_fdp_as_published,
        FDP_SCHEDULE,
    ),
)

#: Every system by name, in the order of the table.
SYSTEMS: dict[str, System] = {system.name: system for system in _ALL}


def choose_systems(names) -> tuple[System, ...]:
    """Systems by name, in the order of the table; all where ``names`` is empty.

    Raises:
        StagkitError: a name that is none, with those there are.
    """
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise StagkitError(f"there is no system {unknown[0]!r}; there are stag, {', '.join(SYSTEMS)}.")
    return tuple(system for system in _ALL if not names or system.name in names)
