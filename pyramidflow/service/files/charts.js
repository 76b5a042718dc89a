import { number, shape } from "./common.js";

const HEIGHT = 120, LEFT = 44, BOTTOM = 18, TOP = 8, RIGHT = 8, LABEL = 86;

/** Lines over time; what is null leaves a gap. */
export function lines(times, series, label, width) {
  const known = series.flat().filter((value) => value !== null);
  const most = nice(Math.max(...known, 0));
  const first = times[0] ?? 0, span = Math.max((times.at(-1) ?? 1) - first, 60);
  const x = (time) => LEFT + ((time - first) / span) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const now = known.length ? `now ${number(last(series[0]))}, at most ${number(Math.max(...known))}` : "nothing yet";
  const chart = frame(width, HEIGHT, `${label}: ${now}`);
  for (const value of [0, most / 2, most]) {
    chart.append(
      shape("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  if (times.length) {
    chart.append(
      shape("text", { x: LEFT, y: HEIGHT - 3 }, new Date(first * 1000).toLocaleTimeString()),
      shape("text", { x: width - RIGHT, y: HEIGHT - 3, "text-anchor": "end" }, new Date((first + span) * 1000).toLocaleTimeString()));
  }
  series.forEach((values, index) => {
    let path = "", is_down = false;
    values.forEach((value, at) => {
      if (value !== null) path += `${is_down ? "L" : "M"}${x(times[at]).toFixed(1)} ${y(value).toFixed(1)}`;
      is_down = value !== null;
      const alone = value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
      if (alone && index === 0) chart.append(shape("circle", { class: "dot", cx: x(times[at]), cy: y(value), r: 2.5 }));
    });
    chart.append(shape("path", { class: index ? "two" : "one", d: path || "M0 0" }));
  });
  return chart;
}

/** Counts of scores, with lines at thresholds: {value, kind, old}. */
export function histogram(found, thresholds, width) {
  const height = 260, edges = found.edges;
  const most = Math.max(...found.all, 1);
  const x = (value) => LEFT + (Math.min(value, edges.at(-1)) / edges.at(-1)) * (width - LEFT - RIGHT);
  const y = (count) => TOP + 16 + (1 - Math.sqrt(count / most)) * (height - TOP - 16 - BOTTOM);
  const said = thresholds.map((line) => `${line.kind} ${number(line.value)}`).join(", ");
  const chart = frame(width, height, `Histogram of ${found.parts} scores; ${said}`);
  [0, most].forEach((count) => chart.append(
    shape("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(count), y2: y(count) }),
    shape("text", { x: LEFT - 6, y: y(count) + 4, "text-anchor": "end" }, String(count))));
  ["all", "good", "bad"].forEach((kind, index) => found[kind].forEach((count, bin) => {
    if (!count) return;
    const left = x(edges[bin]), wide = x(edges[bin + 1]) - left - 1;
    const part = index ? wide / 2 : wide;
    chart.append(shape("rect", {
      class: index ? kind : "bar", x: left + (index === 2 ? wide / 2 : 0), width: Math.max(part, 1),
      y: y(count), height: y(0) - y(count),
    }));
  }));
  for (let part = 0; part <= 4; part += 1) {
    const value = (edges.at(-1) * part) / 4;
    const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    chart.append(shape("text", { x: x(value), y: height - 3, "text-anchor": anchor }, `${number(value)}${part === 4 ? " and more" : ""}`));
  }
  for (const line of thresholds) {
    const kind = line.kind === "ng" ? "threshold" : "review";
    chart.append(shape("line", { class: `${kind}${line.old ? " old" : ""}`, x1: x(line.value), x2: x(line.value), y1: TOP + 14, y2: y(0) }));
    if (!line.old) chart.append(shape("text", { class: kind, x: x(line.value) + (line.kind === "ng" ? 3 : -3), y: TOP + 8, "text-anchor": line.kind === "ng" ? "start" : "end" }, line.kind === "ng" ? "ng →" : "review →"));
  }
  return chart;
}

/** Bars side by side, the series before one another: {kind, values}; what is null has none. */
export function bars(labels, series, label, width) {
  const known = series[0].values.filter((value) => value !== null);
  const most = nice(Math.max(...known, 0)), step = (width - LEFT - RIGHT) / Math.max(labels.length, 1);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const now = known.length ? `now ${number(known.at(-1))}, at most ${number(Math.max(...known))}` : "nothing yet";
  const chart = frame(width, HEIGHT, `${label}: ${now}; the table has the numbers`);
  for (const value of [0, most / 2, most]) {
    chart.append(
      shape("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  for (const { kind, values } of series) {
    values.forEach((value, at) => {
      if (value) chart.append(shape("rect", {
        class: kind, x: LEFT + at * step + 1, width: Math.max(step - 2, 1), y: y(value), height: y(0) - y(value),
      }));
    });
  }
  const every = Math.ceil(LABEL / step);
  labels.forEach((text, at) => {
    const isLast = at === labels.length - 1, leavesRoom = at * step + 2 * LABEL <= width - LEFT - RIGHT;
    if (isLast || (at % every === 0 && leavesRoom)) chart.append(shape("text", {
      x: LEFT + (at + (isLast ? 1 : 0)) * step, y: HEIGHT - 3, "text-anchor": isLast ? "end" : "start",
    }, text));
  });
  return chart;
}

function frame(width, height, label) {
  return shape("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function last(values) {
  return values.findLast((value) => value !== null) ?? null;
}

function nice(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}
