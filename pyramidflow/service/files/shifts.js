import { ask, element, number, say } from "./common.js";
import { bars } from "./charts.js";

const choice = document.getElementById("station"), most = document.getElementById("most");
let shifts = [];

// Times stand in the line's own clock, whatever the clock of who looks.
function day(text) { return text.slice(5, 10); }
function clock(text) { return text.slice(11, 16); }
function inspected(shift) { return shift.ok + shift.review + shift.ng; }
function percent(shift) { return shift.ng_share === null ? null : 100 * shift.ng_share; }

function name(shift) { return `${shift.start.slice(0, 10)} ${clock(shift.start)}–${clock(shift.end)}`; }

function row(shift, at) {
  const query = new URLSearchParams({ station: choice.value, since: shift.start, until: shift.end });
  const values = [number(percent(shift)), inspected(shift), shift.ok, shift.review, shift.ng, shift.errors, shift.dropped, shift.late];
  return element("tr", {},
    element("th", { scope: "row", class: "nowrap" }, element("a", { href: `/history?${query}` }, name(shift)), at === 0 ? " (now)" : ""),
    ...values.map((value) => element("td", { class: "number" }, String(value))));
}

function draw() {
  const ordered = [...shifts].reverse();
  const labels = ordered.map((shift) => `${day(shift.start)} ${clock(shift.start)}`);
  const place = (id, series, label) => {
    const box = document.getElementById(id);
    box.replaceChildren(bars(labels, series, label, Math.max(box.clientWidth, 240)));
  };
  place("rate", [{ kind: "bad", values: ordered.map(percent) }], "ng in percent by shift");
  place("counts", [
    { kind: "bar", values: ordered.map(inspected) },
    { kind: "bad", values: ordered.map((shift) => shift.ng) },
  ], "Inspected parts by shift");
  document.getElementById("rows").replaceChildren(...shifts.map(row));
}

async function load() {
  try {
    const found = await ask(`/api/shifts?${new URLSearchParams({ station: choice.value, most: most.value })}`);
    shifts = found.shifts;
    document.getElementById("clock").textContent = found.timezone ? `Clock of ${found.timezone}` : "Clock of the line's machine";
    draw();
  } catch (problem) {
    say(problem.message);
  }
}

choice.addEventListener("change", load);
most.addEventListener("change", load);
addEventListener("resize", draw);
setInterval(() => { if (!document.hidden) load(); }, 60000);
load();
