// The page of a model: pictures come in, masks and numbers go out.
(() => {
  "use strict";
  const SIDE = 1024;  // px of a picture on the page, at most
  const part = (name, root = document) => root.querySelector(`[data-part="${name}"]`);
  const model = JSON.parse(part("model").textContent);
  const several = model.classes > 1;
  // The classes that are shown, by the number that a pixel has in a mask.
  const shown = several ? model.names.map((name, k) => k) : [1];
  const cards = [], waiting = [];
  let net = null, working = null, done = 0, refused = 0;
  let level = model.start;  // marked is what lies above this number of thresholds

  // The weights: the three upper bytes of float32 numbers, in three planes, deflated.
  async function weights() {
    const packed = Uint8Array.from(atob(model.weights), letter => letter.charCodeAt(0));
    const planes = await webPng.through([packed], new DecompressionStream("deflate"));
    const count = planes.length / 3, bits = new Uint32Array(count);
    for (let i = 0; i < count; i++)
      bits[i] = planes[i] << 24 | planes[count + i] << 16 | planes[2 * count + i] << 8;
    return new Float32Array(bits.buffer);
  }

  function say(text) {
    part("status").textContent = text;
  }
  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }
  const many = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  // --- pictures come in ------------------------------------------------------------

  function add(files) {
    waiting.push(...files);
    if (files.length && !working) work();
  }

  async function work() {
    working = new AbortController();
    done = refused = 0;
    part("working").hidden = false;
    part("refused").hidden = true;
    part("refused").replaceChildren();
    const begin = performance.now();
    for (let all = waiting.length; waiting.length;) {
      all = Math.max(all, done + refused + waiting.length);
      const file = waiting.shift();
      say(`Picture ${done + refused + 1} of ${all}: ${file.name}`);
      part("progress").value = 0;
      try {
        await one(file);
        done++;
      } catch (error) {
        if (working.signal.aborted) break;
        refused++;
        const words = `${file.name} was refused: ${reason(error)}.`;
        part("refused").append(element("li", words));
        part("refused").hidden = false;
      }
    }
    const seconds = (performance.now() - begin) / 1000 / Math.max(1, done);
    const stopped = working.signal.aborted;
    working = null;
    part("working").hidden = true;
    let text = stopped ? "Stopped. " : "";
    if (done) text += `${many(done, "picture")} done, ${seconds.toFixed(1)} s each.`;
    if (refused) text += ` ${many(refused, "picture")} refused: see below.`;
    say(text.trim());
    if (waiting.length) work();  // what came in after "Stop"
  }

  function reason(error) {
    if (error instanceof RangeError || /alloc/i.test(error.message))
      return "this browser has no room for it: cut it into tiles";
    if (error instanceof DOMException)
      return "it cannot be read: name files, no folders";
    return error.message;
  }

  async function one(file) {
    const picture = await webPicture(file, model.span);
    net ||= liveStart({...model.program, weights: await weights()});
    const progress = share => { part("progress").value = share; };
    const options = {progress, signal: working.signal};
    const levels = await webLevels(net, picture, model, options);
    const [, height, width] = picture.shape;
    const card = {name: file.name, width, height, levels, ...preview(picture)};
    card.root = part("card").content.cloneNode(true).firstElementChild;
    part("name", card.root).textContent = card.name;
    button(card, "save", () => saveMask(card));
    button(card, "remove", () => remove([card]));
    cards.push(card);
    part("cards").append(card.root);
    part("results").hidden = false;
    count(card);
    draw(card);
  }

  function button({root, name}, kind, pressed) {
    const made = part(kind, root);
    made.onclick = pressed;
    made.ariaLabel = `${made.textContent}: ${name}`;
  }

  // A picture as it is shown: its bytes (RGBA), and which pixel each of them is.
  function preview({shape: [, height, width], data}) {
    const scale = Math.min(1, SIDE / Math.max(height, width));
    const wide = Math.max(1, Math.round(width * scale));
    const high = Math.max(1, Math.round(height * scale));
    const image = new ImageData(wide, high), from = new Uint32Array(wide * high);
    for (let y = 0, i = 0; y < high; y++)
      for (let x = 0; x < wide; x++, i++) {
        const v = Math.floor((y + .5) * height / high);
        from[i] = v * width + Math.floor((x + .5) * width / wide);
        for (let c = 0; c < 3; c++)
          image.data[4 * i + c] = 255 * data[c * height * width + from[i]];  // rounded
        image.data[4 * i + 3] = 255;
      }
    return {image, from};
  }

  function remove(some) {
    for (const card of some) {
      cards.splice(cards.indexOf(card), 1);
      card.root.remove();
    }
    part("results").hidden = !cards.length;
    say(`Removed. ${many(cards.length, "picture")} left.`);
    part("choose").focus();
  }

  // --- what is shown ---------------------------------------------------------------

  const labelOf = value => several ? value : Number(value > level);

  // The numbers of a picture: {pixels, regions} of each class.
  function count(card) {
    card.found = webRegions(card.levels.map(labelOf), card.width, several
      ? model.classes : 2);
    const heads = ["class", "area", "pixels", several ? "regions" : "objects"];
    const row = element("tr", "");
    row.append(...heads.map(head => element("th", head)));
    part("heads", card.root).replaceChildren(row);
    part("numbers", card.root).replaceChildren(...shown.map(k => {
      const {pixels, regions} = card.found[k], line = element("tr", "");
      const cells = [model.names[k], percent(pixels, card), pixels.toLocaleString("en"),
                     regions.toLocaleString("en")];
      line.append(...cells.map(text => element("td", text)));
      return line;
    }));
    const told = shown.map(k => `${model.names[k]} ${percent(card.found[k].pixels, card)}`);
    part("canvas", card.root).ariaLabel =
      `${card.name}, ${card.width} x ${card.height} px, with what was found: `
      + told.join(", ");
    part("canvas", card.root).title = `${card.width} x ${card.height} px`;
  }
  const percent = (pixels, {width, height}) =>
    `${(100 * pixels / (width * height)).toFixed(1)} %`;

  function draw({image, from, levels, root}) {
    const canvas = part("canvas", root), {width, height} = image;
    const share = part("strength").value / 100;
    const drawn = new ImageData(image.data.slice(), width, height);
    from.forEach((pixel, i) => {
      const colour = model.colours[labelOf(levels[pixel])];
      if (!colour) return;
      for (let c = 0; c < 3; c++) {
        const own = drawn.data[4 * i + c];
        drawn.data[4 * i + c] = own + share * (colour[c] - own);
      }
    });
    Object.assign(canvas, {width, height});
    canvas.getContext("2d").putImageData(drawn, 0, 0);
  }

  function set() {  // what the sliders say
    const p = model.thresholds?.[level];
    part("threshold").textContent = several ? "" : p.toFixed(2)
      + (level === model.start ? " (the model’s own)" : "");
    part("strong").textContent = `${part("strength").value} %`;
    cards.forEach(draw);
  }

  // --- masks and numbers go out ----------------------------------------------------

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function saveMask({name, levels, width, height}) {
    const values = levels.map(value => several ? value : 255 * labelOf(value));
    const palette = several ? model.palette : null;
    const file = `${name.replace(/\.[^.]*$/, "")}_mask.png`;
    save(await webPng.write(values, width, height, palette), file);
    say(`${file} is downloaded.`);
  }

  function saveTable() {
    const rows = [["file", "width", "height", "threshold", "class", "pixels", "share",
                   several ? "regions" : "objects"]];
    const cut = several ? "" : model.thresholds[level].toFixed(2);
    for (const {name, width, height, found} of cards)
      for (const k of shown) {
        const {pixels, regions} = found[k], share = pixels / (width * height);
        rows.push([name, width, height, cut, model.names[k], pixels, share.toFixed(6),
                   regions]);
      }
    save(new Blob([webTable(rows)], {type: "text/csv"}), "numbers.csv");
    say(`The numbers of ${many(cards.length, "picture")} are in numbers.csv.`);
  }

  // --- what a reader does ----------------------------------------------------------

  for (const name of ["choose", "photograph"])
    part(name).onchange = ({target}) => {
      add([...target.files]);
      target.value = "";  // the same file may be chosen again
    };
  addEventListener("dragover", event => {
    event.preventDefault();
    part("drop").classList.add("over");
  });
  addEventListener("dragleave", () => part("drop").classList.remove("over"));
  addEventListener("drop", event => {
    event.preventDefault();
    part("drop").classList.remove("over");
    const {files} = event.dataTransfer;
    if (!files.length) say("That was no file: drop pictures, or choose them.");
    add([...files]);
  });
  let pasted = 0;
  addEventListener("paste", ({clipboardData: {files}}) => {
    if (!files.length) say("There is no picture to paste.");
    const named = file => new File([file], `pasted-${++pasted}.png`);
    add(Array.from(files, file => file.name === "image.png" ? named(file) : file));
  });
  part("level").oninput = ({target}) => {
    level = Number(target.value);
    set();
  };
  part("level").onchange = () => cards.forEach(count);
  part("strength").oninput = set;
  part("stop").onclick = () => {
    waiting.length = 0;
    working?.abort();
  };
  part("table").onclick = saveTable;
  part("clear").onclick = () => remove([...cards]);

  part("cut").hidden = several;
  Object.assign(part("level"), {max: (model.thresholds?.length ?? 1) - 1, value: level});
  for (const k of shown) {
    const item = element("li", model.names[k]), key = element("span", "");
    key.className = "key";
    key.style.background = model.colours[k] ? `rgb(${model.colours[k]})` : "none";
    item.prepend(key);
    part("legend").append(item);
  }
  set();
  if (!globalThis.DecompressionStream || !AbortSignal.prototype.throwIfAborted)
    say("This browser is too old: Chrome 100, Firefox 113 or Safari 16.4 are needed.");
})();
