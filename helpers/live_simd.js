// The loop of live.js in WebAssembly, some ten times as fast: a kernel for liveEngine.
//
// Its source is live.wat, which a test assembles anew (wasmtime.wat2wasm does it). It
// computes in float32, as PyTorch does. null where a browser or the page's policy does
// not allow it: then live.js uses its own loop.
function liveSimd() {
  "use strict";
  const assembled = `
    AGFzbQEAAAABDQFgCX9/f39/f39/fwADAgEABQMBAAEHEgIGbWVtb3J5AgAFc2xpZGUAAAqQAgGNAg
    IGfwV7A0AgCSAHbCENQQAhCgNAIAP9AAQAIQ8gDyEQIA8hESAPIRIgACELIAIhDAJAA0AgCyABRg0B
    IAz9AAQAIRMgDSALKAIAaiEOIA8gEyAO/QkCAP3mAf3kASEPIA4gCGohDiAQIBMgDv0JAgD95gH95A
    EhECAOIAhqIQ4gESATIA79CQIA/eYB/eQBIREgDiAIaiEOIBIgEyAO/QkCAP3mAf3kASESIAtBBGoh
    CyAMQRBqIQwMAAsLIAQgD/0LBAAgBCAQ/QsEECAEIBH9CwQgIAQgEv0LBDAgBEHAAGohBCANIAhBBG
    xqIQ0gCkEEaiEKIAogBkkNAAsgCUEBaiEJIAkgBUkNAAsLAI8BBG5hbWUCaQEAFAAHb2Zmc2V0cwED
    ZW5kAgd3ZWlnaHRzAwRiaWFzBANvdXQFBmhlaWdodAYFd2lkdGgHBGRvd24IBXJpZ2h0CQF5CgF4Cw
    N0YXAMBndlaWdodA0BcA4BaQ8BYRABYhEBYxIBZBMBdwMdAQAEAARyb3dzAQZwaXhlbHMCBGRvbmUD
    BHRhcHM=`;
  let instance = null;
  try {
    const bytes = Uint8Array.from(atob(assembled), letter => letter.charCodeAt(0));
    instance = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  } catch {
    return null;
  }
  const {memory, slide} = instance.exports, PAGE = 65536;
  function reserve(end) {  // bytes of memory; when it grows, older views are lost
    const more = Math.ceil((end - memory.buffer.byteLength) / PAGE);
    if (more > 0) memory.grow(more);
  }
  return {
    // Room for so many numbers at the beginning of the memory, for one `slide`.
    source(count) {
      reserve(4 * count);
      return new Float32Array(memory.buffer, 0, count);
    },
    // As in live.js. Behind the source come the list of taps, the weights, the bias,
    // and the outputs of one block, four to a pixel.
    slide({data, down, right}, offsets, weights, bias, to) {
      const width = Math.ceil(to.width / 4) * 4, count = offsets.length;
      const first = Math.ceil(data.length / 4) * 16;
      const weight = first + Math.ceil(count / 4) * 16;
      const biases = weight + 4 * weights.length, block = biases + 16;
      reserve(block + 16 * width * to.height);
      const view = (Type, start, length) => new Type(memory.buffer, start, length);
      view(Int32Array, first, count).set(offsets.map(place => 4 * place));
      view(Float32Array, weight, weights.length).set(weights);
      const made = view(Float32Array, block, 4 * width * to.height);
      for (let o = 0; o < to.outputs; o += 4) {
        view(Float32Array, biases, 4).set(bias.subarray(o, o + 4));
        slide(first, first + 4 * count, weight + 16 * (o >> 2) * count, biases, block,
              to.height, width, 4 * down, 4 * right);
        for (let k = 0; k < Math.min(4, to.outputs - o); k++)
          for (let y = 0; y < to.height; y++) {
            let i = to.first + (o + k) * to.plane + y * to.down, j = 4 * y * width + k;
            for (let x = 0; x < to.width; x++, i += to.right, j += 4)
              to.data[i] = made[j];
          }
      }
    },
  };
}
