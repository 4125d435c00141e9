// A payload codec of the LoRa Alliance's TS013 interface: one byte of state, one of battery.
function decodeUplink(input) {
  if (input.bytes.length !== 2) return { errors: ["expected 2 bytes, found " + input.bytes.length] };
  return {
    data: { door_open: input.bytes[0] === 1, battery_voltage: input.bytes[1] / 50 },
    warnings: input.bytes[1] < 125 ? ["battery low"] : [],
  };
}
