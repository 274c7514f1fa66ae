"use strict";
// The zones and lines with their history. A shape: {kind, name, points, settings, origin}; origin is its position in the file.
const MIN_POINTS = { zone: 3, line: 2 };

class Shapes {
  constructor(list) {
    this.list = list;
    this.selected = list.length ? 0 : -1;
    this.corner = -1;
    this.past = [];
    this.future = [];
  }

  get current() {
    return this.list[this.selected] || null;
  }

  copyState() {
    return { list: structuredClone(this.list), selected: this.selected };
  }

  // Remember the state before a change. Changes with the same key in a row, such as typing a name, are one step.
  remember(key = "") {
    if (key && key === this.lastKey) return;
    this.lastKey = key;
    this.past.push(this.copyState());
    this.future = [];
  }

  restore(from, to) {
    if (!from.length) return;
    to.push(this.copyState());
    Object.assign(this, from.pop());
    this.corner = -1;
    this.lastKey = "";
  }

  undo() {
    this.restore(this.past, this.future);
  }

  redo() {
    this.restore(this.future, this.past);
  }

  select(index, corner = -1) {
    if (index !== this.selected) this.lastKey = "";
    this.selected = index;
    this.corner = corner;
  }

  findName(kind) {
    let number = 1;
    while (this.list.some((shape) => shape.name === `${kind}-${number}`)) number += 1;
    return `${kind}-${number}`;
  }

  add(kind, points) {
    this.remember();
    this.list.push({ kind, name: this.findName(kind), points, settings: {}, origin: null });
    this.select(this.list.length - 1);
  }

  remove() {
    if (!this.current) return;
    this.remember();
    this.list.splice(this.selected, 1);
    this.select(Math.min(this.selected, this.list.length - 1));
  }

  get canRemoveCorner() {
    return this.corner >= 0 && this.current !== null && this.current.points.length > MIN_POINTS[this.current.kind];
  }

  removeCorner() {
    if (!this.canRemoveCorner) return;
    this.remember();
    this.current.points.splice(this.corner, 1);
    this.corner = Math.min(this.corner, this.current.points.length - 1);
  }

  // Insert a corner in the middle of the edge that begins at a corner.
  insertCorner(corner) {
    const { points, kind } = this.current;
    const piece = listPieces(points, kind === "zone")[corner];
    if (!piece) return;
    this.remember();
    points.splice(corner + 1, 0, getMiddle(...piece));
    this.corner = corner + 1;
  }

  swap() {
    this.remember();
    this.current.points.reverse();
  }

  setValue(key, value) {
    this.remember(`${this.selected} ${key}`);
    if (key === "name") this.current.name = value;
    else if (value === null) delete this.current.settings[key];
    else this.current.settings[key] = value;
  }
}
