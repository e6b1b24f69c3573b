"""Records → rows → pages and charts: figures, verdicts, and what is committed."""

import itertools
import math

import pytest
from toy import toy_record, toy_task, write

from reproductions import __main__ as command_line
from reproductions.engine import report
from reproductions.engine.display import FAMILIES, Claim, Display, Headline
from reproductions.engine.matrix import page, picture
from reproductions.engine.results import charts, pages, summary
from reproductions.engine.results.summary import Estimate, Row

TASKS = [command_line.load(name) for name in command_line.tasks()]


def three(task, model, *values):
    return [toy_record(task, seed, value, model) for seed, value in enumerate(values)]


def test_rows_sum_up_records_and_never_mix_configurations():
    task = toy_task()
    found = [toy_record(task, 0, 1.0), toy_record(task, 1, 2.0)]
    found.append(toy_record(task, 2, 0.0, status="failed", error="x", metrics=None))
    found.append(toy_record(task, 0, 9.0, config=found[0]["config"] | {"epochs": 1}))
    rows = summary.rows(task, "quick", found)
    assert pages.full_table(task, "quick", rows) == (
        ["model", "units", "data", "parameters", "mse", "seconds", "published"],
        [
            ["small", "3", "sums", "1,234", "1.5 ± 0.7071 (2), 1 failed", "4", ""],
            ["wide", "3", "sums", "", "not run", "", ""],
            ["other", "", "sums", "", "not run", "", "mse 0.25 (B)"],
            ["small epochs=1", "3", "sums", "1,234", "9 (1)", "4", ""],
        ],
    )
    heads, (first, *_) = pages.headline_table(task, "quick", rows)
    assert heads[-3:] == ["test mse", "runs", "published"]  # nothing to compare with
    assert first[-3:] == ["1.5 ± 0.71", "2 of 3, 1 failed", ""]


def test_another_backend_has_rows_of_its_own():
    task = toy_task()
    found = [toy_record(task, 0, 1.0), toy_record(task, 0, 2.0, versions={"jax": "0"})]
    rows = [row for row in summary.rows(task, "quick", found) if row.runs]
    assert [(row.model + row.changes, row.values("mse")) for row in rows] == [
        ("small", [1.0]),
        ("small on jax", [2.0]),
    ]
    assert not summary.comparable(task, *rows)


def test_not_run_differs_from_does_not_apply():
    task = toy_task()
    task.metrics |= {"latent_a": "max", "there": "max"}
    task.display = Display(only={"latent_*": ("wide",)}, no_parameters=("small",))
    ran = toy_record(task, 0, 1.0)
    ran["metrics"]["test"] |= {"there": None}  # the run says that it cannot have it
    small, wide = summary.rows(task, "quick", [ran])[:2]
    assert [pages.cell(task, small, metric) for metric in task.metrics] == ["1 (1)", "–", "–"]
    assert [pages.cell(task, wide, metric) for metric in task.metrics] == ["not run"] * 3
    assert pages.parameters(task, small) == "none" and pages.parameters(task, wide) == ""
    measured = toy_record(task, 0, 1.0, "wide", parameters=None)
    assert pages.parameters(task, Row("wide", {}, "sums", "", [measured])) == "none"


@pytest.mark.parametrize(
    "ours, other, direction, verdict",
    [
        # The difference of 1 beside 2 √(0.5² / 4 + 0.75² / 9) = 0.707
        (Estimate(2, 0.5, 4), Estimate(1, 0.75, 9), "max", "ahead"),
        (Estimate(2, 0.5, 4), Estimate(1, 0.75, 9), "min", "behind"),
        # and beside 2 √(1² / 4 + 0.75² / 9) = 1.118
        (Estimate(2, 1.0, 4), Estimate(1, 0.75, 9), "max", "level"),
        (Estimate(2, 0.0, 3), Estimate(2, 0.0, 3), "max", "level"),
        (Estimate(2, None, 1), Estimate(1, 0.1, 3), "max", "too few runs"),
    ],
)
def test_level_means_less_than_twice_the_standard_error(ours, other, direction, verdict):
    assert summary.compare(ours, other, direction) == verdict


def test_standings_are_beside_the_best_row_of_the_same_job():
    task = toy_task()
    task.models = ("small", "wide", "far", "limit", "apart")
    task.display = Display(families={"bound": ("limit",)}, compared=(("[!a]*",), ("apart",)))
    found = [
        *three(task, "small", 1.0, 1.1, 1.2),
        *three(task, "wide", 1.05, 1.15, 1.25),
        *three(task, "far", 3.0, 3.1, 3.2),
        *three(task, "limit", 0.1, 0.1, 0.1),
        *three(task, "apart", 0.2, 0.2, 0.2),
    ]
    rows = summary.rows(task, "quick", found)[:5]
    assert summary.standings(task, rows, "mse") == ["best", "level", "behind", "", ""]
    task.metrics = {"mse": "max"}
    assert summary.standings(task, rows, "mse") == ["behind", "behind", "best", "", ""]
    # Other settings than the preset's are not the same job.
    for run in found[3:6]:
        run["config"] = run["config"] | {"epochs": 1}
    rows = summary.rows(task, "quick", found)
    assert summary.standings(task, rows, "mse")[-1] == ""


