// Sphinx's own way to divide a query into words; besides, Chinese becomes pairs of
// signs, as search.py does in the index. Sphinx puts it into language_data.js.
function splitQuery(query) {
  const words = query.split(/[^\p{Letter}\p{Number}_]+/gu).filter(word => word);
  return words.flatMap(word => word.split(/([\u4e00-\u9fff]+)/).flatMap(part =>
    /^[\u4e00-\u9fff]{2,}/.test(part)
      ? [...part].slice(1).map((sign, i) => part[i] + sign)
      : part || []));
}
