// Many records in one message, each so many minutes before it was received.
function decodeUplink({ bytes, recvTime }) {
  const step = bytes[0] * 60_000;
  const records = bytes.slice(1).map((value, k, all) => ({
    time: new Date(recvTime.getTime() - (all.length - 1 - k) * step).toISOString(),
    flow_rate: value / 4,
  }));
  return { data: { interval_minutes: bytes[0], records } };
}
