// Puts newer HTML in the place of older; whoever stands in it by keyboard stays where they were.

const STANDS = "a, button, input, select, summary, [tabindex]";

export function replace(place, html) {
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  const before = held ? [...place.querySelectorAll(STANDS)].filter((each) => alike(each, held)) : [];
  place.innerHTML = html;
  if (held) [...place.querySelectorAll(STANDS)].filter((each) => alike(each, held))[before.indexOf(held)]?.focus();
}

function alike(one, other) {
  return one.tagName === other.tagName && one.getAttribute("href") === other.getAttribute("href");
}
