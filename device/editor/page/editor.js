"use strict";
// The server checks the shapes and makes the TOML; this page only draws and edits.
const element = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const HINTS = {
  zone: "Click the corners of the zone. To finish, click the first corner again, double-click or press Enter. Esc cancels.",
  line: "Click the two ends of the line. The arrow shows the direction that counts as “in”. Esc cancels.",
  selected: "Drag a corner to move it, a small dot to add a corner, or the shape to move all of it. With the keyboard: Tab to a corner, arrow keys move it (Shift: faster), Insert adds one, Delete removes it.",
  none: "Click a zone or line to change it.",
  empty: "None yet. Click “Add zone” or “Add line”, then click on the image.",
};
const TOUCH_HINTS = {
  zone: "Tap the corners of the zone, then “Finish zone”.",
  line: "Tap the two ends of the line. The arrow shows the direction that counts as “in”.",
  selected: "Drag a corner, or the shape to move all of it. Drag a small dot to add a corner.",
  none: "Tap a zone or line to change it.",
  empty: "None yet. Tap “Add zone” or “Add line”, then the image.",
};
const TOUCH = matchMedia("(pointer: coarse)");
const COLORS = 8, SNAP_PX = 8, HANDLE_PX = 7, REACH_PX = 20, CHECK_DELAY_MS = 120;
let state = null, shapes = null, errors = {}, drawing = null, drag = null, checkTimer = 0, checkNumber = 0;

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function makeSvg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Pixels of the image per pixel of the screen.
function getScale() {
  return state.width / Math.max(1, element("canvas").clientWidth);
}

function toPixels([x, y]) {
  return [x * state.width, y * state.height];
}

function readPoint(event) {
  const box = element("canvas").getBoundingClientRect();
  return [snapToBorder((event.clientX - box.left) / box.width, SNAP_PX / box.width), snapToBorder((event.clientY - box.top) / box.height, SNAP_PX / box.height)];
}

function makePath(points, isClosed) {
  return points.length ? `M${points.map((point) => toPixels(point).join(" ")).join("L")}${isClosed ? "Z" : ""}` : "";
}

function drawShape(shape, index) {
  const scale = getScale(), isSelected = index === shapes.selected && !drawing;
  const names = ["shape", `color-${index % COLORS}`, ...(isSelected ? ["selected"] : []), ...(errors[index] ? ["wrong"] : [])];
  const group = makeSvg("g", { class: names.join(" "), "data-index": index });
  let path = makePath(shape.points, shape.kind === "zone");
  if (shape.kind === "zone") group.append(makeSvg("path", { class: "area", d: path }));
  else path += makeArrow(shape.points.map(toPixels), 34 * scale, shape.settings.swap);
  group.append(...["under", "over", "touch"].map((name) => makeSvg("path", { class: name, d: path })));
  group.append(makeTitle(shape, scale));
  return group;
}

// The title of a zone is inside at its highest corner, that of a line above its first end.
function makeTitle(shape, scale) {
  const points = shape.points.map(toPixels);
  const top = shape.kind === "zone" ? points.reduce((a, b) => (b[1] < a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a)) : points[0];
  const x = Math.min(Math.max(top[0] + 10 * scale, 6 * scale), state.width - 80 * scale);
  const y = Math.min(Math.max(top[1] + (shape.kind === "zone" ? 24 : -12) * scale, 20 * scale), state.height - 8 * scale);
  const title = makeSvg("text", { class: "title", transform: `translate(${x} ${y}) scale(${15 * scale})` });
  title.textContent = shape.name;
  return title;
}

