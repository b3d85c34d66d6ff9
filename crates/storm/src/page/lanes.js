// The page's script, last part: the lanes of instances. Instances of a group share tracks: one begins where
// another has ended, so that the picture is as high as the group was large.

// Pixels: a head over the tracks of each family, and the heights that a track can have.
const HEAD = 20;
const TRACK = { least: 5, most: 18 };

// In tracks this high marks have shapes; in lower ones they are strokes.
const SHAPED = 10;

// Longest range in which all marks are drawn; in longer ones only those of faults and kills.
const NEAR = 6 * 3_600_000;

// How kinds of marks are drawn; the others only stand in the history.
const MARKS = {
  event: { shape: "triangle", color: "dim" },
  command: { shape: "diamond", color: "launching" },
  image: { shape: "square", color: "image" },
  heartbeat: { shape: "ring", color: "dim" },
  completion: { shape: "dot", color: "ink" },
  "event disturbed": { shape: "cross", color: "bad" },
  "call disturbed": { shape: "stroke", color: "bad" },
  error: { shape: "stroke", color: "bad" },
  "run killed": { shape: "bolt", color: "bad" },
};
const FAR = new Set(["event disturbed", "run killed"]);

// A group without the number of its generation: its family, of which each replaces the one before.
const familyOf = (group) => group.replace(/-\d+$/, "") || group;

// The lanes, with absolute times.
const lanes = story.lanes.map((lane) => {
  const unfold = (flat, size) => {
    let ms = 0;
    const made = [];
    for (let index = 0; index < flat.length; index += size) {
      ms += flat[index];
      made.push([ms, ...flat.slice(index + 1, index + size)]);
    }
    return made;
  };
  const states = unfold(lane.states, 2);
  const family = (story.accounts > 1 ? `account ${lane.account} · ` : "") + familyOf(lane.group);
  return { ...lane, states, family, marks: unfold(lane.marks, 3), from: states[0]?.[0] ?? 0, to: lane.gone ?? WHOLE };
}).sort((a, b) => a.from - b.from);

