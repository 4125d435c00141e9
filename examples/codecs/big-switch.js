// Generated code: a switch, BigInt for 64 bits, a console that nobody reads.
var decodeUplink = function (input) {
  console.log("decoding", input.bytes.length, "bytes");
  var out = { data: {}, warnings: [], errors: [] };
  var type = input.bytes[0] >> 4, rest = input.bytes.slice(1);
  switch (type) {
    case 0x1: {
      let total = 0n;
      for (const byte of rest) total = (total << 8n) + BigInt(byte);
      out.data.pulses = total;
      break;
    }
    case 0x2:
      out.data.leak = Boolean(rest[0]);
      out.data.last_reset = new Date(Date.UTC(2020 + rest[1], 0, 1));
      break;
    case 0xf:
      out.errors.push("device fault " + rest[0]);
      break;
    default:
      out.warnings.push("type " + type + " is not known");
  }
  return out;
};
