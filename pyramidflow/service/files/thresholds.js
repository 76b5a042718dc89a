import { ask, badge, canChange, element, number, say, who } from "./common.js";
import { histogram } from "./charts.js";

const choice = document.getElementById("station");
const fields = {};
for (const name of ["threshold", "review"]) {
  fields[name] = [document.getElementById(name), document.getElementById(`${name}-number`)];
}
const apply = document.getElementById("apply");
let found = null, now = { threshold: 0, review: 0 }, wanted = { ...now }, timer = 0, again = 0, asked = 0;

function show() {
  if (!found) return;
  for (const [name, pair] of Object.entries(fields)) {
    for (const field of pair) if (field !== document.activeElement || field.type === "range") field.value = field.type === "number" ? Number(wanted[name].toPrecision(6)) : wanted[name];
  }
  const isMoved = wanted.threshold !== now.threshold || wanted.review !== now.review;
  if (apply) apply.disabled = !isMoved;
  const box = document.getElementById("histogram");
  box.replaceChildren(histogram(found, [
    ...(isMoved ? [{ kind: "review", value: now.review, old: true }, { kind: "ng", value: now.threshold, old: true }] : []),
    { kind: "review", value: wanted.review }, { kind: "ng", value: wanted.threshold },
  ], Math.max(box.clientWidth, 240)));
  clearTimeout(timer);
  timer = setTimeout(judge, 150);
}

async function judge() {
  const turn = asked += 1;
  const query = new URLSearchParams({ station: choice.value, threshold: wanted.threshold, review_threshold: wanted.review });
  try {
    const answer = await ask(`/api/whatif?${query}`);
    if (turn === asked) tell(answer);
  } catch (problem) {
    say(problem.message);
  }
}

function tell(answer) {
  const names = { ok: "ok", review: "review", ng: "ng", good_rejected: "good parts (as people said) that are ng", bad_passed: "bad parts (as people said) that are ok" };
  const rows = Object.entries(names).map(([key, name]) => element("tr", {},
    element("th", { scope: "row" }, name),
    ...["before", "after"].map((side) => element("td", { class: "number" }, String(answer[side][key]))),
    element("td", { class: "number" }, signed(answer.after[key] - answer.before[key]))));
  const head = ["", "as judged", "with these", "change"].map((text, at) => element("th", { scope: "col", class: at ? "number" : "" }, text));
  const table = element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
  const changed = answer.named.map((part) => element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `/part?${new URLSearchParams({ station: choice.value, identity: part.identity })}` }, part.identity)),
    element("td", { class: "number" }, number(part.score)),
    element("td", {}, badge(part.before), " → ", badge(part.after)),
    element("td", {}, part.good === null ? "" : part.good ? "said to be good" : "said to be bad")));
  const list = changed.length
    ? element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Changed parts" }, element("table", {}, element("tbody", {}, ...changed)))
    : null;
  document.getElementById("changes").replaceChildren(
    element("p", { id: "changed" }, `${answer.changed} of the last ${answer.parts} parts would have another verdict.`), table, ...(list ? [element("p", {}), list] : []));
}

function signed(value) {
  return value > 0 ? `+${value}` : String(value);
}

function move(name, value) {
  if (!Number.isFinite(value) || value < 0) return;
  wanted[name] = value;
  // The review threshold is never above the other.
  if (wanted.review > wanted.threshold) {
    if (name === "threshold") wanted.review = value; else wanted.threshold = value;
  }
  show();
}

async function load() {
  clearTimeout(again);
  try {
    found = await ask(`/api/scores?${new URLSearchParams({ station: choice.value })}`);
  } catch (problem) {
    say(problem.message);
    return;
  }
  if (found.threshold === null) {
    document.getElementById("about").textContent = `${choice.value} is preparing: its thresholds are known once its detector is ready.`;
    found = null;
    again = setTimeout(load, 2000);
    return;
  }
  now = { threshold: found.threshold, review: found.review_threshold ?? found.threshold };
  wanted = { ...now };
  const most = found.edges.at(-1);
  for (const pair of Object.values(fields)) pair[0].max = most;
  document.getElementById("about").textContent =
    `The last ${found.parts} scores of the detector that works now; heights grow as square roots. Green: said to be good. Red: said to be bad.`;
  show();
}

for (const [name, pair] of Object.entries(fields)) {
  for (const field of pair) field.addEventListener("input", () => move(name, field.valueAsNumber));
}
document.getElementById("back").addEventListener("click", () => { wanted = { ...now }; show(); });
document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (canChange !== "now") return;
  try {
    const moved = { station: choice.value, threshold: wanted.threshold, review_threshold: wanted.review, who: who() };
    const answer = await ask("/api/thresholds", moved);
    say(answer.said);
    await load();
  } catch (problem) {
    say(problem.message);
  }
});
addEventListener("resize", show);
choice.addEventListener("change", load);
load();
