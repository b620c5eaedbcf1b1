// What a pinhole camera without distortion would see in some direction, sampled from the panorama as it was sent.

import { clamp, cross, dot, fromAzimuth, lonLatOf, normalised, rad, vectorOf } from "./geometry.js";

const SIZE = [560, 420]; // pixels
const SMOOTH = 0.35; // part of the way to the followed object that each frame goes
const DRAG = 6; // CSS pixels from which a press is a drag
const STEEPEST = rad(88);

export class Perspective {
  // handlers: click(u, v, modifiers), turned()
  constructor(canvas, handlers) {
    Object.assign(canvas, { width: SIZE[0], height: SIZE[1] });
    this.draw2d = canvas.getContext("2d");
    this.image = this.draw2d.createImageData(...SIZE);
    this.handlers = handlers;
    this.frame = null;
    this.direction = vectorOf(0, 0); // in the camera's axes
    this.fovDeg = 70;
    this.selected = 0;
    this.listen(canvas);
  }

  // Go towards a direction: at once, or a part of the way.
  follow(direction, atOnce) {
    const part = atOnce ? 1 : SMOOTH;
    this.direction = normalised(this.direction.map((each, i) => each + part * (direction[i] - each)));
  }

  get focal() {
    return SIZE[0] / 2 / Math.tan(rad(this.fovDeg) / 2);
  }

  // right, down, forward of the view; right is level in the frame of azimuths
  axes() {
    const down = this.frame?.rotation ? fromAzimuth(0, -90, this.frame.rotation) : [0, 1, 0];
    const forward = this.direction;
    let right = cross(down, forward);
    if (Math.hypot(...right) < 1e-6) right = [1, 0, 0];
    right = normalised(right);
    return [right, cross(forward, right), forward];
  }

  ray(x, y) {
    const [right, down, forward] = this.axes(), focal = this.focal;
    const a = (x - (SIZE[0] - 1) / 2) / focal, b = (y - (SIZE[1] - 1) / 2) / focal;
    return normalised([0, 1, 2].map((i) => a * right[i] + b * down[i] + forward[i]));
  }

  render() {
    const { frame, image } = this;
    if (!frame) return;
    const [columns, rows] = SIZE, { width, height, rgba, indices } = frame, out = image.data, focal = this.focal;
    const [right, down, forward] = this.axes(), perColumn = width / (2 * Math.PI), perRow = height / frame.grid.verticalFov;
    const found = indices && new Uint8Array(columns * rows);
    for (let y = 0, at = 0; y < rows; y++) {
      const b = (y - (rows - 1) / 2) / focal;
      const sx = b * down[0] + forward[0], sy = b * down[1] + forward[1], sz = b * down[2] + forward[2];
      for (let x = 0; x < columns; x++, at++) {
        const a = (x - (columns - 1) / 2) / focal;
        const vx = a * right[0] + sx, vy = a * right[1] + sy, vz = a * right[2] + sz;
        const u = Math.atan2(vx, vz) * perColumn + width / 2 - 0.5;
        const v = height / 2 - Math.atan2(-vy, Math.hypot(vx, vz)) * perRow - 0.5;
        const o = 4 * at;
        if (v < -0.5 || v >= height - 0.5) { // above or below a cropped panorama
          out[o] = out[o + 1] = out[o + 2] = 24;
          out[o + 3] = 255;
          continue;
        }
        const u0 = Math.floor(u), v0 = Math.floor(v), fu = u - u0, fv = v - v0;
        const left = (u0 + width) % width, next = (left + 1) % width;
        const upper = Math.max(v0, 0) * width, lower = Math.min(v0 + 1, height - 1) * width;
        const p = 4 * (upper + left), q = 4 * (upper + next), r = 4 * (lower + left), s = 4 * (lower + next);
        const wp = (1 - fu) * (1 - fv), wq = fu * (1 - fv), wr = (1 - fu) * fv, ws = fu * fv;
        out[o] = wp * rgba[p] + wq * rgba[q] + wr * rgba[r] + ws * rgba[s];
        out[o + 1] = wp * rgba[p + 1] + wq * rgba[q + 1] + wr * rgba[r + 1] + ws * rgba[s + 1];
        out[o + 2] = wp * rgba[p + 2] + wq * rgba[q + 2] + wr * rgba[r + 2] + ws * rgba[s + 2];
        out[o + 3] = 255;
        if (found) found[at] = indices[(fv < 0.5 ? upper : lower) + (fu < 0.5 ? left : next)];
      }
    }
    if (found) this.tint(found);
    this.draw2d.putImageData(image, 0, 0);
  }

  tint(found) {
    const [columns, rows] = SIZE, out = this.image.data, { colours, objects } = this.frame;
    for (let y = 0, at = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, at++) {
        const here = found[at];
        if (!here) continue;
        const border = (x && found[at - 1] !== here) || (x + 1 < columns && found[at + 1] !== here)
          || (y && found[at - columns] !== here) || (y + 1 < rows && found[at + columns] !== here);
        const part = border ? 1 : objects[here - 1].object_id === this.selected ? 0.3 : 0.2;
        for (let c = 0; c < 3; c++) out[4 * at + c] += part * (colours[here][c] - out[4 * at + c]);
      }
    }
  }

  turnBy(across, up) { // rad, on the sphere
    const [right, down, forward] = this.axes();
    const turned = normalised([0, 1, 2].map((i) => forward[i] + Math.tan(across) * right[i] - Math.tan(up) * down[i]));
    const level = this.frame?.rotation ? fromAzimuth(0, 90, this.frame.rotation) : [0, -1, 0];
    if (Math.abs(Math.asin(clamp(dot(turned, level), -1, 1))) < STEEPEST) this.direction = turned;
    this.handlers.turned();
  }

  listen(canvas) {
    let press = null;
    const scale = () => SIZE[0] / canvas.clientWidth;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.frame) return;
      canvas.setPointerCapture(event.pointerId);
      press = { x: event.clientX, y: event.clientY, button: event.button, moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!press) return;
      const dx = event.clientX - press.x, dy = event.clientY - press.y;
      if (!press.moved && Math.hypot(dx, dy) < DRAG) return;
      Object.assign(press, { x: event.clientX, y: event.clientY, moved: true });
      this.turnBy(Math.atan(-dx * scale() / this.focal), Math.atan(dy * scale() / this.focal));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (press && !press.moved && this.frame) {
        const box = canvas.getBoundingClientRect();
        const ray = this.ray((event.clientX - box.left) * scale() - 0.5, (event.clientY - box.top) * scale() - 0.5);
        const [u, v] = this.frame.grid.pixel(...lonLatOf(ray));
        if (v >= -0.5 && v < this.frame.grid.height - 0.5) {
          this.handlers.click(u, v, { shift: event.shiftKey, alt: event.altKey || press.button === 2 });
        }
      }
      press = null;
    });
    canvas.addEventListener("pointercancel", () => { press = null; });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => {
      const step = rad(this.fovDeg) / 20;
      const turns = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (event.key in turns) this.turnBy(...turns[event.key]);
      else if (event.key === "+" || event.key === "-") this.handlers.zoom(event.key === "+" ? -5 : 5);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.handlers.zoom(Math.sign(event.deltaY) * 4);
    }, { passive: false });
  }
}