def test_page_has_chart_table_deviations_and_circumstances_in_order(tmp_path):
    task = toy_task()
    write(task, tmp_path, toy_record(task, 0, 1.0, preset="full"), toy_record(task, 1, 2.0))
    report.show(task, "quick", tmp_path)
    text = report.write_page(task, tmp_path).read_text()
    parts = [
        "# toy",
        "Toy: a line.",
        "![mse of each run, its mean and standard deviation](chart.svg)",
        "| small | 9 | sums | 1,234 | 1 | 1 of 3 | 0.5 (A book) [1] |",
        "More of it.",
        "<summary>Preset full: all metrics</summary>",
        "<summary>Preset quick: all metrics</summary>",
        "![curves](quick/curves.png)",
        "[1] Another norm.",
        "Run on a chip; keras 3.",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_presets_without_records_take_a_line(tmp_path):
    text = pages.page(toy_task(), tmp_path)
    assert "Preset `quick`: not run." in text and "chart.svg" not in text
    assert report.chart_of(toy_task(), tmp_path) is None


def test_failed_runs_alone_make_a_page_without_a_chart(tmp_path):
    task = toy_task()
    write(task, tmp_path, toy_record(task, 0, 0.0, status="failed", error="x", metrics=None))
    text = report.write_page(task, tmp_path).read_text()
    assert "| small | 3 | sums | 1 failed |" in text and "chart.svg" not in text
    assert not (tmp_path / "toy" / pages.CHART).exists()


def test_chart_holds_its_data_and_is_the_same_each_time(tmp_path):
    task = toy_task()
    task.display = Display(families={"sparse": ("wide",)})
    found = [*three(task, "small", 1.0, 2.0, 3.0), toy_record(task, 0, 0.01, "wide")]
    data = charts.chart(task, "quick", summary.rows(task, "quick", found))
    assert [(row["model"], row["family"], row["values"]) for row in data["rows"]] == [
        ("small", "baseline", [1.0, 2.0, 3.0]),
        ("wide", "sparse", [0.01]),
        ("other", "baseline", []),  # published alone
    ]
    assert data["rows"][2]["published"] == [0.25]
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    charts.write(data, first)
    charts.write(data, second)
    assert charts.read(first) == data
    assert first.read_bytes() == second.read_bytes()
    assert "<dc:date>" not in first.read_text()


@pytest.mark.parametrize("display", [Display(across="units"), Display(panels=("units",))])
@pytest.mark.parametrize("values", [(0.0, 1e-6, 1.0), (-1.0, 0.0, 2.0), (0.99, 0.9999, 1.0)])
def test_charts_of_zeros_negative_values_and_accuracies_are_drawn(display, values, tmp_path):
    task = toy_task()
    task.display, task.metrics = display, {"mse": "max"}
    found = [*three(task, "small", *values), toy_record(task, 0, values[0], "wide")]
    path = tmp_path / "chart.svg"
    charts.write(charts.chart(task, "quick", summary.rows(task, "quick", found)), path)
    assert path.stat().st_size > 1000


def test_families_differ_in_lightness_and_marker():
    from matplotlib.colors import to_rgb

    def luminance(color):
        linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04 else c / 12.92 for c in to_rgb(color)]
        return 116 * math.cbrt(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) - 16

    shades = sorted(luminance(color) for color, _, _ in charts.STYLES.values())
    assert min(b - a for a, b in itertools.pairwise(shades)) > 3
    assert len({marker for _, marker, _ in charts.STYLES.values()}) == len(charts.STYLES)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, 0.1, 0.2), "**It holds here**"),
        ((3.0, 3.1, 3.2), "**It does not hold here: the reverse was measured**"),
        ((1.0, 1.2, 1.1), "**It is not confirmed here: the two are level**"),
        ((1.0,), "**Too few runs to tell**"),
        ((), "Not run: `wide`"),
    ],
)
def test_a_claim_is_told_by_the_records(values, verdict, tmp_path):
    task = toy_task()
    claim = Claim(preset="full", baseline="small", ours="wide", what="Wide ones win.")
    task.display = Display(claims=(claim,))
    for model, of_model in (("small", (1.0, 1.1, 1.2)), ("wide", values)):
        runs = [toy_record(task, i, v, model, "full") for i, v in enumerate(of_model)]
        write(task, tmp_path, *runs)
    assert f"- Wide ones win. {verdict}" in pages.page(task, tmp_path)


