// The demos of live_demos.py in which networks run: livePaint, liveMaps, liveSides. Each
// is given the element of its demo. They need live.js, live_board.js, brush.js and
// mask_scores.js.

// What a demo is made of: its parts, its data, and the function that asks for an answer.
// `work(board)` runs the networks; it is never called before the reader touches the demo,
// and while it runs, later changes wait and then count as one.
async function liveDemo(root, work) {
  "use strict";
  const data = JSON.parse(root.querySelector("[data-part=data]").textContent);
  const status = root.querySelector("[data-part=status]");
  root.querySelector("[data-part=still]").hidden = true;
  root.querySelector("[data-part=live]").hidden = false;
  let board = null, touched = false, running = false, wanted = false;

  async function ask() {
    wanted = true;
    if (running || !touched || !board) return;
    running = true;
    try {
      while (wanted) {
        wanted = false;
        await work(board, data);
      }
    } catch (error) {
      status.textContent = `The network stopped: ${error.message}`;
    }
    running = false;
  }
  function touch() {
    if (touched) return;
    touched = true;
    status.textContent = "loading ...";
    ask();
  }
  for (const name of ["pointerover", "pointerdown", "focusin"])
    root.addEventListener(name, touch);
  board = await liveBoard(root, data, ask);
  ask();
  return {board, data, ask};
}

// A network in its worker, loaded at the first run. Its program lies in the page, in the
// <script> with this data-live, or in the file that its data-src names, which a <script>
// fetches: of a file:// page too.
function liveNet(root, id) {
  async function program() {
    const holder = root.querySelector(`[data-live="${id}"]`), {src} = holder.dataset;
    if (!src) return JSON.parse(holder.textContent);
    if (!globalThis.liveFiles?.[id])
      await new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = src;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${src} did not load`));
        document.head.append(script);
      });
    return globalThis.liveFiles[id];
  }
  let net = null;
  return async (picture, settings) => {
    const started = net ||= program().then(liveStart);
    try {
      return await (await started).run(picture, settings);
    } catch (error) {
      started.then(({stop}) => stop(), () => {});
      net = null;  // another try loads it anew
      throw error;
    }
  };
}

// A picture of W x H pixels on a canvas; colour(i) is [red, green, blue], 0..255.
function livePixels(canvas, W, H, colour) {
  const image = new ImageData(W, H);
  for (let i = 0; i < W * H; i++) image.data.set([...colour(i), 255], 4 * i);
  [canvas.width, canvas.height] = [W, H];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// An answer on its canvas: the picture in grey under hits, extras and misses, or, as
// grey levels, the probability. Returns what was marked, and its scores.
function liveAnswer(canvas, board, data, logits, threshold, probable) {
  const [W, H] = data.size, N = W * H, {mask} = board;
  const certain = logits.map(value => 1 / (1 + Math.exp(-value)));
  const marked = Uint8Array.from(certain, value => Number(value > threshold));
  const {data: values} = board.picture(), [hit, extra, missed] = data.colours;
  livePixels(canvas, W, H, i => {
    if (probable) return Array(3).fill(255 * certain[i]);
    if (marked[i]) return mask[i] ? hit : extra;
    return mask[i] ? missed : Array(3).fill(60 + 150 * values[i]);
  });
  const scores = maskScores(marked, mask, W);
  canvas.setAttribute("aria-label",
    `The network's answer: ${marked.reduce((sum, m) => sum + m, 0)} of ${N} pixels `
    + `marked, IoU ${scores.iou.toFixed(2)}`);
  return {marked, scores};
}

// How many parts a mask of W px a row has; pixels that share a side belong together.
function liveParts(mask, W) {
  const left = Uint8Array.from(mask);
  let count = 0;
  for (let i = 0; i < left.length; i++) {
    if (!left[i]) continue;
    count += 1;
    for (const stack = [i]; stack.length;) {
      const at = stack.pop(), x = at % W;
      left[at] = 0;
      for (const next of [at - W, at + W, x ? at - 1 : -1, x < W - 1 ? at + 1 : -1])
        if (left[next]) stack.push(next);
    }
  }
  return count;
}

