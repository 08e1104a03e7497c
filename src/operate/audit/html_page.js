"use strict";
document.documentElement.classList.add("js");
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = new Intl.Collator("en", { numeric: true }).compare;
    const rows = [...body.rows].map(row => [row.cells[at].textContent, row]).sort((one, other) => order(one[0], other[0]));
    body.append(...(up ? rows : rows.reverse()).map(row => row[1]));
  }));
  if (body.rows.length < 8) continue;
  const find = document.createElement("input"), shown = document.createElement("small");
  find.type = "search"; find.placeholder = "find in this table"; find.setAttribute("aria-label", find.placeholder);
  let texts = null;
  find.addEventListener("input", () => {
    texts ??= [...body.rows].map(row => [row, (row.textContent + " " + [...row.querySelectorAll("[data-whole]")].map(code => code.dataset.whole).join(" ")).toLowerCase()]);
    const words = find.value.toLowerCase().split(/\s+/).filter(word => word);
    let count = 0;
    for (const [row, text] of texts) { row.hidden = !words.every(word => text.includes(word)); count += row.hidden ? 0 : 1; }
    shown.textContent = words.length ? ` ${count} of ${texts.length}` : "";
  });
  table.before(find, shown);
}
document.addEventListener("click", event => {
  const code = event.target.closest?.("code.id");
  if (!code) return;
  const whole = code.dataset.whole, cut = code.textContent;
  const copied = () => { code.textContent = "copied"; setTimeout(() => { code.textContent = cut; }, 900); };
  const select = () => { code.textContent = whole; getSelection().selectAllChildren(code); };
  if (cut !== "copied" && cut !== whole) navigator.clipboard ? navigator.clipboard.writeText(whole).then(copied, select) : select();
});
