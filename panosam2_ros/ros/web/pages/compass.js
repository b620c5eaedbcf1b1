// Directions of all objects seen from above, and their elevations: extents, 95 % ellipses, what is not seen dashed.

import { rad } from "./geometry.js";

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  const draw = canvas.getContext("2d");
  draw.setTransform(scale, 0, 0, scale, 0, 0);
  draw.font = "11px system-ui, sans-serif";
  draw.textAlign = "center";
  draw.textBaseline = "middle";
  return [draw, width, height];
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const [grid, text, muted, accent] = ["--grid", "--text", "--muted", "--accent"].map((name) => style.getPropertyValue(name));
  return { grid, text, muted, accent };
}

// On the canvas: azimuth 0 is up, positive to the left. Returns the angle of canvas arcs.
const turned = (azimuthDeg) => -rad(azimuthDeg) - Math.PI / 2;

export function drawCompass(canvas, objects, { selected, view }) {
  const [draw, width] = prepared(canvas);
  if (!width) return;
  const colours = palette(), middle = width / 2, radius = middle - 30;
  const at = (azimuth, reach) => [middle + reach * Math.cos(turned(azimuth)), middle + reach * Math.sin(turned(azimuth))];
  draw.lineWidth = 1;
  draw.strokeStyle = colours.grid;
  for (const part of [1, 2 / 3, 1 / 3]) {
    draw.beginPath();
    draw.arc(middle, middle, radius * part, 0, 2 * Math.PI);
    draw.stroke();
  }
  for (let azimuth = 0; azimuth < 360; azimuth += 30) {
    draw.beginPath();
    draw.moveTo(...at(azimuth, azimuth % 90 ? radius * 0.94 : 0));
    draw.lineTo(...at(azimuth, radius));
    draw.stroke();
  }
  draw.fillStyle = colours.muted;
  for (const [azimuth, text] of [[0, "0°"], [90, "90°"], [180, "180°"], [-90, "−90°"]]) draw.fillText(text, ...at(azimuth, radius + 15));
  if (view) {
    draw.fillStyle = colours.grid;
    draw.beginPath();
    draw.moveTo(middle, middle);
    draw.arc(middle, middle, radius, turned(view.azimuth + view.width / 2), turned(view.azimuth - view.width / 2));
    draw.fill();
  }
  for (const each of objects) drawBearing(draw, each, each.object_id === selected, { middle, radius, at });
  draw.fillStyle = colours.text;
  draw.beginPath(); // the camera, which looks up
  draw.moveTo(middle, middle - 8);
  draw.lineTo(middle + 5.5, middle + 6);
  draw.lineTo(middle - 5.5, middle + 6);
  draw.fill();
}

function drawBearing(draw, object, chosen, { middle, radius, at }) {
  const { azimuth_deg: azimuth, elevation_deg: elevation, extent_horizontal_deg: extent } = object;
  const seen = object.state === "visible", reach = radius * 0.86;
  draw.strokeStyle = draw.fillStyle = object.colour;
  draw.globalAlpha = chosen ? 0.4 : 0.22;
  draw.beginPath();
  draw.moveTo(middle, middle);
  draw.arc(middle, middle, reach, turned(azimuth + extent / 2), turned(azimuth - extent / 2));
  draw.fill();
  draw.globalAlpha = seen ? 1 : 0.75;
  draw.lineWidth = chosen ? 3 : 1.75;
  draw.setLineDash(seen ? [] : [5, 4]);
  draw.beginPath();
  draw.moveTo(...at(azimuth, 12));
  draw.lineTo(...at(azimuth, reach));
  draw.stroke();
  if (object.ellipse.length) { // angles at the same scale in both directions: elevation outwards
    draw.beginPath();
    for (const [a, e] of object.ellipse) draw.lineTo(...at(a, reach * (1 + rad(e - elevation))));
    draw.closePath();
    draw.lineWidth = chosen ? 2.5 : 1.75;
    draw.stroke();
  }
  draw.setLineDash([]);
  draw.globalAlpha = 1;
  draw.font = `${chosen ? 700 : 500} 12px system-ui, sans-serif`;
  draw.fillText(String(object.object_id), ...at(azimuth, radius * 0.5));
}

export function drawElevation(canvas, objects, { selected }) {
  const [draw, width, height] = prepared(canvas);
  if (!width) return;
  const colours = palette(), left = 30, top = 14, low = height - 14;
  const y = (elevation) => low - (elevation + 90) / 180 * (low - top);
  draw.textAlign = "right";
  for (let elevation = -90; elevation <= 90; elevation += 30) {
    draw.strokeStyle = colours.grid;
    draw.lineWidth = elevation ? 1 : 2;
    draw.beginPath();
    draw.moveTo(left, y(elevation));
    draw.lineTo(width, y(elevation));
    draw.stroke();
    draw.fillStyle = colours.muted;
    draw.fillText(`${elevation}°`.replace("-", "−"), left - 4, y(elevation));
  }
  objects.forEach((object, i) => {
    const x = left + (i + 0.5) * (width - left) / objects.length, { elevation_deg: elevation } = object;
    const chosen = object.object_id === selected, half = object.extent_vertical_deg / 2, seen = object.state === "visible";
    const bar = Math.min(10, (width - left) / objects.length * 0.7);
    draw.strokeStyle = draw.fillStyle = object.colour;
    draw.globalAlpha = chosen ? 0.5 : 0.28;
    draw.fillRect(x - bar / 2, y(elevation + half), bar, y(elevation - half) - y(elevation + half));
    draw.globalAlpha = 1;
    draw.lineWidth = chosen ? 3 : 2;
    draw.setLineDash(seen ? [] : [3, 3]);
    const spread = object.ellipse.map(([, e]) => e);
    draw.beginPath();
    draw.moveTo(x, y(Math.max(elevation, ...spread)));
    draw.lineTo(x, y(Math.min(elevation, ...spread)));
    draw.moveTo(x - bar / 2, y(elevation));
    draw.lineTo(x + bar / 2, y(elevation));
    draw.stroke();
    draw.setLineDash([]);
  });
}
