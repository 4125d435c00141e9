// IEEE 754 floats by DataView, as meters that pass registers on send them, with units beside the values.
function decodeUplink(input) {
  const view = new DataView(new Uint8Array(input.bytes).buffer);
  if (view.byteLength < 12) return { errors: ["too short"] };
  return {
    data: {
      energy: { value: view.getFloat32(0), unit: "kWh" },
      power: { value: view.getFloat32(4), unit: "W" },
      voltage: { value: view.getUint16(8) / 10, unit: "V" },
      current: { value: view.getInt16(10) / 1000, unit: "A" },
    },
  };
}
