// Runs the networks of the book in a web page; live.py packs them into programs.
//
//   const net = live.start(program);  // in a worker: the page stays responsive
//   const {outputs, maps, milliseconds} = await net.run(picture, {keep: ["relu_1"]});
//   const {outputs} = live.finish(live.load(program).run(picture));  // without a worker
//
// A map is {shape: [channels, height, width], data}, a Float32Array with the rows one
// after the other. The picture is one, and so are outputs[0] (the network's answer, in
// logits), outputs[1] ... and maps.relu_1. Settings of run, each of them optional:
//   keep      names of operations whose maps are wanted
//   off       {cat_1: [0]}: for the operation cat_1, input 0 counts as zeros
//   tile, margin   px: a picture of any size, tile by tile; there is one output then
// and in a worker
//   progress  a function, called with the share that is done, 0 to 1
//   signal    of an AbortController, which ends the run
const live = (() => {
  // All that computes. It uses nothing from outside, since its text goes to the worker:
  // a page that was opened from a file may not load a script there.
  function engine() {
    "use strict";
    const size = shape => shape.reduce((product, length) => product * length, 1);
    function zeros(shape) {
      if (shape.some(length => length < 1))
        throw new Error("the picture is too small: nothing is left of it on the way");
      return {shape, data: new Float32Array(size(shape))};
    }

    // --- weights ---------------------------------------------------------------------

    // Base64 of float16 numbers: a sign, 5 bits of exponent, 10 of fraction each.
    function decode(text) {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      const halves = new DataView(bytes.buffer);
      const numbers = new Float32Array(bytes.length / 2);
      for (let i = 0; i < numbers.length; i++) {
        const bits = halves.getUint16(2 * i, true);
        const exponent = bits >> 10 & 31, fraction = bits & 1023;
        const value = exponent ? (1024 + fraction) * 2 ** (exponent - 25)
                               : fraction * 2 ** -24;
        numbers[i] = bits >> 15 ? -value : value;
      }
      return numbers;
    }

    // The weights of a convolution by what each output pixel reads, its taps: [channel,
    // down, right] from its own place. A transposed one of stride s is s x s plain ones,
    // each of which makes every s-th pixel, the phases: pixel s m + r of a side reads
    // m + (r + padding - v dilation) / stride for weight v, where that is whole.
    function phases(op) {
      const up = op.kind === "upconv", found = [];
      const [inputs, outputs] = up ? op.shape : [op.shape[1], op.shape[0]];
      const [, , high, wide] = op.shape, [sy, sx] = up ? op.stride : [1, 1];
      const from = (axis, phase, v) => up
        ? (phase + op.padding[axis] - v * op.dilation[axis]) / op.stride[axis]
        : v * op.dilation[axis] - op.padding[axis];
      for (let r = 0; r < sy; r++)
        for (let q = 0; q < sx; q++) {
          const taps = [], places = [];
          for (let c = 0; c < inputs; c++)
            for (let v = 0; v < high; v++)
              for (let u = 0; u < wide; u++) {
                const tap = [c, from(0, r, v), from(1, q, u)];
                if (!tap.every(Number.isInteger)) continue;
                taps.push(tap);
                places.push([c, v * wide + u]);
              }
          const weight = (o, t) => {
            const [c, place] = places[t], row = up ? c * outputs + o : o * inputs + c;
            return op.weight[row * high * wide + place];
          };
          found.push({first: [r, q], taps, weights: blocks(outputs, taps, weight)});
        }
      return found;
    }

    // Weights in the order in which `slide` reads them: four outputs to a block.
    function blocks(outputs, taps, weight) {
      const count = taps.length, all = new Float64Array((outputs + 3 >> 2) * 4 * count);
      for (let o = 0; o < outputs; o++)
        for (let t = 0; t < count; t++)
          all[((o >> 2) * count + t) * 4 + (o & 3)] = weight(o, t);
      return all;
    }

    // --- the loop that takes nearly all of the time ----------------------------------

    // Output o at (y, x) is bias[o] and, for each tap t, weight (o, t) times from.data
    // at offsets[t] + y from.down + x from.right; `to` says where it goes. Four outputs
    // of two neighbours stay in registers. All is float64, as JavaScript computes: so
    // no number has to be converted on the way.
    function slide(from, offsets, weights, bias, to) {
      const {data, down, right} = from, out = to.data, count = offsets.length;
      for (let o = 0; o < to.outputs; o += 4) {
        const many = Math.min(4, to.outputs - o);
        for (let y = 0; y < to.height; y++)
          for (let x = 0; x < to.width; x += 2) {
            const p = y * down + x * right, q = p + right;
            let a0 = bias[o], a1 = bias[o + 1], a2 = bias[o + 2], a3 = bias[o + 3];
            let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
            for (let t = 0, k = o * count; t < count; t++, k += 4) {
              const i = offsets[t], a = data[p + i], b = data[q + i];
              const w0 = weights[k], w1 = weights[k + 1];
              const w2 = weights[k + 2], w3 = weights[k + 3];
              a0 += w0 * a; a1 += w1 * a; a2 += w2 * a; a3 += w3 * a;
              b0 += w0 * b; b1 += w1 * b; b2 += w2 * b; b3 += w3 * b;
            }
            const i = to.first + o * to.plane + y * to.down + x * to.right;
            const {plane} = to;
            out[i] = a0;
            if (many > 1) out[i + plane] = a1;
            if (many > 2) out[i + 2 * plane] = a2;
            if (many > 3) out[i + 3 * plane] = a3;
            if (x + 1 === to.width) continue;
            const j = i + to.right;
            out[j] = b0;
            if (many > 1) out[j + plane] = b1;
            if (many > 2) out[j + 2 * plane] = b2;
            if (many > 3) out[j + 3 * plane] = b3;
          }
      }
    }

    // A float64 copy with `value` around it. It ends some numbers later than it must,
    // since at an odd width `slide` reads one neighbour too many.
    function padded({shape: [channels, height, width], data}, before, after, value) {
      const row = before[1] + width + after[1];
      const plane = (before[0] + height + after[0]) * row;
      const copy = new Float64Array(channels * plane + 2 * row).fill(value);
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < height; y++) {
          const start = (c * height + y) * width;
          copy.set(data.subarray(start, start + width),
                   c * plane + (before[0] + y) * row + before[1]);
        }
      return {data: copy, row, plane};
    }

    // A convolution to height x width px: of its taps, the next pixel of a phase reads
    // `stride` px further and lies `apart` px further in the result.
    function convolve(op, x, sides, stride, apart) {
      const before = [0, 0], after = [0, 0];  // px that the taps read beyond the map
      sides.forEach((length, axis) => {
        const last = (Math.ceil(length / apart[axis]) - 1) * stride[axis];
        for (const phase of op.phases)
          for (const tap of phase.taps) {
            const beyond = last + tap[axis + 1] + 1 - x.shape[axis + 1];
            before[axis] = Math.max(before[axis], -tap[axis + 1]);
            after[axis] = Math.max(after[axis], beyond);
          }
      });
      const [height, width] = sides, outputs = op.outputs;
      const {data, row, plane} = padded(x, before, after, 0);
      const result = zeros([outputs, height, width]);
      const from = {data, down: stride[0] * row, right: stride[1]};
      for (const {first: [r, q], taps, weights} of op.phases) {
        const offsets = Int32Array.from(taps, ([c, down, right]) =>
          c * plane + (before[0] + down) * row + before[1] + right);
        slide(from, offsets, weights, op.bias, {
          data: result.data, outputs, first: r * width + q,
          plane: height * width, down: apart[0] * width, right: apart[1],
          height: Math.ceil((height - r) / apart[0]),
          width: Math.ceil((width - q) / apart[1]),
        });
      }
      return result;
    }

    // --- what an operation does with its maps ----------------------------------------

    // Sides after a window of kernel px has passed over a map: PyTorch's formula.
    function passed(op, kernel, x) {
      return kernel.map((length, axis) => {
        const side = x.shape[axis + 1] + op.padding[axis], stride = op.stride[axis];
        const reach = op.dilation[axis] * (length - 1) + 1;
        const steps = (side + op.padding[axis] - reach) / stride;
        if (!op.ceil_mode) return Math.floor(steps) + 1;
        const up = Math.ceil(steps);  // but no window begins beyond the map
        return up * stride < side ? up + 1 : up;
      });
    }

    // A new map of that shape: f(channel, y, x) is its value.
    function made(shape, f) {
      const result = zeros(shape), [channels, height, width] = shape;
      for (let i = 0, c = 0; c < channels; c++)
        for (let y = 0; y < height; y++)
          for (let x = 0; x < width; x++) result.data[i++] = f(c, y, x);
      return result;
    }

    function each(x, f) {
      const result = zeros(x.shape), plane = x.shape[1] * x.shape[2];
      for (let i = 0, c = 0; c < x.shape[0]; c++)
        for (const end = (c + 1) * plane; i < end; i++)
          result.data[i] = f(x.data[i], c);
      return result;
    }

    // Two maps, pixel by pixel; a side of one pixel, or one channel, counts for all.
    function join(a, b, f) {
      const shape = a.shape.map((length, axis) => Math.max(length, b.shape[axis]));
      const steps = [a, b].map(({shape: own}) => own.map((length, axis) => {
        if (length !== shape[axis] && length !== 1)
          throw new Error(`maps of ${a.shape} and ${b.shape} do not fit together`);
        return length > 1 ? size(own.slice(axis + 1)) : 0;
      }));
      const [[ac, ay, ax], [bc, by, bx]] = steps;
      return made(shape, (c, y, x) => f(a.data[c * ac + y * ay + x * ax],
                                        b.data[c * bc + y * by + x * bx]));
    }

    // The mean of f(value, channel), of each channel or of all together.
    function mean({shape, data}, together, f, correction = 0) {
      const groups = together ? 1 : shape[0], count = data.length / groups;
      return made([groups, 1, 1], group => {
        let sum = 0;
        for (let i = group * count; i < (group + 1) * count; i++)
          sum += f(data[i], group);
        return sum / (count - correction);
      });
    }

    // For each new pixel of a side: the two old ones around it, the share of the second.
    function between(op, axis, old, length) {
      const scale = op.scale ? 1 / op.scale[axis] : old / length;
      return Array.from({length}, (_, i) => {
        let at = Math.max(0, (i + .5) * scale - .5);
        if (op.align_corners) at = length > 1 ? i * (old - 1) / (length - 1) : 0;
        if (op.mode === "nearest") at = Math.floor(Math.fround(i * Math.fround(scale)));
        const low = Math.min(Math.floor(at), old - 1);
        return [low, Math.min(low + 1, old - 1), at - low];
      });
    }

    const OPS = {
      constant: op => ({shape: [op.values.length, 1, 1],
                        data: Float32Array.from(op.values)}),
      conv: (op, x) =>
        convolve(op, x, passed(op, op.shape.slice(2), x), op.stride, [1, 1]),
      upconv(op, x) {
        const grown = (length, axis) => (length - 1) * op.stride[axis] + op.grow[axis];
        return convolve(op, x, x.shape.slice(1).map(grown), [1, 1], op.stride);
      },
      norm: (op, x) => each(x, (value, c) => value * op.weight[c] + op.bias[c]),
      relu: (op, x) => each(x, value => Math.max(0, value)),
      prelu: (op, x) => each(x, (value, c) =>
        value > 0 ? value : value * op.weight[c % op.weight.length]),
      sigmoid: (op, x) => each(x, value => 1 / (1 + Math.exp(-value))),
      sqrt: (op, x) => each(x, Math.sqrt),
      dropout: (op, x) => x,
      feature_dropout: (op, x) => x,
      add: (op, a, b) => join(a, b, (v, w) => v + w),
      sub: (op, a, b) => join(a, b, (v, w) => v - w),
      mul: (op, a, b) => join(a, b, (v, w) => v * w),
      div: (op, a, b) => join(a, b, (v, w) => v / w),
      mean: (op, x) => mean(x, op.together, value => value),
      var(op, x) {
        const middle = mean(x, op.together, value => value).data;
        return mean(x, op.together, (v, c) => (v - middle[c]) ** 2, op.correction);
      },
      softmax({}, x) {
        const [channels, height, width] = x.shape, plane = height * width;
        const top = new Float64Array(plane).fill(-Infinity), sum = new Float64Array(plane);
        x.data.forEach((value, i) => { top[i % plane] = Math.max(top[i % plane], value); });
        x.data.forEach((value, i) => { sum[i % plane] += Math.exp(value - top[i % plane]); });
        return made(x.shape, (c, v, u) => {
          const i = v * width + u;
          return Math.exp(x.data[c * plane + i] - top[i]) / sum[i];
        });
      },
      pool(op, {shape: [channels, height, width], data}) {
        const sides = passed(op, op.kernel, {shape: [channels, height, width]});
        const [[sy, sx], [py, px], [dy, dx]] = [op.stride, op.padding, op.dilation];
        return made([channels, ...sides], (c, y, x) => {
          let most = -Infinity;
          for (let k = 0; k < op.kernel[0]; k++) {
            const v = y * sy - py + k * dy;
            if (v < 0 || v >= height) continue;
            for (let l = 0; l < op.kernel[1]; l++) {
              const u = x * sx - px + l * dx;
              if (u >= 0 && u < width)
                most = Math.max(most, data[(c * height + v) * width + u]);
            }
          }
          return most;
        });
      },
      upsample(op, x, like) {
        const [channels, ...old] = x.shape;
        const sides = like ? like.shape.slice(1)
                           : old.map((side, axis) => Math.floor(side * op.scale[axis]));
        const [rows, columns] = sides.map((side, axis) =>
          between(op, axis, old[axis], side));
        const [height, width] = old, data = x.data;
        return made([channels, ...sides], (c, v, u) => {
          const [top, bottom, b] = rows[v], [left, right, r] = columns[u];
          const above = (c * height + top) * width, below = (c * height + bottom) * width;
          return (1 - b) * ((1 - r) * data[above + left] + r * data[above + right])
               + b * ((1 - r) * data[below + left] + r * data[below + right]);
        });
      },
      crop({before: [top, left], after}, x, like) {
        const [channels, high, wide] = x.shape;
        const [height, width] = like ? like.shape.slice(1)
          : [high - top - after[0], wide - left - after[1]];
        if (top + height > high || left + width > wide)
          throw new Error(`${high} x ${wide} px hold no ${height} x ${width} px`);
        return made([channels, height, width], (c, v, u) =>
          x.data[(c * high + top + v) * wide + left + u]);
      },
      pad(op, x) {
        const value = op.value ?? -Infinity;
        const {data, row, plane} = padded(x, op.before, op.after, value);
        return made([x.shape[0], plane / row, row], (c, v, u) =>
          data[c * plane + v * row + u]);
      },
      concat(op, ...maps) {
        const [, height, width] = maps[0].shape;
        if (maps.some(({shape}) => shape[1] !== height || shape[2] !== width))
          throw new Error(`maps of ${maps.map(x => x.shape).join(" and ")} do not fit`);
        const channels = maps.reduce((sum, x) => sum + x.shape[0], 0);
        const result = zeros([channels, height, width]);
        let start = 0;
        for (const {data} of maps) {
          result.data.set(data, start);
          start += data.length;
        }
        return result;
      },
      // Along one axis, samples as sums of samples: see spectral_matrix in live.py. The
      // sum of all cosines up to the wave `half` is Dirichlet's sine over a sine.
      spectral(op, x) {
        const old = x.shape[op.axis + 1], made = Math.floor(old / op.stride);
        const half = Math.floor(Math.max(1, Math.floor(old / op.part)) / 2);
        const weight = (i, j) => {
          const apart = i * old - j * made, angle = Math.PI * apart / old / made;
          if (apart % (old * made) === 0) return (2 * half + 1) / old;
          return Math.sin((2 * half + 1) * angle) / Math.sin(angle) / old;
        };
        const taps = Array.from({length: old}), weights = blocks(made, taps, weight);
        const {data, row, plane} = padded(x, [0, 0], [0, 0], 0);
        const shape = [...x.shape];
        shape[op.axis + 1] = made;
        const result = zeros(shape), bias = new Float64Array(made + 3);
        for (let c = 0; c < shape[0]; c++) {
          const step = op.axis ? 1 : row, across = op.axis ? row : 1;
          const offsets = Int32Array.from(taps, (_, j) => c * plane + j * step);
          slide({data, down: 0, right: across}, offsets, weights, bias, {
            data: result.data, outputs: made, first: c * shape[1] * shape[2],
            plane: op.axis ? 1 : shape[2], down: 0, right: op.axis ? shape[2] : 1,
            height: 1, width: x.shape[2 - op.axis],
          });
        }
        return result;
      },
    };

    // --- a program -------------------------------------------------------------------

    // Ready to run: weights as `slide` reads them, the place of each operation's end.
    function load(program) {
      const numbers = decode(program.weights), names = program.ops.map(op => op.name);
      const ops = program.ops.map(({weight, bias, ...line}) => {
        const op = {...line, shape: weight?.shape};
        const part = ({start, shape}) => numbers.subarray(start, start + size(shape));
        if (!OPS[op.kind] && op.kind !== "input")
          throw new Error(`live.js does not know ${op.kind}: ${op.name}`);
        if (weight) op.weight = part(weight);
        if (bias) {
          op.bias = new Float64Array(size(bias.shape) + 3);  // for blocks of four
          op.bias.set(part(bias));
        }
        if (op.kind.endsWith("conv")) {
          op.outputs = size(bias.shape);
          op.phases = phases(op);
        }
        if (Number.isInteger(op.like)) op.inputs = [...op.inputs, op.like];
        return op;
      });
      const last = [];  // the operation that is the last to read a map
      ops.forEach((op, i) => op.inputs.forEach(j => { last[j] = i; }));

      function check({shape, data}) {
        const [channels, ...sides] = program.shape, {step} = program;
        if (shape.length !== 3 || shape[0] !== channels || data.length !== size(shape))
          throw new Error(`a picture of shape ${shape} with ${data.length} numbers: the `
            + `network takes ${channels} channels, height and width`);
        sides.forEach((side, axis) => {
          const more = shape[axis + 1] - side;
          if (more && (!step || more % step))
            throw new Error(`${shape[1]} x ${shape[2]} px: the network takes `
              + `${sides.join(" x ")} px` + (step ? `, more or less by ${step} px` : "")
              + "; with a tile and a margin, pictures of any size");
        });
      }

      // Yields the share that is done after each operation, returns the result.
      function* whole(picture, {keep = [], off = {}}) {
        check(picture);
        for (const name of [...keep, ...Object.keys(off)])
          if (!names.includes(name)) throw new Error(`no operation is called ${name}`);
        const maps = [], kept = {};
        for (const [i, op] of ops.entries()) {
          yield i / ops.length;
          const inputs = op.inputs.map((j, k) =>
            off[op.name]?.includes(k) ? zeros(maps[j].shape) : maps[j]);
          maps[i] = op.kind === "input" ? picture : OPS[op.kind](op, ...inputs);
          if (keep.includes(op.name)) kept[op.name] = maps[i];
          for (const j of op.inputs)  // nobody needs these any more
            if (last[j] === i && !program.outputs.includes(j)) maps[j] = null;
        }
        return {outputs: program.outputs.map(i => maps[i]), maps: kept};
      }

      // Chapter 02's overlap-tile: each tile is computed with `margin` px around it,
      // mirrored where the picture ends; of the answer, the middle is kept.
      function* tiled(picture, {tile, margin, off = {}}) {
        const [channels, height, width] = picture.shape, side = tile + 2 * margin;
        const across = Math.ceil(width / tile), count = across * Math.ceil(height / tile);
        let result = null;
        for (let done = 0; done < count; done++) {
          const top = Math.floor(done / across) * tile, left = done % across * tile;
          const rows = mirrored(top - margin, side, height, tile, margin);
          const columns = mirrored(left - margin, side, width, tile, margin);
          const part = made([channels, side, side], (c, y, x) =>
            picture.data[(c * height + rows[y]) * width + columns[x]]);
          const run = whole(part, {off});
          let step = run.next();
          for (; !step.done; step = run.next()) yield (done + step.value) / count;
          const [answer] = step.value.outputs, [classes, high, wide] = answer.shape;
          const v = (high - tile) >> 1, u = (wide - tile) >> 1;
          if (v < 0 || u < 0)
            throw new Error(`of ${side} px the network leaves ${high} x ${wide} px, and `
              + `a tile has ${tile} px: take a larger margin`);
          result = result || zeros([classes, height, width]);
          for (let c = 0; c < classes; c++)
            for (let y = 0; y < Math.min(tile, height - top); y++) {
              const start = (c * high + v + y) * wide + u;
              const end = start + Math.min(tile, width - left);
              result.data.set(answer.data.subarray(start, end),
                              (c * height + top + y) * width + left);
            }
        }
        return {outputs: [result], maps: {}};
      }
      const run = (picture, settings = {}) =>
        settings.tile ? tiled(picture, settings) : whole(picture, settings);
      return {run};
    }

    // Which pixels of a side a window reads, with the mirrors of helpers/app/segment.py:
    // a side too short for the margin is first continued to full tiles.
    function mirrored(start, count, length, tile, margin) {
      const fold = (i, n) => {
        const turn = Math.max(1, 2 * n - 2), j = (i % turn + turn) % turn;
        return j < n ? j : turn - j;
      };
      const missing = (tile - length % tile) % tile;
      const full = missing + margin >= length ? length + missing : length;
      return Array.from({length: count}, (_, k) => fold(fold(start + k, full), length));
    }

    return {load};
  }

  // --- in a worker -------------------------------------------------------------------

  // The worker's side: one run after the other. A run stops for a moment every 100 ms,
  // to tell how far it is and to hear whether it is still wanted.
  function serve({load}) {
    const unwanted = new Set();
    let net = null, before = Promise.resolve();
    onmessage = ({data}) => {
      if (data.program) net = load(data.program);
      else if (data.cancel) unwanted.add(data.cancel);
      else before = before.then(() => work(data));
    };
    async function work({id, picture, settings}) {
      try {
        const run = net.run(picture, settings);
        let milliseconds = 0, begin = performance.now(), step = {};
        while (!step.done) {
          if (unwanted.delete(id)) return;
          step = run.next();
          const spent = performance.now() - begin;
          if (!step.done && spent < 100) continue;
          milliseconds += spent;
          if (step.done) break;
          postMessage({id, done: step.value});
          await new Promise(resolve => setTimeout(resolve));
          begin = performance.now();
        }
        const result = {...step.value, milliseconds};
        const maps = [...result.outputs, ...Object.values(result.maps)];
        postMessage({id, result}, [...new Set(maps.map(x => x.data.buffer))]);
      } catch (error) {
        postMessage({id, error: error.message});
      }
    }
  }

  // The page's side: run returns a promise, stop ends the worker.
  function start(program) {
    const text = `(${serve})((${engine})())`;
    const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
    const worker = new Worker(url), waiting = new Map();
    let count = 0;
    worker.postMessage({program});
    worker.onmessage = ({data: {id, done, result, error}}) => {
      const job = waiting.get(id);
      if (!job) return;  // given up in the meantime
      if (done !== undefined) {
        job.progress?.(done);
        return;
      }
      waiting.delete(id);
      if (error) job.reject(new Error(error));
      else job.resolve(result);
    };
    function end(error) {
      for (const job of waiting.values()) job.reject(error);
      waiting.clear();
    }
    worker.onerror = event => end(new Error(event.message));
    function run(picture, {progress, signal, ...settings} = {}) {
      const id = ++count;
      return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        waiting.set(id, {resolve, reject, progress});
        worker.postMessage({id, picture, settings});
        signal?.addEventListener("abort", () => {
          if (waiting.delete(id)) worker.postMessage({cancel: id});
          reject(signal.reason);
        });
      });
    }
    function stop() {
      worker.terminate();
      end(new Error("the network was stopped"));
    }
    return {run, stop};
  }

  // The result of a run without a worker.
  function finish(run) {
    let step = run.next();
    while (!step.done) step = run.next();
    return step.value;
  }

  return {...engine(), start, finish};
})();
