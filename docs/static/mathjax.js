// Settings of MathJax. Wrong equations show an error, not their text, and no menu loads further files.
MathJax.options.enableMenu = false;
MathJax.svg = { scale: 0.92, mtextInheritFont: true };
MathJax.tex = { packages: { "[-]": ["noerrors", "noundefined"] } };
// An equation that is wider than a phone shrinks by up to a third; a still wider one scrolls.
MathJax.startup = {
  pageReady: () => MathJax.startup.defaultPageReady().then(() => {
    for (const drawn of document.querySelectorAll('mjx-container[display="true"] > svg'))
      drawn.style.minWidth = `${drawn.width.baseVal.value * 0.67}px`;
  }),
};
