// What stands around each find of the search page, and a link to its section. The text
// of the book is in search_texts.js: page to [id, title, text] of its sections.
addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  const query = new URLSearchParams(location.search).get("q") || "";
  const stemmer = new Stemmer();
  const typed = splitQuery(query.toLowerCase());
  const stems = typed.map(word => stemmer.stemWord(word));
  const words = [...new Set([...typed, ...stems])];  // a stem need not be in the text
  const count = text => words.filter(word => text.toLowerCase().includes(word)).length;

  function explain(item) {
    const link = item.querySelector("a");
    const [page, anchor] = (link?.getAttribute("href") || "").split("#");
    const sections = globalThis.bookTexts?.[page];
    if (!sections || item.querySelector(".context")) return;
    let [best, most] = [sections[0], 0];
    for (const section of sections) {
      const found = count(section[1]) + count(section[2]);
      const asked = section[0] === anchor;
      if (asked || (!anchor && found > most)) [best, most] = [section, found];
    }
    const [id, title, text] = best;
    link.hash = id;
    const same = [...results.querySelectorAll("a")].find(a => a.href === link.href);
    if (same !== link) return item.remove();  // the section was found by its title too
    if (title && !link.textContent.includes(title)) {
      const place = item.appendChild(document.createElement("span"));
      place.textContent = ` › ${title}`;
    }
    const summary = item.appendChild(document.createElement("p"));
    summary.className = "context";
    summary.append(...marked(excerpt(text)));
  }

  function excerpt(text) {  // some 240 signs around the first word found
    const places = words.map(word => text.toLowerCase().indexOf(word));
    const first = Math.min(...places.filter(place => place >= 0));
    const start = Number.isFinite(first) ? Math.max(0, first - 100) : 0;
    const end = start + 240;
    return (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
  }

  function* marked(text) {  // its pieces, the words in <mark>
    const signs = words.map(word => word.replace(/[^\p{Letter}\p{Number}]/gu, "\\$&"));
    if (!signs.length) return yield text;
    const pieces = text.split(new RegExp(`(${signs.join("|")})`, "i"));
    for (const [k, piece] of pieces.entries()) {
      if (k % 2) {
        const mark = document.createElement("mark");
        mark.textContent = piece;
        yield mark;
      } else yield piece;
    }
  }

  const look = () => results.querySelectorAll("ul.search li").forEach(explain);
  new MutationObserver(look).observe(results, {childList: true, subtree: true});
  look();
});
