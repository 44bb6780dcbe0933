// Before the first paint, and so no module: the theme that was chosen here, or else the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("chat.theme");
  } catch {
    // Storage may be forbidden: then it is the system's.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
