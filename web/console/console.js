// What the pages can do better with a script. Without it each works all the same.
"use strict";

// The reader's own clock beside UTC, on hover.
const own = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium"});
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
function clocks(root) {
  for (const t of root.querySelectorAll("time[datetime]")) {
    const at = new Date(t.dateTime);
    if (isNaN(at) || t.dataset.own === t.dateTime) continue;
    t.dataset.own = t.dateTime;
    t.title = t.title.split("\n")[0] + "\n" + own.format(at) + " " + zone;
  }
}

// Rows: j and k walk, Enter opens the first link of the row.
function rows() { return [...document.querySelectorAll("[data-row]")]; }
function walk(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((r) => r.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by))];
  (next.querySelector("a") || next).focus();
}

let g = 0; // when g was pressed
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog[open], [contenteditable]")) return;
  const chord = Date.now() - g < 1500 ? "g " + e.key : e.key;
  g = 0;
  if (e.key === "g") { g = Date.now(); return; }
  if (e.key === "j" || e.key === "k") { walk(e.key === "j" ? 1 : -1); e.preventDefault(); return; }
  if (e.key === "?") { document.getElementById("keys")?.showModal(); e.preventDefault(); return; }
  const to = document.querySelector(`[data-key="${CSS.escape(chord)}"]`);
  if (!to) return;
  e.preventDefault();
  if (to.matches("a")) to.click(); else to.focus();
});

// A page that is told of changes says so when it can't be told any more.
let since = new Date(); // when it was last drawn
function lost(is) {
  const p = document.getElementById("lost");
  if (!p) return;
  p.hidden = !is;
  p.textContent = is ? "No word from the server; this is as of " + since.toLocaleTimeString() + " by your clock." : "";
}
document.addEventListener("htmx:sse:after:connection", () => lost(false));
document.addEventListener("htmx:sse:after:message", () => lost(false));
document.addEventListener("htmx:sse:error", () => lost(true));
document.getElementById("live")?.addEventListener("anew", () => location.reload()); // what stands above the page has changed
document.addEventListener("htmx:after:swap", () => { since = new Date(); clocks(document); });

clocks(document);
