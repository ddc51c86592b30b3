"use strict";
// Comfort only: every page works without it.
for (const select of document.querySelectorAll("select[data-submit]")) {
  // With the arrow keys each step is a change: there the button decides (WCAG 2.1, 3.2.2).
  let byKey = false;
  select.addEventListener("keydown", () => { byKey = true; });
  select.addEventListener("pointerdown", () => { byKey = false; });
  select.addEventListener("change", () => {
    if (!byKey) {
      select.form.requestSubmit();
    }
  });
}
for (const button of document.querySelectorAll("[data-print]")) {
  button.addEventListener("click", () => window.print());
}
// A second press of the same button must not be a second action.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
    }
    form.dataset.sent = "1";
  });
}
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
  }
});
// What is under way renews itself while somebody looks at it.
for (const part of document.querySelectorAll("[data-live]")) {
  setInterval(async () => {
    if (document.hidden) {
      return;
    }
    try {
      const answer = await fetch(part.dataset.live, { credentials: "same-origin", redirect: "error" });
      if (answer.ok) {
        part.innerHTML = await answer.text();
      }
    } catch {
      // the daemon restarts, or the session ended: the page stays as it is
    }
  }, 4000);
}
