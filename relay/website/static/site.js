// What changes while one looks is fetched again; without this script a click on the page's link does.
"use strict";

const EVERY = 2000; // milliseconds between looks
const LATER = 15000; // after one that failed

function put(fresh) {
  const old = document.querySelector("[data-live]");
  const next = fresh && fresh.querySelector("[data-live]");
  if (!old || !next) {
    location.reload(); // it has ended, or one is signed out
    return;
  }
  if (old.isEqualNode(next)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = Array.from(old.querySelectorAll(".scroll"), (each) => each.scrollLeft);
  const adopted = document.importNode(next, true);
  old.replaceWith(adopted);
  adopted.querySelectorAll(".scroll").forEach((each, at) => { each.scrollLeft = scrolled[at] || 0; });
  adopted.querySelectorAll("details").forEach((each) => { each.open = opened.has(each.id); });
  const again = focused && document.getElementById(focused);
  if (again) again.focus({ preventScroll: true });
}

const opened = new Set(); // which details are
document.addEventListener("toggle", (event) => {
  if (event.target.open) opened.add(event.target.id);
  else if (event.target.isConnected) opened.delete(event.target.id);
}, true);

function look() {
  if (document.hidden) {
    setTimeout(look, EVERY);
    return;
  }
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.timeout = LATER;
  request.setRequestHeader("X-vrelay-Live", "1");
  request.onload = () => {
    if (request.status === 503 || request.status === 502) {
      setTimeout(look, LATER);
      return;
    }
    put(request.response);
    setTimeout(look, EVERY);
  };
  request.onerror = request.ontimeout = () => setTimeout(look, LATER);
  request.send();
}

document.documentElement.classList.add("scripted");
if (document.querySelector("[data-live]")) setTimeout(look, EVERY);
