// How the search orders pages: a page that explains comes before the list of names of its module.
var Scorer = {
  score: (result) => {
    const [docname, , , , score] = result;
    if (docname.startsWith("generated/techniques/")) return score + 30;
    if (docname.startsWith("book/") || docname.startsWith("generated/experiments/")) return score + 20;
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
