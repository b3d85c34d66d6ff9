// The page's script, first part: the data, the range of time that is shown, words, and tables.
// `charts.js` draws what has an axis of time, `pointer.js` follows the pointer on it, `lanes.js` draws the instances.
// The parts are one script. All text is set as text, never as markup.
"use strict";

const story = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// The whole storm in milliseconds, and the shortest range that can be shown.
const WHOLE = story.intervals * story.width;
const SHORTEST = Math.min(10_000, WHOLE);

// The range that is shown, in milliseconds since the beginning.
const view = { from: 0, to: WHOLE };
const isWhole = () => view.from <= 0 && view.to >= WHOLE;

// ---- Words ----

const count = (number) => Math.round(number).toLocaleString("en-US");
const plural = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const two = (number) => String(number).padStart(2, "0");

// A time of the lab: `Mon 07:03`, with seconds or milliseconds where they matter.
function clock(ms, detail = 60_000) {
  const date = new Date(story.began + ms);
  let text = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  if (detail < 60_000) text += `:${two(date.getUTCSeconds())}`;
  if (detail < 1_000) text += `.${String(date.getUTCMilliseconds()).padStart(3, "0")}`;
  const days = WHOLE > 7 * 86_400_000 ? `${DAYS[date.getUTCDay()]} ${date.toISOString().slice(0, 10)}` : DAYS[date.getUTCDay()];
  return `${days} ${text}`;
}