const families = [...new Set(lanes.map((lane) => lane.family))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
let selected = null;
let layout = null;

// Gives each lane that is in view a track, and each family a place.
function arrange() {
  const wanted = byId("group").value;
  let top = 0;
  const shown = families.filter((family) => wanted === "" || family === wanted).map((family) => {
    const members = lanes.filter((lane) => lane.family === family && lane.from <= view.to && lane.to >= view.from);
    // When each track is free again. A little room keeps neighbours apart.
    const free = [];
    for (const lane of members) {
      let track = free.findIndex((ms) => ms + (view.to - view.from) / 400 <= lane.from);
      if (track < 0) track = free.push(0) - 1;
      free[track] = lane.to;
      lane.track = track;
    }
    return { family, members, tracks: free.length };
  });
  const tracks = sum(shown.map((one) => one.tracks));
  // As high as fills the box.
  const room = byId("lanes-box").clientHeight - AXIS - shown.length * HEAD - 6;
  const height = Math.max(TRACK.least, Math.min(TRACK.most, Math.floor(room / Math.max(1, tracks))));
  for (const one of shown) {
    one.top = top;
    top += HEAD + one.tracks * height + 2;
    for (const lane of one.members) lane.y = one.top + HEAD + lane.track * height;
  }
  layout = { shown, height, total: top + AXIS, tracks };
}

function drawShape(pen, shape, x, y, size) {
  pen.beginPath();
  if (shape === "triangle") {
    pen.moveTo(x - size, y - size);
    pen.lineTo(x + size, y - size);
    pen.lineTo(x, y + size);
  } else if (shape === "diamond") {
    pen.moveTo(x, y - size);
    pen.lineTo(x + size, y);
    pen.lineTo(x, y + size);
    pen.lineTo(x - size, y);
  } else if (shape === "square") {
    pen.rect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
  } else if (shape === "bolt") {
    pen.moveTo(x + size, y - size);
    pen.lineTo(x - size, y + size * 0.2);
    pen.lineTo(x, y + size * 0.2);
    pen.lineTo(x - size, y + size);
    pen.lineTo(x + size, y - size * 0.2);
    pen.lineTo(x, y - size * 0.2);
  } else if (shape === "stroke") {
    pen.rect(x - 0.75, y - size, 1.5, size * 2);
  } else if (shape === "cross") {
    for (const way of [1, -1]) {
      pen.moveTo(x - size, y - size * way);
      pen.lineTo(x + size, y + size * way);
    }
    pen.lineWidth = 2;
    pen.stroke();
    return;
  } else {
    pen.arc(x, y, size * 0.8, 0, 7);
    if (shape === "ring") {
      pen.lineWidth = 1.2;
      pen.stroke();
      return;
    }
  }
  pen.fill();
}

// One life at this height.
function drawLane(pen, scale, lane, y, height, isNear) {
  const clamp = (ms) => Math.max(scale.left, Math.min(scale.end, scale.x(ms)));
  lane.states.forEach(([from, state], index) => {
    const to = lane.states[index + 1]?.[0] ?? lane.to;
    const x = clamp(from);
    const width = clamp(to) - x;
    if (width <= 0 && (scale.x(to) < scale.left || scale.x(from) > scale.end)) return;
    pen.fillStyle = color(STATE_COLORS[state]);
    pen.fillRect(x, y, Math.max(0.8, width), height);
  });
  const size = Math.min(4, height / 2 - 1);
  for (const [ms, kind] of lane.marks) {
    const name = story.kinds[kind];
    const mark = MARKS[name];
    const x = scale.x(ms);
    if (!mark || x < scale.left || x > scale.end || !(isNear || FAR.has(name))) continue;
    pen.fillStyle = pen.strokeStyle = color(mark.color);
    if (height >= SHAPED && isNear) drawShape(pen, mark.shape, x, y + height / 2, size);
    else pen.fillRect(x - 0.5, y, 1.2, height);
  }
}

function drawLanes() {
  drawSwatches();
  const box = byId("lanes-box");
  arrange();
  byId("lanes-space").style.height = `${Math.max(layout.total, box.clientHeight)}px`;
  const { pen, width, height } = paper(byId("lanes"), box.clientHeight);
  const scale = axis(width);
  const scrolled = box.scrollTop;
  const bottom = height - AXIS;
  const thick = layout.height - (layout.height > 6 ? 2 : 1);
  const isNear = view.to - view.from <= NEAR;
  drawTimes(pen, scale, 0, bottom);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, width, bottom);
  pen.clip();
  let inView = 0;
  for (const { family, members, top, tracks } of layout.shown) {
    const y = top - scrolled;
    inView += members.length;
    if (y > bottom || y + HEAD + tracks * layout.height < 0) continue;
    pen.fillStyle = color("panel");
    pen.fillRect(0, y, width, HEAD - 3);
    pen.font = `600 ${FONT}`;
    label(pen, family, 8, y + HEAD / 2 - 1, "left", "ink");
    pen.font = FONT;
    label(pen, count(members.length), scale.end + 8, y + HEAD / 2 - 1, "left");
    drawStrokes(pen, scale, family, y);
    for (const lane of members) {
      const place = lane.y - scrolled;
      if (place < -20 || place > bottom) continue;
      drawLane(pen, scale, lane, place, thick, isNear);
      if (lane !== selected && !lane.violated) continue;
      pen.strokeStyle = color(lane === selected ? "ink" : "bad");
      pen.lineWidth = lane === selected ? 2 : 1.5;
      const [from, to] = [Math.max(scale.left, scale.x(lane.from)), Math.min(scale.end, scale.x(lane.to))];
      pen.strokeRect(from - 1, place - 1, to - from + 2, thick + 2);
      if (lane.violated) label(pen, `✘ ${lane.id.slice(0, 12)}…`, scale.left - 4, place + thick / 2, "right", "bad");
    }
  }
  pen.restore();
  const parts = [
    `In view: ${plural(inView, "instance")} in ${plural(layout.tracks, "track")}`,
    `${clock(view.from)} – ${clock(view.to)}`,
    isNear ? "all marks" : `faults and kills only; for all marks zoom in to ${duration(NEAR)} or less`,
  ];
  byId("lanes-status").textContent = parts.join("; ");
  if (selected) drawDetail();
}

