// Keeps every board on the page fresh by asking again every 1.2 seconds; no socket is held.
// A page that nobody looks at does not ask; a board that cannot be refreshed says so.

import { replace } from "/static/parts.js";

const EVERY_MS = 1200;
const LATE_MS = 3000;
const notice = document.getElementById("connection");
const places = [...document.querySelectorAll("[data-board]")];
const tags = new Map();
let fresh = Date.now();
let older = "";

async function refresh(place) {
  const tag = tags.get(place);
  const answer = await fetch(place.dataset.board, {
    headers: { "X-Fragment": "1", ...(tag ? { "If-None-Match": tag } : {}) },
    signal: AbortSignal.timeout(2500),
  });
  if (answer.status === 401) {
    location.assign(place.dataset.page); // the session is over: the login page leads back here
    return;
  }
  fresh = answer.ok || answer.status === 304 ? Date.now() : fresh;
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(String(answer.status));
  const found = answer.headers.get("ETag");
  if (found !== tag) {
    replace(place, await answer.text());
    tags.set(place, found);
    const state = place.querySelector("[data-state]")?.dataset.state;
    if (place.dataset.state && state && state !== place.dataset.state) changed(place, state);
  }
}

// What stands around one event's board, such as its commands, is made for the state that it had.
function changed(place, state) {
  if ([...document.querySelectorAll("main input:not([type=hidden])")].every((field) => !field.value)) {
    location.assign(place.dataset.page);
  } else {
    older = `▲ The event is ${state.replaceAll("_", " ")} now. What stands below the board is older; open the page again.`;
  }
}

async function turn() {
  if (!document.hidden) {
    await Promise.allSettled(places.map(refresh));
    const late = Date.now() - fresh;
    notice.textContent = late > LATE_MS
      ? `▲ Not live: no answer for ${Math.round(late / 1000)} s. The figures below are old.`
      : older;
  }
  setTimeout(turn, EVERY_MS);
}

if (places.length) setTimeout(turn, EVERY_MS);
