"use strict";
// Show the value of a mark beside the pointer, or after a tap.
// textContent, not innerHTML: names of classes come from data sets and may be markup.
const tip = document.getElementById("tip");
function show(event) {
  const mark = event.target.closest("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${event.clientY + box.height + 24 > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16}px`;
}
document.addEventListener("pointermove", show);
document.addEventListener("click", show);
document.addEventListener("scroll", () => { tip.hidden = true; }, true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// Hide and show curves by their names in the legend.
for (const button of document.querySelectorAll("[data-toggle]")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    for (const curve of button.closest("figure").querySelectorAll("[data-curve]")) {
      if (curve.dataset.curve === button.dataset.toggle) curve.classList.toggle("off", !on);
    }
  });
}

// Sort a table by a click on the head of a column: by data-sort where cells have it, else by their text.
function key(row, column) {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
}
const FEW = 20;
for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  if (body.rows.length > FEW) fold(table, body.rows.length);
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    if (down) rows.reverse();
    body.append(...rows.map(([, row]) => row));
  }));
}

// Of a long table show the first rows, in the order of the moment, until a reader asks for all.
function fold(table, count) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold";
  const tell = (folded) => {
    table.classList.toggle("folded", folded);
    button.setAttribute("aria-expanded", !folded);
    button.textContent = folded ? `Show all ${count.toLocaleString("en")} rows` : `Show the first ${FEW} rows`;
  };
  button.addEventListener("click", () => tell(!table.classList.contains("folded")));
  tell(true);
  table.parentElement.after(button);
}

// Copy a text; where the browser forbids it, select it.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.firstChild.textContent = "Copied";
    } catch {
      button.firstChild.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    }
    setTimeout(() => { button.firstChild.textContent = "Copy"; }, 2000);
  });
}

// Browsers save no link of more than about two million characters; the same as an object has no such limit.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[download]");
  if (!link || link.href.length < 1e6 || link.href.startsWith("blob:")) return;
  event.preventDefault();
  const comma = link.href.indexOf(",");
  const copy = document.createElement("a");
  copy.download = link.download;
  copy.href = URL.createObjectURL(new Blob([decodeURIComponent(link.href.slice(comma + 1))], { type: link.href.slice(5, comma) }));
  copy.click();
  setTimeout(() => URL.revokeObjectURL(copy.href), 1000);
});

// What is folded on the screen is printed.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.numbers)")) part.open = true;
});
