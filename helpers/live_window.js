// A convolution's window that follows the pointer, for live_demos.window: nine pixels,
// nine weights, nine products and their sum.
function liveWindow(root) {
  "use strict";
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const {size: [W, H], values, kernels} = JSON.parse(part("data").textContent);
  const picture = part("picture"), result = part("result"), choice = part("kernel");
  let u = W >> 1, v = H >> 1;  // the pixel in the middle of the window
  part("still").hidden = true;
  part("live").hidden = false;

  // The nine pixels around (x, y); outside of the picture there are zeros.
  function around(x, y) {
    const nine = [];
    for (let b = y - 1; b <= y + 1; b++)
      for (let a = x - 1; a <= x + 1; a++)
        nine.push(a >= 0 && b >= 0 && a < W && b < H ? values[b * W + a] : 0);
    return nine;
  }
  function sum(nine, weights) {
    return nine.reduce((total, value, k) => total + value * weights[k], 0);
  }
  function show() {
    const weights = kernels[choice.value], sums = [];
    let least = Infinity, most = -Infinity;  // away from the zeros around the picture
    for (let i = 0; i < W * H; i++) {
      const x = i % W, y = Math.floor(i / W), total = sum(around(x, y), weights);
      sums.push(total);
      if (x % (W - 1) && y % (H - 1)) [least, most] = [Math.min(least, total), Math.max(most, total)];
    }
    const span = most - least || 1;
    livePixels(picture, W, H, i => Array(3).fill(255 * values[i]));
    livePixels(result, W, H, i => Array(3).fill(255 * (sums[i] - least) / span));
    point();
  }
  function point() {
    const weights = kernels[choice.value], nine = around(u, v);
    for (const [name, side] of [["window", 3], ["pixel", 1]]) {
      const {style} = part(name);
      style.left = 100 * (u + .5 - side / 2) / W + "%";
      style.top = 100 * (v + .5 - side / 2) / H + "%";
      style.width = 100 * side / W + "%";
      style.height = 100 * side / H + "%";
    }
    root.querySelectorAll("[data-part=product]").forEach((cell, k) => {
      const [pixel, weight] = [nine[k], weights[k]].map(number => number.toFixed(2));
      cell.textContent = `${pixel} × ${weight} = ${(nine[k] * weights[k]).toFixed(2)}`;
    });
    part("sum").textContent = sum(nine, weights).toFixed(2);
    part("place").textContent = `row ${v}, column ${u}`;
  }
  function move(event) {
    const box = event.currentTarget.getBoundingClientRect();
    u = Math.min(W - 1, Math.max(0, Math.floor((event.clientX - box.left) * W / box.width)));
    v = Math.min(H - 1, Math.max(0, Math.floor((event.clientY - box.top) * H / box.height)));
    point();
  }
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                 ArrowUp: [0, -1], ArrowDown: [0, 1]};
  for (const canvas of [picture, result]) {
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerdown", move);
  }
  picture.addEventListener("keydown", event => {
    if (!steps[event.key]) return;
    event.preventDefault();
    u = Math.min(W - 1, Math.max(0, u + steps[event.key][0]));
    v = Math.min(H - 1, Math.max(0, v + steps[event.key][1]));
    point();
  });
  choice.addEventListener("change", show);
  show();
}
