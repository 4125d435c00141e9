// Signed 16 bit big-endian numbers, a status of bits, ES5, with a downlink part as most published codecs have one.
function readInt16BE(bytes, index) {
  var value = (bytes[index] << 8) | bytes[index + 1];
  return value > 0x7fff ? value - 0x10000 : value;
}

function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length !== 6) {
    return { errors: ["expected 6 bytes, got " + bytes.length] };
  }
  var data = {};
  data.temperature = readInt16BE(bytes, 0) / 100;
  data.humidity = bytes[2] / 2;
  data.battery_voltage = bytes[3] / 50;
  data.door_open = (bytes[4] & 0x01) === 0x01;
  data.tamper = (bytes[4] & 0x02) === 0x02;
  data.mode = ["sleep", "normal", "fast"][bytes[5]] || "unknown";
  var warnings = [];
  if (data.battery_voltage < 2.4) {
    warnings.push("battery low");
  }
  return { data: data, warnings: warnings, errors: [] };
}

function encodeDownlink(input) {
  return { fPort: 10, bytes: [input.data.interval >> 8, input.data.interval & 0xff] };
}

function decodeDownlink(input) {
  return { data: { interval: (input.bytes[0] << 8) | input.bytes[1] } };
}
