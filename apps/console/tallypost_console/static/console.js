// What the pages do beyond HTML: copying, keys, and control over live updates. Each page works
// without it.
(() => {
"use strict";

const byId = (id) => document.getElementById(id);
const announce = (text) => { byId("announcer").textContent = text; };

// Copying. The stylesheet shows the buttons only where they work. They may come later than the page,
// within a part of it that is live.

if (navigator.clipboard) document.documentElement.classList.add("js");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
  const label = button.querySelector("span");
  label.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { label.textContent = "Copy"; }, 1500);
});

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
  p: () => byId("live")?.hidden === false && byId("live-pause").click(),
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

// Live updates. A message is the whole part of the page, so only the newest one is ever held back:
// while paused, where very many rows are new, and while rows would move that somebody uses.

const TOO_MANY_NEW = 10;
const SILENCE_MS = 5000;
const RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30000;
const TOO_MANY_PAGES = "Not live: five pages of yours are live already; close one";

const area = document.querySelector("[data-live]");
if (!area) return;
// A page that shows one thing only has no control, and nothing on it is held back.
const control = byId("live");
const pill = byId("live-new");
const live = { trouble: "", isPaused: false, held: null, failures: 0 };

const showState = () => {
  if (!control) return;
  const word = live.trouble || (live.isPaused ? "Paused" : "Live");
  control.hidden = false;
  control.classList.toggle("on", word === "Live");
  // It is read aloud whenever it is written.
  if (byId("live-word").textContent !== word) byId("live-word").textContent = word;
};

// The connection. Once there was one, the extension renews it by itself; the first one we try again.

const showTrouble = (trouble) => {
  live.trouble = trouble;
  showState();
};
const isPassing = (status) => status === undefined || status === 429 || status >= 500;
const showPassing = (status) => showTrouble(status === 429 ? TOO_MANY_PAGES : "Reconnecting");
const connectLater = () => {
  const wait = Math.min(RETRY_MS * 2 ** live.failures, LONGEST_RETRY_MS);
  live.failures += 1;
  const connect = () => htmx.ajax("GET", area.getAttribute("hx-sse:connect"), { source: area });
  // Pages that lost the same server do not all come back at the same moment.
  setTimeout(connect, wait * (0.75 + Math.random() / 2));
};
const failToConnect = (status) => {
  if (isPassing(status)) {
    showPassing(status);
    connectLater();
  } else if (status === 409) {
    // Another tenant was opened meanwhile; its page is the one to follow.
    location.reload();
  } else {
    // Where nobody is signed in any more, htmx goes where the answer says.
    showTrouble("Not live");
  }
};

document.addEventListener("htmx:sse:after:connection", () => {
  live.failures = 0;
  showTrouble("");
});
document.addEventListener("htmx:sse:error", (event) => {
  if (isPassing(event.detail.status)) showPassing(event.detail.status);
  // Signed out, another tenant open, or a right lost: the page itself says which.
  else location.reload();
});
document.addEventListener("htmx:sse:close", () => failToConnect());
document.addEventListener("htmx:response:error", (event) => {
  if (event.target === area) failToConnect(event.detail.ctx.response.status);
});
document.addEventListener("htmx:error", (event) => {
  if (event.target === area) failToConnect();
});

// Rows.

const idsIn = (text) => Array.from(text.matchAll(/data-row="([^"]+)"/g), (match) => match[1]);
const shownIds = () => Array.from(area.querySelectorAll("[data-row]"), (row) => row.dataset.row);
const countNew = (text, known) => idsIn(text).filter((id) => !known.has(id)).length;
const countNotShown = (text) => {
  const shown = shownIds();
  return shown.length ? countNew(text, new Set(shown)) : 0;
};
const isInUse = () => {
  const list = area.querySelector("[data-row]")?.closest("table");
  if (!list) return false;
  return list.matches(":hover") || list.querySelector(":focus-visible, input:checked") !== null;
};
const mustHold = (text) =>
  live.isPaused
  || countNotShown(text) > TOO_MANY_NEW
  || (isInUse() && idsIn(text).join() !== shownIds().join());

const hold = (text) => {
  const count = countNotShown(text);
  live.held = text;
  pill.hidden = count === 0;
  pill.textContent = `${count}${count >= 50 ? "+" : ""} new`;
};
const drop = () => {
  live.held = null;
  pill.hidden = true;
};
const showHeld = async () => {
  if (live.held === null) return;
  const text = live.held;
  drop();
  await htmx.swap({ text, target: area, swap: "innerMorph", sourceElement: area });
};

// New rows are told of, shown or held, and never more often than somebody can listen to.

const told = { ids: new Set(shownIds()), count: 0, timer: null };
const tell = () => {
  told.timer = null;
  if (!told.count) return;
  announce(`${told.count} new ${told.count === 1 ? "email" : "emails"}`);
  told.count = 0;
  told.timer = setTimeout(tell, SILENCE_MS);
};
const noteNew = (text) => {
  told.count += countNew(text, told.ids);
  told.ids = new Set(idsIn(text));
  if (told.timer === null) tell();
};

document.addEventListener("htmx:sse:before:message", (event) => {
  if (!control) return;
  const text = event.detail.message.data;
  noteNew(text);
  if (mustHold(text)) {
    event.detail.cancelled = true;
    hold(text);
  } else {
    drop();
  }
});

// Without a number to press, what was held comes as soon as nobody uses the rows.
for (const name of ["pointerout", "focusout", "change"]) {
  area.addEventListener(name, () => setTimeout(() => {
    if (live.held !== null && pill.hidden && !mustHold(live.held)) showHeld();
  }));
}

byId("live-pause")?.addEventListener("click", () => {
  live.isPaused = !live.isPaused;
  byId("live-pause").setAttribute("aria-pressed", String(live.isPaused));
  showState();
  if (!live.isPaused) showHeld();
});
pill?.addEventListener("click", async () => {
  await showHeld();
  area.querySelector("[data-row] a")?.focus();
});
})();
