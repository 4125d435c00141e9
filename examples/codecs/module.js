"use strict";
// Written for a bundler: the functions are members of exports.
var UNITS = Object.freeze({ pressure: 0.1 });
exports.decodeUplink = function (input) {
  return { data: { pressure: ((input.bytes[0] << 8) | input.bytes[1]) * UNITS.pressure } };
};
exports.encodeDownlink = function () {
  return { bytes: [] };
};
