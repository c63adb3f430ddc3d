// Measures how long this page's server takes to answer, as an operator feels it.

const place = document.getElementById("latency");

async function measure() {
  const began = performance.now();
  const answer = await fetch("/health/live", { cache: "no-store" }).catch(() => null);
  place.textContent = answer?.ok ? `${Math.round(performance.now() - began)} ms` : "✖ no answer";
}

measure();
setInterval(measure, 5000);
