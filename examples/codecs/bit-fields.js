// Numbers that don't begin at bytes: a reader of bits, as a class.
class BitReader {
  #bytes;
  #at = 0;
  constructor(bytes) {
    this.#bytes = bytes;
  }
  take(count) {
    let value = 0;
    for (let i = 0; i < count; i++, this.#at++) {
      value = value * 2 + ((this.#bytes[this.#at >> 3] >> (7 - (this.#at & 7))) & 1);
    }
    return value;
  }
}

function decodeUplink({ bytes }) {
  const bits = new BitReader(bytes);
  return {
    data: {
      version: bits.take(3),
      occupied: bits.take(1) === 1,
      temperature: bits.take(10) / 10 - 40,
      humidity: bits.take(7),
      co2: bits.take(11) * 2,
    },
  };
}
