// What a network finds in a picture, as `predict` does: helpers/app/segment.py.
//
//   const levels = await webLevels(net, picture, model, {progress, signal})
//   const found = webRegions(labels, width, classes)   [{pixels, regions}, ...]
//   const text = webTable(rows)                         CSV
//
// `levels` is a Uint8Array, a number for each pixel: of how many of model.thresholds its
// probability is larger, or with several classes its class. `model` is what web.py
// says: size, resized, whole, tile, margin, classes, thresholds.
const {webLevels, webRegions, webTable} = (() => {
  "use strict";

  // For each new pixel of a side: the first old one it reads, and the weights from there.
  const TAPS = {
    // Means over what a new pixel covers, in a triangle: PyTorch's antialias=True.
    smooth(from, to) {
      const scale = from / to, reach = Math.max(1, scale);
      return Array.from({length: to}, (_, i) => {
        const middle = scale * (i + .5), taps = [];
        const start = Math.max(0, Math.trunc(middle - reach + .5));
        const end = Math.min(from, Math.trunc(middle + reach + .5));
        for (let j = start; j < end; j++)
          taps.push(Math.max(0, 1 - Math.abs(j + .5 - middle) / reach));
        const sum = taps.reduce((a, b) => a + b);
        return {start, taps: taps.map(tap => tap / sum)};
      });
    },
    // The straight line between two old pixels.
    between(from, to) {
      return Array.from({length: to}, (_, i) => {
        const at = Math.max(0, (i + .5) * from / to - .5);
        const start = Math.min(Math.floor(at), from - 1), share = at - start;
        return {start, taps: start + 1 < from ? [1 - share, share] : [1]};
      });
    },
  };

  function resized({shape: [channels, height, width], data}, [high, wide], kind) {
    const columns = TAPS[kind](width, wide), rows = TAPS[kind](height, high);
    const half = new Float32Array(channels * height * wide);
    for (let i = 0, row = 0; row < channels * height; row++)
      for (const {start, taps} of columns) {
        let sum = 0;
        for (let j = 0; j < taps.length; j++) sum += taps[j] * data[row * width + start + j];
        half[i++] = sum;
      }
    const result = new Float32Array(channels * high * wide);
    for (let i = 0, c = 0; c < channels; c++)
      for (const {start, taps} of rows)
        for (let x = 0; x < wide; x++) {
          let sum = 0, from = (c * height + start) * wide + x;
          for (let j = 0; j < taps.length; j++, from += wide) sum += taps[j] * half[from];
          result[i++] = sum;
        }
    return {shape: [channels, high, wide], data: result};
  }

  async function webLevels(net, picture, model, options) {
    const [, height, width] = picture.shape, [high, wide] = model.size;
    let seen = picture;
    if (model.resized) {
      seen = resized(picture, model.size, "smooth");
      seen.data.forEach((v, i) => { seen.data[i] = Math.min(1, Math.max(0, v)); });
    }
    const [, rows, columns] = seen.shape;
    const whole = model.whole && rows === high && columns === wide;
    const tiles = whole ? {} : {tile: model.tile, margin: model.margin};
    let [logits] = (await net.run(seen, {...tiles, ...options})).outputs;
    if (model.resized) logits = resized(logits, [height, width], "between");
    return model.classes > 1 ? largest(logits) : passed(logits, model.thresholds);
  }

  function largest({shape: [classes, height, width], data}) {
    const count = height * width, labels = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      let best = 0;
      for (let k = 1; k < classes; k++)
        if (data[k * count + i] > data[best * count + i]) best = k;
      labels[i] = best;
    }
    return labels;
  }

  function passed({data}, thresholds) {
    const cuts = thresholds.map(p => Math.log(p / (1 - p))), most = cuts.length;
    return Uint8Array.from(data, logit => {
      let low = 0, high = most;  // cuts before `low` are below, those from `high` not
      while (low < high) {
        const middle = low + high >> 1;
        if (cuts[middle] < logit) low = middle + 1;
        else high = middle;
      }
      return low;
    });
  }

  // Pixels of each label, and connected regions: pixels that share a side belong
  // together. Runs of equal labels in a row are joined with those of the row above.
  function webRegions(labels, width, classes) {
    const found = Array.from({length: classes}, () => ({pixels: 0, regions: 0}));
    let above = [];
    const root = run => {
      while (run.parent !== run) run = run.parent = run.parent.parent;
      return run;
    };
    for (let start = 0; start < labels.length; start += width) {
      const runs = [];
      let k = 0;  // of the first run above that reaches this one
      for (let x = 0; x < width;) {
        const label = labels[start + x], run = {label, first: x, parent: null};
        while (x < width && labels[start + x] === label) x++;
        run.end = x;
        run.parent = run;
        found[label].pixels += run.end - run.first;
        found[label].regions++;
        for (; k < above.length && above[k].first < run.end; k++) {
          const [one, other] = [root(above[k]), root(run)];
          if (above[k].label === label && one !== other) {
            other.parent = one;
            found[label].regions--;
          }
          if (above[k].end > run.end) break;  // it reaches the next one, too
        }
        runs.push(run);
      }
      above = runs;
    }
    return found;
  }

  function webTable(rows) {
    const cell = value => /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"`
                                                 : value;
    const line = row => row.map(value => cell(String(value))).join(",");
    return rows.map(line).join("\r\n") + "\r\n";
  }

  return {webLevels, webRegions, webTable};
})();
