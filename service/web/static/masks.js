// Masks: COCO's compressed run lengths as pixels, and pixels as a coloured layer.

// Return the lengths of the runs, which alternate between 0 and 1, down each column.
export function runs(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0, shift = 0, digit = 32;
    while (digit & 32) {
      digit = counts.charCodeAt(at++) - 48;
      value |= (digit & 31) << shift;
      shift += 5;
    }
    if (digit & 16) value |= -1 << shift;
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

// Write `value` into `target` (rows of `width`) wherever the mask is set.
export function fill(target, width, { size: [height], counts }, value) {
  let at = 0, set = false;
  for (const length of runs(counts)) {
    if (set) {
      for (let i = at; i < at + length; i++) target[(i % height) * width + Math.floor(i / height)] = value;
    }
    at += length;
    set = !set;
  }
}

// Return [red, green, blue] of `#rrggbb`.
export function rgb(colour) {
  const number = parseInt(colour.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

const LONGEST = 1600; // pixels of a side of the canvas; larger masks are drawn with fewer pixels

// Paint `values` (0 for nothing, i + 1 for colours[i], which may be null) onto a canvas.
export function paint(canvas, values, { width, height }, colours) {
  const step = Math.max(1, Math.ceil(Math.max(width, height) / LONGEST));
  canvas.width = Math.ceil(width / step);
  canvas.height = Math.ceil(height / step);
  const context = canvas.getContext("2d");
  const drawn = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(drawn.data.buffer);
  const table = new Uint32Array([0, ...colours.map(packed)]);
  for (let y = 0, i = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) pixels[i++] = table[values[y * step * width + x * step]];
  }
  context.putImageData(drawn, 0, 0);
}

// Return a colour as a pixel of a canvas, whose bytes are red, green, blue and alpha.
function packed(colour) {
  return colour ? new Uint32Array(new Uint8ClampedArray([...rgb(colour), 255]).buffer)[0] : 0;
}
