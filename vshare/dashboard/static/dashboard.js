// The page of a running share. What it shows comes from strangers: it is put in by textContent
// alone, and the server's Content-Security-Policy allows nothing else.
"use strict";

const SPARE_ROWS = 4; // above and below what is seen
const MAX_TABLE_ROWS = 200; // of guests
const MAX_SAMPLES = 300; // five minutes
const MAX_NEWS = 100;
const SEARCH_AFTER = 200; // milliseconds without a key
const OPEN_AFTER = 80; // milliseconds, so that a held arrow key does not fetch all that it passes
const REFRESH_EVERY = 500; // milliseconds between looks at a request that goes on
const TOAST_LASTS = 4000; // milliseconds
const RETRY_FROM = 500, RETRY_TO = 10000; // milliseconds
const TOO_MANY = 1013;

const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(text, act, className) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

// -- words

const UNITS = ["B", "kB", "MB", "GB", "TB"];

function bytes(number) {
  let unit = 0;
  while (number >= 1000 && unit < UNITS.length - 1) { number /= 1000; unit += 1; }
  return (unit && number < 10 ? number.toFixed(1) : Math.round(number)) + " " + UNITS[unit];
}

function milliseconds(number) {
  if (number === undefined || number === null) return "…";
  if (number < 10) return number.toFixed(1) + " ms";
  return number < 10000 ? Math.round(number) + " ms" : (number / 1000).toFixed(1) + " s";
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  if (hours >= 48) return Math.floor(hours / 24) + " days";
  if (hours) return hours + " h " + (minutes % 60) + " min";
  return minutes >= 10 ? minutes + " min" : minutes + " min " + Math.floor(seconds % 60) + " s";
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

// JSON with line breaks; nothing else of it is changed, as parsing it would change large numbers.
function indented(text) {
  let out = "", depth = 0, quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quoted) {
      out += char;
      if (char === "\\") out += text[++at] ?? "";
      else if (char === '"') quoted = false;
    } else if (char === '"') {
      quoted = true;
      out += char;
    } else if (char === "{" || char === "[") {
      const close = /^\s*([}\]])/.exec(text.slice(at + 1, at + 40));
      if (close) { out += char + close[1]; at += close[0].length; }
      else { depth += 1; out += char + "\n" + "  ".repeat(Math.min(depth, 40)); }
    } else if (char === "}" || char === "]") {
      depth = Math.max(0, depth - 1);
      out += "\n" + "  ".repeat(Math.min(depth, 40)) + char;
    } else if (char === ",") {
      out += ",\n" + "  ".repeat(Math.min(depth, 40));
    } else if (char === ":") {
      out += ": ";
    } else if (!/\s/.test(char)) {
      out += char;
    }
  }
  return out;
}

let toastTimer = 0;
function say(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, TOAST_LASTS);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(what + " copied");
  } catch {
    say("The browser does not let this page copy");
  }
}

// -- what is asked of the share

async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: body ? JSON.stringify(body) : undefined,
    });
    const told = await answer.json();
    if (told.ok) return told.result;
    say(told.error + (told.hint ? ": " + told.hint : ""));
  } catch {
    say("The share does not answer");
  }
  return null;
}

const command = (name, rest) => post("api/command", { command: name, ...rest });

// -- requests: the list

const entries = new Map(); // by number
let order = []; // numbers, the oldest first
let chosen = 0; // the number of the one whose details are shown
let isDrawing = false;
const nodes = [];

const list = $("list");

function rowHeight() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
}

function takeRequests(batch) {
  if (batch.search !== undefined) { entries.clear(); order = []; }
  let added = 0;
  for (const entry of batch.requests ?? []) {
    if (entry.number < batch.oldest) continue;
    if (!entries.has(entry.number)) {
      added += 1;
      if (!order.length || entry.number > order[order.length - 1]) order.push(entry.number);
      else order.splice(order.findIndex((each) => each > entry.number), 0, entry.number);
    }
    entries.set(entry.number, entry);
    if (entry.number === chosen) refreshDetails();
  }
  let dropped = 0;
  while (dropped < order.length && order[dropped] < batch.oldest) entries.delete(order[dropped++]);
  order.splice(0, dropped);
  if (added && list.scrollTop > 0) list.scrollTop += added * rowHeight(); // what is read stays
  draw();
}

