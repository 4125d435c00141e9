// The Things Network's second version: function Decoder(bytes, port).
function Decoder(bytes, port) {
  var decoded = {};
  if (port === 1) {
    for (i = 0; i < 2; i++) { // no var: many a published codec leaves its counter in the global object
      decoded["soil_moisture_" + (i + 1)] = ((bytes[2 * i] << 8) | bytes[2 * i + 1]) / 100;
    }
  }
  return decoded;
}
