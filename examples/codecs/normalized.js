// decodeUplink and normalizeUplink, whose nested names the network server knows.
const nested = (bytes) => ({
  air: { temperature: ((bytes[0] << 24 >> 16) | bytes[1]) / 10, relativeHumidity: bytes[2] },
  soil: { moisture: bytes[3], depths: [10, 20].map((depth, k) => ({ depth, temperature: bytes[4 + k] })) },
  battery: bytes[6] / 10 || null,
});

function decodeUplink(input) {
  return { data: nested(input.bytes) };
}

function normalizeUplink(input) {
  return { data: [input.data] };
}