function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => { isDrawing = false; drawRows(); });
}

function drawRows() {
  const height = rowHeight(), count = order.length;
  const first = Math.max(0, Math.floor(list.scrollTop / height) - SPARE_ROWS);
  const seen = Math.ceil(list.clientHeight / height) + 2 * SPARE_ROWS;
  const last = Math.min(count, first + seen);
  $("rows").style.height = count * height + "px";
  $("none").hidden = count > 0;
  $("none").textContent = $("search").value
    ? "Nothing that is kept matches."
    : "No requests yet. What visitors of the URL ask for appears here.";
  $("count").textContent = count ? count.toLocaleString() + " shown" : "";
  for (let at = first; at < last; at += 1) {
    const node = nodes[at - first] ?? makeRow();
    nodes[at - first] = node;
    fillRow(node, entries.get(order[count - 1 - at]), at, count);
    node.element.style.transform = "translateY(" + at * height + "px)";
  }
  for (const node of nodes.splice(Math.max(0, last - first))) node.element.remove();
  const isSeen = nodes.some((node) => node.entry.number === chosen);
  if (isSeen) list.setAttribute("aria-activedescendant", "row-" + chosen);
  else list.removeAttribute("aria-activedescendant");
}

function makeRow() {
  const element = make("div", "row");
  element.setAttribute("role", "option");
  const cells = {};
  for (const name of ["time", "method", "status", "target", "ms", "size"]) {
    cells[name] = element.appendChild(make("span", name));
  }
  const node = { element, cells, entry: null, isChosen: false };
  element.addEventListener("click", () => choose(node.entry.number));
  $("rows").append(element);
  return node;
}

function fillRow(node, entry, at, count) {
  const isChosen = entry.number === chosen;
  node.element.setAttribute("aria-posinset", at + 1);
  node.element.setAttribute("aria-setsize", count);
  if (node.entry === entry && node.isChosen === isChosen) return;
  node.entry = entry;
  node.isChosen = isChosen;
  node.element.id = "row-" + entry.number;
  node.element.setAttribute("aria-selected", isChosen);
  const { time, method, status, target, ms, size } = node.cells;
  time.textContent = clock(entry.time);
  method.textContent = entry.method;
  status.textContent = entry.status || (entry.ms === null || entry.ms === undefined ? "…" : "–");
  status.className = "status s" + String(entry.status ?? "").slice(0, 1);
  target.textContent = entry.target;
  if (entry.replay_of) target.prepend(make("span", "tag", "replay"));
  if (entry.site) target.prepend(make("span", "tag", entry.site));
  target.className = entry.error ? "target error" : "target";
  target.title = entry.error ?? "";
  ms.textContent = milliseconds(entry.ms);
  size.textContent = bytes(entry.answer_size ?? 0);
}

list.addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);

list.addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor(list.clientHeight / rowHeight()) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 };
  if (event.key === "Enter" && chosen) { $("details").focus(); return; }
  if (!(event.key in steps) || !order.length) return;
  event.preventDefault();
  const before = order.indexOf(chosen);
  const from = before < 0 ? -1 : order.length - 1 - before;
  const to = Math.max(0, Math.min(order.length - 1, from + steps[event.key]));
  const height = rowHeight();
  if (to * height < list.scrollTop) list.scrollTop = to * height;
  const under = (to + 1) * height - list.clientHeight;
  if (under > list.scrollTop) list.scrollTop = under;
  choose(order[order.length - 1 - to]);
});

let searchTimer = 0;
$("search").addEventListener("input", () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(sendSearch, SEARCH_AFTER);
});

function sendSearch() {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ search: $("search").value }));
  }
}

// -- requests: the details

let detailsTimer = 0;

function choose(number) {
  chosen = number;
  draw();
  clearTimeout(detailsTimer);
  detailsTimer = number ? setTimeout(showDetails, OPEN_AFTER) : 0;
  if (!number) {
    $("details").hidden = true;
    $("split").classList.remove("open");
  }
}

function refreshDetails() {
  if (!detailsTimer) detailsTimer = setTimeout(showDetails, REFRESH_EVERY);
}

