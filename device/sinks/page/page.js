"use strict";
// The image is an MJPEG stream, everything else comes as server-sent events. Both reconnect after a restart of the server.
const element = (id) => document.getElementById(id);
const entries = [];
const HISTORY_LENGTH_S = 180; // one entry per second
let people = 0;
let connected = false;

function showState(state, isHealthy) {
  element("state").textContent = state;
  element("dot").className = isHealthy === null ? "" : isHealthy ? "healthy" : "failed";
}

function loadImage() {
  element("image").src = "stream.mjpg?" + Date.now();
}

function showStages(stagesMs) {
  const maxMs = Math.max(...Object.values(stagesMs), 1);
  element("stages").replaceChildren(...Object.entries(stagesMs).map(([name, ms]) => {
    const row = document.createElement("div");
    const meter = document.createElement("meter");
    meter.max = maxMs;
    meter.value = ms;
    const label = document.createElement("span");
    label.textContent = name;
    const value = document.createElement("span");
    value.textContent = ms.toFixed(ms < 10 ? 2 : 1) + " ms";
    row.append(label, meter, value);
    return row;
  }));
}

function plotHistory() {
  const canvas = element("history");
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  for (const [key, color, minTop] of [["fps", "--blue", 5], ["people", "--amber", 4]]) {
    const top = Math.max(minTop, ...entries.map((entry) => entry[key])) * 1.15;
    context.strokeStyle = style.getPropertyValue(color);
    context.lineWidth = 2;
    context.beginPath();
    entries.forEach((entry, i) => {
      const x = width - (entries.length - 1 - i) * width / (HISTORY_LENGTH_S - 1);
      context.lineTo(x, height - 3 - entry[key] / top * (height - 18));
    });
    context.stroke();
    const last = entries[entries.length - 1];
    if (last) {
      context.fillStyle = context.strokeStyle;
      context.font = "11px system-ui, sans-serif";
      context.textAlign = "right";
      context.fillText(key === "fps" ? last[key].toFixed(1) : last[key], width - 2, Math.max(11, height - 8 - last[key] / top * (height - 18)));
    }
  }
}

function showStats(snapshot) {
  showState(snapshot.state + (snapshot.level ? ", slowed down by heat" : ""), snapshot.state === "running" && !snapshot.problem);
  element("fps").textContent = snapshot.fps.toFixed(1);
  element("latency").textContent = snapshot.latency_ms.toFixed(0) + " ms";
  element("temperature").textContent = snapshot.temperature_c === null ? "-" : snapshot.temperature_c.toFixed(0) + " °C";
  element("problem").textContent = [snapshot.problem, ...snapshot.flags].filter(Boolean).join(", ");
  element("more").textContent = `${snapshot.model}, ${snapshot.processed} frames, ${snapshot.dropped} dropped, ` +
    `${snapshot.memory_mb === null ? "-" : snapshot.memory_mb.toFixed(0)} MB, up ${(snapshot.uptime_s / 60).toFixed(0)} min`;
  showStages(snapshot.stages_ms);
  entries.push({ fps: snapshot.fps, people });
  if (entries.length > HISTORY_LENGTH_S) entries.shift();
  plotHistory();
}

const events = new EventSource("poses");
events.addEventListener("poses", (event) => {
  people = JSON.parse(event.data).poses.length;
  element("people").textContent = people;
});
events.addEventListener("stats", (event) => showStats(JSON.parse(event.data)));
events.addEventListener("open", () => {
  if (!connected) loadImage();
  connected = true;
});
events.addEventListener("error", () => {
  connected = false;
  showState("no connection", false);
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
});
element("image").addEventListener("error", () => { if (connected) setTimeout(loadImage, 1000); });
window.addEventListener("resize", plotHistory);
