// Keeps the parts of a page that say how things are now from growing old: asks for the page again every 10 s,
// and at once when somebody comes back to it; sooner while a part says that it is about to change. What cannot be
// asked for again says so; it is never shown as live.

import { replace } from "/static/parts.js";

const EVERY_MS = 10_000;
const SOON_MS = 1_500;
// A page that answers a form stands at the form's address, where nothing can be asked for.
const from = document.querySelector("[data-from]")?.dataset.from ?? location.href;
const parts = [...document.querySelectorAll("[data-now]")];

async function turn() {
  if (!document.hidden) {
    try {
      const answer = await fetch(from, { headers: { "X-Fragment": "1" }, signal: AbortSignal.timeout(8000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts) {
        const found = newer.getElementById(part.id);
        if (found && found.innerHTML !== part.innerHTML) replace(part, found.innerHTML);
      }
      say(false);
    } catch {
      say(true);
    }
  }
  goOn();
}

let sooner = 0;
function goOn() {
  clearTimeout(sooner);
  if (document.querySelector("[data-soon]")) sooner = setTimeout(turn, SOON_MS);
}

function say(old) {
  document.body.classList.toggle("old", old);
  for (const note of document.querySelectorAll(".oldnote")) note.hidden = !old;
}

setInterval(turn, EVERY_MS);
goOn();
document.addEventListener("visibilitychange", turn);