async function showDetails() {
  detailsTimer = 0;
  const number = chosen;
  let details = null;
  try {
    const answer = await fetch("api/requests/" + number);
    if (answer.ok) details = await answer.json();
  } catch {
    // the socket says that the share is gone
  }
  if (number !== chosen) return;
  const panel = $("details");
  const isNew = panel.dataset.number !== String(number);
  const scrolled = isNew ? 0 : panel.scrollTop;
  panel.dataset.number = number;
  panel.tabIndex = -1;
  panel.replaceChildren(...(details ? detailParts(details) : [closer(), make("p", "quiet", "This request is not kept any more.")]));
  panel.hidden = false;
  $("split").classList.add("open");
  panel.scrollTop = scrolled;
  draw();
}

const closer = () => button("Close", () => { choose(0); list.focus(); });

function detailParts({ summary, request, answer, why_not: whyNot }) {
  const title = make("p", "title mono", summary.method + " " + summary.target);
  const facts = [clock(summary.time), milliseconds(summary.ms)];
  if (summary.status) facts.unshift(String(summary.status));
  if (summary.site) facts.push("site " + summary.site);
  if (summary.replay_of) facts.push("replay of number " + summary.replay_of);
  const doing = make("div", "doing");
  const again = button("Replay", () => replay(summary.number, again));
  again.disabled = Boolean(whyNot);
  again.title = whyNot || "send the same request to the machine once more";
  doing.append(again, button("Copy as curl", () => copyCurl(summary.number)), closer());
  const parts = [title, make("p", "quiet", facts.join(" · ")), doing];
  if (summary.error) parts.push(make("p", "error", summary.error));
  parts.push(...sideParts("Request", request));
  if (answer) parts.push(...sideParts("Answer", answer));
  else parts.push(make("h2", "", "No answer yet"));
  return parts;
}

function sideParts(name, { line, fields, body }) {
  const parts = [make("h2", "", name), make("div", "title mono", line)];
  const table = make("dl", "fields mono");
  for (const [field, value] of fields) table.append(make("dt", "", field), make("dd", "", value));
  parts.push(table);
  if (!body.size) return parts;
  const notes = [bytes(body.size)];
  if (body.kept < body.size) notes.push("the first " + bytes(body.kept) + " are kept");
  if (body.note) notes.push(body.note);
  parts.push(make("p", "quiet", notes.join(" · ")));
  const kind = fields.find(([field]) => field.toLowerCase() === "content-type")?.[1] ?? "";
  const isJson = body.is_text && /[/+]json\b/i.test(kind);
  const text = make("pre", body.is_text ? "body" : "body dump", isJson ? indented(body.text) : body.text);
  text.tabIndex = 0;
  parts.push(text);
  return parts;
}

async function replay(number, again) {
  again.disabled = true;
  const done = await post("api/requests/" + number + "/replay");
  again.disabled = false;
  if (done) { list.scrollTop = 0; choose(done.number); }
}

async function copyCurl(number) {
  try {
    const answer = await fetch("api/requests/" + number + "/curl");
    if (answer.ok) await copy(await answer.text(), "The command");
    else say((await answer.json()).error);
  } catch {
    say("The share does not answer");
  }
}

// -- the share, its guests, its streams, the news

let share = null;

function takeShare(view) {
  share = view.state;
  document.title = share.name + ", vshare";
  $("name").textContent = share.name;
  $("machine").textContent = share.machine;
  const isUrl = /^https?:\/\//.test(share.url);
  $("url-way").hidden = !isUrl;
  if (isUrl && $("url").textContent !== share.url) {
    $("url").href = $("url").textContent = share.url;
    $("qr").src = "qr.svg?text=" + encodeURIComponent(share.url);
  }
  $("connect").textContent = "vconnect " + share.connect;
  $("shared").textContent = "Guests can open " + share.shared + ".";
  const { guests, waiting } = view.guests;
  $("tab-guests").textContent = "Guests " + (guests.length + waiting.length || "");
  drawGuests(guests, waiting);
  drawStreams(view.streams);
  drawEnd();
}

function table(heads, rows) {
  const whole = make("table");
  const head = whole.createTHead().insertRow();
  for (const [text, className] of heads) head.append(make("th", className, text));
  const body = whole.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((cell, at) => {
      const place = row.insertCell();
      if (heads[at][1]) place.className = heads[at][1];
      place.append(...[cell].flat());
    });
  }
  return whole;
}

