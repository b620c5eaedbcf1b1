// The page: what comes over the connection is shown, what is clicked becomes a call.

import { drawCompass, drawElevation } from "./compass.js";
import { CallError, Connection } from "./connection.js";
import { readFrame } from "./frame.js";
import { clamp, toAzimuth, vectorOf } from "./geometry.js";
import { ObjectList } from "./objects.js";
import { Panorama, azimuthText } from "./panorama.js";
import { Perspective } from "./perspective.js";

const find = (id) => document.getElementById(id);
const TOOLS = {
  new: "Click an object to track it, or drag a box around it. A box may go over the left or right edge.",
  include: "Click what belongs to the selected object, too.",
  exclude: "Click what does not belong to the selected object.",
};
const TURN = 1 / 24; // part of the image for each press of a turn button

const page = {
  latest: null, // the newest frame; the panorama may hold an older one
  selected: 0,
  tool: "new",
  held: false,
  state: { level: "error", summary: "Connecting", remedy: "", images: false },
  link: "lost",
};

const panorama = new Panorama(find("picture"), find("marks"), {
  click: (u, v, modifiers) => clicked(u, v, modifiers, panorama.frame),
  box: (box) => prompt({ box, label: find("label").value }, panorama.frame, []),
  select,
  selects: () => page.tool === "new",
  hover,
  released: showLatest,
});

const perspective = new Perspective(find("perspective"), {
  click: (u, v, modifiers) => clicked(u, v, modifiers, perspective.frame),
  turned: () => {
    find("follow").checked = false;
    showView();
  },
  zoom,
});

const list = new ObjectList(find("objects"), { select, forget });

const connection = new Connection({ frame: take, state: takeState, status: takeStatus, token: askToken });

// --- what comes

const nextPaint = () => new Promise((done) => requestAnimationFrame(done)); // a hidden page asks for no frames

async function take(buffer) {
  await nextPaint();
  const frame = await readFrame(buffer);
  const old = page.latest;
  page.latest = frame;
  if (old && old !== panorama.frame) old.close();
  if (old && old.header.epoch !== frame.header.epoch) select(0); // ids are other objects' now
  if (page.selected && !frame.objects.some((each) => each.object_id === page.selected)) select(0);
  if (!page.held && !panorama.busy) showLatest();
  showObjects();
  showView({ moved: true });
  showVeil();
}

function showLatest() {
  if (page.held || panorama.busy || !page.latest || panorama.frame === page.latest) return;
  const old = panorama.frame;
  panorama.show(page.latest);
  if (old && old !== page.latest) old.close();
  const { header } = page.latest, [width, height] = header.image;
  Object.assign(find("stage").dataset, { stamp: header.stamp, width, height, epoch: header.epoch });
}

function showObjects() {
  const { objects, header } = page.latest;
  list.show(objects, page.selected, header.stamp);
  find("count").textContent = objects.length;
  find("no-objects").hidden = objects.length > 0;
  find("forget-all").disabled = !objects.length;
  find("frame").textContent = header.objects_frame_id;
  drawDials();
}

// What the node knows, where no image comes that would say so.
async function showKnown() {
  if (page.latest || page.asking) return;
  page.asking = true;
  try {
    const { objects, stamp } = await connection.call("objects");
    if (page.latest) return;
    list.show(objects, 0, stamp);
    find("count").textContent = objects.length;
    find("no-objects").hidden = objects.length > 0;
  } catch (error) {
    if (!(error instanceof CallError)) throw error; // the veil says what is wrong
  } finally {
    page.asking = false;
  }
}

function drawDials() {
  if (!page.latest) return;
  const { objects, rotation } = page.latest;
  const view = rotation && { azimuth: toAzimuth(perspective.direction, rotation)[0], width: perspective.fovDeg };
  drawCompass(find("compass"), objects, { selected: page.selected, view });
  drawElevation(find("elevation"), objects, { selected: page.selected });
}

function showView({ moved = false, atOnce = false } = {}) {
  const frame = page.latest;
  if (!frame) return;
  perspective.frame = frame;
  perspective.selected = page.selected;
  const object = frame.objects.find((each) => each.object_id === page.selected);
  if (object?.pixel && find("follow").checked && (moved || atOnce)) {
    perspective.follow(vectorOf(...frame.grid.lonLat(...object.pixel)), atOnce);
  }
  perspective.render();
  const name = object ? `View of ${object.object_id} ${object.label}`.trim() : "View";
  find("view-title").textContent = name;
  if (!moved) drawDials();
}