// One network: its answer while the reader paints, its threshold, skips and shifts.
async function livePaint(root) {
  "use strict";
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const {net: id} = root.dataset, run = liveNet(root, id);
  const threshold = part("threshold"), probable = part("probable");
  const output = part("output"), skips = [...root.querySelectorAll("[data-skip]")];
  let found = null, last = null, slides = 0;  // last: what was marked before a slide
  let busy = false;

  function show({board, data}) {
    if (!found) return;
    const cut = Number(threshold.value);
    part("cut").textContent = cut.toFixed(2);
    const {data: logits} = found.outputs[output?.value || 0];
    const {marked, scores} = liveAnswer(part("answer"), board, data, logits, cut,
                                        probable.checked);
    part("iou").textContent = scores.iou.toFixed(2);
    part("f1").textContent = scores.f1.toFixed(2);
    return marked;
  }
  async function work(board, data) {
    const off = {};
    for (const skip of skips)
      if (!skip.checked) off[skip.dataset.skip] = [Number(skip.value)];
    busy = true;
    found = await run(board.picture(), {off}).finally(() => { busy = false; });
    const marked = show({board, data});
    part("status").textContent = `A run took ${Math.round(found.milliseconds)} ms.`;
    if (!last) return;
    const moved = board.slid(last);
    const changed = marked.filter((m, i) => m !== moved[i]).length;
    part("slid").textContent = `Slid by ${slides} px. Beside that, the last pixel `
      + `changed the answer in ${changed} pixels.`;
    last = null;
  }

  const demo = await liveDemo(root, work);
  for (const control of [threshold, probable, output])
    control?.addEventListener("input", () => show(demo));
  for (const skip of skips) skip.addEventListener("change", demo.ask);
  part("slide").addEventListener("click", () => {
    last = busy ? null : found && show(demo);  // while it runs, nothing to compare
    slides += 1;
    demo.board.slide();
  });
  part("sheet").addEventListener("change", () => { slides = 0; });
}

// One network's drawing, whose boxes show their feature maps for the reader's picture.
async function liveMaps(root) {
  "use strict";
  const part = name => root.querySelector(`[data-part="${name}"]`);
  const {net: id} = root.dataset, run = liveNet(root, id);
  const canvas = part("maps");
  let chosen = null;

  async function work(board) {
    const name = chosen.dataset.op;
    const {maps, milliseconds} = await run(board.picture(), {keep: [name]});
    const {shape: [count, high, wide], data} = maps[name], apart = high * wide;
    const columns = Math.ceil(Math.sqrt(count)), rows = Math.ceil(count / columns);
    const W = columns * (wide + 1) - 1, H = rows * (high + 1) - 1;
    const grey = new Uint8Array(W * H).fill(128);
    for (let k = 0; k < count; k++) {  // each map from its least value to its largest
      const map = data.subarray(k * apart, (k + 1) * apart);
      let least = Infinity, most = -Infinity;
      for (const value of map) {
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
      const start = Math.floor(k / columns) * (high + 1) * W + k % columns * (wide + 1);
      map.forEach((value, i) => {
        const level = most > least ? (value - least) / (most - least) : 0;
        grey[start + Math.floor(i / wide) * W + i % wide] = 255 * level;
      });
    }
    livePixels(canvas, W, H, i => Array(3).fill(grey[i]));
    const words = `${count} maps of ${high} × ${wide} px: `
      + chosen.querySelector("title").textContent;
    canvas.setAttribute("aria-label", words);
    part("said").textContent = words;
    part("status").textContent = `A run took ${Math.round(milliseconds)} ms.`;
  }

  // Every box becomes a button, the first one pressed; only one is on the way of Tab,
  // and the arrow keys lead from box to box. A narrow page shows the drawing turned:
  // another picture of the same boxes.
  const {names} = JSON.parse(part("data").textContent);
  const boxes = [...root.querySelectorAll(".network [data-op]")];
  const buttons = boxes.filter(box => names.includes(box.dataset.op));
  for (const {ownerSVGElement: svg} of buttons) svg.setAttribute("role", "group");
  let demo = null;
  function choose(box) {
    for (const button of buttons) {
      const pressed = button.dataset.op === box.dataset.op;
      button.setAttribute("aria-pressed", pressed);
      button.tabIndex = pressed ? 0 : -1;
    }
    chosen = box;
    demo?.ask();
  }
  buttons.forEach((button, i) => {
    button.setAttribute("role", "button");
    button.setAttribute("aria-label", button.querySelector("title").textContent);
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", event => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      let next = buttons[i + (step || 0)];
      if (next?.ownerSVGElement !== button.ownerSVGElement) next = button;
      next.focus();
      choose(next);
    });
  });
  choose(buttons[1] || buttons[0]);
  demo = await liveDemo(root, work);
}

// Several networks on one picture, one after the other, each with its time.
async function liveSides(root) {
  "use strict";
  const sides = [...root.querySelectorAll("[data-net]")].map(side =>
    ({side, run: liveNet(root, side.dataset.net), cut: Number(side.dataset.cut)}));
  async function work(board, data) {
    for (const {side, run, cut} of sides) {
      const {outputs, milliseconds} = await run(board.picture());
      const {marked, scores} = liveAnswer(side.querySelector("canvas"), board, data,
                                          outputs[0].data, cut, false);
      const said = [`IoU ${scores.iou.toFixed(2)}`, `${Math.round(milliseconds)} ms`];
      if (data.count) said.splice(1, 0, `${liveParts(marked, data.size[0])} objects`);
      side.querySelector("[data-part=said]").textContent = said.join(" · ");
    }
    root.querySelector("[data-part=status]").textContent = "";
  }
  await liveDemo(root, work);
}
