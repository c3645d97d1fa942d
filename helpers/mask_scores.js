// The scores of a painted mask, as helpers/metrics.py has them, for canvas.py and
// live_demos.py: of two masks of W px a row, 0 and 1. Boundary F1 allows 2 px.
function maskScores(mask, reference, W) {
  const H = mask.length / W, near = [];  // steps of at most 2 px
  for (let v = -2; v <= 2; v++)
    for (let u = -2; u <= 2; u++)
      if (u * u + v * v <= 4) near.push([u, v]);
  const at = (map, u, v) => u >= 0 && v >= 0 && u < W && v < H && map[v * W + u];

  function outline(map) {
    const points = [], edge = new Uint8Array(W * H);
    for (let v = 0; v < H; v++)
      for (let u = 0; u < W; u++)
        if (at(map, u, v) && !(at(map, u - 1, v) && at(map, u + 1, v) &&
                               at(map, u, v - 1) && at(map, u, v + 1))) {
          points.push([u, v]);
          edge[v * W + u] = 1;
        }
    return [points, edge];
  }
  function share(points, edge) {
    const close = ([u, v]) => near.some(([a, b]) => at(edge, u + a, v + b));
    return points.filter(close).length / points.length;
  }

  let both = 0, areas = 0;
  mask.forEach((m, i) => { both += m & reference[i]; areas += m + reference[i]; });
  const [a, edgeA] = outline(mask), [b, edgeB] = outline(reference);
  let f1 = Number(a.length === b.length);  // when one is empty; of two, there is 1
  if (a.length && b.length) {
    const precision = share(a, edgeB), recall = share(b, edgeA);
    f1 = 2 * precision * recall / Math.max(precision + recall, 1e-9);
  }
  return {iou: areas ? both / (areas - both) : 1,
          dice: areas ? 2 * both / areas : 1, f1};
}
