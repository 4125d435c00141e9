// A text with names and values: "T=21.5;H=48;S=ok".
function decodeUplink(input) {
  const text = String.fromCharCode(...input.bytes);
  const names = { T: "temperature", H: "humidity", S: "state" };
  const data = {};
  for (const part of text.split(";")) {
    const [key, value] = part.split("=");
    if (!(key in names)) throw new Error(`unknown key ${key}`);
    const number = Number(value);
    data[names[key]] = Number.isNaN(number) ? value : number;
  }
  return { data };
}
