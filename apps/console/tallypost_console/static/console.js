// What the pages do beyond HTML: copying, keys, and control over live updates. Each page works
// without it.
(() => {
"use strict";

const byId = (id) => document.getElementById(id);
const announce = (text) => { byId("announcer").textContent = text; };

// Copying. Buttons appear only where they work.

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  const label = button.querySelector("span") ?? button;
  const word = label.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
    label.textContent = "Copied";
    announce("Copied");
    setTimeout(() => { label.textContent = word; }, 1500);
  });
}

// Live updates. A message is the whole part of the page, so only the newest one is ever held back:
// while paused, and while new rows would move those that somebody points at or reads.

const TOO_MANY_NEW = 10;
const live = { area: null, isPaused: false, held: null };

const rowIds = (text) => Array.from(text.matchAll(/data-row="([^"]+)"/g), (match) => match[1]);
const countNew = (text) => {
  const shown = new Set(Array.from(live.area.querySelectorAll("[data-row]"), (row) => row.dataset.row));
  return shown.size ? rowIds(text).filter((id) => !shown.has(id)).length : 0;
};
const isInUse = () => live.area.querySelector("table:hover, table :focus-visible") !== null;

const showState = (word, isOn) => {
  if (!byId("live")) return;
  byId("live").hidden = false;
  byId("live-word").textContent = word;
  byId("live").classList.toggle("on", isOn);
};

const hold = (text, count) => {
  live.held = text;
  const pill = byId("live-new");
  pill.hidden = count === 0;
  pill.textContent = `${count}${count >= 50 ? "+" : ""} new`;
};

const showHeld = async () => {
  if (live.held === null) return;
  const text = live.held;
  live.held = null;
  byId("live-new").hidden = true;
  await htmx.swap({ text, target: live.area, swap: "innerMorph", sourceElement: live.area });
};

const setPaused = (isPaused) => {
  live.isPaused = isPaused;
  byId("live-pause").setAttribute("aria-pressed", String(isPaused));
  showState(isPaused ? "Paused" : "Live", !isPaused);
  announce(isPaused ? "Live updates are paused" : "Live updates go on");
  if (!isPaused) showHeld();
};

document.addEventListener("htmx:sse:after:connection", (event) => {
  live.area = event.target;
  showState(live.isPaused ? "Paused" : "Live", !live.isPaused);
});
for (const name of ["htmx:sse:error", "htmx:sse:close"]) {
  document.addEventListener(name, () => showState("Reconnecting", false));
}
document.addEventListener("htmx:response:error", (event) => {
  if (event.target.hasAttribute?.("data-live")) showState("Not live", false);
});

document.addEventListener("htmx:sse:before:message", (event) => {
  if (!byId("live-new")) return;
  const text = event.detail.message.data;
  const count = countNew(text);
  if (live.isPaused || count > TOO_MANY_NEW || (count > 0 && isInUse())) {
    event.detail.cancelled = true;
    hold(text, count);
  } else {
    live.held = null;
    byId("live-new").hidden = true;
  }
});

byId("live-pause")?.addEventListener("click", () => setPaused(!live.isPaused));
byId("live-new")?.addEventListener("click", () => showHeld());

// Keys. None of them acts while somebody types.

const rows = () => Array.from(document.querySelectorAll(".linked a"));
const moveRow = (step) => {
  const all = rows();
  const next = all[all.indexOf(document.activeElement) + step];
  if (next) next.focus();
  else if (step > 0 && all.length && !all.includes(document.activeElement)) all[0].focus();
};
const keys = {
  "?": () => byId("shortcuts")?.showModal(),
  "/": () => byId("q")?.focus(),
  j: () => moveRow(1),
  k: () => moveRow(-1),
  p: () => byId("live")?.hidden === false && setPaused(!live.isPaused),
};
let isGoing = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (isGoing) {
    isGoing = false;
    const link = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
  } else if (event.key === "g") {
    isGoing = true;
    setTimeout(() => { isGoing = false; }, 1500);
  } else if (event.key in keys) {
    event.preventDefault();
    keys[event.key]();
  }
});
})();
