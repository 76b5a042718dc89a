const form = document.getElementById("sign-in");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = document.getElementById("wrong");
  wrong.hidden = true;
  const token = document.getElementById("token").value;
  try {
    const answer = await fetch("/api/session", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    if (answer.ok) {
      location.assign(form.dataset.next);
      return;
    }
    wrong.textContent = (await answer.json()).detail;
  } catch {
    wrong.textContent = "The service does not answer.";
  }
  wrong.hidden = false;
});
document.getElementById("token")?.focus();
