// Says what a reserve means while the slider moves. What the home uses stays in this page.

for (const form of document.querySelectorAll("form.reserve")) {
  const slider = form.querySelector("input[type=range]");
  const load = form.querySelector(".load");
  const output = form.querySelector("output");
  const saved = Number(slider.value);
  const usable = Number(form.dataset.usableWh);
  const most = Number(form.dataset.eventMostWh);
  const rate = Number(form.dataset.usdPerKwh);
  const earns = (percent) => Math.min(most, usable * (100 - percent) / 100) / 1000 * rate;

  const say = () => {
    const percent = Number(slider.value);
    const hours = usable * percent / 100 / 1000 / Math.max(0.1, Number(load.value) || 0.8);
    const change = earns(percent) - earns(saved);
    const dollars = Math.abs(change) < 0.5 ? `up to about $${earns(percent).toFixed(0)} per event`
      : `about $${Math.abs(change).toFixed(0)} per event ${change < 0 ? "less" : "more"} than now`;
    output.textContent = `${percent} % leaves about ${hours.toFixed(hours < 3 ? 1 : 0)} h of backup, ${dollars}.`;
  };
  slider.addEventListener("input", say);
  load.addEventListener("input", say);
  say();
}
