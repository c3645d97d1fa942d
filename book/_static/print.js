// Paper is light, whatever theme the page is read in.
(() => {
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
})();
