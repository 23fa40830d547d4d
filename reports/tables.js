"use strict";
// Let a reader sort and filter what `reports.tables.sortable` displays. Texts reach the page as textContent only.

const missing = (a, b) => Number.isNaN(a) - Number.isNaN(b);
DataTable.type("number", {
  order: {
    pre: Number,
    asc: (a, b) => missing(a, b) || a - b || 0, // || 0: the difference of two NaN or two infinities
    desc: (a, b) => missing(a, b) || b - a || 0,
  },
});
DataTable.ext.errMode = "throw"; // by default it opens a dialog

function choice(column) {
  const texts = column.nodes().toArray().map((cell) => cell.textContent); // by the row's place as given
  const select = document.createElement("select");
  select.append(new Option("all"), ...[...new Set(texts)].sort().map((text) => new Option(text, text)));
  select.addEventListener("change", () => {
    const chosen = (_text, _row, place) => texts[place] === select.value;
    column.search.fixed("choice", select.selectedIndex ? chosen : null).draw();
  });
  const label = document.createElement("label");
  label.append(column.header().textContent, " ", select);
  return label;
}

function enhance(element) {
  const choices = document.createElement("div");
  choices.className = "choices";
  const table = new DataTable(element, {
    autoWidth: false,
    columnDefs: [
      { targets: "number", type: "number" },
      { targets: "_all", type: "string" },
    ],
    language: {
      info: "_TOTAL_ of _MAX_ rows",
      infoEmpty: "0 of _MAX_ rows",
      infoFiltered: "",
      search: "Filter",
      searchPlaceholder: "words, !word",
      zeroRecords: "no such row",
    },
    layout: { topStart: ["search", () => choices], topEnd: "info", bottomStart: null, bottomEnd: null },
    order: [],
    orderDescReverse: false, // equal rows stay as given
    paging: false,
  });
  table.columns(".choice").every(function () {
    choices.append(choice(this));
  });
}

for (const element of document.querySelectorAll(".sortable > table")) {
  try {
    enhance(element);
  } catch (error) {
    console.error(error); // a dataset can bring a table that only looks like ours; the others must work
  }
}
