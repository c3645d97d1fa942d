// PNG files, read and written to the last bit: a browser's own reader cuts 16 bits to 8,
// changes colours by their profile, and rounds what is half transparent.
//
//   await webPng.read(bytes)   {width, height, channels, values, top}; see web_pictures.js
//   await webPng.write(labels, width, height, palette)   a Blob: grey, or palette numbers
//
// `read` throws an Error with the reason, and the way out, for a file that it refuses.
const webPng = (() => {
  "use strict";
  const CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4};  // by colour type
  const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4],
                  [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];  // first x, y; steps
  const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
  const DAMAGED = "the PNG is damaged or cut off: take a whole copy";

  const TABLE = Uint32Array.from({length: 256}, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
    return n;
  });
  function crc(bytes) {
    let sum = 0xffffffff;
    for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ sum >>> 8;
    return ~sum >>> 0;
  }

  async function through(parts, stream) {
    const piped = new Blob(parts).stream().pipeThrough(stream);
    return new Uint8Array(await new Response(piped).arrayBuffer());
  }

  // --- reading ---------------------------------------------------------------------

  // {IHDR: bytes, IDAT: [bytes, ...], ...}. EXIF behind the pixels does not count, as
  // for Pillow.
  function chunks(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const found = {IDAT: []};
    for (let at = 8; at < bytes.length;) {
      const length = view.getUint32(at), end = at + 8 + length;
      const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      const data = bytes.subarray(at + 8, end);
      if (view.getUint32(end) !== crc(bytes.subarray(at + 4, end)))
        throw new Error(DAMAGED);
      if (name === "IEND") return found;
      if (name === "IDAT") found.IDAT.push(data);
      else if (name !== "eXIf" || !found.IDAT.length) found[name] = data;
      at = end + 4;
    }
    throw new Error(DAMAGED);
  }

  function header(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [width, height] = [view.getUint32(0), view.getUint32(4)];
    const [depth, type, , , interlaced] = bytes.subarray(8);
    const channels = CHANNELS[type];
    if (!channels || ![1, 2, 4, 8, 16].includes(depth) || !width || !height)
      throw new Error(DAMAGED);
    return {width, height, depth, type, channels, interlaced};
  }

  // A row without its filter, in place; `above` is the row before, `back` bytes a pixel.
  function unfilter(filter, row, above, back) {
    if (filter > 4) throw new Error(DAMAGED);
    for (let i = 0; i < row.length; i++) {
      const a = i < back ? 0 : row[i - back], b = above[i];
      const c = i < back ? 0 : above[i - back];
      if (filter === 1) row[i] += a;
      else if (filter === 2) row[i] += b;
      else if (filter === 3) row[i] += a + b >> 1;
      else if (filter === 4) {  // Paeth: the one that is nearest to a + b - c
        const pa = Math.abs(b - c), pb = Math.abs(a - c), pc = Math.abs(a + b - 2 * c);
        row[i] += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      }
    }
  }

  // The values of all pixels, as they are stored: Uint8Array or Uint16Array.
  function samples({width, height, depth, channels, interlaced}, data) {
    const values = new (depth === 16 ? Uint16Array : Uint8Array)(
      width * height * channels);
    const back = Math.ceil(depth * channels / 8), mask = (1 << depth) - 1;
    let at = 0;
    for (const [x0, y0, dx, dy] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
      const wide = Math.ceil((width - x0) / dx), high = Math.ceil((height - y0) / dy);
      if (wide < 1 || high < 1) continue;
      const stride = Math.ceil(wide * channels * depth / 8);
      let above = new Uint8Array(stride);
      for (let y = 0; y < high; y++, at += stride + 1) {
        const row = data.subarray(at + 1, at + 1 + stride);
        if (row.length < stride) throw new Error(DAMAGED);
        unfilter(data[at], row, above, back);
        above = row;
        const start = (y0 + y * dy) * width + x0;
        for (let x = 0, k = 0; x < wide; x++)
          for (let c = 0; c < channels; c++, k++) {
            let value = row[k];
            if (depth === 16) value = row[2 * k] << 8 | row[2 * k + 1];
            else if (depth < 8)
              value = row[k * depth >> 3] >> 8 - depth - (k * depth & 7) & mask;
            values[(start + x * dx) * channels + c] = value;
          }
      }
    }
    return values;
  }

  // Colours (RGBA) of palette numbers; what the palette lacks is black, as for Pillow.
  function coloured(numbers, palette, opacity = []) {
    const values = new Uint8Array(4 * numbers.length);
    numbers.forEach((number, i) => {
      for (let c = 0; c < 3; c++) values[4 * i + c] = palette[3 * number + c] ?? 0;
      values[4 * i + 3] = opacity[number] ?? 255;
    });
    return values;
  }

  // With an alpha channel, which is 0 where the pixel has the `clear` colour.
  function withAlpha(values, channels, clear) {
    const count = values.length / channels, wide = channels + 1;
    const result = new Uint8Array(count * wide);
    for (let i = 0; i < count; i++) {
      const pixel = values.subarray(i * channels, (i + 1) * channels);
      result.set(pixel, i * wide);
      result[i * wide + channels] = pixel.every((v, c) => v === clear[c]) ? 0 : 255;
    }
    return result;
  }

  // The orientation in EXIF data, 1 to 8; 1 where there is none.
  function orientation(bytes) {
    if (!bytes) return 1;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const little = view.getUint16(0) === 0x4949, start = view.getUint32(4, little);
    for (let k = 0; k < view.getUint16(start, little); k++) {
      const at = start + 2 + 12 * k;
      if (view.getUint16(at, little) !== 0x112) continue;
      const value = view.getUint16(at + 8, little);
      return value > 8 ? 1 : value || 1;
    }
    return 1;
  }

  function turned({width, height, channels, values, top}, how) {
    const [wide, high] = how > 4 ? [height, width] : [width, height];
    const result = new values.constructor(values.length);
    for (let y = 0, i = 0; y < high; y++)
      for (let x = 0; x < wide; x++) {
        let [v, u] = how > 4 ? [x, y] : [y, x];
        if ([3, 4, 6, 7].includes(how)) v = height - 1 - v;
        if ([2, 3, 7, 8].includes(how)) u = width - 1 - u;
        const from = (v * width + u) * channels;
        for (let c = 0; c < channels; c++) result[i++] = values[from + c];
      }
    return {width: wide, height: high, channels, values: result, top};
  }

  function parsed(bytes) {
    try {
      const parts = chunks(bytes), head = header(parts.IHDR);
      return [parts, head, orientation(parts.eXIf)];
    } catch {  // a RangeError, too
      throw new Error(DAMAGED);
    }
  }

  // `check(width, height)` may refuse a size before the pixels are unpacked.
  async function read(bytes, check) {
    const [parts, head, how] = parsed(bytes), {width, height, depth, type} = head;
    check(width, height);
    const pages = parts.acTL && new DataView(parts.acTL.slice().buffer).getUint32(0);
    if (pages > 1)
      throw new Error(`it has ${pages} pages: save the one that counts as a PNG`);
    if (depth === 16 && how > 1 && type !== 0)
      throw new Error("it has 16-bit colours and lies turned: save it upright");
    if (parts.tRNS && type !== 3 && depth !== 8)
      throw new Error(`it makes one of its ${depth}-bit colours transparent: save it `
                      + "without that");
    let data;
    try {
      data = await through(parts.IDAT, new DecompressionStream("deflate"));
    } catch {
      throw new Error(DAMAGED);
    }
    let values = samples(head, data), {channels} = head;
    const top = type === 3 ? 255 : depth === 16 ? 65535 : depth === 1 ? 1 : 255;
    if (type === 3) {
      if (!parts.PLTE) throw new Error(DAMAGED);
      values = coloured(values, parts.PLTE, parts.tRNS);
      channels = 4;
    } else if (parts.tRNS) {
      const clear = [...parts.tRNS].filter((_, i) => i % 2);  // the lower bytes
      values = withAlpha(values, channels, clear);
      channels++;
    } else if (depth === 2 || depth === 4) {
      values = values.map(value => value * 255 / ((1 << depth) - 1));
    }
    const picture = {width, height, channels, values, top};
    return how > 1 ? turned(picture, how) : picture;
  }

  // --- writing ---------------------------------------------------------------------

  function chunk(name, data) {
    const bytes = new Uint8Array(data.length + 12), view = new DataView(bytes.buffer);
    view.setUint32(0, data.length);
    bytes.set([...name].map(letter => letter.charCodeAt(0)), 4);
    bytes.set(data, 8);
    view.setUint32(data.length + 8, crc(bytes.subarray(4, data.length + 8)));
    return bytes;
  }

  // 8 bits a pixel: grey, or with a palette of [red, green, blue] the numbers of it.
  async function write(values, width, height, palette) {
    const head = new Uint8Array(13), view = new DataView(head.buffer);
    view.setUint32(0, width);
    view.setUint32(4, height);
    head.set([8, palette ? 3 : 0], 8);
    const rows = new Uint8Array(height * (width + 1));
    for (let y = 0; y < height; y++)
      rows.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
    const packed = await through([rows], new CompressionStream("deflate"));
    const parts = [Uint8Array.from(SIGNATURE), chunk("IHDR", head)];
    if (palette) parts.push(chunk("PLTE", Uint8Array.from(palette.flat())));
    parts.push(chunk("IDAT", packed), chunk("IEND", new Uint8Array(0)));
    return new Blob(parts, {type: "image/png"});
  }

  const is = bytes => SIGNATURE.every((byte, i) => bytes[i] === byte);
  return {is, read, write, through};
})();
