// Sorting, filtering, and what is written when it is opened. Texts are set as text, never as HTML.
"use strict";

const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const find = (selector) => document.querySelector(selector);

let parsed = null;
const data = () => (parsed ??= JSON.parse(document.getElementById("data").textContent));

function make(tag, content, attributes = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...[content].flat());
  return element;
}

// The table: rows keep the order they came in where a column does not tell them apart.
const body = find("#settings tbody");
const rows = [...body.rows];
const heads = all("#settings thead th");

function sortBy(column) {
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  all("[aria-sort]").forEach((head) => head.setAttribute("aria-sort", "none"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.sort;
  const there = rows.filter((row) => value(row) !== undefined);
  there.sort((a, b) => (value(a) - value(b)) * (up ? 1 : -1));
  body.append(...there, ...rows.filter((row) => value(row) === undefined));
}

heads.forEach((head, column) => {
  const button = head.querySelector("button");
  if (button) button.addEventListener("click", () => sortBy(column));
});

// Filters, which the runs below follow.
const form = find("#filters");
const places = new Map(heads.map((head, column) => [head.dataset.heading, column]));
// Words are looked for in what a setting is, not in what was measured: 2 is in too many numbers.
const said = new Map(
  rows.map((row) => {
    const names = [...row.cells].filter((cell) => !cell.matches(".number"));
    return [row, names.map((cell) => cell.textContent.toLowerCase()).join(" ")];
  }),
);

function fits(row) {
  const words = find("#search").value.toLowerCase().split(/\s+/);
  const chosen = all("select", form).filter((select) => select.value !== "");
  const text = (select) => row.cells[places.get(select.dataset.heading)].textContent;
  return (
    words.every((word) => said.get(row).includes(word)) &&
    chosen.every((select) => `=${text(select)}` === select.value)
  );
}

function filter() {
  let shown = 0;
  for (const row of rows) {
    row.hidden = !fits(row);
    document.getElementById(row.dataset.setting).hidden = row.hidden;
    shown += row.hidden ? 0 : 1;
  }
  find("#count").textContent = `${shown} of ${rows.length} settings`;
  find("#nothing").hidden = shown > 0;
  const note = find("#runs-shown");
  note.hidden = shown === rows.length;
  note.textContent = `Of ${shown} of ${rows.length} settings, as the table is filtered.`;
}

function clear() {
  form.reset();
  filter();
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
find("#clear").addEventListener("click", clear);

// What a link points at is opened.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  const setting = target.closest(".setting");
  if (setting && setting.hidden) {
    clear();
  }
  const run = target.matches(".run") ? target : setting?.querySelector(".run");
  if (run) run.open = true;
  if (setting) target.scrollIntoView();
}

window.addEventListener("hashchange", reveal);

// Plans and configurations are written when they are opened: there can be hundreds.
const region = (label) => ({ tabindex: "0", role: "region", "aria-label": label });

function table(label, headings, lines) {
  const cell = (text, column, tag) =>
    make(tag, text, headings[column][1] ? { class: headings[column][1] } : {});
  const head = headings.map(([text], column) => {
    const made = cell(text, column, "th");
    made.scope = "col";
    return made;
  });
  const row = (line) => line.map((text, column) => cell(text, column, "td"));
  const made = lines.map((line) => make("tr", row(line)));
  const content = make("table", [make("thead", make("tr", head)), make("tbody", made)]);
  return make("div", content, { class: "scroll", ...region(label) });
}

function writePlan(place, into) {
  const { texts, structures, runs } = data();
  const run = runs[place];
  const groups = structures[run.structure].map(([id, channels, exact, members], i) => {
    const [gone, which] = run.groups[i];
    const names = members.map(([name, axis]) => `${texts[name]} axis ${axis}`).join(", ");
    const count = `${channels} → ${channels - gone}`;
    return [`${id}`, count, exact ? "yes" : "approximate", texts[which] || "none", names];
  });
  const parameters = run.parameters.map(([name, axis, size, gone, which, uses]) => [
    texts[name] + (texts[uses] && ` (${texts[uses]})`),
    `${axis}`,
    `${size} → ${size - gone}`,
    texts[which],
  ]);
  into.append(
    ...run.notes.map((note) => make("p", texts[note], { class: "note" })),
    make("h4", "Groups"),
    table(
      "Groups",
      [["group"], ["channels"], ["exact"], ["channels gone", "wrap"], ["members", "wrap"]],
      groups,
    ),
    make("h4", "Parameters"),
    table("Parameters", [["parameter"], ["axis"], ["size"], ["indices gone", "wrap"]], parameters),
  );
}

function writeOpened(details) {
  const place = details.closest(".run")?.dataset.run;
  if (!details.open || details.dataset.written || !details.matches(".plan, .config")) return;
  details.dataset.written = "yes";
  if (details.matches(".plan")) {
    writePlan(place, details);
  } else {
    const { texts, runs } = data();
    details.append(make("pre", texts[runs[place].config], region("Configuration")));
  }
}

document.addEventListener("toggle", (event) => writeOpened(event.target), true);

// A graph is drawn once for all runs of a network; the run that is chosen writes its numbers.
function showRun(graph, place, name) {
  const { runs } = data();
  for (const box of all(".group", graph)) {
    const channels = Number(box.dataset.channels);
    const [gone] = runs[place].groups[Number(box.dataset.place)];
    const share = channels ? gone / channels : 0;
    const width = Number(box.dataset.inner) * share;
    box.querySelector(".channels").textContent = `${channels} → ${channels - gone}`;
    box.querySelector(".share").textContent = gone ? `−${(100 * share).toFixed(0)} %` : "0 %";
    box.querySelector(".gone").setAttribute("width", width.toFixed(1));
  }
  graph.querySelector(".shown").textContent = `Numbers of run ${name}`;
}

for (const graph of all(".graph")) {
  const chooser = graph.querySelector(".chooser");
  const box = graph.querySelector(".scroll");
  const drawn = box.firstElementChild;
  const first = drawn.querySelector(".group");
  const left = first.transform.baseVal[0].matrix.e;
  // A wide graph starts at its first box, not at the empty corner left of it.
  box.scrollLeft = left + first.getBBox().width / 2 - box.clientWidth / 2;
  if (!chooser) continue;
  chooser.hidden = false;
  chooser.addEventListener("change", (event) => {
    const { value, selectedOptions } = event.target;
    showRun(graph, value, selectedOptions[0].textContent);
  });
}

reveal();
