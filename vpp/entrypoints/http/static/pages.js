// Keys for people who do not reach for the mouse, and buttons that act once.

const opened = { key: "" };

addEventListener("keydown", (press) => {
  const typing = press.target.closest("input, select, textarea");
  if (typing || press.ctrlKey || press.metaKey || press.altKey) return;
  if (press.key === "/") {
    const search = document.querySelector("input[data-key='/']");
    const elsewhere = document.querySelector("a[data-key='/']");
    if (search ?? elsewhere) press.preventDefault();
    if (search) search.focus();
    else elsewhere?.click();
  } else if (press.key === "g") {
    opened.key = "g";
    setTimeout(() => { opened.key = ""; }, 1500);
  } else if (press.key === "?") {
    help();
  } else if (/^[a-z]$/.test(press.key)) {
    const alone = press.key === "n";
    if (alone || opened.key === "g") document.querySelector(`a[data-key='${press.key}']`)?.click();
    opened.key = "";
  }
});

// Only what this person may do is named, a search of this page before the one of the fleet; owners' pages
// have no such keys.
function help() {
  const keys = new Map([...document.querySelectorAll("[data-key]")].map((each) => {
    const { key } = each.dataset;
    const words = (each.labels?.[0] ?? each).textContent.trim();
    return [key, `${key === "/" || key === "n" ? key : `g ${key}`} ${words}`];
  }));
  if (!keys.size || document.querySelector("dialog[open]")) return;
  const dialog = document.createElement("dialog");
  dialog.textContent = [...keys.values(), "Esc closes this"].join(" · ");
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// What was typed outlives a login that ended: the page that is come back to is filled as it was left.
const KEPT = "typed ";
const back = new URLSearchParams(location.search).get("again") === "yes";

function keep(form) {
  const typed = [...new FormData(form)].filter(([name]) => name !== "form_token" && name !== "password");
  sessionStorage.setItem(KEPT + new URL(form.action).pathname, JSON.stringify(typed));
}

function fill(form) {
  const typed = sessionStorage.getItem(KEPT + new URL(form.action).pathname);
  if (!typed) return;
  const values = new Map(JSON.parse(typed));
  for (const field of form.elements) {
    if (!field.name || field.name === "form_token" || field.tagName === "BUTTON") continue;
    if (field.type === "checkbox") field.checked = values.get(field.name) === field.value;
    else if (values.has(field.name)) field.value = values.get(field.name);
    field.dispatchEvent(new Event("input"));
  }
}

if (location.pathname !== "/login") {
  if (back) document.querySelectorAll("form[method=post]").forEach(fill);
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(KEPT)) sessionStorage.removeItem(key);
}

// A second click on a form that was sent does nothing; going back makes it usable again.
addEventListener("submit", (sending) => {
  const form = sending.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) sending.preventDefault();
  form.dataset.sent = "yes";
  if (!["/login", "/logout"].includes(new URL(form.action).pathname)) keep(form);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