function takeState(state) {
  page.state = state;
  const { rate_hz: rate, model, device } = state.tracker ?? {};
  find("facts").textContent = [model, device, rate && `${Number(rate).toFixed(1)} Hz`].filter(Boolean).join(" · ");
  showVeil();
  if (!state.images) showKnown();
}

function takeStatus(kind, text) {
  page.link = kind;
  page.linkText = text;
  if (kind === "open") find("token-form").hidden = true;
  showVeil();
}

function showVeil() {
  const { state, link } = page, open = link === "open";
  const level = open ? state.level : "error";
  find("link").dataset.level = level;
  find("link-text").textContent = { ok: "live", warn: "live, with a warning" }[level]
    ?? (open ? state.summary || "live, with an error" : { full: "too many browsers", refused: "refused" }[link] ?? "connection lost");
  const veiled = !open || !state.images || !panorama.frame;
  find("veil").hidden = !veiled;
  if (!open) {
    find("veil-title").textContent = { full: "Too many browsers", refused: "Refused" }[link] ?? "Connection lost";
    find("veil-text").textContent = page.linkText ?? "";
  } else if (veiled) {
    find("veil-title").textContent = state.summary || "Waiting for an image";
    find("veil-text").textContent = state.remedy;
  }
  const says = open && !veiled && state.remedy ? `The node says: ${state.remedy}` : "";
  if (find("says").textContent !== says) find("says").textContent = says;
  find("says").hidden = !says;
}

// --- what is clicked

function clicked(u, v, { shift, alt }, frame) {
  const tool = alt ? "exclude" : shift ? "include" : page.tool;
  if (tool === "new") return prompt({ points: [[u, v, 1]], label: find("label").value }, frame, [[u, v]]);
  if (!page.selected) {
    return notice("warn", "No object is selected", "select one in the list, or by its mark in the panorama, to correct it");
  }
  return prompt({ object_id: page.selected, points: [[u, v, tool === "include" ? 1 : 0]] }, frame, [[u, v]]);
}

async function prompt(values, frame, places) {
  const { header } = frame;
  panorama.pending.push(...places);
  panorama.drawMarks();
  const answer = await call("prompt", { ...values, stamp: header.stamp });
  panorama.pending = panorama.pending.filter((each) => !places.includes(each));
  panorama.drawMarks();
  if (!answer) return;
  const { object } = answer, made = !values.object_id;
  if (made) {
    find("label").value = "";
    select(object.object_id);
  }
  hint(`${made ? "Tracking" : "Corrected"} ${object.object_id} ${object.label}: ${object.state}, predicted IoU ${(object.mask_iou ?? 0).toFixed(2)}`);
}

// Make a call; show a refusal as the service gave it, and return null.
async function call(name, values) {
  try {
    const answer = await connection.call(name, values);
    find("notice").hidden = true;
    return answer;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    notice("error", error.code ? `${error.name} (${error.code})` : error.name, error.message);
    return null;
  }
}

async function forget(id) {
  if (await call("remove", { object_ids: [id] })) {
    hint(`Object ${id} is forgotten`);
    if (page.selected === id) select(0);
  }
}

