// Drawings and pictures, large: a dialog in which they zoom and move. And what a box of
// a drawing is, in a line of text, for who cannot hover. For all of a page, once.
globalThis.largeView ??= (() => {
  "use strict";

  // --- a box's tip, in the line beside the drawing

  function tell(box) {
    const place = box.closest(".network, .large");
    if (!place || box.closest(".live")) return;
    place.querySelector("[data-chosen]")?.removeAttribute("data-chosen");
    box.setAttribute("data-chosen", "");
    place.querySelector("[role=status]").textContent =
      box.querySelector("title").textContent;
  }

  // The arrow keys lead from box to box.
  function walk(event) {
    const place = event.target.closest?.(".network-scroll");
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!place || !step || place.closest(".live")) return;
    const boxes = [...place.querySelectorAll("[data-op]")].filter(
      box => box.getClientRects().length);
    if (!boxes.length) return;
    event.preventDefault();
    const now = boxes.findIndex(box => box.hasAttribute("data-chosen"));
    const next = boxes[Math.min(Math.max(now + step, 0), boxes.length - 1)];
    next.scrollIntoView({block: "nearest", inline: "nearest"});
    tell(next);
  }

  // --- the dialog

  function open(shown, words) {
    const dialog = document.createElement("dialog");
    dialog.className = "large";
    dialog.setAttribute("aria-label", words);
    dialog.innerHTML = `<div class="large-bar">
      <button data-zoom="0.8" aria-label="smaller">−<\/button>
      <button data-zoom="1.25" aria-label="larger">+<\/button>
      <button data-zoom="0">fit<\/button><span role="status">Keys: + − 0, arrows.<\/span>
      <button data-close>close<\/button><\/div>
      <div class="large-stage" tabindex="0" role="group"><\/div>`;
    const stage = dialog.querySelector(".large-stage");
    stage.setAttribute("aria-label", words);
    const copy = shown.cloneNode(true);
    copy.removeAttribute("id");
    for (const part of copy.querySelectorAll("[id]")) part.removeAttribute("id");
    for (const name of ["labelledby", "describedby"]) {
      copy.removeAttribute(`aria-${name}`);
    }
    if (copy.tagName !== "IMG") copy.setAttribute("aria-label", words);
    stage.append(copy);
    document.body.append(dialog);
    dialog.showModal();
    stage.focus();

    const box = shown.viewBox?.baseVal;
    const wide = box?.width || shown.naturalWidth || 1;
    const high = box?.height || shown.naturalHeight || 1;
    let scale = 1;
    // Zooms around the middle of what is seen; 0 shows all of it.
    function zoom(factor) {
      const fit = Math.min(stage.clientWidth / wide, stage.clientHeight / high);
      const [x, y] = [stage.scrollLeft + stage.clientWidth / 2,
                      stage.scrollTop + stage.clientHeight / 2];
      const next = factor ? Math.min(Math.max(scale * factor, fit / 2), 10 * fit) : fit;
      const ratio = next / scale;
      scale = next;
      copy.style.setProperty("width", `${scale * wide}px`, "important");
      stage.scrollLeft = x * ratio - stage.clientWidth / 2;
      stage.scrollTop = y * ratio - stage.clientHeight / 2;
    }
    zoom(0);

    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", event => {
      const {zoom: factor, close} = event.target.dataset;
      if (factor) zoom(Number(factor));
      if (close !== undefined) dialog.close();
    });
    dialog.addEventListener("keydown", event => {
      const factor = {"+": 1.25, "=": 1.25, "-": 0.8, "0": 0}[event.key];
      if (factor !== undefined && !event.ctrlKey) zoom(factor);
    });
    stage.addEventListener("wheel", event => {
      if (!event.ctrlKey) return;  // as a touch pad's two fingers, too
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 200));
    }, {passive: false});
    stage.addEventListener("pointermove", event => {
      if (event.pointerType !== "mouse" || event.buttons !== 1) return;
      stage.scrollBy(-event.movementX, -event.movementY);
    });
    let apart = 0;  // of two fingers
    stage.addEventListener("touchmove", event => {
      if (event.touches.length !== 2) return;
      event.preventDefault();
      const [a, b] = event.touches;
      const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (apart) zoom(now / apart);
      apart = now;
    }, {passive: false});
    stage.addEventListener("touchend", () => { apart = 0; });
    copy.addEventListener("dragstart", event => event.preventDefault());
  }

  // --- what opens it

  function openDrawing(figure) {
    const [wide, turned] = figure.querySelectorAll(".network-scroll > svg");
    const upright = turned && innerHeight > innerWidth;
    open(upright ? turned : wide, wide.querySelector("title").textContent);
  }

  document.addEventListener("click", event => {
    const box = event.target.closest("[data-op]");
    if (box) return tell(box);
    const picture = event.target.closest(".large-open")?.querySelector("img");
    if (picture) return open(picture, picture.alt);
    const figure = event.target.closest(".network-bar button, .network-scroll > svg")
      ?.closest(".network");
    if (figure && !figure.closest(".live")) openDrawing(figure);
  });
  document.addEventListener("pointerover", event => {
    const box = event.target.closest?.("[data-op]");
    if (box && event.pointerType === "mouse") tell(box);
  });
  document.addEventListener("keydown", walk);

  // A chapter's figures become buttons: this needs the whole page.
  function wrap() {
    for (const picture of document.querySelectorAll(".cell_output > img, .output > img")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "large-open";
      picture.replaceWith(button);
      button.append(picture);
    }
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", wrap);
  else wrap();
  return open;
})();
