// The glossary's entry beside a word that links to it: by hover, focus or a first tap.
(() => {
  let entry = null, of = null, first = false;

  function hide() {
    entry?.remove();
    of?.removeAttribute("aria-describedby");
    entry = of = null;
  }
  function show(word, tapped) {
    if (of === word) return;
    hide();
    of = word;
    entry = document.createElement("div");
    Object.assign(entry, {id: "entry", className: "entry", role: "tooltip"});
    entry.textContent = word.dataset.entry;
    if (tapped) {  // a second tap leads there, as does this
      const link = entry.appendChild(document.createElement("a"));
      Object.assign(link, {href: word.href, textContent: "Glossary"});
    }
    document.body.append(entry);
    word.setAttribute("aria-describedby", "entry");
    const {left, top, bottom} = word.getClientRects()[0];
    const most = document.documentElement.clientWidth - entry.offsetWidth - 8;
    const below = bottom + 6 + entry.offsetHeight < innerHeight;
    const y = below ? bottom + 6 : top - 6 - entry.offsetHeight;
    entry.style.left = `${scrollX + Math.max(8, Math.min(left, most))}px`;
    entry.style.top = `${scrollY + y}px`;
  }
  const word = event => event.target.closest?.("a[data-entry]");
  const inside = event => entry?.contains(event.target);

  addEventListener("pointerover", event => {
    if (event.pointerType !== "mouse" || inside(event)) return;
    word(event) ? show(word(event)) : hide();
  });
  addEventListener("pointerdown", event => {
    first = event.pointerType !== "mouse" && word(event) && of !== word(event);
  });
  addEventListener("focusin", event => {
    if (first || inside(event)) return;
    word(event) ? show(word(event)) : hide();
  });
  addEventListener("click", event => {
    if (first && word(event)) {
      event.preventDefault();
      show(word(event), true);
    } else if (!inside(event)) hide();
    first = false;
  });
  addEventListener("keydown", event => event.key === "Escape" && hide());
})();
