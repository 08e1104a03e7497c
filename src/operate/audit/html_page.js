"use strict";
document.documentElement.classList.add("js");
const names = document.getElementById("hosts").content.textContent.split("\n");
const placesOf = text => {
  const places = [];
  let next = 0;
  for (const part of text.split(" ")) {
    const [gap, more] = part.split("+").map(number => parseInt(number, 16));
    next += gap;
    for (let left = more || 0; left >= 0; left--) places.push(next++);
  }
  return places;
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], more = table.nextElementSibling;
  const rest = more?.matches("template") ? more.content.querySelector("tbody").rows : [];
  const note = rest.length ? more.nextElementSibling : document.createElement("p"), button = document.createElement("button");
  let rows = [...body.rows, ...rest], most = body.rows.length, texts = null, wanted = [];
  const find = document.createElement("input"), shown = document.createElement("small");
  const isFound = row => {
    const [text, hosts] = texts.get(row);
    return wanted.every(([word, places]) => text.includes(word) || places.size && hosts.some(place => places.has(place)));
  };
  const show = () => {
    const found = wanted.length ? rows.filter(isFound) : rows, part = found.slice(0, most);
    for (const row of part) heads.forEach((head, at) => { row.cells[at].dataset.label = head.textContent; });
    body.replaceChildren(...part);
    shown.textContent = wanted.length ? ` ${found.length} of ${rows.length}` : "";
    note.hidden = found.length <= most;
    note.textContent = `${part.length} of ${found.length} rows are shown. `;
    note.append(button);
  };
  button.type = "button"; button.textContent = "show 1000 more";
  button.addEventListener("click", () => { most += 1000; show(); });
  heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = new Intl.Collator("en", { numeric: true }).compare;
    const summary = cell => (cell.querySelector("summary") ?? cell).textContent;
    const keys = rows.map(row => [summary(row.cells[at]), row]).sort((one, other) => order(one[0], other[0]));
    rows = (up ? keys : keys.reverse()).map(key => key[1]);
    show();
  }));
  if (rows.length < 8) continue;
  find.type = "search"; find.placeholder = "find in this table"; find.setAttribute("aria-label", find.placeholder);
  find.addEventListener("input", () => {
    texts ??= new Map(rows.map(row => {
      const whole = [...row.querySelectorAll("code.id")].map(code => code.title), hosts = [...row.querySelectorAll("[data-hosts]")];
      return [row, [(row.textContent + " " + whole.join(" ")).toLowerCase(), hosts.flatMap(one => placesOf(one.dataset.hosts))]];
    }));
    const words = find.value.toLowerCase().split(/\s+/).filter(word => word);
    wanted = words.map(word => [word, new Set(names.flatMap((name, at) => name.toLowerCase().includes(word) ? [at] : []))]);
    show();
  });
  table.before(find, shown);
  if (rest.length) show();
}
document.addEventListener("toggle", event => {
  const places = event.target.dataset?.hosts;
  if (!places || event.target.dataset.named) return;
  event.target.dataset.named = "yes";
  const summary = event.target.querySelector("summary");
  event.target.replaceChildren(summary, placesOf(places).map(place => names[place]).join(", "));
}, true);
document.addEventListener("click", event => {
  const code = event.target.closest?.("code.id");
  if (!code) return;
  const whole = code.title, cut = code.textContent;
  const copied = () => { code.textContent = "copied"; setTimeout(() => { code.textContent = cut; }, 900); };
  const select = () => { code.textContent = whole; getSelection().selectAllChildren(code); };
  if (cut !== "copied" && cut !== whole) navigator.clipboard ? navigator.clipboard.writeText(whole).then(copied, select) : select();
});
