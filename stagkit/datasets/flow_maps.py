"""Published onset-apex flow maps: the one real set that needs no licence agreement.

The HTNet repository (wangzhifengharrison/HTNet, ``datasets/STSNet_whole_norm_u_v_os``) holds a 28x28 PNG for each of
the 442 clips of the MEGC2019 composite: R = u, G = v, B = optical strain, each channel stretched to 0..255 per map. So the
amplitude is lost and zero motion has no fixed code; here the median of each channel is taken as zero motion (most of a
face does not move) and u and v are scaled together by their common spread. Every clip becomes a sequence of one frame.

The maps show a cropped face: eyes at row 7, mouth corners at row 19, chin at row 24. ``MAP_FRAME`` places stagkit's
regions on them; it was read off the mean motion of the annotated AUs (AU12 and AU15 at the mouth corners, AU17 on the
chin, AU4 at the brows).
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from stagkit.facs import compute_au_vector, parse_aus
from stagkit.rois import ATLAS, RoiAtlas
from stagkit.types import RoiDataset, StagkitError

#: Classes of the MEGC2019 composite, in the order of the published labels 0, 1, 2.
CLASSES = ("negative", "positive", "surprise")

#: Face frame (IOD) -> px of a 28x28 map; x and y differ because the crop was squeezed to a square.
MAP_FRAME = np.array([[21.0, 0.0, 13.5], [0.0, 16.0, 7.0]])

#: The standard regions with wider squares. The maps are coarse (21 px an IOD), and motion away from the 22 centres tells
#: classes apart too: with this half side (IOD) the regions see as much of the face as a 7x7 grid does.
MAP_ATLAS = replace(ATLAS, radius=0.3)

_FIELDS = ("flow", "label", "subject", "dataset", "clip")
_TABLE = "combined_3_class2_for_optical_flow.csv"


def compute_map_motion(flow: np.ndarray) -> np.ndarray:
    """Undo the stretching of published maps as far as it can be undone.

    Args:
        flow: uint8 or float "clip y x chan", chan = (u, v, strain), 0..255.

    Returns:
        float32 "clip chan y x" in map units: zero = the map's median; (u, v) divided by their common root mean square,
        strain by its own.
    """
    motion = np.moveaxis(flow.astype(np.float32), -1, 1)
    motion = motion - np.median(motion, axis=(2, 3), keepdims=True)
    spread = np.sqrt((motion**2).mean((2, 3), keepdims=True))
    spread[:, :2] = np.sqrt((spread[:, :2] ** 2).mean(1, keepdims=True))
    return motion / np.maximum(spread, 1e-6)


def load_flow_maps(path: str | Path, patch: int = 5, atlas: RoiAtlas = MAP_ATLAS) -> RoiDataset:
    """Read flow maps as the network's input, one frame a clip.

    Args:
        path: an ``.npz`` with ``flow`` uint8 "clip y x chan" and ``label, subject, dataset, clip`` (and ``aus``, text,
            where coded), or a folder of the HTNet repository: its PNG maps with ``combined_3_class2_for_optical_flow.csv``
            beside or above them.
        patch: samples a side of a region.

    Raises:
        StagkitError: nothing there, fields missing, axes that do not fit, NaN, labels outside the classes.
    """
    path = Path(path)
    arrays = read_maps(path)
    flow, label = arrays["flow"], arrays["label"]
    n_clips = len(label)
    if flow.ndim != 4 or flow.shape[-1] != 3:
        raise StagkitError(f"{path}: `flow` is {flow.shape}, expected (clip, y, x, 3) with (u, v, strain) last.")
    for name in _FIELDS[1:]:
        if arrays[name].shape != (len(flow),):
            raise StagkitError(
                f"{path}: `{name}` is {arrays[name].shape}, expected one value for each of {len(flow)} maps."
            )
    if not n_clips:
        raise StagkitError(f"{path} holds no maps.")
    if not np.isfinite(flow).all():
        bad = arrays["clip"][~np.isfinite(flow).all(axis=(1, 2, 3))]
        raise StagkitError(
            f"{path}: `flow` holds NaN or infinity in {len(bad)} clips, the first is {bad[0]}; remove them."
        )
    if not np.issubdtype(label.dtype, np.number) or not np.isin(label, range(len(CLASSES))).all():
        odd = sorted({str(v) for v in label} - {str(i) for i in range(len(CLASSES))})
        raise StagkitError(
            f"{path}: `label` holds {', '.join(odd[:5])}; expected 0 (negative), 1 (positive) or 2 (surprise)."
        )
    return cut_maps(arrays, path.name, patch, atlas)


def cut_maps(arrays: dict[str, np.ndarray], name: str, patch: int = 5, atlas: RoiAtlas = MAP_ATLAS) -> RoiDataset:
    """Regions of maps that are in memory, checked already.

    Args:
        arrays: as ``read_maps`` returns them.
        name: what the record calls them.
        patch, atlas: as in ``load_flow_maps``.
    """
    flow, label = arrays["flow"], arrays["label"]
    n_clips = len(label)
    motion = compute_map_motion(flow)
    frame = MAP_FRAME * (np.array([[flow.shape[2]], [flow.shape[1]]]) / 28.0)
    patches, inside = atlas.cut_at(motion, atlas.mean_centres, frame, patch)
    codes = arrays.get("aus")
    datasets = tuple(str(d) for d in arrays["dataset"])
    return RoiDataset(
        x=patches[:, None],
        mask=np.tile(inside, (n_clips, 1, 1)),
        times_ms=np.zeros((n_clips, 1), np.float32),
        label=label.astype(np.int64),
        aus=np.stack([_read_codes(codes[i] if codes is not None else "") for i in range(n_clips)]),
        clip_ids=tuple(f"{s}/{c}" for s, c in zip(arrays["subject"], arrays["clip"], strict=True)),
        subjects=tuple(f"{d}/{s}" for d, s in zip(datasets, arrays["subject"], strict=True)),
        datasets=datasets,
        classes=CLASSES,
        roi_names=atlas.names,
        unit="map",
        meta={
            "source": "flow maps",
            "name": name,
            "digest": hashlib.sha256(np.ascontiguousarray(flow).tobytes() + label.astype("<i8").tobytes()).hexdigest(),
            "radius": atlas.radius,
            "zero": "median of each channel of each map",
        },
    )


def read_maps(path: str | Path) -> dict[str, np.ndarray]:
    """The maps as they are published: ``flow, label, subject, dataset, clip`` and, where coded, ``aus``.

    Labels may be numbers, numbers as text, or class names; they come out as numbers where they can be read so.
    """
    path = Path(path)
    arrays = _read_npz(path) if path.suffix == ".npz" else _read_folder(path)
    return {**arrays, "label": _read_labels(arrays["label"])}


def _read_labels(label: np.ndarray) -> np.ndarray:
    """``"1"``, ``"1.0"`` and ``"Positive"`` are 1; anything else stays as it is, to be named by whoever checks it."""
    if label.dtype.kind not in "US":
        return label
    words = [str(v).strip().lower() for v in label.astype(str)]
    number = {c: i for i, c in enumerate(CLASSES)} | {f"{i}{end}": i for i in range(len(CLASSES)) for end in ("", ".0")}
    return np.array([number[w] for w in words]) if set(words) <= set(number) else label


def _read_codes(cell: str) -> np.ndarray:
    parsed = parse_aus(cell)
    return compute_au_vector(parsed.codes if parsed.codes else None)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _FIELDS if name not in file.files]
            if missing:
                raise StagkitError(
                    f"{path} has no {', '.join(missing)}; expected an .npz with {', '.join(_FIELDS)} (and aus, if coded)."
                )
            return {name: file[name] for name in (*_FIELDS, "aus") if name in file.files}
    except FileNotFoundError as error:
        raise StagkitError(f"there is no file {path}.") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StagkitError(
            f"{path} cannot be read as an .npz of plain arrays: it is damaged or holds objects."
        ) from error


def _read_folder(root: Path) -> dict[str, np.ndarray]:
    """The HTNet layout: map file names end in a space before ``.png``; labels stand in one table."""
    if not root.is_dir():
        raise StagkitError(f"there is no folder {root}.")
    tables = [p for folder in (root, root.parent, root.parent.parent) for p in sorted(folder.glob(_TABLE))]
    images = {p.stem.strip(): p for p in sorted(root.rglob("*.png"))}
    if not images:
        raise StagkitError(f"{root} holds no PNG maps; expected the HTNet folder STSNet_whole_norm_u_v_os.")
    if not tables:
        raise StagkitError(f"no {_TABLE} beside or above {root}: it holds the labels of the maps.")
    with tables[0].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {"dataset", "sub", "filename_o", "label"}
    if not rows or not wanted <= set(rows[0]):
        raise StagkitError(
            f"{tables[0]} has the columns {', '.join(rows[0] if rows else [])}; expected {', '.join(wanted)}."
        )
    kept, maps, missing = [], [], []
    for row in rows:
        image = _find_map(images, row)
        if image is None:
            missing.append(row["filename_o"])
            continue
        read = cv2.imread(str(image), cv2.IMREAD_COLOR)
        if read is None:
            raise StagkitError(f"{image} cannot be read as a picture: the file is damaged; get it again.")
        if maps and read.shape != maps[0].shape:
            raise StagkitError(
                f"{image} is {read.shape[1]}x{read.shape[0]} px, the others {maps[0].shape[1]}x{maps[0].shape[0]}."
            )
        maps.append(read)
        kept.append(row)
    if not kept or len(missing) > len(rows) // 2:
        raise StagkitError(
            f"{root}: maps of {len(missing)} of {len(rows)} clips are missing, the first is {missing[0]}."
        )
    if missing:
        import warnings

        warnings.warn(
            f"{root}: {len(missing)} of {len(rows)} clips have no map and are left out: {missing[:5]}", stacklevel=3
        )
    try:
        label = np.array([int(r["label"]) for r in kept])
    except ValueError as error:
        raise StagkitError(f"{tables[0]}: a label is no whole number: {error}.") from error
    return {
        "flow": np.stack(maps)[..., ::-1],  # OpenCV reads blue first: strain, v, u
        "label": label,
        "subject": np.array([r["sub"].strip() for r in kept]),
        "dataset": np.array([r["dataset"].strip().lower() for r in kept]),
        "clip": np.array([r["filename_o"].strip() for r in kept]),
    }


def _find_map(images: dict[str, Path], row: dict[str, str]) -> Path | None:
    """The map of a table row: named ``imagename``, or subject and clip joined; SMIC pads its subject numbers."""
    subject, clip = row["sub"].strip(), row["filename_o"].strip()
    named = [row.get(k, "").strip().removesuffix(".png").strip() for k in ("imagename", "sub_filename")]
    padded = f"s{int(subject[1:]):02d}" if subject[:1] == "s" and subject[1:].isdigit() else subject
    clip_padded = f"{padded}{clip[clip.find('_') :]}" if clip.startswith("s") and "_" in clip else clip
    for stem in (
        *named,
        f"{subject}_{clip}",
        f"{padded}_{clip}",
        f"{padded}_{clip_padded}",
        f"{subject.zfill(3)}_{clip}",
    ):
        if stem and stem in images:
            return images[stem]
    return None
