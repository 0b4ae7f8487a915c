"""The comparison of systems as a table: for the screen, as CSV, for a paper, and as one self-contained page.

What papers print stands in columns of its own, with its protocol and what is known of its leaks: it was measured on other
clips, by other rules, and is never in one column with what was measured here.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from stagkit.baselines.published import describe_published
from stagkit.core.files import resolve_inside, write_table, write_text
from stagkit.core.markup import STATIC_POLICY, comment_latex, escape_latex
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.evaluation.metrics import SCORES


def save_tables(result: dict[str, object], out: str | Path) -> None:
    """Write ``comparison.csv``, ``.tex`` and ``.html`` next to the ``comparison.json`` of ``compare_systems``."""
    import pandas as pd

    out = Path(out)
    write_table(resolve_inside(out, "comparison.csv"), pd.DataFrame(tabulate_comparison(result)), ".5f")
    write_text(resolve_inside(out, "comparison.tex"), format_latex(result))
    write_text(resolve_inside(out, "comparison.html"), format_page(result))


def tabulate_comparison(result: dict[str, object]) -> list[dict[str, object]]:
    """One flat row a system; what is not known is None."""
    rows = []
    for name, row in result["systems"].items():
        flat: dict[str, object] = {"system": name, "title": row["title"], "view": row["view"], "uses": row["uses"]}
        for s in SCORES:
            low, high = row[s]["ci95"]
            flat |= {s: row[s]["mean"], f"{s}_low": low, f"{s}_high": high}
        flat |= {"uf1_std": row["uf1"]["std"], "seeds": len(row["seeds"]), "epochs": row["epochs"]}
        paired = row.get("minus_stag", {}).get("uf1")
        flat["uf1_minus_stag"] = paired["difference"] if paired else None
        flat["uf1_minus_stag_low"], flat["uf1_minus_stag_high"] = paired["ci95"] if paired else (None, None)
        leak = row.get("leak")
        flat["leaky_uf1"] = leak["optimistic"]["uf1"] if leak else None
        flat["leak_gap"] = leak["optimism"]["uf1"] if leak else None
        told = row.get("explanation")
        for score in ("pointing", "mass"):
            flat[f"explanation_{score}"] = told[score]["mean"] if told else None
        for key in ("parameters", "multiply_adds", "train_seconds", "ms_per_clip"):
            flat[key] = row[key]
        first = (row["published"] or [{}])[0]
        flat["published_uf1"] = first.get("uf1")
        flat["published_on"] = ", ".join(str(first[k]) for k in ("data", "part", "protocol") if first.get(k))
        flat["published_leak"], flat["published_source"] = first.get("leak"), first.get("source")
        rows.append(flat)
    return rows


def _say_count(value: float | None) -> str:
    """1234567 -> 1.23 M; '' where there is none."""
    if value is None:
        return ""
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.2f}{unit}"
    return f"{value:,.0f}"


def _say_explanation(row: dict) -> str:
    told = row.get("explanation")
    return "not measured" if not told or told["pointing"]["mean"] is None else f"{told['pointing']['mean']:.2f}"


def _say_setting(result: dict) -> str:
    of = f", {result['epochs']} epochs each (a trial)" if result["epochs"] else ""
    return (
        f"{', '.join(result['datasets'])} · {result['protocol']} · {result['n_clips']} clips, "
        f"{result['n_subjects']} subjects, {result['n_folds']} folds, {len(result['seeds'])} seed(s){of}"
    )


def format_comparison(result: dict[str, object]) -> str:
    """The table for the screen."""
    lines = [
        _say_setting(result),
        "claimed: what choosing the epoch on the test clips would have claimed (no evidence); gap: claimed minus honest",
        f"{'':<30}{'UF1':>6}{'UAR':>6}{'ACC':>6}  {'95 % of UF1':<14}{'UF1 minus STAG, paired':<27}{'claimed':>8}{'gap':>7}"
        f"{'points':>14}{'parameters':>12}{'s':>8}{'ms/clip':>9}",
    ]
    for row in result["systems"].values():
        low, high = row["uf1"]["ci95"]
        paired = row.get("minus_stag", {}).get("uf1")
        leak = row.get("leak")
        claimed = f"{leak['optimistic']['uf1']:8.3f}{leak['optimism']['uf1']:+7.3f}" if leak else " " * 15
        size = f"{row['parameters']:,}" if row["parameters"] else ""
        lines.append(
            f"{row['title']:<30}"
            + "".join(f"{row[s]['mean']:6.3f}" for s in SCORES)
            + f"  {low:.2f} .. {high:.2f}  {describe_interval(paired) if paired else '':<27}{claimed}"
            + f"{_say_explanation(row):>14}{size:>12}{row['train_seconds'] or 0:8.1f}{row['ms_per_clip'] or 0:9.2f}"
        )
    truth = result.get("explanation")
    if truth:
        magnitude = truth["flow_magnitude"]["pointing"]["mean"]
        lines.append(
            f"points: share of clips in which the region that weighs most truly moved ({truth['truth']}); chance "
            f"{truth['chance']['mean']:.2f}, region of the largest motion {magnitude:.2f}"
        )
    if result.get("caveat"):
        lines.append(f"caution: {result['caveat']}")
    if result["left_out"]:
        names = ", ".join(result["left_out"])
        lines.append(f"Left out: {names} ({next(iter(result['left_out'].values()))}).")
    printed = [(r["title"], describe_published(r["published"])) for r in result["systems"].values() if r["published"]]
    if printed:
        lines.append("Printed in papers, on other clips and by other rules; not to be read beside the table:")
        lines += [f"  {title}: {text}" for title, text in printed]
    return "\n".join(lines)


def format_markdown(result: dict[str, object]) -> str:
    """The table for a page of text."""
    lines = [
        f"{_say_setting(result)}. Claimed: what choosing the epoch on the test clips would have claimed, no evidence.",
        "",
        "| system | UF1 | 95 % | UAR | ACC | UF1 minus STAG, paired | claimed | gap | pointing-game accuracy | parameters | "
        "multiply-adds | training, s | ms a clip |",
        "|---|" + "---|" * 12,
    ]
    for row in result["systems"].values():
        (low, high), paired, leak = row["uf1"]["ci95"], row.get("minus_stag", {}).get("uf1"), row.get("leak")
        cells = [
            row["title"],
            f"{row['uf1']['mean']:.3f}",
            f"{low:.2f} .. {high:.2f}",
            *(f"{row[s]['mean']:.3f}" for s in ("uar", "acc")),
            describe_interval(paired) if paired else "",
            *((f"{leak['optimistic']['uf1']:.3f}", f"{leak['optimism']['uf1']:+.3f}") if leak else ("", "")),
            _say_explanation(row),
            f"{row['parameters']:,}" if row["parameters"] else "",
            _say_count(row["multiply_adds"]),
            f"{row['train_seconds'] or 0:.0f}",
            f"{row['ms_per_clip'] or 0:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    truth = result.get("explanation")
    if truth:
        lines += [
            "",
            f"Points rightly: the region that weighs most truly moved ({truth['truth']}); at random "
            f"{truth['chance']['mean']:.2f}, at the largest motion {truth['flow_magnitude']['pointing']['mean']:.2f}.",
        ]
    if result.get("caveat"):
        lines += ["", f"Caution: {result['caveat']}."]
    return "\n".join(lines)


def format_latex(result: dict[str, object]) -> str:
    r"""The table for a paper (booktabs); a difference whose interval leaves out 0 is bold."""
    lines = [
        comment_latex(f"made by 'stagkit compare-systems': {_say_setting(result)};"),
        r"% differences from STAG: paired bootstrap over subjects, 95 \% interval;",
        r"% claimed: best epoch on the test clips, no evidence",
        *([f"% caution: {result['caveat']}"] if result.get("caveat") else []),
        r"\begin{tabular}{lrrrlrrrr}",
        r"\toprule",
        r"System & UF1 & UAR & ACC & $\Delta$UF1 to STAG & claimed & gap & parameters & ms/clip \\",
        r"\midrule",
    ]
    for row in result["systems"].values():
        paired = row.get("minus_stag", {}).get("uf1")
        told = describe_interval(paired) if paired else "--"
        if paired and paired["ci95"][0] is not None and not paired["ci95"][0] <= 0 <= paired["ci95"][1]:
            told = rf"\textbf{{{told}}}"
        leak = row.get("leak")
        claimed = f"{leak['optimistic']['uf1']:.3f} & {leak['optimism']['uf1']:+.3f}" if leak else "-- & --"
        scores = " & ".join(f"{row[s]['mean']:.3f}" for s in SCORES)
        cost = f"{_say_count(row['parameters']) or '--'} & {row['ms_per_clip'] or 0:.2f}"
        lines.append(rf"{escape_latex(row['title'])} & {scores} & {told} & {claimed} & {cost} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; margin: 2.2rem auto; max-width: 1480px; padding: 0 1rem }
h1 { font-size: 1.45rem; margin: 0 } p { margin: .35rem 0; color: #4a5664 } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 600; font-size: .82rem; color: #4a5664; vertical-align: bottom }
th { border-bottom: 2px solid #1d2733 }
th, td { padding: .32rem .5rem; white-space: nowrap } td { text-align: right; border-bottom: 1px solid #e3e7eb }
th:first-child, td:first-child, .left { text-align: left } tr.stag td { background: #eef4fb; font-weight: 600 }
.note { white-space: normal; font-size: .85rem; color: #4a5664 } .sure { font-weight: 700 } .faint { color: #8a949e }
svg { display: block } .key span { margin-right: 1.2rem }
"""


