"use strict";
// The image is an MJPEG stream, everything else comes as server-sent events. Both reconnect after a restart of the server.
const element = (id) => document.getElementById(id);
const NOTICES = { "starting": "Waiting for the first image", "camera lost": "Camera lost. This image is old.", "paused": "Paused" };
let isConnected = false, isPaused = false;

// Screen readers announce some of these texts, so an equal text is not set again.
function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function showState(state, level) {
  setText("state", state);
  element("state").className = level;
}

function loadImage() {
  element("image").src = "stream.mjpg?" + Date.now();
}

// An old image must not look live: while the loop is paused, there is none.
function showPause(isNowPaused) {
  if (isNowPaused && !isPaused) element("image").removeAttribute("src");
  if (isPaused && !isNowPaused) loadImage();
  if (isNowPaused !== isPaused) setOverlayLive(!isNowPaused);
  isPaused = isNowPaused;
  element("snapshot").hidden = isPaused;
}

function setNumber(id, value, digits, unit) {
  const number = value === null ? "-" : value.toFixed(digits);
  const small = document.createElement("small");
  small.textContent = unit;
  element(id).replaceChildren(number, ...(value === null || !unit ? [] : [small]));
}

function makeRow(name, ...values) {
  const row = document.createElement("div"), term = document.createElement("dt"), definition = document.createElement("dd");
  term.textContent = name;
  definition.append(...values);
  row.append(term, definition);
  return row;
}

function makeBar(share) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  bar.setAttribute("width", `${100 * share}%`);
  bar.setAttribute("height", "100%");
  svg.setAttribute("aria-hidden", "true");
  svg.append(bar);
  return svg;
}

function showStages(stagesMs) {
  element("timings").hidden = !Object.keys(stagesMs).length;
  const maxMs = Math.max(...Object.values(stagesMs), 1);
  element("stages").replaceChildren(...Object.entries(stagesMs).map(([name, ms]) => {
    const value = document.createElement("span");
    value.textContent = ms.toFixed(ms < 10 ? 2 : 1) + " ms";
    return makeRow(name[0].toUpperCase() + name.slice(1), makeBar(ms / maxMs), value);
  }));
}

function formatDuration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

function showDetails(snapshot) {
  const count = (number) => number.toLocaleString("en-US");
  setText("model", snapshot.model);
  setText("frames", `${count(snapshot.processed)} processed, ${count(snapshot.dropped)} dropped`);
  setText("memory", snapshot.memory_mb === null ? "-" : `${snapshot.memory_mb.toFixed(0)} MB`);
  setText("uptime", formatDuration(snapshot.uptime_s));
}

function showStats(snapshot) {
  const isRunning = snapshot.state === "running";
  const isFault = !isRunning && !["starting", "paused"].includes(snapshot.state);
  showState(snapshot.state + (snapshot.level ? ", slowed down by heat" : ""), isFault ? "bad" : isRunning && !snapshot.problem ? "good" : "wait");
  showPause(snapshot.state === "paused");
  setNumber("fps", isRunning ? snapshot.fps : null, 1, "");
  setNumber("latency", isRunning ? snapshot.latency_ms : null, 0, "ms");
  setNumber("temperature", snapshot.temperature_c, 0, "°C");
  if (!isRunning) setText("people", "-");
  setText("problem", [snapshot.problem, ...snapshot.flags].filter(Boolean).join(", "));
  setText("notice", NOTICES[snapshot.state] || "");
  showStages(snapshot.stages_ms);
  showDetails(snapshot);
}

function showMessage(message) {
  setText("people", String(message.poses.length));
  setText("source", message.source);
  setText("resolution", `${message.width} × ${message.height}`);
  drawPeople(message.poses);
}

function makeSnapshotName() {
  const now = new Date();
  const local = new Date(now - now.getTimezoneOffset() * 60000).toISOString().slice(0, 19).replaceAll(":", "-");
  return `${element("name").textContent} ${local}.jpg`;
}

function connect() {
  const events = new EventSource("poses");
  events.addEventListener("poses", (event) => showMessage(JSON.parse(event.data)));
  events.addEventListener("stats", (event) => showStats(JSON.parse(event.data)));
  events.addEventListener("sample", (event) => addSample(JSON.parse(event.data)));
  events.addEventListener("rules", (event) => {
    const message = JSON.parse(event.data);
    showRules(message);
    showOverlay(message);
  });
  events.addEventListener("event", (event) => showEvent(JSON.parse(event.data)));
  events.addEventListener("open", () => {
    if (!isConnected) {
      isPaused = false;
      setOverlayLive(true);
      loadImage();
      loadHistory();
      loadEvents();
    }
    isConnected = true;
  });
  events.addEventListener("error", () => {
    isConnected = false;
    showState("no connection", "bad");
    setText("notice", isPaused ? "No connection" : "No connection. This image is old.");
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
  });
}

element("image").addEventListener("error", () => { if (isConnected && !isPaused) setTimeout(loadImage, 1000); });
element("snapshot").addEventListener("click", () => { element("snapshot").download = makeSnapshotName(); });
element("fullscreen").hidden = !document.fullscreenEnabled;
element("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else element("camera").requestFullscreen();
});
document.addEventListener("fullscreenchange", () => {
  element("fullscreen").querySelector("span").textContent = document.fullscreenElement ? "Exit full screen" : "Full screen";
});
if (location.search) history.replaceState(null, "", location.pathname);
createCharts();
createOverlay();
connect();
