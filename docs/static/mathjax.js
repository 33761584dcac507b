// Settings of MathJax. Wrong equations show an error, not their text, and no menu loads further files.
MathJax.options.enableMenu = false;
MathJax.svg = { scale: 0.92, mtextInheritFont: true };
MathJax.tex = { packages: { "[-]": ["noerrors", "noundefined"] } };
// On a phone, equations that stand side by side stand below each other.
const stack = ({ math }) => {
  if (!math.display || window.innerWidth > 600 || /\\begin|\\\\|&/.test(math.math)) return;
  let depth = 0, lines = [""];
  for (const piece of math.math.split(/(\\qquad|\\[{}]|[{}])/)) {
    depth += (piece === "{") - (piece === "}");
    if (piece === "\\qquad" && depth === 0) lines.push("");
    else lines[lines.length - 1] += piece;
  }
  if (lines.length > 1) math.math = `\\begin{gathered}${lines.join("\\\\[4pt]")}\\end{gathered}`;
};
// An equation that is wider than a phone shrinks by up to a third; a still wider one scrolls.
MathJax.startup = {
  ready: () => {
    MathJax.startup.defaultReady();
    MathJax.startup.document.inputJax[0].preFilters.add(stack);
  },
  pageReady: () => MathJax.startup.defaultPageReady().then(() => {
    for (const drawn of document.querySelectorAll('mjx-container[display="true"] > svg'))
      drawn.style.minWidth = `${drawn.width.baseVal.value * 0.67}px`;
  }),
};
