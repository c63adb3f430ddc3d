// Says what a reserve means while the slider moves. What the home uses stays in this page.

const fill = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);

for (const form of document.querySelectorAll("form.reserve")) {
  const slider = form.querySelector("input[type=range]");
  const load = form.querySelector(".load");
  const output = form.querySelector("output");
  const words = form.dataset;
  const kept = Number(words.kept);
  const usable = Number(words.usableWh);
  const usual = Number(words.usualWh);
  // An event begins at the charge there is, and no lower than the last ones did: they took what they took, above
  // the reserve of that time. The reserve of now says nothing of them: a higher one would hide what it costs.
  const last = usual ? Math.min(100, Number(words.usualFloor) + usual / usable * 100) : 0;
  const now = words.charge !== "" ? Number(words.charge) : usual ? 0 : 100;
  const begins = Math.max(now, last);
  const whence = last > now ? words.fromLast : words.charge === "" ? words.fromFull : words.fromNow;
  const above = (percent) => usable * Math.max(0, begins - percent) / 100;
  // After paid events: as in those, less where the reserve leaves less than they took. Before: at most.
  const earns = (percent) => usual
    ? Number(words.usualUsd) * Math.min(1, above(percent) / usual)
    : Math.min(Number(words.eventMostWh), above(percent)) / 1000 * Number(words.usdPerKwh);

  const money = (percent) => {
    const change = earns(percent) - earns(kept);
    if (percent === kept) return fill(usual ? words.usual : words.upTo, { dollars: earns(percent).toFixed(0) });
    if (Math.abs(change) < 0.5) return words.same;
    return fill(change < 0 ? words.less : words.more, { dollars: Math.abs(change).toFixed(0) });
  };
  const say = () => {
    const percent = Number(slider.value);
    const hours = usable * percent / 100 / 1000 / Math.max(0.1, Number(load.value) || 0.8);
    const said = fill(words.says, { percent, hours: hours.toFixed(hours < 3 ? 1 : 0), money: money(percent) });
    output.textContent = `${said} ${fill(whence, { charge: begins.toFixed(0) })}`;
  };
  slider.addEventListener("input", say);
  load.addEventListener("input", say);
  say();
}