// A table that is drawn anew takes the focus from its buttons: it is put back.
function replaceIn(panel, parts) {
  const key = panel.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  panel.replaceChildren(...parts);
  if (key) [...panel.querySelectorAll("button")].find((each) => each.dataset.key === key)?.focus();
}

function keyed(text, name, act) {
  const element = button(text, act);
  element.dataset.key = text + " " + name;
  element.setAttribute("aria-label", text + " " + name);
  return element;
}

function drawGuests(guests, waiting) {
  const parts = [];
  if (waiting.length) {
    parts.push(make("h2", "", "Waiting to be let in"));
    parts.push(table([["Name"], ["From"], ["Since"], [""]], waiting.map((each) => [
      each.name, each.address, clock(each.since),
      [keyed("Let in", each.name, () => command("approve", { guest: each.name })),
        keyed("Send away", each.name, () => command("deny", { guest: each.name }))],
    ])));
    parts.push(make("h2", "", "In"));
  }
  if (!guests.length) {
    parts.push(make("p", "quiet none", "Nobody is in. Guests come with the code that your terminal shows."));
  } else {
    parts.push(table(
      [["Name"], ["From", "optional"], ["Since"], ["Streams"], ["Sent", "optional"], ["Received", "optional"], ["By", "optional"], [""]],
      guests.slice(0, MAX_TABLE_ROWS).map((each) => [
        each.name, each.address, clock(each.since), String(each.streams),
        bytes(each.bytes_in), bytes(each.bytes_out),
        each.where === "browser" ? "guest page"
          : (each.invite ? "invite " + each.invite : "code") + (each.ssh ? ", SSH" : ""),
        keyed("Kick", each.name, () => kick(each)),
      ]),
    ));
    const more = guests.length - MAX_TABLE_ROWS;
    if (more > 0) parts.push(make("p", "quiet", "and " + more + " more: `vshare guests` shows all"));
  }
  replaceIn($("guests"), parts);
}

async function kick(guest) {
  if (!confirm("Remove " + guest.name + " and end its connections?")) return;
  const done = await command("kick", { guest: guest.name });
  if (!done) return;
  const rest = guest.where === "browser"
    ? "the page's passcode is still good: `vshare page --rotate` draws another"
    : guest.invite ? "`vshare revoke " + guest.invite + "` voids its invite"
    : "it still knows the code: `vshare code --rotate` makes a new one";
  say(done.guest + " is out; " + rest);
}

function drawStreams(streams) {
  if (!streams.length) {
    replaceIn($("streams"), [make("p", "quiet none", "No stream is open.")]);
    return;
  }
  replaceIn($("streams"), [table(
    [["Guest"], ["To"], ["For"], ["Sent"], ["Received"]],
    streams.map((each) => [
      each.guest, each.protocol === "http" ? "site " + (each.host || "main")
        : each.protocol + " " + each.host + ":" + each.port,
      duration(each.seconds), bytes(each.bytes_in), bytes(each.bytes_out),
    ]),
  )]);
}

function takeNews(news) {
  for (const each of news) {
    const line = make("p", each.warning ? "told error" : "told");
    line.append(make("span", "quiet", clock(each.time)), make("span", "", each.text));
    $("news").prepend(line);
  }
  while ($("news").children.length > MAX_NEWS) $("news").lastChild.remove();
}

function drawEnd() {
  if (!share) return;
  const left = share.expires_at - Date.now() / 1000;
  $("ends").textContent = left > 0 ? "ends in " + duration(left) : "has expired";
}
setInterval(drawEnd, 1000);

for (const each of document.querySelectorAll("[data-extend]")) {
  each.addEventListener("click", async () => {
    if (!share) return;
    const left = Math.max(0, share.expires_at - Date.now() / 1000);
    const done = await command("extend", { seconds: left + Number(each.dataset.extend) });
    if (done) say("The share ends at " + clock(done.expires_at) + " now");
  });
}

for (const each of document.querySelectorAll("[data-copy]")) {
  each.addEventListener("click", () => {
    copy($(each.dataset.copy).textContent, each.dataset.copy === "url" ? "The URL" : "The command");
  });
}

