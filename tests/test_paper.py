"""Figures and tables of a paper: the numbers behind them, what they are drawn from, and that they come out the same."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.core.facs import AU_LABELS
from stagkit.core.files import read_json
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.plots.style import COLUMN, PAGE
from stagkit.reports import comparison as comparison_table
from stagkit.reports.latex import Latex, escape_latex, make_table
from stagkit.reports.paper import FIGURES, load_inputs, make_figures, plot_set
from stagkit.reports.paper.evidence import _strokes, fig_12_controls
from stagkit.reports.paper.graphs import _fold_attention, fig_04_au_graphs
from stagkit.reports.paper.inputs import SYSTEM_COLUMNS, Inputs, MissingInput, load_systems
from stagkit.reports.paper.make import draw_figure
from stagkit.reports.paper.scores import collect_costs, collect_leaks, collect_pairs, fig_08_ablation, fig_10_leak_gap
from stagkit.reports.paper.tables import TABLES, make_ablation_table, table_ablation, table_results
from tests.lockfile import ROOT
from tests.paper_runs import SYSTEMS, make_phantom_run

each = pytest.mark.parametrize("entry", FIGURES, ids=[e.name for e in FIGURES])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return make_phantom_run(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def records(phantoms, map_records):
    return load_inputs([phantoms, *map_records.values()])


@pytest.fixture(autouse=True)
def close():
    import matplotlib

    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@each
def test_every_figure_has_its_width_its_sources_and_no_title(entry, records):
    for width in (PAGE, COLUMN):
        figure = draw_figure(entry, records, width)
        assert figure.get_figwidth() == width
        assert figure.get_suptitle() == ""
        source = json.loads(json.dumps(figure.stagkit_source))
        assert set(source) == {"runs", "tables", "phantom", "n", "values", "caveat"}
        said = any("phantom data" in text.get_text() for text in figure.texts)
        assert said == source["phantom"]
        for run in source["runs"]:
            assert run["data"] and run["n_clips"] and run["n_subjects"] and "seeds" in run
        sizes = {t.get_fontsize() for axes in figure.axes for t in (axes.xaxis.label, axes.yaxis.label) if t.get_text()}
        assert sizes <= {8.0}


@each
def test_a_figure_without_its_record_says_which_command_makes_it(entry):
    if entry.name in ("fig03_regions_and_muscles",):
        entry.draw(Inputs(), PAGE)
        return
    with pytest.raises(MissingInput, match="given|stagkit"):
        entry.draw(Inputs(), PAGE)


def test_the_same_bytes_again_with_embedded_fonts(phantoms, map_records, tmp_path):
    paths = [phantoms, *map_records.values()]
    first, second = (make_figures(paths, tmp_path / n, only=[8, 10]) for n in "ab")
    assert len(first) == len(second) == 2 * 5
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    for path in first:
        if path.suffix == ".pdf":
            assert b"/FontFile2" in path.read_bytes() and b"/Type3" not in path.read_bytes()
    source = read_json(tmp_path / "a" / "fig08_ablation.json")
    assert source["function"] == "stagkit.reports.paper.scores.fig_08_ablation"
    assert source["runs"][0]["name"] == "ablation"
    assert source["n"] == {"n_clips": 24, "n_subjects": 4, "n_folds": 2}


@pytest.mark.slow
def test_the_whole_set_and_some_of_it_again_with_the_same_bytes(phantoms, map_records, tmp_path):
    runs = [phantoms, *map_records.values()]
    first = make_figures(runs, tmp_path / "a")
    assert len(first) == 13 * 5 + len(TABLES) + 1
    again = [path for path in make_figures(runs, tmp_path / "b", only=[1, 4, 9, 12]) if path.name != "README.md"]
    assert len(again) >= 4 * 5
    assert all(path.read_bytes() == (tmp_path / "a" / path.name).read_bytes() for path in again)


def test_the_set_at_a_glance_shows_what_was_drawn_and_what_was_not(records):
    import matplotlib.pyplot as plt

    entry = FIGURES[6]
    drawn = entry.draw(records, 7.16)
    tiles = plot_set({entry.name: drawn}).axes
    assert not plt.fignum_exists(drawn.number), "it is closed, or a notebook shows it once more"
    assert [bool(axes.images) for axes in tiles[: len(FIGURES)]] == [e is entry for e in FIGURES]
    assert [axes.get_xlabel() for axes in tiles[6:8]] == ["7 confusion", "8 ablation"]
    assert [text.get_text() for text in tiles[7].texts] == ["no input"]
    with pytest.raises(StagkitError, match="no figure 'fig99_cats'"):
        plot_set({"fig99_cats": drawn})


def test_figures_left_out_are_named_in_the_index(phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr("stagkit.reports.paper.make.WIDTHS", {})
    monkeypatch.setattr("stagkit.reports.paper.make.FIGURES", ())
    make_figures([phantoms], tmp_path)
    index = (tmp_path / "README.md").read_text()
    assert "| phantoms | run, loso | phantoms `" in index
    assert "table_ablation: not made, no ablation was given" in index
    assert (tmp_path / "table_explanations.tex").is_file() and not (tmp_path / "table_ablation.tex").exists()


def test_the_stored_index_names_functions_and_notebooks_that_exist():
    """figures/README.md maps figure -> function -> notebook -> run; its files lie beside it."""
    index = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    for entry in FIGURES:
        row = next(line for line in index.splitlines() if line.startswith((f"| [{entry.name}]", f"| {entry.name}:")))
        assert f"`{entry.draw.__module__.removeprefix('stagkit.')}.{entry.draw.__name__}`" in row
        assert row.endswith(f"| {entry.notebook} |")
        if row.startswith("| ["):
            for name in (f"{entry.name}.pdf", f"{entry.name}_column.png", f"{entry.name}.json"):
                assert (ROOT / "figures" / name).is_file(), name
            source = read_json(ROOT / "figures" / f"{entry.name}.json")
            assert source["phantom"] or not source["runs"] or entry.name == "fig01_pipeline"
    for link in re.findall(r"\]\(([^)]+)\)", index):
        assert (ROOT / "figures" / link).is_file(), link


# ── the numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ablation_dots_are_the_paired_differences(records):
    figure = fig_08_ablation(records)
    rows = records.ablations[0]["variants"]
    wanted = sorted(r["difference"]["uf1"]["difference"] for r in rows.values() if "difference" in r)
    dots = [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert dots == pytest.approx(wanted)


def test_pairs_are_those_of_the_run_across_sets(records):
    names, pairs = collect_pairs(records)
    assert names == ["casme2", "smic"]
    assert set(pairs) == {("casme2", "smic"), ("smic", "casme2")}, "no run was within one of these sets"
    run = records.cross[0]
    assert pairs["casme2", "smic"]["mean"] == run.metrics["per_pair"]["casme2->smic"]["uf1"]["mean"]


def test_leaks_come_from_the_table_and_from_leaky_runs(records):
    rows = collect_leaks(records)
    assert [r["system"] for r in rows] == ["STAG", "Other", "STAG (leak)"]
    assert rows[0]["leaky_uf1"] == 0.71 and rows[1]["lo"] is None
    told = fig_10_leak_gap(records).stagkit_source
    assert told["tables"] == ["systems/systems.csv"] and told["values"]["systems"] == rows


def test_costs_come_from_the_table_or_else_from_the_ablation(records, map_records):
    assert collect_costs(records)[2] == "systems"
    rows, _, kind = collect_costs(load_inputs([map_records["ablation"]]))
    assert kind == "variants" and {r["system"] for r in rows} == {"full", "graph-none", "branch-graph"}
    assert all(r["macs"] > 0 and r["parameters"] > 0 for r in rows)


def test_controls_are_means_over_clips(records):
    told = fig_12_controls(records).stagkit_source["values"]
    scores = records.evidence.scores
    assert told["order"]["this map"]["mean"] == pytest.approx(np.mean(scores["insertion"] - scores["deletion"]))
    assert told["order"]["flow magnitude"]["mean"] == pytest.approx(
        np.mean(scores["insertion_flow"] - scores["deletion_flow"])
    )
    assert told["passed"]["complete"] == np.mean(scores["completeness"] <= 0.05)


def test_au_graphs_show_the_mean_terms_of_the_class(records):
    figure, (output, batch) = fig_04_au_graphs(records), records.graphs
    right = records.find_right(batch.clip_ids, batch.subjects)
    shown = figure.stagkit_source["values"]["terms"]
    assert shown and all(len(rows) == 6 for rows in shown.values())
    for name, rows in shown.items():
        target = batch.classes.index(name)
        group = right & (batch.label.numpy() == target)
        for row in rows:
            at = [AU_LABELS.index(label) for label in row["aus"]]
            values = (
                output.terms.aus[:, target, at[0]] if len(at) == 1 else output.terms.au_edges[:, target, at[0], at[1]]
            )
            assert row["mean"] == pytest.approx(values.numpy()[group].mean(), abs=2e-5)
        sizes = [abs(row["mean"]) for row in rows]
        assert sizes == sorted(sizes, reverse=True)


def test_cross_attention_axes_mean_what_they_say():
    """Even attention is 0 everywhere; attention to one frame, or to one region, lies in its column, or its row."""
    n_roi, n_time = len(ATLAS.names), 4
    seen, group = np.ones((2, n_time), bool), np.ones(2, bool)
    even = np.full((2, 1, n_roi, n_time), 1 / n_time)
    assert _fold_attention(even, "cross.0.roi_from_frame", seen, group) == pytest.approx(np.zeros((13, n_time)))
    one = np.zeros_like(even)
    one[..., 2] = 1
    told = _fold_attention(one, "cross.0.roi_from_frame", seen, group)
    assert told[:, 2] == pytest.approx(np.full(13, 2)) and (told[:, [0, 1, 3]] < -5).all()
    back = np.zeros((2, 1, n_time, n_roi))
    back[..., ATLAS.index("chin")] = 1
    told = _fold_attention(back, "cross.0.frame_from_roi", seen, group)
    assert told[12] == pytest.approx(np.full(n_time, np.log2(n_roi))) and (told[:12] < -5).all()


def test_every_muscle_is_drawn_on_its_own_side():
    from stagkit.explain.motion_decomposition import MUSCLES

    drawn = {m for m, _, _ in _strokes()}
    assert drawn == set(range(len(MUSCLES) - 1))
    for m, place, _ in _strokes():
        if MUSCLES[m].startswith("left"):
            assert place[0] > 0, "the subject's left is on the right of the picture"
        if MUSCLES[m].startswith("right"):
            assert place[0] < 0


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name, records):
    text = TABLES[name](records)
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) >= 2
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert text.startswith("%") and ("phantom" in text or "recorded" in text)


def test_results_are_those_of_the_run(records):
    uf1 = records.run.metrics["uf1"]
    assert f"{uf1['mean']:.3f} [{uf1['ci95'][0]:.3f}, {uf1['ci95'][1]:.3f}]" in table_results(records)
    assert "graph branch only" in table_ablation(records).lower()


def test_latex_is_escaped_and_counted():
    assert escape_latex("a_b & 5 % $x$") == r"a\_b \& 5 \% \$x\$"
    with pytest.raises(StagkitError, match="2 cells, expected 1"):
        make_table("l", ("one",), [("a", "b")])


HOSTILE = (
    r"\input{/etc/passwd}",
    r"$\rho$",
    r"\textbf{a}",
    r"a \\ b & c",
    "% comment",
    "a\n\\input{x}",
    "[3cm]",
    "*",
    "a~b^c_d#e{f}g",
    'a"b<c>d|e',
    "\x1b[31m",
    "",
)


def _read_latex(cell):
    """What LaTeX prints of a cell; a command that escape_latex does not write is an error."""
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"}
    words |= {"textbar": "|", "textquotedbl": '"'}
    assert not cell.lstrip().startswith(("[", "*")), "the option of the line break before it"
    text, i = "", 2 * cell.startswith("{}")
    while i < len(cell):
        word = re.compile(r"\\([a-z]+)\{\}").match(cell, i)
        symbol = re.compile(r"\\([%_&#${}])").match(cell, i)
        found = word or symbol
        if found:
            text += words[found[1]] if word else found[1]
            i = found.end()
        else:
            assert cell[i] not in "\\%_&#${}^~", f"{cell!r} is run by LaTeX at {i}"
            text, i = text + cell[i], i + 1
    return text


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_run_by_latex(name):
    """Neither a cell nor a note of any writer's: LaTeX prints what was named."""
    plain = re.sub(r"\s+", " ", name)
    assert _read_latex(escape_latex(name)) == "".join(c for c in plain if c.isprintable())
    table = make_table("lr", ("a", "b"), [(name, Latex(r"$\rho$"))], [name])
    lines = table.splitlines()
    assert len(lines) == 8 and lines[0].startswith("% "), "one line a note, one a row"
    assert lines[5].endswith(r" & $\rho$ \\")


