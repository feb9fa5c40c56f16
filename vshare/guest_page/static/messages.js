// The messages of a shared terminal (docs/protocol.md 8.9), each one binary WebSocket message:
// type:u8 length:u24 payload. Of MessagePack what they need, and nothing else.
"use strict";

const SCREEN = 1, OUTPUT = 2, STATE = 3, END = 4, INPUT = 16, SIZE = 17, ASK = 18, SEEN = 19;
const MAX_INPUT = 4096; // bytes of one message
const MAX_DEPTH = 8; // of what is nested in MessagePack

function message(type, payload) {
  const data = new Uint8Array(4 + payload.length);
  data.set([type, payload.length >> 16, (payload.length >> 8) & 255, payload.length & 255]);
  data.set(payload, 4);
  return data;
}

function parseMessage(buffer) {
  const data = new Uint8Array(buffer);
  const length = (data[1] << 16) | (data[2] << 8) | data[3];
  if (data.length !== 4 + length) throw new RangeError("not one whole message");
  return { type: data[0], payload: data.subarray(4) };
}

// An array of numbers: SIZE and SEEN.
function packNumbers(...numbers) {
  const data = new DataView(new ArrayBuffer(1 + 9 * numbers.length));
  data.setUint8(0, 0x90 | numbers.length);
  numbers.forEach((number, index) => {
    data.setUint8(1 + 9 * index, 0xcf);
    data.setBigUint64(2 + 9 * index, BigInt(number));
  });
  return new Uint8Array(data.buffer);
}

function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  let at = 0;
  const sized = (size) => {
    const value = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at) : view.getUint32(at);
    at += size;
    return value;
  };
  const text = (length) => {
    if (at + length > bytes.length) throw new RangeError("a string that ends early");
    at += length;
    return decoder.decode(bytes.subarray(at - length, at));
  };
  const list = (length, depth) => {
    const items = [];
    while (items.length < length) items.push(value(depth + 1));
    return items;
  };
  const map = (length, depth) => {
    const found = new Map();
    while (length-- > 0) found.set(value(depth + 1), value(depth + 1));
    return Object.fromEntries(found);
  };
  function value(depth) {
    if (depth > MAX_DEPTH) throw new RangeError("nested too deep");
    const tag = sized(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15, depth);
    if (tag < 0xa0) return list(tag & 15, depth);
    if (tag < 0xc0) return text(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xcb: at += 8; return view.getFloat64(at - 8);
      case 0xcc: return sized(1);
      case 0xcd: return sized(2);
      case 0xce: return sized(4);
      case 0xcf: at += 8; return Number(view.getBigUint64(at - 8));
      case 0xd9: return text(sized(1));
      case 0xda: return text(sized(2));
      case 0xdb: return text(sized(4));
      case 0xdc: return list(sized(2), depth);
      case 0xdd: return list(sized(4), depth);
      case 0xde: return map(sized(2), depth);
      case 0xdf: return map(sized(4), depth);
      default: throw new RangeError("MessagePack that is not understood");
    }
  }
  return value(0);
}