let isStopped = false;
$("stop").addEventListener("click", async () => {
  if (!confirm("End the share for everybody?")) return;
  isStopped = true; // the answer may come too late
  if (await command("stop")) say("The share ends now");
  else if (socket.readyState === WebSocket.OPEN) isStopped = false;
});

$("qr-button").addEventListener("click", () => {
  $("qr").hidden = !$("qr").hidden;
  $("qr-button").setAttribute("aria-expanded", String(!$("qr").hidden));
});

// -- throughput

let samples = []; // [bytes in, bytes out, requests, streams], each of a second

function takeSamples(taken) {
  samples = samples.concat(taken).slice(-MAX_SAMPLES);
  const [came, went, requests, streams] = samples[samples.length - 1];
  const text = "↓ " + bytes(went) + "/s to guests · ↑ " + bytes(came) + "/s from them · "
    + requests + " requests/s · " + streams + (streams === 1 ? " stream" : " streams");
  $("rates").textContent = text;
  $("graph").setAttribute("aria-label", "Throughput of the last five minutes. Now: " + text);
  $("tab-streams").textContent = "Streams " + (streams || "");
  drawGraph();
}

function drawGraph() {
  const canvas = $("graph"), scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const paint = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  paint.scale(scale, scale);
  const top = Math.max(1000, ...samples.map((each) => Math.max(each[0], each[1])));
  const x = (at) => width - (samples.length - 1 - at) * (width / (MAX_SAMPLES - 1));
  const y = (rate) => height - 1.5 - (rate / top) * (height - 16);
  const trace = (column) => {
    paint.beginPath();
    samples.forEach((each, at) => paint.lineTo(x(at), y(each[column])));
  };
  paint.lineWidth = 1;
  paint.strokeStyle = colour("--line");
  paint.strokeRect(0.5, 0.5, width - 1, height - 1);
  paint.lineWidth = 1.5;
  trace(1);
  paint.strokeStyle = colour("--accent");
  paint.stroke();
  paint.lineTo(width, height);
  paint.lineTo(x(0), height);
  paint.globalAlpha = 0.12;
  paint.fillStyle = colour("--accent");
  paint.fill();
  paint.globalAlpha = 1;
  trace(0);
  paint.strokeStyle = colour("--second");
  paint.stroke();
  paint.font = "11px system-ui, sans-serif";
  paint.fillStyle = colour("--quiet");
  paint.fillText(bytes(top) + "/s", 6, 13);
  paint.textAlign = "right";
  paint.fillText("5 minutes", width - 6, 13);
}

addEventListener("resize", drawGraph);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawGraph);

// -- tabs and keys

const tabs = [...document.querySelectorAll('[role="tab"]')];

function showTab(tab) {
  for (const each of tabs) {
    const isShown = each === tab;
    each.setAttribute("aria-selected", String(isShown));
    each.tabIndex = isShown ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !isShown;
  }
  draw();
}

tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => showTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    showTab(next);
    next.focus();
  });
});

addEventListener("keydown", (event) => {
  const types = event.target.matches?.("input, textarea");
  if (event.key === "/" && !types && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    showTab(tabs[0]);
    $("search").focus();
  } else if (event.key === "Escape" && chosen && !types) {
    choose(0);
    list.focus();
  }
});

// -- the socket

let socket = null;
let retry = RETRY_FROM;

function state(text, isOn) {
  $("link").textContent = text;
  $("link").classList.toggle("on", isOn);
}

function connect() {
  const address = new URL("ws", location.href);
  address.protocol = "ws:";
  address.search = address.hash = "";
  socket = new WebSocket(address);
  socket.addEventListener("open", () => {
    retry = RETRY_FROM;
    samples = [];
    $("news").replaceChildren();
    state("live", true);
    if ($("search").value) sendSearch();
  });
  socket.addEventListener("message", (event) => {
    const batch = JSON.parse(event.data);
    takeRequests(batch);
    if (batch.share) takeShare(batch.share);
    if (batch.samples) takeSamples(batch.samples);
    if (batch.news) takeNews(batch.news);
  });
  socket.addEventListener("close", (event) => {
    if (isStopped) { state("the share has ended", false); return; }
    state(event.code === TOO_MANY ? "too many pages are open" : "not connected", false);
    setTimeout(connect, retry);
    retry = Math.min(RETRY_TO, retry * 2);
  });
}

connect();