def test_a_claim_may_compare_two_metrics_of_one_model(tmp_path):
    task = toy_task()
    task.metrics |= {"rest": "min"}
    claim = Claim(preset="full", baseline="wide", ours="wide", what="So.", baseline_metric="rest")
    task.display = Display(claims=(claim,))
    for seed, rest in enumerate((8.0, 9.0, 10.0)):
        run = toy_record(task, seed, 1.0 + seed, "wide", "full")
        run["metrics"]["test"]["rest"] = rest
        write(task, tmp_path, run)
    told = "`mse` of `wide` (units 9) 2 ± 1 (3) and `rest` of `wide` (units 9) 9 ± 1 (3)."
    assert f"So. **It holds here**: {told}" in pages.page(task, tmp_path)


def test_headline_names_rows_values_and_the_verdict(tmp_path):
    task = toy_task()
    task.display = Display(
        headline=Headline(preset="full", baseline="small", ours="wide", what="a sum")
    )
    for model, values in (("small", (1.0, 1.1, 1.2)), ("wide", (3.0, 3.1, 3.2))):
        runs = [toy_record(task, i, v, model, "full") for i, v in enumerate(values)]
        write(task, tmp_path, *runs)
    other = toy_task()
    other.display, other.name = task.display, "without_records"
    table = pages.headlines([task, other], tmp_path, "results/")
    assert table.splitlines()[-1] == (
        "| [toy](results/toy/README.md): a sum | `small` 1.1 ± 0.1 | `wide` 3.1 ± 0.1 | behind "
        "| small: 0.5 | 3, 3 |"
    )
    old = "a\n<!-- results -->\nold\n<!-- /results -->\nb\n"
    assert report.between(old, "results", table) == old.replace("old\n", table)
    text = f"<!-- matrix -->\n<!-- /matrix -->\n{old}"
    assert report.readme(text, [task], tmp_path, "results/").endswith(old.replace("old\n", table))
    with pytest.raises(ValueError, match="expected the lines"):
        report.readme("a", [task], tmp_path, "")


# What is committed


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_committed_pages_and_charts_are_what_the_records_give(task):
    folder = command_line.RESULTS / task.name
    assert (folder / pages.PAGE).read_text() == pages.page(task, command_line.RESULTS)
    found = report.chart_of(task, command_line.RESULTS)
    assert (folder / pages.CHART).exists() == (found is not None)
    if found is not None:
        assert charts.read(folder / pages.CHART) == found


def test_committed_index_and_readme_are_what_the_records_give():
    root, readme = command_line.RESULTS, command_line.README.read_text()
    assert (root / pages.PAGE).read_text() == pages.index(TASKS, root)
    assert readme == report.readme(readme, TASKS, root, "reproductions/results/")


def test_committed_matrix_is_what_the_records_give():
    root, path = command_line.RESULTS, command_line.DOCS_PAGE
    assert (root / page.NAME / pages.PAGE).read_text() == page.page(TASKS, root)
    for preset in page.presets(TASKS, root):
        found = charts.read(picture.path_of(root, preset))
        assert found == picture.data(TASKS, preset, root)
    text = path.read_text()
    assert text == report.docs_page(text, TASKS, root, "../reproductions/results/")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_displays_name_what_the_task_has(task):
    display = task.display
    assert set(display.families) <= set(charts.STYLES)
    patterns = [pattern for group in display.families.values() for pattern in group]
    patterns += [pattern for group in display.only.values() for pattern in group]
    patterns += [pattern for group in display.compared for pattern in group]
    patterns += display.no_parameters
    assert [p for p in patterns if not any(summary.matches(m, [p]) for m in task.models)] == []
    assert display.metric in (None, *task.metrics)
    for names in display.only:
        assert any(summary.matches(metric, [names]) for metric in task.metrics)
    labels = (*display.panels, *([display.across] if display.across else []))
    assert set(labels) <= set(task.labels)
    for asked in (*filter(None, [display.headline]), *display.claims):
        assert {asked.baseline, asked.ours} <= set(task.models)
        metrics = asked.metric, getattr(asked, "baseline_metric", None)
        assert set(metrics) <= {None, *task.metrics}
        assert set(asked.labels) <= set(task.labels)
    if display.matrix is not None:
        assert set(display.matrix.models) <= set(FAMILIES)
        assert set(display.matrix.all_models()) <= set(task.models_of("quick"))
        families = {display.matrix.model(family) for family in FAMILIES}
        assert families <= set(task.models_of("demo"))