// What befell the group, in its head.
function drawStrokes(pen, scale, family, y) {
  for (const { at, what, group } of story.weather) {
    const x = scale.x(at);
    if (x < scale.left || x > scale.end || (group !== null && !family.endsWith(familyOf(group)))) continue;
    if (group === null && what !== "lost zones") continue;
    pen.fillStyle = color(group === null ? "bad" : "weather");
    pen.fillRect(x - 1, y + 4, 2, HEAD - 11);
  }
}

function laneAt(event) {
  if (!layout) return null;
  const y = event.offsetY + byId("lanes-box").scrollTop;
  const ms = axis(byId("lanes").clientWidth).time(event.offsetX);
  // A few pixels more: short lives are narrow.
  const near = (4 * (view.to - view.from)) / byId("lanes").clientWidth;
  const shown = layout.shown.flatMap((one) => one.members);
  return shown.find((lane) => y >= lane.y && y < lane.y + layout.height && ms >= lane.from - near && ms <= lane.to + near) ?? null;
}

function tellLane(ms, event) {
  const lane = laneAt(event);
  if (lane) {
    const state = lane.states.findLast(([from]) => from <= ms);
    const near = (6 * (view.to - view.from)) / byId("lanes").clientWidth;
    const marks = lane.marks.filter(([at]) => Math.abs(at - ms) <= near).slice(0, 6);
    return [
      `${lane.id} in ${lane.group}`,
      `${clock(ms, 1_000)}: ${state ? story.states[state[1]] : "not yet there"}; it lived ${duration(lane.to - lane.from)}`,
      ...marks.map(([at, , text]) => `${clock(at, 1_000)} ${story.texts[text]}`.slice(0, 110)),
    ].join("\n");
  }
  const y = event.offsetY + byId("lanes-box").scrollTop;
  const head = layout?.shown.find((one) => y >= one.top && y < one.top + HEAD);
  const near = (4 * (view.to - view.from)) / byId("lanes").clientWidth;
  const here = story.weather.filter((one) => Math.abs(one.at - ms) <= near && (one.group === null || head?.family.endsWith(familyOf(one.group))));
  return head && here.length > 0 ? here.map((one) => `${clock(one.at, 1_000)} ${one.what}${one.group ? `: ${one.group}` : ""}`).join("\n") : "";
}

// ---- One instance ----

// Chooses an instance; with `bring`, brings it into view.
function select(lane, bring) {
  selected = lane;
  byId("detail").hidden = lane === null;
  byId("find").value = lane?.id ?? "";
  if (lane === null) {
    writeAddress();
    drawLanes();
    return;
  }
  if (byId("group").value !== lane.family) byId("group").value = "";
  tellDetail(lane);
  if (bring && (lane.to < view.from || lane.from > view.to)) show(lane.from - (lane.to - lane.from) / 4, lane.to + (lane.to - lane.from) / 4);
  writeAddress();
  drawLanes();
  const box = byId("lanes-box");
  const above = lane.y < box.scrollTop + HEAD;
  if (above || lane.y > box.scrollTop + box.clientHeight - 40) box.scrollTop = lane.y - box.clientHeight / 2;
  drawLanes();
  if (bring) byId("detail").scrollIntoView({ block: "nearest" });
}

