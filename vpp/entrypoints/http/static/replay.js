// Plays a stored event sixty times as fast, or shows the moment that the slider names.

const frames = JSON.parse(document.getElementById("frames")?.textContent ?? "[]");
const slider = document.getElementById("frame");
const button = document.getElementById("play");
const FASTER = 60;
let playing = 0;

const section = document.getElementById("replay");
const zone = section?.dataset.zone;
const from = Number(section?.dataset.from);
const until = Number(section?.dataset.until);
const chart = document.querySelector("#replay .chart");
const clock = (at) => new Date(at).toLocaleTimeString("en-US", { timeZone: zone, timeZoneName: "short" });
const power = (watts) => Math.abs(watts) >= 1e6 ? `${(watts / 1e6).toFixed(1)} MW` : `${(watts / 1000).toFixed(1)} kW`;

function show() {
  const frame = frames[Number(slider.value)];
  for (const place of document.querySelectorAll("[data-show]")) {
    const name = place.dataset.show;
    const value = frame[name];
    place.textContent = value === null ? "not known" : name === "at" ? clock(value)
      : name.endsWith("_w") ? power(value) : value.toLocaleString("en-US");
  }
  mark(frame.at);
  slider.setAttribute("aria-valuetext", clock(frame.at));
}

// The line of the moment, on the chart's own scale.
function mark(at) {
  const line = chart?.querySelector(".now");
  if (!line) return;
  const part = (Date.parse(at) / 1000 - from) / (until - from || 1);
  const left = Number(line.dataset.left);
  const x = String(left + part * (Number(line.dataset.right) - left));
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}

function next() {
  const place = Number(slider.value);
  if (place + 1 >= frames.length) return stop();
  slider.value = String(place + 1);
  show();
  const gap = new Date(frames[place + 1].at) - new Date(frames[place].at);
  playing = setTimeout(next, Math.max(20, gap / FASTER));
}

function stop() {
  clearTimeout(playing);
  playing = 0;
  button.textContent = "▶ Play, 60 times as fast";
}

if (frames.length) {
  slider.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(slider.value) + 1 >= frames.length) slider.value = "0";
    button.textContent = "❚❚ Pause";
    show();
    playing = setTimeout(next, 20);
  });
  show();
}
