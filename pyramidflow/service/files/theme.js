"use strict";
// Before the page is drawn, so that it does not flash.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      const isDark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    });
    const who = document.getElementById("who");
    if (who) {
      who.value = localStorage.getItem("who") ?? "";
      who.addEventListener("change", () => localStorage.setItem("who", who.value));
    }
    document.getElementById("sign-out")?.addEventListener("click", async () => {
      await fetch("/api/session", { method: "DELETE" });
      location.reload();
    });
  });
})();
