"""Class mappings: as many clips as the published lists have, and one sentence where they are not."""

import csv
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stagkit.core.files import RESOURCES
from stagkit.datasets.label_maps import ClassCountWarning, ClassMapError, load_class_map, load_class_maps, map_classes
from tests.small import make_dataset

TOTALS = {
    ("casme2", "3-class"): 147, ("casme2", "megc2019"): 145, ("casme2", "5-class"): 246, ("casme2", "7-class"): 255,
    ("samm", "3-class"): 133, ("samm", "5-class"): 136, ("samm", "4-class"): 159, ("smic", "3-class"): 164,
    ("dfme", "7-class"): 2629, ("dfme", "3-class"): 2629, ("casme3", "7-class"): 860, ("casme3", "3-class"): 699,
    ("mmew", "7-class"): 300,
}  # fmt: skip


@pytest.mark.parametrize("key", TOTALS, ids="-".join)
def test_totals_are_the_published_ones(key):
    assert sum(load_class_map(*key).counts.values()) == TOTALS[key]


def test_the_composite_has_442_clips():
    parts = [load_class_map(name, "megc2019").counts for name in ("casme2", "samm", "smic")]
    assert [sum(part[c] for part in parts) for c in ("negative", "positive", "surprise")] == [250, 109, 83]


def test_every_mapping_names_its_source():
    for entry in load_class_maps().values():
        assert entry.source
        assert 3 <= len(entry.counts) <= 7 or entry.dataset == "4dme"


@pytest.mark.parametrize(
    ("name", "sheet", "header"),
    [("casme2", "CASME2-coding-20140508.xlsx", 0), ("samm", "SAMM_Micro_FACS_Codes_v2.xlsx", 13)],
)
def test_sheets_give_the_counts(shared_data, name, sheet, header):
    """The real coding tables, mapped: every count as in class_counts.csv."""
    openpyxl = pytest.importorskip("openpyxl")
    rows = list(openpyxl.load_workbook(shared_data / "annotations" / sheet).worksheets[0].iter_rows(values_only=True))
    at = rows[header].index("Estimated Emotion")
    raw = [str(row[at]) for row in rows[header + 1 :] if row[at]]
    for mapping in ("3-class", "4-class", "5-class", "7-class"):
        entry = load_class_map(name, mapping)
        found = Counter(filter(None, map(entry.compute_label, raw)))
        assert found == entry.counts, (name, mapping)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            entry.check_counts(found.elements())


def test_the_official_list_gives_the_counts(shared_data):
    rows = list(csv.reader((shared_data / "annotations" / "megc2019_combined_3class_gt.csv").open()))
    found = Counter(row[0].lower() for row in rows)
    assert set(found) == {"casme2", "samm", "smic"}
    for name, n in found.items():
        assert sum(load_class_map(name, "megc2019").counts.values()) == n


def make_casme2(labels=("disgust", "fear", "happiness", "surprise")):
    data = make_dataset(n_subjects=4, classes=("a", "b", "c", "d"))
    return replace(data, classes=labels, datasets=("casme2",) * 24, parts=("train",) * 12 + ("testA",) * 12)


def test_clips_that_a_mapping_leaves_out_are_left_out():
    data = make_casme2()
    with pytest.warns(ClassCountWarning, match="casme2, mapping 3-class: negative 6 instead of 90"):
        mapped = map_classes(data, "3-class")
    assert mapped.classes == ("negative", "positive", "surprise")
    assert len(mapped) == 18, "fear is in no class"
    kept = [i for i in range(24) if data.classes[data.label[i]] != "fear"]
    assert mapped.clip_ids == tuple(data.clip_ids[i] for i in kept)
    names = {"disgust": "negative", "happiness": "positive", "surprise": "surprise"}
    assert [mapped.classes[k] for k in mapped.label] == [names[data.classes[data.label[i]]] for i in kept]
    assert len(mapped.parts) == 18
    assert mapped.meta["digest"] != data.meta["digest"]
    assert (mapped.meta["mapping"], mapped.meta["skipped_by_mapping"]) == ("3-class", 6)


def test_phantoms_have_the_mapping_of_what_they_imitate():
    data = replace(make_casme2(("Contempt", "fear", "happiness", "surprise")), datasets=("samm-phantom",) * 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = map_classes(data, "3-class")
    assert np.bincount(mapped.label).tolist() == [12, 6, 6]
    assert np.array_equal(map_classes(mapped, "3-class").label, mapped.label), "mapped twice is mapped once"


def test_megc2019_leaves_out_what_the_official_list_leaves_out():
    """Two clips of CASME II whose label the mapping names, and three that the revision of 2019 calls surprise."""
    ids = ("sub04/EP12_01f", "sub05/EP09_05f", "sub24/EP07_01", *(f"sub01/EP{k:02d}" for k in range(21)))
    data = replace(make_casme2(), clip_ids=ids)
    with pytest.warns(ClassCountWarning):
        kept = map_classes(data, "megc2019")
        three = map_classes(data, "3-class")
    assert not set(ids[:3]) & set(kept.clip_ids)
    assert set(three.clip_ids) - set(kept.clip_ids) == {ids[0], ids[2]}, "the third of these is fear, in neither"
    drawn = map_classes(replace(data, datasets=("casme2-phantom",) * 24), "megc2019")
    assert drawn.clip_ids == three.clip_ids, "a phantom may bear such a name: it is kept"
    assert all("not in the official list" in why for why in load_class_map("casme2", "megc2019").excluded.values())


def test_recalled_counts_only_warn():
    with pytest.warns(ClassCountWarning, match="recalled, not verified"):
        load_class_map("4dme", "3-class").check_counts(["negative"])


@pytest.mark.parametrize(
    ("name", "mapping", "words"),
    [("casme2", "6-class", "it has 3-class, 4-class"), ("faces", "3-class", "mappings are known for 4dme")],
)
def test_no_such_mapping_is_told(name, mapping, words):
    with pytest.raises(ClassMapError, match=words):
        load_class_map(name, mapping)


def test_sets_without_common_classes_are_told():
    data = replace(make_casme2(), datasets=("casme2",) * 12 + ("samm",) * 12)
    with pytest.raises(ClassMapError, match="choose one that all data sets share"):
        map_classes(data, "5-class")
    with pytest.raises(ClassMapError, match="excludes every clip"):
        map_classes(make_casme2(("w", "x", "y", "z")), "3-class")


def test_the_tables_agree():
    """Every label has one class, every class has a label, and both tables name the same classes."""
    with (RESOURCES / "class_maps.csv").open(encoding="utf-8", newline="") as file:
        rows = [(r["dataset"], r["mapping"], r["label_raw"], r["label"]) for r in csv.DictReader(file)]
    assert len({row[:3] for row in rows}) == len(set(rows))
    for key, entry in load_class_maps().items():
        assert set(entry.counts) == {row[3] for row in rows if row[:2] == key} and min(entry.counts.values()) > 0
