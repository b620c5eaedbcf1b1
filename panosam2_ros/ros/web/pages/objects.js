// The list of objects; its rows stay the same elements, so that focus and scrolling do.

import { azimuthText } from "./panorama.js";

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}°`;
const ago = (seconds) => seconds < 0.05 ? "seen now" : `seen ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s ago`;

export class ObjectList {
  // handlers: select(id), forget(id)
  constructor(list, handlers) {
    this.list = list;
    this.handlers = handlers;
    this.rows = new Map();
  }

  show(objects, selected, stamp) {
    const known = new Set(objects.map((each) => each.object_id));
    for (const [id, row] of this.rows) {
      if (known.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    for (const each of objects) {
      if (!this.rows.has(each.object_id)) this.add(each.object_id);
      this.fill(this.rows.get(each.object_id), each, each.object_id === selected, stamp);
    }
  }

  add(id) {
    const row = document.createElement("li");
    row.innerHTML = '<button type="button" class="pick"><span class="title"></span><span class="state"></span>'
      + '<span class="numbers"></span></button><button type="button" class="drop">×</button>';
    row.dataset.id = id;
    row.querySelector(".pick").addEventListener("click", () => this.handlers.select(id));
    row.querySelector(".drop").addEventListener("click", () => this.handlers.forget(id));
    row.querySelector(".drop").setAttribute("aria-label", `Forget object ${id}`);
    row.querySelector(".drop").title = `Forget object ${id}`;
    this.rows.set(id, row);
    this.list.append(row);
  }

  fill(row, object, chosen, stamp) {
    const put = (name, text) => {
      const element = row.querySelector(name);
      if (element.textContent !== text) element.textContent = text;
    };
    put(".title", `${object.object_id} ${object.label}`.trim());
    put(".state", object.state);
    put(".numbers", `${azimuthText(object.azimuth_deg)}, ${signed(object.elevation_deg)}`
      + ` · score ${(object.score ?? 0).toFixed(2)} · ${ago(object.unseen_s)}`);
    row.querySelector(".state").className = `state ${object.state}`;
    row.style.borderLeftColor = object.colour;
    row.classList.toggle("selected", chosen);
    row.querySelector(".pick").setAttribute("aria-pressed", chosen);
    Object.assign(row.dataset, { stamp, azimuth: object.azimuth_deg, elevation: object.elevation_deg, state: object.state });
  }
}
