"""Sortable tables: their HTML, the scripts of their page, and what a browser does with them."""

import base64
import hashlib
import html
import json
import re

import pandas as pd
import pytest
from browsers import documents

from reports import render, tables

NAN, INFINITY = float("nan"), float("inf")
RUN = "document.title = 'ran'"  # a page has another title unless it ran a script
HOSTILE = [
    f"<script>{RUN}</script>",
    f"</script></table><script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f"&lt;img src=x onerror={RUN}&gt;",
    f'" onmouseover="{RUN}"><svg onload="{RUN}">',
    f'<a href="javascript:{RUN}">link</a>',
    f"javascript:{RUN}",
]
NOTEBOOKS = {
    "ranked": """
import pandas as pd
from reports.tables import sortable
rules = ["mean", "median", "bulyan", "mean", "median"]
numbers = pd.DataFrame({"worst": [9.0, float("nan"), 10.0, -1.0, float("inf")]})
shown = pd.DataFrame({"row": list("abcde"), "rule": rules})
shown["worst"] = ["9 [8, 11]", "none", "10 [9, 12]", "-1 [-2, 0]", "infinite"]
sortable(shown.set_index("row"), numbers.set_index(shown["row"]), choices=["rule"])
sortable(shown[["rule", "worst"]])
""",
    "hostile": f"""
import pandas as pd
from reports.tables import sortable
texts = pd.Series({HOSTILE!r})
frame = pd.DataFrame({{name: texts for name in texts}}).set_index(texts.rename("place"))
sortable(frame, choices=list(texts))
""",
    "unsorted": """
import pandas as pd
from reports import table
table(pd.DataFrame({"text": ['<div class="table sortable"><table>']}))
""",
}
POLICY = re.compile('<meta http-equiv="Content-Security-Policy" content="(.*?)">')
ONLY_STYLE = f'<meta http-equiv="Content-Security-Policy" content="{render.POLICY}">'
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def digest(script):
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the HTML of a page for each notebook."""
    folder = tmp_path_factory.mktemp("tables")
    for name, code in NOTEBOOKS.items():
        (folder / f"{name}.py").write_text(f"# %% [markdown]\n# # {name}\n\n# %%{code}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "GENERAL", {name: name for name in NOTEBOOKS})
        patch.setattr(render, "source", lambda name: folder / f"{name}.py")
        with render.Report(folder, []) as report:
            report.execute(list(NOTEBOOKS))
            report.write(NOTEBOOKS)
    return {name: (folder / "report" / f"{name}.html").read_text() for name in NOTEBOOKS}


# --- HTML and policy ------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """Return what `sortable` displays of its arguments, as HTML."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda one, metadata: found.append(one.data))

    def show(*arguments, **options):
        tables.sortable(*arguments, **options)
        return "".join(found)

    return show


def test_cells_have_the_number_they_sort_by(shown):
    frame = pd.DataFrame({"text": list("abcd"), "own": [0.1 + 0.2, NAN, -INFINITY, 1e-300]})
    frame["given"], frame["true"] = ["0.7 [0.6, 0.8]", "none", "3", "12"], True
    numbers = pd.DataFrame({"given": [0.7123456789, None, 3, 12]})
    found = shown(frame, numbers)
    cells = re.findall(r'<td(?: data-order="(.*?)")?>(.*?)</td>', found)
    assert cells[:5] == [
        ("0.0", "0"),
        ("", "a"),
        ("0.30000000000000004", "0.3"),
        ("0.7123456789", "0.7 [0.6, 0.8]"),
        ("", "True"),
    ]
    assert [number for number, _ in cells[2::5]][1:] == ["NaN", "-Infinity", "1e-300"]
    assert [number for number, _ in cells[3::5]][1:] == ["NaN", "3.0", "12.0"]


