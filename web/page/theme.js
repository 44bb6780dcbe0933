// Sets the chosen theme, or the system's. Not a module, so that it runs before the first paint.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("chat.theme");
  } catch {
    // Storage may be forbidden. Then the system's theme applies.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
