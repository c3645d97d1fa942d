// A picture file as the numbers that helpers/pictures.py makes of it: PNG of any kind,
// and JPEG. What would come out otherwise is refused.
//
//   await webPicture(file, span)   {shape: [3, height, width], data}, 0..1
//
// `span` is [low, high] or null, as for `predict`. Throws an Error with the reason.
const webPicture = (() => {
  "use strict";
  const MOST = 50e6;  // pixels: the picture and the answer take some 30 bytes for each
  const STRIP = 256;  // rows: some browsers have no canvas for a whole photograph
  const NAMES = {
    "II*\0": "TIFF", "MM\0*": "TIFF", "GIF8": "GIF", "RIFF": "WebP", "%PDF": "PDF",
    "BM": "BMP", "DICM": "DICOM", "<svg": "SVG", "PK": "ZIP archive",
  };

  function check(width, height) {
    if (width * height > MOST)
      throw new Error(`it has ${width} x ${height} px, and this page takes 50 million: `
                      + "cut it into tiles, or use the command `predict`");
  }

  function refuse(bytes) {
    const start = String.fromCharCode(...bytes.subarray(0, 12));
    const kind = Object.keys(NAMES).find(letters => start.startsWith(letters));
    let what = kind ? `it is a ${NAMES[kind]}` : "it is neither PNG nor JPEG";
    if (start.slice(4, 8) === "ftyp") what = "it is a HEIC, AVIF or film";
    throw new Error(`${what}, and this page reads PNG (8 or 16 bits) and JPEG alone: `
                    + "save it as a PNG");
  }

  // What a JPEG's header says, and the file without its colour profile, which the
  // network was not trained with.
  function jpeg(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const parts = [bytes.subarray(0, 2)];
    let size = null;
    for (let at = 2; at < bytes.length - 4;) {
      if (bytes[at] !== 0xff) break;
      const mark = bytes[at + 1], end = at + 2 + view.getUint16(at + 2);
      if (mark === 0xff) { at++; continue; }  // a fill byte
      if (mark >= 0xc0 && mark <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(mark))
        size = {depth: bytes[at + 4], height: view.getUint16(at + 5),
                width: view.getUint16(at + 7), channels: bytes[at + 9]};
      if (mark === 0xda) {  // the pixels
        parts.push(bytes.subarray(at));
        return {...size, parts, whole: size && ends(bytes, end)};
      }
      if (mark !== 0xe2) parts.push(bytes.subarray(at, end));
      at = end;
    }
    return {parts, whole: false};
  }

  function ends(bytes, from) {  // with its mark: pixels never look like it
    for (let i = bytes.length - 2; i >= from; i--)
      if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return true;
    return false;
  }

  async function readJpeg(bytes) {
    const {width, height, depth, channels, parts, whole} = jpeg(bytes);
    const damaged = new Error("the JPEG is damaged or cut off: take a whole copy");
    if (!whole) throw damaged;
    check(width, height);
    if (depth !== 8 || ![1, 3].includes(channels))
      throw new Error(`it is a JPEG of ${channels} channels with ${depth} bits, whose `
                      + "colours browsers show in their own ways: save it as a PNG");
    const settings = {colorSpaceConversion: "none", imageOrientation: "from-image"};
    let bitmap;
    try {  // Firefox decodes no Blob of several parts
      const joined = await new Blob(parts).arrayBuffer();
      bitmap = await createImageBitmap(new Blob([joined], {type: "image/jpeg"}), settings);
    } catch {
      throw damaged;
    }
    const [wide, high] = [bitmap.width, bitmap.height];  // upright
    const values = new Uint8Array(4 * wide * high);
    const canvas = new OffscreenCanvas(wide, Math.min(high, STRIP));
    const context = canvas.getContext("2d", {willReadFrequently: true});
    for (let top = 0; top < high; top += STRIP) {
      const rows = Math.min(STRIP, high - top);
      context.drawImage(bitmap, 0, -top);
      values.set(context.getImageData(0, 0, wide, rows).data, 4 * top * wide);
    }
    bitmap.close();
    return {width: wide, height: high, channels: 4, values, top: 255};
  }

  // Grey becomes three channels; what is transparent lies on white paper.
  function numbers({width, height, channels, values, top}, span) {
    const [low, high] = span || [0, top], count = width * height;
    const data = new Float32Array(3 * count);
    const colours = channels > 2 ? 3 : 1, alpha = channels % 2 === 0;
    for (let i = 0; i < count; i++) {
      const at = i * channels, opaque = alpha ? values[at + channels - 1] / top : 1;
      for (let c = 0; c < 3; c++) {
        const value = (values[at + c % colours] - low) / (high - low);
        const inside = Math.min(1, Math.max(0, value));
        data[c * count + i] = inside * opaque + 1 - opaque;
      }
    }
    return {shape: [3, height, width], data};
  }

  return async (file, span) => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (!bytes.length) throw new Error("the file is empty");
    let picture;
    if (webPng.is(bytes)) picture = await webPng.read(bytes, check);
    else if (bytes[0] === 0xff && bytes[1] === 0xd8) picture = await readJpeg(bytes);
    else refuse(bytes);
    return numbers(picture, span);
  };
})();
