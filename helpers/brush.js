// A brush over a canvas of W x H px, led by finger, pen, mouse or keys; for canvas.js and
// live_board.js.
//
//   const brush = paintBrush(canvas, [W, H], {begin, stroke, moved, shortcut});
//   brush.lift()            ends a stroke
//   brush.outline(box, px)  lays an element over the canvas, px wide, around the brush
//
// begin() is called before a stroke; stroke(distance, [x, y]) for each of its pieces, where
// distance(u, v) is that of a pixel's centre from the piece, which ends at [x, y]; moved()
// after whatever was done; shortcut(key, control) returns whether it knew the key.
function paintBrush(canvas, [W, H], {begin, stroke, moved, shortcut}) {
  let x = W / 2, y = H / 2, last = null;  // of the brush; of the stroke

  function paint() {  // from where the stroke was last to where the brush is
    const [u0, v0] = last || [x, y], du = x - u0, dv = y - v0;
    const length = du * du + dv * dv;
    stroke((u, v) => {
      const a = u + .5 - u0, b = v + .5 - v0;
      const t = length ? Math.min(1, Math.max(0, (a * du + b * dv) / length)) : 0;
      return Math.hypot(a - t * du, b - t * dv);
    }, [x, y]);
    last = [x, y];
  }
  function start() {
    begin();
    paint();
  }
  const lift = () => { last = null; };

  function outline(box, px) {
    box.style.left = 100 * x / W + "%";
    box.style.top = 100 * y / H + "%";
    box.style.width = 100 * px / W + "%";
    box.style.height = 100 * px / H + "%";
  }
  function place(event) {
    const box = canvas.getBoundingClientRect();
    x = (event.clientX - box.left) * W / box.width;
    y = (event.clientY - box.top) * H / box.height;
  }
  canvas.addEventListener("pointerdown", event => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    lift();
    place(event);
    start();
    moved();
  });
  canvas.addEventListener("pointermove", event => {
    if (!event.isPrimary) return;
    place(event);
    if (last) paint();
    moved();
  });
  for (const name of ["pointerup", "pointercancel", "blur"])
    canvas.addEventListener(name, lift);

  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                 ArrowUp: [0, -1], ArrowDown: [0, 1]};
  canvas.addEventListener("keydown", event => {
    const step = steps[event.key];
    if (step) {
      const far = event.shiftKey ? 5 : 1;
      x = Math.min(W - .5, Math.max(.5, Math.floor(x) + .5 + far * step[0]));
      y = Math.min(H - .5, Math.max(.5, Math.floor(y) + .5 + far * step[1]));
      if (last) paint();
    } else if (event.key === " ") {
      if (!event.repeat) start();
    } else if (!shortcut(event.key, event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    moved();
  });
  canvas.addEventListener("keyup", event => { if (event.key === " ") lift(); });
  return {lift, outline};
}