async function forgetAll() {
  find("confirm-text").textContent = `Forget all ${page.latest.objects.length} objects? Only a memory file brings them back.`;
  const dialog = find("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const answer = await call("reset");
  if (answer) hint(answer.message || "All objects are forgotten");
}

async function useFile(name, file) {
  const answer = await call(name, { name: file });
  if (!answer) return;
  const ids = answer.object_ids;
  notice("ok", name === "save" ? `Saved to ${file}` : `Loaded ${file}`, ids.length ? `objects ${ids.join(", ")}` : "no objects");
}

function select(id) {
  page.selected = id;
  panorama.select(id);
  const object = page.latest?.objects.find((each) => each.object_id === id);
  if (id) find("follow").checked = true;
  if (object) fit(object);
  if (page.latest) {
    showObjects();
    showView({ atOnce: true });
  }
  useTool(id ? page.tool : "new");
}

function useTool(tool) {
  if (tool !== "new" && !page.selected) {
    notice("warn", "No object is selected", "select one in the list, or by its mark in the panorama, to correct it");
    tool = "new";
  }
  page.tool = tool;
  for (const each of document.querySelectorAll("[data-tool]")) {
    each.setAttribute("aria-checked", each.dataset.tool === tool);
    each.tabIndex = each.dataset.tool === tool ? 0 : -1;
  }
  hint(TOOLS[tool]);
}

function hold(held) {
  page.held = held;
  find("freeze").setAttribute("aria-pressed", held);
  const seconds = panorama.frame?.header.history_s;
  hint(held ? `The picture is held. The node takes prompts with it for about ${seconds?.toFixed(0) ?? "some"} s.` : TOOLS[page.tool]);
  showLatest();
}

// Make the view wide enough for an object.
function fit({ extent_horizontal_deg: across, extent_vertical_deg: up }) {
  zoom(Math.round(clamp(2 * Math.max(across, up * 4 / 3), 25, 100)) - perspective.fovDeg);
}

function zoom(degrees) {
  perspective.fovDeg = clamp(perspective.fovDeg + degrees, 15, 120);
  find("fov").value = perspective.fovDeg;
  find("fov-text").textContent = `${perspective.fovDeg}°`;
  showView();
}

// --- words

function hint(text) {
  find("hint").textContent = text;
}

function hover(pixel) {
  const { frame } = panorama;
  if (!pixel || !frame?.rotation) return;
  const [azimuth, elevation] = toAzimuth(vectorOf(...frame.grid.lonLat(...pixel)), frame.rotation);
  find("marks").title = `${azimuthText(azimuth)}, ${elevation.toFixed(1)}° up`;
}

function notice(level, title, text) {
  find("notice").dataset.level = level;
  find("notice-title").textContent = title;
  find("notice-text").textContent = text;
  find("notice").hidden = false;
}

function askToken() {
  takeStatus("refused", "Give the token above.");
  find("token-form").hidden = false;
  const given = page.token;
  page.token = "";
  if (given) login(given);
  else find("token").focus();
}

async function login(token) {
  try {
    await connection.login(token);
  } catch (error) {
    find("token-error").textContent = error.message;
  }
}

// --- controls

function listen() {
  for (const each of document.querySelectorAll("[data-tool]")) {
    each.addEventListener("click", () => useTool(each.dataset.tool));
    each.addEventListener("keydown", (event) => {
      const tools = Object.keys(TOOLS), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.stopPropagation();
      useTool(tools[(tools.indexOf(page.tool) + step + tools.length) % tools.length]);
      document.querySelector(`[data-tool="${page.tool}"]`).focus();
    });
  }
  find("freeze").addEventListener("click", () => hold(!page.held));
  find("turn-left").addEventListener("click", () => panorama.turnBy(-TURN));
  find("turn-right").addEventListener("click", () => panorama.turnBy(TURN));
  find("turn-home").addEventListener("click", () => panorama.turnHome());
  find("forget-all").addEventListener("click", forgetAll);
  find("notice-close").addEventListener("click", () => { find("notice").hidden = true; });
  find("follow").addEventListener("change", () => showView({ atOnce: find("follow").checked }));
  find("fov").addEventListener("input", () => zoom(Number(find("fov").value) - perspective.fovDeg));
  find("files").addEventListener("submit", (event) => {
    event.preventDefault();
    useFile(event.submitter?.dataset.call ?? "save", find("file-name").value);
  });
  find("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    login(find("token").value);
  });
  window.addEventListener("resize", () => page.latest && drawDials());
  window.addEventListener("keydown", key);
}

function key(event) {
  if (event.target.closest("input, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const { key: pressed } = event;
  const on = event.target.closest("button, summary");
  const actions = {
    n: () => useTool("new"), p: () => useTool("include"), m: () => useTool("exclude"),
    ArrowLeft: () => panorama.turnBy(-TURN), ArrowRight: () => panorama.turnBy(TURN), Home: () => panorama.turnHome(),
    Escape: () => select(0), Delete: () => page.selected && forget(page.selected),
  };
  if (!on) actions[" "] = () => hold(!page.held);
  const nth = page.latest?.objects[Number(pressed) - 1];
  const action = /^[1-9]$/.test(pressed) ? nth && (() => select(nth.object_id)) : actions[pressed.length === 1 ? pressed.toLowerCase() : pressed];
  if (!action) return;
  event.preventDefault();
  action();
}

page.token = new URLSearchParams(location.hash.slice(1)).get("token");
if (page.token) history.replaceState(null, "", location.pathname); // not in the history, nor in a bookmark
listen();
useTool("new");
connection.open();
