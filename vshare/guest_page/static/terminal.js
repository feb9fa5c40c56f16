// One shared terminal: xterm.js, a WebSocket, and a row of keys for who has no keyboard.
"use strict";

const SEEN_AFTER = 8 * 1024; // bytes shown before the share is told; it waits after 64 KiB
const SMALLEST = 6, LARGEST = 32; // pixels of letters
const FONT = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const RETRY_AFTER = 1500; // milliseconds
const ENDED = 4000; // the close code of a terminal that is over
const OUT = 4001; // and of each socket of who was put out

// xterm.js makes style elements and style attributes, which the page's Content-Security-Policy does
// not allow. The same rules are allowed where a script makes them: in place of the elements there are
// others that are not shown, whose text is a style sheet of the document's.
(function styleWithoutInline() {
  const make = document.createElement.bind(document);
  document.createElement = (name, options) => (name === "style" ? sheetElement() : make(name, options));
  function sheetElement() {
    const element = make("template"), sheet = new CSSStyleSheet();
    let text = "";
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(element, "textContent", {
      get: () => text,
      set: (value) => { text = value; sheet.replaceSync(value); },
    });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
      Element.prototype.remove.call(element);
    };
    return element;
  }
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
})();

class SharedTerminal {
  // `parts` are the page's elements; `onGone` is called when it was closed from here.
  constructor(name, parts) {
    this.name = name;
    this.parts = parts;
    this.state = { columns: 80, rows: 24, write: false };
    this.seen = this.told = 0;
    this.isOver = false;
    this.hasCtrl = false;
    this.size = ""; // what the share was told
    this.wanted = Number(localStorage.getItem("letters")) || 0; // 0: as large as fits
    this.xterm = new Terminal({
      allowProposedApi: true,
      cursorBlink: true,
      disableStdin: true,
      fontFamily: FONT,
      fontSize: 14,
      scrollback: 2000,
      screenReaderMode: matchMedia("(forced-colors: active)").matches,
      theme: { background: "#12151a", foreground: "#e5e7eb" },
    });
    this.xterm.loadAddon(new Unicode11Addon.Unicode11Addon());
    this.xterm.unicode.activeVersion = "11";
    this.xterm.open(parts.screen);
    this.xterm.textarea.setAttribute("aria-label", `Terminal ${name}`);
    this.xterm.onData((data) => this.type(data));
    this.composed = ""; // what a keyboard has not decided on yet: it is not typed
    for (const kind of ["compositionstart", "compositionupdate", "compositionend"]) {
      this.xterm.textarea.addEventListener(kind, (event) => this.compose(kind, event.data));
    }
    this.xterm.onBinary((data) => this.send(Uint8Array.from(data, (each) => each.charCodeAt(0))));
    this.connect();
  }

