// The live panorama: picture, masks, azimuths, objects, and clicks and boxes on it.

import { clamp, fromAzimuth, lonLatOf, wrapColumn, wrapDegrees } from "./geometry.js";

const DRAG = 6; // CSS pixels from which a press is a drag

export class Panorama {
  // handlers: click(u, v, modifiers), box([u0, v0, u1, v1]), select(id)
  constructor(picture, marks, handlers) {
    this.picture = picture.getContext("2d");
    this.marks = marks.getContext("2d");
    this.masks = document.createElement("canvas").getContext("2d");
    this.handlers = handlers;
    this.frame = null;
    this.selected = 0;
    this.turn = 0; // part of the image's width by which it is moved to the left
    this.cursor = null; // [x, y], parts of the canvas
    this.pending = []; // [u, v] of clicks that are not answered yet
    this.press = null;
    this.listen(marks);
    new ResizeObserver(() => this.drawMarks()).observe(marks);
  }

  get busy() {
    return this.press !== null;
  }

  show(frame) {
    this.frame = frame;
    this.overlay();
    this.draw();
  }

  overlay() {
    const { frame, masks } = this, image = frame?.overlay(this.selected);
    if (!frame) return;
    Object.assign(masks.canvas, { width: frame.width, height: frame.height });
    if (image) masks.putImageData(image, 0, 0);
  }

  select(id) {
    this.selected = id;
    this.overlay();
    this.draw();
  }

  turnBy(part) {
    this.turn = (this.turn + part + 1) % 1;
    this.draw();
  }

  turnHome() {
    this.turn = 0;
    this.draw();
  }

