// What the bytes mean depends on the port.
function decodeUplink(input) {
  switch (input.fPort) {
    case 1:
      return { data: { level: input.bytes[0], unit_alarm: !!(input.bytes[1] >> 7) } };
    case 2:
      return { data: { gps: { latitude: int24(input.bytes, 0) / 10000, longitude: int24(input.bytes, 3) / 10000 } } };
    case 3:
      return { data: { message: String.fromCharCode.apply(null, input.bytes), characters: input.bytes.length } };
    default:
      return { errors: ["unknown FPort"] };
  }
}

function int24(b, i) {
  return ((b[i] << 24) | (b[i + 1] << 16) | (b[i + 2] << 8)) >> 8;
}
