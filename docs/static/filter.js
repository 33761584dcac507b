// Tables that open by their heading, or by a word that one of their rows contains.
document.addEventListener("DOMContentLoaded", () => {
  const field = document.createElement("input");
  Object.assign(field, { type: "search", className: "row-filter", placeholder: "Filter rows: a word of a name or a file" });
  field.setAttribute("aria-label", field.placeholder);
  const parts = [...document.querySelectorAll("article section section")].filter((part) => part.querySelector("table"));
  const show = () => {
    const word = field.value.trim().toLowerCase();
    for (const part of parts) {
      const rows = [...part.querySelectorAll("tbody tr")];
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(word);
      const count = rows.filter((row) => !row.hidden).length;
      part.querySelector("summary").dataset.count = ` ${count}`;
      part.querySelector("details").open = word !== "" && count > 0;
      part.hidden = count === 0;
    }
  };
  for (const part of parts) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.append(part.querySelector("h2"));
    details.append(summary, ...part.childNodes);
    part.append(details);
  }
  if (parts.length) parts[0].before(field);
  field.addEventListener("input", show);
  show();
});
