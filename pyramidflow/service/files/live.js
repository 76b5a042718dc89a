import { ask, badge, canChange, clock, element, markButtons, number, outcome, place } from "./common.js";
import { lines } from "./charts.js";

const SHOWN = 12, KEPT = 300;
const choice = document.getElementById("station");
const state = { parts: [], lastNg: {}, samples: [], totals: {} };
let isPlanned = false;

function station() { return choice.value; }

function picture(part, kind) {
  if (!part.drawn?.length) return element("span", { class: "no-picture" }, part.verdict ? "not drawn" : "no picture");
  const alt = kind === "heat" ? "The part with its heat map" : "The part";
  return element("img", { src: `/api/picture?${place(part)}&kind=${kind}`, alt, loading: "lazy" });
}

function card(part) {
  const name = outcome(part);
  return element("li", { class: name },
    element("a", { href: `/part?${place(part)}` },
      picture(part, "heat"),
      element("span", { class: "text" },
        element("span", { class: "name" }, part.identity),
        badge(name), element("span", {}, number(part.score)), element("span", { class: "soft" }, clock(part.time)))));
}

function drawParts() {
  const list = document.getElementById("parts");
  const wanted = state.parts.filter((part) => part.station === station()).slice(-SHOWN).reverse();
  const there = new Map([...list.children].map((item) => [item.dataset.key, item]));
  list.replaceChildren(...wanted.map((part) => {
    const key = place(part);
    const item = there.get(key) ?? card(part);
    item.dataset.key = key;
    return item;
  }));
  document.getElementById("no-parts").hidden = wanted.length > 0;
}

function drawLastNg() {
  const part = state.lastNg[station()];
  const box = document.getElementById("last-ng");
  if (!part || box.dataset.key === place(part)) return;
  box.dataset.key = place(part);
  const region = part.regions?.[0];
  const where = region ? ` Strongest at x ${region.peak_at[0]}, y ${region.peak_at[1]}.` : "";
  box.replaceChildren(
    element("a", { href: `/part?${place(part)}` }, picture(part, "heat")),
    element("p", {}, badge("ng"), ` ${part.identity}, ${clock(part.time)}`),
    element("p", {}, "Score ", element("b", {}, number(part.score)), `: more than ${number(part.threshold)} is ng.${where}`),
    markButtons(part));
  if (canChange === "sign-in") {
    box.append(element("p", {}, element("a", { href: "/sign-in?next=/" }, "Sign in to say what the part was")));
  }
}

function drawCharts() {
  const name = station();
  const samples = state.samples.filter((sample) => sample.stations[name]);
  const times = samples.map((sample) => sample.time);
  const values = samples.map((sample) => sample.stations[name]);
  const rate = values.map((value, at) => {
    const window = values.slice(Math.max(0, at - 14), at + 1);
    const sum = (key) => window.reduce((total, each) => total + each[key], 0);
    const all = sum("ok") + sum("review") + sum("ng");
    return all ? (100 * sum("ng")) / all : null;
  });
  const show = (id, series, label) => {
    const box = document.getElementById(id);
    box.replaceChildren(lines(times, series, label, Math.max(box.clientWidth, 240)));
  };
  show("rate", [rate], "ng in percent, over half a minute");
  show("latency", [values.map((value) => value.median_ms), values.map((value) => value.slowest_ms)], "Milliseconds");
  show("queue", [values.map((value) => value.waiting)], "Waiting parts");
  drawTiles(values);
}

function drawTiles(values) {
  const sum = (key) => values.reduce((total, each) => total + each[key], 0);
  const all = sum("ok") + sum("review") + sum("ng");
  const took = values.findLast((value) => value.median_ms !== null);
  const totals = state.totals[station()] ?? {};
  const tiles = [
    [number(all ? (100 * sum("ng")) / all : null) + (all ? " %" : ""), "ng, last ten minutes"],
    [String(totals.ng ?? "–"), "ng since the start"],
    [String(totals.review ?? "–"), "review"],
    [String(totals.ok ?? "–"), "ok"],
    [String(totals.errors ?? "–"), "errors"],
    [number(took?.median_ms ?? null), "ms, median"],
    [String(values.at(-1)?.waiting ?? "–"), "waiting"],
  ];
  document.getElementById("tiles").replaceChildren(...tiles.map(([value, name]) =>
    element("div", { class: name === "errors" && totals.errors ? "tile alarm" : "tile" }, element("b", {}, value), element("span", {}, name))));
  if (totals.failure) setState(`${station()} ended: ${totals.failure}`, true);
}

function drawPreparing() {
  const names = Object.keys(state.totals).filter((name) => state.totals[name].preparing);
  const box = document.getElementById("preparing");
  box.hidden = names.length === 0;
  box.textContent = names.length ? `${names.join(", ")}: preparing. The detector is made ready for this machine. Parts are inspected as soon as it is done.` : "";
}

function draw() {
  isPlanned = false;
  drawPreparing();
  drawParts();
  drawLastNg();
  drawCharts();
}

function plan() {
  if (!isPlanned) {
    isPlanned = true;
    requestAnimationFrame(draw);
  }
}

function setState(text, isLost) {
  const line = document.getElementById("connection");
  line.textContent = text;
  line.classList.toggle("lost", isLost);
}

async function totals() {
  state.totals = (await ask("/api/status")).stations;
  plan();
}

async function begin() {
  let now;
  try {
    now = await ask("/api/now");
    await totals();
  } catch (problem) {
    setState(problem.message, true);
    setTimeout(begin, 3000);
    return;
  }
  state.parts = now.parts;
  state.lastNg = now.last_ng;
  state.samples = now.samples;
  plan();
  const stream = new EventSource(`/api/events?after=${now.event}`);
  stream.addEventListener("open", () => setState("Connected", false));
  stream.addEventListener("error", () => setState("The line does not answer; trying again …", true));
  stream.addEventListener("part", (event) => {
    const part = JSON.parse(event.data);
    state.parts = [...state.parts, part].slice(-KEPT);
    if (part.verdict === "ng") state.lastNg[part.station] = part;
    plan();
  });
  stream.addEventListener("sample", (event) => {
    const sample = JSON.parse(event.data);
    state.samples = [...state.samples, sample].slice(-KEPT);
    for (const [name, total] of Object.entries(state.totals)) total.preparing = sample.stations[name].preparing;
    plan();
  });
  setInterval(() => { if (!document.hidden) totals().catch(() => {}); }, 5000);
}

choice.addEventListener("change", () => {
  document.getElementById("last-ng").replaceChildren(element("p", { class: "soft" }, "No part was ng since the page watches."));
  delete document.getElementById("last-ng").dataset.key;
  plan();
});
addEventListener("resize", plan);
begin();
