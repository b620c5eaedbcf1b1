// Pixels of an equirectangular panorama, directions on the sphere, azimuth and elevation.
// Axes are optical: x right, y down, z forward. Centres of pixels are integers. Angles are radians unless they end in Deg.

export const rad = (degrees) => degrees * Math.PI / 180;
export const deg = (radians) => radians * 180 / Math.PI;
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Bring a column into the image: -0.5 up to, and without, width - 0.5.
export function wrapColumn(u, width) {
  const wrapped = (u + 0.5) - Math.floor((u + 0.5) / width) * width - 0.5;
  return wrapped >= width - 0.5 ? wrapped - width : wrapped;
}

export const wrapDegrees = (angle) => angle - 360 * Math.floor((angle + 180) / 360);

export function vectorOf(lon, lat) {
  return [Math.cos(lat) * Math.sin(lon), -Math.sin(lat), Math.cos(lat) * Math.cos(lon)];
}

export function lonLatOf([x, y, z]) {
  return [Math.atan2(x, z), Math.atan2(-y, Math.hypot(x, z))];
}

export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

export function normalised(vector) {
  const length = Math.hypot(...vector) || 1;
  return vector.map((each) => each / length);
}

// The image to which prompts refer: its size, and how much of the sphere its rows cover.
export class Grid {
  constructor(width, height, verticalFov) {
    Object.assign(this, { width, height, verticalFov });
  }

  lonLat(u, v) {
    return [((u + 0.5) / this.width - 0.5) * 2 * Math.PI, (0.5 - (v + 0.5) / this.height) * this.verticalFov];
  }

  pixel(lon, lat) {
    return [
      wrapColumn((lon / (2 * Math.PI) + 0.5) * this.width - 0.5, this.width),
      (0.5 - lat / this.verticalFov) * this.height - 0.5,
    ];
  }
}

// Azimuth and elevation, as messages have them, to a direction in the camera's axes; rotation: null where unknown.
export function fromAzimuth(azimuthDeg, elevationDeg, rotation) {
  const level = vectorOf(-rad(azimuthDeg), rad(elevationDeg));
  return rotation && rotation.map((row) => dot(row, level));
}

export function toAzimuth(direction, rotation) {
  const level = [0, 1, 2].map((i) => rotation[0][i] * direction[0] + rotation[1][i] * direction[1] + rotation[2][i] * direction[2]);
  const [lon, lat] = lonLatOf(level);
  return [-deg(lon), deg(lat)];
}
