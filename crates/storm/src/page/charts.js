// The page's script, second part: everything that is drawn along the time but the instances themselves.

// Room at the left for labels and at the right for counts, in pixels.
const gutter = () => (innerWidth <= 800 ? { left: 122, right: 48 } : { left: 138, right: 56 });

// Narrowest column of a chart, in pixels: several intervals make one where there are more of them.
const COLUMN = 3;
const AXIS = 18;

const STATE_COLORS = ["pending", "launching", "serving", "waiting", "dying", "warm", "other"];

// From the bottom to the top of a stack: what lasts lies below.
const STACK = [2, 5, 6, 0, 1, 3, 4];

// `Pending:Wait` and `Terminating:Wait`.
const WAITS = [1, 3];

// ---- Colours ----

let colors = {};
const forgetColors = () => (colors = {});

// A colour of the style, as a canvas takes it.
function color(name) {
  if (!(name in colors)) {
    const probe = element("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    colors[name] = getComputedStyle(probe).color;
    probe.remove();
  }
  return colors[name];
}

const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

// ---- Canvases ----

// A canvas as large as it is shown, empty.
function paper(canvas, height = Number(canvas.dataset.height)) {
  const scale = devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(canvas.clientWidth * scale) || width;
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.font = FONT;
  pen.textBaseline = "middle";
  return { pen, width: canvas.width / scale, height };
}

// From a time to a place, and back.
function axis(width, range = view) {
  const { left, right } = gutter();
  const plot = Math.max(1, width - left - right);
  const perMs = plot / (range.to - range.from);
  return {
    left, plot, perMs, end: left + plot,
    x: (ms) => left + (ms - range.from) * perMs,
    time: (x) => range.from + (x - left) / perMs,
  };
}

const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000].map((step) => step * 1_000);

// Lines and labels of the time. A label that would leave the plot is left out.
function drawTimes(pen, scale, top, bottom, range = view) {
  const step = STEPS.find((one) => one * scale.perMs >= 84) ?? STEPS.at(-1);
  const first = Math.ceil((story.began + range.from) / step) * step - story.began;
  for (let ms = first; ms <= range.to; ms += step) {
    const x = Math.round(scale.x(ms)) + 0.5;
    pen.fillStyle = color("grid");
    pen.fillRect(x - 0.5, top, 1, bottom - top);
    const [day, time] = clock(ms, step).split(/ (?=[^ ]*$)/);
    const midnight = (story.began + ms) % 86_400_000 === 0;
    const text = step >= 86_400_000 ? day : midnight ? `${day} ${time}` : time;
    const half = pen.measureText(text).width / 2;
    if (x - half < scale.left - 4 || x + half > scale.end + 30) continue;
    pen.fillStyle = midnight ? color("ink") : color("dim");
    pen.textAlign = "center";
    pen.fillText(text, x, bottom + AXIS / 2 + 2);
  }
  // Where the weather ends.
  const ends = scale.x(story.weatherEnds);
  if (ends > scale.left + 1 && ends < scale.end - 1) {
    pen.fillStyle = color("dim");
    for (let y = top; y < bottom; y += 6) pen.fillRect(Math.round(ends), y, 1, 3);
  }
}

// A round number not below this one.
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1e-9)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((one) => one * power).find((one) => one >= number * 0.999);
}

// What an axis of these values ends at. Where a few tower over all others, as the storm's end does, it ends
// below them: they are cut off and say how much they are.
function ceiling(values, least) {
  const sorted = values.toSorted((a, b) => a - b);
  const usual = sorted[Math.floor(sorted.length * 0.985)] || Infinity;
  return roundUp(Math.max(least, sorted.findLast((value) => value <= 2 * usual) ?? 0));
}

