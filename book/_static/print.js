// Paper is light, whatever theme the page is read in. A page that is opened with
// "?answers" shows all that is folded, less the code: book/_ext/pdf.py asks for it.
(() => {
  "use strict";
  const {dataset} = document.documentElement;
  let theme = null;
  addEventListener("beforeprint", () => {
    theme ??= dataset.theme;
    dataset.theme = "light";
    // What has not been scrolled to would be missing.
    for (const picture of document.images) picture.loading = "eager";
  });
  addEventListener("afterprint", () => {
    if (theme) dataset.theme = theme;
    theme = null;
  });
  // Another script of the page may have written the address anew.
  if (new URLSearchParams(location.search).has("answers")) addEventListener("load", () => {
    for (const fold of document.querySelectorAll("details:not(.hide)")) fold.open = true;
  });
})();
