// On asynqmon's pages, outside of what it draws: the way from a task to the closure, batch or bulk retry that it is of.
"use strict";

const ofTask = /^\/monitoring\/queues\/[^/]+\/tasks\/([^/]+)$/;
const ours = /^"(\/(?:closures\/|closures\?batch_id=|redrives\/)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"$/;
const words = {"/closures/": "Open its closure", "/closures?": "Open its batch", "/redrives/": "Open its bulk retry"};

// An address of ours in a payload is a way there. asynqmon uses its elements again for other tasks: what an element says is read
// when it is clicked.
function wayOf(e) { return e.textContent.match(ours)?.[1]; }

function mark() {
  for (const e of document.querySelectorAll("#root pre span:not(:has(*))")) {
    const is = Boolean(wayOf(e));
    if (is === e.matches(".closeout-way")) continue;
    e.classList.toggle("closeout-way", is);
    for (const [name, value] of Object.entries({role: "link", tabindex: "0"})) {
      if (is) e.setAttribute(name, value); else e.removeAttribute(name);
    }
  }
}

// The address changes without a page being loaded, and what is drawn with it.
function look() {
  mark();
  const task = location.pathname.match(ofTask)?.[1];
  const a = document.getElementById("closeout-of");
  const way = document.querySelector("#root .closeout-way");
  if (a.hidden !== !task) a.hidden = !task;
  if (!task) return;
  a.href = "/tasks/" + task;
  const says = words[way ? wayOf(way).match(/^\/[a-z]+[/?]/)[0] : "/closures/"];
  if (a.textContent !== says) a.textContent = says;
}

function go(e) {
  const way = e.target.closest?.(".closeout-way");
  const to = way && wayOf(way);
  if (!to || e.type === "keydown" && e.key !== "Enter") return;
  e.preventDefault();
  e.stopPropagation(); // a click on the row would open the task
  if (e.ctrlKey || e.metaKey || e.button === 1) open(to, "_blank", "noopener"); else location.assign(to);
}
for (const kind of ["click", "auxclick", "keydown"]) addEventListener(kind, go, true);

new MutationObserver(look).observe(document.getElementById("root"), {childList: true, subtree: true, characterData: true});
addEventListener("popstate", look);
look();
