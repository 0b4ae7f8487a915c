"""Published onset-apex flow maps of the MEGC2019 composite: real data without a licence agreement.

The HTNet repository (wangzhifengharrison/HTNet, ``datasets/STSNet_whole_norm_u_v_os``) has a 28x28 PNG per clip: R = u,
G = v, B = optical strain, each channel stretched to 0..255 per map. The amplitude is lost and zero motion has no fixed
value: the median of each channel is taken as zero, and u and v are scaled together. Every clip is a sequence of one frame.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stagkit.core.facs import compute_au_vector
from stagkit.core.files import compute_digest, load_arrays, shorten
from stagkit.core.regions import ATLAS
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.au_codes import read_aus
from stagkit.datasets.spreadsheets import load_table, read_name
from stagkit.datasets.subjects import warn_of
from stagkit.motion.frames import Tree, load_image
from stagkit.motion.rois import sample_squares

#: Classes of the MEGC2019 composite, in the order of the published labels 0, 1, 2.
CLASSES = ("negative", "positive", "surprise")

#: Face frame (IOD) -> px of a 28x28 map, from the mean motion of the annotated AUs; the crop was squeezed to a square.
MAP_FRAME = np.array([[21.0, 0.0, 13.5], [0.0, 16.0, 7.0]])

#: The standard regions with larger squares, since the maps are coarse (21 px per IOD).
MAP_ATLAS = replace(ATLAS, radius=0.3)

#: Raised when the computation changes, so that older runs are not resumed.
MAP_VERSION = 1

_FIELDS = ("flow", "label", "subject", "dataset", "clip")
_NEEDED, _NAMES = ("dataset", "sub", "filename_o", "label"), ("imagename", "sub_filename")
_TABLE = "combined_3_class2_for_optical_flow.csv"


def compute_map_motion(flow: np.ndarray) -> np.ndarray:
    """Undo the stretching of published maps as far as possible.

    Args:
        flow: uint8 or float "clip y x chan", chan = (u, v, strain), 0..255.

    Returns:
        float32 "clip chan y x": zero = the map's median; (u, v) divided by their common root mean square, strain by its own.
    """
    motion = np.moveaxis(flow.astype(np.float32), -1, 1)
    motion = motion - np.median(motion, axis=(2, 3), keepdims=True)
    spread = np.sqrt((motion**2).mean((2, 3), keepdims=True))
    spread[:, :2] = np.sqrt((spread[:, :2] ** 2).mean(1, keepdims=True))
    return motion / np.maximum(spread, 1e-6)


def load_flow_maps(path: str | Path) -> RoiDataset:
    """Read flow maps as the network's input, one frame per clip.

    Args:
        path: an ``.npz`` with ``flow`` uint8 "clip y x chan" and ``label, subject, dataset, clip`` (and, if coded, ``aus``,
            text), or a folder of the HTNet repository: PNG maps with ``combined_3_class2_for_optical_flow.csv`` in it or
            up to two folders above.

    Raises:
        StagkitError: nothing there, fields missing, wrong axes, NaN, labels outside the classes.
    """
    path = Path(path)
    notes: list[str] = []
    arrays = read_maps(path, notes)
    flow, label = arrays["flow"], arrays["label"]
    if flow.ndim != 4 or flow.shape[-1] != 3:
        raise StagkitError(f"{path}: `flow` is {flow.shape}, expected (clip, y, x, 3) with (u, v, strain) last.")
    for name in _FIELDS[1:]:
        if arrays[name].shape != flow.shape[:1]:
            raise StagkitError(
                f"{path}: `{name}` is {arrays[name].shape}, expected one value for each of {len(flow)} maps."
            )
    if not len(label):
        raise StagkitError(f"{path} holds no maps.")
    if not np.isfinite(flow).all():
        bad = arrays["clip"][~np.isfinite(flow).all(axis=(1, 2, 3))]
        raise StagkitError(
            f"{path}: `flow` holds NaN or infinity in {len(bad)} clips, the first is {bad[0]}; remove them."
        )
    if not np.issubdtype(label.dtype, np.number) or not np.isin(label, range(len(CLASSES))).all():
        wrong = sorted({str(v) for v in label} - {str(i) for i in range(len(CLASSES))})
        raise StagkitError(f"{path}: `label` holds {', '.join(wrong[:5])}; expected 0, 1 or 2 ({', '.join(CLASSES)}).")
    return make_map_dataset(arrays, path.name, notes=notes)


def make_map_dataset(arrays: dict[str, np.ndarray], name: str, patch: int = 5, notes: Sequence[str] = ()) -> RoiDataset:
    """Regions of maps in memory; warns of the notes, and of AU codes that cannot be read (those clips are not coded).

    Args:
        arrays: from ``read_maps``, checked; name: for the run record.
        patch: samples per side of a region; notes: issues found while reading, a sentence each.
    """
    flow, label = arrays["flow"], arrays["label"]
    motion = compute_map_motion(flow)
    frame = MAP_FRAME * (np.array([[flow.shape[2]], [flow.shape[1]]]) / 28.0)
    patches, inside = sample_squares(motion, MAP_ATLAS.mean_centres, frame, patch, MAP_ATLAS.radius)
    cells = arrays.get("aus")
    read = [read_aus(str(cell)) for cell in cells] if cells is not None else [(None, ())] * len(label)
    datasets = tuple(str(d) for d in arrays["dataset"])
    unread = [
        f"clip {arrays['clip'][i]}: action units {shorten(str(cells[i]), 60)} cannot be read: taken as not coded"
        for i, (_, wrong) in enumerate(read)
        if wrong
    ]
    notes = [*notes, *unread]
    warn_of([f"{name}: {note}" for note in notes])
    data = RoiDataset(
        x=patches[:, None],
        mask=np.tile(inside, (len(label), 1, 1)),
        times_ms=np.zeros((len(label), 1), np.float32),
        label=label.astype(np.int64),
        aus=np.stack([compute_au_vector(codes) for codes, _ in read]),
        clip_ids=tuple(f"{s}/{c}" for s, c in zip(arrays["subject"], arrays["clip"], strict=True)),
        subjects=tuple(f"{d}/{s}" for d, s in zip(datasets, arrays["subject"], strict=True)),
        datasets=datasets,
        classes=CLASSES,
        roi_names=MAP_ATLAS.names,
        unit="map",
        meta={
            "source": "flow maps",
            "name": name,
            "radius": MAP_ATLAS.radius,
            "zero": "median of each channel of each map",
            **({"dropped": notes} if notes else {}),
        },
    )
    # patches are rounded in the last digits, so the maps themselves are part of the digest
    maps = compute_digest(np.ascontiguousarray(flow).tobytes(), str((flow.dtype.str, flow.shape)).encode())
    data.meta["digest"] = data.compute_digest(maps, MAP_VERSION, patch, MAP_ATLAS)
    return data


def read_maps(path: str | Path, notes: list[str] | None = None) -> dict[str, np.ndarray]:
    """The published maps of ``load_flow_maps``: ``flow, label, subject, dataset, clip`` and, if coded, ``aus``.

    Labels as text (``"1"``, ``"1.0"``, ``"Positive"``) become numbers, unless one is unknown. Issues are added to ``notes``.
    """
    path = Path(path)
    if path.suffix == ".npz":
        arrays = load_arrays(path)
        missing = [name for name in _FIELDS if name not in arrays]
        if missing:
            raise StagkitError(
                f"{path} has no {', '.join(missing)}; expected an .npz with {', '.join(_FIELDS)} (and aus, if coded)."
            )
        arrays = {name: arrays[name] for name in (*_FIELDS, "aus") if name in arrays}
    else:
        arrays = _read_folder(path, [] if notes is None else notes)
    if arrays["label"].dtype.kind in "US":
        words = [str(v).strip().lower() for v in arrays["label"].astype(str)]
        numbers = {word: i for i, c in enumerate(CLASSES) for word in (c, f"{i}", f"{i}.0")}
        if set(words) <= set(numbers):
            arrays["label"] = np.array([numbers[w] for w in words])
    return arrays


def _read_folder(root: Path, notes: list[str]) -> dict[str, np.ndarray]:
    """The HTNet layout: names of maps end in a space before ``.png``; one table holds the labels."""
    if not root.is_dir():
        raise StagkitError(f"there is no folder {root}.")
    images = _list_maps(root, notes)
    if not images:
        raise StagkitError(f"{root} holds no PNG maps; expected the HTNet folder STSNet_whole_norm_u_v_os.")
    tables = [folder / _TABLE for folder in (root, root.parent, root.parent.parent) if (folder / _TABLE).is_file()]
    if not tables:
        raise StagkitError(f"no {_TABLE} in or above {root}: it holds the labels of the maps.")
    rows = [
        {name: read_name(cell) for name, cell in row.items()}
        for _, row in load_table(tables[0], {name: (name,) for name in _NEEDED}, {n: (n,) for n in _NAMES}, notes)
    ]
    kept, maps, missing, used = [], [], [], {}
    for row in rows:
        image, clip = _find_map(images, row), f"{row['sub']}/{row['filename_o']}"
        if image is None:
            missing.append(clip)
            continue
        first = used.setdefault(image, row)
        if first is not row and first == row:
            notes.append(f"the row of {clip} is in the table twice, alike: the second is skipped")
            continue
        if first is not row:
            raise StagkitError(
                f"{tables[0]}: the clips {first['sub']}/{first['filename_o']} and {clip} have the same map, {image.name}: "
                "remove the wrong row."
            )
        read = load_image(image)
        read = np.repeat(read[..., None], 3, axis=2) if read.ndim == 2 else read
        if maps and read.shape != maps[0].shape:
            others = maps[0].shape
            raise StagkitError(f"{image} is {read.shape[1]}x{read.shape[0]} px, the others {others[1]}x{others[0]}.")
        maps.append(read)
        kept.append(row)
    if not kept or len(missing) > len(rows) // 2:
        raise StagkitError(f"{root}: maps of {len(missing)} of {len(rows)} clips are missing: {shorten(missing[:1])}.")
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        notes.append(f"{len(missing)} of {len(rows)} clips have no map and are skipped: {', '.join(missing[:5])}{more}")
    if len(images) > len(used):
        others = sorted(path.name for path in set(images.values()) - set(used))
        notes.append(f"{len(others)} map(s) are in no row of the table and are not read, the first is {others[0]}")
    columns = {"label": "label", "subject": "sub", "dataset": "dataset", "clip": "filename_o"}
    arrays = {name: np.array([row[column] for row in kept]) for name, column in columns.items()}
    return {"flow": np.stack(maps), **arrays, "dataset": np.char.lower(arrays["dataset"])}


def _list_maps(root: Path, notes: list[str]) -> dict[str, Path]:
    """Name without spaces and ending -> map, in the folder and up to two below."""
    tree, images = Tree(root), {}
    for folder in tree.iter_folders(2):
        for name in tree.list(folder)[1]:
            if not name.lower().endswith(".png"):
                continue
            stem = unicodedata.normalize("NFC", name[: -len(".png")]).strip()
            if images.setdefault(stem, folder / name) != folder / name:
                raise StagkitError(f"{root} holds two maps named {stem}: remove one.")
    notes += [f"the link {link} leads out of {root} and is not followed" for link in tree.escaped]
    return images


def _find_map(images: dict[str, Path], row: dict[str, str]) -> Path | None:
    """The map of a table row: named ``imagename``, or subject and clip joined; SMIC pads its subject numbers."""
    subject, clip = row["sub"], row["filename_o"]
    named = [row[k].removesuffix(".png").strip() for k in _NAMES]
    padded = f"s{int(subject[1:]):02d}" if subject[:1] == "s" and subject[1:].isdigit() else subject
    clip_padded = f"{padded}{clip[clip.find('_') :]}" if clip.startswith("s") and "_" in clip else clip
    pairs = ((subject, clip), (padded, clip), (padded, clip_padded), (subject.zfill(3), clip))
    stems = [stem for stem in named if stem] + [f"{a}_{b}" for a, b in pairs]
    return next((images[stem] for stem in stems if stem in images), None)