function makeHandle(index, corner, point, name, isMiddle) {
  const [x, y] = toPixels(point), scale = getScale(), isActive = !isMiddle && corner === shapes.corner;
  const handle = makeSvg("g", { class: `handle shape color-${index % COLORS}${isMiddle ? " middle" : ""}${isActive ? " active" : ""}`, "data-index": index, [isMiddle ? "data-middle" : "data-corner"]: corner });
  if (!isMiddle) {
    handle.setAttribute("tabindex", "0");
    handle.setAttribute("role", "button");
    handle.setAttribute("aria-label", `Corner ${corner + 1} of ${name}, x ${point[0].toFixed(3)}, y ${point[1].toFixed(3)}`);
  }
  const circle = (kind, radius) => makeSvg("circle", { class: kind, cx: x, cy: y, r: radius * scale });
  handle.append(circle("reach", isMiddle ? REACH_PX * 0.6 : REACH_PX), ...(isMiddle ? [] : [circle("ring", HANDLE_PX + 4)]), circle("dot", isMiddle ? HANDLE_PX * 0.6 : HANDLE_PX));
  return handle;
}

function drawHandles(shape, index) {
  const { points, kind, name } = shape, handles = [];
  listPieces(points, kind === "zone").forEach((piece, corner) => handles.push(makeHandle(index, corner, getMiddle(...piece), name, true)));
  points.forEach((point, corner) => handles.push(makeHandle(index, corner, point, name, false)));
  return handles;
}

function drawUnfinished() {
  const points = drawing.pointer ? [...drawing.points, drawing.pointer] : drawing.points;
  const group = makeSvg("g", { class: `shape selected color-${shapes.list.length % COLORS}` });
  const path = makePath(points, false);
  if (drawing.kind === "zone") group.append(makeSvg("path", { class: "area", d: path }));
  group.append(...["under", "over"].map((name) => makeSvg("path", { class: name, d: path })));
  return [group, ...drawing.points.map((point, corner) => makeHandle(shapes.list.length, corner, point, "the new shape", false))];
}

function drawCanvas() {
  const canvas = element("canvas"), focused = document.activeElement;
  const hadFocus = canvas.contains(focused) && focused !== canvas;
  canvas.setAttribute("class", drawing ? "drawing" : "");
  const order = shapes.list.map((_, index) => index).sort((a, b) => (a === shapes.selected) - (b === shapes.selected));
  const parts = order.map((index) => drawShape(shapes.list[index], index));
  if (drawing) parts.push(...drawUnfinished());
  else if (shapes.current) parts.push(...drawHandles(shapes.current, shapes.selected));
  canvas.replaceChildren(...parts);
  if (hadFocus) focusCorner();
}

function focusCorner() {
  const handle = element("canvas").querySelector(`[data-corner="${shapes.corner}"]`);
  if (handle && !drawing) handle.focus({ preventScroll: true });
}

function drawList() {
  const items = shapes.list.map((shape, index) => {
    const item = document.createElement("li"), button = document.createElement("button"), name = document.createElement("span"), kind = document.createElement("small");
    button.type = "button";
    button.className = `color-${index % COLORS} shape${errors[index] ? " wrong" : ""}`;
    button.setAttribute("aria-current", String(index === shapes.selected));
    name.textContent = shape.name || "(no name)";
    kind.textContent = errors[index] ? "error" : shape.kind;
    button.append(makeSvg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, makeSvg("rect", { width: 10, height: 10, rx: 2 })), name, kind);
    button.addEventListener("click", () => { shapes.select(index); refresh(); });
    item.append(button);
    return item;
  });
  const focusedIndex = [...element("list").querySelectorAll("button")].indexOf(document.activeElement);
  element("list").replaceChildren(...items);
  if (focusedIndex >= 0 && items[focusedIndex]) items[focusedIndex].firstChild.focus();
  element("empty").hidden = items.length > 0;
}