  draw() {
    const { frame, picture } = this;
    if (!frame) return;
    const { width, height } = frame, { canvas } = picture;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      canvas.parentElement.style.aspectRatio = `${width} / ${height}`;
    }
    const split = Math.round(this.turn * width);
    for (const layer of [frame.bitmap, this.masks.canvas]) {
      picture.drawImage(layer, -split, 0);
      if (split) picture.drawImage(layer, width - split, 0);
    }
    this.drawMarks();
  }

  // --- from parts of the canvas to pixels of the image, and back

  column(x) {
    const { width } = this.frame.grid;
    return wrapColumn((x + this.turn) * width - 0.5, width);
  }

  row(y) {
    const { height } = this.frame.grid;
    return clamp(y * height - 0.5, 0, height - 1);
  }

  place(u, v) {
    const { width, height } = this.frame.grid;
    const x = (u + 0.5) / width - this.turn;
    return [x - Math.floor(x), (v + 0.5) / height];
  }

  // --- drawing

  drawMarks() {
    const { canvas } = this.marks, scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    if (!this.frame || !width) return;
    const draw = this.marks;
    draw.setTransform(scale, 0, 0, scale, 0, 0);
    draw.lineJoin = "round";
    this.size = [width, height];
    this.drawAzimuths(draw);
    for (const each of this.frame.objects) this.drawEllipse(draw, each);
    this.chips = [];
    for (const each of this.frame.objects) this.drawObject(draw, each);
    for (const [u, v] of this.pending) this.drawRing(draw, u, v);
    if (this.press?.box) this.drawBox(draw, this.press.box);
    if (this.cursor) this.drawCursor(draw);
  }

  line(draw, points) {
    draw.beginPath();
    let before = null;
    for (const [x, y] of points) {
      const jump = before === null || Math.abs(x - before) > 0.5;
      draw[jump ? "moveTo" : "lineTo"](x * this.size[0], y * this.size[1]);
      before = x;
    }
    draw.stroke();
  }

  drawAzimuths(draw) {
    const { rotation, grid } = this.frame, [width, height] = this.size;
    draw.strokeStyle = "#ffffff40";
    draw.lineWidth = 1;
    const at = (azimuth, elevation) => {
      const [u, v] = grid.pixel(...lonLatOf(fromAzimuth(azimuth, elevation, rotation)));
      return this.place(u, v);
    };
    if (rotation) {
      draw.font = "11px system-ui, sans-serif";
      draw.textAlign = "center";
      const step = width > 640 ? 30 : 60; // degrees between lines
      for (let azimuth = -180 + step; azimuth <= 180; azimuth += step) {
        this.line(draw, Array.from({ length: 57 }, (_, i) => at(azimuth, -84 + 3 * i)));
        if (azimuth === 180 && step > 30) continue; // no room for it
        const text = `${Math.abs(azimuth)}°${azimuth % 180 ? (azimuth > 0 ? " L" : " R") : ""}`;
        this.outlined(draw, text, clamp(at(azimuth, 60)[0] * width, 22, width - 22), 14, "#ffffffd0");
      }
      this.line(draw, Array.from({ length: 181 }, (_, i) => at(2 * i - 180, 0)));
    }
    if (this.turn) { // where the image's left and right edges meet
      const x = (1 - this.turn) * width;
      draw.setLineDash([4, 4]);
      draw.strokeStyle = "#ffffffa0";
      draw.beginPath();
      draw.moveTo(x, 0);
      draw.lineTo(x, height);
      draw.stroke();
      draw.setLineDash([]);
    }
  }

  drawEllipse(draw, object) {
    const { rotation, grid } = this.frame;
    if (!rotation || !object.ellipse.length) return;
    const border = [...object.ellipse, object.ellipse[0]];
    draw.strokeStyle = object.colour;
    draw.lineWidth = object.object_id === this.selected ? 2 : 1.25;
    draw.setLineDash(object.state === "visible" ? [] : [5, 4]);
    this.line(draw, border.map(([azimuth, elevation]) =>
      this.place(...grid.pixel(...lonLatOf(fromAzimuth(azimuth, elevation, rotation))))));
    draw.setLineDash([]);
  }

  drawObject(draw, object) {
    if (!object.pixel) return;
    const [width, height] = this.size;
    const [px, py] = this.place(...object.pixel), x = px * width, y = clamp(py, 0, 1) * height;
    const seen = object.state === "visible", chosen = object.object_id === this.selected;
    for (const [style, line] of [["#000c", chosen ? 5 : 4], [object.colour, chosen ? 2.5 : 1.75]]) {
      draw.strokeStyle = style;
      draw.lineWidth = line;
      draw.beginPath();
      draw.arc(x, y, 7, 0, 2 * Math.PI);
      if (seen) for (const [dx, dy] of [[1, 0], [0, 1]]) {
        draw.moveTo(x - 4 * dx, y - 4 * dy);
        draw.lineTo(x + 4 * dx, y + 4 * dy);
      }
      draw.stroke();
    }
    const text = `${object.object_id}${object.label ? ` ${object.label.slice(0, width > 640 ? 24 : 10)}` : ""}${seen ? "" : ` · ${object.state}`}`;
    draw.font = `${chosen ? 600 : 500} 12px system-ui, sans-serif`;
    const long = draw.measureText(text).width + 12;
    const left = clamp(x - long / 2, 2, Math.max(width - long - 2, 2)), top = y + 34 < height ? y + 12 : y - 32;
    draw.fillStyle = chosen ? object.colour : "#0b1014cc";
    draw.beginPath();
    draw.roundRect(left, top, long, 19, 5);
    draw.fill();
    draw.fillStyle = chosen ? "#0b1014" : object.colour;
    draw.textAlign = "left";
    draw.fillText(text, left + 6, top + 13.5);
    this.chips.push({ id: object.object_id, x, y, left, top, right: left + long, bottom: top + 19 });
  }

  outlined(draw, text, x, y, fill) {
    draw.lineWidth = 3;
    draw.strokeStyle = "#0009";
    draw.strokeText(text, x, y);
    draw.fillStyle = fill;
    draw.fillText(text, x, y);
    draw.strokeStyle = "#ffffff40";
    draw.lineWidth = 1;
  }

  drawRing(draw, u, v) {
    const [x, y] = this.place(u, v);
    draw.strokeStyle = "#fff";
    draw.lineWidth = 2;
    draw.setLineDash([3, 3]);
    draw.beginPath();
    draw.arc(x * this.size[0], y * this.size[1], 11, 0, 2 * Math.PI);
    draw.stroke();
    draw.setLineDash([]);
  }

  drawBox(draw, [x0, y0, x1, y1]) {
    const [width, height] = this.size;
    for (const shift of [-width, 0, width]) { // what leaves on one side comes in on the other
      draw.fillStyle = "#4cc2ff2e";
      draw.fillRect(x0 * width + shift, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
      for (const [style, line] of [["#000a", 4], ["#fff", 1.75]]) {
        draw.strokeStyle = style;
        draw.lineWidth = line;
        draw.strokeRect(x0 * width + shift, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
      }
    }
  }

  drawCursor(draw) {
    const x = this.cursor[0] * this.size[0], y = this.cursor[1] * this.size[1];
    for (const [style, line] of [["#000", 4], ["#4cc2ff", 2]]) {
      draw.strokeStyle = style;
      draw.lineWidth = line;
      draw.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        draw.moveTo(x + 5 * dx, y + 5 * dy);
        draw.lineTo(x + 15 * dx, y + 15 * dy);
      }
      draw.stroke();
    }
  }

  // --- pointer and keys

  listen(canvas) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.frame || (event.button !== 0 && event.button !== 2)) return;
      canvas.setPointerCapture(event.pointerId);
      this.cursor = null;
      this.press = { from: at(event), client: [event.clientX, event.clientY], button: event.button, box: null };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.press) return this.point(canvas, at(event));
      const [x0, y0] = this.press.client;
      if (!this.press.box && Math.hypot(event.clientX - x0, event.clientY - y0) < DRAG) return;
      this.press.box = this.boxTo(at(event));
      this.drawMarks();
    });
    canvas.addEventListener("pointerup", (event) => {
      const { press } = this;
      this.press = null;
      if (!press || !this.frame) return;
      if (press.box && press.button === 0) this.prompt(this.boxOf(press));
      else if (!press.box) this.click(press.from, { shift: event.shiftKey, alt: event.altKey || press.button === 2 });
      this.drawMarks();
      this.handlers.released();
    });
    canvas.addEventListener("pointercancel", () => {
      this.press = null;
      this.drawMarks();
      this.handlers.released();
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.drawMarks();
    });
  }

  boxTo([x, y]) {
    const [fromX, fromY] = this.press.from;
    const reach = clamp(x, fromX - 0.99, fromX + 0.99); // not more than once around
    this.press.to = [reach, y];
    return [Math.min(fromX, reach), clamp(Math.min(fromY, y), 0, 1), Math.max(fromX, reach), clamp(Math.max(fromY, y), 0, 1)];
  }

  boxOf({ box: [x0, y0, x1, y1] }) {
    return [this.column(x0), this.row(y0), this.column(x1), this.row(y1)];
  }

  prompt(box) {
    this.handlers.box(box);
  }

  click([x, y], modifiers) {
    const [px, py] = [x * this.size[0], y * this.size[1]];
    const hit = (this.chips ?? []).findLast((c) => Math.hypot(px - c.x, py - c.y) < 9
      || (px >= c.left && px <= c.right && py >= c.top && py <= c.bottom));
    if (hit && !modifiers.shift && !modifiers.alt && this.handlers.selects()) this.handlers.select(hit.id);
    else this.handlers.click(this.column(x), this.row(y), modifiers);
  }

  point(canvas, [x, y]) {
    const over = this.frame && this.frame.rotation && x >= 0 && x < 1;
    this.handlers.hover(over ? [this.column(x), this.row(y)] : null);
  }

  key(event) {
    const step = event.ctrlKey ? 0.002 : 0.01;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -2 * step], ArrowDown: [0, 2 * step] };
    if (event.key in moves) {
      const [x, y] = this.cursor ?? [0.5, 0.5], [dx, dy] = moves[event.key];
      this.cursor = [(x + dx + 1) % 1, clamp(y + dy, 0, 1)];
      this.drawMarks();
    } else if (event.key === "Enter" && this.cursor && this.frame) {
      this.handlers.click(this.column(this.cursor[0]), this.row(this.cursor[1]), { shift: event.shiftKey, alt: event.altKey });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export const azimuthText = (azimuth) => {
  const whole = wrapDegrees(azimuth);
  return `${Math.abs(whole).toFixed(1)}° ${whole >= 0 ? "left" : "right"}`;
};