function tellDetail(lane) {
  byId("detail-title").textContent = `${lane.id} in ${lane.group}${story.accounts > 1 ? `, account ${lane.account}` : ""}`;
  const spent = new Map();
  lane.states.forEach(([from, state], index) => {
    const name = story.states[state];
    spent.set(name, (spent.get(name) ?? 0) + (lane.states[index + 1]?.[0] ?? lane.to) - from);
  });
  byId("detail-note").textContent =
    (lane.violated ? "Something about it did not hold. " : "") +
    `It lived ${duration(lane.to - lane.from)}: ${[...spent].map(([name, ms]) => `${name} ${duration(ms)}`).join(", ")}.`;
  let before = null;
  byId("history").replaceChildren(...lane.marks.map(([ms, kind, text]) => {
    const name = story.kinds[kind];
    const after = before === null ? "" : ms === before ? "" : `+${duration(ms - before)}`;
    before = ms;
    const bad = MARKS[name]?.color === "bad";
    return row([[clock(ms, 1), "time"], [after, "time"], [name, "kind"], [story.texts[text]]], bad ? "bad" : "");
  }));
}

function drawDetail() {
  const { pen, width, height } = paper(byId("detail-lane"));
  const room = Math.max(1_000, (selected.to - selected.from) * 0.02);
  const range = { from: selected.from - room, to: selected.to + room };
  const scale = axis(width, range);
  drawTimes(pen, scale, 0, height - AXIS, range);
  drawLane(pen, scale, selected, 10, 26, true);
}

// The next instance above or below in the tracks, or the first one in view.
function step(by) {
  if (!layout) return;
  const shown = layout.shown.flatMap((one) => one.members);
  shown.sort((a, b) => a.y - b.y || a.from - b.from);
  const index = shown.indexOf(selected);
  const next = shown[index < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, index + by))];
  if (next) select(next, false);
}

function beginLanes() {
  const option = (value, text) => {
    const made = element("option", text);
    made.value = value;
    return made;
  };
  byId("group").append(option("", "all"), ...families.map((family) => option(family, family)));
  byId("group").addEventListener("change", () => {
    byId("lanes-box").scrollTop = 0;
    writeAddress();
    drawLanes();
  });
  byId("find").addEventListener("change", (event) => {
    const wanted = event.target.value.trim();
    const lane = wanted === "" ? null : lanes.find((one) => one.id.startsWith(wanted));
    event.target.setCustomValidity(wanted !== "" && !lane ? "There is no such lane" : "");
    event.target.reportValidity();
    if (lane || wanted === "") select(lane ?? null, true);
  });
  const used = STACK.filter((state) => lanes.some((lane) => lane.states.some(([, one]) => one === state)));
  byId("legend-lanes").append(...used.map((state) => swatch(STATE_COLORS[state], story.states[state])));
  byId("legend-marks").append(...Object.entries(MARKS).map(([name, { shape, color: tone }]) => {
    const canvas = element("canvas");
    canvas.width = canvas.height = 14;
    Object.assign(canvas.dataset, { shape, tone });
    return element("span", "", "", [canvas, name]);
  }));
  const box = byId("lanes-box");
  follow(byId("lanes"), { range: () => view, tell: tellLane, click: (_, event) => select(laneAt(event), true) });
  box.addEventListener("scroll", () => requestAnimationFrame(drawLanes));
  box.addEventListener("keydown", (event) => {
    if (!["ArrowUp", "ArrowDown", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Escape") select(null, false);
    else step(event.key === "ArrowUp" ? -1 : 1);
  });
  byId("detail-close").addEventListener("click", () => select(null, false));
  byId("detail-zoom").addEventListener("click", () => {
    const room = (selected.to - selected.from) * 0.05;
    show(selected.from - room, selected.to + room);
  });
  const violated = lanes.filter((lane) => lane.violated).length;
  const which = new Set(lanes.filter((lane) => !lane.violated).map((lane) => lane.account));
  const left = story.instances - lanes.length;
  byId("note-lanes").textContent =
    `${count(lanes.length)} of ${plural(story.instances, "instance")}: ` +
    (left === 0 ? "all of them. " : `those of account ${[...which].join(", ")}, and those of violations${violated > 0 ? ` (${violated})` : ""}. `) +
    "Instances of a group share tracks: one begins where another has ended. Strokes over a group are what befell it, orange ones lost zones; at the right is how many instances are in view. Click a lane for the instance’s history.";
}

begin();
