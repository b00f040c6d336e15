"""The report in a real browser: what a reader sees, clicks, downloads and links to; and its accessibility."""

import io

import pandas as pd
import pytest
from frames import GRID as TEXT
from frames import frame_of_grid as made_up
from page import SIZES, violations

from initbench import stats
from initbench.reporting import numbers
from initbench.reporting.page import render
from initbench.spec import grid

COMBINATION = ["activation", "loss"]
FAILED = "Failed runs"  # a heading of the table


def trained(cell):
    """Made-up accuracies of every kind: failures, high variance, small and large differences."""
    spread = {"zeros": 0.001, "he_normal": 0.01}.get(cell.initializer, 0.0005)
    level = {"zeros": 0.9, "he_normal": 0.85}.get(cell.initializer, 0.6)
    return level + spread * ((7 * cell.seed) % 5) + 0.01 * (cell.activation == "relu")


TITLE, INITIALIZER, MEAN, BEHIND, COSTS, WORSE, FAILURES = 0, 1, 3, 4, 5, 6, 8  # columns of the table

# The number of words that are shown, outside folds, tables, figures and controls.
WORDS = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    let count = 0
    while (walker.nextNode()) {
        const { parentElement: at, data } = walker.currentNode
        if (!at.checkVisibility() || at.closest("table, svg, select, script, style")) continue
        count += data.split(/\\s+/).filter(Boolean).length
    }
    return count
}"""


@pytest.fixture(scope="module")
def frame():
    broken = lambda c: c.initializer == "he_normal" and c.activation == "relu" and c.seed == 1  # noqa: E731
    return made_up(grid.parse(TEXT, overrides={"seed": 5}), trained, broken)


@pytest.fixture(scope="module")
def address(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    path.write_text(
        render(frame, grid.parse(TEXT, overrides={"seed": 5}), [environment], "initbench run page.toml"),
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture
def opened(chromium):
    """Opens an address at a width, in light or dark; at the end there may be no message and no request."""
    pages, complaints, requests = [], [], []

    def visit(address, width=1280, scheme="light", **more):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        pages.append(page)
        return page

    yield visit
    for page in pages:
        page.close()
    assert not complaints
    assert all(url.startswith(("file:", "blob:")) for url in requests)


def column(page, number):
    """The texts of a column of the table, of the rows that are shown."""
    rows = page.locator("#rows tr:not([hidden])")
    return [row.locator("td, th").nth(number).inner_text().strip() for row in rows.all()]


def panels(page):
    """The panels of a combination that are shown, once the lists show all of theirs."""
    for button in page.locator("button.expand:visible").all():
        button.click()
    return page.locator("figure[data-combination]:visible")


def means_of(text):
    """The mean with its interval, without the marks beside it."""
    return text.rstrip("†•◦ ")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(opened, address, width, scheme):
    page = opened(address, width, scheme)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    count, report = violations(page)
    assert count == 0, report
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 28)")


@pytest.mark.slow
def test_axe_would_find_one(opened, address):
    page = opened(address)
    page.evaluate("document.querySelector('.note').style.color = '#eeeeee'")
    assert violations(page)[0] > 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_table_sorts_and_filters(opened, address, frame, width):
    page = opened(address, width)
    table = stats.verdicts(frame, COMBINATION)
    assert column(page, INITIALIZER) == table["initializer"].tolist()
    page.get_by_role("button", name="Test accuracy", exact=True).click()
    means = table["mean_all"].round(9).sort_values(kind="stable")
    assert [means_of(text) for text in column(page, MEAN)] == [numbers.interval(table.loc[i]) for i in means.index]
    assert page.locator("#metric-head").get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Test accuracy", exact=True).click()
    assert page.locator("#metric-head").get_attribute("aria-sort") == "descending"
    assert means_of(column(page, MEAN)[0]) == numbers.interval(table.loc[means.index[-1]])
    page.locator("#choose-activation").select_option("relu")
    page.get_by_label("Initializer", exact=True).select_option("zeros")
    assert sorted(column(page, TITLE)) == ["relu, cross_entropy", "relu, mse"]
    assert column(page, INITIALIZER) == ["zeros", "zeros"]
    assert page.locator("#shown").inner_text() == "2 of 12 rows, by test accuracy"
    page.get_by_role("button", name="Reset").click()
    assert column(page, INITIALIZER) == table["initializer"].tolist()


def test_a_pick_shows_the_answer_of_its_combination_and_hides_the_figures_of_others(opened, address):
    page = opened(address)
    assert panels(page).count() == 12
    assert page.locator("#all tbody tr:visible").count() == 4
    assert page.locator(".card:visible").count() == 0
    pick = page.locator(".picker select")
    pick.nth(0).select_option("tanh")
    assert panels(page).count() == 6
    assert page.locator("#all tbody tr:visible").count() == 2
    pick.nth(1).select_option("mse")
    assert panels(page).count() == 3
    assert not page.locator("#all").is_visible()
    assert page.locator(".card:visible").get_attribute("aria-label") == "tanh, mse"
    assert not page.locator("#general").is_visible()
    descriptions = [
        svg.get_attribute("aria-label") for svg in page.locator("figure[data-combination] svg:visible").all()
    ]
    assert len(descriptions) == 3
    assert all("tanh, mse" in text for text in descriptions)
    assert page.locator("#choose-loss").input_value() == "mse"  # the table's filter is the same
    page.locator("#any").click()
    assert page.locator("#all tbody tr:visible").count() == 4
    page.locator("#all a", has_text="relu, cross_entropy").click()
    assert page.locator(".card:visible").get_attribute("aria-label") == "relu, cross_entropy"
    assert [select.input_value() for select in pick.all()] == ["relu", "cross_entropy"]


def test_the_card_of_a_combination_has_the_numbers_of_the_statistics(opened, address, frame):
    page = opened(address)
    for title, rows in frame.groupby(["activation", "loss"], sort=False):
        for select, value in zip(page.locator(".picker select").all(), title, strict=True):
            select.select_option(value)
        table = stats.verdicts(rows, COMBINATION)
        card = page.locator(".card:visible").inner_text()
        assert numbers.marked(table[table["leader"]].iloc[0]) in card
        for name in table.loc[table["standing"] == "best", "initializer"]:
            assert name in card


def test_explanations_open_by_click_touch_and_keyboard_and_close(opened, address, chromium):
    page = opened(address)
    targets = page.evaluate(
        "[...document.querySelectorAll('[popovertarget]')].map(b => b.getAttribute('popovertarget'))"
    )
    terms = page.evaluate("[...document.querySelectorAll('[popover]')].map(term => term.id)")
    assert set(targets) == set(terms)  # each button has its explanation, and each explanation a button
    assert len(terms) == len(set(terms)) > 10
    button = page.locator("#behind-head .tip")
    button.click()
    term = page.locator("#term-behind")
    assert term.is_visible()
    box, at = term.bounding_box(), button.bounding_box()
    assert 0 <= box["x"] <= 1280 - box["width"]
    assert (
        min(abs(box["y"] - at["y"] - at["height"]), abs(box["y"] + box["height"] - at["y"])) < 10
    )  # beside its button
    page.keyboard.press("Escape")
    assert not term.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert term.is_visible()
    phone = opened(address, 390, has_touch=True)
    phone.locator("#behind-head .tip").tap()
    box = phone.locator("#term-behind").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


@pytest.mark.slow
def test_the_sections_stand_at_the_side_and_on_a_phone_in_a_menu(opened, address):
    page = opened(address)
    links = page.locator("#sections a")
    assert [link.inner_text() for link in links.all()] == [
        *("Answer", "Why", "Numbers", "Differences", "Learning curves", "Certainty", "Method", "Reproduce"),
    ]
    for link in links.all():
        link.click()
        page.wait_for_timeout(50)
        top = page.evaluate(f"document.querySelector('{link.get_attribute('href')}').getBoundingClientRect().top")
        assert top < 900
        assert link.is_visible()  # it stays at the side
    assert page.locator("#sections a[aria-current]").count() == 1
    phone = opened(address, 390)
    assert not phone.locator("#sections").is_visible()
    phone.locator("#menu").click()
    phone.locator("#sections a", has_text="Certainty").click()
    assert not phone.locator("#sections").is_visible()
    assert abs(phone.evaluate("document.querySelector('#certainty').getBoundingClientRect().top")) < 200


@pytest.mark.slow
def test_a_page_of_six_combinations_has_few_words(opened, tmp_path):
    text = TEXT.replace('["tanh", "relu"]', '["tanh", "relu", "sigmoid"]')
    parsed = grid.parse(text, overrides={"seed": 5})
    path = tmp_path / "report.html"
    path.write_text(render(made_up(parsed, trained), parsed, [], "initbench run page.toml"), encoding="utf-8")
    page = opened(path.as_uri())
    assert page.locator("#all tbody tr").count() == 6
    for combination in (None, "relu"):
        if combination:
            page.locator("#all a", has_text="relu, mse").click()
        assert 200 < page.evaluate(WORDS) < 1000


def test_the_metric_can_be_chosen(opened, address, frame):
    page = opened(address)
    for metric, label in (("validation_accuracy", "Validation accuracy"), ("test_loss", "Test loss")):
        page.get_by_label("Metric", exact=True).select_option(metric)
        keys = [*COMBINATION, "initializer"]
        verdicts = stats.verdicts(frame, COMBINATION)
        results = stats.results(frame, keys, metric)
        table = verdicts[[*keys, "leader", "comparisons"]].merge(results, how="left", on=keys)
        if metric == "validation_accuracy":
            table = stats.selected(table, 1)
            assert table.loc[table["leader"], "all_low"].tolist() == pytest.approx(
                stats.verdicts(frame, COMBINATION, metric).query("leader")["all_low"].tolist()
            )
        show = numbers.interval if metric.endswith("accuracy") else numbers.loss_interval
        assert [means_of(text) for text in column(page, MEAN)] == [show(row) for _, row in table.iterrows()]
        for text, (_, row) in zip(column(page, FAILURES), table.iterrows(), strict=True):
            assert (show(row, "trained") in text) if row["failed"] else not text
        assert page.locator("#metric-head button span").inner_text() == label


def test_the_table_sorts_by_what_a_choice_costs_and_has_to_which_one_each_lost(opened, address, frame):
    page = opened(address)
    table = stats.verdicts(frame, COMBINATION)
    winners = [row["worse_than"] or "–" for _, row in table.iterrows()]
    assert [text.split()[0] for text in column(page, WORSE)] == winners
    for text, (_, row) in zip(column(page, WORSE), table.iterrows(), strict=True):
        name, _, by = " ".join(text.split()).partition(" ")
        behind = table[(table[COMBINATION] == row[COMBINATION]).all(axis=1) & table["leader"]]["initializer"].item()
        assert by.strip() == ("" if name in ("–", behind) else numbers.difference(row, "worse_by"))
    assert 0 < sum(text != "–" for text in winners) < len(winners)
    page.get_by_role("button", name="Costs at most, points", exact=True).click()
    ordered = table["regret_bound"].round(9).sort_values(kind="stable")
    assert column(page, COSTS) == [numbers.at_most(table.loc[i, "regret_bound"]) for i in ordered.index]
    page.get_by_role("button", name=FAILED, exact=True).click()
    page.get_by_role("button", name=FAILED, exact=True).click()
    assert [bool(text) for text in column(page, FAILURES)] == [
        i < (table["failed"] > 0).sum() for i in range(len(table))
    ]


def test_the_reference_can_be_selected(opened, address, frame):
    page = opened(address)
    page.get_by_label("Compare with", exact=True).select_option("he_normal")
    table = stats.pairs(frame, COMBINATION)
    table = table[table["other"] == "he_normal"].set_index([*COMBINATION, "initializer"])
    for title, name, difference in zip(*(column(page, i) for i in (TITLE, INITIALIZER, BEHIND)), strict=True):
        activation, loss = title.split(", ")
        if name == "he_normal":
            assert difference == "–"
        else:
            row = table.loc[(activation, loss, name)]
            assert difference == " ".join(
                numbers.points(row["difference"], row["difference_low"], row["difference_high"])
            )


def test_a_permanent_link_leads_to_the_view(opened, address):
    page = opened(address)
    page.locator("#choose-activation").select_option("relu")
    page.get_by_label("Metric", exact=True).select_option("validation_loss")
    page.get_by_label("Compare with", exact=True).select_option("zeros")
    page.get_by_role("button", name=FAILED, exact=True).click()
    link = page.locator("#link").get_attribute("href")
    assert page.url == address + link
    again = opened(address + link)
    for number in (TITLE, INITIALIZER, MEAN, BEHIND):
        assert column(again, number) == column(page, number)
    assert again.get_by_label("Metric", exact=True).input_value() == "validation_loss"
    assert panels(again).count() == 6
    assert again.locator("#numbers").evaluate("heading => heading.getBoundingClientRect().top") < 900
    for wrong in (
        "#view?activation=nonsense&metric=nonsense&sort=nonsense.up&than=x",
        "#view?sort=metric.sideways",
        "#view?sort=__proto__.up",
        "#view?%",
        "#x",
    ):
        page.evaluate(f"location.hash = '{wrong}'")
        page.wait_for_function("document.querySelectorAll('#rows tr:not([hidden])').length === 12", timeout=3000)
    assert len(column(opened(address + "#view?activation=nonsense"), INITIALIZER)) == 12


def test_the_keyboard_reaches_everything(opened, address):
    page = opened(address)
    seen = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        focused = page.evaluate("""() => {
            const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at)
            const name = (at.id || at.textContent).trim().slice(0, 40)
            return [at.tagName, name, style.outlineStyle, box.width * box.height]
        }""")
        if focused[0] == "BODY":
            break
        assert focused[2] != "none", focused  # what has the focus shows it
        assert focused[3] > 0, focused
        seen.add((focused[0], focused[1]))
    for wanted in (
        ("BUTTON", "theme"),
        ("BUTTON", "reset"),
        ("BUTTON", "?"),
        ("BUTTON", FAILED),
        ("A", "csv"),
        ("A", "parquet"),
    ):
        assert wanted in seen
    assert {tag for tag, _ in seen} >= {"SELECT", "SUMMARY", "DIV"}
    page.get_by_role("button", name=FAILED, exact=True).focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort] button span").inner_text() == FAILED


def test_the_data_can_be_downloaded(opened, address, frame):
    page = opened(address)
    with page.expect_download() as csv:
        page.locator("#csv").click()
    assert csv.value.suggested_filename == "page.csv"
    read = pd.read_csv(csv.value.path(), dtype={"cell": str})
    assert read["cell"].tolist() == frame["cell"].tolist()
    pd.testing.assert_series_equal(read["test_accuracy"], frame["test_accuracy"])
    with page.expect_download() as parquet:
        page.locator("#parquet").click()
    assert parquet.value.suggested_filename == "page.parquet"
    with open(parquet.value.path(), "rb") as file:
        pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(file.read())), frame)


def test_light_and_dark_are_the_readers_choice(opened, address):
    page = opened(address)
    colour = "getComputedStyle(document.querySelector('figure svg text')).fill"
    ink = page.evaluate(colour)
    page.get_by_role("button", name="Dark mode").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 28)"
    assert page.evaluate(colour) != ink  # the figures go with it
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(colour) == ink
    assert not page.locator("#controls").is_visible()
    assert page.get_by_role("button", name=FAILED, exact=True).is_visible()  # the table keeps its headings
    assert len(page.pdf()) > 10_000
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Light mode").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_a_script_the_page_is_whole(opened, address, frame):
    page = opened(address, java_script_enabled=False)
    assert len(column(page, INITIALIZER)) == 12
    assert page.locator(".card:visible").count() == 4  # each combination has its answer
    assert panels(page).count() == 12
    assert not page.locator("#controls").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator("#csv").get_attribute("download") == "page.csv.gz"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_first_screen_has_the_pick_the_answer_and_the_figure(opened, address, width):
    page = opened(address, width)
    bottom = "element => element.getBoundingClientRect().bottom"
    assert page.locator(".picker").evaluate(bottom) < 400
    figure = page.locator(".first figure svg").first.evaluate("element => element.getBoundingClientRect().top")
    assert figure < (300 if width == 1280 else 1000)
    if width == 1280:
        assert page.locator("#all tbody tr").last.evaluate(bottom) < 900  # all combinations
    for select, value in zip(page.locator(".picker select").all(), ("relu", "mse"), strict=True):
        select.select_option(value)
    assert page.locator(".card:visible").evaluate(bottom) < 900  # recommendation, certainty and what to do next


@pytest.mark.slow
def test_a_run_whose_name_is_a_script_runs_none(opened, frame, tmp_path):
    import dataclasses

    hostile = "<script>alert(1)</script>"
    parsed = dataclasses.replace(grid.parse(TEXT, overrides={"seed": 5}), name=hostile)
    renamed = frame.replace({"initializer": {"he_normal": f"</script>{hostile}<img src=x onerror=alert(1)>"}})
    path = tmp_path / "report.html"
    path.write_text(render(renamed, parsed, [{"processor": hostile}], hostile), encoding="utf-8")
    page = opened(path.as_uri())
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.locator(".kicker").inner_text() == f"initbench · {hostile}"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert column(page, INITIALIZER)[1].startswith("</script><script>alert(1)")


@pytest.mark.slow
def test_an_untrusted_report_and_comparison_run_nothing(opened, tmp_path):
    """Every text that the maker of a results folder may choose is poison: see `untrusted.PAYLOADS`."""
    import untrusted

    import initbench as ib
    from initbench.api.outputs import changes
    from initbench.reporting import comparison
    from initbench.results.experiment import Experiment

    folder = untrusted.poisoned(tmp_path)
    page = opened(ib.report(folder).as_uri())
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert column(page, TITLE)[0].startswith("<script>window.pwned=1")
    for name in ("dataset", "activation", "initializer"):
        page.locator(f"#choose-{name}").select_option(index=1)
    page.get_by_role("button", name="Initializer", exact=True).click()
    link = page.locator("#link").get_attribute("href")
    again = opened(page.url.partition("#")[0] + link)
    experiment = Experiment.open(folder)
    table, left, right = changes(experiment, experiment)
    other = tmp_path / "comparison.html"
    other.write_text(comparison.render(table, left, right, 0.5, "initbench compare <script>window.pwned=10</script>"))
    for visited in (page, again, opened(other.as_uri())):
        assert visited.evaluate("typeof window.pwned") == "undefined"
        assert visited.locator("img, iframe, object, embed, [onload], [onerror], [onfocus], [onmouseover]").count() == 0
        addresses = (
            "[...document.querySelectorAll('[href], [src]')].map(e => e.getAttribute('href') || e.getAttribute('src'))"
        )
        assert not any(address.startswith(("javascript", "http")) for address in visited.evaluate(addresses))


def test_the_pages_policy_lets_no_other_script_run(chromium, address):
    page = chromium.new_page()
    page.goto(address)
    for script in ("s.textContent = 'window.pwned=1'", "s.src = 'data:text/javascript,window.pwned=1'"):
        page.evaluate(f"const s = document.createElement('script'); {script}; document.body.append(s)")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.pwned=1>')")
    page.wait_for_function("document.querySelector('img').complete")
    assert page.evaluate("typeof window.pwned") == "undefined"
    page.close()
