// The ledger's table of all verdicts: shows the rows of one chapter, or of a network.
for (const select of document.querySelectorAll(".ledger-filter select")) {
  select.addEventListener("change", () => {
    for (const other of document.querySelectorAll(".ledger-filter select"))
      if (other !== select) other.value = "";
    for (const row of document.querySelectorAll(".all-verdicts tbody tr"))
      row.hidden = select.value !== "" &&
        !row.dataset[select.name].split("|").includes(select.value);
  });
}
