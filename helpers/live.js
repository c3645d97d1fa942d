// Runs the networks of the book in a web page: live.py packs them into programs.
//
//   const engine = liveEngine(liveSimd());  // with the faster loop, where there is one
//   const run = engine.load(program).run(picture, {keep: ["relu_1"]});
//
// A map is {shape: [channels, height, width], data}, a Float32Array with the rows one
// after the other. The picture is one. At its end the run returns {outputs, maps}:
// outputs[0] is the answer in logits, maps.relu_1 was asked for. Settings, both optional:
//   keep  names of operations whose maps are wanted
//   off   {cat_1: [0]}: for the operation cat_1, input 0 counts as zeros
// A run is a generator that yields the share that is done, 0 to 1; live_worker.js shows
// it, and stops. The function uses nothing from outside: its text goes to the worker.
function liveEngine(kernel) {
  "use strict";
  const size = shape => shape.reduce((product, length) => product * length, 1);
  function zeros(shape) {
    if (shape.some(length => length < 1)) throw new Error("the picture is too small");
    return {shape, data: new Float32Array(size(shape))};
  }

  // --- weights ---------------------------------------------------------------------

  // Base64 of float16: a sign, 5 bits of exponent, 10 of fraction. Or a Float32Array.
  function decode(text) {
    const bytes = atob(text), numbers = new Float32Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) {
      const bits = bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8;
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
  // m + (r + padding - v dilation) / s for weight v, where that is whole.
  function phases({kind, shape, weight, stride, padding, dilation}) {
    const up = kind === "upconv", all = [];
    const [inputs, outputs] = up ? shape : [shape[1], shape[0]];
    const [, , high, wide] = shape, area = high * wide;
    const [input, output] = up ? [outputs * area, area] : [area, inputs * area];
    const from = (axis, phase, v) => up
      ? (phase + padding[axis] - v * dilation[axis]) / stride[axis]
      : v * dilation[axis] - padding[axis];
    for (let r = 0; r < (up ? stride[0] : 1); r++)
      for (let q = 0; q < (up ? stride[1] : 1); q++) {
        const taps = [], places = [];
        for (let c = 0; c < inputs; c++)
          for (let v = 0; v < high; v++)
            for (let u = 0; u < wide; u++) {
              const tap = [c, from(0, r, v), from(1, q, u)];
              if (!tap.every(Number.isInteger)) continue;
              taps.push(tap);
              places.push(c * input + v * wide + u);
            }
        const weights = blocks(outputs, taps, (o, t) => weight[o * output + places[t]]);
        all.push({first: [r, q], taps, weights});
      }
    return all;
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
  // of two neighbours stay in registers, in float64: nothing is converted on the way.
  function plain({data, down, right}, offsets, weights, bias, to) {
    const out = to.data, count = offsets.length;
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
          const j = i + to.right, {plane} = to, two = x + 1 < to.width;
          out[i] = a0;
          if (two) out[j] = b0;
          if (many > 1) { out[i + plane] = a1; if (two) out[j + plane] = b1; }
          if (many > 2) { out[i + 2 * plane] = a2; if (two) out[j + 2 * plane] = b2; }
          if (many > 3) { out[i + 3 * plane] = a3; if (two) out[j + 3 * plane] = b3; }
        }
    }
  }

  const {source, slide} = kernel || {source: n => new Float64Array(n), slide: plain};

  // A copy with `value` around it, for one use. It ends some rows later than it must:
  // `slide` reads up to three neighbours too many.
  function padded({shape: [channels, height, width], data}, before, after, value) {
    const row = before[1] + width + after[1];
    const plane = (before[0] + height + after[0]) * row;
    const copy = source(channels * plane + 4 * row + 16).fill(value);
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < height; y++) {
        const start = (c * height + y) * width;
        copy.set(data.subarray(start, start + width),
                 c * plane + (before[0] + y) * row + before[1]);
      }
    return {data: copy, row, plane};
  }

  // A convolution to `sides`: a phase's next pixel reads `stride` px further on, and
  // lies `apart` px further on in the result.
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
    const [height, width] = sides, {data, row, plane} = padded(x, before, after, 0);
    const result = zeros([op.outputs, height, width]);
    const from = {data, down: stride[0] * row, right: stride[1]};
    for (const {first: [r, q], taps, weights} of op.phases) {
      const offsets = Int32Array.from(taps, ([c, down, right]) =>
        c * plane + (before[0] + down) * row + before[1] + right);
      slide(from, offsets, weights, op.bias, {
        data: result.data, outputs: op.outputs, first: r * width + q,
        plane: height * width, down: apart[0] * width, right: apart[1],
        height: Math.ceil((height - r) / apart[0]),
        width: Math.ceil((width - q) / apart[1]),
      });
    }
    return result;
  }

  // --- what an operation does with its maps ----------------------------------------

  // Sides after a window has passed over a map: PyTorch's formula.
  function passed({kernel, stride, padding, dilation, ceil_mode}, sides) {
    return sides.map((side, axis) => {
      const reach = dilation[axis] * (kernel[axis] - 1) + 1, pad = padding[axis];
      const steps = (side + 2 * pad - reach) / stride[axis], up = Math.ceil(steps);
      if (!ceil_mode) return Math.floor(steps) + 1;
      return up * stride[axis] < side + pad ? up + 1 : up;  // none begins beyond
    });
  }

  // A new map of that shape: f(channel, y, x) is its value.
  function made(shape, f) {
    const {data} = zeros(shape), [channels, height, width] = shape;
    for (let i = 0, c = 0; c < channels; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) data[i++] = f(c, y, x);
    return {shape, data};
  }

  function each({shape, data}, f) {
    let i = 0;
    return made(shape, c => f(data[i++], c));
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
      if (op.mode === "nearest") at = Math.floor(Math.fround(i * Math.fround(scale)));
      const low = Math.min(Math.floor(at), old - 1);
      return [low, Math.min(low + 1, old - 1), at - low];
    });
  }

  const OPS = {
    input: (op, picture) => picture,
    constant: ({values}) => made([values.length, 1, 1], c => values[c]),
    conv: (op, x) =>
      convolve(op, x, passed(op, x.shape.slice(1)), op.stride, [1, 1]),
    upconv(op, x) {
      const grown = (length, axis) => (length - 1) * op.stride[axis] + op.grow[axis];
      return convolve(op, x, x.shape.slice(1).map(grown), [1, 1], op.stride);
    },
    norm(op, {shape, data}) {  // like relu without `each`: these two are everywhere
      const copy = new Float32Array(data), plane = shape[1] * shape[2];
      for (let c = 0, i = 0; c < shape[0]; c++) {
        const scale = op.weight[c], shift = op.bias[c];
        for (const end = i + plane; i < end; i++) copy[i] = copy[i] * scale + shift;
      }
      return {shape, data: copy};
    },
    relu(op, {shape, data}) {
      const copy = new Float32Array(data);
      for (let i = 0; i < copy.length; i++) if (copy[i] < 0) copy[i] = 0;
      return {shape, data: copy};
    },
    prelu: (op, x) => each(x, (value, c) =>
      value > 0 ? value : value * op.weight[c % op.weight.length]),
    sigmoid: (op, x) => each(x, value => 1 / (1 + Math.exp(-value))),
    sqrt: (op, x) => each(x, Math.sqrt),
    dropout: (op, x) => x,
    add: (op, x, y) => join(x, y, (a, b) => a + b),
    sub: (op, x, y) => join(x, y, (a, b) => a - b),
    mul: (op, x, y) => join(x, y, (a, b) => a * b),
    div: (op, x, y) => join(x, y, (a, b) => a / b),
    mean: (op, x) => mean(x, op.together, value => value),
    var(op, x) {
      const middle = mean(x, op.together, value => value).data;
      return mean(x, op.together, (v, c) => (v - middle[c]) ** 2, op.correction);
    },
    softmax(op, x) {  // 1 / sum of exp(other - own): no number is too large
      const {data} = x, plane = x.shape[1] * x.shape[2];
      let i = 0;
      return each(x, own => {
        let sum = 0;
        for (let k = i++ % plane; k < data.length; k += plane)
          sum += Math.exp(data[k] - own);
        return 1 / sum;
      });
    },
    pool(op, {shape: [channels, height, width], data}) {
      const sides = passed(op, [height, width]);
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
      maps.reduce((start, {data}) => {
        result.data.set(data, start);
        return start + data.length;
      }, 0);
      return result;
    },
    // Along one axis, new samples as sums of the old: spectral_matrix in live.py. Its
    // cosines up to the wave `half` add up to Dirichlet's quotient of two sines.
    spectral({axis, stride, part}, x) {
      const shape = [...x.shape], old = x.shape[axis + 1];
      const fresh = shape[axis + 1] = Math.floor(old / stride);
      const waves = 2 * Math.floor(Math.max(1, Math.floor(old / part)) / 2) + 1;
      const taps = Array.from({length: old}), result = zeros(shape);
      const weights = blocks(fresh, taps, (i, j) => {
        const apart = i * old - j * fresh, angle = Math.PI * apart / (old * fresh);
        if (apart % (old * fresh) === 0) return waves / old;
        return Math.sin(waves * angle) / Math.sin(angle) / old;
      });
      const {data, row, plane} = padded(x, [0, 0], [0, 0], 0);
      const [along, across] = axis ? [1, row] : [row, 1];  // this axis; the other one
      const [plain, beside] = axis ? [1, shape[2]] : [shape[2], 1];  // in the result
      const bias = new Float64Array(fresh + 3), from = {data, down: 0, right: across};
      const to = {data: result.data, outputs: fresh, plane: plain, right: beside,
                  down: 0, height: 1, width: x.shape[2 - axis]};
      for (let c = 0; c < shape[0]; c++) {
        const offsets = Int32Array.from(taps, (_, j) => c * plane + j * along);
        slide(from, offsets, weights, bias, {...to, first: c * shape[1] * shape[2]});
      }
      return result;
    },
  };

  // --- a program -------------------------------------------------------------------

  // One line of a program, with its weights as the operations want them.
  function prepared({weight, bias, ...line}, numbers) {
    const op = {...line, shape: weight?.shape};
    const part = ({start, shape}) => numbers.subarray(start, start + size(shape));
    if (!OPS[op.kind]) throw new Error(`${op.name}: live.js does not know ${op.kind}`);
    if (weight) op.weight = part(weight);
    if (bias) {
      op.outputs = size(bias.shape);
      op.bias = new Float64Array(op.outputs + 3);  // zeros, for the last block of four
      op.bias.set(part(bias));
    }
    if (op.kind === "conv" || op.kind === "upconv") op.phases = phases(op);
    if (Number.isInteger(op.like)) op.inputs = [...op.inputs, op.like];
    return op;
  }
  function load({shape: usual, step, outputs, weights, ...program}) {
    const numbers = weights.buffer ? weights : decode(weights), last = [];
    const ops = program.ops.map(line => prepared(line, numbers));
    ops.forEach((op, i) => op.inputs.forEach(j => { last[j] = i; }));  // reads j last

    function check({shape, data}, keep, off) {
      const [channels, ...sides] = usual;
      if (shape.length !== 3 || shape[0] !== channels || data.length !== size(shape))
        throw new Error(`a picture of shape ${shape} with ${data.length} numbers: the `
          + `network takes ${channels} channels, height and width`);
      const more = sides.map((side, axis) => Math.abs(shape[axis + 1] - side));
      if (more.some(px => step ? px % step : px))
        throw new Error(`${shape[1]} x ${shape[2]} px: the network takes `
          + sides.join(" x ") + (step ? ` px and ${step} px more or less` : " px"));
      for (const name of [...keep, ...Object.keys(off)]) {
        const op = ops.find(op => op.name === name);
        if (!op) throw new Error(`no operation is called ${name}`);
        if (off[name]?.some(k => !(k in op.inputs)))
          throw new Error(`${name} has ${op.inputs.length} inputs, not ${off[name]}`);
      }
    }

    function* run(picture, {keep = [], off = {}} = {}) {
      check(picture, keep, off);
      const maps = [], kept = {};
      for (const [i, op] of ops.entries()) {
        const inputs = op.inputs.map((j, k) =>
          off[op.name]?.includes(k) ? zeros(maps[j].shape) : maps[j]);
        maps[i] = OPS[op.kind](op, ...(i ? inputs : [picture]));
        if (keep.includes(op.name)) kept[op.name] = maps[i];
        for (const j of op.inputs)
          if (last[j] === i && !outputs.includes(j)) maps[j] = null;  // let it go
        yield (i + 1) / ops.length;
      }
      return {outputs: outputs.map(i => maps[i]), maps: kept};
    }
    return {run};
  }
  return {load};
}