@given(st.text())
def test_latex_of_any_text_prints_it(name):
    plain = re.sub(r"\s+", " ", name)
    assert _read_latex(escape_latex(name)) == "".join(c for c in plain if c.isprintable())


@pytest.mark.parametrize("name", HOSTILE[:4])
def test_hostile_names_do_not_reach_any_table(name, records):
    """Of an ablation and of a comparison too, which have writers of their own."""
    ablation = dict(records.ablations[0])
    ablation |= {"protocol": name, "variants": {k: {**row, "what": name} for k, row in ablation["variants"].items()}}
    score = {"mean": 0.5, "ci95": [0.4, 0.6], "std": 0.0}
    row = {"title": name, "uf1": score, "uar": score, "acc": score, "parameters": 9, "ms_per_clip": 1.0}
    result = {"datasets": [name], "protocol": name, "n_clips": 1, "n_subjects": 1, "n_folds": 1, "seeds": [0]}
    for text in (
        make_ablation_table(ablation),
        comparison_table.format_latex({**result, "epochs": 0, "systems": {"a": row}}),
    ):
        for line in text.splitlines():
            assert line.startswith("%") or name not in line


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_are_told_apart(records, map_records):
    assert [r.name for r in records.runs] == ["phantoms"]
    assert [r.name for r in records.leaky] == ["leak"] and [r.name for r in records.cross] == ["cross"]
    assert records.ablations[0]["path"] == map_records["ablation"]
    assert list(records.systems.columns) == list(SYSTEM_COLUMNS)