function makeField(field, value) {
  const label = document.createElement("label");
  label.textContent = field.label;
  label.htmlFor = `field-${field.key}`;
  const input = document.createElement(field.type === "choice" ? "select" : "input");
  input.id = label.htmlFor;
  if (field.type === "choice") {
    // A value that the page does not know, of another skeleton, stays selectable.
    const choices = value !== undefined && !field.choices.includes(value) ? [...field.choices, value] : field.choices;
    input.append(...choices.map((choice) => new Option(choice.replaceAll("_", " "), choice)));
    input.value = value ?? field.choices[0];
    input.addEventListener("change", () => { shapes.setValue(field.key, input.value === field.choices[0] ? null : input.value); refresh(); });
    return [label, input];
  }
  Object.assign(input, { type: "number", min: 0, step: field.type === "integer" ? 1 : "any", inputMode: "decimal", placeholder: "off" });
  input.value = value ?? "";
  input.addEventListener("input", () => { shapes.setValue(field.key, input.value === "" ? null : Number(input.value)); refresh(); });
  const box = document.createElement("div"), unit = document.createElement("span");
  box.className = "number";
  unit.textContent = field.unit;
  box.append(input, unit);
  return [label, box];
}

// The form is made again only for another shape or after undo, so that typing is not interrupted.
function drawForm(isForced) {
  const shape = shapes.current, form = element("form");
  form.hidden = !shape || Boolean(drawing);
  if (!shape) return;
  const key = `${shapes.selected} ${shape.kind} ${shapes.list.length}`;
  if (isForced || form.dataset.key !== key) {
    form.dataset.key = key;
    element("name").value = shape.name;
    element("fields").replaceChildren(...state.fields[shape.kind].filter((field) => field.type !== "hidden").flatMap((field) => makeField(field, shape.settings[field.key])));
  }
  setText("form-title", shape.kind === "zone" ? "Zone" : "Line");
  setText("remove", `Delete ${shape.kind}`);
  element("swap").hidden = shape.kind !== "line";
  element("remove-corner").disabled = !shapes.canRemoveCorner;
  setText("error", errors[shapes.selected] || "");
}

function drawButtons() {
  element("undo").disabled = !shapes.past.length && !(drawing && drawing.points.length);
  element("redo").disabled = !shapes.future.length || Boolean(drawing);
  for (const kind of ["zone", "line"]) {
    element(`add-${kind}`).setAttribute("aria-pressed", String(Boolean(drawing) && drawing.kind === kind));
    element(`add-${kind}`).hidden = !(kind in state.fields);
    const isDrawn = Boolean(drawing) && drawing.kind === kind;
    setText(`add-${kind}-text`, !isDrawn ? `Add ${kind}` : drawing.points.length >= MIN_POINTS[kind] ? `Finish ${kind}` : "Cancel");
  }
  const hints = TOUCH.matches ? TOUCH_HINTS : HINTS;
  setText("hint", drawing ? hints[drawing.kind] : shapes.current ? hints.selected : shapes.list.length ? hints.none : "");
  setText("empty", hints.empty);
}

function draw(isForced = false) {
  drawCanvas();
  drawList();
  drawForm(isForced);
  drawButtons();
}

// Draw after a change, and let the server check it.
function refresh(isForced = false) {
  draw(isForced);
  clearTimeout(checkTimer);
  checkTimer = setTimeout(check, CHECK_DELAY_MS);
}

async function post(path) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ shapes: shapes.list }) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

function showAnswer(answer) {
  errors = answer.errors;
  setText("toml", answer.toml || "# no zones or lines");
  setText("problem", answer.problem);
  element("done").disabled = Object.keys(errors).length > 0;
  drawCanvas();
  drawList();
  drawForm(false);
}

async function check() {
  const number = ++checkNumber;
  try {
    const answer = await post("check");
    if (number === checkNumber) showAnswer(answer);
  } catch (error) {
    showFailure(error);
  }
}

function showFailure(error) {
  const isLost = error instanceof TypeError;
  setText("problem", isLost ? "No connection: edgepose events edit has ended. Copy the TOML if you need it." : error.message);
}

async function finish() {
  clearTimeout(checkTimer);
  checkNumber += 1;
  try {
    const answer = await post("done");
    showAnswer(answer);
    if (!answer.done) return;
    setText("end-text", `${state.config ? `The zones and lines are in ${state.config}.` : "The TOML is in the terminal."} You can close this page.`);
    element("end").hidden = false;
    element("end-title").focus();
  } catch (error) {
    showFailure(error);
  }
}

