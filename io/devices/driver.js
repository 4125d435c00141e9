// Runs one TS013 codec over batches of messages, in a V8 context of its own.
//
// What a message gives depends on that message and the codec alone: the codec's top level runs anew for each message,
// global names and members of built-in prototypes that a message adds are removed behind it, the clock stands at the
// moment at which the message was received, and random numbers begin with the same seed.
"use strict";

(function () {
  const MAX_DEPTH = 8;
  const MAX_VALUES = 4096; // readings of one message
  const MAX_NAME = 200; // characters of a measurement's name
  const MAX_TEXT = 65536; // characters of one message's texts
  const MAX_DETAIL = 200; // characters of a message's error
  const TIMES = ["timestamp", "time", "ts", "datetime", "date", "recorded_at", "recordedAt", "measured_at", "measuredAt"];
  const INSTANT = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)$/;
  const FIRST = 946684800, LAST = 4102444800; // the years 2000 to 2099, in seconds: a smaller number is a counter

  const global = globalThis;
  const { Object, Array, JSON, Math, Reflect, String, Number, Map, Int32Array, Uint8Array, Float64Array } = global;
  const { SharedArrayBuffer, ArrayBuffer, Function } = global;
  const RealDate = global.Date;
  const isArray = Array.isArray, keysOf = Object.keys, remove = Reflect.deleteProperty, finite = Number.isFinite, define = Object.defineProperty;

  let now = 0, seed = 1;
  let factory = null;
  let progress = null, input = null;
  let rows, names, units, metadata, refused, warned;
  let message = 0, values = 0, characters = 0, texts = null;

  // A world without input, output, clock or chance.

  function Moment(...given) {
    if (!new.target) return new RealDate(now).toString();
    const made = given.length ? given : [now];
    return Reflect.construct(RealDate, made, new.target === Moment ? RealDate : new.target);
  }
  Moment.prototype = RealDate.prototype;
  define(Moment, "now", { value: () => now });
  define(Moment, "parse", { value: RealDate.parse });
  define(Moment, "UTC", { value: RealDate.UTC });
  RealDate.prototype.constructor = Moment;
  define(Moment, "name", { value: "Date" });
  global.Date = Moment;

  Math.random = function () {
    seed = (seed * 16807) % 2147483647; // Park and Miller's minimal standard generator
    return seed / 2147483647;
  };
  const silent = () => undefined;
  const console = {};
  for (const name of ["log", "info", "warn", "error", "debug", "trace", "assert", "dir", "table"]) console[name] = silent;
  global.console = console;
  for (const name of ["setTimeout", "clearTimeout", "__timer_manager"]) global[name] = undefined;
  for (const name of ["WebAssembly", "SharedArrayBuffer", "Atomics", "WeakRef", "FinalizationRegistry"]) delete global[name];

  const prototypes = [Object, Array, String, Number, Boolean, Moment, RegExp, Map, Set, Promise, Uint8Array, Function]
    .map((made) => made.prototype);
  const shared = [...prototypes, Math, JSON, Reflect, Object, Array, String, Number, Moment, console];

  function lock(owner) {
    for (const name of Reflect.ownKeys(owner)) {
      const found = Reflect.getOwnPropertyDescriptor(owner, name);
      if (!found.configurable) continue;
      if (owner === Object.prototype && "value" in found) lockOverridable(owner, name, found.value);
      else if ("value" in found) define(owner, name, { writable: false, configurable: false });
      else define(owner, name, { configurable: false });
    }
  }

  // A member that can't be written can't be set in what inherits it either; results may well have one named so.
  function lockOverridable(owner, name, value) {
    define(owner, name, {
      get: () => value,
      set(given) {
        if (this !== owner) define(this, name, { value: given, writable: true, enumerable: true, configurable: true });
      },
      configurable: false,
    });
  }

  function sweep(owner, kept) {
    const found = keysOf(owner);
    let swept = false;
    for (let i = 0; i < found.length; i++) if (kept === null || !kept.has(found[i])) swept = remove(owner, found[i]) || swept;
    return swept;
  }

  // Results to rows.

  const REFUSAL = {};
  let refusal = "";

  function refuse(detail) {
    refusal = detail;
    throw REFUSAL;
  }

  function numberOf(table, text) {
    let number = table.get(text);
    if (number === undefined) table.set(text, (number = table.size));
    return number;
  }

  function put(name, value, unit, moment) {
    if (++values > MAX_VALUES) refuse("more than " + MAX_VALUES + " values");
    rows.message.push(message);
    rows.name.push(numberOf(names, name));
    rows.unit.push(unit === null ? -1 : numberOf(units, unit));
    rows.value.push(value);
    rows.time.push(moment);
  }

  function keep(name, text) {
    characters += name.length + text.length;
    if (characters > MAX_TEXT) refuse("more than " + MAX_TEXT + " characters of text");
    if (texts === null) texts = Object.create(null);
    texts[name] = text;
  }

  function join(prefix, name) {
    const joined = prefix === "" ? String(name) : prefix + "_" + name;
    if (joined.length > MAX_NAME) refuse("a name longer than " + MAX_NAME + " characters");
    return joined;
  }

  function flatten(value, name, depth, moment) {
    switch (typeof value) {
      case "number": return put(name, value, null, moment);
      case "boolean": return put(name, value ? 1 : 0, null, moment);
      case "bigint": return put(name, Number(value), null, moment);
      case "string": return keep(name, value);
      case "object":
        if (value === null) return undefined;
        if (depth > MAX_DEPTH) refuse("nested deeper than " + MAX_DEPTH + " levels, or in a circle");
        if (value instanceof RealDate) return keep(name, finite(value.getTime()) ? value.toISOString() : "Invalid Date");
        return isArray(value) || ArrayBuffer.isView(value) ? undefined : flattenObject(value, name, depth, moment, null);
    }
    return undefined;
  }

  function flattenObject(value, prefix, depth, moment, consumed) {
    const members = keysOf(value);
    if (members.length === 2 && typeof value.value === "number" && typeof value.unit === "string" && prefix !== "") {
      return put(prefix, value.value, value.unit, moment);
    }
    for (let i = 0; i < members.length; i++) {
      const name = members[i];
      if (name === consumed) continue;
      const member = value[name];
      if (isArray(member) || ArrayBuffer.isView(member)) flattenArray(member, prefix, name, depth + 1, moment);
      else flatten(member, join(prefix, name), depth + 1, moment);
    }
    return undefined;
  }

  function flattenArray(value, prefix, name, depth, moment) {
    if (depth > MAX_DEPTH) refuse("nested deeper than " + MAX_DEPTH + " levels, or in a circle");
    if (value.length > MAX_VALUES) refuse("more than " + MAX_VALUES + " values");
    const found = isArray(value) ? timesOf(value) : null;
    for (let i = 0; i < value.length; i++) {
      // Records of the past have the names of the present: what they lie in is not part of them.
      if (found !== null) flattenObject(value[i], prefix, depth + 1, found[i].moment, found[i].name);
      else if (isArray(value[i])) flattenArray(value[i], join(prefix, name), i, depth + 1, moment);
      else flatten(value[i], join(join(prefix, name), i), depth + 1, moment);
    }
  }

  function timesOf(list) {
    const found = [];
    for (let i = 0; i < list.length; i++) {
      const own = isRecord(list[i]) ? ownTime(list[i]) : null;
      if (own === null) return null;
      found.push(own);
    }
    return found.length ? found : null;
  }

  function isRecord(value) {
    return typeof value === "object" && value !== null && !isArray(value) && !(value instanceof RealDate);
  }

  function ownTime(record) {
    for (let i = 0; i < TIMES.length; i++) {
      const moment = Object.hasOwn(record, TIMES[i]) ? momentOf(record[TIMES[i]]) : NaN;
      if (finite(moment)) return { name: TIMES[i], moment };
    }
    return null;
  }

  // Milliseconds since 1970; NaN for what is no instant.
  function momentOf(value) {
    if (value instanceof RealDate) return value.getTime();
    if (typeof value === "string") return INSTANT.test(value) ? RealDate.parse(value.replace(" ", "T")) : NaN;
    if (typeof value !== "number") return NaN;
    for (const scale of [1, 1e3, 1e6]) if (value >= FIRST * scale && value < LAST * scale) return (value / scale) * 1000;
    return NaN;
  }

  function listed(value) {
    if (value === undefined || value === null) return [];
    return (isArray(value) ? value : [value]).map((each) => shown(each));
  }

  function shown(thrown) {
    try {
      const text = thrown instanceof Error ? thrown.name + ": " + thrown.message : typeof thrown === "string" ? thrown : JSON.stringify(thrown);
      return String(text).slice(0, MAX_DETAIL);
    } catch (_) {
      return "an error without words";
    }
  }

  // The codec.

  function decode(bytes, port) {
    const module = { exports: {} };
    const codec = factory.call(global, module, module.exports);
    const exported = module.exports || {};
    const decodeUplink = codec[0] || exported.decodeUplink;
    const Decode = codec[1] || exported.Decode, Decoder = codec[2] || exported.Decoder;
    if (typeof decodeUplink === "function") return decodeUplink({ bytes, fPort: port, recvTime: new Moment(now), variables: {} });
    const data = typeof Decode === "function" ? Decode(port, bytes, {}) : Decoder(bytes, port);
    return { data };
  }

  function decodeOne(bytes, port) {
    const result = decode(bytes, port);
    if (!isRecord(result)) refuse("the codec returned no object");
    const errors = listed(result.errors);
    if (errors.length) refuse(errors.join("; ").slice(0, MAX_DETAIL));
    const warnings = listed(result.warnings);
    const data = result.data;
    if (!isRecord(data) && !isArray(data)) refuse("the codec returned no data");
    if (isArray(data)) flattenArray(data, "", "value", 0, NaN);
    else {
      const own = ownTime(data);
      flattenObject(data, "", 0, own === null ? NaN : own.moment, own === null ? null : own.name);
    }
    if (values === 0) refused.push([message, "missing_value", ["the codec gave no number", ...warnings].join("; ").slice(0, MAX_DETAIL)]);
    else {
      if (warnings.length) warned.push([message, warnings.join("; ").slice(0, MAX_DETAIL)]);
      if (texts !== null) metadata.push([message, JSON.stringify(texts)]);
    }
  }

  function withdraw(mark) {
    for (const name of ["message", "name", "unit", "value", "time"]) rows[name].length = mark;
  }

  const baseline = new Map();

  global.__telebeam = {
    // The codec's source; whether it has one of the functions that a codec is known by.
    load(source) {
      const found = "\n;return [" + ["decodeUplink", "Decode", "Decoder"]
        .map((name) => "typeof " + name + " === 'function' ? " + name + " : null").join(", ") + "];";
      factory = new Function("module", "exports", source + found);
      const module = { exports: {} };
      const codec = factory.call(global, module, module.exports);
      const exported = module.exports || {};
      leaks.global = sweepGlobal();
      leaks.shared = sweepShared();
      return codec.some((each) => each !== null)
        || ["decodeUplink", "Decode", "Decoder"].some((name) => typeof exported[name] === "function");
    },
    // Where the place of the message that is being decoded can be read while the codec runs.
    watch() {
      const shared = new SharedArrayBuffer(4);
      progress = new Int32Array(shared);
      return shared;
    },
    // Room for a batch: times as float64, lengths and ports as int32, then the payloads.
    room(size) {
      input = new SharedArrayBuffer(size);
      return input;
    },
    // Decodes the messages in the room; a message's row is its place among them.
    run(count) {
      const times = new Float64Array(input, 0, count);
      const lengths = new Int32Array(input, 8 * count, count), ports = new Int32Array(input, 12 * count, count);
      const data = new Uint8Array(input, 16 * count);
      do pass(count, times, lengths, ports, data); while (leaked());
      progress[0] = count;
    },
    // What the batch gave: the numbers as columns, the rest as JSON.
    texts() {
      return JSON.stringify({ count: rows.message.length, names: [...names.keys()], units: [...units.keys()], metadata, refused, warned });
    },
    // Values and times (ms, NaN for the message's own) as float64; messages, names and units as int32.
    columns() {
      const count = rows.message.length;
      const buffer = new SharedArrayBuffer(28 * count || 1);
      new Float64Array(buffer, 0, count).set(rows.value);
      new Float64Array(buffer, 8 * count, count).set(rows.time);
      ["message", "name", "unit"].forEach((name, place) => new Int32Array(buffer, (16 + 4 * place) * count, count).set(rows[name]));
      return buffer;
    },
  };

  function pass(count, times, lengths, ports, data) {
    rows = { message: [], name: [], unit: [], value: [], time: [] };
    names = new Map();
    units = new Map();
    metadata = [];
    refused = [];
    warned = [];
    let start = 0;
    for (message = 0; message < count; message++) {
      progress[0] = message;
      const end = start + lengths[message];
      const bytes = [];
      for (; start < end; start++) bytes.push(data[start]);
      one(bytes, ports[message], times[message]);
    }
  }

  function one(bytes, port, moment) {
    const mark = rows.message.length;
    values = characters = 0;
    texts = null;
    now = moment;
    seed = 1;
    try {
      decodeOne(bytes, port);
    } catch (thrown) {
      withdraw(mark);
      refused.push([message, "malformed", thrown === REFUSAL ? refusal : shown(thrown)]);
    }
    if (leaks.global) sweepGlobal();
    if (leaks.shared) sweepShared();
  }

  // To look after each message costs as much as to decode it.  Most codecs leave nothing behind; of one that does the
  // batch is done again, from then on with a look after each message.
  const leaks = { global: false, shared: false };

  function leaked() {
    const found = { global: sweepGlobal(), shared: sweepShared() };
    const fresh = (found.global && !leaks.global) || (found.shared && !leaks.shared);
    leaks.global ||= found.global;
    leaks.shared ||= found.shared;
    return fresh;
  }

  function sweepGlobal() {
    return sweep(global, baseline);
  }

  function sweepShared() {
    let found = false;
    for (let i = 0; i < shared.length; i++) if (sweep(shared[i], shared[i] === console ? consoleKept : null)) found = true;
    return found;
  }

  const consoleKept = new Map(keysOf(console).map((name) => [name, true]));
  const driver = global.__telebeam;
  for (const owner of shared) lock(owner);
  define(global, "__telebeam", { value: Object.freeze(driver), enumerable: false, writable: false, configurable: false });
  for (const name of Reflect.ownKeys(global)) {
    const found = Reflect.getOwnPropertyDescriptor(global, name);
    if (found.enumerable) baseline.set(name, true);
    if (found.configurable && "value" in found) define(global, name, { writable: false, configurable: false });
  }
})();
