"use strict";
// Live image by MJPEG, everything else by server-sent events; both come back by themselves after a restart.
const at = (id) => document.getElementById(id);
const history_ = [];
const KEPT = 180; // seconds
let people = 0;
let connected = false;

function show(state, well) {
  at("state").textContent = state;
  at("dot").className = well === null ? "" : well ? "well" : "bad";
}

function picture() {
  at("image").src = "stream.mjpg?" + Date.now();
}

function stages(times) {
  const whole = Math.max(...Object.values(times), 1);
  at("stages").replaceChildren(...Object.entries(times).map(([name, ms]) => {
    const row = document.createElement("div");
    const meter = document.createElement("meter");
    meter.max = whole;
    meter.value = ms;
    const label = document.createElement("span");
    label.textContent = name;
    const value = document.createElement("span");
    value.textContent = ms.toFixed(ms < 10 ? 2 : 1) + " ms";
    row.append(label, meter, value);
    return row;
  }));
}

function plot() {
  const canvas = at("history");
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  for (const [key, color, least] of [["fps", "--blue", 5], ["people", "--amber", 4]]) {
    const top = Math.max(least, ...history_.map((moment) => moment[key])) * 1.15;
    pen.strokeStyle = style.getPropertyValue(color);
    pen.lineWidth = 2;
    pen.beginPath();
    history_.forEach((moment, i) => {
      const x = width - (history_.length - 1 - i) * width / (KEPT - 1);
      pen.lineTo(x, height - 3 - moment[key] / top * (height - 18));
    });
    pen.stroke();
    const last = history_[history_.length - 1];
    if (last) {
      pen.fillStyle = pen.strokeStyle;
      pen.font = "11px system-ui, sans-serif";
      pen.textAlign = "right";
      pen.fillText(key === "fps" ? last[key].toFixed(1) : last[key], width - 2, Math.max(11, height - 8 - last[key] / top * (height - 18)));
    }
  }
}

function stats(snapshot) {
  show(snapshot.state + (snapshot.level ? ", slowed by heat" : ""), snapshot.state === "running" && !snapshot.problem);
  at("fps").textContent = snapshot.fps.toFixed(1);
  at("latency").textContent = snapshot.latency_ms.toFixed(0) + " ms";
  at("temperature").textContent = snapshot.temperature_c === null ? "-" : snapshot.temperature_c.toFixed(0) + " °C";
  at("problem").textContent = [snapshot.problem, ...snapshot.flags].filter(Boolean).join(", ");
  at("more").textContent = `${snapshot.model}, ${snapshot.processed} frames, ${snapshot.dropped} dropped, ` +
    `${snapshot.memory_mb === null ? "-" : snapshot.memory_mb.toFixed(0)} MB, up ${(snapshot.uptime_s / 60).toFixed(0)} min`;
  stages(snapshot.stages_ms);
  history_.push({ fps: snapshot.fps, people });
  if (history_.length > KEPT) history_.shift();
  plot();
}

const events = new EventSource("poses");
events.addEventListener("poses", (event) => {
  people = JSON.parse(event.data).poses.length;
  at("people").textContent = people;
});
events.addEventListener("stats", (event) => stats(JSON.parse(event.data)));
events.addEventListener("open", () => {
  if (!connected) picture();
  connected = true;
});
events.addEventListener("error", () => {
  connected = false;
  show("no connection", false);
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
});
at("image").addEventListener("error", () => { if (connected) setTimeout(image, 1000); });
window.addEventListener("resize", plot);