def _draw_line(row: dict, width: int = 230) -> str:
    """Honest score with its interval, and what a leak would claim, on one scale from 0 to 1, as SVG."""
    low, high = row["uf1"]["ci95"]
    at = [round(6 + v * (width - 12), 1) for v in (low, row["uf1"]["mean"], high)]
    ticks = "".join(
        f'<line x1="{6 + v * (width - 12):.1f}" x2="{6 + v * (width - 12):.1f}" y1="0" y2="22" stroke="#e3e7eb"/>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    leak, ring = row.get("leak"), ""
    if leak:
        x = round(6 + leak["optimistic"]["uf1"] * (width - 12), 1)
        ring = (
            f'<line x1="{at[1]}" x2="{x}" y1="11" y2="11" stroke="#c2570c" stroke-dasharray="2 2"/>'
            f'<circle cx="{x}" cy="11" r="4.5" fill="#fff" stroke="#c2570c" stroke-width="1.8"/>'
        )
    told = f"UF1 {row['uf1']['mean']:.3f}, 95 % {low:.3f} to {high:.3f}"
    told += f"; claimed {leak['optimistic']['uf1']:.3f}" if leak else ""
    return (
        f'<svg width="{width}" height="22" role="img" aria-label="{told}"><title>{told}</title>{ticks}'
        f'<line x1="{at[0]}" x2="{at[2]}" y1="11" y2="11" stroke="#1f5fa8" stroke-width="3" opacity=".35"/>{ring}'
        f'<circle cx="{at[1]}" cy="11" r="4.5" fill="#1f5fa8"/></svg>'
    )


def format_page(result: dict[str, object]) -> str:
    """One page that needs nothing else: the table, honest and claimed scores on one scale, and what papers print."""
    head = (
        '<tr><th>system</th><th class="left">UF1: honest <span style="color:#1f5fa8">●</span> with 95 %, claimed '
        '<span style="color:#c2570c">○</span><br><svg width="230" height="12" style="font-size:10px" fill="#4a5664">'
        '<text x="3" y="10">0</text><text x="108" y="10">0.5</text><text x="220" y="10">1</text></svg></th>'
        "<th>UF1</th><th>UAR</th><th>ACC</th><th>UF1 minus STAG<br>paired, 95 %</th><th>claimed<br>UF1</th><th>gap</th>"
        "<th>points<br>rightly</th><th>parameters</th><th>multiply-<br>adds</th><th>training<br>s, all folds</th>"
        "<th>ms a<br>clip</th></tr>"
    )
    body = []
    for name, row in result["systems"].items():
        paired = row.get("minus_stag", {}).get("uf1")
        told = escape(describe_interval(paired)) if paired else ""
        sure = paired and paired["ci95"][0] is not None and not paired["ci95"][0] <= 0 <= paired["ci95"][1]
        leak = row.get("leak")
        cells = [
            *(f"{row[s]['mean']:.3f}" for s in SCORES),
            f'<span class="{"sure" if sure else ""}">{told}</span>',
            f"{leak['optimistic']['uf1']:.3f}" if leak else "",
            f"{leak['optimism']['uf1']:+.3f}" if leak else "",
            f'<span class="{"faint" if _say_explanation(row) == "not measured" else ""}">{_say_explanation(row)}</span>',
            _say_count(row["parameters"]),
            _say_count(row["multiply_adds"]),
            f"{row['train_seconds']:.1f}" if row["train_seconds"] is not None else "",
            f"{row['ms_per_clip']:.2f}" if row["ms_per_clip"] is not None else "",
        ]
        title = f"{escape(row['title'])}" + (
            f' <span class="faint" title="is told {escape(row["uses"])}">*</span>' if row["uses"] else ""
        )
        body.append(
            f'<tr class="{"stag" if name == "stag" else ""}"><td>{title}</td><td class="left">{_draw_line(row)}</td>'
            + "".join(f"<td>{c}</td>" for c in cells)
            + "</tr>"
        )
    notes = [
        "Every system saw the same folds; test parts were sealed until its training was over. Honest scores: epochs fixed "
        "beforehand. Claimed: the epoch of each fold chosen on its test clips, as much published code does; this is no "
        "evidence, it only shows what the habit is worth. Bold: the interval leaves out 0.",
        *([f"Caution: {result['caveat']}."] if result.get("caveat") else []),
        "* is told the coded apex (to choose the frames it sees, or in training); STAG is not.",
    ]
    truth = result.get("explanation")
    if truth:
        magnitude = truth["flow_magnitude"]["pointing"]["mean"]
        notes.append(
            f"Points rightly: share of clips in which the region that weighs most truly moved ({truth['truth']}; "
            f"{truth['method']}). Pointing at random: {truth['chance']['mean']:.2f}; at the largest motion: {magnitude:.2f}."
        )
    if result["left_out"]:
        notes.append(f"Left out: {', '.join(result['left_out'])}: {next(iter(result['left_out'].values()))}.")
    printed = []
    for row in result["systems"].values():
        before = None
        for p in row["published"]:
            where = ", ".join(t for t in (p["data"], p["part"], p["protocol"]) if t)
            said = tuple(escape(t) for t in (p["leak"], p["note"], f"{p['source']} ({p['checked']})"))
            told = [text if before is None or text != before[i] else "" for i, text in enumerate(said)]  # said once
            cells = [_say_score(p[s]) for s in SCORES]
            notes_of = "".join(f'<td class="left note">{text}</td>' for text in told)
            title = escape(row["title"]) if before is None else ""
            scores = "".join(f"<td>{cell}</td>" for cell in cells)
            printed.append(f'<tr><td>{title}</td>{scores}<td class="left">{escape(where)}</td>{notes_of}</tr>')
            before = said
    published = ""
    if printed:
        published = (
            "<h2>What papers print</h2><p>Other clips, other rules: not to be read beside the table above.</p>"
            '<div class="wide"><table><tr><th>system</th><th>UF1</th><th>UAR</th><th>ACC</th><th class="left">data, protocol'
            '</th><th class="left">leak</th><th class="left">note</th><th class="left">source</th></tr>'
            + "".join(printed)
            + "</table></div>"
        )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{STATIC_POLICY}<title>Comparison of systems</title>"
        f"<style>{_STYLE}</style>"
        f"<h1>Comparison of systems</h1><p>{escape(_say_setting(result))}</p>"
        f'<div class="wide"><table>{head}{"".join(body)}</table></div>'
        + "".join(f"<p>{escape(n)}</p>" for n in notes)
        + published
        + "</html>\n"
    )


def _say_score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
