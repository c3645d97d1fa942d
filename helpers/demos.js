// For demos.py, which puts the id of its demo in place of KEY.
(function () {
  const demo = document.getElementById("KEY");
  // ":scope >", for a frame may bring scripts and inputs of its own.
  const data = JSON.parse(demo.querySelector(":scope > [type*=json]").textContent);
  const sliders = [...demo.querySelectorAll(":scope > input")];
  const frame = demo.querySelector(".demo-frame");
  function show() {
    let index = 0;
    sliders.forEach((slider, i) => {
      const words = data.values[i][slider.value];
      slider.setAttribute("aria-valuetext", words);
      slider.previousElementSibling.querySelector("output").textContent = words;
      index = index * data.values[i].length + Number(slider.value);
    });
    frame.style.minHeight = frame.offsetHeight + "px";
    frame.innerHTML = data.frames[index].map(k => data.parts[k]).join("");
  }
  sliders.forEach(slider => slider.addEventListener("input", show));
  addEventListener("resize", () => { frame.style.minHeight = ""; });
  if (sliders.some(slider => slider.value !== slider.defaultValue)) show();
})();