// The columns that are cut off: at the end of the first of neighbours stands the highest.
function drawCuts(pen, scale, made, values, most, y) {
  let last = null;
  const cuts = [];
  values.forEach((value, index) => {
    if (value <= most) return;
    if (last !== null && made[index].x - made[last].x < 40) {
      cuts.at(-1).value = Math.max(cuts.at(-1).value, value);
    } else {
      cuts.push({ x: made[index].x, value });
      last = index;
    }
  });
  for (const { x, value } of cuts) {
    const left = x > scale.end - 60;
    label(pen, `↕ ${short(value)}`, left ? x - 4 : x + 8, y, left ? "right" : "left", "ink");
  }
}

function label(pen, text, x, y, align = "right", name = "dim") {
  pen.fillStyle = color(name);
  pen.textAlign = align;
  pen.fillText(text, x, y);
}

const short = (number) => (number >= 10_000 ? `${+(number / 1_000).toFixed(1)}k` : (+number.toPrecision(3)).toLocaleString("en-US"));

// Horizontal lines at nothing, half and all of `most`.
function drawLevels(pen, scale, most, y) {
  for (const level of [0, most / 2, most]) {
    pen.fillStyle = color("grid");
    pen.fillRect(scale.left, Math.round(y(level)), scale.plot, 1);
    label(pen, short(level), scale.left - 8, y(level));
  }
}

// The columns of a chart: which intervals each of them sums up, and where it stands, on whole pixels.
function columns(scale, range = view) {
  const each = Math.max(1, Math.ceil(COLUMN / (story.width * scale.perMs)));
  const made = [];
  const first = Math.floor(range.from / story.width / each) * each;
  for (let from = first; from * story.width < range.to && from < story.intervals; from += each) {
    const to = Math.min(from + each, story.intervals);
    const x = Math.round(Math.max(scale.left, scale.x(from * story.width)));
    made.push({ from, to, x, width: Math.max(1, Math.round(Math.min(scale.end, scale.x(to * story.width))) - x) });
  }
  return { each, made };
}

// A column is drawn with a gap where there is room for one.
const bar = (pen, column, y, height) => pen.fillRect(column.x, y, column.width - (column.width > 3 ? 1 : 0), height);

// ---- What the charts show ----

// How many instances were in each state, averaged over an interval's beginning and end.
const population = story.population.map((changes) => {
  let now = 0;
  return Array.from({ length: story.intervals }, (_, index) => {
    const before = now;
    now += changes[index] ?? 0;
    return (before + now) / 2;
  });
});

const rowOf = (what) => story.rows.find((one) => one.what === what)?.counts ?? [];

// Rows in the order in which people think of them; what is not in it comes after.
const ORDER = [
  "scale-outs", "scale-ins", "instance refreshes", "deployments", "roll-backs", "lost zones", "failed instances", "Spot reclaims",
  "rebalances", "expired lifetimes", "lost agents",
  "events lost", "events late", "events doubled", "events reordered", "calls throttled", "calls failed or cut", "runs killed", "no room for runs",
];
const rank = ({ row: kind, what }) => (kind === "faults" ? 100 : 0) + (ORDER.indexOf(what) + 1 || 99);
const weatherRows = story.rows.filter((one) => one.row !== "lives").sort((a, b) => rank(a) - rank(b));
const services = story.calls.map((one) => ({ ...one, total: sum(one.answered) + sum(one.refused) })).sort((a, b) => b.total - a.total);
const charts = ["population", "waits", "lives", "weather", "calls", "bucket"];

// Instances in these states over the time, stacked.
function drawStates(canvas, range, states) {
  const { pen, width, height } = paper(canvas);
  const scale = axis(width, range);
  const [top, bottom] = [8, height - AXIS];
  const { made } = columns(scale, range);
  const means = made.map(({ from, to }) => states.map((state) => sum(population[state], from, to) / (to - from)));
  const all = means.map((of) => sum(of));
  const most = states === STACK ? roundUp(Math.max(1, ...all)) : ceiling(all, 1);
  const y = (value) => bottom - (Math.min(value, most) / most) * (bottom - top);
  if (canvas.id === "overview") {
    label(pen, "whole storm", scale.left - 8, (top + bottom) / 2);
  } else {
    drawLevels(pen, scale, most, y);
    label(pen, "instances", scale.left - 8, top + (bottom - top) / 4);
  }
  drawTimes(pen, scale, top, bottom, range);
  made.forEach((column, index) => {
    let level = 0;
    states.forEach((state, nth) => {
      const value = means[index][nth];
      pen.fillStyle = color(STATE_COLORS[state]);
      pen.fillRect(column.x, y(level + value), column.width, y(level) - y(level + value));
      level += value;
    });
  });
  drawCuts(pen, scale, made, all, most, top + 6);
  return { pen, scale, top, bottom };
}

