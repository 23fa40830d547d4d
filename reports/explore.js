"use strict";
// Show one setting of the page `explore`. Texts reach the page as textContent only.

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("tables").textContent);
const NAMES = ["workers", "byzantine", "copies", "rule", "attackers", "images", "gigabits", "server"];
const LOGARITHMIC = ["images", "gigabits"];
const UNITS = { images: " images/s", gigabits: " Gbit/s" };
const last = (list, place) => list[Math.min(place, list.length - 1)];
const some = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// --- The setting: controls and the fragment of the address ---

function value(name) {
  if (LOGARITHMIC.includes(name)) return Number((10 ** at(name).value).toPrecision(3));
  return at(name).type === "range" ? Number(at(name).value) : at(name).value;
}

function read() {
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!NAMES.includes(name)) continue;
    const before = at(name).value;
    const number = LOGARITHMIC.includes(name) ? Math.log10(text) : Number(text);
    if (at(name).type !== "range") at(name).value = text;
    else if (Number.isFinite(number)) at(name).value = number;
    if (at(name).value === "") at(name).value = before; // no such choice
  }
  show();
}

const setting = () => Object.fromEntries(NAMES.map((name) => [name, value(name)]));
const fragment = (setting) => "#" + new URLSearchParams(setting);

// --- What follows from a setting ---

const majority = (copies) => (copies + 1) / 2;
const worst = (s) => Math.floor(s.byzantine / majority(s.copies));
const pipeline = (s) => data.rules[s.rule][s.copies === 1 ? "alone" : "detox"];

function law(s) {
  const certain = (count) => [...Array(count).fill(0), 1];
  if (s.copies === 1) return certain(s.byzantine);
  return s.attackers === "informed" ? certain(worst(s)) : data.laws[s.copies][s.workers][s.byzantine];
}

function breaks(s, distorted) {
  return last(pipeline(s).breaks[s.workers / s.copies], distorted);
}

const fails = (s) => law(s).reduce((sum, chance, k) => sum + chance * breaks(s, k), 0);

function seconds(s) {
  const [gigabits, latency] = data.network[s.workers];
  return [
    (data.images * s.copies) / s.images,
    gigabits / s.gigabits + latency,
    last(pipeline(s).seconds[s.server][`${s.workers}/${s.copies}`], worst(s)),
  ];
}

function refusal(s) {
  if (s.byzantine >= s.workers / 2)
    return `${s.byzantine} Byzantine workers are not fewer than half of the ${s.workers} workers.`;
  if (s.workers % s.copies) return `${s.copies} copies do not divide ${s.workers} workers.`;
  const files = s.workers / s.copies;
  if (!(files in pipeline(s).breaks))
    return `${pipeline(s).name} (${pipeline(s).rules}) cannot run on ${some(files, "vote")}.`;
  return "";
}

// The accepted setting, with redundancy as before or without, that changes the counts least.
// Of the Byzantine workers `fewest` or more stay.
function nearest(s, accepted, fewest) {
  let found = null;
  let least = Infinity;
  for (let workers = Number(at("workers").min); workers <= at("workers").max; workers++)
    for (let copies = 1; copies <= at("copies").max; copies += 2)
      for (let byzantine = fewest; byzantine < workers / 2 && byzantine <= s.byzantine; byzantine++) {
        const change =
          Math.abs(workers - s.workers) + Math.abs(copies - s.copies) + Math.abs(byzantine - s.byzantine);
        const other = { ...s, workers, copies, byzantine };
        const alike = (copies === 1) === (s.copies === 1);
        if (alike && change < least && !refusal(other) && accepted(other)) [found, least] = [other, change];
      }
  return found;
}

// --- The page ---

const number = (value) =>
  value > 0 && value < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
const likely = (chance) => (chance > 0.9995 && chance < 1 ? "> 0.999" : number(chance));
const copies = (count) => (count === 1 ? "1 copy" : `${count} copies`);

function outcome(s) {
  const chance = fails(s);
  if (chance === 0) return "does not fail";
  if (s.copies === 1) return "fails";
  return s.attackers === "informed" ? "can be made to fail" : `fails with chance ${likely(chance)}`;
}

function sentence(s, alone) {
  const files = s.workers / s.copies;
  const expected = law(s).reduce((sum, chance, k) => sum + chance * k, 0);
  const exact = s.copies === 1 || s.attackers === "informed";
  const start =
    `${s.workers} workers with ${copies(s.copies)} compute ${some(files, "file")}, ` +
    `of which ${number(expected)} ${expected === 1 ? "is" : "are"} distorted${exact ? "" : " on average"}. `;
  const end = (one) => `takes ${number(total(one))} s (modelled) and ${outcome(one)}`;
  const { name, rules } = pipeline(s);
  if (s.copies === 1) return `${start}A round with ${name} ${end(s)}.`;
  return `${start}A round with ${name} (${rules}) ${end(s)}; one with ${pipeline(alone).name} without redundancy ${end(alone)}.`;
}

const total = (s) => seconds(s).reduce((sum, part) => sum + part, 0);

function element(tag, text, inside = []) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...inside);
  return made;
}

// A row of cells that ends in a bar of parts [share of the width, class].
function row(cells, parts) {
  const bars = parts.map(([share, kind]) => {
    const bar = element("span", "");
    bar.className = kind;
    bar.style.width = `${100 * share}%`;
    return bar;
  });
  const bar = element("td", "", bars);
  bar.className = "bar";
  return element("tr", "", [...cells.map((text) => element("td", text)), bar]);
}

function fill(s, alone) {
  const rows = law(s).map((chance, k) => {
    const broken = breaks(s, k);
    const parts = [[chance * (1 - broken), "chance"], [chance * broken, "fails"]];
    return chance && row([k, likely(chance), likely(broken)], parts);
  });
  at("law").replaceChildren(...rows.filter(Boolean));
  const shown = s.copies === 1 ? [s] : [s, alone];
  const longest = Math.max(...shown.map(total));
  const kinds = ["compute", "communication", "aggregation"];
  const times = shown.map((one) => {
    const parts = seconds(one);
    return row(
      [pipeline(one).name, number(total(one)), ...parts.map(number)],
      parts.map((part, place) => [part / longest, kinds[place]]),
    );
  });
  at("times").replaceChildren(...times);
}

function advise(text, other) {
  at("nearest").hidden = !other;
  if (!other) return;
  const link = element("a", `${other.workers} workers, ${other.byzantine} of them Byzantine, ${copies(other.copies)}`);
  link.href = fragment(other);
  at("nearest").replaceChildren(text, link, ".");
}

function show() {
  const s = setting();
  for (const name of NAMES.filter((name) => at(name).type === "range")) {
    const text = value(name) + (UNITS[name] || "");
    document.querySelector(`output[for=${name}]`).textContent = text;
    at(name).setAttribute("aria-valuetext", text);
  }
  const refused = refusal(s);
  at("filled").hidden = refused !== "";
  if (refused) {
    at("sentence").textContent = refused;
    advise("The nearest setting that works: ", nearest(s, () => true, 0));
    return;
  }
  const alone = { ...s, copies: 1 };
  at("sentence").textContent = sentence(s, alone);
  fill(s, alone);
  const certain = (other) => !fails({ ...other, attackers: "informed" });
  const safe = fails(s) ? nearest(s, certain, s.byzantine) : null;
  advise("The nearest setting with which it cannot fail: ", safe);
}

for (const name of NAMES) {
  at(name).addEventListener("input", show);
  at(name).addEventListener("change", () => location.replace(fragment(setting())));
}
addEventListener("hashchange", read);
read();