// The button that has started a drawing finishes it, or cancels it if corners are missing.
function startDrawing(kind, isKeyboard) {
  if (drawing && drawing.kind === kind) {
    if (drawing.points.length >= MIN_POINTS[kind]) finishDrawing();
    else drawing = null;
  } else if (isKeyboard) {
    // Without a pointer: a shape in the middle, whose corners the arrow keys move.
    drawing = null;
    shapes.add(kind, kind === "zone" ? [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]] : [[0.3, 0.5], [0.7, 0.5]]);
    shapes.corner = 0;
    refresh();
    focusCorner();
    return;
  } else {
    drawing = { kind, points: [], pointer: null };
  }
  draw();
}

function addDrawnPoint(point) {
  drawing.points.push(point);
  if (drawing.kind === "line" && drawing.points.length === 2) finishDrawing();
}

function finishDrawing() {
  const { kind, points } = drawing;
  if (points.length < MIN_POINTS[kind]) return;
  drawing = null;
  shapes.add(kind, points);
  refresh();
  // On a touch screen this would open the keyboard.
  if (TOUCH.matches) return;
  element("name").focus({ preventScroll: true });
  element("name").select();
}

function isNear(a, b, reachPx) {
  const scale = getScale(), [ax, ay] = toPixels(a), [bx, by] = toPixels(b);
  return Math.hypot(ax - bx, ay - by) <= reachPx * scale;
}

function drawWithPointer(event) {
  const point = readPoint(event), { points } = drawing;
  if (drawing.kind === "zone" && points.length >= 3 && isNear(point, points[0], REACH_PX * 0.7)) finishDrawing();
  // The second click of a double click is at the last corner.
  else if (points.length && isNear(point, points.at(-1), 4)) finishIfDouble();
  else addDrawnPoint(point);
  if (drawing) draw();
}

function finishIfDouble() {
  if (drawing.kind === "zone") finishDrawing();
}

function startDrag(event) {
  const target = event.target.closest("[data-index]");
  if (!target) {
    shapes.select(-1);
    draw(true);
    return;
  }
  const index = Number(target.dataset.index), isNew = index !== shapes.selected;
  if (target.dataset.middle !== undefined) shapes.insertCorner(Number(target.dataset.middle));
  else shapes.select(index, target.dataset.corner === undefined ? -1 : Number(target.dataset.corner));
  drag = { corner: shapes.corner, start: readPoint(event), points: structuredClone(shapes.current.points), isMoved: false, isRemembered: target.dataset.middle !== undefined };
  element("canvas").setPointerCapture(event.pointerId);
  draw(isNew);
  focusCorner();
}

function moveDrag(event) {
  const point = readPoint(event);
  if (!drag.isMoved && isNear(point, drag.start, 3)) return;
  if (!drag.isMoved && !drag.isRemembered) shapes.remember();
  drag.isMoved = true;
  if (drag.corner >= 0) shapes.current.points[drag.corner] = point;
  else shapes.current.points = movePoints(drag.points, point[0] - drag.start[0], point[1] - drag.start[1]);
  refresh();
}

