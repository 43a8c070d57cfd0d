"""The page in a real browser: it opens in time, and does what it says, without an error and without the network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.data.sequence import Sequence, SequenceList
from lib.test.analysis.page.render import PageOptions, write_page
from lib.test.analysis.report import Report
from lib.test.analysis.scoring import Scoring, score_static_box
from tests.analysis.pages import FRAMES, HOSTILE, LABEL, content_of, write_world
from tests.chromium import Page, find_browser, open_page
from tracking import report

pytestmark = pytest.mark.endurance
READY = "document.documentElement.dataset.ready && document.querySelector('#stage').dataset.frame"
SHOWN_LABEL = LABEL.replace("\u2028", "\\u2028")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, list[str]]:
    find_browser()
    root = tmp_path_factory.mktemp("browser")
    flags = write_world(root)
    choice = ["--thumbnails", "0", "--frames_of", "zebra"]
    assert report.main([*flags, "--output", str(root / "report.html"), *choice]) == 0
    return root, flags


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture
def page(world, browser: Page) -> Iterator[Page]:
    browser.errors.clear()
    browser.requests.clear()
    browser.open(world[0] / "report.html", READY)
    yield browser
    browser.evaluate("0")  # whatever has happened is known now
    assert browser.errors == [], browser.requests
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


def texts(page: Page, selector: str) -> list[str]:
    return page.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


def hash_of(page: Page) -> str:
    return page.wait_for("location.hash && decodeURIComponent(location.hash.slice(1))")


def go(page: Page, name: str, frame: int) -> None:
    page.evaluate(f"location.hash = '#' + encodeURIComponent({json.dumps(name)}) + '/{frame}'")
    page.wait_for(f"document.querySelector('#sequence-name').textContent === {json.dumps(name)}")
    page.wait_for(f"document.querySelector('#stage').dataset.frame === '{frame}'")


def test_it_opens_in_time(world, page: Page) -> None:
    path = world[0] / "report.html"
    seconds = [page.open(path, READY) for _ in range(3)]
    assert min(seconds) < 3


def test_scores_are_shown_sorted_and_differences_follow_the_baseline(world, page: Page) -> None:
    (benchmark,) = content_of(world[0] / "report.html")["benchmarks"]
    labels = [tracker["label"] for tracker in benchmark["trackers"]]
    assert texts(page, "#score-table tbody th") == labels
    assert texts(page, "#score-table [data-cell=AUC]") == [tracker["cells"][0] for tracker in benchmark["trackers"]]
    page.click("#score-table [data-sort=score]")
    assert texts(page, "#score-table tbody th") == labels[::-1]
    page.evaluate("(s => { s.value = 1; s.onchange() })(document.querySelector('#baseline'))")
    difference = benchmark["differences"][0][1][0]
    row = texts(page, "#score-table tbody tr:last-child td")
    assert row[5].startswith(f"{difference:+.2f}") and "p " in row[5]


def test_a_tracker_is_switched_off_everywhere(page: Page) -> None:
    assert len(texts(page, "#plots .curve")) == 3 * 4
    page.press("1")
    assert len(texts(page, "#plots .curve")) == 3 * 3
    assert len(texts(page, "#readout tbody tr")) == 1 + 3
    page.click("[data-toggle='exact']")
    assert len(texts(page, "#plots .curve")) == 3 * 4
    color = "getComputedStyle(document.querySelector('#plots .curve')).stroke"
    before = page.evaluate(color)
    page.press("t")
    assert page.evaluate(color) != before  # lighter on a dark page


def test_the_list_is_sorted_searched_and_filtered(world, page: Page) -> None:
    page.click("#list [data-sort=name]")
    names = texts(page, "#list-body .row > :first-child")
    assert names == [HOSTILE, "bird-1", "bird-2", "car-1", "car-10", "zebra"]
    page.click("#list [data-sort=difference]")
    deltas = [float(text.replace("−", "-")) for text in texts(page, "#list-body .row > :nth-child(7)")]
    assert deltas == sorted(deltas, reverse=True) and len(deltas) == 6
    page.evaluate("(s => { s.value = 'BIRD'; s.oninput({target: s}) })(document.querySelector('#search'))")
    assert sorted(texts(page, "#list-body .row > :first-child")) == ["bird-1", "bird-2"]
    cell = "document.querySelector('#list-body .row > :first-child')"
    assert page.evaluate(f"getComputedStyle({cell}).direction") == "rtl"  # a long name keeps its end
    assert any("bfloat16, openvino, cpu" in text for text in texts(page, "#made li"))
    page.evaluate("(s => { s.value = ''; s.oninput({target: s}) })(document.querySelector('#search'))")
    labels = [tracker["label"] for tracker in content_of(world[0] / "report.html")["benchmarks"][0]["trackers"]]
    page.click(f"[data-failure='never recovered {labels.index('jumpy')}']")
    assert texts(page, "#count") == ["3 of 6 sequences"]
    page.click("#clear")
    assert texts(page, "#count") == ["6 sequences"]


def test_frames_are_scrubbed_by_keys_slider_and_failures(page: Page) -> None:
    go(page, "bird-1", 5)
    for key, frame in (("ArrowRight", 6), ("ArrowLeft", 5), ("End", FRAMES - 1), ("Home", 0), ("f", 20)):
        page.press(key)
        page.wait_for(f"document.querySelector('#stage').dataset.frame === '{frame}'")
    assert any("switch since 20" in text for text in texts(page, "#readout tbody tr"))
    page.evaluate("(s => { s.value = 33; s.oninput({target: s}) })(document.querySelector('#scrub'))")
    assert page.evaluate("document.querySelector('#frame').value") == "33"
    page.wait_for("location.hash === '#bird-1/33'")
    page.press("Home")
    page.press(" ")
    page.wait_for("Number(document.querySelector('#frame').value) > 3")
    page.press(" ")
    assert texts(page, "#play") == ["Play"]


def test_deep_links(world, page: Page) -> None:
    url = (world[0] / "report.html").absolute().as_uri()
    page.open(f"{url}#car-10/42", f"{READY} === '42'")
    assert texts(page, "#sequence-name") == ["car-10"]
    assert page.evaluate("scrollY") > 100  # the sequence is in sight
    page.open(f"{url}#nothing/x%ff/3", READY)  # no such place: the page opens as without
    page.press("ArrowDown")  # scrolls, since no sequence is in sight
    page.press("j")
    assert page.wait_for("location.hash.endsWith('/0') && !location.hash.includes('nothing')")


def test_a_click_on_a_failure_goes_there(world, page: Page) -> None:
    labels = [tracker["label"] for tracker in content_of(world[0] / "report.html")["benchmarks"][0]["trackers"]]
    page.evaluate(f"(s => {{ s.value = {labels.index('jumpy')}; s.onchange() }})(document.querySelector('#a'))")
    page.click("[data-sequence='car-10'] .jump")
    assert page.wait_for("location.hash === '#car-10/20'")
    page.press("+")
    page.press("+")
    go(page, "car-10", 59)  # the timeline follows
    assert "– 59" in texts(page, "#timeline-note")[0]


def test_several_benchmarks(world, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "several.html"
    assert report.main([*world[1], "--protocol", "seqtrack", "got10k", "--output", str(path), "--thumbnails", "0"]) == 0
    page.open(path, READY)
    assert texts(page, "#benchmark option") == ["mine seqtrack", "mine got10k"]
    page.evaluate("location.hash = '#mine%20got10k/zebra/9'")
    page.wait_for("document.querySelector('#benchmark').value === '1'")
    page.wait_for("document.querySelector('#sequence-name').textContent === 'zebra'")
    assert texts(page, "#score-table thead th")[1].startswith("AO")
    assert len(texts(page, "#plots svg.plot")) == 1  # that protocol knows no precision


def test_hostile_names_are_text(page: Page) -> None:
    assert SHOWN_LABEL in texts(page, "#score-table tbody th")
    go(page, HOSTILE, 7)
    assert texts(page, "#sequence-name") == [HOSTILE]
    page.wait_for(f"decodeURIComponent(location.hash) === {json.dumps(f'#{HOSTILE}/7')}")
    assert page.evaluate("document.querySelectorAll('img, script').length") == 2  # the data and the code
    assert page.evaluate("typeof hacked") == "undefined"


def test_images_are_embedded_or_from_a_folder(world, page: Page) -> None:
    go(page, "zebra", 3)
    assert page.evaluate("document.querySelector('#stage').dataset.image") == "frame"
    go(page, "car-1", 4)
    assert page.evaluate("document.querySelector('#stage').dataset.image") == "none"
    page.choose_files("#folder", world[0] / "mine" / "car-1")
    page.wait_for("document.querySelector('#stage').dataset.image === 'frame'")
    go(page, "bird-1", 4)
    page.wait_for("document.querySelector('#stage').dataset.image === 'none'")  # another sequence's folder
    page.choose_files("#folder", world[0] / "mine")
    page.wait_for("document.querySelector('#stage').dataset.image === 'frame'")
    page.choose_files("#folder", shutil.copytree(world[0] / "mine" / "car-1" / "img", world[0] / "any"))
    page.wait_for("document.querySelector('#stage').dataset.image === 'frame'")


def test_print_and_narrow_screens(world, page: Page, tmp_path: Path) -> None:
    page.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.resize(360, 740)
    page.wait_for("innerWidth === 360")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.resize(1280, 900)


def test_a_million_frames_in_one_sequence(browser: Page, tmp_path: Path) -> None:
    count = 1_000_000
    steps = np.random.RandomState(0).randint(-2, 3, (count, 2)).cumsum(axis=0)
    truth = np.column_stack([1000 + steps % 500, np.full((count, 2), 80)])
    sequences = SequenceList([Sequence("long", [f"{i:07d}.jpg" for i in range(count)], "mine", truth)])
    tracker = score_static_box(sequences, Scoring())
    path = tmp_path / "long.html"
    write_page(path, [Report("long", sequences, Scoring(), [tracker], 1, {})], PageOptions(thumbnails=0))
    assert path.stat().st_size < 15e6
    assert browser.open(path, READY) < 10
    start = browser.evaluate("performance.now()")
    browser.evaluate(f"location.hash = '#long/{count - 1}'")
    browser.wait_for(f"document.querySelector('#stage').dataset.frame === '{count - 1}'")
    assert browser.evaluate("performance.now()") - start < 1000
