// A picture to paint defects on, for the networks of live_demos.py.
//
//   const board = await liveBoard(root, data, changed);
//   board.picture()  what a network takes, {shape: [channels, H, W], data}, 0..1
//   board.mask       1 where a defect was painted, a row after the other
//   board.slide()    everything one pixel to the right; the last column comes in first
//
// data: size [W, H], channels, sheets (data URLs: clean, added and mask, where 128 of
// `added` is nothing) and brushes (name, add, width, marks). A brush adds to the
// brightness, with soft edges; one that adds 0 brings back what is clean. The mask becomes
// `marks` there. `changed` is called after each change.
async function liveBoard(root, data, changed) {
  "use strict";
  const [W, H] = data.size, N = W * H, C = data.channels;
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const canvas = part("board"), width = part("width");
  const context = canvas.getContext("2d"), kinds = root.querySelectorAll("[data-brush]");
  let clean, added, mask;  // what a network sees is clean + added
  let older = [];  // pairs of added and mask, for undo
  let before, cover;  // of the stroke

  // The channels of a picture, one after the other, 0..1. Of another size, it is scaled
  // until it covers the sheet; what is too long is cut on both sides. One channel is grey.
  function channels(image) {
    const sheet = new OffscreenCanvas(W, H).getContext("2d");
    const scale = Math.max(W / image.width, H / image.height);
    const wide = image.width * scale, high = image.height * scale;
    sheet.imageSmoothingQuality = "high";
    sheet.drawImage(image, (W - wide) / 2, (H - high) / 2, wide, high);
    const {data: bytes} = sheet.getImageData(0, 0, W, H);
    if (C === 1) {  // a filter of the canvas would do it, but not in Safari
      const grey = i => .2126 * bytes[i] + .7152 * bytes[i + 1] + .0722 * bytes[i + 2];
      return Float32Array.from({length: N}, (_, i) => grey(4 * i) / 255);
    }
    return Float32Array.from({length: C * N},
                             (_, i) => bytes[4 * (i % N) + Math.floor(i / N)] / 255);
  }
  async function decoded(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    return channels(image);
  }
  function begun(...sheet) {
    [clean, added, mask] = sheet;
    older = [];
    brush.lift();
    show();
    changed();
  }
  async function open(sheet) {
    const urls = [sheet.clean, sheet.added, sheet.mask].map(decoded);
    const [ground, drawn, defects] = await Promise.all(urls);
    begun(ground, drawn.map(value => value - 128 / 255),
          Uint8Array.from(defects.subarray(0, N), Math.round));
  }
  async function own(file) {  // it stays on this page
    try {
      const image = await createImageBitmap(file);
      begun(channels(image), new Float32Array(C * N), new Uint8Array(N));
    } catch {
      part("status").textContent = `${file.name} is no picture that a browser can read.`;
    }
  }

  function picture() {
    const values = clean.map((value, i) => Math.min(1, Math.max(0, value + added[i])));
    return {shape: [C, H, W], data: values};
  }
  function show() {
    const {data: values} = picture(), image = new ImageData(W, H);
    for (let i = 0; i < N; i++) {
      for (let c = 0; c < 3; c++)
        image.data[4 * i + c] = Math.round(255 * values[(C > 1 ? c : 0) * N + i]);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    point();
  }
  function point() {  // the brush's outline, and what a network sees from there
    brush.outline(part("brush"), width.value);
    if (part("sight")) brush.outline(part("sight"), data.sight);
    part("px").textContent = width.value + " px";
  }

  // --- strokes ---------------------------------------------------------------------

  function begin() {
    before = [added, mask];
    cover = new Float32Array(N);
    older.push(before);
    if (older.length > 50) older.shift();
  }

  // A pixel is covered as in helpers/data.py, and belongs to the defect where more than
  // half of it is.
  function stroke(distance) {
    const kind = [...kinds].findIndex(choice => choice.checked);
    const {add, marks} = data.brushes[kind], r = Number(width.value) / 2;
    added = added.slice();
    mask = mask.slice();
    for (let i = 0; i < N; i++) {
      const share = r + .5 - distance(i % W, Math.floor(i / W));
      cover[i] = Math.max(cover[i], Math.min(1, share));
      if (!cover[i]) continue;
      for (let j = i; j < C * N; j += N)
        added[j] = before[0][j] * (1 - cover[i]) + add * cover[i];
      if (cover[i] > .5) mask[i] = marks;
    }
    show();
    changed();
  }
  function undo() {
    if (!older.length) return;
    [added, mask] = older.pop();
    brush.lift();
    show();
    changed();
  }

  function shortcut(key, control) {
    if (key !== "z" || !control) return false;
    undo();
    return true;
  }
  const brush = paintBrush(canvas, [W, H], {begin, stroke, moved: point, shortcut});

  function slid(map) {  // of channels of N pixels
    return map.map((_, i) => map[i % W ? i - 1 : i + W - 1]);
  }
  const slide = () => begun(...[clean, added, mask].map(slid));

  const sheets = part("sheet");
  sheets.addEventListener("change", () => open(data.sheets[sheets.value]));
  part("again").addEventListener("click", () => open(data.sheets[sheets.value]));
  const files = part("file");
  files.addEventListener("change", () => {
    if (files.files[0]) own(files.files[0]);
    files.value = "";  // the same one may be chosen again
  });
  part("undo").addEventListener("click", undo);
  kinds.forEach((kind, i) => kind.addEventListener("change", () => {
    width.value = data.brushes[i].width;
    point();
  }));
  width.addEventListener("input", point);
  await open(data.sheets[sheets.value]);
  return {picture, slide, slid, get mask() { return mask; }};
}
