// For canvas.py, which puts the id of its canvas in place of KEY; see mask_scores.js.
(function () {
  const root = document.getElementById("KEY");
  const data = JSON.parse(root.querySelector("[type*=json]").textContent);
  const [W, H] = data.size;
  const part = name => root.querySelector("[data-part=" + name + "]");
  const pressed = name => part(name)?.getAttribute("aria-pressed") === "true";
  const canvas = part("canvas"), brush = part("brush"), size = part("size");
  const context = canvas.getContext("2d");
  const reference = new Uint8Array(W * H);  // from runs: background, mask, background
  let mask = new Uint8Array(W * H), start = 0;
  (data.runs || []).forEach((run, i) => {
    reference.fill(i % 2, start, start + run);
    start += run;
  });
  const older = [];  // masks, for undo
  let last = null, x = W / 2, y = H / 2;  // of the stroke; of the brush

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
    brush.style.left = 100 * x / W + "%";
    brush.style.top = 100 * y / H + "%";
    brush.style.width = 100 * size.value / W + "%";
    brush.style.height = 100 * size.value / H + "%";
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
  function stroke() {  // paint from where the stroke was last to where the brush is
    const [u0, v0] = last || [x, y], du = x - u0, dv = y - v0;
    const value = pressed("erase") ? 0 : 1, r = size.value / 2;
    for (let v = 0; v < H; v++)
      for (let u = 0; u < W; u++) {
        const a = u + .5 - u0, b = v + .5 - v0, length = du * du + dv * dv;
        const t = length ? Math.min(1, Math.max(0, (a * du + b * dv) / length)) : 0;
        if (Math.hypot(a - t * du, b - t * dv) <= r) mask[v * W + u] = value;
      }
    const u = Math.floor(x), v = Math.floor(y);  // a brush of 1 px paints one
    if (u >= 0 && v >= 0 && u < W && v < H) mask[v * W + u] = value;
    last = [x, y];
  }
  function move(event) {
    if (!event.isPrimary) return;
    const box = canvas.getBoundingClientRect();
    x = (event.clientX - box.left) * W / box.width;
    y = (event.clientY - box.top) * H / box.height;
    if (last) stroke();
    show();
  }
  const lift = () => { last = null; };

  canvas.addEventListener("pointerdown", event => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    lift();
    move(event);
    keep();
    stroke();
    show();
  });
  canvas.addEventListener("pointermove", move);
  ["pointerup", "pointercancel", "blur"].forEach(
    name => canvas.addEventListener(name, lift));

  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                 ArrowUp: [0, -1], ArrowDown: [0, 1]};
  canvas.addEventListener("keydown", event => {
    const key = event.key, step = steps[key];
    if (step) {
      const far = event.shiftKey ? 5 : 1;
      x = Math.min(W - .5, Math.max(.5, Math.floor(x) + .5 + far * step[0]));
      y = Math.min(H - .5, Math.max(.5, Math.floor(y) + .5 + far * step[1]));
      if (last) stroke();
    } else if (key === " ") {
      if (!event.repeat) { keep(); stroke(); }
    } else if (key === "e" && !event.ctrlKey && !event.metaKey) part("erase").click();
    else if (key === "z" && (event.ctrlKey || event.metaKey)) part("undo").click();
    else return;
    event.preventDefault();
    show();
  });
  canvas.addEventListener("keyup", event => { if (event.key === " ") lift(); });

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