function drawOverview() {
  const { pen, scale, top, bottom } = drawStates(byId("overview"), { from: 0, to: WHOLE }, STACK);
  if (isWhole()) return;
  const [from, to] = [scale.x(view.from), scale.x(view.to)];
  pen.globalAlpha = 0.72;
  pen.fillStyle = color("paper");
  pen.fillRect(scale.left, top, from - scale.left, bottom - top);
  pen.fillRect(to, top, scale.end - to, bottom - top);
  pen.globalAlpha = 1;
  pen.strokeStyle = color("accent");
  pen.lineWidth = 2;
  pen.strokeRect(from, top, Math.max(2, to - from), bottom - top);
}

function drawLives() {
  const { pen, width, height } = paper(byId("lives"));
  const scale = axis(width);
  const [top, bottom] = [6, height - AXIS];
  const middle = (top + bottom) / 2;
  const { each, made } = columns(scale);
  const [born, dead] = [rowOf("launches"), rowOf("deaths")];
  const [ups, downs] = [born, dead].map((values) => made.map(({ from, to }) => sum(values, from, to)));
  const most = ceiling([...ups, ...downs], 1);
  const tall = (value) => (Math.min(value, most) / most) * (middle - top);
  drawTimes(pen, scale, top, bottom);
  made.forEach((column, index) => {
    pen.fillStyle = color("launching");
    bar(pen, column, middle - tall(ups[index]), tall(ups[index]));
    pen.fillStyle = color("waiting");
    bar(pen, column, middle, tall(downs[index]));
  });
  drawCuts(pen, scale, made, ups, most, top + 6);
  drawCuts(pen, scale, made, downs, most, bottom - 6);
  pen.fillStyle = color("dim");
  pen.fillRect(scale.left, middle, scale.plot, 1);
  label(pen, `${short(most)} launches`, scale.left - 8, top + 6);
  label(pen, `${short(most)} deaths`, scale.left - 8, bottom - 6);
  const [from, to] = intervalsInView();
  byId("note-lives").textContent = `per ${duration(each * story.width)}; in view ${count(sum(born, from, to))} launches and ${count(sum(dead, from, to))} deaths; at the dotted line the weather ends, and all groups go to 0`;
}

const ROW = 16;

function drawWeather() {
  const canvas = byId("weather");
  const weather = weatherRows.filter((one) => one.row === "weather").length;
  const gap = 6;
  const { pen, width, height } = paper(canvas, weatherRows.length * ROW + gap + AXIS);
  const scale = axis(width);
  const [from, to] = intervalsInView();
  drawTimes(pen, scale, 0, height - AXIS);
  const { made } = columns(scale);
  weatherRows.forEach(({ row: kind, what, counts }, index) => {
    const y = index * ROW + (index >= weather ? gap : 0);
    const sums = made.map((column) => sum(counts, column.from, column.to));
    const most = ceiling(sums, 1);
    label(pen, what, scale.left - 8, y + ROW / 2);
    label(pen, count(sum(counts, from, to)), scale.end + 8, y + ROW / 2, "left");
    pen.fillStyle = color("grid");
    pen.fillRect(scale.left, y + ROW - 1, scale.plot, 0.5);
    pen.fillStyle = color(kind === "weather" ? "weather" : "bad");
    made.forEach((column, nth) => {
      if (sums[nth] === 0) return;
      pen.globalAlpha = 0.3 + 0.7 * Math.min(1, sums[nth] / most);
      pen.fillRect(column.x, y + 2, column.width, ROW - 5);
    });
    pen.globalAlpha = 1;
  });
}

