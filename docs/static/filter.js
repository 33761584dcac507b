// Tables that open by their heading, or by a word that one of their rows contains. On a phone each row is a card.
document.addEventListener("DOMContentLoaded", () => {
  const field = document.createElement("input");
  Object.assign(field, { type: "search", className: "row-filter", placeholder: "Filter rows: a word of a name or a file" });
  field.setAttribute("aria-label", field.placeholder);
  const heading = (part) => part.querySelector(":scope > :is(h2, h3, h4)");
  const sections = [...document.querySelectorAll("article section")];
  const parts = sections.filter((part) => heading(part) && part.querySelector("table") && !part.querySelector("section"));
  const show = () => {
    const word = field.value.trim().toLowerCase();
    for (const part of parts) {
      for (const row of part.rows) row.hidden = !row.textContent.toLowerCase().includes(word);
      const rows = part.rows.filter((row) => !row.hidden);
      part.querySelector("summary").dataset.count = rows.length;
      part.querySelector("details").open = word !== "" && rows.length > 0;
      part.hidden = rows.length === 0;
    }
  };
  for (const part of parts) {
    for (const table of part.querySelectorAll("table")) {
      const labels = [...table.querySelectorAll("th")].map((cell) => cell.textContent);
      for (const cell of table.querySelectorAll("td")) {
        cell.dataset.label = labels[cell.cellIndex] ?? "";
        cell.classList.toggle("blank", !cell.textContent.trim());
      }
      table.classList.add("cards");
    }
    part.rows = [...part.querySelectorAll("tbody tr")];
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.append(heading(part));
    details.append(summary, ...part.childNodes);
    part.append(details);
  }
  if (parts.length) parts[0].before(field);
  field.addEventListener("input", show);
  show();
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) {
    target.closest("section")?.querySelector("details")?.setAttribute("open", "");
    target.scrollIntoView();
  }
});
