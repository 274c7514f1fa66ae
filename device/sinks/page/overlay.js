"use strict";
// Zones, lines and labels of people, drawn on top of the live image as SVG in pixels of the frame.
const overlay = { rules: {}, width: 0, height: 0, unit: 1, isShown: true, isLive: true };

function makeShape(name, attributes, text) {
  const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
  if (text !== undefined) shape.textContent = text;
  return shape;
}

// Text and arrows have the same size on the screen at any size of the frame.
function measureUnit() {
  const box = element("picture").getBoundingClientRect();
  const shown = Math.min(box.width, box.height * overlay.width / overlay.height);
  overlay.unit = shown > 0 ? overlay.width / shown : 1;
}

// The table below the image has the full names.
function shorten(name) {
  return name.length > 20 ? `${name.slice(0, 19)}…` : name;
}

function makeLabel(x, y, text) {
  const size = 14 * overlay.unit;
  const label = makeShape("text", { "font-size": size, "text-anchor": "middle", "stroke-width": 3 * overlay.unit }, text);
  // Inside the frame: a label at its edge would be cut off. A letter is about 0.62 of the font size wide.
  const half = Math.min(overlay.width / 2, text.length * size * 0.31 + 2 * overlay.unit);
  label.setAttribute("x", Math.min(Math.max(x, half), overlay.width - half));
  label.setAttribute("y", Math.min(Math.max(y, size * 1.1), overlay.height - size * 0.4));
  return label;
}

function formatCounts(counts) {
  return Object.entries(counts).map(([name, count]) => name === "people" ? String(count) : `${name} ${count}`).join(", ");
}

function makeZone(name, rule) {
  const points = rule.shape.map((point) => point.join(",")).join(" ");
  const top = rule.shape.reduce((best, point) => point[1] < best[1] ? point : best);
  const xs = rule.shape.map((point) => point[0]);
  const middle = (Math.min(...xs) + Math.max(...xs)) / 2;
  const counts = formatCounts(rule.counts);
  return [makeShape("polygon", { points }), makeLabel(middle, top[1] + 18 * overlay.unit, counts ? `${shorten(name)}: ${counts}` : shorten(name))];
}

// The arrow is in the middle of the longest piece. It points to the side that counts as `in`: the right one, looking from the
// first point to the last.
function makeLine(name, rule) {
  const pieces = rule.shape.slice(1).map((end, index) => [rule.shape[index], end]);
  const measure = ([[xa, ya], [xb, yb]]) => Math.hypot(xb - xa, yb - ya);
  const [[x1, y1], [x2, y2]] = pieces.reduce((best, piece) => measure(piece) > measure(best) ? piece : best);
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [nx, ny] = [-(y2 - y1) / length, (x2 - x1) / length];
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const reach = 26 * overlay.unit, head = 8 * overlay.unit;
  const [tx, ty] = [mx + nx * reach, my + ny * reach];
  const side = (sign) => `${tx - nx * head + sign * ny * head * .7},${ty - ny * head - sign * nx * head * .7}`;
  const counts = formatCounts(rule.counts);
  return [
    ...pieces.map(([[xa, ya], [xb, yb]]) => makeShape("line", { x1: xa, y1: ya, x2: xb, y2: yb })),
    makeShape("line", { x1: mx, y1: my, x2: tx - nx * head, y2: ty - ny * head }),
    makeShape("polygon", { points: `${tx},${ty} ${side(1)} ${side(-1)}`, class: "head" }),
    // Above the arrow of a steep line, else opposite to it.
    makeLabel(mx, my + (Math.abs(nx) > Math.abs(ny) ? -16 : ny > 0 ? -10 : 20) * overlay.unit, counts ? `${shorten(name)}: ${counts}` : shorten(name)),
  ];
}

function drawRules() {
  const isVisible = overlay.isShown && overlay.isLive && overlay.width > 0;
  const svg = element("shapes");
  svg.toggleAttribute("hidden", !isVisible);
  if (!isVisible) return;
  measureUnit();
  svg.setAttribute("viewBox", `0 0 ${overlay.width} ${overlay.height}`);
  element("rule-shapes").replaceChildren(...Object.entries(overlay.rules).filter(([, rule]) => rule.shape.length > 1).map(([name, rule]) => {
    const isLine = rule.kind === "line";
    const group = makeShape("g", { class: `${isLine ? "line" : "zone"}${rule.active ? " active" : ""}` });
    group.append(...(isLine ? makeLine(name, rule) : makeZone(name, rule)));
    return group;
  }));
}

function drawPeople(poses) {
  if (!overlay.isShown || !overlay.width) return;
  const labels = new Map();
  for (const rule of Object.values(overlay.rules)) {
    for (const [person, text] of Object.entries(rule.labels)) labels.set(Number(person), [...(labels.get(Number(person)) || []), text]);
  }
  const people = poses.filter((pose) => labels.has(pose.person));
  // The number of the person is drawn in the image, between the head and the label.
  element("people-labels").replaceChildren(...people.map((pose) => {
    const found = pose.keypoints.filter((point) => point[2] > 0);
    const xs = found.map((point) => point[0]);
    const x = xs.reduce((sum, value) => sum + value, 0) / (xs.length || 1);
    return makeLabel(x, Math.min(...found.map((point) => point[1])) - 24 * overlay.unit, labels.get(pose.person).join(", "));
  }));
}

function showOverlay(message) {
  Object.assign(overlay, message);
  drawRules();
}

// While there is no image, there is nothing to draw on.
function setOverlayLive(isLive) {
  overlay.isLive = isLive;
  element("people-labels").replaceChildren();
  drawRules();
}

function createOverlay() {
  element("overlays").addEventListener("click", () => {
    overlay.isShown = !overlay.isShown;
    element("overlays").setAttribute("aria-pressed", overlay.isShown);
    drawRules();
  });
  new ResizeObserver(drawRules).observe(element("picture"));
}