// A duration in its two largest units.
function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, "")} s`;
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  let left = Math.round(ms / 1_000);
  const parts = [];
  for (const [unit, seconds] of units) {
    const whole = Math.floor(left / seconds);
    if (whole > 0) parts.push(`${whole} ${unit}`);
    left -= whole * seconds;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

const usd = (number) => (number === 0 ? "0" : number >= 1 ? number.toFixed(2) : number.toPrecision(2));

// An element with text, and with children.
function element(name, text = "", className = "", children = []) {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  if (className !== "") made.className = className;
  made.append(...children);
  return made;
}

function row(cells, className = "") {
  return element("tr", "", className, cells.map(([text, kind = "", children = []]) => {
    const cell = element(kind === "head" ? "th" : "td", text, kind === "head" ? "" : kind, children);
    if (kind === "head") cell.scope = "row";
    return cell;
  }));
}

const sum = (values, from = 0, to = values.length) => {
  let total = 0;
  for (let index = Math.max(0, from); index < Math.min(to, values.length); index += 1) total += values[index];
  return total;
};

// The intervals, and the slices, that are in view.
const intervalsInView = () => [Math.floor(view.from / story.width), Math.ceil(view.to / story.width)];
const slicesInView = () => {
  const slice = story.slice * story.width;
  return [Math.floor(view.from / slice), Math.ceil(view.to / slice)];
};

// ---- The head ----

function figure(number, what, more) {
  return element("div", "", "", [element("dt", what), element("dd", number), element("dd", more, "small")]);
}

function tellHead() {
  const held = story.violated === 0;
  byId("title").textContent = `Storm of seed ${story.seed}`;
  document.title = `Storm of seed ${story.seed}: ${held ? "every invariant held" : plural(story.violated, "violation")}`;
  byId("verdict").textContent = held ? "✔ Every invariant held" : `✘ ${plural(story.violated, "violation")}`;
  byId("verdict").className = held ? "" : "bad";

  const faults = { none: "without faults", light: "under light faults", heavy: "under heavy faults" }[story.faults];
  const where = story.accounts > 1 ? ` in ${story.accounts} accounts` : story.account === null ? "" : ` in account ${story.account}`;
  byId("lead").textContent =
    `${plural(story.instances, "instance")} lived and died${where} within ${plural(story.days, "day")} of the lab’s time, ${faults}, ` +
    "and the lifecycle functions looked after each of them.";
  byId("command").textContent = story.command;

  const total = (rows, what) => sum(story.rows.filter((one) => one.row === rows && (!what || one.what.startsWith(what))).flatMap((one) => one.counts));
  const all = (key) => sum(story.usage.flatMap((one) => one[key]));
  const calls = all("calls");
  const failedCalls = total("faults", "calls");
  const checks = sum(story.invariants.map((one) => one.checks));
  const actions = story.outcomes[0].rows;
  const answered = sum(actions.filter(([what]) => /CONTINUE|ABANDON/.test(what)).map(([, number]) => number));
  const cost = story.usage.reduce((total, one) => total + price(sum(one.runs), sum(one.ms)), 0);
  byId("figures").append(
    figure(count(story.instances), "instances", `${count(total("weather"))} incidents befell them`),
    figure(count(answered), "actions completed", `of ${count(sum(actions.map(([, number]) => number)))} lifecycle actions; the others timed out, by design or by faults, or AWS broke them off`),
    figure(count(total("faults", "events")), "events disturbed", "lost, doubled, late or reordered"),
    figure(count(failedCalls), "calls disturbed", `${((100 * failedCalls) / Math.max(1, calls)).toFixed(1)} % of ${count(calls)}; ${plural(total("faults", "runs"), "run")} killed`),
    figure(count(checks), "checks of invariants", held ? "and no violation" : `and ${plural(story.violated, "violation")}`),
    figure(`$${usd(cost)}`, "for Lambda", `$${usd((1_000 * cost) / Math.max(1, story.instances))} per 1,000 instances, ecs-scheduler and sweeps included`),
  );
}

function tellViolations() {
  byId("violations").hidden = story.violated === 0;
  for (const violation of story.violations) {
    const item = element("li", "", "", [element("b", violation.what)]);
    const lane = lanes.find((one) => one.id === violation.instance && one.account === violation.account);
    if (lane) {
      const show = element("button", "Show");
      show.type = "button";
      show.addEventListener("click", () => select(lane, true));
      item.append(" ", show);
    }
    item.append(element("p", "", "replay", ["To play it again: ", element("code", violation.command)]));
    if (violation.history.length > 0) {
      item.append(element("details", "", "", [element("summary", "Everything that was seen of it"), element("pre", violation.history.join("\n"))]));
    }
    byId("violation-list").append(item);
  }
  const untold = story.violated - story.violations.length;
  if (untold > 0) byId("violation-list").append(element("li", `and ${count(untold)} more`));
}

// ---- Tables ----

// What Lambda bills.
const price = (runs, ms) => runs * story.prices.usdPerRequest + (ms / 1_000) * story.prices.gigabytes * story.prices.usdPerGbSecond;

function tellCosts() {
  const [from, to] = slicesInView();
  const body = byId("costs");
  body.replaceChildren();
  const totals = { events: 0, runs: 0, failed: 0, ms: 0, calls: 0, throttled: 0 };
  const line = (name, of, isFunction, className) => {
    const cost = price(of.runs, of.ms);
    const blank = (text) => (isFunction ? text : "");
    body.append(row([
      [name, "head"], [blank(count(of.events)), "n"], [blank(count(of.runs)), "n"], [blank(count(of.failed)), "n"],
      [blank(count(of.ms / 1_000)), "n"], [count(of.calls), "n"], [count(of.throttled), "n"],
      [blank(usd(cost)), "n"], [blank(of.events > 0 ? usd((1_000 * cost) / of.events) : "–"), "n"],
    ], className));
  };
  for (const usage of story.usage.filter((one) => sum(one.runs) > 0)) {
    const of = Object.fromEntries(Object.keys(totals).map((key) => [key, sum(usage[key], from, to)]));
    for (const key of Object.keys(totals)) totals[key] += of[key];
    line(usage.function, of, true, "");
  }
  line("All functions", totals, true, "sum");
  for (const usage of story.usage.filter((one) => sum(one.runs) === 0)) {
    line(`${usage.function}, for comparison`, { runs: 0, ms: 0, calls: sum(usage.calls, from, to), throttled: sum(usage.throttled, from, to) }, false, "");
  }
  const { gigabytes, usdPerGbSecond, usdPerRequest } = story.prices;
  byId("note-cost").textContent =
    `${isWhole() ? "The whole storm." : "What is in view, rounded to slices of " + duration(story.slice * story.width) + "."} ` +
    `Assumed: ${gigabytes * 1_024} MB, ${usdPerGbSecond.toFixed(10)} USD per GB-second (x86_64, us-east-1), ${(usdPerRequest * 1e6).toFixed(2)} USD per million requests. ` +
    "An event of a sweep or of ecs-scheduler is a run of its schedule. Logs, queues and the images’ snapshots are not in it.";
}

function tellInvariants() {
  for (const { sentence, checks, violations } of story.invariants) {
    const [sign, kind] = violations > 0 ? ["✘", "bad"] : checks > 0 ? ["✔", "good"] : ["–", "kind"];
    byId("invariants").append(row(
      [[sign, kind], [sentence], [checks > 0 ? count(checks) : "never met", "n"], [count(violations), violations > 0 ? "n bad" : "n"]],
    ));
  }
}

function tellOutcomes() {
  for (const { title, rows } of story.outcomes.filter((one) => one.rows.length > 0)) {
    const body = element("tbody", "", "", rows.map(([what, number]) => row([[what], [count(number), "n"]])));
    byId("outcomes").append(element("div", "", "", [element("h3", title), element("table", "", "", [body])]));
  }
}

// ---- The range ----

// Shows this range, or the nearest one that there is.
function show(from, to) {
  const span = Math.min(WHOLE, Math.max(SHORTEST, to - from));
  const middle = (from + to) / 2;
  view.from = Math.round(Math.max(0, Math.min(WHOLE - span, middle - span / 2)));
  view.to = Math.round(view.from + span);
  writeAddress();
  draw();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

function pan(share) {
  const by = (view.to - view.from) * share;
  const room = Math.max(-view.from, Math.min(WHOLE - view.to, by));
  show(view.from + room, view.to + room);
}

const MOVES = { in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.25), right: () => pan(0.25), all: () => show(0, WHOLE) };
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" };

// The address says what is shown, so that a link can: #from=…&to=…&group=…&instance=…&theme=…
const address = () => new URLSearchParams(location.hash.slice(1));

function writeAddress() {
  const parts = address();
  const iso = (ms) => new Date(story.began + ms).toISOString();
  for (const key of ["from", "to", "group", "instance"]) parts.delete(key);
  if (!isWhole()) {
    parts.set("from", iso(view.from));
    parts.set("to", iso(view.to));
  }
  if (byId("group").value) parts.set("group", byId("group").value);
  if (selected) parts.set("instance", selected.id);
  const hash = parts.toString().replaceAll("%3A", ":");
  // Where a page may not change its address, it stays as it is.
  try {
    history.replaceState(null, "", hash ? `#${hash}` : "#");
  } catch {
    return;
  }
}

