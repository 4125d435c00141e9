// Brings what old engines lack, and its own method for numbers.
if (!Object.assign) {
  Object.assign = function (target, source) {
    for (var key in source) target[key] = source[key];
    return target;
  };
}
Number.prototype.round = function (places) {
  var scale = Math.pow(10, places);
  return Math.round(this * scale) / scale;
};
String.prototype.padStart = function (length, fill) {
  return this.length < length ? (fill + this).padStart(length, fill) : String(this);
};

function decodeUplink(input) {
  var serial = input.bytes.slice(0, 3).map(function (b) { return b.toString(16).padStart(2, "0"); }).join("");
  var data = Object.assign({}, { serial: serial }, { temperature: (input.bytes[3] * 0.3712345).round(2) });
  return { data: data };
}
