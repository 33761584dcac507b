// How the search orders pages: a page that explains comes before the list of names of its module.
var Scorer = {
  score: (result) => {
    const [docname, title, anchor, , score] = result;
    const query = (new URLSearchParams(location.search).get("q") ?? "").trim().toLowerCase();
    const named = !anchor && title.toLowerCase().startsWith(query) ? 40 : 0;
    if (docname.startsWith("generated/techniques/")) return score + 30 + named;
    if (docname.startsWith("book/")) return score + 20 + named;
    if (docname.startsWith("generated/experiments/")) return score + 10;
    if (docname.startsWith("generated/api/") || docname === "generated/catalog") return score - 20;
    return score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

// An excerpt begins with the first paragraph of the page or of the section, not with the buttons around it.
document.addEventListener("DOMContentLoaded", () => {
  Search.makeSearchSummary = (html, words, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const part = (anchor && page.querySelector(`article ${anchor}`)) || page.querySelector("article");
    const text = [...(part?.querySelectorAll("p") ?? [])].map((line) => line.textContent.trim()).find(Boolean);
    if (!text) return null;
    const summary = Object.assign(document.createElement("p"), { className: "context" });
    summary.textContent = text.length > 240 ? `${text.slice(0, 240).trim()}…` : text;
    return summary;
  };
});
