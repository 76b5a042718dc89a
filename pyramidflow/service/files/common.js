// What every page needs. Text from outside only ever becomes text: no string is parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const canChange = document.body.dataset.canChange;

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  return Number(value.toPrecision(4)).toString();
}

export function clock(time) {
  return new Date(time).toLocaleTimeString();
}

export function outcome(part) {
  return part.verdict ?? (part.dropped ? "dropped" : "error");
}

export function badge(name) {
  return element("span", { class: `badge ${name}` }, name);
}

export function place(part) {
  return new URLSearchParams({ station: part.station, identity: part.identity }).toString();
}

export function say(text) {
  const line = document.getElementById("message");
  line.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { line.textContent = ""; }, 6000);
}

export async function ask(url, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new Error("The service does not answer.");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!answer.ok) throw new Error(found.detail ?? `The service says ${answer.status}.`);
  return found;
}

export function who() {
  const field = document.getElementById("who");
  const name = field?.value.trim() ?? "";
  if (!name) {
    field?.focus();
    throw new Error("Give your name first, above.");
  }
  return name;
}

export async function mark(part, good) {
  try {
    const said = { station: part.station, identity: part.identity, good, who: who() };
    await ask("/api/marks", said);
    say(`Kept: ${part.identity} was ${good ? "good" : "bad"}.`);
    return said;
  } catch (problem) {
    say(problem.message);
    return null;
  }
}

export function markButtons(part) {
  const box = element("div", { class: "marks" });
  if (canChange !== "now") return box;
  const buttons = [true, false].map((good) =>
    element("button", { type: "button", "aria-pressed": String(part.marked_good === good) }, good ? "Was good" : "Was bad"));
  buttons.forEach((button, place) => button.addEventListener("click", async () => {
    if (await mark(part, place === 0)) {
      part.marked_good = place === 0;
      buttons.forEach((other, index) => other.setAttribute("aria-pressed", String(index === place)));
    }
  }));
  box.append(...buttons);
  return box;
}