def test_texts_of_a_table_are_escaped(shown):
    frame = pd.DataFrame(dict.fromkeys(HOSTILE, HOSTILE), index=pd.Index(HOSTILE, name="<b>"))
    found = shown(frame, choices=HOSTILE)
    tags = {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(re.findall(r"<\s*/?\s*([^\s>]*)", found)) == tags
    assert {*re.findall(r" (\w+)=", re.sub(">[^<]*<", "><", found))} == {"class"}
    assert all(found.count(f">{html.escape(text)}</t") == len(HOSTILE) + 2 for text in HOSTILE)


def test_impossible_tables_are_refused(shown):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    with pytest.raises(
        ValueError, match=r"numbers \(1 rows\) must have the index of frame \(2 rows\)"
    ):
        shown(frame, frame[:1])
    with pytest.raises(ValueError, match=r"no column has the name 'c'; .*\['index', 'a', 'b'\]"):
        shown(frame, choices=["b", "c"])
    with pytest.raises(ValueError, match="no column has the name 'c'"):
        shown(frame, pd.DataFrame({"c": [1, 2]}))
    with pytest.raises(ValueError, match="must have different names"):
        shown(pd.concat([frame, frame], axis=1))
    assert shown(frame[:0]) == ""


def test_policy_allows_the_scripts_of_a_sortable_table_and_no_others(pages):
    scripts = [path.read_text(encoding="utf-8") for path in tables.SCRIPTS]
    sources = " ".join(f"'sha256-{digest(script)}'" for script in scripts)
    for name in ("ranked", "hostile"):
        assert SCRIPT.findall(pages[name]) == scripts, name
        (policy,) = POLICY.findall(pages[name])
        assert policy == f"{render.POLICY}; script-src {sources}", name
    assert POLICY.findall(pages["unsorted"]) == [render.POLICY]
    assert "<script" not in pages["unsorted"]


def test_scripts_can_stand_in_a_page():
    for path in tables.SCRIPTS:
        assert re.search("<!--|</script", path.read_text(encoding="utf-8"), re.I) is None, path


def test_library_is_the_one_that_its_readme_names():
    library = tables.SCRIPTS[0]
    readme = (library.parent / "README.md").read_text()
    assert f"`{hashlib.sha256(library.read_bytes()).hexdigest()}`" in readme
    (version,) = re.findall(r"`datatables.net` ([\d.]+\d)", readme)
    assert library.read_text(encoding="utf-8").startswith(f"/*! DataTables {version}\n")


# --- In a browser ---------------------------------------------------------------------------------

DRIVE = """
const rows = (table) => [...table.querySelectorAll("tbody tr")];
const texts = (table) => rows(table).map((row) => [...row.cells].map((cell) => cell.textContent));
const first = (table) => texts(table).map((row) => row[0]).join("");
const type = (text) => {
  const field = document.querySelector("input[type=search]");
  field.value = text;
  field.dispatchEvent(new Event("input"));
};
const choose = (place, list = document.querySelector(".choices select")) => {
  list.selectedIndex = place;
  list.dispatchEvent(new Event("change"));
};
const click = async (head) => {
  head.click();
  await new Promise((resolve) => setTimeout(resolve, 10)); // the library sorts after the click
};
const table = document.querySelector(".sortable table");
const seen = [];
(async () => {
%s
const noted = document.createElement("pre");
noted.id = "seen";
noted.textContent = JSON.stringify(seen);
document.body.append(noted);
})();
"""


def driven(page, script):
    """Return a page with a script that acts as a reader; the policy allows this one too."""
    script = DRIVE % script
    page = page.replace("script-src ", f"script-src 'sha256-{digest(script)}' ")
    return page.replace("</body>", f"<script>{script}</script></body>")


def opened(folder, pages):
    """Return the documents of pages in a browser, by name."""
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page)
    addresses = [(folder / f"{name}.html").as_uri() for name in pages]
    return dict(zip(pages, documents(folder, addresses), strict=True))


def seen(document):
    return json.loads(html.unescape(re.search('<pre id="seen">(.*?)</pre>', document)[1]))