element("canvas").addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag) return;
  event.preventDefault();
  if (drawing) drawWithPointer(event);
  else startDrag(event);
});
element("canvas").addEventListener("pointermove", (event) => {
  if (drag) moveDrag(event);
  else if (drawing && drawing.points.length && event.pointerType !== "touch") {
    drawing.pointer = readPoint(event);
    drawCanvas();
  }
});
for (const name of ["pointerup", "pointercancel"]) {
  element("canvas").addEventListener(name, () => {
    if (drag && drag.isRemembered && !drag.isMoved) refresh();
    drag = null;
  });
}
element("canvas").addEventListener("focusin", (event) => {
  const corner = event.target.dataset.corner;
  if (drawing || drag || corner === undefined || Number(corner) === shapes.corner) return;
  shapes.corner = Number(corner);
  draw();
});

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function handleCornerKey(event) {
  if (!shapes.current || shapes.corner < 0) return;
  if (MOVES[event.key]) {
    const [dx, dy] = MOVES[event.key], step = event.shiftKey ? 10 : 1, point = shapes.current.points[shapes.corner];
    shapes.remember(`move ${shapes.selected} ${shapes.corner}`);
    shapes.current.points[shapes.corner] = [clampToImage(point[0] + dx * step / state.width), clampToImage(point[1] + dy * step / state.height)];
  } else if (event.key === "Delete" || event.key === "Backspace") {
    if (shapes.canRemoveCorner) shapes.removeCorner();
    else shapes.remove();
  } else if (event.key === "Insert" || event.key === "+") {
    shapes.insertCorner(shapes.corner);
  } else {
    return;
  }
  event.preventDefault();
  refresh();
}

function undo() {
  if (drawing && drawing.points.length) drawing.points.pop();
  else shapes.undo();
  refresh(true);
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select");
  if ((event.ctrlKey || event.metaKey) && !isTyping && ["z", "y"].includes(event.key.toLowerCase())) {
    event.preventDefault();
    if (event.key.toLowerCase() === "y" || event.shiftKey) { shapes.redo(); refresh(true); }
    else undo();
  } else if (drawing && event.key === "Escape") {
    drawing = null;
    draw();
  } else if (drawing && event.key === "Enter" && !event.target.matches("button")) {
    event.preventDefault();
    finishDrawing();
  } else if (drawing && event.key === "Backspace" && !isTyping) {
    event.preventDefault();
    drawing.points.pop();
    draw();
  } else if (!drawing && event.target.closest("#canvas")) {
    handleCornerKey(event);
  }
});

for (const kind of ["zone", "line"]) {
  // A click by the keyboard has no position.
  element(`add-${kind}`).addEventListener("click", (event) => {
    startDrawing(kind, event.detail === 0);
    if (drawing) element("canvas").focus({ preventScroll: true });
  });
}
element("undo").addEventListener("click", undo);
element("redo").addEventListener("click", () => { shapes.redo(); refresh(true); });
element("remove").addEventListener("click", () => { shapes.remove(); refresh(true); });
element("remove-corner").addEventListener("click", () => { shapes.removeCorner(); refresh(); });
element("swap").addEventListener("click", () => { shapes.swap(); refresh(); });
element("name").addEventListener("input", () => { shapes.setValue("name", element("name").value); refresh(); });
element("form").addEventListener("submit", (event) => event.preventDefault());
element("done").addEventListener("click", finish);
element("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(element("toml").textContent);
  } catch {
    // Without HTTPS, other addresses than 127.0.0.1 have no clipboard: select the text for Ctrl-C.
    getSelection().selectAllChildren(element("toml"));
    setText("copy", "Press Ctrl-C");
    return;
  }
  setText("copy", "Copied");
  setTimeout(() => setText("copy", "Copy"), 2000);
});
new ResizeObserver(() => { if (state) drawCanvas(); }).observe(element("stage"));

async function start() {
  state = await (await fetch("state")).json();
  element("canvas").setAttribute("viewBox", `0 0 ${state.width} ${state.height}`);
  // The whole image is visible without scrolling.
  element("stage").style.aspectRatio = `${state.width} / ${state.height}`;
  element("stage").style.maxWidth = `max(16rem, calc((100vh - 9rem) * ${state.width / state.height}))`;
  setText("source", `${state.name}, ${state.width} × ${state.height}`);
  setText("done", state.config ? "Save and finish" : "Done");
  setText("done-hint", state.config ? `Writes into ${state.config}. Comments and all other tables are kept.` : "Prints the TOML in the terminal.");
  shapes = new Shapes(state.shapes);
  refresh(true);
}
TOUCH.addEventListener("change", () => { if (shapes) drawButtons(); });
start().catch(showFailure);
