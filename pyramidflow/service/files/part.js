import { element, mark } from "./common.js";

const picture = document.getElementById("picture");
const heat = document.getElementById("heat");

function missing() {
  picture.hidden = true;
  document.getElementById("no-picture").hidden = false;
}
picture.addEventListener("error", missing);
if (picture.complete && picture.naturalWidth === 0) missing();
heat.addEventListener("change", () => {
  picture.hidden = false;
  document.getElementById("no-picture").hidden = true;
  picture.src = heat.checked ? picture.dataset.heat : picture.dataset.plain;
  picture.alt = heat.checked ? "The part with its heat map" : "The part";
});

for (const box of document.querySelectorAll(".marks")) {
  const buttons = [...box.querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", async () => {
      const said = await mark(box.dataset, button.dataset.good === "true");
      if (!said) return;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      document.getElementById("said").prepend(element("li", {}, element("b", {}, said.good ? "good" : "bad"), `, says ${said.who} just now`));
    });
  }
}