function drawCalls() {
  const { pen, width, height } = paper(byId("calls"));
  const scale = axis(width);
  const [top, bottom] = [8, height - AXIS];
  const { made } = columns(scale);
  const rate = (values, column) => sum(values, column.from, column.to) / ((column.to - column.from) * (story.width / 1_000));
  const rates = made.map((column) => [...services.map((one) => rate(one.answered, column)), services.reduce((all, one) => all + rate(one.refused, column), 0)]);
  const all = rates.map((of) => sum(of));
  const most = ceiling(all, 0.01);
  const y = (value) => bottom - (Math.min(value, most) / most) * (bottom - top);
  drawLevels(pen, scale, most, y);
  drawTimes(pen, scale, top, bottom);
  drawCuts(pen, scale, made, all, most, top + 6);
  made.forEach((column, index) => {
    let level = 0;
    rates[index].forEach((value, service) => {
      pen.fillStyle = color(service < services.length ? `service-${service % 6}` : "bad");
      bar(pen, column, y(level + value), y(level) - y(level + value));
      level += value;
    });
  });
  label(pen, "calls/s", scale.left - 8, top + (bottom - top) / 4);
}

function drawBucket() {
  const { pen, width, height } = paper(byId("bucket"));
  const bucket = story.bucket;
  if (!bucket) return;
  const scale = axis(width);
  const [top, bottom] = [6, height - AXIS];
  const y = (value) => bottom - (value / bucket.capacity) * (bottom - top);
  drawLevels(pen, scale, bucket.capacity, y);
  drawTimes(pen, scale, top, bottom);
  const { made } = columns(scale);
  let empty = 0;
  for (const column of made) {
    let lowest = bucket.capacity;
    for (let index = column.from; index < column.to; index += 1) lowest = Math.min(lowest, bucket.lowest[index] ?? bucket.capacity);
    pen.fillStyle = color(lowest < 1 ? "bad" : "weather");
    pen.globalAlpha = lowest < 1 ? 1 : 0.55;
    bar(pen, column, y(bucket.capacity), y(lowest) - y(bucket.capacity));
    empty += lowest < 1 ? 1 : 0;
  }
  pen.globalAlpha = 1;
  label(pen, "tokens left", scale.left - 8, top + (bottom - top) / 4);
  const which = story.accounts > 1 ? " of any account" : "";
  byId("note-bucket").textContent =
    `fewest tokens left${which}: ${bucket.capacity} at most, ${bucket.refill} come back per second, all callers share them; ` +
    (empty > 0 ? "where a column is orange down to 0 it was empty and refused calls" : "it was never empty in view");
}

function drawCharts() {
  drawOverview();
  drawStates(byId("population"), view, STACK);
  drawStates(byId("waits"), view, WAITS);
  drawLives();
  drawWeather();
  drawCalls();
  drawBucket();
}

// ---- Latencies ----

// From 10 ms to three hours, in powers of ten.
const LATENCY = { from: 1, to: 7.05 };

