"use strict";
// State of the rules as text, and the last events.
const MAX_EVENTS = 50;

function describeRule(rule) {
  const counts = Object.entries(rule.counts).map(([name, count]) => name === "people" ? `${count} ${count === 1 ? "person" : "people"}` : `${name} ${count}`);
  return [...counts, ...Object.values(rule.labels)].join(", ") || (rule.active ? "yes" : "no");
}

function showRules(message) {
  const hasRules = Object.keys(message.rules).length > 0;
  element("events").hidden = !hasRules;
  element("overlays").hidden = !hasRules;
  const rows = Object.entries(message.rules).map(([name, rule]) => {
    const row = makeRow(name, describeRule(rule));
    row.className = rule.active ? "active" : "";
    return row;
  });
  element("rules").replaceChildren(...rows);
}

function makePart(name, text) {
  const part = document.createElement(name);
  part.textContent = text;
  return part;
}

function makeEvent(event) {
  const item = document.createElement("li");
  const time = makePart("time", event.time ? new Date(event.time).toLocaleTimeString([], { hour12: false }) : "-");
  if (event.time) {
    time.dateTime = event.time;
    time.title = new Date(event.time).toLocaleString();
  }
  const details = [
    event.label, event.person && `person ${event.person}`, event.count !== undefined && `count ${event.count}`,
    event.duration_s !== undefined && `${event.duration_s.toFixed(1)} s`,
  ].filter(Boolean).join(", ");
  const what = document.createElement("span");
  what.append(makePart("strong", event.rule), ` ${event.type.replaceAll("_", " ")}`);
  item.append(time, what, makePart("span", details));
  return item;
}

function showEvent(event) {
  element("event-list").prepend(makeEvent(event));
  while (element("event-list").children.length > MAX_EVENTS) element("event-list").lastChild.remove();
  element("no-events").hidden = true;
}

// The list is loaded again after each interruption: events may have been missed.
async function loadEvents() {
  const answer = await fetch("events");
  if (!answer.ok) return;
  const events = await answer.json();
  element("event-list").replaceChildren();
  for (const event of events.slice(0, MAX_EVENTS).reverse()) showEvent(event);
  element("no-events").hidden = events.length > 0;
}
