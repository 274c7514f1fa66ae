"use strict";
// Charts of the history, drawn by uPlot: one per value, with the same time axis and cursor.
const CHARTS = [
  { key: "people", title: "People", digits: 0, unit: "", minTop: 4, isInteger: true },
  { key: "fps", title: "FPS", digits: 1, unit: "", minTop: 5 },
  { key: "latency_ms", title: "Latency", digits: 0, unit: " ms", minTop: 20 },
  { key: "temperature_c", title: "Temperature", digits: 0, unit: " °C", minTop: 60 },
];
const MAX_AGE_S = 3600;
const samples = { time: [], people: [], fps: [], latency_ms: [], temperature_c: [] };
const plots = new Map();
let rangeS = 900;

const clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit", second: "2-digit" });
const formatTime = (timeS, format) => format.format(new Date(timeS * 1000));

function getColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function formatValue(chart, value) {
  return value === null || value === undefined ? "-" : value.toFixed(chart.digits) + chart.unit;
}

function getTimeRange() {
  const end = samples.time.length ? samples.time[samples.time.length - 1] : Date.now() / 1000;
  return [end - rangeS, end];
}

function getValueRange(chart) {
  const start = getTimeRange()[0];
  const values = samples[chart.key].filter((value, i) => value !== null && samples.time[i] >= start);
  const top = Math.max(chart.minTop, ...values);
  return [0, chart.isInteger ? top + 0.2 : top * 1.08];
}

function makeOptions(chart, width, height) {
  const axis = { stroke: () => getColor("--dim"), font: "12px system-ui, sans-serif", grid: { stroke: () => getColor("--line"), width: 1 }, ticks: { show: false } };
  return {
    width, height, legend: { show: false }, padding: [6, 26, 0, 0],
    cursor: { sync: { key: "history" }, y: false, drag: { x: false, y: false }, points: { size: 8 } },
    scales: { x: { range: getTimeRange }, y: { range: () => getValueRange(chart) } },
    axes: [
      { ...axis, size: 26, gap: 4, space: 70, incrs: [60, 120, 300, 600, 900, 1800], values: (plot, times) => times.map((time) => formatTime(time, clock)) },
      { ...axis, size: 40, gap: 6, space: 28, ...(chart.isInteger ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {}) },
    ],
    series: [{}, {
      stroke: () => getColor(`--${chart.key.split("_")[0]}`), width: 2, points: { show: false },
      ...(chart.isInteger ? { paths: uPlot.paths.stepped({ align: -1 }) } : {}),
    }],
    hooks: { setCursor: [() => showValue(chart)] },
  };
}

function showValue(chart) {
  const { plot, output } = plots.get(chart.key) || {};
  if (!plot) return;
  const values = samples[chart.key], index = plot.cursor.idx;
  const isPointed = plot.cursor.left >= 0 && index !== null && index !== undefined;
  const text = formatValue(chart, values[isPointed ? index : values.length - 1]);
  output.textContent = isPointed ? `${text} at ${formatTime(samples.time[index], clockWithSeconds)}` : text;
}

// What the curve shows, for users who do not see it. It is read when the chart is reached, not announced.
function describe(chart) {
  const start = getTimeRange()[0];
  const values = samples[chart.key].filter((value, i) => value !== null && samples.time[i] >= start);
  if (!values.length) return `${chart.title}, last ${rangeS / 60} minutes: no values`;
  const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => formatValue(chart, value));
  return `${chart.title}, last ${rangeS / 60} minutes: minimum ${low}, maximum ${high}, now ${samples[chart.key].at(-1) === null ? "unknown" : formatValue(chart, samples[chart.key].at(-1))}`;
}

function updateCharts() {
  for (const chart of CHARTS) {
    const { plot, box, root } = plots.get(chart.key);
    // A computer without a temperature sensor has no chart for it.
    root.hidden = samples.time.length > 0 && !samples[chart.key].some((value) => value !== null);
    if (!plot) continue;
    plot.setData([samples.time, samples[chart.key]]);
    box.setAttribute("aria-label", describe(chart));
    showValue(chart);
  }
}

function resizeCharts() {
  for (const { plot, box } of plots.values()) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
}

function createCharts() {
  for (const chart of CHARTS) {
    const root = document.createElement("div"), title = document.createElement("h3"), box = document.createElement("div"), output = document.createElement("output");
    root.className = `chart ${chart.key}`;
    box.className = "plot";
    box.setAttribute("role", "img");
    output.setAttribute("aria-live", "off");
    title.append(chart.title, output);
    root.append(title, box);
    document.getElementById("charts").append(root);
    plots.set(chart.key, { plot: null, box, output, root });
    plots.get(chart.key).plot = new uPlot(makeOptions(chart, box.clientWidth, box.clientHeight), [[], []], box);
  }
  new ResizeObserver(resizeCharts).observe(document.getElementById("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(({ plot }) => plot.redraw(false, true)));
  document.getElementById("range").addEventListener("change", (event) => {
    rangeS = Number(event.target.value);
    updateCharts();
  });
}

async function loadHistory() {
  const answer = await fetch("history").catch(() => null);
  if (!answer || !answer.ok) return;
  Object.assign(samples, await answer.json());
  updateCharts();
}

// Adds a sample of the server. After a change of its clock, or a pause of this tab, the whole history is loaded again.
function addSample(sample) {
  const time = sample.time[0], last = samples.time.at(-1);
  if (last !== undefined && (time <= last || time > last + 30)) {
    loadHistory();
    return;
  }
  for (const key of Object.keys(samples)) samples[key].push(...sample[key]);
  while (samples.time[0] < time - MAX_AGE_S) for (const key of Object.keys(samples)) samples[key].shift();
  updateCharts();
}
