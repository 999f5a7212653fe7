// The page works without this but for its dialogs: it copies, asks before it changes anything, and
// looks again while something is under way.
"use strict";

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-dialog], [data-close]");
  if (!target) return;
  if (target.dataset.copy !== undefined) {
    navigator.clipboard?.writeText(target.dataset.copy).then(() => {
      target.classList.add("copied");
      setTimeout(() => target.classList.remove("copied"), 1500);
    });
  } else if (target.dataset.dialog) {
    document.getElementById(target.dataset.dialog).showModal();
  } else {
    target.closest("dialog").close();
  }
});

// Nobody wants the page to change while they type, decide or mark what they copy.
function isBusy() {
  return document.hidden || document.querySelector("dialog[open]") || !getSelection().isCollapsed ||
    document.activeElement?.matches("#live input");
}

async function lookAgain() {
  const live = document.getElementById("live");
  if (!live?.dataset.refresh) return;
  if (!isBusy()) {
    try {
      const answer = await fetch(location.href, { redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload(); // logged out
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const seen = page.getElementById("live");
        if (seen && !isBusy()) {
          live.replaceWith(seen);
          document.title = page.title;
        }
      }
    } catch {
      // the page is away for a moment; it is asked again
    }
  }
  plan();
}

function plan() {
  const seconds = Number(document.getElementById("live")?.dataset.refresh);
  if (seconds) setTimeout(lookAgain, seconds * 1000);
}

document.addEventListener("DOMContentLoaded", plan);
