// The ledger's table of all verdicts: shows the rows of one chapter, or all.
const network = document.getElementById("network");
network.addEventListener("change", () => {
  for (const row of document.querySelectorAll(".all-verdicts tbody tr"))
    row.hidden = network.value !== "" && row.dataset.chapter !== network.value;
});
