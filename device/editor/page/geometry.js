"use strict";
// Points are [x, y] as shares of the width and height of the image, 0 to 1.

function clampToImage(value) {
  return Math.min(1, Math.max(0, value));
}

// Return the value, or the border of the image if it is near: zones often end there.
function snapToBorder(value, reach) {
  const clamped = clampToImage(value);
  if (clamped < reach) return 0;
  return clamped > 1 - reach ? 1 : clamped;
}

// Move all points by the same distance, as far as they stay in the image.
function movePoints(points, dx, dy) {
  const limit = (distance, values) => Math.min(Math.max(distance, -Math.min(...values)), 1 - Math.max(...values));
  const x = limit(dx, points.map((point) => point[0])), y = limit(dy, points.map((point) => point[1]));
  return points.map((point) => [clampToImage(point[0] + x), clampToImage(point[1] + y)]);
}

function getMiddle(a, b) {
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
}

// Return the pieces between the points, as pairs; a polygon is closed.
function listPieces(points, isClosed) {
  return points.slice(0, isClosed ? points.length : -1).map((point, index) => [point, points[(index + 1) % points.length]]);
}

// Return the arrow of a line in pixels, at its longest piece: people who cross it to the right of its direction count as `in`.
function makeArrow(points, length, isSwapped) {
  const measure = ([a, b]) => Math.hypot(b[0] - a[0], b[1] - a[1]);
  const [a, b] = listPieces(points, false).reduce((longest, piece) => (measure(piece) > measure(longest) ? piece : longest));
  const norm = Math.max(1e-6, measure([a, b])) * (isSwapped ? -1 : 1);
  const dx = (a[1] - b[1]) / norm, dy = (b[0] - a[0]) / norm, wing = 0.35 * length;
  const [x, y] = getMiddle(a, b), tip = [x + dx * length, y + dy * length];
  const back = [tip[0] - dx * wing, tip[1] - dy * wing];
  const wings = [[back[0] - dy * wing, back[1] + dx * wing], [back[0] + dy * wing, back[1] - dx * wing]];
  return `M${x} ${y}L${tip.join(" ")}M${wings[0].join(" ")}L${tip.join(" ")}L${wings[1].join(" ")}`;
}
