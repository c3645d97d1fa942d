// A network in a worker, so that the page stays responsive; it takes live.js,
// live_simd.js and live_tiles.js along.
//
//   const net = liveStart(program);
//   const {outputs, maps, milliseconds} = await net.run(picture, settings);
//   net.stop();
//
// Settings are those of live.js, and, for a picture of any size, of live_tiles.js: tile
// and margin; and further
//   progress  a function, called now and then with the share that is done, 0 to 1
//   signal    of an AbortController, which ends a run
// A promise is rejected with the error of the network, or with the signal's reason.
function liveStart(program) {
  // The worker's side: one run after the other. Every 100 ms a run makes a pause, to
  // tell how far it is and to hear whether it is still wanted.
  function serve({load}, tiles) {
    const unwanted = new Set();
    let net = null, before = Promise.resolve();
    onmessage = ({data}) => {
      if (data.program) net = load(data.program);
      else if (data.unwanted) unwanted.add(data.unwanted);
      else before = before.then(() => work(data));
    };
    async function work({id, picture, settings}) {
      try {
        const result = await walk(id, settings.tile ? tiles(net, picture, settings)
                                                    : net.run(picture, settings));
        if (!result) return;
        const maps = [...result.outputs, ...Object.values(result.maps)];
        const buffers = new Set(maps.map(({data}) => data.buffer));
        postMessage({id, result}, [...buffers]);  // handed over, not copied
      } catch (error) {
        postMessage({id, error: error.message});
      }
    }
    async function walk(id, run) {
      let milliseconds = 0, begin = performance.now();
      while (!unwanted.delete(id)) {
        const {done, value} = run.next(), spent = performance.now() - begin;
        if (done) return {...value, milliseconds: milliseconds + spent};
        if (spent < 100) continue;
        postMessage({id, share: value});
        await new Promise(resolve => setTimeout(resolve));
        milliseconds += spent;
        begin = performance.now();
      }
    }
  }

  const engine = `(${liveEngine})((${liveSimd})())`;
  const text = `"use strict";\n${liveTiles}\n(${serve})(${engine}, liveTiles);`;
  const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
  const worker = new Worker(url), waiting = new Map();
  let count = 0, broken = null;

  worker.onmessage = ({data: {id, share, result, error}}) => {
    URL.revokeObjectURL(url);  // it has been read
    const job = waiting.get(id);
    if (!job) return;  // no longer wanted
    if (share !== undefined) {
      job.progress?.(share);
      return;
    }
    waiting.delete(id);
    if (error) job.reject(new Error(error));
    else job.resolve(result);
  };
  function end(error) {
    broken = error;
    for (const job of waiting.values()) job.reject(error);
    waiting.clear();
  }
  worker.onerror = event => {
    event.preventDefault();  // it is told by the promises
    end(new Error(event.message));
  };
  worker.postMessage({program});

  function run(picture, {progress, signal, ...settings} = {}) {
    const id = ++count;
    let abort = null;
    const answer = new Promise((resolve, reject) => {
      if (broken) throw broken;
      signal?.throwIfAborted();
      waiting.set(id, {resolve, reject, progress});
      worker.postMessage({id, picture, settings});
      abort = () => {
        if (waiting.delete(id)) worker.postMessage({unwanted: id});
        reject(signal.reason);
      };
      signal?.addEventListener("abort", abort);
    });  // a signal for many runs must not keep the pictures of all
    return answer.finally(() => signal?.removeEventListener("abort", abort));
  }
  function stop() {
    worker.terminate();
    end(new Error("the network was stopped"));
  }
  return {run, stop};
}
