// Takes a new copy of the page every few seconds; keeps what the reader has opened or closed.
"use strict";

const EVERY_MS = 2000;

async function refresh() {
  // Nobody looks, or somebody is about to copy something.
  if (document.hidden || !getSelection().isCollapsed) return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    const copy = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = copy.querySelector("main");
    if (!answer.ok || !fresh) throw new Error(answer.statusText);
    const before = new Map([...main.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]));
    for (const each of fresh.querySelectorAll("details[data-key]")) {
      if (before.has(each.dataset.key)) each.open = before.get(each.dataset.key);
    }
    document.title = copy.title;
    main.replaceChildren(...fresh.childNodes);
    main.classList.remove("stale");
  } catch {
    // The daemon is gone: what is shown is old, and says so.
    main.classList.add("stale");
  }
}

setInterval(refresh, EVERY_MS);
