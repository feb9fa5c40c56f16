// The guest page: shared servers as links, terminals, who is here. What it shows comes from others:
// it is put in by textContent alone, and the Content-Security-Policy allows nothing else.
"use strict";

const RETRY_FROM = 500, RETRY_TO = 10000; // milliseconds
const $ = (id) => document.getElementById(id);

const here = { page: { sites: [], terminals: "none" }, servers: [], terminals: [], guests: [] };
let open = null; // the terminal that is shown
let isOut = false;
let retryAfter = RETRY_FROM;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function card(element, title, detail) {
  element.append(make("strong", "", title), make("span", "", detail));
  const item = make("li");
  item.append(element);
  return item;
}

function link(label, title, detail) {
  const anchor = make("a");
  anchor.href = `site/${encodeURIComponent(label)}`;
  anchor.target = "_blank";
  anchor.rel = "noopener";
  return card(anchor, title, detail);
}

// -- the list

function drawServers() {
  const named = new Set();
  const rows = here.servers.map((server) => {
    const at = `port ${server.port}`;
    const site = here.page.sites.find((each) => each.label === server.name || each.port === server.port);
    if (!site) return card(make("div", "flat"), server.name, `${at} · not open to browsers: vconnect reaches it`);
    named.add(site);
    return link(site.label, server.name, `${at} · ${site.title || "opens in a new tab"}`);
  });
  for (const site of here.page.sites) {
    if (named.has(site)) continue;
    const title = site.title || site.label || "The site";
    rows.push(link(site.label, title, `port ${site.port} · opens in a new tab`));
  }
  $("servers").replaceChildren(...rows);
  $("no-servers").hidden = rows.length > 0;
}

function drawTerminals() {
  $("terminals-part").hidden = here.page.terminals === "none";
  const rows = here.terminals.map((terminal) => {
    const button = make("button");
    button.type = "button";
    button.addEventListener("click", () => show(terminal.name));
    const reads = here.page.terminals === "read" || terminal.mode === "read-only";
    return card(button, terminal.name || "terminal", reads ? "to look on" : "to type, or look on");
  });
  $("terminals").replaceChildren(...rows);
  $("no-terminals").hidden = rows.length > 0;
}

function drawPeople() {
  const names = here.guests.map((guest) => guest.name);
  $("people").replaceChildren(...names.map((name) => make("li", "", name)));
  $("you").textContent = here.page.you ? `You are ${here.page.you}.` : "";
}

function take(news) {
  if (news.type === "page") {
    const before = here.page.share;
    if (before && before !== news.share) return move(before, news.share);
    here.page = news;
    $("machine").textContent = news.machine;
    $("share").textContent = news.share;
    $("trust").textContent = news.trust;
    document.title = `${news.machine} · vshare`;
  } else if (news.type === "says") {
    const last = news.items.at(-1);
    $("say").hidden = !last;
    $("say").textContent = last ? last.text : "";
  } else if (news.type in here) {
    here[news.type] = news.items;
  }
  drawServers();
  drawTerminals();
  drawPeople();
}

// The share has another name, and so has its page, which asks for the passcode again there.
function move(before, share) {
  isOut = true;
  location.host = location.host.replace(before, share);
}

function connect() {
  const url = new URL("news", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  socket.onopen = () => {
    retryAfter = RETRY_FROM;
    $("link").textContent = "live";
    $("link").classList.add("on");
  };
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (event.code === OUT) return putOut(event.reason);
    $("link").textContent = "not connected";
    $("link").classList.remove("on");
    setTimeout(reconnect, retryAfter);
    retryAfter = Math.min(2 * retryAfter, RETRY_TO);
  };
}

// The sharer has put this browser out, and why is said: it comes back by the passcode alone.
function putOut(why) {
  hide();
  isOut = true;
  $("lobby").hidden = true;
  $("out-why").textContent = why;
  $("out").hidden = false;
  $("again").focus();
}

// Who is out is shown the door: it is what this page's address answers with then.
async function reconnect() {
  if (isOut) return;
  try {
    const answer = await fetch("icon.svg", { cache: "no-store" });
    if (answer.status === 403) return location.reload();
  } catch { /* the share or the relay is away */ }
  connect();
}

// -- a terminal

const parts = {
  screen: $("screen"),
  say(text) {
    $("over").textContent = text;
    $("over").hidden = !text;
  },
  putOut,
  showCtrl(on) { $("ctrl").setAttribute("aria-pressed", String(on)); },
  show(state) {
    const mode = state.locked && !state.write ? "locked" : state.write ? "you can type" : "read only";
    $("mode").textContent = state.held ? "your line waits" : mode;
    $("mode").classList.toggle("write", Boolean(state.write));
    $("typing").textContent = state.typing && state.typing !== here.page.you ? `${state.typing} types` : "";
    $("ask").hidden = !state.may_ask;
    $("keys").hidden = !state.write;
    $("terminal-name").textContent = state.name || "terminal";
  },
};

function show(name) {
  hide();
  $("lobby").hidden = true;
  $("terminal").hidden = false;
  document.body.classList.add("busy");
  $("terminal-name").textContent = name;
  $("mode").textContent = "";
  parts.say("");
  parts.showCtrl(false);
  open = new SharedTerminal(name, parts);
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  open.xterm.focus();
}

function hide() {
  if (!open) return;
  open.close();
  open = null;
  $("terminal").hidden = true;
  $("lobby").hidden = false;
  document.body.classList.remove("busy");
  history.replaceState(null, "", location.pathname);
}

// The keyboard of a phone or an iPad covers a part of the page: what is left is the terminal's.
function follow() {
  const view = window.visualViewport;
  if (view && view.scale < 1.01) { // who looks at a part, enlarged, wants it to stay where it is
    document.documentElement.style.setProperty("--height", `${view.height}px`);
    document.documentElement.style.setProperty("--top", `${view.offsetTop}px`);
  }
  if (open) open.fit();
}

$("again").addEventListener("click", () => location.reload());
$("back").addEventListener("click", () => { hide(); $("terminals").querySelector("button")?.focus(); });
$("smaller").addEventListener("click", () => open?.resize(-1));
$("larger").addEventListener("click", () => open?.resize(1));
$("ask").addEventListener("click", () => { $("ask").hidden = true; open?.ask(); });
$("ctrl").addEventListener("click", () => open?.hold(!open.hasCtrl));
$("paste").hidden = !navigator.clipboard?.readText; // there is none without TLS
$("paste").addEventListener("click", () => open?.paste());
$("keyboard").addEventListener("click", () => open?.xterm.focus());
for (const key of document.querySelectorAll("[data-key]")) {
  key.addEventListener("click", () => open?.press(key.dataset.key));
}
// The keys leave the focus where it is: else the keyboard of a phone would close.
for (const kind of ["pointerdown", "mousedown"]) {
  $("keys").addEventListener(kind, (event) => event.preventDefault());
}
// Beside the letters, too, a touch is one of the terminal: it brings its keyboard, and closes none.
$("screen").addEventListener("mousedown", (event) => { if (event.target === $("screen")) event.preventDefault(); });
$("screen").addEventListener("click", (event) => { if (event.target === $("screen")) open?.xterm.focus(); });
window.addEventListener("resize", follow);
window.visualViewport?.addEventListener("resize", follow);
window.visualViewport?.addEventListener("scroll", follow);
follow();
connect();