function tellLatencies() {
  const [from, to] = slicesInView();
  const body = byId("latencies");
  body.replaceChildren();
  for (const latency of story.latencies) {
    const classes = new Map();
    for (const slice of latency.slices.slice(Math.max(0, from), to)) {
      for (let index = 0; index < slice.length; index += 2) classes.set(slice[index], (classes.get(slice[index]) ?? 0) + slice[index + 1]);
    }
    const sorted = [...classes].sort((a, b) => a[0] - b[0]);
    const all = sum(sorted.map(([, number]) => number));
    const at = (percent) => {
      let left = Math.floor(((all - 1) * percent) / 100);
      const found = sorted.find(([, number]) => (left -= number) < 0);
      return found ? 10 ** ((found[0] + 0.5) / story.perDecade) : null;
    };
    const percentiles = isWhole() ? latency.percentiles : [50, 90, 99, 100].map(at);
    const canvas = element("canvas");
    body.append(row([
      [latency.function ?? "", "head"], [latency.what], [count(all), "n"],
      ...percentiles.map((ms) => [ms === null ? "–" : duration(ms), "n"]), ["", "spread", [canvas]],
    ]));
    drawSpread(canvas, sorted, percentiles[0]);
  }
  byId("note-latency").textContent =
    (isWhole() ? "The whole storm. " : `What is in view, to within 6 %, rounded to slices of ${duration(story.slice * story.width)}. `) +
    "In the lab’s time: a call takes 30 to 60 ms, an event 0.2 to 0.6 s, and more under faults. A drain takes as long as its application, an image as long as EC2.";
}

function drawSpread(canvas, sorted, median) {
  const { pen, width, height } = paper(canvas, 36);
  const bottom = height - 13;
  const x = (power) => 4 + ((power - LATENCY.from) / (LATENCY.to - LATENCY.from)) * (width - 24);
  pen.font = FONT.replace("12px", "10.5px");
  for (const [text, ms] of [["10 ms", 10], ["1 s", 1_000], ["1 min", 60_000], ["1 h", 3_600_000]]) {
    const place = x(Math.log10(ms));
    pen.fillStyle = color("grid");
    pen.fillRect(place, 0, 1, bottom);
    label(pen, text, Math.max(place, 14), height - 5, "center");
  }
  const most = Math.max(1, ...sorted.map(([, number]) => number));
  pen.fillStyle = color("weather");
  for (const [kind, number] of sorted) {
    const left = x(Math.max(LATENCY.from, kind / story.perDecade));
    const tall = Math.max(1, (number / most) * (bottom - 2));
    pen.fillRect(left, bottom - tall, Math.max(1, x(LATENCY.from + 1 / story.perDecade) - x(LATENCY.from) - 0.5), tall);
  }
  pen.fillStyle = color("grid");
  pen.fillRect(0, bottom, width, 1);
  if (median) {
    pen.fillStyle = color("bad");
    pen.fillRect(x(Math.log10(Math.max(10, median))), 0, 1.5, bottom);
  }
}

// ---- Legends ----

function swatch(name, text) {
  const canvas = element("canvas");
  canvas.width = canvas.height = 14;
  canvas.dataset.color = name;
  return element("span", "", "", [canvas, text]);
}

function drawSwatches() {
  for (const canvas of document.querySelectorAll("[data-color]")) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, 14, 14);
    pen.fillStyle = color(canvas.dataset.color);
    pen.fillRect(1, 2, 12, 10);
  }
  for (const canvas of document.querySelectorAll("[data-shape]")) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, 14, 14);
    pen.fillStyle = pen.strokeStyle = color(canvas.dataset.tone);
    drawShape(pen, canvas.dataset.shape, 7, 7, 4);
  }
}

function beginCharts() {
  byId("legend-states").append(...STACK.filter((state) => story.population[state].length > 0).map((state) => swatch(STATE_COLORS[state], story.states[state])));
  byId("note-waits").textContent = `in ${WAITS.map((state) => story.states[state]).join(" or ")}: an instance that comes, or goes, waits for a function’s answer`;
  byId("legend-calls").append(...services.map((one, index) => swatch(`service-${index % 6}`, one.service)), swatch("bad", "refused: too many"));
  follow(byId("overview"), {
    range: () => ({ from: 0, to: WHOLE }),
    tell: (ms) => tellTime("overview", ms),
    // A click brings the range to where it is.
    click: (ms) => show(ms - (view.to - view.from) / 2, ms + (view.to - view.from) / 2),
    wheel: true,
  });
  for (const id of charts) follow(byId(id), { range: () => view, tell: (ms) => tellTime(id, ms) });
}