def test_the_table_of_a_comparison_is_read_by_its_own_names(tmp_path):
    path = tmp_path / "comparison.csv"
    path.write_text("system,title,uf1,uf1_low,uf1_high,multiply_adds\nstag,STAG,0.6,0.5,0.7,1e6\n")
    row = load_systems(path).iloc[0]
    assert (row["system"], row["lo"], row["macs"]) == ("STAG", 0.5, 1e6)
    assert np.isnan(row["leaky_uf1"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name,uf1\na,0.5\n", "has no column system"),
        ("system,uf1\n", "has no line"),
        ("system,uf1\na,high\n", "the uf1 of a is no number"),
        ("system,uf1\na,53\n", "the uf1 of a is no number"),
        ("", "is empty"),
    ],
)
def test_a_bad_table_of_systems_is_told(tmp_path, text, what):
    path = tmp_path / "systems.csv"
    path.write_text(text)
    with pytest.raises(StagkitError, match=what):
        load_systems(path)


def test_what_is_no_record_is_told(tmp_path, phantoms):
    with pytest.raises(StagkitError, match="holds no run, no ablation"):
        load_inputs([tmp_path])
    with pytest.raises(StagkitError, match="there is no figure 14"):
        make_figures([phantoms], tmp_path, only=[14])
    assert SYSTEMS.startswith(",".join(SYSTEM_COLUMNS))
