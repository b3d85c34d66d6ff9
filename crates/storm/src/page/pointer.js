// The page's script, third part: what a pointer is told, and zooming by dragging and by the wheel.

// What a chart says of a time.
function tellTime(id, ms) {
  const index = Math.max(0, Math.min(story.intervals - 1, Math.floor(ms / story.width)));
  const lines = [`${clock(index * story.width, story.width)}, ${duration(story.width)}`];
  if (["population", "overview", "waits"].includes(id)) {
    story.states.forEach((name, state) => {
      const many = Math.round(population[state][index]);
      if (many > 0) lines.push(`${count(many)} ${name}`);
    });
  } else if (id === "lives") {
    lines.push(`${plural(rowOf("launches")[index] ?? 0, "launch").replace("launchs", "launches")}`, plural(rowOf("deaths")[index] ?? 0, "death"));
  } else if (id === "weather") {
    for (const { what, counts } of weatherRows) if (counts[index]) lines.push(`${what}: ${count(counts[index])}`);
  } else if (id === "calls") {
    for (const { service, answered, refused } of services) {
      const [good, bad] = [answered[index] ?? 0, refused[index] ?? 0];
      if (good + bad > 0) lines.push(`${service}: ${count(good)}${bad > 0 ? `, and ${count(bad)} refused` : ""}`);
    }
  } else if (id === "bucket" && story.bucket) {
    lines.push(`${story.bucket.lowest[index] ?? story.bucket.capacity} tokens left`);
  }
  return lines.join("\n");
}

function tip(text, event) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const left = event.pageX + 16 + box.offsetWidth > scrollX + innerWidth ? event.pageX - box.offsetWidth - 12 : event.pageX + 16;
  box.style.left = `${Math.max(scrollX + 4, left)}px`;
  box.style.top = `${Math.min(event.pageY + 14, scrollY + innerHeight - box.offsetHeight - 8)}px`;
}

function place(box, canvas, left, width) {
  const around = canvas.getBoundingClientRect();
  box.hidden = false;
  Object.assign(box.style, { left: `${around.left + scrollX + left}px`, top: `${around.top + scrollY}px`, width: `${width}px`, height: `${around.height}px` });
}

// Lets a canvas with an axis of time be pointed at, zoomed by dragging and by the wheel. `range` is what it
// shows, `tell` says something of a place on it, `click` is called for a press without a drag.
function follow(canvas, { range, tell, click, wheel = false }) {
  let pressed = null;
  const scaleOf = () => axis(canvas.clientWidth, range());
  const inside = (event) => {
    const scale = scaleOf();
    const x = Math.max(scale.left, Math.min(scale.end, event.offsetX));
    return { x, ms: scale.time(x) };
  };
  canvas.addEventListener("pointermove", (event) => {
    const { x, ms } = inside(event);
    place(byId("cursor"), canvas, x, 1);
    if (pressed === null) tip(tell(ms, event), event);
    else place(byId("selection"), canvas, Math.min(x, pressed.x), Math.abs(x - pressed.x));
  });
  canvas.addEventListener("pointerleave", () => {
    byId("cursor").hidden = true;
    tip("");
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pressed = inside(event);
    // A pointer that is not there any more can't be captured.
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      return;
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pressed === null) return;
    const { x, ms } = inside(event);
    const began = pressed;
    pressed = null;
    byId("selection").hidden = true;
    if (Math.abs(x - began.x) > 4) show(Math.min(ms, began.ms), Math.max(ms, began.ms));
    else click?.(ms, event);
  });
  canvas.addEventListener("pointercancel", () => {
    pressed = null;
    byId("selection").hidden = true;
  });
  canvas.addEventListener("dblclick", () => show(0, WHOLE));
  canvas.addEventListener("wheel", (event) => {
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan(event.deltaX / 600);
    } else if (wheel || event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(1.0018 ** event.deltaY, inside(event).ms);
    }
  }, { passive: false });
}
