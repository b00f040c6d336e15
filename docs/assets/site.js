// The buttons that copy code stand in `nav` elements, which screen readers would list as landmarks without a name, and
// wide tables, which scroll sideways, would not be reached by keyboard.
new MutationObserver(() => {
  for (const nav of document.querySelectorAll(".md-code__nav:not([role])")) nav.setAttribute("role", "none");
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) table.tabIndex = 0;
}).observe(document.body, { childList: true, subtree: true });
