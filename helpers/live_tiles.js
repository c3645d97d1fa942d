// A picture of any size through a network, tile by tile: chapter 02's overlap-tile.
//
// Each tile of tile x tile px is computed with `margin` px around it, mirrored where
// the picture ends; the middle of the network's first output is kept. A generator, as
// the run of live.js is, with the settings tile and margin, and `off` as there.
function* liveTiles(net, picture, {tile, margin, off = {}}) {
  const [channels, height, width] = picture.shape, side = tile + 2 * margin;
  if (![tile, margin].every(Number.isInteger) || tile < 1 || margin < 0)
    throw new Error(`a tile of ${tile} px, a margin of ${margin} px: no whole numbers`);
  if (!picture.data.length || channels * height * width !== picture.data.length)
    throw new Error(`${picture.data.length} numbers, and a shape of ${picture.shape}`);

  // The pixels of a side that a window reads. As in helpers/app/segment.py, a side that
  // is too short for the mirror is continued to full tiles first.
  function mirrored(start, length) {
    const fold = (i, n) => {
      const turn = Math.max(1, 2 * n - 2), j = (i % turn + turn) % turn;
      return j < n ? j : turn - j;
    };
    const missing = (tile - length % tile) % tile;
    const full = missing + margin >= length ? length + missing : length;
    const place = (_, k) => fold(fold(start - margin + k, full), length);
    return Array.from({length: side}, place);
  }

  const across = Math.ceil(width / tile), count = across * Math.ceil(height / tile);
  const room = new Float32Array(channels * side * side);
  const part = {shape: [channels, side, side], data: room};
  let result = null;
  for (let done = 0; done < count; done++) {
    const top = Math.floor(done / across) * tile, left = done % across * tile;
    const rows = mirrored(top, height), columns = mirrored(left, width);
    for (let i = 0, c = 0; c < channels; c++)
      for (const y of rows)
        for (const x of columns)
          part.data[i++] = picture.data[(c * height + y) * width + x];

    const run = net.run(part, {off});
    let step = run.next();
    for (; !step.done; step = run.next()) yield (done + step.value) / count;

    const [answer] = step.value.outputs, [classes, high, wide] = answer.shape;
    const down = (high - tile) >> 1, right = (wide - tile) >> 1;
    if (down < 0 || right < 0)
      throw new Error(`of ${side} px the network leaves ${high} x ${wide} px, and a `
        + `tile has ${tile} px: take a larger margin`);
    result = result || {shape: [classes, height, width],
                        data: new Float32Array(classes * height * width)};
    for (let c = 0; c < classes; c++)
      for (let y = 0; y < Math.min(tile, height - top); y++) {
        const start = (c * high + down + y) * wide + right;
        const row = answer.data.subarray(start, start + Math.min(tile, width - left));
        result.data.set(row, (c * height + top + y) * width + left);
      }
  }
  return {outputs: [result], maps: {}};
}
