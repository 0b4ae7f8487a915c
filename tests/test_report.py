"""The report of a run: everything in one file, the numbers of the run, and what counts against it said first."""

import html
import json
import shutil
from html.parser import HTMLParser

import pytest

from stagkit.cli import main
from stagkit.evaluation.run import Run, RunError
from stagkit.explorers.page import Page
from stagkit.reports.run_report import (
    check_split,
    find_confounders,
    find_warnings,
    find_worst,
    make_report,
    write_report,
)
from tests.small import renew_digests

POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'\">"
)
SCORE = {"mean": 0.5, "ci95": [0.4, 0.6]}
ROW = {"name": "a", "title": "<x>", "uses": "", "uf1": SCORE, "leak": None, "published": [], "bold": False}
ROW["cells"] = {"system": "<x>", "UF1": "0.50"}


class Tags(HTMLParser):
    """Collects tags and checks that they close in order."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def run(map_records):
    return Run.load(map_records["ablation"] / "full")


@pytest.fixture(scope="module")
def page(run):
    return make_report(run).html


def change(run, tmp_path, **request):
    """A copy of a run whose request says something else."""
    shutil.copytree(run.path, tmp_path / "copy")
    path = tmp_path / "copy" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **request}))
    renew_digests(tmp_path / "copy")
    return Run.load(tmp_path / "copy")


def test_it_is_whole_and_needs_nothing_beside_it(page):
    tags = Tags(page).seen
    assert {t for t, _ in tags} & {"script", "link", "iframe"} == set()
    sources = [a["src"] for t, a in tags if t == "img"]
    assert sources and all(s.startswith("data:image/png;base64,") for s in sources)
    assert all(a.get("alt") for t, a in tags if t == "img")
    assert page.count(POLICY) == 1 and page.index(POLICY) < page.index("<title>")
    assert "://" not in page and "url(" not in page and "@import" not in page
    assert "prefers-color-scheme:dark" in page
    anchors = {a["href"][1:] for t, a in tags if t == "a"}
    assert anchors == {a["id"] for t, a in tags if t == "section"}


def test_it_says_the_numbers_of_the_run(run, page):
    for score in ("uf1", "uar", "acc"):
        assert f"<b>{run.metrics[score]['mean']:.3f}</b>" in page
        low, high = run.metrics[score]["ci95"]
        assert f"{low:.3f} to {high:.3f}" in page
    assert run.request["data"]["digest"] in page
    for subject in set(run.predictions["subject"]):
        assert subject in page
    assert "arXiv:2606.28083" in page and "Not explained" in page and "no lie detector" in page


def test_it_is_the_same_every_time(run, page):
    assert make_report(run).html == page


def test_nothing_of_this_machine_is_in_it(run, page):
    assert str(run.path.parent) not in page and str(run.request["data_path"]) not in page


def test_the_worst_clips_are_wrong_and_surest_first(run):
    worst = find_worst(run)
    assert (worst["label"] != worst["prediction"]).all()
    assert worst["p"].is_monotonic_decreasing
    first = worst.iloc[0]
    row = run.predictions.set_index(["subject", "clip"]).loc[(first["subject"], first["clip"])]
    assert row[f"p_{first['prediction']}"] == first["p"]


def test_a_clean_split_is_found_clean_and_a_shared_subject_is_found(run, tmp_path):
    found = check_split(run)
    assert found["shared"] == {} and found["reopened"] == [] and found["unblindings"] == 2
    copy = change(run, tmp_path)
    split = json.loads((copy.path / "split.json").read_text())
    tested = run.predictions.loc[run.predictions["fold"] == 0].iloc[0]
    split[0]["train"].append(tested["clip"])
    (copy.path / "split.json").write_text(json.dumps(split))
    renew_digests(copy.path)
    copy = Run.load(copy.path)
    assert check_split(copy)["shared"] == {split[0]["name"]: [tested["subject"]]}
    assert "a subject is in both parts" in make_report(copy).html


def test_what_counts_against_a_run_stands_first(run, map_records, tmp_path):
    assert find_warnings(run) == []
    leaky = make_report(Run.load(map_records["leak"])).html
    assert leaky.index("Leak demonstration.") < leaky.index('<div class="tiles">')
    assert "Optimism of selecting the epoch on the test set" in leaky and "shuffled labels, best test epoch" in leaky
    source = {"source": {"source": "casme2-phantom", "config": {"preset": "casme2", "confounder": "head_shift"}}}
    confounded = change(run, tmp_path, data={**run.request["data"], **source})
    assert [head for head, _ in find_warnings(confounded)] == ["Confounded."]
    text = make_report(confounded).html
    assert text.index("Confounded.") < text.index("Phantoms.") < text.index('<div class="tiles">')
    shutil.rmtree(tmp_path / "copy")
    assert [h for h, _ in find_warnings(change(run, tmp_path, permuted=True, stratified=True))] == [
        "Shuffled labels.",
        "Subjects in both parts.",
    ]


def test_confounders_are_found_wherever_they_stand():
    joined = {"of": [{"source": {"config": {"confounder": "none"}}}, {"source": {"config": {"confounder": "blink"}}}]}
    assert find_confounders(joined) == ["blink"]
    assert find_confounders({"confounder": ""}) == []


def test_corrections_and_cards_are_told(run, tmp_path):
    source = {"source": "casme2", "name": "casme2", "digest": "ab12", "corrections": ["sub01/EP02: apex 1 -> 2: typo (us)"],
              "skipped": {"sub02/EP01": "no frame <1>"}, "issues": ["sub03: odd"]}  # fmt: skip
    text = make_report(change(run, tmp_path, data={"digest": "cd34", "source": source})).html
    assert "Corrections to the annotations: 1" in text and "apex 1 -&gt; 2" in text
    assert "no frame &lt;1&gt;" in text and "sub03: odd" in text
    assert "provided by" in text and "may be printed" in text and "doi:" in text


def test_text_is_escaped_and_numbers_stand_right():
    page = Page("comparison.html", "<b>", rows=[ROW], setting="a<b", notes=["c & d"]).html
    assert "<title>&lt;b&gt;</title>" in page and "a&lt;b" in page and "c &amp; d" in page
    assert '<td class="n">0.50</td>' in page and "<td>&lt;x&gt;</td>" in page


def test_a_page_is_saved_and_shown_in_a_notebook_as_it_is(tmp_path):
    page = Page("comparison.html", "one", rows=[ROW], setting="", notes=[])
    assert page.save(tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == page.html
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=") and html.unescape(frame.split('"')[1]) == page.html


def test_wrong_use_ends_in_one_sentence(tmp_path, run, capsys):
    for arguments, words in (
        (["report", str(tmp_path)], "holds no run"),
        (["figures", str(tmp_path)], "holds no run, no ablation"),
        (["report", str(run.path), "--out", str(run.path / "run.json" / "x.html")], "is a file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        told = capsys.readouterr().err
        assert stopped.value.code == 2 and words in told and "Traceback" not in told and told.count("\n") <= 2
    (tmp_path / "half").mkdir()
    shutil.copy(run.path / "run.json", tmp_path / "half")
    with pytest.raises(RunError, match="is not finished"):
        write_report(tmp_path / "half")


def test_the_page_lies_where_it_was_asked_for(run, tmp_path, page):
    assert write_report(run.path, tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == page
