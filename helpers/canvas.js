// For canvas.py, which puts the id of its canvas in place of KEY; see mask_scores.js
// and brush.js.
(function () {
  const root = document.getElementById("KEY");
  const data = JSON.parse(root.querySelector("[type*=json]").textContent);
  const [W, H] = data.size;
  const part = name => root.querySelector("[data-part=" + name + "]");
  const pressed = name => part(name)?.getAttribute("aria-pressed") === "true";
  const canvas = part("canvas"), size = part("size");
  const context = canvas.getContext("2d");
  const reference = new Uint8Array(W * H);  // from runs: background, mask, background
  let mask = new Uint8Array(W * H), start = 0;
  (data.runs || []).forEach((run, i) => {
    reference.fill(i % 2, start, start + run);
    start += run;
  });
  const older = [];  // masks, for undo

  function pixels(colour) {  // a picture of W x H; colour(i) is [r, g, b, a]
    const picture = new ImageData(W, H);
    for (let i = 0; i < W * H; i++) picture.data.set(colour(i), 4 * i);
    return picture;
  }
  function show() {
    const compared = pressed("show");
    const [hit, extra, missed] = data.colours, none = [0, 0, 0, 0];
    context.putImageData(pixels(i => {
      if (!compared) return mask[i] ? extra : none;
      return mask[i] ? (reference[i] ? hit : extra) : reference[i] ? missed : none;
    }), 0, 0);
    brush.outline(part("brush"), size.value);
    part("px").textContent = size.value + " px";
    if (!data.runs) return;
    for (const [name, value] of Object.entries(maskScores(mask, reference, W))) {
      part(name).value = value;
      part(name).textContent = value.toFixed(2);
    }
  }

  function keep() {
    older.push(mask.slice());
    if (older.length > 50) older.shift();
  }
  function stroke(distance, [x, y]) {
    const value = pressed("erase") ? 0 : 1, r = size.value / 2;
    for (let v = 0; v < H; v++)
      for (let u = 0; u < W; u++)
        if (distance(u, v) <= r) mask[v * W + u] = value;
    const u = Math.floor(x), v = Math.floor(y);  // a brush of 1 px paints one
    if (u >= 0 && v >= 0 && u < W && v < H) mask[v * W + u] = value;
  }
  function shortcut(key, control) {
    if (key === "e" && !control) part("erase").click();
    else if (key === "z" && control) part("undo").click();
    else return false;
    return true;
  }
  const brush = paintBrush(canvas, [W, H], {begin: keep, stroke, moved: show, shortcut});

  const on = (name, act) => part(name)?.addEventListener("click", act);
  ["erase", "show"].forEach(name => on(name, () => {
    part(name).setAttribute("aria-pressed", !pressed(name));
    show();
  }));
  on("undo", () => { mask = older.pop() || mask; show(); });
  on("clear", () => { keep(); mask = new Uint8Array(W * H); show(); });
  on("download", () => {
    const sheet = document.createElement("canvas"), link = document.createElement("a");
    [sheet.width, sheet.height] = [W, H];
    const grey = i => [255 * mask[i], 255 * mask[i], 255 * mask[i], 255];
    sheet.getContext("2d").putImageData(pixels(grey), 0, 0);
    link.href = sheet.toDataURL("image/png");
    link.download = data.file;
    link.click();
  });
  size.addEventListener("input", show);
  show();
})();