  connect() {
    const url = new URL(`terminal?name=${encodeURIComponent(this.name)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.seen = this.told = 0;
    this.size = "";
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.take(parseMessage(event.data));
    this.socket.onclose = (event) => this.lost(event);
  }

  lost(event) {
    if (this.isOver) return;
    if (event.code === ENDED) return this.end(event.reason);
    if (event.code === OUT) return this.parts.putOut(event.reason);
    this.parts.say("The connection was lost. Trying again…");
    this.show({ ...this.state, write: false, may_ask: false });
    this.retry = setTimeout(() => this.connect(), RETRY_AFTER);
  }

  end(reason) {
    if (this.isOver) return;
    this.isOver = true;
    this.xterm.options.disableStdin = true;
    this.parts.say(reason || "This terminal has ended.");
    this.show({ ...this.state, write: false, may_ask: false });
  }

  close() {
    this.isOver = true;
    clearTimeout(this.retry);
    this.socket.close();
    this.xterm.dispose();
    this.parts.screen.replaceChildren();
  }

  take({ type, payload }) {
    if (type === STATE) {
      this.show(unpack(payload));
      this.parts.say("");
    } else if (type === SCREEN || type === OUTPUT) {
      if (type === SCREEN) this.xterm.reset();
      this.xterm.write(payload, () => this.shown(payload.length));
    } else if (type === END) {
      const [, text] = unpack(payload);
      this.end(text);
    }
  }

  shown(length) {
    this.seen += length;
    if (this.seen - this.told >= SEEN_AFTER) {
      this.told = this.seen;
      this.post(SEEN, packNumbers(this.seen));
    }
  }

  show(state) {
    this.state = state;
    this.xterm.options.disableStdin = !state.write;
    if (this.xterm.cols !== state.columns || this.xterm.rows !== state.rows) {
      this.xterm.resize(state.columns, state.rows);
    }
    this.parts.show(state);
    this.fit();
  }

  // -- size

  get room() {
    const { clientWidth, clientHeight } = this.parts.screen;
    return { width: clientWidth - 8, height: clientHeight - 4 };
  }

  // The size of one letter's cell, in parts of the letters' size.
  get cell() {
    const drawn = this.xterm.element.querySelector(".xterm-screen").getBoundingClientRect();
    const letters = this.xterm.options.fontSize;
    return {
      width: drawn.width / this.xterm.cols / letters,
      height: drawn.height / this.xterm.rows / letters,
    };
  }

  // All columns and rows are seen, unless the reader chose how large the letters are.
  fit() {
    const { width, height } = this.room, cell = this.cell;
    if (width <= 0 || height <= 0 || !(cell.width > 0)) return;
    const fits = Math.min(width / cell.width / this.state.columns, height / cell.height / this.state.rows);
    const wide = width / cell.width / this.state.columns;
    // A phone held upright shows all columns; rows then have room to spare.
    let letters = this.wanted || Math.min(Math.max(fits, Math.min(wide, SMALLEST)), 18);
    letters = Math.max(SMALLEST, Math.min(LARGEST, Math.floor(letters * 2) / 2));
    if (!this.wanted && letters > wide) letters = Math.max(4, Math.floor(wide * 4) / 4);
    if (letters !== this.xterm.options.fontSize) this.xterm.options.fontSize = letters;
    this.tellSize();
  }

  // Who types says how much there is room for; who looks on changes nothing for the others.
  tellSize() {
    if (!this.state.write) return;
    const { width, height } = this.room, cell = this.cell, letters = this.wanted || 13;
    const columns = Math.max(20, Math.floor(width / (cell.width * letters)));
    const rows = Math.max(5, Math.floor(height / (cell.height * letters)));
    const size = `${columns}x${rows}`;
    if (size !== this.size && this.post(SIZE, packNumbers(columns, rows))) this.size = size;
  }

  resize(by) {
    this.wanted = Math.max(SMALLEST, Math.min(LARGEST, Math.round(this.xterm.options.fontSize) + by));
    localStorage.setItem("letters", String(this.wanted));
    this.fit();
  }

  // -- typing

  post(type, payload) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(message(type, payload));
    return true;
  }

  send(bytes) {
    if (!this.state.write) return;
    for (let at = 0; at < bytes.length; at += MAX_INPUT) {
      this.post(INPUT, bytes.subarray(at, at + MAX_INPUT));
    }
  }

  type(text) {
    if (this.hasCtrl) {
      this.hold(false);
      text = withCtrl(text);
    }
    this.send(new TextEncoder().encode(text));
  }

  // Phones' keyboards compose words, and tell them when they end. A key of the row comes behind what
  // is composed, and a letter with Ctrl is no word.
  compose(kind, text) {
    this.composed = kind === "compositionupdate" ? text : "";
    if (this.hasCtrl && this.composed) setTimeout(() => this.flush(), 0);
  }

  flush() {
    const text = this.composed, { textarea } = this.xterm;
    if (!text) return;
    textarea.blur(); // which ends the composition; xterm.js empties the field then, and sends nothing
    textarea.focus();
    this.composed = "";
    this.type(text);
  }

  hold(on) {
    this.hasCtrl = on;
    this.parts.showCtrl(on);
  }

  press(key) {
    this.flush();
    const letter = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D" }[key];
    const application = this.xterm.modes.applicationCursorKeysMode;
    if (letter && this.hasCtrl) {
      this.hold(false);
      this.type(`\x1b[1;5${letter}`);
    } else if (letter) {
      this.type((application ? "\x1bO" : "\x1b[") + letter);
    } else {
      this.type({ Escape: "\x1b", Tab: "\t" }[key]);
    }
  }

  async paste() {
    this.flush();
    try {
      this.xterm.paste(await navigator.clipboard.readText());
    } catch {
      this.parts.say("This browser does not let the page read what you copied.");
    }
  }

  ask() {
    this.post(ASK, packNumbers());
  }
}

// What a keyboard sends with Ctrl held.
function withCtrl(text) {
  if (text.length !== 1) return text;
  if (text === " " || text === "@") return "\x00";
  if (text === "?") return "\x7f";
  const code = text.toUpperCase().charCodeAt(0);
  return code >= 0x41 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
}