def test_reader_sorts_and_filters_a_table(pages, tmp_path):
    sort = """
const [row, rule, worst] = document.querySelectorAll(".sortable th");
const last = [...document.querySelectorAll(".sortable th")].at(-1);
for (const head of [worst, worst, worst, rule, rule]) {
  await click(head);
  seen.push([first(table), head.ariaSort]);
}
await click(last);
seen.push(texts(document.querySelectorAll(".sortable table")[1]).map((row) => row[2]));
"""
    select = """
for (const text of ["ME", "me 9", "!me", "[9, 12]", "absent"]) {
  type(text);
  const count = document.querySelector(".dt-info").textContent.trim();
  seen.push([texts(table).map((row) => row[0]), count]);
}
type("");
choose(3);
seen.push([first(table), document.querySelector(".choices").textContent]);
choose(0);
seen.push(first(table));
"""
    silent = POLICY.sub("", pages["ranked"]).replace("<head>", f"<head>{ONLY_STYLE}")
    ways = {"sort": driven(pages["ranked"], sort), "select": driven(pages["ranked"], select)}
    found = opened(tmp_path, ways | {"silent": silent})
    assert seen(found["sort"]) == [
        ["daceb", "ascending"],
        ["ecadb", "descending"],
        ["abcde", None],
        ["cadbe", "ascending"],
        ["beadc", "descending"],
        ["-1 [-2, 0]", "10 [9, 12]", "9 [8, 11]", "infinite", "none"],
    ]
    assert seen(found["select"]) == [
        [["a", "b", "d", "e"], "4 of 5 rows"],
        [["a"], "1 of 5 rows"],
        [["c"], "1 of 5 rows"],
        [["c"], "1 of 5 rows"],
        [["no such row"], "0 of 5 rows"],
        ["be", "rule allbulyanmeanmedian"],
        "abcde",
    ]
    assert found["silent"].count("<td") == 5 * 3 + 5 * 3
    assert "dt-container" not in found["silent"].partition("<main>")[2].partition("<script")[0]


def test_hostile_texts_run_nothing_and_are_shown(pages, tmp_path):
    """A table runs none even without the policy; the policy stops what else the page holds."""
    use = """
seen.push(texts(table), [...table.querySelectorAll("th")].map((head) => head.textContent));
for (const head of table.querySelectorAll("th")) {
  await click(head);
  seen.push(texts(table)[0][0]);
}
for (const text of ["onerror", "script>", "&lt;"]) {
  type(text);
  seen.push(rows(table).length);
}
type("");
document.querySelectorAll(".choices select").forEach((list, place) => {
  choose(1 + place, list);
  seen.push(texts(table)[0][0]);
  choose(0, list);
});
seen.push(document.querySelectorAll("main :is([href^=javascript], img, svg, script)").length);
"""
    page = pages["hostile"]
    raw = f'<script>{RUN}</script><img src=x onerror="{RUN}">'
    raw += (
        f'<div class="table sortable"><table data-init-complete="{RUN}"><tr><th>{raw}</table></div>'
    )
    detached = f'document.createElement("div").innerHTML = {json.dumps(HOSTILE[2])}'
    ways = {"use": driven(page, use), "raw": page.replace("<main>", f"<main>{raw}")}
    ways |= {f"open {name}": POLICY.sub("", way) for name, way in ways.items()}
    ways["open detached"] = POLICY.sub("", driven(page, detached))
    found = opened(tmp_path, ways)
    ran = [name for name, document in found.items() if "<title>ran</title>" in document]
    assert ran == ["open raw", "open detached"]
    for name in ("use", "open use"):
        cells, heads, *rest = seen(found[name])
        assert cells == [[text] * (1 + len(HOSTILE)) for text in HOSTILE], name
        assert heads == ["place", *HOSTILE], name
        assert rest == [min(HOSTILE)] * (1 + len(HOSTILE)) + [2, 2, 1] + sorted(HOSTILE) + [0], name
    assert '<div class="choices"><label>' in found["raw"], "the page's own table still works"