function readAddress() {
  const parts = address();
  const time = (key, otherwise) => {
    const ms = Date.parse(parts.get(key) ?? "") - story.began;
    return Number.isNaN(ms) ? otherwise : ms;
  };
  if (["light", "dark"].includes(parts.get("theme"))) setTheme(parts.get("theme"));
  byId("group").value = families.find((one) => one === parts.get("group")) ?? "";
  const lane = lanes.find((one) => one.id === parts.get("instance"));
  const [from, to] = [time("from", 0), time("to", WHOLE)];
  if (lane) select(lane, false);
  show(from, to);
}

// ---- Light and dark ----

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light");

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  forgetColors();
  byId("theme").textContent = name === "dark" ? "Light" : "Dark";
}

// ---- Everything together ----

function draw() {
  const span = view.to - view.from;
  const detail = span < 600_000 ? 1_000 : 60_000;
  byId("range").textContent = `${clock(view.from, detail)} – ${clock(view.to, detail)} (${isWhole() ? "the whole storm, " : ""}${duration(span)})`;
  document.body.dataset.from = view.from;
  document.body.dataset.to = view.to;
  document.body.dataset.theme = theme();
  drawCharts();
  drawLanes();
  tellCosts();
  tellLatencies();
}

// Draws once, however often it was asked for before the next picture.
let asked = 0;
function drawSoon() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(draw);
}

function begin() {
  byId("theme").textContent = theme() === "dark" ? "Light" : "Dark";
  byId("theme").addEventListener("click", () => {
    setTheme(theme() === "dark" ? "light" : "dark");
    draw();
  });
  prefersDark.addEventListener("change", () => {
    forgetColors();
    draw();
  });
  for (const button of document.querySelectorAll("[data-move]")) {
    button.addEventListener("click", () => MOVES[button.dataset.move]());
  }
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT"].includes(event.target.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    MOVES[KEYS[event.key]]();
  });
  addEventListener("resize", drawSoon);
  addEventListener("hashchange", readAddress);
  // Paper is white.
  addEventListener("beforeprint", () => {
    byId("theme").dataset.before = theme();
    setTheme("light");
    draw();
  });
  addEventListener("afterprint", () => {
    setTheme(byId("theme").dataset.before);
    draw();
  });
  tellHead();
  tellInvariants();
  tellOutcomes();
  beginCharts();
  beginLanes();
  tellViolations();
  readAddress();
  document.body.dataset.drawn = "yes";
}
