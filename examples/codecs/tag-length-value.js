// Channel, type, value in any order, little-endian, as several makers send them; what is unknown ends the message.
const readUInt16LE = (bytes, at) => (bytes[at + 1] << 8) | bytes[at];
const readInt16LE = (bytes, at) => (readUInt16LE(bytes, at) << 16) >> 16;
const readUInt32LE = (bytes, at) => (readUInt16LE(bytes, at + 2) * 0x10000) + readUInt16LE(bytes, at);

function decodeUplink({ bytes, fPort }) {
  const data = {};
  for (let i = 0; i < bytes.length;) {
    const channel = bytes[i++];
    const type = bytes[i++];
    if (channel === 0x01 && type === 0x75) {
      data.battery = bytes[i];
      i += 1;
    } else if (channel === 0x03 && type === 0x67) {
      data.temperature = readInt16LE(bytes, i) / 10;
      i += 2;
    } else if (channel === 0x04 && type === 0x68) {
      data.humidity = bytes[i] / 2;
      i += 1;
    } else if (channel === 0x20 && type === 0xce) {
      // A record from the device's memory, with the device's own time.
      data.history = data.history ?? [];
      data.history.push({
        timestamp: readUInt32LE(bytes, i),
        temperature: readInt16LE(bytes, i + 4) / 10,
        humidity: bytes[i + 6] / 2,
      });
      i += 7;
    } else {
      return { data, warnings: [`unknown field ${channel}/${type} at ${i - 2}, port ${fPort}`] };
    }
  }
  return { data };
}
