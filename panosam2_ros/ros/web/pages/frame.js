// One panorama with its masks and objects, as panosam2_web sends it (browser_frame.py has the format).

import { Grid } from "./geometry.js";

const reader = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function pixels(bitmap) {
  const { width, height } = bitmap;
  if (reader.canvas.width !== width || reader.canvas.height !== height) {
    Object.assign(reader.canvas, { width, height });
  }
  reader.drawImage(bitmap, 0, 0);
  return reader.getImageData(0, 0, width, height).data;
}

const rgb = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

export async function readFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length, end = start + header.jpeg_bytes;
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const picture = createImageBitmap(new Blob([new Uint8Array(buffer, start, header.jpeg_bytes)], { type: "image/jpeg" }));
  const masks = end < buffer.byteLength
    ? createImageBitmap(new Blob([new Uint8Array(buffer, end)], { type: "image/png" }), exact) : null;
  return new Frame(header, await picture, await masks);
}

export class Frame {
  constructor(header, bitmap, masks) {
    this.header = header;
    this.bitmap = bitmap;
    this.width = bitmap.width;
    this.height = bitmap.height;
    this.grid = new Grid(...header.image, header.vertical_fov);
    this.rotation = header.level_to_camera;
    this.objects = header.objects;
    this.colours = [[0, 0, 0], ...header.objects.map((each) => rgb(each.colour))];
    this.rgba = pixels(bitmap);
    this.indices = masks && this.readIndices(masks);
    masks?.close();
  }

  // [H * W]: 0, or 1 + the index of an object
  readIndices(masks) {
    const data = pixels(masks), found = new Uint8Array(data.length / 4);
    for (let i = 0; i < found.length; i++) found[i] = data[4 * i];
    return found;
  }

  // Tint and outline of all masks, to be drawn over the picture; null where there are none.
  overlay(selected) {
    if (!this.indices) return null;
    const { width, height, indices, colours } = this;
    const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer);
    const paint = (alpha) => colours.map(([r, g, b]) => (alpha << 24 | b << 16 | g << 8 | r) >>> 0);
    const edge = paint(255), chosen = paint(125), other = paint(80);
    const tint = other.map((each, i) => this.objects[i - 1]?.object_id === selected ? chosen[i] : each);
    const thick = Math.max(1, Math.round(width / 800));
    for (let y = 0, at = 0; y < height; y++) {
      const row = y * width;
      for (let x = 0; x < width; x++, at++) {
        const here = indices[at];
        if (!here) continue;
        const left = x >= thick ? at - thick : at - thick + width; // across the seam
        const right = x + thick < width ? at + thick : row + x + thick - width;
        const inside = indices[left] === here && indices[right] === here
          && (y < thick || indices[at - thick * width] === here)
          && (y + thick >= height || indices[at + thick * width] === here);
        out[at] = inside ? tint[here] : edge[here];
      }
    }
    return image;
  }

  close() {
    this.bitmap.close();
  }
}
