// ChirpStack's third version: function Decode(fPort, bytes, variables).
function Decode(fPort, bytes, variables) {
  var data = { "TempC_SHT": ((bytes[0] << 24 >> 16) | bytes[1]) / 100, "Hum_SHT": bytes[2] / 2, "BatV": bytes[3] / 50 };
  return data;
}
