// Masks: COCO's compressed run lengths as pixels, and pixels as a coloured layer.

// Return the lengths of the runs, which alternate between 0 and 1, down each column.
export function runs(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0, shift = 0, more = true, digit = 0;
    while (more) {
      digit = counts.charCodeAt(at++) - 48;
      value |= (digit & 31) << shift;
      more = (digit & 32) !== 0;
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

// Paint `values` (0 for nothing, i + 1 for colours[i]) onto a canvas of the same size.
export function paint(canvas, values, width, height, colours, opacity) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const table = colours.map(rgb);
  for (let i = 0; i < values.length; i++) {
    if (!values[i]) continue;
    const [red, green, blue] = table[values[i] - 1];
    image.data.set([red, green, blue, opacity * 255], i * 4);
  }
  context.putImageData(image, 0, 0);
  return context;
}
