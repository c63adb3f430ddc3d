// Keys for people who do not reach for the mouse, and buttons that act once.

const opened = { key: "" };

addEventListener("keydown", (press) => {
  const typing = press.target.closest("input, select, textarea");
  if (typing || press.ctrlKey || press.metaKey || press.altKey) return;
  if (press.key === "/") {
    const search = document.querySelector("input[data-key='/']");
    if (search) {
      press.preventDefault();
      search.focus();
    }
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

function help() {
  const dialog = document.createElement("dialog");
  dialog.textContent = "/ search · g b board · g e events · g f fleet · g m map · g h health · g t trail · n new event · Esc closes this";
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// A second click on a form that was sent does nothing; going back makes it usable again.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (sending) => {
    if (form.dataset.sent) sending.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
