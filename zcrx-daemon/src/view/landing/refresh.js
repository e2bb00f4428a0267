// Takes a new copy of the page every few seconds; keeps what the reader has opened or closed.
"use strict";

const EVERY_MS = 3000;

async function refresh() {
  // Nobody looks, or somebody is about to copy something.
  if (document.hidden || !getSelection().isCollapsed) return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const before = main.querySelectorAll("details");
    const after = fresh.querySelectorAll("details");
    if (before.length === after.length) after.forEach((details, index) => (details.open = before[index].open));
    main.replaceChildren(...fresh.childNodes);
    main.classList.remove("stale");
  } catch {
    // The daemon is gone: what is shown is old, and says so.
    main.classList.add("stale");
  }
}

setInterval(refresh, EVERY_MS);
